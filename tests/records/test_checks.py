"""Records at the door: every wrong thing is named with file, row, column, value and what was expected."""

from __future__ import annotations

import errno
import os
import shutil
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from whole_records import (
    AS_OF,
    Person,
    frame,
    frames,
    plain_consent,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    texts_of,
)

import egretscore as es
from egretscore.records.intake import in_place, sources
from egretscore.records.schema import RECORD_ID

ROWS = {
    "consents": {
        "subject_id": "p1",
        "letter_version": "2023-B",
        "adult_confirmed": "true",
        "granted_on": "2025-01-01",
        "withdrawn_on": "",
    },
    "civic_points": {
        "record_id": "cp-1",
        "subject_id": "p1",
        "activity": "volunteering",
        "points": "10",
        "earned_on": "2025-02-01",
        "recorded_on": "2025-02-02",
        "excluded_on": "",
    },
    "penalties": {
        "decision_no": "示罚决字〔2025〕第1号",
        "subject_id": "p1",
        "category": "fine",
        "fine_yuan": "200.50",
        "decided_on": "2025-03-01",
        "effective_on": "2025-04-01",
        "revoked_on": "",
        "repaired_on": "",
        "authority": "示例市城市管理局",
        "authority_code": "91350100M000100Y43",
        "recorded_on": "2025-03-05",
    },
    "commitments": {
        "commitment_id": "cm-1",
        "subject_id": "p1",
        "kind": "library_loan",
        "made_on": "2025-05-01",
        "due_on": "2025-06-01",
        "outcome": "fulfilled",
        "outcome_on": "2025-05-20",
        "amount_yuan": "",
        "recorded_on": "2025-05-01",
    },
    "objections": {
        "table": "penalties",
        "record_id": "示罚决字〔2025〕第1号",
        "subject_id": "p1",
        "filed_on": "2025-05-01",
        "resolved_on": "2025-05-10",
        "outcome": "rejected",
    },
}


def write(folder: Path, **changes: list[dict[str, str]]) -> Path:
    """Write one good row into each table, and the changed copies of it below."""
    for table, row in ROWS.items():
        rows = [row, *({**row, **change} for change in changes.get(table, []))]
        lines = [",".join(row), *(",".join(r.values()) for r in rows)]
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_good_rows_go_on(tmp_path):
    records = es.read_records(write(tmp_path))
    assert records.problems == ()
    assert [(c.rows, c.good, c.set_aside, c.repeated) for c in records.counts] == [(1, 1, 0, 0)] * 5


WRONG_CELLS = [
    ("consents", "subject_id", "350203199001011234"),
    ("consents", "subject_id", "13800138000"),
    ("consents", "subject_id", ""),
    ("consents", "letter_version", "2019"),
    ("consents", "adult_confirmed", "yes"),
    ("consents", "granted_on", "2025-02-30"),
    ("consents", "granted_on", "01/02/2025"),
    ("consents", "withdrawn_on", "2024-12-31"),
    ("civic_points", "activity", "cheering"),
    ("civic_points", "points", "-5"),
    ("civic_points", "points", "2.5"),
    ("civic_points", "points", "ten"),
    ("civic_points", "points", "99999999999"),
    ("civic_points", "recorded_on", "2025-01-31"),
    ("civic_points", "excluded_on", "2025-01-31"),
    ("penalties", "category", "parking"),
    ("penalties", "fine_yuan", "-1"),
    ("penalties", "fine_yuan", "1.234"),
    ("penalties", "authority_code", "91350100M000100Y44"),
    ("penalties", "authority_code", "91350100M000100Y4"),
    ("penalties", "authority_code", "91350100I000100Y43"),
    ("penalties", "effective_on", "2025-02-28"),
    ("penalties", "repaired_on", "2025-02-28"),
    ("penalties", "revoked_on", "1899-12-31"),
    ("penalties", "recorded_on", "2025-02-28"),
    ("penalties", "authority", "局\u200f"),
    ("penalties", "decision_no", " 1"),
    ("commitments", "kind", "promise"),
    ("commitments", "due_on", "2025-04-30"),
    ("commitments", "outcome", "done"),
    ("commitments", "outcome_on", "2025-04-01"),
    ("commitments", "outcome_on", ""),
    ("commitments", "amount_yuan", "12,5"),
    ("objections", "table", "consents"),
    ("objections", "outcome", "won"),
    ("objections", "resolved_on", "2025-04-30"),
    ("objections", "filed_on", "2025-5-1"),
]


