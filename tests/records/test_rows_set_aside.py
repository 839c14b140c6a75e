"""Rows that are set aside, and files that are named oddly, count against nobody by their absence."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import astuple, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from test_checks import ROWS, write
from whole_records import (
    AS_OF,
    RECORDS,
    Person,
    as_known,
    engines,
    frames,
    plain_consent,
    read,
    scored,
    standing_penalty,
    texts_of,
    towns,
    with_objection,
)
from whole_records import write as write_frames

import egretscore as es
from egretscore.records.intake import in_place
from egretscore.records.parts import part_of
from egretscore.records.reading import read_parts
from egretscore.records.schema import EARLIEST, TABLES

LAST_YEAR = AS_OF - timedelta(days=365)


def penalised(*objections: dict) -> Person:
    penalty = standing_penalty("p0", "fine", LAST_YEAR + timedelta(days=200), 500)
    return Person("p0", (plain_consent("p0"),), penalties=(penalty,), objections=objections)


def objection(**cells: object) -> dict:
    plain = {
        "table": "penalties",
        "record_id": "pn-p0-new",
        "subject_id": "p0",
        "filed_on": AS_OF - timedelta(days=30),
        "resolved_on": None,
        "outcome": None,
    }
    return {**plain, **cells}


def score_of(engine: es.Engine, person: Person, *, set_aside: int) -> int | None:
    records = es.read_records(frames([person]))
    assert len({(problem.table, problem.row) for problem in records.problems}) == set_aside
    return engine.explain(records, "p0", AS_OF).score


@given(engines(), towns(most=3), st.data())
def test_a_row_recorded_later_under_the_same_id_changes_nothing_before(engine, town, data):
    again = []
    for person in town:
        for table in ("civic_points", "penalties", "commitments"):
            for row in getattr(person, table):
                if data.draw(st.booleans()):
                    later = {**row, "recorded_on": max(row["recorded_on"], AS_OF) + timedelta(days=1)}
                    person = person.with_row(table, later)  # noqa: PLW2901 - the same person, delivered again
        again.append(person)
    columns = engine.score_columns(es.read_records(frames(again)), AS_OF, reasons=True)
    before = scored(engine, town)
    after = dict(zip(columns["subject_id"], columns["score"].tolist(), strict=True))
    assert after == before.scores


@given(engines(), towns(most=3))
def test_records_of_other_people_under_the_same_ids_change_nothing(engine, town):
    def copied(person: Person) -> Person:
        tables = {
            table: tuple({**row, "subject_id": f"{person.subject_id}-other"} for row in getattr(person, table))
            for table in TABLES
        }
        other = Person(f"{person.subject_id}-other", **tables)
        for table in RECORDS:  # they object to what its holder does not
            for row in getattr(other, table):
                other = with_objection(other, table, row, row["recorded_on"])
        return other

    among = scored(engine, [*town, *map(copied, town)])
    for person in town:
        assert among.scores[person.subject_id] == scored(engine, town).scores[person.subject_id]


def test_one_decision_may_impose_two_penalties(engine):
    one = penalised()
    two = one.with_row("penalties", {**one.penalties[0], "category": "licence_revoked", "fine_yuan": None})
    assert score_of(engine, two, set_aside=0) <= score_of(engine, one, set_aside=0) < 550
    counted = [engine.vectors(es.read_records(frames([person])), AS_OF).iloc[0] for person in (one, two)]
    assert [int(vector["penalties_repeated"]) for vector in counted] == [0, 1]
    assert counted[1]["penalties_serious"] > counted[0]["penalties_serious"] == 0


def test_a_penalty_delivered_again_with_another_content_is_in_doubt_from_that_day(engine):
    delivered = AS_OF - timedelta(days=10)
    penalty = penalised().penalties[0]
    person = penalised().with_row("penalties", {**penalty, "fine_yuan": 9, "recorded_on": delivered})
    records = es.read_records(frames([person]))
    assert [problem.column for problem in records.problems] == ["decision_no"]
    assert engine.explain(records, "p0", delivered - timedelta(days=1)).score < 550
    assert engine.explain(records, "p0", delivered).score == 550


@given(st.permutations([0, 1, 2]))
def test_a_penalty_contradicted_twice_is_in_doubt_from_the_first_time(engine, order):
    first, second = AS_OF - timedelta(days=20), AS_OF - timedelta(days=10)
    penalty = penalised().penalties[0]
    later = [{**penalty, "fine_yuan": fine, "recorded_on": day} for fine, day in ((9, first), (7, second))]
    rows = [penalty, *later]
    person = replace(penalised(), penalties=tuple(rows[number] for number in order))
    records = es.read_records(frames([person]))
    assert records.ask("SELECT since FROM doubts").to_pylist() == [{"since": first}]
    assert engine.explain(records, "p0", first - timedelta(days=1)).score < 550
    assert engine.explain(records, "p0", second - timedelta(days=1)).score == 550


@given(engines(), towns(consented=False, most=3), st.sampled_from([0, 10**9]), st.data())
def test_a_record_as_it_stood_earlier_says_nothing_beside_what_became_of_it(engine, town, fewest, data):
    """Deliveries of several days read together, in whatever order: earlier states only repeat the fullest one."""
    deliveries = [town, *(as_known(town, AS_OF - timedelta(days=data.draw(st.integers(0, 300)))) for _ in range(2))]
    together = data.draw(st.permutations([person for delivery in deliveries for person in delivery]))
    with patch.object(in_place, "FEWEST_TYPED_ROWS", fewest):
        records = read(together)
    rows = {table: sum(len(getattr(person, table)) for person in town) for table in TABLES}
    assert {count.table: count.good for count in records.counts} == rows
    at_the_end = read(town)
    for person in town:
        assert records.rows_of(person.subject_id) == at_the_end.rows_of(person.subject_id)
    day = AS_OF - timedelta(days=data.draw(st.integers(0, 300)))
    scores, as_at_the_end = (engine.score_columns(of, day)["score"].tolist() for of in (records, at_the_end))
    assert scores == as_at_the_end


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"fine_yuan": 7}, {}),
        ({"effective_on": AS_OF}, {}),
        ({"effective_on": None, "revoked_on": AS_OF}, {}),
        ({"effective_on": None, "repaired_on": AS_OF}, {"revoked_on": AS_OF}),
    ],
    ids=["never filled later", "filled in two ways", "each fills one", "each fills some"],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_record_counts_for_nothing_if_none_of_its_rows_says_all_that_the_others_do(engine, one, other, order):
    """Also beside an earlier state of both, which would count by itself."""
    penalty = penalised().penalties[0]
    rows = ({**penalty, **one}, {**penalty, **other}, {**penalty, "effective_on": None})[::order]
    assert score_of(engine, replace(penalised(), penalties=rows), set_aside=3) == 550


def test_a_decided_objection_stands_in_place_of_the_open_one(engine):
    upheld = objection(resolved_on=AS_OF - timedelta(days=5), outcome="upheld")
    rejected = objection(resolved_on=AS_OF - timedelta(days=5), outcome="rejected")
    for decided, counts in ((upheld, False), (rejected, True)):
        for delivered in ((objection(), decided), (decided, objection())):
            assert (score_of(engine, penalised(*delivered), set_aside=0) < 550) == counts


@pytest.mark.parametrize(
    "unreadable",
    [
        {"outcome": "Upheld", "resolved_on": AS_OF},
        {"filed_on": "last spring"},
        {"table": "Penalties"},
        {"subject_id": " p0"},
        {"subject_id": "\ufeffp0\u200b\t"},
        {"subject_id": ""},
        {"record_id": ""},
        {"record_id": "\u00a0"},
        {"record_id": "pn-p0-new\t", "subject_id": ""},
        {"record_id": "pn-p0\tnew"},
        {"record_id": "pn-\u200bp0-new", "subject_id": "p\u00ad0"},
    ],
)
def test_what_cannot_be_read_of_an_objection_is_read_as_still_open(engine, unreadable):
    tables = frames([penalised()])
    tables["objections"] = pa.table({name: [str(cell or "")] for name, cell in objection(**unreadable).items()})
    records = es.read_records(tables)
    assert records.problems
    assert engine.explain(records, "p0", AS_OF).score == 550


OF_WORDS = {"civic_points": ["activity"], "penalties": ["category", "authority_code"], "commitments": ["kind"]}


def assert_scored_alike(engine: es.Engine, records: es.Records, town: list[Person]) -> None:
    expected = engine.score_columns(es.read_records(frames(town)), AS_OF, reasons=True)
    found = engine.score_columns(records, AS_OF, reasons=True)
    for name, values in expected.items():
        assert found[name].tolist() == values.tolist(), name


@given(engines(), towns(most=3), st.data())
@settings(max_examples=15)
def test_a_line_of_objections_that_cannot_be_cut_disputes_every_record_of_whom_it_names(engine, town, data):
    named = data.draw(st.sampled_from(town)).subject_id
    cut_wrong = [
        f"penalties,PN,1,{named},2026-03-01,,",
        f'penalties,"PN-1,{named},',
        f"penalties;PN-1;{named};2026-03-01",
    ]
    disputed = [person if person.subject_id != named else objecting(person, RECORDS) for person in town]
    with tempfile.TemporaryDirectory() as scratch:
        for name, table in frames(town).items():
            csv.write_csv(table, Path(scratch) / f"{name}.csv")
        with (Path(scratch) / "objections.csv").open("ab") as stream:
            stream.write(data.draw(st.sampled_from(cut_wrong)).encode() + b"\n")
        assert_scored_alike(engine, es.read_records(scratch, threads=1), disputed)


FIRST_DAY = date.fromisoformat(EARLIEST)


def objecting(person: Person, tables: Iterable[str], since: date = FIRST_DAY) -> Person:
    """Let a person object to all their records of some tables."""
    for table in tables:
        for row in getattr(person, table):
            person = with_objection(person, table, row, since)
    return person


@pytest.mark.parametrize(
    "line",
    [
        b"penalties,pn-p0-new",
        b"penalties, pn-p0-new ",
        b'"penalties,pn-p0-new,,2026-03-01,,',
        b"pn-p0-new;x",
        "penalties,闽罚1,p0,2026-03-01,,".encode("gbk"),
        "penalties,pn-p0-new,某p0,2026-03-01,,".encode("gbk"),
        b'penalties,"pn-p0-new",p\xff0,2026-03-01,,',
    ],
)
def test_an_objection_that_names_a_record_or_a_person_alone_disputes_what_may_be_meant(tmp_path, engine, line):
    folder = write_frames([penalised()], tmp_path / "town")
    (folder / "objections.parquet").unlink()
    header = ",".join(TABLES["objections"].column_names)
    (folder / "objections.csv").write_bytes(header.encode() + b"\n" + line + b"\n")
    assert engine.explain(es.read_records(folder), "p0", AS_OF).score == 550


def test_a_line_that_says_whose_it_is_and_of_which_record_is_about_nobody_else_it_names(tmp_path, engine):
    """The cell that is no text names someone: it may be part of the authority's name."""
    town = [penalised(), penalised().renamed("-1")]
    folder = write_frames(town, tmp_path / "town")
    before = engine.score(es.read_records(folder), AS_OF).set_index("subject_id")["score"]
    (folder / "penalties.parquet").unlink()
    csv.write_csv(frames(town)["penalties"], folder / "penalties.csv")
    again = {**town[0].penalties[0], "authority": "某局p0-1"}
    with (folder / "penalties.csv").open("ab") as stream:
        stream.write(",".join("" if cell is None else str(cell) for cell in again.values()).encode("gbk") + b"\n")
    records = es.read_records(folder)
    assert records.set_aside == 1
    after = engine.score(records, AS_OF).set_index("subject_id")["score"]
    assert (after["p0"], after["p0-1"]) == (550, before["p0-1"])
    assert before["p0-1"] < 550


