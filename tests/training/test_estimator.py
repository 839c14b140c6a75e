"""The estimator as scikit-learn's users know estimators, and what its columns may hold."""

from __future__ import annotations

import copy
import inspect
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import egretscore as es
from egretscore.audit import Rows, measured_beside_peers
from egretscore.policy import Scale
from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.tables import ScoreTable, ScoreTables, violations
from egretscore.training.columns import columns_of, for_lightgbm
from egretscore.training.estimator import _fewest_people_in_a_leaf
from egretscore.training.forest import read_forests

QUICK: dict[str, Any] = {"max_rounds": 30, "bags": 2, "n_jobs": 1}


@parametrize_with_checks([es.ScoreTableClassifier()])
def test_scikit_learn_s_own_checks(estimator, check):
    check(estimator)


def applicants(seed: int, count: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Invent rows of every kind of column: numbers, gaps, codes, words, flags and whole numbers as levels."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "amount": rng.normal(0, 1, count),
            "gaps": np.where(rng.random(count) < 0.2, np.nan, rng.normal(0, 1, count)),
            "months": np.where(
                rng.random(count) < 0.3, rng.choice([-9.0, -8.0, -7.0], count), rng.integers(0, 60, count)
            ),
            "home": pd.Categorical(rng.choice(["own", "rent", "other"], count)),
            "job": rng.choice(np.array(["a", "b", None], dtype=object), count),
            "flag": rng.random(count) < 0.5,
            "branch": rng.choice([11, 7, 30], count),
        }
    )
    months = X["months"].where(X["months"] >= 0, 20)
    signal = X["amount"] - months / 20 + 1.5 * (X["home"] == "rent") + X["gaps"].isna() + (X["branch"] == 7)
    signal += 2.0 * (X["months"] == -9) + X["amount"] * X["flag"]
    return X, (signal + rng.logistic(0, 1, count) > 0).to_numpy().astype(int)


def fitted(seed: int = 0, **options: Any) -> tuple[es.ScoreTableClassifier, pd.DataFrame, np.ndarray]:
    X, y = applicants(seed, 600)
    special = {"months": (-9, -8, -7)}
    model = es.ScoreTableClassifier(**{**QUICK, "special": special, "categories": ["branch"], **options})
    return model.fit(X, y), X, y


def mean_of_forests(model: es.ScoreTableClassifier, X: pd.DataFrame) -> np.ndarray:
    """Return the mean of the log-odds that LightGBM itself gives."""
    columns = for_lightgbm(model.features_, columns_of(model.features_), model.numbers(X))
    raw = [
        booster.predict(columns, raw_score=True, num_iteration=rounds)
        for booster, rounds in zip(model.boosters_, model.n_rounds_, strict=True)
    ]
    return np.mean(raw, axis=0)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.booleans())
def test_tables_say_what_the_forests_say_on_every_kind_of_column(seed, directed):
    model, _, _ = fitted(seed, monotone={"months": -1, "amount": 1} if directed else None)
    fresh, _ = applicants(seed + 1, 300)
    forests = mean_of_forests(model, fresh)
    assert np.allclose(model.decision_function(fresh), forests, atol=1e-10, rtol=0)
    assert np.allclose(model.tables_.base + model.explain(fresh).sum(axis=1), forests, atol=1e-10, rtol=0)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([31, 32, 33, 64, 90]))
def test_tables_say_what_the_forests_say_of_many_levels(seed, n_levels):
    """LightGBM writes the levels that go left in words of 32 bits; a category of two levels has one word."""
    rng = np.random.default_rng(seed)
    trade = rng.integers(0, n_levels, 1_500)
    X = pd.DataFrame({"trade": trade, "home": rng.integers(0, 2, 1_500), "amount": rng.normal(size=1_500)})
    worth = rng.normal(0, 2, n_levels)
    y = (worth[trade] + X["home"] * X["amount"] + rng.logistic(size=1_500) > 0).astype(int)
    model = es.ScoreTableClassifier(**QUICK, categories=["trade", "home"], ridge=None).fit(X, y)
    assert np.allclose(model.decision_function(X), mean_of_forests(model, X), atol=1e-10, rtol=0)


def test_a_level_never_seen_goes_where_missing_goes():
    model, X, _ = fitted()
    unseen = X.head(50).assign(job=pd.Series(["z"] * 50, dtype=object), home=["boat"] * 50, branch=99)
    missing = X.head(50).assign(job=None, home=None, branch=np.nan)
    assert np.array_equal(model.explain(unseen), model.explain(missing))


