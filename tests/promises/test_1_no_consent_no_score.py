"""Promise 1: no consent, no score. Not consented, withdrawn or under 18 is a status, never a low number."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from stopping import run
from whole_records import AS_OF, POLICY, Person, as_known, frames, plain_consent, read, shipped_engine, towns, write

import egretscore as es
from egretscore.everyone.on_spark import score_on_spark
from egretscore.explanation import texts
from egretscore.policy import parse_policy
from egretscore.records.parts import PARTS, part_of
from egretscore.records.reading import read_parts
from egretscore.records.schema import TABLES
from egretscore.standing import status_by_consent

LETTERS = [letter.version for letter in POLICY.letters]


def expected_status(person: Person, letters: Collection[str] = LETTERS) -> str:
    """Say in plain Python what the consents of a person amount to on the as-of date, for what some letters cover."""
    known = [row for row in person.consents if row["granted_on"] <= AS_OF]
    withdrawals = [row["withdrawn_on"] for row in known if row["withdrawn_on"] and row["withdrawn_on"] <= AS_OF]
    covering = [row for row in known if row["letter_version"] in letters]
    if not any(not withdrawals or row["granted_on"] > max(withdrawals) for row in covering):
        return "withdrawn" if withdrawals else "not_consented"
    confirmed = [row["granted_on"] for row in covering if row["adult_confirmed"]]
    denied = [row["granted_on"] for row in known if not row["adult_confirmed"]]
    return "scored" if confirmed and all(day < max(confirmed) for day in denied) else "not_adult"


@given(towns(consented=False))
def test_only_who_consents_is_scored(town):
    engine = shipped_engine()
    records = read(town)
    columns = engine.score_columns(records, AS_OF, reasons=True)
    statuses = dict(zip(columns["subject_id"], columns["status"], strict=True))
    for person in town:
        expected = expected_status(person)
        explanation = engine.explain(records, person.subject_id, AS_OF)
        assert explanation.status.value == expected
        if expected != "scored":
            assert engine.explain_each_record(records, person.subject_id, AS_OF) == ()
        assert statuses.get(person.subject_id, "not_consented") == expected
    unscored = columns["status"] != "scored"
    for name, values in columns.items():
        if name == "score" or name.startswith("reason_"):
            assert (values.mask == unscored).all()
    assert set(engine.vectors(records, AS_OF).index) == set(columns["subject_id"][~unscored])


@pytest.mark.parametrize(
    ("consents", "status"),
    [
        ([{"granted_on": AS_OF}], "scored"),
        ([{"granted_on": AS_OF + timedelta(days=1)}], "not_consented"),
        ([{"withdrawn_on": AS_OF}], "withdrawn"),
        ([{"withdrawn_on": AS_OF + timedelta(days=1)}], "scored"),
        ([{"withdrawn_on": AS_OF - timedelta(days=9)}, {"granted_on": AS_OF - timedelta(days=9)}], "withdrawn"),
        ([{"withdrawn_on": AS_OF - timedelta(days=9)}, {"granted_on": AS_OF - timedelta(days=8)}], "scored"),
    ],
)
def test_a_consent_is_in_force_from_its_first_day_to_the_last_before_its_withdrawal(engine, consents, status):
    given_then = tuple(plain_consent("p0") | days for days in consents)
    assert engine.explain(read([Person("p0", given_then)]), "p0", AS_OF).status.value == status


@pytest.mark.parametrize("adult_by", ["2023-A", "2023-B"])
@pytest.mark.parametrize("days", [0, 1])
def test_where_letters_of_one_day_disagree_nobody_is_an_adult(engine, adult_by, days):
    given_on = {"2023-A": AS_OF, "2023-B": AS_OF}
    given_on[adult_by] += timedelta(days=days)
    letters = [
        {**plain_consent("p0"), "letter_version": letter, "granted_on": day, "adult_confirmed": letter == adult_by}
        for letter, day in given_on.items()
    ]
    status = engine.explain(read([Person("p0", tuple(letters))]), "p0", AS_OF + timedelta(days=1)).status.value
    assert status == ("scored" if days else "not_adult")


@pytest.mark.parametrize("purpose", ["scoring", "training"])
@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_letter_that_says_not_adult_is_believed_whatever_it_covers(purpose, days):
    """It tells of the person, not of the purpose: whoever is not an adult is neither scored nor learnt from."""
    text = es.shipped_policy().text
    policy = parse_policy(text.replace('purposes = ["scoring"]', f'purposes = ["{purpose}"]'))
    said_on = AS_OF - timedelta(days=30)
    letters = [
        {**plain_consent("p0"), "granted_on": said_on},
        {
            **plain_consent("p0"),
            "letter_version": "2023-A",
            "adult_confirmed": False,
            "granted_on": said_on + timedelta(days=days),
        },
    ]
    records = read([Person("p0", tuple(letters))], policy=policy)
    for asked in ("scoring", "training"):
        sql = status_by_consent(policy, asked).sql("duckdb")
        found = records.connect().execute(sql, {"as_of": AS_OF}).fetchall()
        assert found == [("p0", "scored" if days < 0 else "not_adult")]


@given(towns(consented=False))
def test_who_is_not_scored_gets_a_status_and_the_ordinary_routes(town):
    engine = shipped_engine()
    records = read(town)
    for person in town:
        explanation = engine.explain(records, person.subject_id, AS_OF)
        if explanation.status.value != "scored":
            assert explanation.score is None
            assert explanation.grade is None
            assert explanation.reasons == ()
            assert explanation.vector == ()
            assert not any(decision.eligible for decision in explanation.benefits)
            text = explanation.text("en")
            assert f"{texts('en')['status'][explanation.status.value]} No score is made." in text
            assert all(decision.benefit.route_en in text for decision in explanation.benefits)


@given(towns(most=3), st.integers(0, 500))
def test_withdrawal_stops_use_from_that_day(town, days):
    engine = shipped_engine()
    day = AS_OF - timedelta(days=days)
    before = read(town)
    withdrawn = read([person.changed("consents", 0, withdrawn_on=day) for person in town])
    for person in town:
        the_day_before = day - timedelta(days=1)
        unchanged = engine.explain(before, person.subject_id, the_day_before)
        assert engine.explain(withdrawn, person.subject_id, the_day_before) == unchanged
        assert engine.explain(withdrawn, person.subject_id, day).status.value == "withdrawn"
        assert engine.explain(withdrawn, person.subject_id, AS_OF).status.value == "withdrawn"


def test_a_letter_that_does_not_cover_scoring_is_no_consent(engine):
    covers_nothing = POLICY.text.replace('purposes = ["scoring"]', "purposes = []")
    person = Person("p0", consents=({**plain_consent("p0"), "letter_version": "2023-A"},))
    assert engine.explain(read([person]), "p0", AS_OF).status.value == "scored"
    strict = es.Engine(replace(engine.model, policy=parse_policy(covers_nothing)))
    assert strict.explain(read([person]), "p0", AS_OF).status.value == "not_consented"


PURPOSES = st.fixed_dictionaries(
    {letter.version: st.sets(st.sampled_from(["scoring", "training"])) for letter in POLICY.letters}
)


def policy_of_letters(purposes: dict[str, set[str]]) -> es.Policy:
    """Return the shipped policy with other purposes for each letter."""
    text = POLICY.text
    for version, covered in purposes.items():
        listed = ", ".join(f'"{purpose}"' for purpose in sorted(covered))
        text = re.sub(rf'(version = "{version}"\npurposes = )\[.*\]', rf"\g<1>[{listed}]", text)
    policy = parse_policy(text)
    assert {letter.version: set(letter.purposes) for letter in policy.letters} == purposes
    return policy


@st.composite
def letters_of_few_days(draw, subject_id):
    """Draw a person whose letters say this and that within a few days."""
    days, withdrawn = st.integers(0, 3), st.sampled_from([None, None, None, 0, 1, 2])
    rows = {}
    for version, day in draw(st.lists(st.tuples(st.sampled_from(LETTERS), days), min_size=1, max_size=4)):
        granted, after = AS_OF - timedelta(days=day), draw(withdrawn)
        rows[version, day] = {
            **plain_consent(subject_id),
            "letter_version": version,
            "adult_confirmed": draw(st.booleans()),
            "granted_on": granted,
            "withdrawn_on": None if after is None else granted + timedelta(days=after),
        }
    return Person(subject_id, tuple(rows.values()))


@given(
    st.tuples(*(letters_of_few_days(f"p{number}") for number in range(5))),
    st.sampled_from([{"scoring"}, {"training"}]),
    st.booleans(),
)
def test_of_letters_with_a_purpose_each_every_purpose_has_its_own_status(town, of_the_first, asked_for_the_first):
    (other,) = {"scoring", "training"} - of_the_first
    policy = policy_of_letters({"2023-A": of_the_first, "2023-B": {other}})
    (purpose,) = of_the_first if asked_for_the_first else {other}
    sql = status_by_consent(policy, purpose).sql("duckdb")
    found = dict(read(town, policy=policy).connect().execute(sql, {"as_of": AS_OF}).fetchall())
    letters = policy.letters_for(purpose)
    for person in town:
        assert found.get(person.subject_id, "not_consented") == expected_status(person, letters)


def test_a_letter_that_does_not_cover_a_purpose_confirms_nobody_as_an_adult_for_it():
    policy = policy_of_letters({"2023-A": {"scoring"}, "2023-B": {"training"}})
    letters = (
        {**plain_consent("p0"), "letter_version": "2023-A", "adult_confirmed": False},
        {**plain_consent("p0"), "letter_version": "2023-B", "granted_on": AS_OF - timedelta(days=9)},
    )
    records = read([Person("p0", letters)], policy=policy)
    found = records.connect().execute(status_by_consent(policy).sql("duckdb"), {"as_of": AS_OF}).fetchall()
    assert found == [("p0", "not_adult")]


def test_a_withdrawal_ends_every_consent_also_to_what_its_letter_does_not_cover():
    letters = (
        plain_consent("p0"),
        {**plain_consent("p0"), "letter_version": "2023-A", "withdrawn_on": AS_OF - timedelta(days=9)},
    )
    sql = status_by_consent(POLICY, "training").sql("duckdb")
    found = read([Person("p0", letters)]).connect().execute(sql, {"as_of": AS_OF}).fetchall()
    assert found == [("p0", "withdrawn")]


@given(towns(consented=False, most=3), PURPOSES, PURPOSES)
def test_nobody_is_scored_but_by_a_letter_that_covers_it_in_both_policies(town, theirs, ours):
    model = shipped_engine().model
    engine = es.Engine(replace(model, policy=policy_of_letters(ours)))
    records = es.read_records(frames(town), policy=policy_of_letters(theirs), threads=1)
    if any(not ours[letter] <= theirs[letter] for letter in ours):
        with pytest.raises(es.RecordsError, match="covers fewer purposes than"):
            engine.score_columns(records, AS_OF)
        return
    columns = engine.score_columns(records, AS_OF)
    statuses = dict(zip(columns["subject_id"], columns["status"], strict=True))
    for person in town:
        covered = [
            row for row in person.consents if "scoring" in ours[row["letter_version"]] & theirs[row["letter_version"]]
        ]
        if not covered:
            assert statuses.get(person.subject_id) != "scored"


def test_nobody_is_scored_under_a_policy_that_takes_a_letter_for_more_than_theirs(engine, tmp_path):
    only_training = tmp_path / "policy.toml"
    only_training.write_text(POLICY.text.replace('purposes = ["scoring"]', 'purposes = ["training"]'), encoding="utf-8")
    person = Person("p0", consents=({**plain_consent("p0"), "letter_version": "2023-A"},))
    es.keep_records(write([person], tmp_path / "records"), tmp_path / "kept", policy=only_training)
    in_memory = es.read_records(frames([person]), policy=only_training)
    for records in (in_memory, es.read_records(tmp_path / "kept")):
        for ask in (
            engine.score,
            engine.vectors,
            engine.score_columns,
            lambda *asked: engine.explain(asked[0], "p0", asked[1]),
        ):
            with pytest.raises(es.RecordsError, match="2023-A covers fewer purposes than"):
                ask(records, AS_OF)
    with pytest.raises(es.RecordsError, match="2023-A covers fewer purposes than"):
        es.score_everyone(engine, tmp_path / "kept", AS_OF, tmp_path / "scores", threads=1)
    with pytest.raises(es.RecordsError, match="2023-A covers fewer purposes than"):
        es.train(in_memory, AS_OF, policy=POLICY)


def test_a_consent_that_cannot_be_read_leaves_its_person_without_one(engine):
    good = plain_consent("p0")
    tables = frames([Person("p0", consents=(good,))])
    withdrawal = "p0,2023-B,true,2026-01-01,the first of June"
    tables["consents"] = [
        tables["consents"],
        {name: [cell] for name, cell in zip(good, withdrawal.split(","), strict=True)},
    ]
    records = es.read_records(tables)
    assert {problem.column for problem in records.problems} == {"withdrawn_on", "subject_id"}
    assert engine.explain(records, "p0", AS_OF).status.value == "not_consented"


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\ufeff", "\u2060"])
def test_a_row_that_names_its_person_with_a_sign_nobody_sees_in_the_id_names_them(engine, sign):
    """It may be a withdrawal that was copied from a page."""
    town = [Person(subject, (plain_consent(subject),)) for subject in ("p-10", "p-20")]
    copied = {**plain_consent(f"p-{sign}1{sign}0"), "withdrawn_on": AS_OF}
    records = es.read_records(frames([*town, Person(copied["subject_id"], (copied,))]))
    statuses = [engine.explain(records, subject, AS_OF).status.value for subject in ("p-10", "p-20")]
    assert statuses == ["not_consented", "scored"]
    assert records.erase("p-10") == 2, "what was set aside as well"


def test_two_lines_run_together_name_a_person_with_a_sign_nobody_sees_in_the_id(engine, tmp_path):
    header = ",".join(TABLES["consents"].column_names)
    rows = (
        "p1,2023-B,true,2024-01-01,\np9,2023-B,true,2024-01-01,2025-01-01p\u00ad1,2023-B,true,2024-01-01,2025-01-01\n"
    )
    (tmp_path / "consents.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
    assert engine.explain(es.read_records(tmp_path), "p1", AS_OF).status.value == "not_consented"


@given(towns(most=3), st.permutations(["subject_id", "letter_version", "adult_confirmed", "granted_on"]), st.data())
@settings(max_examples=15)
def test_a_withdrawal_that_a_line_break_cut_off_its_row_is_not_lost(town, order, data):
    withdrawn = Person("p-withdrawn", ({**plain_consent("p-withdrawn"), "withdrawn_on": AS_OF},))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write([*town, withdrawn], Path(scratch) / "town")
        consents = parquet.read_table(folder / "consents.parquet").select([*order, "withdrawn_on"])
        (folder / "consents.parquet").unlink()
        csv.write_csv(consents, folder / "consents.csv", csv.WriteOptions(quoting_style="needed"))
        header, *lines = (folder / "consents.csv").read_text(encoding="utf-8").splitlines()
        cut_off = data.draw(st.sampled_from(["{}", "\n{}", "\r\n{}", ",,,,\n{}", "{},,,,", '"{}"', "{} ,"])).format(
            AS_OF
        )
        lines = [line.replace(f",{AS_OF}", f",\n{cut_off}") if "p-withdrawn" in line else line for line in lines]
        text = "\n".join([header, *data.draw(st.permutations(lines))])
        (folder / "consents.csv").write_text(text + data.draw(st.sampled_from(["", "\n"])), encoding="utf-8")
        parts = data.draw(st.sampled_from([range(PARTS), [part_of("p-withdrawn")]]))
        records = read_parts(folder, parts, POLICY)
        assert shipped_engine().explain(records, "p-withdrawn", AS_OF).status.value == "not_consented"
        for person in town:
            if part_of(person.subject_id) in parts:
                found = shipped_engine().explain(records, person.subject_id, AS_OF)
                assert found.status.value == expected_status(person)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "  ",
        "\u3000",
        "\x1a",
        "# end of file",
        "EOF",
        ",,,,",
        "p9;2023-B;true;2024-01-01;",
        "nonsense",
        "2026-06-01,x",
    ],
)
def test_what_cannot_be_the_end_of_a_row_is_no_withdrawal_by_the_person_of_the_row_before(engine, tmp_path, line):
    header = ",".join(TABLES["consents"].column_names)
    (tmp_path / "consents.csv").write_text(f"{header}\np1,2023-B,true,2024-01-01,\n{line}\n", encoding="utf-8")
    assert engine.explain(es.read_records(tmp_path), "p1", AS_OF).status.value == "scored"


def test_no_public_path_that_scores_has_a_switch_to_skip_consent():
    public = [getattr(es, name) for name in es.__all__]
    methods = [path for of in public if inspect.isclass(of) for name, path in vars(of).items() if name[0] != "_"]
    functions = [path for path in (*public, *methods, score_on_spark) if inspect.isfunction(path)]
    scoring = [path for path in functions if "as_of" in inspect.signature(path).parameters]
    assert {es.Engine.vectors, es.Engine.score, es.Engine.explain, es.train, es.score_everyone} < set(scoring)
    for path in scoring:
        names = set(inspect.signature(path).parameters)
        assert "records" in names
        assert not any("consent" in name or "force" in name or "skip" in name for name in names)


@given(towns(most=4))
def test_erasing_someone_leaves_nothing_of_theirs(town):
    records = read(town)
    erased = town[0].subject_id
    held = sum(len(getattr(town[0], table)) for table in frames(town))
    assert records.erase(erased) == held
    database = records._connection  # type: ignore[attr-defined]  # these are in a database
    for (table,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        everything = str(database.execute(f'SELECT * FROM "{table}"').fetchall())
        assert f"'{erased}'" not in everything


@given(towns(most=4))
@settings(max_examples=8)
def test_erasing_someone_from_kept_records_leaves_nothing_of_theirs_on_disk(town):
    engine = shipped_engine()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "records").mkdir()
        for name, table in frames(town).items():
            parquet.write_table(table, Path(scratch) / "records" / f"{name}.parquet")
        es.keep_records(Path(scratch) / "records", Path(scratch) / "kept", threads=1)
        kept = es.read_records(Path(scratch) / "kept", threads=1)
        others = [person.subject_id for person in town[1:]]
        before = [engine.explain(kept, subject, AS_OF) for subject in others]
        erased = town[0].subject_id
        assert kept.erase(erased) == sum(len(getattr(town[0], table)) for table in frames(town))
        assert engine.explain(kept, erased, AS_OF).status.value == "not_consented"
        assert [engine.explain(kept, subject, AS_OF) for subject in others] == before
        for file in (Path(scratch) / "kept").rglob("*.parquet"):
            assert erased not in parquet.read_table(file)["subject_id"].to_pylist()


MOMENTS = st.builds(
    "die_at(folder, {0!r}, {1}, {2})".format,
    st.sampled_from(["begin_adding", "write_table", "write_about_part", "_remove_all_others", "finish_adding"]),
    st.integers(1, 4),
    st.booleans(),
)


@given(towns(), st.lists(st.tuples(st.sampled_from(["add", "add", "erase"]), MOMENTS), min_size=1, max_size=2))
@settings(max_examples=6)
def test_who_was_erased_never_comes_back_wherever_an_addition_was_stopped(town, stopped):
    """Either nobody is erased before it is finished, or nothing is left to finish that would bring them back."""
    erased = town[-1].subject_id
    with tempfile.TemporaryDirectory() as scratch:
        folder, kept = Path(scratch), Path(scratch) / "kept"
        before = [Person(p.subject_id, **{t: getattr(p, t)[::2] for t in TABLES}) for p in town]
        es.keep_records(write(before, folder / "records"), kept, threads=1)
        add = ["add", "--records", str(write(town, folder / "new")), "--kept", str(kept)]
        for command, moment in stopped:
            run(add if command == "add" else ["erase", erased, "--kept", str(kept)], moment)
        if refused(lambda: es.read_records(kept).erase(erased)):
            es.add_records(folder / "new", kept, threads=1)
            es.read_records(kept).erase(erased)
        if refused(lambda: shipped_engine().score(es.read_records(kept, threads=1), AS_OF)):
            es.add_records(folder / "new", kept, threads=1)
        scores = shipped_engine().score(es.read_records(kept, threads=1), AS_OF)
        assert set(scores["subject_id"]) == {person.subject_id for person in town} - {erased}
        for file in kept.rglob("*.parquet"):
            assert erased not in parquet.read_table(file)["subject_id"].to_pylist()


def refused(ask: Callable[[], object]) -> bool:
    """Return whether nothing of the kind is done before an addition is finished."""
    try:
        ask()
    except es.RecordsError as error:
        if "stopped half-way" not in str(error):
            raise
        return True
    return False


@given(towns(consented=False), st.integers(1, 900), st.data())
@settings(max_examples=6)
def test_an_addition_scores_nobody_whose_consent_is_not_in_force(town, days, data):
    """A withdrawal ends the use when it comes in, and no older delivery that comes in after it undoes it."""
    engine = shipped_engine()
    withdrawn_on = AS_OF - timedelta(days=data.draw(st.integers(0, days - 1)))
    town = [*town, Person("p-withdrawn", ({**plain_consent("p-withdrawn"), "withdrawn_on": withdrawn_on},))]
    earlier, now = as_known(town, AS_OF - timedelta(days=days)), as_known(town, AS_OF)
    for kept_first, added in ((earlier, now), (now, earlier)):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            es.keep_records(write(kept_first, folder / "records"), folder / "kept", threads=1)
            es.add_records(write(added, folder / "added"), folder / "kept", threads=1)
            kept = es.read_records(folder / "kept", threads=1)
            for person in town:
                assert engine.explain(kept, person.subject_id, AS_OF).status.value == expected_status(person)


def test_only_who_consented_to_training_is_learnt_from():
    from egretscore.training.snapshots import take_snapshots

    due = AS_OF + timedelta(days=30)
    people = []
    consents: list[dict[str, Any]] = [
        {},
        {"letter_version": "2023-A"},
        {"withdrawn_on": AS_OF + timedelta(days=900)},
        {"adult_confirmed": False},
        {"granted_on": AS_OF + timedelta(days=1)},
        {"letter_version": "2023-A", "training": date(2190, 1, 1)},
    ]
    for number, changes in enumerate(consents):
        subject = f"p{number}"
        commitment = {
            "commitment_id": f"cm-{number}",
            "subject_id": subject,
            "kind": "library_loan",
            "made_on": AS_OF,
            "due_on": due,
            "outcome": "fulfilled",
            "outcome_on": due,
            "amount_yuan": None,
            "recorded_on": AS_OF,
        }
        training = changes.pop("training", None)
        person = Person(subject, ({**plain_consent(subject), **changes},), commitments=(commitment,))
        if training is not None:
            person = person.with_row("consents", {**plain_consent(subject), "granted_on": training})
        people.append(person)
    snapshots = take_snapshots(read(people), shipped_engine().model.scorecard.features, POLICY, [AS_OF], 365)
    assert list(snapshots.subject_ids) == ["p0"]