def test_a_cell_that_was_cut_off_an_objection_disputes_the_record_of_its_table_alone(tmp_path):
    folder = write_frames([penalised()], tmp_path / "town")
    (folder / "objections.parquet").unlink()
    header = ",".join(TABLES["objections"].column_names)
    lines = f"{header}\npenalties,x1,p0,2026-03-01,,\n2026-04-01\n"
    (folder / "objections.csv").write_text(lines, encoding="utf-8")
    doubts = es.read_records(folder).connect().sql('SELECT "table", record_id, subject_id FROM doubts').fetchall()
    assert doubts == [("penalties", "x1", "p0")]


@given(engines(), towns(most=3), st.data())
@settings(max_examples=15)
def test_a_cell_that_a_line_break_cut_off_its_row_disputes_the_record_of_that_row(engine, town, data):
    """It may say that the record was settled, whatever the order of the columns is."""
    table = data.draw(
        st.sampled_from([name for name in RECORDS if any(getattr(person, name) for person in town)] or [""])
    )
    assume(table)
    optional = [column.name for column in TABLES[table].columns if column.optional]
    last = data.draw(st.sampled_from(optional))
    columns = [*(name for name in TABLES[table].column_names if name != last), last]
    of_whom = data.draw(st.sampled_from([person for person in town if getattr(person, table)]))
    row = data.draw(st.sampled_from(getattr(of_whom, table)))
    disputed = [with_objection(person, table, row, FIRST_DAY) if person is of_whom else person for person in town]
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_frames(town, Path(scratch) / "town")
        rows = parquet.read_table(folder / f"{table}.parquet").select(columns)
        (folder / f"{table}.parquet").unlink()
        csv.write_csv(rows, folder / f"{table}.csv")
        identity = TABLES[table].identity[0]
        number = rows[identity].to_pylist().index(row[identity]) + 1
        lines = (folder / f"{table}.csv").read_text(encoding="utf-8").splitlines()
        form = data.draw(st.sampled_from(["{}", '"{}"', "{}" + "," * (len(columns) - 1)]))
        lines.insert(number + 1, form.format(data.draw(st.sampled_from(["2026-05-01", "2026/5/1", "fulfilled"]))))
        (folder / f"{table}.csv").write_text("\n".join(lines), encoding="utf-8")
        records = es.read_records(folder, threads=1)
        of_their_part = read_parts(folder, [part_of(of_whom.subject_id)], engine.policy)
        for found in (records, of_their_part):  # whether or not the record counts for any score
            doubts = found.connect().sql('SELECT "table", record_id, subject_id FROM doubts').fetchall()
            assert doubts == [(table, row[identity], of_whom.subject_id)]
        assert_scored_alike(engine, records, disputed)