def test_levels_codes_and_missing_values_have_cells_of_their_own():
    model, X, _ = fitted()
    tables = model.tables_
    cells = tables.cells(model.numbers(X))
    names = list(X)
    for name, value in (("months", -9), ("months", -8), ("home", "rent"), ("branch", 7)):
        position = names.index(name)
        own = set(cells[position][X[name] == value])
        assert len(own) == 1
        assert not own & set(cells[position][X[name] != value])
    gaps = cells[names.index("gaps")]
    assert set(gaps[X["gaps"].isna()]) == {tables.n_cells(names.index("gaps")) - 1}


def test_a_split_tells_one_level_from_all_others():
    """Sets of levels chosen by their outcomes would fit to chance where levels are many."""
    rng = np.random.default_rng(0)
    trade = rng.choice(np.array(list("abcdefghijkl")), 600)
    y = (np.isin(trade, list("aceg")) ^ (rng.random(600) < 0.2)).astype(int)
    model = es.ScoreTableClassifier(**QUICK).fit(pd.DataFrame({"trade": trade}), y)
    forests = read_forests([booster.model_to_string() for booster in model.boosters_], model.n_rounds_)
    levels_of_a_split = np.unpackbits(forests.levels.view(np.uint8), axis=1).sum(axis=1)
    assert len(levels_of_a_split) > 50
    assert set(levels_of_a_split.tolist()) == {1}


def test_a_split_tells_missing_from_all_levels():
    """One cut is enough where only that a category is missing tells anything."""
    rng = np.random.default_rng(0)
    job = rng.choice(np.array(["a", "b", "c", "d", "e", None], dtype=object), 600)
    y = (pd.isna(job) ^ (rng.random(600) < 0.1)).astype(int)
    model = es.ScoreTableClassifier(max_leaves=2, max_rounds=1, ridge=None, random_cuts=False, bags=1)
    reasons = model.fit(pd.DataFrame({"job": job}), y).explain(pd.DataFrame({"job": ["a", "b", "c", "d", "e", None]}))
    assert len(np.unique(reasons[:5])) == 1
    assert reasons[5] > reasons[0]


def test_codes_stand_outside_the_order():
    """The invented truth: -9 is worst, and months lower the chance. The tables may say both."""
    model, X, _ = fitted(monotone={"months": -1}, max_rounds=300)
    directions = [-1 if name == "months" else 0 for name in X]
    assert list(violations(model.tables_, directions)) == []
    row = X.head(1).assign(gaps=0.0, job="a", home="own", branch=11, amount=0.0, flag=False)
    chance = {months: model.predict_proba(row.assign(months=months))[0, 1] for months in (-9.0, 0.0, 30.0, 59.0)}
    assert chance[-9] > chance[0] >= chance[30] >= chance[59]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.data())
def test_rounded_tables_keep_directions_and_a_tampered_cell_is_found(seed, data):
    model, X, _ = fitted(seed, monotone={"amount": 1, "months": -1, "gaps": 1})
    directions = [{"amount": 1, "months": -1, "gaps": 1}.get(name, 0) for name in map(str, X)]
    points = in_whole_points(model.tables_, points_per_log_odds(model.tables_, SCALE), SCALE)
    for tables in (model.tables_, points):
        assert list(violations(tables, directions)) == []
    steps = [
        (table, axis)
        for table in points.tables
        for axis, feature in enumerate(table.features)
        if directions[feature] and len(points.cuts[feature])
    ]
    table, axis = data.draw(st.sampled_from(steps))
    cell = list(data.draw(st.tuples(*(st.integers(0, size - 1) for size in cells_of(table).shape))))
    cell[axis] = data.draw(st.integers(0, len(points.cuts[table.features[axis]]) - 1))
    after = (*cell[:axis], cell[axis] + 1, *cell[axis + 1 :])
    before = cells_of(table)[after]
    cells_of(table)[after] = cells_of(table)[tuple(cell)] - directions[table.features[axis]]
    assert any(wrong.along == points.feature_names[table.features[axis]] for wrong in violations(points, directions))
    cells_of(table)[after] = before
    assert list(violations(points, directions)) == []


def cells_of(table: ScoreTable) -> np.ndarray:
    return table.values  # noqa: PD011 - a score table's, not a data frame's