@pytest.mark.parametrize(("table", "column", "value"), WRONG_CELLS)
def test_a_wrong_cell_is_named_and_its_row_set_aside(tmp_path, table, column, value):
    written = f'"{value}"' if "," in value else value
    records = es.read_records(write(tmp_path, **{table: [{column: written}]}))
    found = [p for p in records.problems if p.expected[:11] != "no doubt ab"]
    assert [(p.table, Path(p.file).name, p.row, p.column) for p in found] == [(table, f"{table}.csv", 2, column)]
    assert found[0].value == (value or None)
    assert found[0].expected
    message = str(found[0])
    assert f"{table}.csv, row 2: {column!r} is" in message
    assert "Expected" in message
    count = next(c for c in records.counts if c.table == table)
    assert count.rows == count.good + count.set_aside + count.repeated == 2


# Plain signs, signs that a URL encodes, spaces of several kinds, and what cannot be seen.
SIGNS = "aZ09-_.~/:#% \u3000\u00a0\u2003\t\n\u200b\u200f\u2028\u2029\ue000厦é😀"


@given(st.lists(st.text(SIGNS, min_size=1, max_size=5) | st.text(SIGNS, min_size=126, max_size=130), min_size=1))
def test_a_record_is_named_by_printable_text_without_spaces_around_it(texts):
    with duckdb.connect() as connection:
        connection.execute(f"CREATE MACRO {RECORD_ID.name}(cell) AS {RECORD_ID.parse}")
        taken = connection.execute(f"SELECT {RECORD_ID.name}(unnest(?))", [texts]).fetchall()
    for text, (value,) in zip(texts, taken, strict=True):
        is_seen = all(unicodedata.category(sign) not in {"Cc", "Cf", "Co", "Zl", "Zp"} for sign in text)
        no_space_around = not any(unicodedata.category(sign) == "Zs" for sign in (text[0], text[-1]))
        fits = len(text) <= 128 and is_seen and no_space_around
        assert value == (text if fits else None)


def test_of_a_long_cell_that_is_wrong_the_beginning_is_shown_and_the_row_is_kept_whole(tmp_path):
    (problem,) = es.read_records(write(tmp_path, civic_points=[{"points": "9" * 300}])).problems
    assert problem.value == "9" * 200
    assert "9" * 300 in problem.original


def test_every_wrong_cell_of_a_row_is_named(tmp_path):
    records = es.read_records(
        write(tmp_path, civic_points=[{"activity": "x", "points": "y", "recorded_on": "2025-01-01"}])
    )
    assert [p.column for p in records.problems] == ["activity", "points", "recorded_on"]
    assert records.counts[1].set_aside == 1


MIXED = [
    date(2026, 9, 4),
    datetime(2026, 9, 5, 0, 0, tzinfo=timezone(timedelta(hours=8))),
    datetime(2026, 9, 4, tzinfo=UTC),
    None,
]


@given(st.permutations(MIXED), st.sampled_from(["object", "category", "columns", "lists"]))
def test_a_column_of_days_and_timestamps_is_read_cell_by_cell(outcome_on, kind):
    """Arrow cuts a timestamp to its day if the first of a column is one: 16:00 of the day before, in UTC."""
    rows = [settled_commitment("p0", "library_loan", date(2026, 9, 1), None, None) for _ in outcome_on]
    frame = pd.DataFrame([{**row, "commitment_id": f"c{number}"} for number, row in enumerate(rows)])
    cells = pd.Series(outcome_on, dtype=object)
    frame["outcome_on"] = cells.astype("category") if kind == "category" else cells
    frame["outcome"] = [None if day is None else "fulfilled" for day in outcome_on]
    of_kind = {"columns": {name: frame[name].to_numpy() for name in frame}, "lists": frame.to_dict("list")}
    given_as = of_kind.get(kind, frame)
    records = es.read_records({**frames([Person("p0", (plain_consent("p0"),))]), "commitments": given_as})
    assert [problem.row for problem in records.problems] == [outcome_on.index(MIXED[1]) + 1]
    known = records.connect().execute("SELECT DISTINCT outcome_on FROM commitments").fetchall()
    assert set(known) == {(date(2026, 9, 4),), (None,)}