@given(engines(), towns(most=3), st.data())
@settings(max_examples=15)
def test_a_line_of_records_that_cannot_be_cut_disputes_all_in_its_table_of_whom_it_names(engine, town, data):
    """Whatever the order of the columns is, and in however many passes the lines are read."""
    named, table = data.draw(st.sampled_from(town)).subject_id, data.draw(st.sampled_from([*RECORDS]))
    columns = data.draw(st.permutations(TABLES[table].column_names))
    line = ",".join([*data.draw(st.permutations([named, "R-1", "2026-05-01"])), *(["x"] * len(columns))])
    disputed = [person if person.subject_id != named else objecting(person, [table]) for person in town]
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_frames(town, Path(scratch) / "town")
        rows = parquet.read_table(folder / f"{table}.parquet").select(columns)
        (folder / f"{table}.parquet").unlink()
        csv.write_csv(rows, folder / f"{table}.csv")
        with (folder / f"{table}.csv").open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
        assert_scored_alike(engine, es.read_records(folder, threads=1), disputed)
        for person in town:
            of_their_part = read_parts(folder, [part_of(person.subject_id)], engine.policy)
            expected = scored(engine, [p for p in disputed if p.subject_id == person.subject_id])
            if person.subject_id in expected.scores:
                explained = engine.score_columns(of_their_part, AS_OF)
                scores = dict(zip(explained["subject_id"], explained["score"].tolist(), strict=True))
                assert scores[person.subject_id] == expected.scores[person.subject_id]