SCALE = Scale(minimum=0, maximum=1000, blank=550, points_to_double_odds=50, source="a test")


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([np.int32, np.int64, np.float64, np.float32]), st.booleans())
def test_few_rows_many_rows_and_threads_give_the_same(seed, dtype, whole):
    """Blocks, plain Python for a few rows, any number of threads and either memory order: the same bytes."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-20, 20, (500, 5)).astype(float)
    y = (X[:, 0] + X[:, 1] * X[:, 2] / 10 + rng.normal(0, 9, 500) > 0).astype(int)
    tables: ScoreTables = es.ScoreTableClassifier(**QUICK).fit(X, y).tables_
    if whole:
        tables = in_whole_points(tables, points_per_log_odds(tables, SCALE), SCALE)
    fresh = rng.integers(-40, 40, (70_000, 5)).astype(dtype)
    reasons, totals = tables.reasons(fresh), tables.totals(fresh)
    assert np.array_equal(reasons, tables.reasons(np.asfortranarray(fresh), threads=3))
    assert np.array_equal(totals, tables.totals(fresh, threads=2))
    assert np.array_equal(reasons[:40], np.concatenate([tables.reasons(fresh[i : i + 1]) for i in range(40)]))
    assert np.array_equal(totals[:40], np.concatenate([tables.totals(fresh[i : i + 4]) for i in range(0, 40, 4)]))
    cells = tables.cells(fresh)
    plain = tables.base + sum(cells_of(table)[tuple(cells[f] for f in table.features)] for table in tables.tables)
    assert np.allclose(totals, plain, atol=1e-12, rtol=0)
    assert np.allclose(tables.base + reasons.sum(axis=1, dtype=tables.dtype), totals, atol=1e-10, rtol=0)


def test_no_rows_at_all_are_no_reasons():
    model, X, _ = fitted()
    numbers = model.numbers(X)[:0]
    assert model.tables_.reasons(numbers).shape == (0, X.shape[1])
    assert model.tables_.totals(numbers).shape == (0,)


def test_the_number_of_jobs_changes_nothing():
    X, y = applicants(3, 600)
    made = [es.ScoreTableClassifier(**{**QUICK, "bags": 4, "n_jobs": jobs}).fit(X, y) for jobs in (1, 2)]
    assert np.array_equal(made[0].decision_function(X), made[1].decision_function(X))
    assert made[0].pairs_ == made[1].pairs_


def test_clones_pipelines_and_grids():
    X, y = applicants(4, 600)
    model = es.ScoreTableClassifier(**QUICK, monotone={"amount": 1}, special={"months": (-9, -8, -7)})
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, X, y, scoring="roc_auc", cv=3).mean() > 0.7
    grid = GridSearchCV(model, {"max_pairs": [0, 3]}, scoring="roc_auc", cv=3).fit(X, y)
    assert set(grid.best_params_) == {"max_pairs"}
    numbers = X[["amount", "gaps"]]
    pipeline = make_pipeline(StandardScaler(), es.ScoreTableClassifier(**QUICK)).fit(numbers, y)
    assert pipeline.predict(numbers).shape == y.shape


def test_weights_count():
    X, y = applicants(5, 600)
    model = es.ScoreTableClassifier(**QUICK)
    even = model.fit(X, y).predict_proba(X)[:, 1].mean()
    towards = clone(model).fit(X, y, sample_weight=np.where(y == 1, 5.0, 1.0)).predict_proba(X)[:, 1].mean()
    assert towards > even + 0.1


def test_a_weight_below_0_is_refused():
    X, y = applicants(5, 200)
    with pytest.raises(ValueError, match="sample_weight must be 0 or more"):
        es.ScoreTableClassifier(**QUICK).fit(X, y, sample_weight=np.where(y == 1, -1.0, 1.0))


def test_nothing_is_printed_while_forests_grow(capfd):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2)).round(1)  # one pair: nothing more to split long before growing stops
    y = (X[:, 0] > 0) ^ (rng.random(400) < 0.1)
    for _ in range(4):
        es.ScoreTableClassifier(bags=4, n_jobs=4, max_leaves=64, patience=100).fit(X, y)
    assert capfd.readouterr() == ("", "")


def test_frames_of_polars_and_pandas_are_one():
    X, y = applicants(6, 600)
    model = es.ScoreTableClassifier(**QUICK).fit(X, y)
    other = clone(model).fit(pl.from_pandas(X), y)
    assert list(other.feature_names_in_) == list(X)
    assert np.array_equal(model.predict_proba(X), other.predict_proba(pl.from_pandas(X)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"monotone": {"nobody": 1}}, "monotone must name features"),
        ({"monotone": {"home": 1}}, "have no order"),
        ({"monotone": [1, 0]}, r"monotone must give"),
        ({"special": {"nobody": [1]}}, "special must name features"),
        ({"categories": ["nobody"]}, "categories must name features"),
        ({"baseline": [0, 0]}, "baseline must have shape"),
        ({"bags": 0}, "bags must be a whole number, 1 or more"),
        ({"max_pairs": 1.5}, "max_pairs must be a whole number"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between"),
        ({"validation_fraction": "half"}, "validation_fraction must lie between"),
        ({"special": {"months": -9}}, "special must give for each feature it names a list"),
        ({"special": {"months": [np.nan]}}, "codes that are finite numbers"),
        ({"special": {"months": [np.inf]}}, "codes that are finite numbers"),
        ({"special": {"months": "none"}}, "codes that are finite numbers"),
        ({"special": ["months"]}, "special must give for each feature"),
        ({"random_cuts": "yes"}, "random_cuts must be True or False"),
        ({"random_cuts": 1}, "random_cuts must be True or False"),
        ({"n_jobs": 0}, "n_jobs must be a whole number other than 0"),
        ({"n_jobs": "all"}, "n_jobs must be a whole number other than 0"),
        ({"ridge": np.inf}, "ridge must be a finite number above 0"),
        ({"ridge": (1.0, np.nan)}, "ridge must be a finite number above 0"),
        ({"learning_rate": np.inf}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": True}, "learning_rate must be a finite number above 0"),
        ({"l2": None}, "l2 must be a finite number, 0 or more"),
        ({"monotone": 1}, "monotone must give"),
        ({"categories": "home"}, "categories must list features"),
        ({"categories": 0}, "categories must list features"),
        ({"pair_across": 3}, "pair_across must give a label for each"),
        ({"pair_across": {"months": "record"}}, "pair_across must name every feature of X. It lacks 'amount'"),
        ({"baseline": {"nobody": 0.0}}, "baseline must name features of X"),
        ({"special": {"months": iter([-9])}}, "special must give for each feature it names a list"),
        ({"categories": iter(["months"])}, "categories must list features"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(options, says):
    X, y = applicants(7, 200)
    with pytest.raises(ValueError, match=says):
        es.ScoreTableClassifier(**{**QUICK, **options}).fit(X, y)


@pytest.mark.parametrize(
    "groups",
    [
        np.where(np.arange(200) < 3, np.nan, np.arange(200)),
        np.array([None] * 3 + ["someone"] * 197, dtype=object),
        np.zeros((200, 2)),
    ],
)
def test_groups_that_do_not_say_whose_a_row_is_are_refused(groups):
    X, y = applicants(7, 200)
    with pytest.raises(ValueError, match="groups must say of every row whose it is"):
        es.ScoreTableClassifier(**QUICK).fit(X, y, groups=groups)


def test_a_lazy_frame_is_to_be_collected():
    X, y = applicants(7, 200)
    lazy = pl.from_pandas(X).lazy()
    with pytest.raises(ValueError, match="lazy frame holds none yet: collect it"):
        es.ScoreTableClassifier(**QUICK).fit(lazy, y)
    with pytest.raises(ValueError, match="lazy frame holds none yet: collect it"):
        es.ScoreTableClassifier(**QUICK).fit(X, y).predict(lazy)


def test_logarithms_of_chances_are_exact_where_chances_are_near_0():
    model, X, _ = fitted()
    assert np.allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), atol=0, rtol=1e-12)
    far_off = np.array([-800.0, 0.0, 800.0])
    vars(model)["decision_function"] = lambda _: far_off
    logarithms = model.predict_log_proba(X)
    assert np.allclose(logarithms, [[0, -800], [-np.log(2), -np.log(2)], [-800, 0]], atol=1e-300, rtol=1e-15)


def test_a_value_missing_where_none_was_counts_as_the_median():
    X, y = applicants(8, 400)
    model = es.ScoreTableClassifier(**QUICK).fit(X, y)
    row = X.head(1)
    absent, median = row.assign(amount=np.nan), row.assign(amount=X["amount"].median())
    assert np.array_equal(model.explain(absent), model.explain(median))


@pytest.mark.parametrize(("count", "positives"), [(95, 40), (1500, 3)])
def test_forests_grown_without_rows_held_out_do_not_depend_on_jobs(count, positives):
    """Few rows, or few of one class: nothing is held out, and directions need several stages."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (count, 6)).astype(float)
    y = np.zeros(count, dtype=int)
    y[np.argsort(-(X[:, 0] * X[:, 1] - X[:, 2]))[:positives]] = 1
    options = {**QUICK, "bags": 4, "monotone": [1, 1, -1, -1, 1, 1], "min_people": 1}
    one, two = (es.ScoreTableClassifier(**{**options, "n_jobs": jobs}).fit(X, y) for jobs in (1, 2))
    assert np.array_equal(one.decision_function(X), two.decision_function(X))


