"""Promise 7: more of a good thing never lowers it, more of a bad thing never raises it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    POLICY,
    compared,
    days_ago,
    engines,
    random_engine,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    towns,
    turned_around,
)

from egretscore.features import Aggregate, Feature, Prior
from egretscore.scoring.tables import ScoreTable, violations

CATEGORIES = st.sampled_from([category.id for category in POLICY.categories])
KINDS = st.sampled_from([kind.id for kind in POLICY.kinds])
GRACE = POLICY.commitments.grace_days


def none_rises(before: dict[str, int], after: dict[str, int], prefix: tuple[str, ...]) -> bool:
    return all(after[name] <= points for name, points in before.items() if name.startswith(prefix))


@given(engines(), towns(), CATEGORIES, days_ago(0, 1200), st.integers(0, 30_000))
def test_another_standing_penalty_never_raises_a_score_or_its_reason(engine, town, category, decided, fine):
    worse = [p.with_row("penalties", standing_penalty(p.subject_id, category, decided, fine)) for p in town]
    before, after = compared(engine, town, worse)
    for subject, score in before.scores.items():
        assert after.scores[subject] <= score
        assert none_rises(before.reasons[subject], after.reasons[subject], ("penalties_",))


COMMITMENTS = ("kept_", "late_", "partly_", "unkept", "unfulfilled", "keeping_rate")


@given(
    engines(),
    towns(),
    KINDS,
    days_ago(GRACE + 1, 900),
    st.sampled_from([None, "fulfilled", "partly", "unfulfilled"]),
    st.integers(GRACE + 1, 200),
)
def test_another_broken_commitment_never_raises_a_score_or_its_reason(engine, town, kind, due, outcome, late_by):
    known_on = None if outcome is None else due + timedelta(days=late_by)
    worse = [p.with_row("commitments", settled_commitment(p.subject_id, kind, due, outcome, known_on)) for p in town]
    before, after = compared(engine, town, worse)
    for subject, score in before.scores.items():
        assert after.scores[subject] <= score
        assert none_rises(before.reasons[subject], after.reasons[subject], COMMITMENTS)


@given(engines(), towns(), KINDS, days_ago(-60, 900), st.integers(-GRACE, 90))
def test_keeping_one_more_commitment_never_lowers_a_score_or_its_reason(engine, town, kind, due, ahead):
    better = [
        p.with_row("commitments", settled_commitment(p.subject_id, kind, due, "fulfilled", due - timedelta(days=ahead)))
        for p in town
    ]
    before, after = compared(engine, better, town)
    for subject, score in before.scores.items():
        assert after.scores[subject] <= score
        assert none_rises(before.reasons[subject], after.reasons[subject], COMMITMENTS)


@given(engines(), towns(), st.integers(0, 300))
def test_fulfilling_an_overdue_commitment_never_lowers_a_score(engine, town, days):
    """Whatever became of it before: open, kept in part or found unfulfilled."""
    settled = []
    for person in town:
        unkept = [i for i, row in enumerate(person.commitments) if row["outcome"] != "fulfilled"]
        if unkept:
            row = person.commitments[unkept[0]]
            day = max(row["made_on"], AS_OF - timedelta(days=days))
            person = person.changed("commitments", unkept[0], outcome="fulfilled", outcome_on=day)  # noqa: PLW2901 - the same person, better off
        settled.append(person)
    before, after = compared(engine, town, settled)
    for subject, score in before.scores.items():
        assert after.scores[subject] >= score
        assert none_rises(after.reasons[subject], before.reasons[subject], COMMITMENTS)


@given(engines(), st.integers(0, 10**6), st.data())
def test_every_reason_moves_only_its_own_way_over_the_whole_input_space(engine, seed, data):
    """Any vector, any feature: one step further never moves score or reason against its direction."""
    card = engine.model.scorecard
    rng = np.random.default_rng(seed)
    vectors = np.column_stack([rng.integers(f.lowest, f.cap + 1, 200) for f in card.features])
    position = data.draw(st.integers(0, len(card.features) - 1))
    feature = card.features[position]
    further = vectors.copy()
    further[:, position] = np.minimum(feature.cap, vectors[:, position] + rng.integers(0, feature.cap + 1, 200))
    for tables in (card.points, card.log_odds):
        change = (tables.totals(further) - tables.totals(vectors)) * feature.direction
        assert change.min() >= -1e-12
        own = (tables.reasons(further)[:, position] - tables.reasons(vectors)[:, position]) * feature.direction
        assert own.min() >= -1e-12
    signs = card.points.reasons(vectors) * [f.direction for f in card.features]
    assert (signs[vectors >= 0] >= 0).all()


@given(engines(), towns())
def test_no_record_of_civic_points_takes_and_no_penalty_gives(engine, town):
    records = read(town)
    for person in town:
        for effect in engine.explain_each_record(records, person.subject_id, AS_OF):
            assert {"civic_points": effect.points >= 0, "penalties": effect.points <= 0}.get(effect.table, True)


def test_the_shipped_tables_are_proved(engine):
    card = engine.model.scorecard
    assert list(card.problems()) == []
    directions = [feature.direction for feature in card.features]
    assert all(direction in (-1, +1) for direction in directions)
    assert list(violations(card.points, directions)) == []
    assert list(violations(card.log_odds, directions)) == []


@pytest.mark.parametrize("unit", ["points", "log_odds"])
@given(st.sampled_from(["shipped", *range(13)]), st.data())
def test_the_proof_catches_a_tampered_cell(unit, which, data):
    """Push any one cell of any table beyond its neighbour: the proof must see it."""
    engine = shipped_engine() if which == "shipped" else random_engine(which)
    card = engine.model.scorecard
    tables = getattr(card, unit)
    directions = [feature.direction for feature in card.features]
    number = data.draw(st.integers(0, len(tables.tables) - 1))
    table = tables.tables[number]
    axis = data.draw(st.integers(0, len(table.features) - 1))
    cell = tuple(data.draw(st.integers(0, size - 1 - (i == axis))) for i, size in enumerate(table.values.shape))
    neighbour = tuple(i + (j == axis) for j, i in enumerate(cell))
    tampered = table.values.copy()
    beyond = 1 if unit == "points" else 1e-9
    tampered[cell] = tampered[neighbour] + beyond * directions[table.features[axis]]
    changed = replace(
        tables, tables=(*tables.tables[:number], replace(table, values=tampered), *tables.tables[number + 1 :])
    )
    found = list(violations(changed, directions))
    assert any(v.cell == cell and v.along == card.features[table.features[axis]].name for v in found)


@given(engines(), st.data())
def test_no_feature_goes_the_other_way_under_another_name(engine, data):
    """Turn a feature and its tables around together: what it counts says which way it may go, not what it is called."""
    position = data.draw(st.integers(0, len(engine.feature_names) - 1))
    card = turned_around(engine.model, position, name="something_else", code="SOMETHING").scorecard
    assert [problem for problem in card.problems() if "something_else goes the wrong way" in problem]


@pytest.mark.parametrize(
    ("name", "otherwise", "why"),
    [
        ("civic_recent", {"weights": ((90, -1),)}, "a point would take away"),
        ("kept_recent", {"where": {}}, "what was kept and what was broken would count alike"),
        ("kept_recent", {"where": {"settlement": ("kept", "late")}}, "likewise"),
        ("unkept", {"where": {"settlement": ("late",)}}, "to fulfil what is overdue would count against its holder"),
        ("keeping_rate", {"where": {}}, "nothing would count against it"),
        ("keeping_rate", {"where": {"settlement": ("kept",), "kind": ("other",)}}, "other kinds kept would lower it"),
        ("keeping_rate", {"source": "civic_points", "where": {"activity": ("volunteering",)}}, "others would lower it"),
        ("keeping_rate", {"prior": Prior(850, -12, ((365, 2),))}, "a few records would turn it around"),
        ("keeping_rate", {"prior": Prior(1001, 12, ((365, 2),))}, "one kept more would lower it"),
        ("penalties_general", {"source": "rumours"}, "of no source"),
        ("civic_recent", {"where": {"points": ("5",)}}, "more points on a record would count less"),
        ("civic_recent", {"weights": ()}, "nothing would be counted"),
        ("penalties_general", {"weights": ((30, 1), (365, 50))}, "it would count more for being older"),
        ("penalties_general", {"weights": ((365, 1), (30, 1))}, "of which ages?"),
        ("penalties_general", {"weights": ((30, 2), (30, 1))}, "which of the two at that age?"),
        ("keeping_rate", {"prior": Prior(-1, 12, ((365, 2),))}, "it would begin below the worst it can be"),
        ("keeping_rate", {"prior": Prior(850, 0, ((365, 2),))}, "of a blank file it would be nothing"),
        ("keeping_rate", {"prior": Prior(850, 12, ((365, 1), (730, 2)))}, "a breach would count more for being older"),
        ("penalties_fines", {"column": "age_days"}, "likewise"),
        ("kept_days_ahead", {"column": "subject_id"}, "of no quantity"),
        (
            "unkept",
            {
                "aggregate": Aggregate.VARIETY,
                "column": "settlement",
                "words": ("late", "overdue"),
                "where": {"settlement": ("late", "partly", "overdue", "unfulfilled")},
            },
            "to fulfil one of two that are overdue would make two kinds of one",
        ),
    ],
)
def test_no_feature_counts_what_cannot_go_one_way(engine, name: str, otherwise: Mapping[str, object], why: str):
    def changed(feature: Feature) -> Feature:
        return replace(feature, **otherwise) if feature.name == name else feature

    card = replace(engine.model.scorecard, features=tuple(map(changed, engine.model.scorecard.features)))
    assert [problem for problem in card.problems() if f"{name} counts" in problem], why


def test_features_that_one_record_can_move_together_never_share_a_table(engine):
    card = engine.model.scorecard
    pairs = [table.features for table in card.points.tables if len(table.features) == 2]
    assert pairs
    assert all(card.features[a].source != card.features[b].source for a, b in pairs)


def test_a_table_of_two_features_that_one_record_can_move_together_is_refused(engine):
    card = engine.model.scorecard
    bare = card.log_odds
    of = tuple(sorted(engine.feature_names.index(name) for name in ("penalties_general", "penalties_fines")))
    along = [-np.arange(len(bare.cuts[position]) + 1) / 50.0 for position in of]
    values = along[0][:, None] + along[1][None, :]
    at_blank = values[tuple(bare.baseline_cells[position] for position in of)]
    joined = replace(bare, tables=(*bare.tables, ScoreTable(of, values - at_blank)))
    assert [problem for problem in replace(card, log_odds=joined).problems() if "one source" in problem]


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        (lambda points: replace(points, base=1000), "the tables reach from .* off the scale"),
        (lambda points: replace(points, base=0), "the tables reach from -.* off the scale"),
        (
            lambda points: replace(points, tables=(*points.tables, ScoreTable((0,), points.tables[0].values * np.nan))),
            "the points table of .* holds a number that is not finite",
        ),
    ],
)
def test_points_that_are_no_score_are_no_proof(engine, points, problem):
    card = replace(engine.model.scorecard)
    vars(card)["points"] = points(card.points)  # as rounding them would never give
    assert any(re.fullmatch(problem, found) for found in card.problems())