UNREADABLE = st.sampled_from(
    ["a cell", "blanks around the subject", "no subject", "a tab in the id", "no id", "a blank for an id", "not seen"]
)


@given(engines(), towns(most=3), st.data())
def test_a_record_of_which_another_row_cannot_be_read_is_read_as_disputed(engine, town, data):
    """The row that cannot be read may say that a penalty was repaired, or that a commitment was kept."""
    texts = {name: texts_of(table) for name, table in frames(town).items()}
    broken: dict[str, list[dict[str, Any]]] = {table: [] for table in RECORDS}
    disputed = []
    for person in town:
        for table in RECORDS:
            for row in getattr(person, table):
                if data.draw(st.booleans()):
                    cell = data.draw(st.sampled_from([*TABLES[table].later_columns, *OF_WORDS[table]]))
                    what, record = data.draw(UNREADABLE), TABLES[table].identity[0]
                    changes: dict[str, dict[str, Any]] = {
                        "a cell": {cell: "2026-13-01"},
                        "blanks around the subject": {"subject_id": f"\u3000{person.subject_id}\t"},
                        "no subject": {"subject_id": None},
                        "a tab in the id": {record: f"{row[record]}\t"},
                        "no id": {record: None},
                        "a blank for an id": {record: " "},
                        "not seen": {of: f"{row[of][0]}\u200b{row[of][1:]}" for of in (record, "subject_id")},
                    }
                    texts_of_row = {name: None if value is None else str(value) for name, value in row.items()}
                    broken[table].append({**texts_of_row, **changes[what]})
                    person = with_objection(person, table, row, row["recorded_on"])  # noqa: PLW2901 - the same person, objecting
                    if what in {"no id", "a blank for an id", "not seen"}:
                        person = objecting(person, [table], row["recorded_on"])  # noqa: PLW2901 - likewise
        disputed.append(person)
    for table, rows in broken.items():
        texts[table] = pa.concat_tables([texts[table], pa.Table.from_pylist(rows, schema=texts[table].schema)])
    records = es.read_records(texts, threads=1)
    assert records.set_aside == sum(map(len, broken.values()))
    assert_scored_alike(engine, records, disputed)