def test_the_rows_of_a_group_are_held_out_together(monkeypatch):
    X, y = applicants(9, 600)
    groups, splits = np.arange(600) // 5, []
    held_out = es.ScoreTableClassifier._held_out

    def noted(*arguments: Any) -> Any:
        splits.append(held_out(*arguments))
        return splits[-1]

    monkeypatch.setattr(es.ScoreTableClassifier, "_held_out", noted)
    es.ScoreTableClassifier(**{**QUICK, "bags": 3}).fit(X, y, groups=groups)
    assert len(splits) == 3
    for learn, hold_out in splits:
        assert sorted([*learn, *hold_out]) == list(range(600))
        assert set(groups[learn]).isdisjoint(groups[hold_out])
        assert len(hold_out) > 0


def test_rows_of_no_weight_are_no_rows():
    X, y = applicants(9, 600)
    weight = np.repeat([1.0, 0.0], 300)
    weighted = es.ScoreTableClassifier(**QUICK).fit(X, y, sample_weight=weight)
    without = es.ScoreTableClassifier(**QUICK).fit(X.head(300), y[:300], sample_weight=weight[:300])
    assert np.array_equal(weighted.decision_function(X), without.decision_function(X))


@given(
    st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64, np.bool_, np.float32]),
    st.lists(st.floats(-(2.0**17), 2.0**17, width=32), min_size=1, max_size=5, unique=True),
    st.integers(0, 10**6),
)
def test_numbers_of_every_type_lie_in_the_same_cells(dtype, cuts, seed):
    rng = np.random.default_rng(seed)
    ends = np.array(sorted(cuts), dtype=np.float64)
    values = np.arange(len(ends) + 1) - int(np.searchsorted(ends, 0.0))
    tables = ScoreTables(("a",), (ends,), (False,), np.zeros(1), 550, (ScoreTable((0,), values.astype(np.int64)),))
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        near = [min(max(int(end), bounds.min), bounds.max) for end in ends]
        column = np.array([bounds.min, bounds.max, 0, *near], dtype=dtype)
    else:
        column = np.concatenate([[0, 1], ends, np.nextafter(ends, 0)]).astype(dtype)
    vectors = rng.permutation(np.resize(column, 100))[:, None]
    expected = np.searchsorted(ends, vectors[:, 0].astype(np.float64)) - int(np.searchsorted(ends, 0.0))
    assert np.array_equal(tables.reasons(vectors)[:, 0], expected)
    assert np.array_equal(np.concatenate([tables.reasons(vectors[i : i + 1])[:, 0] for i in range(100)]), expected)
    assert np.array_equal(tables.totals(vectors), 550 + expected)