@given(
    st.lists(st.none() | st.dates(), min_size=1, max_size=6),
    st.sampled_from(["s", "ms", "us"]),
    st.sampled_from([None, "UTC", "Asia/Shanghai"]),
)
def test_a_far_day_in_a_frame_of_timestamps_sets_its_row_aside_and_no_other(days, unit, zone):
    """9999-12-31 is a common way to write that something has no end."""
    column = pa.array(days, pa.date32()).cast(pa.timestamp(unit, zone))
    rows = [settled_commitment("p0", "library_loan", date(2026, 9, 1), None, None) for _ in days]
    given_as = pa.Table.from_pylist([{**row, "commitment_id": f"c{number}"} for number, row in enumerate(rows)])
    given_as = given_as.set_column(given_as.schema.get_field_index("due_on"), "due_on", column)
    made_on = rows[0]["made_on"]
    records = es.read_records({**frames([Person("p0", (plain_consent("p0"),))]), "commitments": given_as})
    good = [day is not None and made_on <= day < date(2200, 1, 1) for day in days]
    assert {problem.row for problem in records.problems} == {row for row, fine in enumerate(good, 1) if not fine}
    assert records.ask("SELECT count(*) AS rows FROM commitments").to_pylist() == [{"rows": sum(good)}]


def test_a_day_that_no_calendar_has_sets_its_row_aside_and_no_other():
    """After the year 294,000 there are no microseconds any more."""
    of_two = frames([Person(who, (plain_consent(who),)) for who in ("p0", "p1")])
    withdrawn = pa.array([2**63 - 1, None], pa.timestamp("s"))
    consents = of_two["consents"].drop_columns("withdrawn_on")
    records = es.read_records({**of_two, "consents": consents.append_column("withdrawn_on", withdrawn)})
    assert [(problem.row, problem.column) for problem in records.problems] == [(1, "withdrawn_on")]


def test_columns_of_other_libraries_are_taken_as_they_are():
    big, days = [2**53 - 1, None], [date(2024, 1, 1), date(1500, 1, 1)]
    made = {
        "record_id": pl.Series(big),
        "subject_id": ["p0", "p0"],
        "activity": ("waste_sorting", "waste_sorting"),
        "points": np.array([1, 2]),
        "earned_on": pd.Series(
            pa.array(days).dictionary_encode(), dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.date32()))
        ),
        "recorded_on": pl.Series(days),
        "excluded_on": pa.array([None, None], pa.date32()),
    }
    given_as = {**frames([Person("p0", (plain_consent("p0"),))]), "civic_points": made}
    records = es.read_records(given_as)
    assert {(problem.row, problem.column) for problem in records.problems} == {
        *((2, name) for name in ("record_id", "earned_on", "recorded_on"))
    }
    assert records.connect().execute("SELECT record_id, recorded_on FROM civic_points").fetchall() == [
        (str(2**53 - 1), date(2024, 1, 1))
    ]
    with pytest.raises(es.RecordsError, match="not a table of records"):
        es.read_records({**given_as, "civic_points": {**made, "activity": "waste_sorting"}})


LOOK_ALIKE = ("龍溪罚字1号", "가-1", "Größe-1", "龍溪罚字\ufa19号")


@pytest.mark.parametrize("record_id", LOOK_ALIKE)
@pytest.mark.parametrize("fewest", [0, 10**9])
@pytest.mark.parametrize("form", ["NFD", "NFC"])
def test_an_id_is_the_same_in_whatever_form_its_letters_are_written(record_id, fewest, form, monkeypatch, tmp_path):
    """Copied from a Mac, or out of another database, an id looks the same and is other bytes."""
    monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", fewest)
    again = unicodedata.normalize(form, record_id)
    row = {**standing_penalty("p0", "huge_fine", AS_OF - timedelta(days=60), 500), "decision_no": record_id}
    person = Person("p0", (plain_consent("p0"),), penalties=(row,))
    engine = shipped_engine()
    score = engine.explain(read([person]), "p0", AS_OF).score
    twice = frames([person.with_row("penalties", {**row, "decision_no": again})])
    one_each = [twice["penalties"][:1], twice["penalties"][1:]]
    for rows in (twice["penalties"], one_each, one_each[::-1], [one_each[0], texts_of(one_each[1])]):
        records = es.read_records({**twice, "penalties": rows})
        assert sum(count.repeated for count in records.counts) == 1
        assert engine.explain(records, "p0", AS_OF).score == score
    objection = {"table": "penalties", "record_id": again, "subject_id": "p0", "filed_on": AS_OF}
    objection |= {"resolved_on": None, "outcome": None}
    objected = read([person.with_row("objections", objection)])
    assert engine.explain(objected, "p0", AS_OF).score == 550
    assert objected.unmatched_objections == ()
    parquet_of([person], tmp_path / "records")
    parquet_of([Person("p0", (), penalties=({**row, "decision_no": again, "repaired_on": AS_OF},))], tmp_path / "new")
    es.keep_records(tmp_path / "records", tmp_path / "kept")
    (tmp_path / "new" / "consents.parquet").unlink()
    assert es.add_records(tmp_path / "new", tmp_path / "kept").completed == 1
    assert engine.explain(es.read_records(tmp_path / "kept"), "p0", AS_OF).score == 550


