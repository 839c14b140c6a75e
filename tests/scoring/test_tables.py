"""The tables that are the score, and LightGBM's and shap's own words on the same model."""

from __future__ import annotations

import re
from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from whole_records import POLICY, shipped_engine

from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.publication import _queries, counting_rule, publication
from egretscore.scoring.scorecard import read_scorecard, write_scorecard
from egretscore.scoring.tables import ScoreTable, ScoreTables


def vectors_of(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    features = shipped_engine().model.scorecard.features
    dense = np.column_stack([rng.integers(f.lowest, f.cap + 1, count) for f in features])
    return np.where(rng.random(dense.shape) < 0.5, 0, dense)


def test_shap_agrees_with_the_unrounded_tables(engine):
    """TreeExplainer, one background row of zeros, on the bundle's model.txt."""
    import shap

    booster = lgb.Booster(model_str=engine.model.forest)
    vectors = vectors_of(0, 300).astype(float)
    explainer = shap.TreeExplainer(booster, data=np.zeros((1, vectors.shape[1])), feature_perturbation="interventional")
    card = engine.model.scorecard
    assert np.allclose(explainer.shap_values(vectors), card.log_odds.reasons(vectors), atol=1e-6, rtol=0)
    assert np.isclose(explainer.expected_value, card.log_odds.base, atol=1e-6, rtol=0)


@given(st.integers(0, 10**6))
def test_lightgbm_agrees_with_the_tables(seed):
    engine = shipped_engine()
    vectors = vectors_of(seed, 200)
    raw = lgb.Booster(model_str=engine.model.forest).predict(vectors.astype(float), raw_score=True)
    assert np.allclose(raw, engine.model.scorecard.log_odds.totals(vectors), atol=1e-12, rtol=0)


def test_the_published_scorecard_is_the_model(engine):
    card = engine.model.scorecard
    text = write_scorecard(card)
    again = read_scorecard(text, card.features, card.scale, card.log_odds.base)
    assert write_scorecard(again) == text
    vectors = vectors_of(1, 500)
    assert (again.reasons(vectors) == card.reasons(vectors)).all()
    assert np.array_equal(again.log_odds.totals(vectors), card.log_odds.totals(vectors))


def test_a_scorecard_with_a_changed_or_missing_line_is_refused(engine):
    card = engine.model.scorecard
    lines = write_scorecard(card).splitlines()
    changed = lines[3].rsplit(",", 1)
    for damaged in (
        [*lines[:3], f"{changed[0]},{int(changed[1]) + 1}", *lines[4:]],
        [*lines[:3], *lines[4:]],
        [*lines, lines[3]],
    ):
        with pytest.raises(ValueError, match="table"):
            read_scorecard("\n".join(damaged), card.features, card.scale, card.log_odds.base)


@given(st.integers(1, 400), st.floats(0.01, 20.0), st.sampled_from([-1, +1]))
@example(400, 0.010000000000000002, -1)  # a sum that rounds otherwise than the product
def test_the_steepness_is_the_policys_or_what_the_scale_has_room_for(n_tables, reach, sign):
    """However many tables are rounded the same way; and it can be written down in six digits."""
    alike = ScoreTable((0,), np.array([0.0, sign * reach]))
    log_odds = ScoreTables(("a",), (np.array([0.5]),), (False,), np.zeros(1), 1.0, (alike,) * n_tables)
    scale = POLICY.scale
    factor = points_per_log_odds(log_odds, scale)
    steepest = scale.points_to_double_odds / np.log(2)
    room = (scale.maximum - scale.blank if sign > 0 else scale.blank - scale.minimum) - n_tables / 2
    assert factor == float(f"{factor:.6g}")
    most = min(steepest, room / (n_tables * reach))
    assert factor * (1 - 1e-12) <= most < factor * (1 + 1e-5)
    least, greatest = in_whole_points(log_odds, factor, scale).bounds()
    assert scale.minimum <= least <= greatest <= scale.maximum


def test_the_scorecard_is_small_enough_to_print(engine):
    """Ten A4 pages of sixty lines; a pair table is a grid of at most sixteen steps each way."""
    published = publication(engine.model).split("## Proof")[0].split("## Points of one feature")[1]
    assert len(published.splitlines()) < 600
    assert all(len(cuts) <= 16 for cuts in engine.model.scorecard.points.cuts)


def test_a_text_of_a_policy_does_not_end_its_cell(engine):
    first, *others = engine.model.scorecard.features
    features = (replace(first, en="points: this | that"), *others)
    model = replace(engine.model, scorecard=replace(engine.model.scorecard, features=features))
    line = next(line for line in publication(model).splitlines() if line.startswith(f"| `{first.name}` |"))
    assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_a_model_without_features_of_a_source_is_published_without_its_query():
    """It loads and scores as any other."""
    model = shipped_engine().model
    others = tuple(feature for feature in model.scorecard.features if feature.source != "penalties")
    queries = "\n".join(_queries(replace(model, scorecard=replace(model.scorecard, features=others))))
    assert "FROM civic_points" in queries
    assert "FROM penalties" not in queries


@pytest.mark.parametrize(("back", "wrong"), [(0.0, ["0", "0"]), (1e-9, ["0", "1"]), (1.0, ["1", "1"])])
def test_the_proof_counts_every_step_the_wrong_way(engine, back, wrong):
    """In whole points and before rounding, each by itself."""
    card = engine.model.scorecard
    table = next(table for table in card.log_odds.tables if len(table.features) == 1)
    values = table.values.copy()
    if back:
        values[-1] = values[-2] - back * card.features[table.features[0]].direction
    tables = tuple(ScoreTable(of.features, values) if of is table else of for of in card.log_odds.tables)
    model = replace(engine.model, scorecard=replace(card, log_odds=replace(card.log_odds, tables=tables)))
    assert re.findall(r"(\d+) the wrong way$", publication(model), re.MULTILINE) == wrong


def test_a_publication_says_what_the_model_was_trained_and_held_against(engine):
    model, report = engine.model, engine.model.report
    assert "Trained on invented records" in publication(model)
    assert "invented" not in publication(replace(model, invented=False))
    assert "not learnt from, on later dates than training" in publication(model)
    assert "not learnt from, on the training dates" in publication(replace(model, report=replace(report, later=False)))
    assert "Whether it came true" not in publication(replace(model, report=replace(report, chances=None)))


def test_a_rate_is_counted_against_the_weights_that_it_declares(engine):
    rate = next(feature for feature in engine.model.scorecard.features if feature.prior is not None)
    declared = replace(rate, prior=replace(rate.prior, against=((100, 7),)))
    assert "B: the other standing commitments: 7 each under 100 days old." in counting_rule(declared)