def test_reasons_too_large_for_a_small_type_are_whole():
    pair = ScoreTable((0, 1), np.array([[0, -25_000], [25_000, 25_000]]))
    single = ScoreTable((0,), np.array([0, -40_000]))
    half = np.array([0.5])
    tables = ScoreTables(("a", "b"), (half, half), (False, False), np.zeros(2), 20_000, (pair, single))
    rows = np.ones((20, 2), dtype=np.int32)
    assert tables.reasons(rows).tolist() == [[37_500 - 40_000, -12_500]] * 20
    assert np.array_equal(tables.reasons(rows[:1]), tables.reasons(rows)[:1])


def test_sums_at_the_edge_of_a_type_of_numbers_are_as_great_for_many_rows_as_for_one():
    for most in (2**15 - 1, 2**15, 2**15 + 1):
        single = ScoreTable((0,), np.array([0, most]))
        tables = ScoreTables(("a",), (np.array([0.5]),), (False,), np.zeros(1), 0, (single,))
        assert tables.totals(np.ones((40, 1), dtype=np.int32)).tolist() == [most] * 40
        assert tables.reasons(np.ones((1, 1), dtype=np.int32)).tolist() == [[most]]


def test_below_the_lowest_code_there_is_none_for_many_rows_as_for_one():
    single = ScoreTable((0,), np.array([0, 1, 50]))
    codes = (np.array([-9.0]),)
    tables = ScoreTables(("a",), (np.array([5.0]),), (False,), np.zeros(1), 0, (single,), codes)
    rows = np.array([[-10], [-9], [0], [9]])
    assert [tables.totals(row[None, :]).tolist() for row in rows] == [[0], [50], [0], [1]]
    assert tables.totals(np.repeat(rows, 20, axis=0)).tolist() == np.repeat([0, 50, 0, 1], 20).tolist()


