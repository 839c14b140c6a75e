"""Rows that stay where they lie: all that comes of them is what comes of their texts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from whole_records import (
    AS_OF,
    POLICY,
    Person,
    frames,
    plain_consent,
    read,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    texts_of,
    towns,
    write,
)

import egretscore as es
from egretscore.everyone import on_one_machine
from egretscore.everyone.on_one_machine import score_everyone
from egretscore.records.database import Resources
from egretscore.records.intake import in_place, sources
from egretscore.records.parts import PARTS, part_of
from egretscore.records.reading import read_parts
from egretscore.records.schema import TABLES
from egretscore.records.upkeep import keeping

CELLS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.sampled_from(["", " ", "p0", "p1", "13800138000", "13500000000X", "nonsense", "\u200b", "r" * 200]),
    pa.date32(): st.sampled_from([date(1899, 12, 31), date(2200, 1, 1), date(2024, 2, 29)]),
    pa.int32(): st.sampled_from([-1, 0, 9_999_999, 10_000_000]),
    pa.float64(): st.sampled_from([-1.0, 0.0, 12.5, 0.125, 1e12, float("nan")]),
    pa.bool_(): st.booleans(),
}


def spoilt(draw: Any, table: pa.Table) -> pa.Table:
    """Repeat some rows, in some of them with another cell, or none, in the place of one."""
    rows = table.to_pylist()
    for row in list(rows):
        how = draw(st.integers(0, 4))
        if how <= 1:
            rows.insert(draw(st.integers(0, len(rows))), dict(row))
        if how == 1:
            name = draw(st.sampled_from(table.column_names))
            rows[-1 if draw(st.booleans()) else 0][name] = draw(CELLS[table.schema.field(name).type] | st.none())
    return pa.Table.from_pylist(rows, schema=table.schema)


def all_that_came_of(given_records: Any, fewest: int) -> dict[str, Any]:
    with mock.patch.object(in_place, "FEWEST_TYPED_ROWS", fewest):
        records = es.read_records(given_records, threads=1)
    return {**rows_of(records), "problems": records.problems, "counts": records.counts}


def rows_of(records: es.Records) -> dict[str, list[str]]:
    connection = records.connect()
    names = [*TABLES, "doubts", "people"]
    return {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall())) for name in names}


@given(towns(), st.data())
def test_values_and_texts_come_to_the_same(town, data):
    tables = {name: spoilt(data.draw, table) for name, table in frames(town).items()}
    # In two frames, so that rows of one repeat and contradict those of another; of one, sometimes, as texts.
    split = {}
    for name, table in tables.items():
        middle = data.draw(st.integers(0, len(table)))
        first, second = table[:middle], table[middle:]
        if data.draw(st.booleans()):
            second = texts_of(second)
        split[name] = [first, second]
    assert all_that_came_of(split, fewest=0) == all_that_came_of(split, fewest=10**9)


OTHER_TYPES = {pa.date32(): pa.timestamp("us"), pa.int32(): pa.int64(), pa.float64(): pa.float32()}
DECIMALS = st.sampled_from([pa.decimal128(12, 2), pa.decimal128(14, 3), pa.decimal128(5, 0)])
FOLDERS = st.sampled_from(["records", "signs [1]*?", "key=value", "it's", "a/../records"])


def with_decimals(rows: pa.Table, of: pa.DataType) -> pa.Table:
    """Return rows with amounts of a decimal type: those that it cannot hold are negative."""
    for position, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            amounts = [None if amount is None else _decimal(amount, of.scale) for amount in rows[position].to_pylist()]
            rows = rows.set_column(position, field.name, pa.array(amounts, of))
    return rows


def _decimal(amount: float, scale: int) -> Decimal:
    return Decimal(f"{amount:.{scale}f}") if abs(amount) < 10_000 else Decimal(-1)


def written(draw: Any, town: Any, scratch: str) -> Path:
    """Write spoilt rows into Parquet files, some of other types, in columns of any order, in a folder of some name."""
    folder = Path(scratch) / draw(FOLDERS)
    (Path(scratch) / "a").mkdir()
    for name, table in frames(town).items():
        rows = spoilt(draw, table)
        (folder / name).mkdir(parents=True)
        for number in range(3):
            of_file = rows[number::3]
            if draw(st.booleans()):
                others = [(field.name, OTHER_TYPES.get(field.type, field.type)) for field in of_file.schema]
                of_file = of_file.cast(pa.schema(others), safe=False)
            if draw(st.booleans()):
                of_file = with_decimals(of_file, draw(DECIMALS))
            of_file = of_file.select(draw(st.permutations(of_file.column_names)))
            parquet.write_table(of_file, folder / name / f"{number}.parquet", row_group_size=2)
    return folder


@given(towns(), st.sets(st.integers(0, PARTS - 1)), st.data())
@settings(max_examples=30)
def test_read_from_where_they_lie_rows_are_what_they_are_in_memory(town, taken, data):
    """Of everyone at once and of some parts at a time, whatever the files are called and which rows are wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = written(data.draw, town, scratch)
        as_texts = all_that_came_of(folder, fewest=10**9)
        assert all_that_came_of(folder, fewest=0) == as_texts
        with mock.patch.object(in_place, "FEWEST_TYPED_ROWS", 0):
            policy = shipped_engine().policy
            everyone_s = read_parts(folder, range(PARTS), policy, Resources(1))
            assert {**rows_of(everyone_s), "problems": everyone_s.problems, "counts": everyone_s.counts} == as_texts
            parts = [read_parts(folder, of, policy, Resources(1)) for of in (taken, set(range(PARTS)) - taken)]
            by_half = [rows_of(records) for records in parts]
        for table in (*TABLES, "people"):
            assert sorted(row for half in by_half for row in half[table]) == as_texts[table]
        for half, of in zip(parts, (taken, set(range(PARTS)) - taken), strict=True):
            found = half.connect().execute("SELECT DISTINCT subject_id FROM commitments").fetchall()
            assert {part_of(subject) for (subject,) in found} <= of