def parquet_of(town: list[Person], folder: Path) -> None:
    folder.mkdir()
    for name, table in frames(town).items():
        parquet.write_table(table, folder / f"{name}.parquet")


def test_a_repeated_row_counts_once_and_contradictions_are_both_set_aside(tmp_path):
    records = es.read_records(
        write(tmp_path, civic_points=[{}, {"record_id": "cp-2"}, {"record_id": "cp-2", "points": "11"}])
    )
    count = records.counts[1]
    assert (count.rows, count.good, count.set_aside, count.repeated) == (4, 1, 2, 1)
    assert [p.row for p in records.problems] == [3, 4]
    assert all(p.value == "cp-2" for p in records.problems)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: f.unlink(), "no file of consents"),
        (lambda f: f.write_bytes(b""), "empty"),
        (lambda f: f.write_bytes(b"\r\n" + f.read_bytes()), "the first line is empty"),
        (lambda f: f.write_bytes("subject_id,姓名\n".encode("gb18030")), "not UTF-8"),
        (lambda f: f.write_bytes("subject_id,granted_on\n".encode("utf-16")), "UTF-16"),
        (lambda f: f.write_bytes("subject_id,granted_on\n".encode("utf-16-le")), "UTF-16"),
        (lambda f: f.write_bytes(b"sep=,\n" + f.read_bytes()), "Remove this line"),
        (lambda f: f.write_text("subject_id,letter_version,adult_confirmed,granted_on\n"), "withdrawn_on"),
        (
            lambda f: f.write_text("subject_id,leter_version,adult_confirmed,granted_on,withdrawn_on\n"),
            "letter_version",
        ),
        (lambda f: f.write_text("subject_id;letter_version;adult_confirmed;granted_on\n"), "separated by commas"),
        (
            lambda f: f.write_text("subject_id,subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"),
            "twice",
        ),
        (
            lambda f: f.write_text("subject_id,blood_type,letter_version,adult_confirmed,granted_on,withdrawn_on\n"),
            "blood type",
        ),
        (lambda f: f.rename(f.with_name("consent.csv")), "Did you mean 'consents'"),
        (lambda f: f.rename(f.with_suffix(".parquet")), "Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, make: Callable[[Path], object], says):
    make(write(tmp_path) / "consents.csv")
    with pytest.raises(es.RecordsError) as wrong:
        es.read_records(tmp_path)
    assert says in str(wrong.value)
    assert "consent" in str(wrong.value)


def test_a_row_is_a_line_less_the_header_whatever_its_quotes_say(tmp_path):
    """As docs/records.md has it: blank lines are counted, and a cell does not go on in the next line."""
    (tmp_path / "consents.csv").write_text(
        "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
        '\np1,2023-B,true,2025-02-30,\n\n"p\n2",2023-B,true,2025-01-01,\np3,2023-B,true,2025-02-30,\n',
        encoding="utf-8",
    )
    records = es.read_records(tmp_path)
    assert [(p.row, p.column) for p in records.problems] == [(2, "granted_on"), (4, None), (5, None), (6, "granted_on")]
    assert [count.rows for count in records.counts] == [4]


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """A folder of consents in parts, one of which lies a folder deeper."""
    folder = write(tmp_path) / "consents"
    (folder / "year=2025").mkdir(parents=True)
    (tmp_path / "consents.csv").rename(folder / "year=2025" / "part-0.csv")
    header = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
    (folder / "part-1.csv").write_text(f"{header}p9,2023-B,true,2025-01-01,\n", encoding="utf-8")
    assert consented(tmp_path) == {"p1", "p9"}
    return folder


def consented(folder: Path) -> set[str]:
    found = es.read_records(folder).connect().execute("SELECT subject_id FROM consents").fetchall()
    return {subject for (subject,) in found}


def test_parts_that_lie_elsewhere_are_read_where_a_link_leads(parted, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(parted / "year=2025", elsewhere / "moved")
    (parted / "year=2025").symlink_to(elsewhere / "moved")
    (elsewhere / "moved" / "round").symlink_to(parted)
    (parted / "again").symlink_to(elsewhere / "moved")
    other = tmp_path_factory.mktemp("other")
    (elsewhere / "moved" / "other").symlink_to(other)
    (parted / "other").symlink_to(other)
    (other / "moved").symlink_to(elsewhere / "moved")
    shutil.move(parted / "part-1.csv", other)
    assert consented(parted.parent) == {"p1", "p9"}
    assert [count.rows for count in es.read_records(parted.parent).counts if count.table == "consents"] == [1, 1]


@pytest.mark.parametrize(
    "name", ["{parts}/part-2.csv", "{parts}/part-2.csv.gz", "{parts}/year=2026", "penalties.csv", "penalties"]
)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda place: place.symlink_to(place.parent / "nowhere"), "a broken link"),
        (lambda place: place.symlink_to(place), "a broken link"),
        (os.mkfifo, "no regular file"),
    ],
)
def test_what_is_no_file_is_never_passed_over(parted, name, make, says):
    place = parted.parent / name.format(parts=parted.name)
    place.unlink(missing_ok=True)
    make(place)
    with pytest.raises(es.RecordsError, match=says) as wrong:
        es.read_records(parted.parent)
    assert wrong.value.file == str(place)
    assert ".csv or" not in str(wrong.value)


