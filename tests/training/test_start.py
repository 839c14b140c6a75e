"""Where forests start, and where they stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

import egretscore as es
from egretscore.scoring.tables import steps_compared, violations
from egretscore.training import estimator
from egretscore.training.boosting import Growth, Rows, Settings, _growing, grow_until_no_better
from egretscore.training.columns import as_numbers, columns_of, for_lightgbm, input_features
from egretscore.training.start import for_regression, start_of

QUICK: dict[str, Any] = {"max_rounds": 30, "bags": 2, "n_jobs": 1}


def of_every_kind(seed: int, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Invent numbers, gaps, codes and levels, and an outcome that depends on each."""
    rng = np.random.default_rng(seed)
    number, gaps = rng.normal(size=(2, count))
    gaps[rng.random(count) < 0.2] = np.nan
    codes = np.where(rng.random(count) < 0.3, -9.0, rng.integers(0, 50, count).astype(float))
    level = rng.choice(np.array(["a", "b", "c", None], dtype=object), count)
    signal = number + 0.5 * np.nan_to_num(gaps, nan=2.0) + codes / 20 + (level == "b")
    return [number, gaps, codes, level], (signal + rng.logistic(size=count) > np.median(signal)).astype(float)


def rows_and_settings(
    values: list[np.ndarray], outcome: np.ndarray, directions: list[int], **changes: Any
) -> tuple[Rows, Settings]:
    names = [f"x{i}" for i in range(len(values))]
    special = {2: (-9.0,)} if len(values) > 2 else {}
    features = input_features(names, values, special, frozenset(range(3, len(values))))
    columns = columns_of(features)
    matrix = for_lightgbm(features, columns, as_numbers(features, values))
    rows = Rows(
        matrix, for_regression(matrix, [column.unordered for column in columns]), outcome, np.ones(len(outcome))
    )
    settings_ = Settings(
        columns=columns,
        directions=tuple(directions),
        pair_across=None,
        most_pairs=10,
        ridge=20.0,
        learning_rate=0.15,
        leaves=8,
        most_bins=32,
        random_cuts=True,
        smallest_leaf=1,
        l2=1.0,
        rounds_per_stage=7,
        most_rounds=60,
        patience=20,
        seed=1,
    )
    return rows, replace(settings_, **changes)


@given(st.integers(0, 10**6), st.sampled_from([1, 4]))
def test_a_start_says_what_the_regression_says(seed, n_features):
    values, outcome = of_every_kind(seed, 500)
    rows, how = rows_and_settings(values[:n_features], outcome, [0] * n_features)
    start = start_of(rows, rows.dataset(how), how)
    regression = LogisticRegression(C=1 / 20, max_iter=1000, tol=1e-3).fit(rows.for_regression, outcome)
    said = regression.decision_function(rows.for_regression)
    assert np.mean((said - start.predict(rows.columns)) ** 2) < 0.05 * np.var(said)