def broken_again(person: Person, **cells: str) -> dict[str, pa.Table]:
    """Return someone's records as texts, and their penalty once more, with other cells."""
    texts = {name: texts_of(table) for name, table in frames([person]).items()}
    again = {**{name: value and str(value) for name, value in person.penalties[0].items()}, **cells}
    schema = texts["penalties"].schema
    texts["penalties"] = pa.concat_tables([texts["penalties"], pa.Table.from_pylist([again], schema=schema)])
    return texts


def test_a_row_that_says_whose_it_is_is_about_nobody_of_a_like_id(tmp_path):
    """Ids may end with signs; in a line that cannot be cut, so may words that end before them."""
    like = {"record_id": "cp-9", "subject_id": "p1="}
    folder = write(
        tmp_path, civic_points=[like, {"record_id": ""}], consents=[{"subject_id": "p1="}, {"granted_on": ""}]
    )
    records = es.read_records(folder)
    assert doubts_in(records) == {("civic_points", "cp-1", "p1")}
    assert records.connect().execute("SELECT subject_id FROM consents").fetchall() == [("p1=",)]
    with (folder / "civic_points.csv").open("a", encoding="utf-8") as stream:
        stream.write("x,p1=,x,x,x,x,x,x,x\n")
    records = es.read_records(folder)
    assert doubts_in(records) == {("civic_points", "cp-1", "p1"), ("civic_points", "cp-9", "p1=")}
    assert records.connect().execute("SELECT * FROM broken").fetchall() == []


def doubts_in(records: es.Records) -> set[tuple[str, str, str]]:
    return set(records.connect().execute('SELECT "table", record_id, subject_id FROM doubts').fetchall())


def test_however_many_rows_cannot_be_read_a_record_is_in_doubt_once(tmp_path):
    days = [f"2025-03-{day:02}" for day in range(1, 29)]
    people = [{"subject_id": f"s{number}"} for number in range(20)]
    folder = write(tmp_path, civic_points=[*people, *({"subject_id": "", "recorded_on": day} for day in days)])
    since = es.read_records(folder).connect().execute("SELECT since FROM doubts").fetchall()
    assert since == [(date(2025, 3, 1),)] * 21


def test_a_row_that_does_not_say_since_when_leaves_its_record_in_doubt_on_every_day(engine):
    records = es.read_records(broken_again(penalised(), recorded_on="2026-13-01"))
    assert records.set_aside == 1
    assert engine.explain(records, "p0", AS_OF).score == 550


