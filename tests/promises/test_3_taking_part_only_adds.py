"""Promise 3: taking part only adds. Points raise or leave a score; an excluded record has never been."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    POLICY,
    civic_points,
    compared,
    engines,
    people,
    random_engine,
    read,
    towns,
    turned_around,
)

import egretscore as es
from egretscore.records.schema import TABLES


@given(engines(), towns(), st.data())
def test_earning_points_never_lowers_a_score_or_a_reason(engine, town, data):
    earned = [person.with_row("civic_points", data.draw(civic_points(person.subject_id, 99))) for person in town]
    before, after = compared(engine, town, earned)
    for subject, score in before.scores.items():
        assert after.scores[subject] >= score
        for name, points in before.reasons[subject].items():
            if name.startswith("civic_"):
                assert after.reasons[subject][name] >= points >= 0


@given(engines(), towns(), st.integers(0, 300))
def test_more_points_on_a_record_never_lower_a_score(engine, town, more):
    richer = [
        person.changed("civic_points", 0, points=person.civic_points[0]["points"] + more)
        if person.civic_points
        else person
        for person in town
    ]
    before, after = compared(engine, town, richer)
    assert all(after.scores[subject] >= score for subject, score in before.scores.items())


@given(engines(), towns(), st.integers(0, 100))
def test_an_excluded_record_reads_as_if_it_had_never_been(engine, town, days):
    excluded, never = [], []
    for person in town:
        if person.civic_points:
            row = person.civic_points[0]
            day = max(row["earned_on"], AS_OF - timedelta(days=days))
            if day > AS_OF:
                row = {**row, "earned_on": AS_OF, "recorded_on": AS_OF}
                person = person.changed("civic_points", 0, **row)  # noqa: PLW2901 - the same person, made fit
                day = AS_OF
            excluded.append(person.changed("civic_points", 0, excluded_on=day))
            never.append(person.without("civic_points", 0))
        else:
            excluded.append(person)
            never.append(person)
    before, after = compared(engine, excluded, never)
    assert before == after


@given(people("p0"), st.sampled_from(POLICY.activities), st.integers(0, 9_000), st.data())
def test_each_activity_is_capped(person, busiest, more, data):
    row = {**data.draw(civic_points("p0", 99)), "activity": busiest.id, "points": busiest.cap + more}
    row |= {"earned_on": AS_OF, "recorded_on": AS_OF, "excluded_on": None}
    vectors = random_engine(0).vectors(read([person.with_row("civic_points", row)]), AS_OF)
    for activity in POLICY.activities:
        assert 0 <= vectors[f"civic_{activity.id}"].iloc[0] <= activity.cap
    assert vectors[f"civic_{busiest.id}"].iloc[0] == busiest.cap


@given(engines(), st.sampled_from(["civic_lately", "penalties_general_lately", "conduct"]), st.data())
def test_no_model_can_count_points_against_anyone_whatever_it_calls_them(engine, name, data):
    features = engine.model.scorecard.features
    civic = [position for position, feature in enumerate(features) if feature.source == "civic_points"]
    model = turned_around(engine.model, data.draw(st.sampled_from(civic)), name=name)
    with tempfile.TemporaryDirectory() as scratch:
        model.save(Path(scratch) / "model")
        with pytest.raises(es.BundleError, match=f"{name} goes the wrong way"):
            es.load_engine(Path(scratch) / "model")


def test_no_table_has_a_column_for_another_person():
    for table in TABLES.values():
        people_named = [name for name in table.column_names if "subject" in name or "person" in name]
        assert people_named == ["subject_id"]
