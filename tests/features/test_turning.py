"""Who has no record that turns between two dates has the same status and the same vector on both."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    Person,
    engine_under,
    people,
    plain_consent,
    policies,
    read,
    settled_commitment,
    standing_penalty,
)

import egretscore as es
from egretscore.features import declare_features
from egretscore.features.turning import turned_query
from egretscore.records.schema import TABLES


def ages_that_count(policy: es.Policy) -> dict[tuple[str, str], set[int]]:
    """Return at which ages, counted from which day, a record comes to count otherwise under a policy."""
    weights, rules = policy.weights_by_age, policy.commitments

    def of(*uses: tuple[tuple[int, int], ...]) -> set[int]:
        return {age for steps in uses for age, _ in steps}

    return {
        ("civic_points", "earned_on"): of(weights.points, weights.recent_points, weights.active_months),
        ("penalties", "decided_on"): {
            *of(weights.general_penalties, weights.serious_penalties),
            *(severity.retention_days for severity in policy.severities if severity.id != "minor"),
        },
        ("commitments", "outcome_on"): of(weights.kept, weights.recent_kept, weights.active_months),
        ("commitments", "due_on"): {
            *of(weights.unkept, weights.recent_unkept),
            *(rules.late_retention_days, rules.partly_retention_days, rules.unkept_retention_days),
            rules.grace_days + 1,
        },
    }


def turned(records: es.Records, since: date, as_of: date) -> set[str]:
    policy = records.policy
    query = turned_query(declare_features(policy), policy, since, as_of).sql("duckdb")
    return {subject for (subject,) in records.connect().execute(query).fetchall()}


def standing(records: es.Records, engine: es.Engine, day: date) -> dict[str, tuple]:
    columns = engine.score_columns(records, day, vectors=True)
    names = ("status", *engine.feature_names)
    return dict(zip(columns["subject_id"], zip(*(columns[name].tolist() for name in names), strict=True), strict=True))


@st.composite
def people_who_may_turn(draw, name: str, policy: es.Policy) -> Person:
    """Draw someone's records, and move all their days so that a record may turn on ``AS_OF``: else one seldom does."""
    person = draw(people(name, consented=draw(st.sampled_from([True, True, True, False]))))
    turning = [(table, day, age) for (table, day), ages in ages_that_count(policy).items() for age in sorted(ages)]
    turning += [(table, c.name, 0) for table in TABLES for c in TABLES[table].columns if c.type.sql == "DATE"]
    table, column, age = draw(st.sampled_from(turning))
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


@given(policies(), st.sampled_from([1, 1, 1, 40]), st.data())
@settings(max_examples=60)
def test_nobody_whom_the_days_changed_is_passed_over(policy, days, data):
    town = [data.draw(people_who_may_turn(f"p{number}", policy)) for number in range(8)]
    records, since, engine = read(town, policy=policy), AS_OF - timedelta(days=days), engine_under(policy)
    before, after = standing(records, engine, since), standing(records, engine, AS_OF)
    assert {subject for subject in after if after[subject] != before.get(subject)} <= turned(records, since, AS_OF)


@pytest.mark.parametrize("day", [date.min, date(3, 1, 1), date(9999, 12, 30), date.max])
def test_no_day_is_too_early_or_too_late(day):
    assert turned(read([Person("p0", consents=(plain_consent("p0"),))]), day, day) == set()


def aged(kind: str, age: int) -> Person:
    """Return someone with one record of a kind, so many days old on ``AS_OF``."""
    name, born = f"{kind}{age}", AS_OF - timedelta(days=age)
    table, row = {
        "kept": ("commitments", settled_commitment(name, "voluntary", born, "fulfilled", born)),
        "broken": ("commitments", settled_commitment(name, "voluntary", born, None, None)),
        "penalty": ("penalties", standing_penalty(name, "licence_revoked", born, 100)),
    }[kind]
    return Person(name, consents=(plain_consent(name),)).with_row(table, row)


@given(policies(), st.sampled_from([0, 1]))
def test_a_record_turns_on_every_day_that_counts_and_on_no_other(policy, day_after):
    """Around each age that counts: on the day itself, and neither the day before nor the day after."""
    counts = ages_that_count(policy)
    kept, broken = counts["commitments", "outcome_on"], counts["commitments", "due_on"]
    penalty = counts["penalties", "decided_on"]
    ages = sorted(set.union(*counts.values()))
    as_of = AS_OF + timedelta(days=day_after)

    def of_age(**turning: set[int]) -> set[str]:
        return {f"{kind}{age}" for kind, turns in turning.items() for age in ages if age + day_after in turns}

    records = read([aged(kind, age) for kind in ("kept", "broken", "penalty") for age in ages], policy=policy)
    found = turned(records, as_of - timedelta(days=1), as_of)
    assert of_age(kept=kept, broken=broken, penalty=penalty) <= found
    # The keeping rate counts both those kept and those broken: at its ages either may be found.
    assert found <= of_age(kept=kept | broken, broken=kept | broken, penalty=penalty)
