"""Vectors, worked out a second time in plain Python, row by row, straight from the design."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    POLICY,
    Person,
    days_ago,
    plain_consent,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    towns,
)

import egretscore as es
from egretscore.features import Aggregate, Feature, declare_features
from egretscore.features.query import source_query, vectors_query
from egretscore.policy import parse_policy

RULES = POLICY.commitments
SEVERITY = {category.id: category.severity for category in POLICY.categories}
RETENTION = {severity.id: severity.retention_days for severity in POLICY.severities}


def disputed(person: Person, table: str, record_id: str, day: date) -> bool:
    return any(
        o["table"] == table
        and o["record_id"] == record_id
        and o["filed_on"] <= day
        and (o["resolved_on"] is None or o["resolved_on"] > day or o["outcome"] == "upheld")
        for o in person.objections
    )


def standing_points(person: Person, day: date) -> Iterator[dict[str, Any]]:
    for row in person.civic_points:
        if row["recorded_on"] <= day and not (row["excluded_on"] and row["excluded_on"] <= day):
            yield {"activity": row["activity"], "points": row["points"], "day": row["earned_on"]}


def standing_penalties(person: Person, day: date) -> Iterator[dict[str, Any]]:
    for row in person.penalties:
        known = {
            name: row[name] if row[name] and row[name] <= day else None
            for name in ("effective_on", "revoked_on", "repaired_on")
        }
        severity = SEVERITY[row["category"]]
        if (
            row["recorded_on"] <= day
            and known["effective_on"]
            and not known["revoked_on"]
            and not known["repaired_on"]
            and (day - row["decided_on"]).days < RETENTION[severity]
            and not disputed(person, "penalties", row["decision_no"], day)
        ):
            yield {"severity": severity, "fine_yuan": int(row["fine_yuan"] or 0), "day": row["decided_on"]}


def standing_commitments(person: Person, day: date) -> Iterator[dict[str, Any]]:
    for row in person.commitments:
        if row["recorded_on"] > day:
            continue
        known = row["outcome_on"] is not None and row["outcome_on"] <= day
        outcome = row["outcome"] if known else None
        if outcome == "fulfilled" and (row["outcome_on"] - row["due_on"]).days <= RULES.grace_days:
            ahead = max(0, (row["due_on"] - row["outcome_on"]).days)
            yield {"kind": row["kind"], "settlement": "kept", "days_ahead": ahead, "day": row["outcome_on"]}
            continue
        age = (day - row["due_on"]).days
        if age <= RULES.grace_days or disputed(person, "commitments", row["commitment_id"], day):
            continue
        settlement = {"fulfilled": "late", "partly": "partly", "unfulfilled": "unfulfilled", None: "overdue"}[outcome]
        retention = {"late": RULES.late_retention_days, "partly": RULES.partly_retention_days}
        if age < retention.get(settlement, RULES.unkept_retention_days):
            yield {"kind": row["kind"], "settlement": settlement, "days_ahead": 0, "day": row["due_on"]}


STANDING = {
    "civic_points": standing_points,
    "penalties": standing_penalties,
    "commitments": standing_commitments,
}


def weight(steps: Any, age: int) -> int:
    return next((worth for days, worth in steps if age < days), 0)


def value(feature: Feature, rows: list[dict[str, Any]], day: date) -> int:
    chosen = [row for row in rows if all(row[column] in words for column, words in feature.where.items())]
    ages = [(day - row["day"]).days for row in chosen]
    weights = [weight(feature.weights, age) for age in ages]
    counted = [row for row, worth in zip(chosen, weights, strict=True) if worth]
    match feature.aggregate:
        case Aggregate.COUNT:
            number = sum(weights)
        case Aggregate.SUM:
            number = sum(row[feature.column] * worth for row, worth in zip(chosen, weights, strict=True))
        case Aggregate.REPEATS:
            number = max(0, sum(weights) - 1)
        case Aggregate.MONTHS:
            number = len({(row["day"].year, row["day"].month) for row in counted})
        case Aggregate.VARIETY:
            number = len({row[feature.column] for row in counted})
        case Aggregate.RATE:
            prior, kept = feature.prior, sum(weights)
            assert prior is not None
            others = [row for row in rows if row not in chosen]
            broken = sum(weight(prior.against, (day - row["day"]).days) for row in others)
            number = (1000 * kept + prior.permille * prior.weight) // (kept + broken + prior.weight) - prior.permille
    return min(number, feature.cap)


@given(towns(), days_ago(0, 400))
def test_vectors_are_what_the_declarations_say(town, day):
    check_vectors(town, day)


def test_a_commitment_counts_to_the_last_day_of_its_weight():
    ages = {days for feature in declare_features(POLICY) for days, _ in feature.every_step}
    around = range(-RULES.grace_days - 2, RULES.grace_days + 3)
    town: list[Person] = []
    for age, days, late in product(sorted(ages), around, around):
        due = AS_OF - timedelta(days=age + days)
        subject = f"p{len(town)}"
        kept = settled_commitment(subject, POLICY.kinds[0].id, due, "fulfilled", due + timedelta(days=late))
        town.append(Person(subject, consents=(plain_consent(subject),), commitments=(kept,)))
    check_vectors(town, AS_OF)


def test_every_day_of_a_record_counts_from_that_day_on():
    """Each rule about a day from both sides: on the as-of date, and on the day after it."""
    point = {"activity": POLICY.activities[0].id, "points": 7, "excluded_on": None}
    fined = {"category": "fine", "fine_yuan": 99.99}
    town: list[Person] = []

    def someone(**tables: Any) -> None:
        name = f"p{len(town)}"
        made = {table: tuple({**row, "subject_id": name} for row in rows) for table, rows in tables.items()}
        town.append(Person(name, consents=(plain_consent(name),), **made))

    for day in (AS_OF, AS_OF + timedelta(days=1)):
        long_ago = AS_OF - timedelta(days=60)
        for days in ({"recorded_on": day}, {"excluded_on": day}):
            someone(civic_points=[{**point, "record_id": "r", "earned_on": long_ago, "recorded_on": long_ago, **days}])
        penalty = standing_penalty("", "fine", long_ago, 0) | fined
        for name in ("recorded_on", "effective_on", "revoked_on", "repaired_on"):
            someone(penalties=[{**penalty, name: day}])
        objection = {"table": "penalties", "record_id": penalty["decision_no"], "filed_on": long_ago}
        decisions: Iterable[dict[str, Any]] = (
            {"filed_on": day, "resolved_on": None, "outcome": None},
            *({"resolved_on": day, "outcome": outcome} for outcome in ("upheld", "rejected", "withdrawn")),
        )
        for decision in decisions:
            someone(penalties=[penalty], objections=[{**objection, **decision}])
        for outcome in ("fulfilled", "partly", "unfulfilled"):
            someone(commitments=[settled_commitment("", POLICY.kinds[0].id, long_ago, outcome, day)])
    ages = {RULES.grace_days + 1, RULES.late_retention_days, RULES.partly_retention_days, RULES.unkept_retention_days}
    for age, before, known in product(sorted(ages), (0, 1), (None, "fulfilled", "partly", "unfulfilled")):
        due = AS_OF - timedelta(days=age - before)
        known_on = known and min(AS_OF, due + timedelta(days=RULES.grace_days + 1))
        someone(commitments=[settled_commitment("", POLICY.kinds[0].id, due, known, known_on)])
    check_vectors(town, AS_OF)


@pytest.mark.parametrize(("age", "months", "kinds"), [(99, 1, 1), (100, 0, 0)])
def test_months_and_kinds_are_those_of_records_young_enough_whatever_else_older_ones_count_in(age, months, kinds):
    policy = parse_policy(POLICY.text.replace("active_months = [[730, 1]]", "active_months = [[100, 1]]"))
    day = AS_OF - timedelta(days=age)
    kept = settled_commitment("p0", POLICY.kinds[0].id, day, "fulfilled", day)
    records = read([Person("p0", consents=(plain_consent("p0"),), commitments=(kept,))], policy=policy)
    query = vectors_query(declare_features(policy), policy).sql("duckdb")
    found = records.connect().execute(query, {"as_of": AS_OF}).fetchdf().iloc[0]
    assert (found["kept_months"], found["kept_variety"]) == (months, kinds)
    assert found["keeping_rate"] > 0, "where it still counts"


def check_vectors(town: list[Person], day: date) -> None:
    engine = shipped_engine()
    vectors = engine.vectors(read(town), day)
    for person in town:
        for feature in engine.model.scorecard.features:
            rows = list(STANDING[feature.source](person, day))
            assert vectors.loc[person.subject_id, feature.name] == value(feature, rows, day), feature.name


@given(towns(consented=False))
def test_vectors_are_whole_numbers_without_gaps_inside_their_range(town):
    engine = shipped_engine()
    vectors = engine.vectors(read(town), AS_OF)
    assert all(kind == "int32" for kind in vectors.dtypes)
    for feature in engine.model.scorecard.features:
        assert vectors[feature.name].between(feature.lowest, feature.cap).all()


@given(st.sampled_from(declare_features(POLICY)))
def test_a_declaration_survives_its_way_through_the_bundle(feature):
    import json

    assert Feature.from_dict(json.loads(json.dumps(feature.to_dict()))) == feature


def test_declarations_are_complete():
    features = declare_features(POLICY)
    assert len({feature.name for feature in features}) == len(features)
    assert len({feature.code for feature in features}) == len(features)
    assert {feature.indicator for feature in features} <= {indicator.id for indicator in POLICY.indicators}
    assert all(feature.zh and feature.en and feature.unit_zh for feature in features)
    assert 20 <= len(features) <= 32


def test_each_source_is_one_query_that_renders_for_duckdb_and_spark():
    import sqlglot

    features = declare_features(POLICY)
    for source in ("civic_points", "penalties", "commitments"):
        query = source_query(source, features, POLICY)
        for dialect in ("duckdb", "spark"):
            parsed = sqlglot.parse_one(query.sql(dialect), dialect=dialect, into=sqlglot.exp.Select)
            assert {c.alias_or_name for c in parsed.selects} == {
                "subject_id",
                *(f.name for f in features if f.source == source),
            }
    assert vectors_query(features, POLICY).sql("spark").count("LEFT JOIN") >= 3


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("volunteering", "recent", "the name 'civic_recent'"),
        ("convenience", "months", "the name 'kept_months'"),
        ("convenience", "ahead", "the code 'CM-KEPT-AHEAD'"),
    ],
)
def test_words_that_give_two_features_one_name_or_code_are_refused(old, new, says):
    with pytest.raises(es.PolicyError, match=says):
        declare_features(parse_policy(POLICY.text.replace(f'"{old}"', f'"{new}"')))
