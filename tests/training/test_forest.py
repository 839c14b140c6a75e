"""The forest and the tables compiled from it: the same sums, to the last bit however they are added up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from unittest import mock

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egretscore.scoring.tables import ScoreTables
from egretscore.training import forest
from egretscore.training.columns import columns_of, input_features
from egretscore.training.estimator import ScoreTableClassifier
from egretscore.training.forest import compile_forests, read_forests
from egretscore.training.pairs import best_pairs, gains_of_pairs, stages


@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(0, 4),
)
def test_any_forest_within_pairs_compiles_exactly(seed, missing, pairs):
    """Random data with or without gaps and directions: tables, LightGBM and reasons say the same."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-5, 12, (300, 4)).astype(float)
    y = (X[:, 0] * X[:, 1] + 3 * X[:, 2] + rng.normal(size=300) * 10 > 15).astype(int)
    if len(np.unique(y)) < 2:
        return
    if missing:
        X[rng.random(X.shape) < 0.15] = np.nan
    directions = rng.integers(-1, 2, 4).tolist()
    bags = int(rng.integers(1, 4))
    model = ScoreTableClassifier(monotone=directions, max_pairs=pairs, max_rounds=30, bags=bags, n_jobs=1).fit(X, y)
    fresh = rng.integers(-8, 15, (200, 4)).astype(float)
    if missing:
        fresh[rng.random(fresh.shape) < 0.3] = np.nan
    raw = np.mean([b.predict(fresh, raw_score=True) for b in _cut_off(model)], axis=0)
    assert np.allclose(model.decision_function(fresh), raw, atol=1e-12)
    assert np.allclose(model.tables_.base + model.explain(fresh).sum(axis=1), raw, atol=1e-12)
    assert len([t for t in model.tables_.tables if len(t.features) == 2]) <= pairs


def _cut_off(model: ScoreTableClassifier) -> list[lgb.Booster]:
    """Return the forests without the rounds that do not count."""
    return [
        lgb.Booster(model_str=booster.model_to_string(num_iteration=rounds))
        for booster, rounds in zip(model.boosters_, model.n_rounds_, strict=True)
    ]


@given(st.integers(0, 10**6), st.integers(1, 20_000), st.integers(1, 5_000))
@settings(max_examples=20)
def test_tables_are_the_same_bits_however_many_leaves_are_gone_down_at_once(seed, reached, added):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=300), "b": rng.integers(0, 5, 300), "c": rng.choice(list("xyz"), 300)})
    y = (X["a"] * (X["c"] == "x") + X["b"] / 5 + rng.logistic(size=300) > 0).astype(int)

    def tables() -> ScoreTables:
        return ScoreTableClassifier(max_rounds=20, bags=3).fit(X, y).tables_

    whole = tables()
    with mock.patch.multiple(forest, _MOST_REACHED_AT_ONCE=reached, _MOST_CELLS_AT_ONCE=added):
        in_parts = tables()
    assert in_parts.base == whole.base
    for one, other in zip(in_parts.tables, whole.tables, strict=True):
        assert one.features == other.features
        assert np.array_equal(one.values, other.values)


def test_a_python_that_adds_up_more_exactly_gives_the_same_bits():
    """From 3.12 on, sum() of floats is as exact as math.fsum()."""
    adds_up = sum

    def exactly(numbers: Iterable[Any], start: Any = 0) -> Any:
        every = [start, *numbers]
        return math.fsum(every) if all(type(n) is float for n in every[1:]) else adds_up(every[1:], start)

    rng = np.random.default_rng(0)
    for _ in range(20):
        X = rng.normal(size=(200, 6))
        fit = ScoreTableClassifier(max_rounds=10, bags=1).fit
        y = (X.sum(axis=1) + rng.logistic(size=200) > 0).astype(int)
        base = fit(X, y).tables_.base
        with mock.patch("builtins.sum", exactly):
            assert fit(X, y).tables_.base == base


def test_a_forest_beyond_pairs_is_refused():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = (X[:, 0] * X[:, 1] * X[:, 2] > 0).astype(int)
    free = lgb.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, lgb.Dataset(X, y), 10)
    features = input_features(["a", "b", "c"], list(X.T), {}, frozenset())
    with pytest.raises(ValueError, match="more than 2 features"):
        compile_forests(read_forests([free.model_to_string()], [None]), features, columns_of(features), np.zeros(3))


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: p[0] < p[1]), unique=True, max_size=12)
)
def test_stages_hold_every_feature_and_every_pair_in_one_stage(pairs):
    """Features 0 to 4 must go one way and stand in one pair of a stage; the others are free."""
    dealt = stages(pairs, [1, -1, 1, 1, -1, 0, 0, 0])
    for stage in dealt:
        everywhere = [feature for group in stage for feature in group]
        assert sorted(f for f in everywhere if f < 5) == list(range(5))
        assert {f for f in everywhere if f >= 5} == {5, 6, 7}
        assert all(len(group) <= 2 for group in stage)
    together = [tuple(group) for stage in dealt for group in stage if len(group) == 2]
    assert sorted(together) == sorted(pairs)


def test_pairs_are_ranked_by_the_gain_of_splits_right_below():
    leaf = {"leaf_value": 0.0}

    def split(feature: int, gain: float, left: dict, right: dict) -> dict:
        return {"split_feature": feature, "split_gain": gain, "left_child": left, "right_child": right}

    tree = split(0, 9.0, split(1, 2.0, leaf, split(2, 1.0, leaf, leaf)), split(0, 5.0, leaf, leaf))
    gains = gains_of_pairs({"tree_info": [{"tree_structure": tree}]}, [0, 1, 2])
    assert gains == {(0, 1): 2.0, (1, 2): 1.0}
    assert best_pairs(gains, 1, lambda *_: True) == [(0, 1)]
    assert best_pairs(gains, 5, lambda a, _: a > 0) == [(1, 2)]