@given(
    st.integers(0, 10**6),
    st.sampled_from([[0, 0, 0, 0], [1, 1, 1, 0], [0, 1, -1, 0]]),
    st.sampled_from([None, 20.0]),
    st.sampled_from([1, 40, 300]),
)
@settings(max_examples=20)
def test_the_losses_of_a_growth_are_those_of_its_trees(seed, directions, ridge, smallest_leaf):
    """Also where directions need stages, and where leaves are so large that rounds add no tree."""
    values, outcome = of_every_kind(seed, 400)
    rows, how = rows_and_settings(values, outcome, directions, ridge=ridge, smallest_leaf=smallest_leaf)
    learn, held_out = rows[np.arange(300)], rows[np.arange(300, 400)]
    data = learn.dataset(how, rows.bins(how).construct())
    pairs = [(0, 1), (0, 2), (1, 2), (1, 3)]
    start = start_of(learn, data, how)
    growth = Growth(data, held_out, pairs, how, start)
    while growth.rounds[-1:] != [how.most_rounds]:
        growth.grow()
    assert growth.rounds[0] == (0 if ridge else growth.rounds[1])  # the first trees stand for none
    assert growth.rounds[1:] == sorted(set(growth.rounds[1:]))
    assert growth.trees == sorted(growth.trees)
    for trees, loss in zip(growth.trees, growth.losses, strict=True):
        if trees:
            booster = lgb.Booster(model_str=growth.model(trees))
            assert booster.num_trees() == trees
            raw = booster.predict(held_out.columns, raw_score=True)
            assert loss == pytest.approx(held_out.log_loss(raw), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_each_pair_has_its_turn_even_where_nothing_can_be_learnt(seed):
    """Features 0 to 2 must go one way, so their three pairs take turns in three stages."""
    values, _ = of_every_kind(seed, 400)
    outcome = np.random.default_rng(seed).integers(0, 2, 400).astype(float)
    rows, how = rows_and_settings(values, outcome, [1, 1, 1, 0], patience=1)
    data = rows[np.arange(300)].dataset(how)
    pairs = [(0, 1), (0, 2), (1, 2)]
    growth = Growth(data, rows[np.arange(300, 400)], pairs, how, None)
    best = grow_until_no_better([growth], map, pairs, how)
    assert growth.rounds[-1] >= 3 * how.rounds_per_stage
    assert growth.rounds[best] >= how.rounds_per_stage


def test_stages_do_not_draw_the_same_lots_again():
    values, outcome = of_every_kind(3, 600)
    rows, how = rows_and_settings([values[0]], outcome, [1], ridge=None, rounds_per_stage=1, leaves=2)
    data = rows.dataset(how)
    trees = [
        booster.dump_model()["tree_info"][-1]["tree_structure"]["threshold"]
        for booster in _growing(data, [[[0]], [[0]]], how, 12, None)
    ]
    assert len(set(trees)) > 3


@given(st.integers(0, 10**6), st.lists(st.sampled_from([-1, 0, 1]), min_size=3, max_size=3))
@settings(max_examples=20)
def test_a_start_goes_the_way_it_must_where_the_data_go_the_other(seed, directions):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    if rng.random() < 0.5:  # the regression sees through what the features share, and has a sign wrong
        X[:, 1:] = X[:, :1] + 0.3 * X[:, 1:]
    against = np.nan_to_num(X) @ -np.array(directions) + 2 * np.nan_to_num(X[:, 0]) * directions[0]
    y = (against + rng.logistic(size=400) > 0).astype(int)
    model = es.ScoreTableClassifier(**{**QUICK, "bags": 4}, monotone=directions).fit(X, y)  # one of every start
    assert list(violations(model.tables_, directions)) == []
    assert steps_compared(model.tables_, [1, 1, 1]) > 0


def test_a_start_draws_a_straight_line_better_than_steps():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 8))
    chance = 1 / (1 + np.exp(-X @ np.linspace(0.2, 1, 8)))
    y = (rng.random(4000) < chance).astype(int)
    learn = slice(0, 300)
    errors = [
        np.mean((es.ScoreTableClassifier(ridge=ridge).fit(X[learn], y[learn]).predict_proba(X)[:, 1] - chance) ** 2)
        for ridge in (20.0, None)
    ]
    assert errors[0] < errors[1]


def test_forests_take_the_ridges_in_turn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = (X @ [1, 2, 0] + rng.logistic(size=300) > 0).astype(int)

    def forests(ridge: Any) -> list[str]:
        model = es.ScoreTableClassifier(max_rounds=20, bags=5, max_pairs=0, ridge=ridge).fit(X, y)
        return [booster.model_to_string() for booster in model.boosters_]

    ridges = (20.0, None, 300.0)
    alone = [forests(ridge) for ridge in ridges]
    assert len({own[0] for own in alone}) == len(ridges)
    assert forests(ridges) == [alone[bag % len(ridges)][bag] for bag in range(5)]
    assert forests(np.array([20.0])) == alone[0]