def test_of_a_row_that_cannot_be_read_nothing_stays_once_its_person_is_erased():
    records = es.read_records(broken_again(penalised(), category="?"))
    assert records.erase("p0") == 3
    for (table,) in records.connect().execute("SELECT table_name FROM duckdb_tables()").fetchall():
        assert "p0" not in str(records.connect().execute(f'SELECT * FROM "{table}"').fetchall())


def test_a_row_with_several_things_wrong_is_erased_as_one():
    records = es.read_records(broken_again(penalised(), category="?", decided_on="x"))
    assert records.set_aside == 1
    assert len(records.problems) == 2
    assert records.erase("p0") == 3


def test_objections_decided_in_two_ways_leave_the_record_disputed(engine):
    decided = [objection(resolved_on=AS_OF, outcome=outcome) for outcome in ("rejected", "withdrawn")]
    assert score_of(engine, penalised(*decided), set_aside=2) == 550


@pytest.mark.parametrize(
    "line",
    [
        "p1 ,2023-B,true,2025-01-01,2025-06-01",
        "x,p1,2023-B,true,2025-01-01,2025-06-01",
        "p3,2023-B,true,2025-01-01,2025-06-01p1,2023-B,true,2025-01-01,2025-06-01",
        r"\tp1,2023-B,true,2025-01-01,2025-06-01,",
        "x,p1,2023-B,true,2025-06-01",
        "p1: 2023-B true 2025-01-01 2025-06-01",
    ],
)
def test_a_withdrawal_in_a_broken_row_leaves_nobody_it_names_with_a_consent(tmp_path, engine, line):
    folder = write(tmp_path)
    with (folder / "consents.csv").open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    records = es.read_records(folder)
    assert engine.explain(records, "p1", AS_OF).status.value == "not_consented"


@pytest.mark.parametrize(
    "line",
    ["p9,2023-B,1,2024-02-30,", "p9,2023-B,true,5 Jan 2024,", "p9,2023-B,p1,2024-01-01,", "p9,2099-X,1,2024-01-01,"],
)
def test_a_consent_in_a_broken_row_that_says_whose_it_is_takes_nobody_elses(tmp_path, engine, line):
    folder = write(tmp_path)
    rows = [ROWS["consents"], *({**ROWS["consents"], "subject_id": subject} for subject in ("1", "5", "2024"))]
    text = "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows), line])
    (folder / "consents.csv").write_text(f"{text}\n", encoding="utf-8")
    records = es.read_records(folder)
    assert records.set_aside == 1
    for subject in ("p1", "1", "5", "2024"):
        assert engine.explain(records, subject, AS_OF).status.value == "scored"


def test_erasing_someone_erases_broken_rows_that_name_them(tmp_path):
    folder = write(tmp_path)
    with (folder / "civic_points.csv").open("a", encoding="utf-8") as stream:
        stream.write(
            "x1,extra,p1,volunteering,5,2025-01-01,2025-01-01,\nx2, p1,volunteering,5,2025-01-01,2025-01-01,\n"
        )
        stream.write("x3,p1-else,volunteering,five,2025-01-01,2025-01-01,\n")
    records = es.read_records(folder)
    assert len(records.problems) == 3
    records.erase("p1")
    assert [problem.value for problem in records.problems] == ["five"]


def test_the_names_of_folders_are_no_cells(tmp_path, engine):
    consent = {**ROWS["consents"], "adult_confirmed": "false", "withdrawn_on": None}
    folder = tmp_path / "withdrawn_on=2024-01-01" / "religion=none"
    part = folder / "consents" / "adult_confirmed=true" / "part.parquet"
    part.parent.mkdir(parents=True)
    parquet.write_table(pa.table({name: pa.array([cell], pa.string()) for name, cell in consent.items()}), part)
    assert engine.explain(es.read_records(folder), "p1", AS_OF).status.value == "not_adult"