@pytest.mark.parametrize("largest", [5.0, 1e20])
@pytest.mark.parametrize("of", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("fewest", [0, 10**9])
def test_what_is_no_number_is_an_empty_cell_whatever_the_file_says_of_its_numbers(tmp_path, fewest, of, largest):
    """The least and the largest number that a Parquet file notes of a column leave those out that are none."""
    made = settled_commitment("p0", "bike_rental", AS_OF, None, None)
    amounts = [largest, 12.5, *[float("nan")] * 3]
    rows = tuple({**made, "commitment_id": f"c{number}", "amount_yuan": 1.0} for number in range(len(amounts)))
    town = frames([Person("p0", consents=(plain_consent("p0"),), commitments=rows)])
    position = town["commitments"].column_names.index("amount_yuan")
    town["commitments"] = town["commitments"].set_column(position, "amount_yuan", pa.array(amounts, of))
    for name, table in town.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    found = all_that_came_of(tmp_path, fewest)["commitments"]
    assert found == all_that_came_of(town, fewest)["commitments"]
    assert len(found) == (5 if largest == 5.0 else 4)
    assert sum("Decimal" not in row for row in found) == 3


@pytest.mark.parametrize("amount", [5.0, 12.5, 0.0])
@pytest.mark.parametrize("of", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("fewest", [0, 10**9])
def test_what_is_no_number_is_an_empty_cell_where_all_numbers_are_one(tmp_path, fewest, of, amount):
    """Of a column whose least and largest number are one, DuckDB takes every cell to be that one."""
    made = settled_commitment("p0", "bike_rental", AS_OF, None, None)
    rows = tuple({**made, "commitment_id": f"c{number}", "amount_yuan": 1.0} for number in range(2))
    town = frames([Person("p0", consents=(plain_consent("p0"),), commitments=rows)])
    position = town["commitments"].column_names.index("amount_yuan")
    amounts = pa.array([amount, float("nan")], of)
    town["commitments"] = town["commitments"].set_column(position, "amount_yuan", amounts)
    for name, table in town.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    found = all_that_came_of(tmp_path, fewest)["commitments"]
    assert found == all_that_came_of(town, fewest)["commitments"]
    assert len(found) == 2


def test_rows_set_aside_do_not_stop_a_question_about_the_others(tmp_path, monkeypatch):
    """A database may look at the cells of rows that it passes over: here points that no whole number holds."""
    monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", 1)
    for name, table in frames([]).items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    points = {"record_id": ["r1", "r2"], "subject_id": ["p0", "p0"], "activity": ["volunteering"] * 2}
    points |= {"points": [3_000_000_000, 5], "earned_on": [date(2025, 1, 1)] * 2}
    points |= {"recorded_on": [date(2025, 1, 1)] * 2, "excluded_on": pa.array([None] * 2, pa.date32())}
    parquet.write_table(pa.table(points), tmp_path / "civic_points.parquet")
    records = read_parts(tmp_path, range(PARTS), shipped_engine().policy)
    found = records.connect().execute("SELECT record_id FROM civic_points WHERE points > 3").fetchall()
    assert found == [("r2",)]
    assert [problem.value for problem in records.problems] == ["3000000000"]


@given(towns())
@settings(max_examples=10)
def test_in_memory_nothing_is_left_of_where_rows_lay(town):
    """Else what is erased would be there still."""
    with mock.patch.object(in_place, "FEWEST_TYPED_ROWS", 0):
        records = read(town)
    left = records.connect().execute("SELECT DISTINCT table_name FROM duckdb_tables()").fetchall()
    assert {name for (name,) in left} == {*TABLES, "doubts", "broken", "sources", "counts", "quarantine", "vocabulary"}


@given(towns())
def test_good_rows_are_taken_as_values_and_none_is_lost(town):
    with (
        mock.patch.object(in_place, "FEWEST_TYPED_ROWS", 0),
        mock.patch.object(sources, "scan_in_place", wraps=sources.scan_in_place) as taken,
    ):
        records = read(town)
    assert {call.args[1].name for call in taken.call_args_list} == {"civic_points", "penalties", "commitments"}
    assert [(count.good, count.rows) for count in records.counts] == [
        (len(table), len(table)) for table in frames(town).values()
    ]


@pytest.mark.parametrize("rows", [in_place.FEWEST_TYPED_ROWS - 1, in_place.FEWEST_TYPED_ROWS])
def test_from_many_rows_on(rows):
    points = {
        "record_id": [f"r{number}" for number in range(rows)],
        "subject_id": ["p0"] * rows,
        "activity": ["volunteering"] * rows,
        "points": [5] * rows,
        "earned_on": [date(2025, 1, 1)] * rows,
        "recorded_on": [date(2025, 1, 2)] * rows,
        "excluded_on": pa.array([None] * rows, pa.date32()),
    }
    consents = {
        "subject_id": ["p0"],
        "letter_version": ["2023-A"],
        "adult_confirmed": [True],
        "granted_on": [date(2024, 1, 1)],
        "withdrawn_on": pa.array([None], pa.date32()),
    }
    with mock.patch.object(sources, "scan_in_place", wraps=sources.scan_in_place) as taken:
        records = es.read_records({"consents": pa.table(consents), "civic_points": pa.table(points)})
    assert taken.called == (rows >= in_place.FEWEST_TYPED_ROWS)
    assert [count.rows for count in records.counts if count.table == "civic_points"] == [rows]


@given(st.lists(st.sampled_from(["p0", "p1", "13800138000", "110101199003078515", "p 0", "", None]), min_size=1))
def test_a_typed_row_of_what_is_no_pseudonym_is_set_aside(subjects):
    count = len(subjects)
    points = {
        "record_id": [f"r{number}" for number in range(count)],
        "subject_id": pa.array(subjects, pa.string()),
        "activity": ["volunteering"] * count,
        "points": [5] * count,
        "earned_on": [date(2025, 1, 1)] * count,
        "recorded_on": [date(2025, 1, 2)] * count,
        "excluded_on": pa.array([None] * count, pa.date32()),
    }
    with mock.patch.object(in_place, "FEWEST_TYPED_ROWS", 0):
        records = es.read_records({"consents": frames([])["consents"], "civic_points": pa.table(points)})
    wrong = [row for row, subject in enumerate(subjects, start=1) if subject not in {"p0", "p1"}]
    assert [problem.row for problem in records.problems if problem.column == "subject_id"] == wrong
    kept = records.connect().execute("SELECT DISTINCT subject_id FROM civic_points").fetchall()
    assert {subject for (subject,) in kept} == {subject for subject in subjects if subject in {"p0", "p1"}}


def test_a_typed_row_whose_dates_contradict_each_other_is_set_aside():
    consents = {"subject_id": ["p0"], "letter_version": ["2023-A"], "adult_confirmed": [True]}
    consents |= {"granted_on": [date(2024, 1, 1)], "withdrawn_on": pa.array([None], pa.date32())}
    points = {"record_id": ["r1", "r2"], "subject_id": ["p0", "p0"], "activity": ["volunteering"] * 2}
    points |= {"points": [5, 5], "earned_on": [date(2025, 1, 2)] * 2, "excluded_on": pa.array([None] * 2, pa.date32())}
    points |= {"recorded_on": [date(2025, 1, 1), date(2025, 1, 2)]}
    with mock.patch.object(in_place, "FEWEST_TYPED_ROWS", 0):
        records = es.read_records({"consents": pa.table(consents), "civic_points": pa.table(points)})
    (problem,) = [problem for problem in records.problems if problem.table == "civic_points"]
    assert (problem.row, problem.column, problem.value) == (1, "recorded_on", "2025-01-01")
    assert problem.expected == "no earlier than earned_on"


# ------------------------------------------------------------------------------- files that change meanwhile


def shortened(file: Path) -> None:
    table = parquet.read_table(file)
    parquet.write_table(table[: len(table) // 2], file)


def of_other_columns(file: Path) -> None:
    table = parquet.read_table(file)
    parquet.write_table(table.drop_columns(["due_on"]), file)


def spoilt_inside(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    file.write_bytes(content)


def of_the_same_size_and_time(file: Path) -> None:
    before = file.stat()
    file.write_bytes(file.read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: list[Callable[[Path], None]] = [
    os.unlink,
    shortened,
    of_other_columns,
    spoilt_inside,
    of_the_same_size_and_time,
]


@pytest.fixture
def town_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", 1)
    return es.simulate_town(300, tmp_path / "town", seed=5, file_format="parquet")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("room", "command"),
    [
        (on_one_machine, lambda records, out: score_everyone(shipped_engine(), records, AS_OF, out)),
        (keeping, es.keep_records),
    ],
    ids=["score", "keep"],
)
def test_of_a_file_that_changes_once_it_is_checked_nothing_is_written(
    town_folder, tmp_path, monkeypatch, room, command, change
):
    def then_it_changes(*args: Any, **options: Any) -> es.Records:
        records = read_parts(*args, **options)
        change(town_folder / "commitments.parquet")
        return records

    monkeypatch.setattr(room, "read_parts", then_it_changes)
    with pytest.raises(es.RecordsError, match="changed while they were being"):
        command(town_folder, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["town"]


def test_a_file_that_changes_while_it_is_checked_is_said(town_folder, tmp_path, monkeypatch):
    def then_it_changes(*args: Any, **options: Any) -> Any:
        found = in_place.scan_in_place(*args, **options)
        shutil.copy(tmp_path / "other.parquet", town_folder / "penalties.parquet")
        return found

    shutil.copy(town_folder / "penalties.parquet", tmp_path / "other.parquet")
    monkeypatch.setattr(sources, "scan_in_place", then_it_changes)
    with pytest.raises(es.RecordsError, match="changed while"):
        es.read_records(town_folder)


def test_a_typed_row_of_nobody_is_looked_at_with_every_part(tmp_path, monkeypatch):
    """It may be about a record of anyone's: here, it says that a penalty was repaired."""
    monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", 1)
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    repaired = {**penalty, "subject_id": None, "repaired_on": AS_OF}
    person = Person("p0", (plain_consent("p0"),), penalties=(penalty, repaired))
    folder = write([person], tmp_path / "town")
    for records in (es.read_records(folder), read_parts(folder, [part_of("p0")], POLICY)):
        assert shipped_engine().explain(records, "p0", AS_OF).score == 550