def test_a_part_of_another_kind_is_never_passed_over(parted):
    (parted / "part-2.csv.gz").touch()
    with pytest.raises(es.RecordsError, match=r"no file of records\. Expected a file whose name ends in \.csv or"):
        es.read_records(parted.parent)


def test_a_folder_of_parts_that_cannot_be_read_is_never_passed_over(parted, monkeypatch):
    closed, scandir = parted / "year=2025", os.scandir

    def refuse(place: Any) -> Any:  # who runs the tests may be allowed everything
        if str(place) == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(es.RecordsError, match="Permission denied") as wrong:
        es.read_records(parted.parent)
    assert wrong.value.file == str(closed)


def test_what_other_programs_leave_beside_parts_is_not_looked_at(parted):
    for name in ("_SUCCESS", ".part-0.csv.crc", "_metadata"):
        (parted / name).touch()
    assert consented(parted.parent) == {"p1", "p9"}


@pytest.mark.parametrize("fewest", [0, 10**6])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_a_day_is_the_same_wherever_the_machine_is(tmp_path, monkeypatch, zone, fewest):
    """A moment that is a day's beginning in UTC is that day; one that is so elsewhere is none."""
    monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", fewest)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moments = pa.array([date(2025, 1, 1), date(2025, 7, 1)]).cast(pa.timestamp("us", "UTC"))
        for hours, good in ((0, 2), (-8, 0)):
            shifted = pc.add(moments, pa.scalar(timedelta(hours=hours), pa.duration("us")))
            consents = {
                "subject_id": ["p1", "p2"],
                "letter_version": ["2023-B"] * 2,
                "adult_confirmed": [True, True],
                "granted_on": shifted,
                "withdrawn_on": pa.nulls(2, pa.string()),
            }
            parquet.write_table(pa.table(consents), tmp_path / "consents.parquet")
            records = es.read_records(tmp_path)
            assert records.counts[0].good == good
            found = records.connect().execute("SELECT CAST(min(granted_on) AS VARCHAR) FROM consents").fetchall()
            assert found == [("2025-01-01" if good else None,)]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_file_that_is_gone_meanwhile_is_said_to_be(tmp_path, monkeypatch):
    file = write(tmp_path) / "civic_points.parquet"
    parquet.write_table(frame("civic_points", []), file)
    check = sources.check_columns

    def vanish(*arguments: Any) -> None:
        check(*arguments)
        file.unlink(missing_ok=True)

    monkeypatch.setattr(sources, "check_columns", vanish)
    with pytest.raises(es.RecordsError, match="No such file") as wrong:
        es.read_records(tmp_path)
    assert wrong.value.file == str(file)


def test_no_folder_is_a_clear_error(tmp_path):
    with pytest.raises(es.RecordsError, match="nowhere"):
        es.read_records(tmp_path / "nowhere")