def test_a_star_in_a_file_name_is_a_star(tmp_path):
    for name, subject in (("consents-*.parquet", "p1"), ("consents-a.parquet", "p2")):
        row = {**ROWS["consents"], "subject_id": subject, "withdrawn_on": None}
        file = tmp_path / name
        parquet.write_table(pa.table({column: pa.array([cell], pa.string()) for column, cell in row.items()}), file)
    assert [(count.rows, count.good) for count in es.read_records(tmp_path).counts] == [(1, 1), (1, 1)]


def test_a_folder_of_parts_and_capital_letters_are_read(tmp_path):
    folder = write(tmp_path)
    parts = folder / "penalties.parquet"
    parts.mkdir()
    row = {**ROWS["penalties"], "revoked_on": None, "repaired_on": None}
    parquet.write_table(pa.table({c: pa.array([v], pa.string()) for c, v in row.items()}), parts / "part-0.parquet")
    (folder / "penalties.csv").unlink()
    (folder / "objections.csv").rename(folder / "objections-2025.CSV")
    assert [count.good for count in es.read_records(folder).counts] == [1] * 5


@pytest.mark.parametrize("name", ["objections.txt", "penalties", "consents-old.csv.gz"])
def test_what_is_named_like_a_table_is_never_passed_over(tmp_path, name):
    folder = write(tmp_path)
    if "." in name:
        (folder / name).write_text("?")
    else:
        (folder / name).mkdir()
    with pytest.raises(es.RecordsError, match="named like a record table"):
        es.read_records(folder)


@given(towns(), st.data())
def test_objections_to_what_is_not_on_file_are_told(town, data):
    mistyped, delivered = set(), []
    for person in town:
        rows = []
        for row in person.objections:
            wrong = data.draw(st.booleans())
            rows.append({**row, "record_id": f"{row['record_id']}-9"} if wrong else row)
            if wrong:
                mistyped.add((row["table"], f"{row['record_id']}-9", row["subject_id"], row["filed_on"]))
        delivered.append(replace(person, objections=tuple(rows)))
    records = es.read_records(frames(delivered))
    good = records.connect().execute('SELECT "table", record_id, subject_id, filed_on FROM objections').fetchall()
    assert {astuple(objection) for objection in records.unmatched_objections} == mistyped & set(good)


def test_an_erased_person_tells_no_last_day():
    later = Person("p1", (plain_consent("p1"),), penalties=(standing_penalty("p1", "fine", AS_OF, 500),))
    records = es.read_records(frames([penalised(), later]))
    last = records.last_day
    records.erase("p1")
    assert records.last_day == es.read_records(frames([penalised()])).last_day < last


@pytest.mark.parametrize("column", ["effective_on", "revoked_on", "repaired_on"])
def test_the_records_know_their_last_day_whatever_is_to_become_of_one(column):
    ahead = penalised().changed("penalties", 0, **{column: date(2040, 1, 1)})
    assert es.read_records(frames([ahead])).last_day == es.read_records(frames([penalised()])).last_day


def test_the_records_know_their_last_day_whatever_consents_are_dated_ahead(tmp_path):
    ahead = {"subject_id": "p2", "granted_on": "2030-01-01", "withdrawn_on": "2099-01-01"}
    assert es.read_records(write(Path(tmp_path), consents=[ahead])).last_day == date(2025, 5, 1)


def test_a_record_of_a_day_to_come_tells_no_last_day(tmp_path):
    day, ahead = AS_OF - timedelta(days=9), ahead_of_time("p0")
    of_that_day = {**ahead, "record_id": "cp", "earned_on": day, "recorded_on": day}
    people = [penalised().with_row("civic_points", of_that_day)]
    told = es.read_records(frames(people)).last_day
    people[0] = people[0].with_row("civic_points", ahead)
    assert es.read_records(frames(people)).last_day == told
    es.keep_records(write_frames(people, tmp_path / "records"), tmp_path / "kept")
    assert es.read_records(tmp_path / "kept").last_day == told


def ahead_of_time(subject_id: str) -> dict:
    day = date(2190, 1, 1)
    return {
        "record_id": "cp-ahead",
        "subject_id": subject_id,
        "activity": "volunteering",
        "points": 1,
        "earned_on": day,
        "recorded_on": day,
        "excluded_on": None,
    }
