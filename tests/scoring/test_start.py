"""Where forests start, and where they stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import egretscore as es
from egretscore.scoring.boosting import Growth, Rows, best_rounds
from egretscore.scoring.columns import as_numbers, columns_of, for_lightgbm, input_features
from egretscore.scoring.start import for_regression, start_of
from egretscore.scoring.tables import violations

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


@given(st.integers(0, 10**6), st.booleans())
def test_a_start_says_what_the_regression_says(seed, one_number):
    values, outcome = of_every_kind(seed, 500)
    if one_number:
        values = values[:1]
    names = [f"x{i}" for i in range(len(values))]
    features = input_features(names, values, {2: (-9.0,)} if not one_number else {}, frozenset(range(3, len(values))))
    columns = columns_of(features)
    given_columns = for_lightgbm(features, columns, as_numbers(features, values))
    levels = [column.codes or column.category for column in columns]
    rows = Rows(given_columns, for_regression(given_columns, levels), outcome, np.ones(500))
    model = es.ScoreTableClassifier(**QUICK).fit(given_columns, outcome)
    settings_ = model._settings(1, 20.0)
    settings_ = type(settings_)(**{**vars(settings_), "columns": columns, "directions": (0,) * len(features)})
    start = start_of(rows, rows.dataset(settings_), settings_)
    regression = LogisticRegression(C=1 / 20, max_iter=1000, tol=1e-3).fit(rows.for_regression, outcome)
    said, copied = regression.decision_function(rows.for_regression), start.predict(given_columns)
    assert np.mean((said - copied) ** 2) < 0.05 * np.var(said)


@given(st.integers(0, 10**6), st.lists(st.sampled_from([-1, 0, 1]), min_size=3, max_size=3))
@settings(max_examples=20)
def test_a_start_goes_the_way_it_must_where_the_data_go_the_other(seed, directions):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    against = np.nan_to_num(X) @ -np.array(directions)
    y = (against + rng.logistic(size=400) > 0).astype(int)
    model = es.ScoreTableClassifier(**QUICK, monotone=directions).fit(X, y)
    assert list(violations(model.tables_, directions)) == []


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


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=12), min_size=1, max_size=5))
def test_forests_stop_where_the_mean_loss_is_least_and_none_beyond_its_own_least(curves):
    growths = [Growth(None, 7, dict(enumerate(curve, start=1))) for curve in curves]
    longest = max(map(len, curves))
    padded = np.array([curve + [curve[-1]] * (longest - len(curve)) for curve in curves])
    rounds = best_rounds(growths)
    assert padded.mean(axis=0)[rounds - 1] == pytest.approx(padded.mean(axis=0).min())
    for growth, curve in zip(growths, curves, strict=True):
        assert growth.trees_within(rounds) == 7 + min(rounds, int(np.argmin(curve)) + 1)


@pytest.mark.parametrize(("count", "bags"), [(600, 16), (5_000, 8), (12_000, 4)])
def test_few_rows_get_more_forests(count, bags):
    X = np.random.default_rng(0).normal(size=(count, 2))
    model = es.ScoreTableClassifier(max_rounds=5, max_pairs=0).fit(X, (X[:, 0] > 0).astype(int))
    assert len(model.boosters_) == bags


def test_what_cannot_be_learnt_from_is_said():
    frame = pd.DataFrame({"kind": list("ab") * 60, "day": pd.date_range("2026-01-01", periods=120)})
    y = [0, 1] * 60
    for options, columns, said in (
        ({"special": {"kind": (-9,)}}, ["kind"], "special must not name categories"),
        ({}, ["day"], "dates"),
        ({"ridge": 0}, ["kind"], "ridge must be"),
    ):
        with pytest.raises(ValueError, match=said):
            es.ScoreTableClassifier(**QUICK, **options).fit(frame[columns], y)