def test_tables_that_cannot_be_rounded_on_a_scale_say_so():
    half = np.array([0.5])
    single = ScoreTable((0,), np.array([0.0, 1.0]))
    tables = ScoreTables(("a",), (half,), (False,), np.zeros(1), 0.0, (single,) * 1000)
    with pytest.raises(ValueError, match="cannot be rounded to whole points"):
        points_per_log_odds(tables, SCALE)


def test_labels_that_are_numbers_are_labels_and_not_positions():
    X, y = applicants(10, 300)
    numbered = pd.DataFrame(X[["amount", "gaps"]].to_numpy(), columns=[1, 2])
    model = es.ScoreTableClassifier(**QUICK, monotone={1: 1}).fit(numbered, y)
    assert model._directions() == (1, 0)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0), 2**31 - 1])
def test_any_random_state_will_do(random_state):
    X, y = applicants(11, 300)
    first, second = (
        es.ScoreTableClassifier(**QUICK, random_state=copy.deepcopy(random_state)).fit(X, y) for _ in range(2)
    )
    assert min(first.score(X, y), second.score(X, y)) > 0.7  # 0.81 to 0.85 for 60 states; half would say the same
    assert np.array_equal(first.explain(X), second.explain(X)) == (random_state is not None)  # None: other each time


@settings(max_examples=30)
@given(
    st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=6, unique=True).map(sorted),
    st.data(),
    st.sampled_from(["number", "gaps", "codes"]),
    st.booleans(),
)
def test_a_cut_drawn_by_lot_may_be_any_cut(values, data, kind, random_cuts):
    cut = data.draw(st.integers(1, len(values) - 1))
    levels = np.repeat(values, 40)
    y = (levels >= values[cut]).astype(int)
    X = levels[:, None].copy()
    if kind == "gaps":  # those on one side of the cut are all missing
        X[y == data.draw(st.integers(0, 1)), 0] = np.nan
    model = es.ScoreTableClassifier(
        **QUICK, random_cuts=random_cuts, max_pairs=0, special={0: values} if kind == "codes" else None
    )
    assert (model.fit(X, y).predict(X) == y).all()


