"""Promise 4: only settled facts count against anyone, and to put something right never lowers a score."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from whole_records import (
    AS_OF,
    POLICY,
    RECORDS,
    Person,
    compared,
    decided_together,
    engines,
    frame,
    frames,
    plain_consent,
    read,
    scored,
    settled_commitment,
    standing_penalty,
    towns,
    with_objection,
    write,
)

import egretscore as es

YESTERDAY = AS_OF - timedelta(days=1)
SETTLED = st.sampled_from(
    [category.id for category in POLICY.categories if category.severity in ("general", "serious")]
)


def changed_first(person: Person, table: str, **cells) -> Person:
    return person.changed(table, 0, **cells) if getattr(person, table) else person


def with_settled_facts(person: Person) -> Person:
    """Give a person a penalty that counts and a broken commitment that counts, each their first record."""
    penalty = standing_penalty(person.subject_id, "fine", AS_OF - timedelta(days=90), 900)
    broken = settled_commitment(
        person.subject_id, "library_loan", AS_OF - timedelta(days=200), "unfulfilled", AS_OF - timedelta(days=190)
    )
    return replace(person, penalties=(penalty, *person.penalties), commitments=(broken, *person.commitments))


def objected(person: Person, table: str, **decision) -> Person:
    """Let a person object to their first record of a table."""
    rows = getattr(person, table)
    return with_objection(person, table, rows[0], AS_OF - timedelta(days=30), **decision) if rows else person


def test_the_penalties_of_one_decision_are_contested_together(engine):
    fine = standing_penalty("p0", "fine", AS_OF - timedelta(days=90), 900)
    other = {**fine, "category": "huge_fine", "fine_yuan": 3000.0}
    person = Person("p0", (plain_consent("p0"),), penalties=(fine, other))
    (effect,) = engine.explain_each_record(read([person]), "p0", AS_OF)
    without = with_objection(person, "penalties", fine, AS_OF)
    scores = [engine.explain(read([of]), "p0", AS_OF).score for of in (person, without)]
    assert effect.points == scores[0] - scores[1] < 0


@given(engines(), towns(), st.data())
def test_an_open_objection_gives_back_what_a_record_is_said_to_take(engine, town, data):
    number = data.draw(st.integers(0, len(town) - 1))
    person = data.draw(decided_together(town[number]))
    records = read([*town[:number], person, *town[number + 1 :]])
    score = engine.explain(records, person.subject_id, AS_OF).score
    for effect in engine.explain_each_record(records, person.subject_id, AS_OF):
        if effect.points < 0:
            objecting = with_objection(person, effect.table, {RECORDS[effect.table]: effect.record_id}, AS_OF)
            objected_to = read([*town[:number], objecting, *town[number + 1 :]])
            assert engine.explain(objected_to, person.subject_id, AS_OF).score == score - effect.points
            break


@given(engines(), SETTLED, st.integers(0, 5000), st.integers(0, 300))
def test_a_penalty_that_stands_counts(engine, category, fine, days):
    blank = Person("p0", (plain_consent("p0"),))
    penalty = standing_penalty("p0", category, AS_OF - timedelta(days=days), fine)
    vectors = engine.vectors(read([blank.with_row("penalties", penalty)]), AS_OF)
    assert vectors.filter(like="penalties_").to_numpy().any()


WHY_NOT = {
    "a warning": {"category": "warning"},
    "public criticism": {"category": "public_criticism"},
    "a fine by summary procedure": {"category": "summary_fine"},
    "not yet of final effect": {"effective_on": None},
    "of final effect tomorrow": {"effective_on": AS_OF + timedelta(days=1)},
    "revoked": {"revoked_on": YESTERDAY},
    "revoked today": {"revoked_on": AS_OF},
    "repaired": {"repaired_on": YESTERDAY},
    "repaired today": {"repaired_on": AS_OF},
    "general and a year old": {"category": "fine", "decided_on": AS_OF - timedelta(days=365)},
    "serious and three years old": {"category": "huge_fine", "decided_on": AS_OF - timedelta(days=1095)},
    "on file from tomorrow": {"recorded_on": AS_OF + timedelta(days=1)},
}


@given(engines(), towns(most=3))
def test_what_is_not_settled_or_no_longer_stands_does_not_count(engine, town):
    def with_a_fine(person: Person, **cells) -> Person:
        decided = cells.get("decided_on", AS_OF - timedelta(days=100))
        return person.with_row("penalties", standing_penalty(person.subject_id, "fine", decided, 900) | cells)

    with_one = [[with_a_fine(person, **cells) for person in town] for cells in WHY_NOT.values()]
    without, *with_it = compared(engine, town, *with_one)
    for why_not, found in zip(WHY_NOT, with_it, strict=True):
        assert found == without, why_not


@given(engines(), towns(most=3), st.integers(0, 20), st.integers(0, 20))
def test_a_penalty_under_dispute_or_won_does_not_count(engine, town, filed_ago, decided_ago):
    def disputed(person: Person, outcome: str | None) -> Person:
        penalty = standing_penalty(person.subject_id, "fine", AS_OF - timedelta(days=100), 900)
        objection = {
            "table": "penalties",
            "record_id": penalty["decision_no"],
            "subject_id": person.subject_id,
            "filed_on": AS_OF - timedelta(days=filed_ago),
            "resolved_on": None if outcome is None else AS_OF - timedelta(days=min(decided_ago, filed_ago)),
            "outcome": outcome,
        }
        return person.with_row("penalties", penalty).with_row("objections", objection)

    ways = [[disputed(person, outcome) for person in town] for outcome in (None, "upheld")]
    without, pending, won = compared(engine, town, *ways)
    assert pending == without
    assert won == without


@given(engines(), towns())
def test_a_disputed_record_counts_against_nobody(engine, town):
    tables = ("penalties", "commitments")
    ways = [[objected(person, table) for person in town] for table in tables]
    before, *disputed = compared(engine, town, *ways)
    for table, after in zip(tables, disputed, strict=True):
        assert all(after.scores[subject] >= score for subject, score in before.scores.items()), table


@pytest.mark.parametrize("table", ["penalties", "commitments"])
def test_who_objects_disputes_their_own_record_and_nobody_elses(engine, table):
    """One decision, or one id, may be about several people."""
    number = RECORDS[table]
    town = [with_settled_facts(Person(name, (plain_consent(name),))) for name in ("p0", "p1")]
    town = [person.changed(table, 0, **{number: "shared"}) for person in town]
    before = engine.vectors(read(town), AS_OF)
    after = engine.vectors(read([town[0], objected(town[1], table)]), AS_OF)
    assert after.loc["p0"].equals(before.loc["p0"])
    assert not after.loc["p1"].equals(before.loc["p1"])


COUNTED = {"penalties": "penalties_general", "commitments": "unfulfilled"}


@pytest.mark.parametrize(("table", "other"), [("penalties", "commitments"), ("commitments", "penalties")])
@pytest.mark.parametrize("amount", [None, 7], ids=["objected to", "contradicted"])
def test_what_disputes_a_record_disputes_none_of_the_same_number_in_another_table(engine, table, other, amount):
    person = with_settled_facts(Person("p0", (plain_consent("p0"),)))
    for of in (table, other):
        person = person.changed(of, 0, **{RECORDS[of]: "7"})
    (row,) = getattr(person, table)
    delivered_again = {**row, "recorded_on": row["recorded_on"] + timedelta(days=1)}
    delivered_again["fine_yuan" if table == "penalties" else "amount_yuan"] = amount
    disputed = person.with_row(table, delivered_again) if amount else objected(person, table)
    before = engine.vectors(read([person]), AS_OF).loc["p0"]
    after = engine.vectors(es.read_records(frames([disputed])), AS_OF).loc["p0"]
    assert before[COUNTED[table]] > after[COUNTED[table]] == 0
    assert after[COUNTED[other]] == before[COUNTED[other]] > 0


def test_who_objects_twice_to_a_commitment_they_kept_has_kept_one(engine):
    due = AS_OF - timedelta(days=50)
    kept = settled_commitment("p0", "library_loan", due, "fulfilled", due)
    person = Person("p0", (plain_consent("p0"),), commitments=(kept,))
    before = engine.vectors(read([person]), AS_OF)
    for days in (20, 10):
        person = with_objection(person, "commitments", kept, AS_OF - timedelta(days=days))
    assert len(person.objections) == 2
    assert engine.vectors(read([person]), AS_OF).equals(before)


@pytest.mark.parametrize("both", [True, False], ids=["two rows of a delivery", "a row of it and a kept one"])
@pytest.mark.parametrize(("table", "amount"), [("penalties", "fine_yuan"), ("commitments", "amount_yuan")])
@given(engines(), towns(most=3))
@settings(max_examples=5)
def test_a_record_that_an_addition_contradicts_counts_as_one_disputed(table, amount, both, engine, town):
    """Whatever is not clear of a record counts against nobody, and takes from nobody what counts for them."""
    town = [with_settled_facts(person) for person in town]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        es.keep_records(write(town, folder / "records"), folder / "kept", threads=1)
        (folder / "added").mkdir()
        firsts = [getattr(person, table)[0] for person in town]
        others = [{**row, amount: (row[amount] or 0) + 1} for row in firsts]
        added = frame(table, [*firsts, *others] if both else others)
        parquet.write_table(added, folder / "added" / f"{table}.parquet")
        es.add_records(folder / "added", folder / "kept", threads=1)
        found = engine.score_columns(es.read_records(folder / "kept", threads=1), AS_OF, reasons=True)
    expected = engine.score_columns(read([objected(p, table) for p in town]), AS_OF, reasons=True)
    for name, values in expected.items():
        assert found[name].tolist() == values.tolist(), name


@pytest.mark.parametrize("table", RECORDS)
@given(engines(), towns())
def test_winning_a_dispute_never_lowers_and_losing_one_changes_nothing(table, engine, town):
    def decided(outcome: str) -> list[Person]:
        return [objected(person, table, resolved_on=YESTERDAY, outcome=outcome) for person in town]

    without = [
        replace(person, objections=person.objections[:-1]) if getattr(person, table) else person
        for person in decided("upheld")
    ]
    before, won, lost, given_up = compared(engine, without, *map(decided, ("upheld", "rejected", "withdrawn")))
    assert all(won.scores[subject] >= score for subject, score in before.scores.items())
    assert lost.scores == before.scores
    assert given_up.scores == before.scores


@given(engines(), towns(), st.sampled_from(["repaired_on", "revoked_on"]))
def test_repairing_or_revoking_a_penalty_never_lowers(engine, town, how):
    put_right = [
        changed_first(person, "penalties", **{how: max(YESTERDAY, person.penalties[0]["decided_on"])})
        if person.penalties
        else person
        for person in town
    ]
    before, after = compared(engine, town, put_right)
    for subject, score in before.scores.items():
        assert after.scores[subject] >= score
        for name in (n for n in before.reasons[subject] if n.startswith("penalties_")):
            assert after.reasons[subject][name] >= before.reasons[subject][name]


@given(engines(), towns(), st.integers(1, 800))
def test_an_older_penalty_never_counts_more(engine, town, days):
    def aged(person: Person) -> Person:
        if not person.penalties:
            return person
        row = person.penalties[0]
        dates = {k: v - timedelta(days=days) for k, v in row.items() if k == "decided_on"}
        return person.changed("penalties", 0, **dates)

    before, after = compared(engine, town, [aged(person) for person in town])
    assert all(after.scores[subject] >= score for subject, score in before.scores.items())


@given(engines(), towns(most=3), st.integers(0, 1200))
def test_nothing_counts_against_anyone_for_longer_than_its_retention(engine, town, later):
    """Look again when every penalty is three years old and every breach two: nothing holds anyone back."""
    day = AS_OF + timedelta(days=1095 + 150 + later)
    after = scored(engine, town, day)
    for reasons in after.reasons.values():
        assert all(points >= 0 for points in reasons.values())