def test_bad_lines_are_set_aside_with_their_text(tmp_path):
    file = write(tmp_path) / "consents.csv"
    lines = [
        b"p2,2023-B,true,2025-01-01",
        b"p3,2023-B,true,2025-01-01,,",
        "p4,2023-B,true,2025-01-01,错".encode("gb18030"),
        b'p5,"2023-B,true,2025-01-01,',
        b'p6,"2023-B",true,"2025-01-01",""\r',
        b"",
        b"p7,2023-B,true,2025-01-01,",
        b"p8,2023-B,tr",
    ]
    file.write_bytes(file.read_bytes() + b"\n".join(lines))
    records = es.read_records(tmp_path)
    found = {p.row: p for p in records.problems}
    assert set(found) == {2, 3, 4, 5, 9}
    assert found[2].expected == "5 cells, not 4"
    assert found[3].expected == "5 cells, not 6"
    assert found[4].expected.startswith("text in UTF-8 (is the file GBK?")
    assert found[5].expected == "quotes that close"
    assert found[9].expected == "5 cells, not 3; the file ends in the middle of this row"
    assert found[2].original == lines[0].decode()
    assert [row for (row,) in records.connect().execute("SELECT subject_id FROM consents").fetchall()] == [
        "p1",
        "p6",
        "p7",
    ]
    count = records.counts[0]
    assert (count.rows, count.good, count.set_aside) == (8, 3, 5)


def test_a_byte_order_mark_and_other_line_ends_are_taken(tmp_path):
    file = write(tmp_path) / "consents.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert es.read_records(tmp_path).problems == ()


def test_a_file_without_a_last_line_end_is_whole(tmp_path):
    file = write(tmp_path) / "consents.csv"
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert es.read_records(tmp_path).counts[0].good == 1


def test_tables_other_than_consents_may_be_absent(tmp_path):
    write(tmp_path)
    for table in ("civic_points", "penalties", "commitments", "objections"):
        (tmp_path / f"{table}.csv").unlink()
    records = es.read_records(tmp_path)
    assert es.load_engine().explain(records, "p1", "2026-01-01").score == 550


@pytest.mark.parametrize("damage", ["cut in half", "only the magic bytes", "no footer"])
def test_a_damaged_parquet_file_is_a_clear_error(tmp_path, damage):
    import pyarrow as pa
    from pyarrow import parquet

    file = write(tmp_path) / "civic_points.parquet"
    (tmp_path / "civic_points.csv").unlink()
    parquet.write_table(pa.table({name: [cell] * 5000 for name, cell in ROWS["civic_points"].items()}), file)
    whole = file.read_bytes()
    damaged = {"cut in half": whole[: len(whole) // 2], "only the magic bytes": b"PAR1", "no footer": whole[:-20]}
    file.write_bytes(damaged[damage])
    with pytest.raises(es.RecordsError, match=r"civic_points\.parquet"):
        es.read_records(tmp_path)


@pytest.mark.parametrize("place", ["records", "signs [1]"])
@pytest.mark.parametrize("read", [es.read_records, es.validate_records])
def test_a_parquet_file_whose_column_has_a_name_that_is_no_text_is_a_clear_error(tmp_path, place, read):
    (tmp_path / place).mkdir()
    file = write(tmp_path / place) / "civic_points.parquet"
    (tmp_path / place / "civic_points.csv").unlink()
    rows = pa.table({name: [cell] for name, cell in ROWS["civic_points"].items()})
    parquet.write_table(rows, file, store_schema=False)
    file.write_bytes(file.read_bytes().replace(b"earned_on", "积分日期x".encode("gbk")))
    with pytest.raises(es.RecordsError, match=r"civic_points\.parquet: the Parquet file cannot be read"):
        read(tmp_path / place)


def test_a_column_of_several_types_is_read_cell_by_cell():
    """Whichever type comes first: a day is a day, and a number that no machine holds is a wrong cell."""
    in_shanghai = pd.Timestamp("2025-02-01 08:00", tz="Asia/Shanghai")  # a day is one in UTC
    days = [pd.Timestamp("2025-02-01"), date(2025, 2, 1), in_shanghai, "2025-02-01"]
    for first in range(4):
        points = pd.DataFrame([{**ROWS["civic_points"], "record_id": f"r{number}"} for number in range(4)])
        points["earned_on"] = pd.Series([*days[first:], *days[:first]], dtype=object)
        points["points"] = pd.Series([1, 10**30, 2, 3], dtype=object)
        records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "civic_points": points})
        assert [(problem.row, problem.column) for problem in records.problems] == [(2, "points")]


