"""Who has no record that turns between two dates has the same status and the same vector on both."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
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

AGES = (3, 4, 90, 120, 365, 730, 1095)
"""The ages at which a record of the shipped policy comes to count otherwise."""


def turned(records: es.Records, since: date, as_of: date) -> set[str]:
    query = turned_query(shipped_engine().model.scorecard.features, POLICY, since, as_of).sql("duckdb")
    return {subject for (subject,) in records.connect().execute(query).fetchall()}


def standing(records: es.Records, day: date) -> dict[str, tuple]:
    columns = shipped_engine().score_columns(records, day, vectors=True)
    names = ("status", *shipped_engine().feature_names)
    return dict(zip(columns["subject_id"], zip(*(columns[name].tolist() for name in names), strict=True), strict=True))


@st.composite
def days(draw) -> tuple[date, date]:
    """Draw two days such that records drawn around ``AS_OF`` turn between them now and then."""
    since = AS_OF + timedelta(days=draw(st.integers(-40, 1200)))
    return since, since + timedelta(days=draw(st.sampled_from([0, 1, 1, 1, 7, 200])))


@given(towns(consented=False), days())
def test_nobody_whom_the_days_changed_is_passed_over(town, between):
    records, (since, as_of) = read(town), between
    before, after = standing(records, since), standing(records, as_of)
    assert {subject for subject in after if after[subject] != before.get(subject)} <= turned(records, since, as_of)


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
