"""Who has no record that turns between two dates has the same status and the same vector on both."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    POLICY,
    Person,
    plain_consent,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    towns,
)

import egretscore as es
from egretscore.features.turning import turned_query
from egretscore.records.schema import TABLES

AGES = (4, 90, 120, 365, 730, 1095)
"""The ages at which a record of the shipped policy comes to count otherwise."""


def turned(records: es.Records, since: date, as_of: date) -> set[str]:
    query = turned_query(shipped_engine().model.scorecard.features, POLICY, since, as_of).sql("duckdb")
    return {subject for (subject,) in records.connect().execute(query).fetchall()}


def standing(records: es.Records, day: date) -> dict[str, tuple]:
    columns = shipped_engine().score_columns(records, day, vectors=True)
    names = ("status", *shipped_engine().feature_names)
    return dict(zip(columns["subject_id"], zip(*(columns[name].tolist() for name in names), strict=True), strict=True))


@given(towns(consented=False, most=3), st.data())
@settings(max_examples=150)
def test_nobody_whom_the_days_changed_is_passed_over(town, data):
    """Between two days around one on which a record turns, as a rule, for days drawn at random seldom are."""
    on_file = [day for p in town for t in TABLES for row in getattr(p, t) for day in row.values() if type(day) is date]
    day = data.draw(st.sampled_from(on_file or [AS_OF]))
    as_of = day + timedelta(days=data.draw(st.sampled_from([0, *AGES])) + data.draw(st.sampled_from([0, 0, 1, 30])))
    since = as_of - timedelta(days=data.draw(st.sampled_from([0, 1, 1, 1, 2, 31, 400])))
    records = read(town)
    before, after = standing(records, since), standing(records, as_of)
    assert {subject for subject in after if after[subject] != before.get(subject)} <= turned(records, since, as_of)


@pytest.mark.parametrize("day", [date.min, date(3, 1, 1), date(9999, 12, 30), date.max])
def test_no_day_is_too_early_or_too_late(day):
    assert turned(read([Person("p0", consents=(plain_consent("p0"),))]), day, day) == set()


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("day_after", [0, 1])
def test_a_record_turns_on_one_day_and_on_no_other(age, day_after):
    """Around each age that counts: on the day itself, and neither the day before nor the day after."""

    born = AS_OF - timedelta(days=age)
    town = [Person(name, consents=(plain_consent(name),)) for name in ("kept", "broken", "penalty")]
    town = [
        town[0].with_row("commitments", settled_commitment("kept", "voluntary", born, "fulfilled", born)),
        town[1].with_row("commitments", settled_commitment("broken", "voluntary", born, None, None)),
        town[2].with_row("penalties", standing_penalty("penalty", "licence_revoked", born, 100)),
    ]
    counts = {"kept": {120, 365, 730}, "broken": {4, 120, 365, 730}, "penalty": {365, 730, 1095}}
    as_of = AS_OF + timedelta(days=day_after)
    found = turned(read(town), as_of - timedelta(days=1), as_of)
    assert found == {name for name in counts if age + day_after in counts[name]}