def with_ids(of: pa.DataType, *ids: object) -> es.Records:
    """Return the records of as many people, with a consent and a penalty each, whose ids are of a type."""
    tables = {}
    for table, columns in (("consents", ["subject_id"]), ("penalties", ["subject_id", "decision_no"])):
        rows = pa.table(pd.DataFrame([ROWS[table]] * len(ids)).replace("", None))
        for column in columns:
            rows = rows.set_column(rows.column_names.index(column), column, pa.array(ids, of))
        tables[table] = rows
    return es.read_records(tables)


@pytest.mark.parametrize(
    ("of", "ids", "read"),
    [
        (pa.binary(), [b"p1", b"p\xff"], {"p1"}),
        (pa.large_binary(), [b"p1", b""], {"p1"}),
        (pa.float64(), [7.0, 2.0**53, 1e18], {"7"}),
        (pa.float64(), [1234567890123456.0, None], {"1234567890123456"}),
        (pa.float32(), [7.0, 2.0**24], {"7"}),
        (pa.decimal128(38, 10), [Decimal(7), Decimal(10)], {"7", "10"}),
        (pa.int64(), [10**18, 10**18 + 1], {str(10**18), str(10**18 + 1)}),
    ],
)
def test_ids_of_every_type_are_read_as_what_they_say_or_set_aside(of, ids, read):
    """A rounded number may be several people's, and bytes are no text for being printed as one."""
    records = with_ids(of, *ids)
    for table in ("consents", "penalties"):
        assert {s for (s,) in records.connect().execute(f"SELECT subject_id FROM {table}").fetchall()} == read
    assert {s for (s,) in records.connect().execute("SELECT decision_no FROM penalties").fetchall()} == read
    assert records.set_aside == 2 * (len(ids) - len(read))


def test_a_column_of_several_types_holds_whole_numbers_as_such():
    consents = pd.DataFrame([ROWS["consents"]] * 3)
    consents["subject_id"] = pd.Series(["p1", 7.0, 1e18], dtype=object)
    records = es.read_records({"consents": consents})
    assert {s for (s,) in records.connect().execute("SELECT subject_id FROM consents").fetchall()} == {"p1", "7"}


@pytest.mark.parametrize("fine", [Decimal(200), Decimal(0)])
@pytest.mark.parametrize(
    "of", [pa.decimal256(12, 2), pa.decimal256(50, 8), pa.decimal128(12, -2), pa.decimal128(38, 10)]
)
def test_amounts_are_read_from_decimals_of_every_kind(of, fine):
    rows = [{**ROWS["penalties"], "fine_yuan": None}, {**ROWS["penalties"], "decision_no": "2", "fine_yuan": None}]
    fines = pa.table(pd.DataFrame(rows)).drop_columns("fine_yuan")
    fines = fines.append_column("fine_yuan", pa.array([fine, None], of))
    records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "penalties": fines})
    assert records.problems == ()
    found = records.connect().execute("SELECT fine_yuan FROM penalties ORDER BY decision_no").fetchall()
    assert found == [(None,), (fine,)]


@pytest.mark.parametrize("beside", ["5.50", 5.5])
def test_a_decimal_beside_values_of_another_type_is_the_amount_it_is(beside):
    """A hundred without its zeros is 1E+2 as Python writes it."""
    rows = [{**ROWS["penalties"], "fine_yuan": Decimal(100).normalize()}, {**ROWS["penalties"], "decision_no": "2"}]
    rows[1]["fine_yuan"] = beside
    records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "penalties": pd.DataFrame(rows)})
    found = records.connect().execute("SELECT fine_yuan FROM penalties ORDER BY fine_yuan").fetchall()
    assert found == [(Decimal("5.50"),), (Decimal(100),)]


def test_numbers_of_two_bytes_are_read_as_any():
    points = pa.table(pd.DataFrame([ROWS["civic_points"]] * 2)).drop_columns(["record_id", "points"])
    points = points.append_column("record_id", pa.array(["1", "2"]))
    points = points.append_column("points", pa.array(np.array([7, 7.5], np.float16)))
    records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "civic_points": points})
    assert records.connect().execute("SELECT points FROM civic_points").fetchall() == [(7,)]
    assert [(problem.row, problem.column) for problem in records.problems] == [(2, "points")]


def test_a_decimal_too_long_for_the_database_is_one_wrong_cell_in_pandas_too():
    rows = [{**ROWS["penalties"], "fine_yuan": Decimal(200)}, {**ROWS["penalties"], "decision_no": "2"}]
    rows[1]["fine_yuan"] = Decimal("1E+50")
    records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "penalties": pd.DataFrame(rows)})
    assert [(problem.row, problem.column) for problem in records.problems] == [(2, "fine_yuan")]