def test_nothing_asks_lightgbm_for_more_than_one_thread(monkeypatch):
    """Its number of threads is the whole process's: to change it while another thread is at work ends the process."""
    threads = []

    def watch(of: type, name: str) -> None:
        called = getattr(of, name)
        given = inspect.signature(called)

        def watched(*arguments: Any, **options: Any) -> Any:
            asked = given.bind(*arguments, **options).arguments
            if "model_str" not in asked:  # to read a forest sets nothing
                threads.append({**(asked.get("params") or {}), **asked.get("kwargs", {})}.get("num_threads"))
            return called(*arguments, **options)

        monkeypatch.setattr(of, name, watched)

    for of, name in ((lgb.Dataset, "__init__"), (lgb.Booster, "__init__"), (lgb.Booster, "predict")):
        watch(of, name)
    X, y = applicants(0, 300)
    es.ScoreTableClassifier(**QUICK, min_people=2).fit(X, y, groups=np.arange(300) // 2)
    rows = Rows(X[["months"]].fillna(0).to_numpy(dtype=np.int32), y.astype(float))
    measured_beside_peers(rows, rows, {}, seed=0)
    assert len(threads) > 10
    assert set(threads) == {1}


def test_leaves_are_counted_a_few_trees_at_a_time():
    """The leaves of every tree at once are more than what a forest is grown from takes."""
    groups = np.arange(600) // 3
    X, y = applicants(0, 600)
    model = es.ScoreTableClassifier(**{**QUICK, "bags": 1}, learning_rate=0.01, min_people=5)
    model.fit(X[["amount", "gaps"]], y, groups=groups)
    given = X[["amount", "gaps"]].to_numpy()
    (booster,) = model.boosters_
    leaves = np.asarray(booster.predict(given, pred_leaf=True), dtype=int)
    looked_at = []

    class Watched:
        num_trees = booster.num_trees

        def predict(self, *arguments: Any, **options: Any) -> Any:
            found = booster.predict(*arguments, **options)
            looked_at.append(found.size)
            return found

    fewest = min(len(set(groups[tree == leaf])) for tree in leaves.T for leaf in np.unique(tree))
    assert _fewest_people_in_a_leaf(Watched(), given, groups) == fewest == model.smallest_leaf_
    assert sum(looked_at) == leaves.size
    assert max(looked_at) < leaves.size


@pytest.mark.parametrize("listed", [pd.Index, np.array, set, tuple])
def test_categories_are_named_by_whatever_lists_them(listed):
    X, y = applicants(7, 200)
    numbers = X[["amount", "months"]].fillna(0.0).astype(int)
    model = es.ScoreTableClassifier(**QUICK, categories=listed(["amount", "months"])).fit(numbers, y)
    assert [feature.levels is None for feature in model.features_] == [False, False]


@pytest.mark.parametrize("mapping", [dict, pd.Series])
def test_what_is_given_by_name_need_not_be_in_order(mapping):
    X, y = applicants(7, 200)
    numbers = X[["amount", "months"]]
    by_name = es.ScoreTableClassifier(
        **QUICK,
        monotone=mapping({"months": -1, "amount": +1}),
        baseline=mapping({"months": 30.0, "amount": 0.0}),
        pair_across=mapping({"months": "record", "amount": "record"}),
    ).fit(numbers, y)
    in_order = es.ScoreTableClassifier(
        **QUICK, monotone=[+1, -1], baseline=[0.0, 30.0], pair_across=["record", "record"]
    ).fit(numbers, y)
    assert by_name.pairs_ == []
    assert by_name.explain(numbers).tolist() == in_order.explain(numbers).tolist()


@pytest.mark.parametrize("codes", [(-9, -8, -7), [-9.0, -8.0, -7.0], np.array([-9, -8, -7]), pd.Series([-9, -8, -7])])
@pytest.mark.parametrize("mapping", [dict, pd.Series])
def test_codes_may_be_given_by_any_mapping_as_any_list(mapping, codes):
    X, y = applicants(7, 200)
    model = clone(es.ScoreTableClassifier(**QUICK, special=mapping({"months": codes}))).fit(X, y)
    assert model.features_[2].special.tolist() == [-9.0, -8.0, -7.0]
    assert repr(model)


def test_a_series_of_single_codes_says_that_lists_are_needed():
    X, y = applicants(7, 200)
    with pytest.raises(ValueError, match="special must give for each feature it names a list of codes"):
        es.ScoreTableClassifier(**QUICK, special=pd.Series({"months": -9})).fit(X, y)


def test_what_is_given_by_name_is_given_once():
    X, y = applicants(7, 200)
    model = es.ScoreTableClassifier(**QUICK, monotone=pd.Series([1, -1], index=["amount", "amount"]))
    with pytest.raises(ValueError, match="Got 'amount' again"):
        model.fit(X[["amount", "months"]], y)


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
@pytest.mark.parametrize("kind", ["whole", "gaps", "flags"])
def test_numbers_beside_none_are_numbers(kind, missing):
    """As pandas writes them when None is put in place of what is missing."""
    X, y = applicants(0, 300)
    numbers = X[["amount", "gaps"]].assign(
        months=X["months"].fillna(0).round().astype(int), flag=X["flag"].astype(float).where(X["gaps"].notna())
    )
    of_objects = numbers.astype(object).where(numbers.notna(), missing)
    if kind == "flags":
        of_objects["flag"] = numbers["flag"].eq(1).astype(object).where(numbers["flag"].notna(), missing)
    columns = {"whole": ["months"], "gaps": ["amount", "gaps"], "flags": ["gaps", "flag"]}[kind]
    numbers, of_objects = numbers[columns], of_objects[columns]
    assert set(of_objects.dtypes) == {np.dtype(object)}
    expected = es.ScoreTableClassifier(**QUICK).fit(numbers, y).explain(numbers)
    assert np.array_equal(es.ScoreTableClassifier(**QUICK).fit(of_objects, y).explain(of_objects), expected)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda X: X.rename(columns={"gaps": "home"}), "X must name each column once. Got 'home' again"),
        (lambda X: X.assign(gaps=[[1]] * len(X)), "X must not hold a list, but 'gaps' does"),
        (lambda X: X.assign(gaps=1j), "Complex data not supported, but 'gaps' holds some"),
        (lambda X: X.assign(gaps=pd.Series([10**400] * len(X), dtype=object)), "X must hold numbers in 'gaps'"),
    ],
)
def test_columns_that_cannot_be_learnt_from_are_named(changed, says):
    X, y = applicants(0, 300)
    with pytest.raises(ValueError, match=says):
        es.ScoreTableClassifier(**QUICK).fit(changed(X), y)


