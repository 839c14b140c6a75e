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
    people,
    plain_consent,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
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


TURNING = (
    *(("commitments", "due_on", age) for age in (4, 120, 365, 730)),
    *(("commitments", "outcome_on", age) for age in (120, 365, 730)),
    *(("civic_points", "earned_on", age) for age in (90, 365, 730)),
    *(("penalties", "decided_on", age) for age in (365, 730, 1095)),
    *((table, column.name, 0) for table in TABLES for column in TABLES[table].columns if column.type.sql == "DATE"),
)
"""The days of a row, and the ages at which it may turn."""


@st.composite
def people_who_may_turn(draw, name: str) -> Person:
    """Draw someone's records, and move all their days so that a record may turn on ``AS_OF``: else one seldom does."""
    person = draw(people(name, consented=draw(st.sampled_from([True, True, True, False]))))
    table, column, age = draw(st.sampled_from(TURNING))
    days = sorted({row[column] for row in getattr(person, table) if row[column]})
    if not days:
        return person
    by = AS_OF - draw(st.sampled_from(days)) - timedelta(days=age)
    moved = {
        table: tuple(
            {name: cell + by if type(cell) is date else cell for name, cell in row.items()}
            for row in getattr(person, table)
        )
        for table in TABLES
    }
    return Person(person.subject_id, **moved)


@given(st.tuples(*(people_who_may_turn(f"p{number}") for number in range(8))), st.sampled_from([1, 1, 1, 40]))
@settings(max_examples=80)
def test_nobody_whom_the_days_changed_is_passed_over(town, days):
    records, since = read(list(town)), AS_OF - timedelta(days=days)
    before, after = standing(records, since), standing(records, AS_OF)
    assert {subject for subject in after if after[subject] != before.get(subject)} <= turned(records, since, AS_OF)


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