def test_an_infinite_decimal_beside_a_text_is_one_wrong_cell():
    rows = [{**ROWS["penalties"], "fine_yuan": Decimal("Infinity")}, {**ROWS["penalties"], "decision_no": "2"}]
    rows[1]["fine_yuan"] = "200"
    records = es.read_records({"consents": pd.DataFrame([ROWS["consents"]]), "penalties": pd.DataFrame(rows)})
    assert [(problem.row, problem.column) for problem in records.problems] == [(1, "fine_yuan")]


def test_the_quarantine_loses_nothing(tmp_path):
    import csv
    import json

    bad = {"points": "-1", "excluded_on": 'never, "ever"'}
    written = {**bad, "excluded_on": '"never, ""ever"""'}
    records = es.read_records(write(tmp_path, civic_points=[written]))
    files = records.write_quarantine(tmp_path / "aside")
    assert [file.name for file in files] == ["quarantine-civic_points.csv"]
    with files[0].open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["row"], line["column"], line["value"]) for line in lines] == [
        ("2", "excluded_on", bad["excluded_on"]),
        ("2", "points", "-1"),
    ]
    original = {name: cell or None for name, cell in {**ROWS["civic_points"], **bad}.items()}
    assert json.loads(lines[0]["original"]) == original
    assert list(records.quarantine["column"]) == ["excluded_on", "points"]


def test_of_several_frames_the_one_in_which_a_row_is_wrong_is_named():
    right, wrong = (pd.DataFrame([ROWS["consents"] | {"letter_version": letter}]) for letter in ("2023-B", "2022-X"))
    assert {problem.file for problem in es.read_records({"consents": [wrong]}).problems} == {"the frame 'consents'"}
    records = es.read_records({"consents": [right, wrong.assign(subject_id="p2"), wrong.assign(subject_id="p3")]})
    wrong_ones = ["the frame 'consents', 2 of 3", "the frame 'consents', 3 of 3"]
    assert [problem.file for problem in records.problems] == wrong_ones
    assert [count.file for count in records.counts if count.set_aside] == wrong_ones
    with pytest.raises(es.RecordsError, match=r"frame 'consents', 2 of 2, column 'granted_on': the column is missing"):
        es.read_records({"consents": [right, right.drop(columns="granted_on")]})


def test_frames_of_other_kinds_and_tables_are_refused():
    with pytest.raises(es.ArgumentError, match="Did you mean 'consents'"):
        es.read_records({"consent": {}})
    with pytest.raises(es.RecordsError, match="consents"):
        es.read_records({"penalties": {name: [] for name in ROWS["penalties"]}})
    with pytest.raises(es.RecordsError, match="pandas, polars or Arrow"):
        es.read_records({"consents": 7})
    with pytest.raises(es.RecordsError, match="pandas, polars or Arrow"):
        es.read_records({"consents": pd.Series(["p1"], name="subject_id")})
    with pytest.raises(es.RecordsError, match="collected where it is lazy"):
        es.read_records({"consents": pl.LazyFrame({"subject_id": ["p1"]})})
    with pytest.raises(es.RecordsError, match=r"withdrawn_on\.$"):  # and no word of commas
        es.read_records({"consents": pd.DataFrame({"foo": [1]})})


@pytest.mark.parametrize("source", [None, 5, b"folder", ["folder"], {"consents": []}])
def test_what_holds_no_records_is_refused(source):
    with pytest.raises(es.EgretError, match=r"consents|folder or a mapping"):
        es.read_records(source)


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5, 10**9])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads):
    with pytest.raises(es.ArgumentError, match="threads"):
        es.read_records(es.sample_records(), threads=threads)


@pytest.mark.parametrize("nowhere", ["", None, "a\0b"])
def test_rows_set_aside_go_where_somebody_said(nowhere, tmp_path, monkeypatch):
    """An empty name would be the current folder, whose files of these names would be replaced or removed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quarantine-consents.csv").write_text("mine", encoding="utf-8")
    for found in (es.read_records(es.sample_records()), es.validate_records(es.sample_records())):
        with pytest.raises(es.ArgumentError, match="written into a folder"):
            found.write_quarantine(nowhere)
    assert [file.name for file in tmp_path.iterdir()] == ["quarantine-consents.csv"]