class Grown:
    """What grows by a stage of two rounds each time, to losses that are known beforehand."""

    def __init__(self, curve: list[float]) -> None:
        self.curve, self.rounds, self.losses = curve, [0], curve[:1]

    def grow(self) -> None:
        self.rounds += [self.rounds[-1] + 1, self.rounds[-1] + 2]
        self.losses = self.curve[: len(self.rounds)]


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=61, max_size=61)
    )
)
@settings(max_examples=50)
def test_forests_stop_together_where_the_mean_of_their_losses_is_least(losses):
    """And not before it has got no less for as many rounds as they have patience, nor much later."""
    _, how = rows_and_settings(*of_every_kind(0, 50), [0] * 4, patience=4, rounds_per_stage=2, most_rounds=60)
    growths = [Grown(list(curve)) for curve in zip(*losses[:61], strict=True)]
    with mock.patch.object(Growth, "grow", Grown.grow):
        best = grow_until_no_better(growths, map, [], how)
    means = np.mean([growth.losses for growth in growths], axis=0)
    assert means[best] == pytest.approx(means.min())
    last = growths[0].rounds[-1]
    assert last == 60 or last - best >= max(4, best / 10)
    assert last - 2 - int(np.argmin(means[:-2])) < max(4, best / 10)


def test_all_forests_are_cut_off_after_the_same_rounds():
    values, outcome = of_every_kind(1, 500)
    X = np.column_stack(values[:3])
    model = es.ScoreTableClassifier(ridge=None, bags=5).fit(X, outcome)
    (rounds,) = set(model.n_rounds_)
    assert [booster.num_trees() for booster in model.boosters_] == [rounds] * 5


@pytest.mark.parametrize(("count", "bags"), [(600, 32), (6_000, 9), (12_000, 6)])
def test_few_rows_get_more_forests(count, bags):
    X = np.random.default_rng(0).normal(size=(count, 2))
    model = es.ScoreTableClassifier(max_rounds=5, max_pairs=0).fit(X, (X[:, 0] > 0).astype(int))
    assert len(model.boosters_) == bags


def test_what_cannot_be_learnt_from_is_said():
    frame = pd.DataFrame({"kind": list("ab") * 60, "day": pd.date_range("2026-01-01", periods=120)})
    y = [0, 1] * 60
    for options, columns, said in (
        ({"special": {"kind": (-9,)}}, ["kind"], "special must not name categories.*'kind'"),
        ({}, ["day"], "dates"),
        ({"ridge": 0}, ["kind"], "ridge must be"),
        ({"ridge": (20, -1)}, ["kind"], "ridge must be"),
        ({"ridge": ()}, ["kind"], "ridge must be"),
        ({"ridge": "auto"}, ["kind"], "ridge must be"),
    ):
        with pytest.raises(ValueError, match=said):
            es.ScoreTableClassifier(**QUICK, **options).fit(frame[columns], y)


def test_groups_of_very_different_size_do_not_stop_trees_from_splitting():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    y = (X[:, 0] + 0.3 * rng.normal(size=2000) > 0).astype(int)
    groups = np.where(rng.random(2000) < 0.6, -1, np.arange(2000))
    model = es.ScoreTableClassifier(**QUICK).fit(X, y, groups=groups)
    assert np.mean(model.predict(X) == y) > 0.8
    with pytest.raises(ValueError, match="too few groups"):
        es.ScoreTableClassifier(**QUICK, min_people=30).fit(X, y, groups=np.arange(2000) % 20)


def test_a_code_never_seen_is_as_good_as_a_missing_value():
    rng = np.random.default_rng(0)
    months = rng.integers(0, 60, 800).astype(float)
    y = (months + rng.normal(size=800) * 5 > 30).astype(int)
    for learnt in (months, np.where(rng.random(800) < 0.2, -9.0, months)):
        model = es.ScoreTableClassifier(**QUICK, special={0: (-9, -8)}).fit(learnt[:, None], y)
        unseen, absent = np.array([[-8.0]]), np.array([[np.nan]])
        assert model.decision_function(unseen) == model.decision_function(absent)


def test_every_start_is_found_with_one_thread_of_blas(monkeypatch):
    """Sums of several threads differ in their last bits, and so would the tables from machine to machine."""
    threads: list[int] = []

    def noted(*given: Any) -> Any:
        threads.extend(of["num_threads"] for of in threadpool_info() if of["user_api"] == "blas")
        return start_of(*given)

    monkeypatch.setattr(estimator, "start_of", noted)
    with threadpool_limits(2):
        es.ScoreTableClassifier(**QUICK).fit(np.random.default_rng(0).normal(size=(300, 3)), np.arange(300) % 2)
    assert set(threads) == {1}