def test_what_is_asked_later_must_be_of_the_kind_that_was_learnt():
    X, y = applicants(0, 300)
    model = es.ScoreTableClassifier(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="X must hold numbers in 'gaps'"):
        model.predict(X.assign(gaps="x"))
    by_position = es.ScoreTableClassifier(**QUICK, categories=[0]).fit(X[["months", "gaps"]].to_numpy(), y)
    for other in (None, [1, 2], np.zeros((3, 2, 2))):
        with pytest.raises(ValueError, match=r"2D array|dim"):
            by_position.explain(other)


def test_a_baseline_that_is_none_is_refused_before_anything_is_grown(monkeypatch):
    X, y = applicants(0, 300)
    monkeypatch.setattr(es.ScoreTableClassifier, "_grow_leaves_of_enough", None)
    with pytest.raises(ValueError, match="baseline must give a number for every feature without categories"):
        es.ScoreTableClassifier(**QUICK, baseline=["x"] * X.shape[1]).fit(X, y)


def test_more_people_than_there_are_make_no_leaf():
    X, y = applicants(0, 300)
    blunt = [es.ScoreTableClassifier(**QUICK, min_people=few).fit(X, y).explain(X) for few in (300, 2**31, 2**32 + 1)]
    assert all(np.array_equal(blunt[0], other) for other in blunt)


def test_decimals_are_numbers():
    X, y = applicants(7, 200)
    cents = [None if pd.isna(value) else Decimal(f"{value:.2f}") for value in X["gaps"]]
    of_floats = pd.DataFrame(
        {"gaps": [np.nan if value is None else float(value) for value in cents], "home": X["home"].astype(str)}
    )
    expected = es.ScoreTableClassifier(**QUICK).fit(of_floats, y).explain(of_floats).tolist()
    of_decimals = pa.table({"gaps": cents, "home": X["home"].tolist()})
    for frame in (of_decimals, pl.from_arrow(of_decimals), of_decimals.to_pandas()):
        assert es.ScoreTableClassifier(**QUICK).fit(frame, y).explain(frame).tolist() == expected
        alone = frame.select(["gaps"]) if hasattr(frame, "select") else frame[["gaps"]]
        assert es.ScoreTableClassifier(**QUICK).fit(alone, y).features_[0].levels is None


@pytest.mark.parametrize("first", [date(2025, 1, 1), pd.Timestamp("2025-01-01"), pd.Period("2025-01-01")])
@pytest.mark.parametrize("dtype", [object, None, "category"])
def test_dates_are_refused_however_they_are_held(first, dtype):
    _, y = applicants(7, 200)
    when = pd.Series([None, *(first + timedelta(days=day % 7) for day in range(199))], dtype=dtype)
    with pytest.raises(ValueError, match="must not hold dates or durations, but 'when' does"):
        es.ScoreTableClassifier(**QUICK).fit(pd.DataFrame({"when": when}), y)


@pytest.mark.parametrize("random_cuts", [True, False])
def test_tables_say_what_the_forests_say_of_the_largest_numbers_there_are(random_cuts):
    X, y = applicants(7, 300)
    huge = X[["amount", "gaps"]].abs() * 4e307
    model = es.ScoreTableClassifier(**QUICK, random_cuts=random_cuts).fit(huge, y)
    assert max(model.tables_.cuts[0]) > 1e306
    assert model.decision_function(huge) == pytest.approx(mean_of_forests(model, huge), abs=1e-9)


def test_a_fit_without_groups_does_not_keep_what_one_with_groups_found():
    X, y = applicants(7, 200)
    model = es.ScoreTableClassifier(**QUICK).fit(X, y, groups=np.arange(200))
    assert hasattr(model, "smallest_leaf_")
    assert not hasattr(model.fit(X, y), "smallest_leaf_")
