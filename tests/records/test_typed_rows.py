"""Rows taken as the values they are: all that comes of them is what comes of their texts."""

from __future__ import annotations

from datetime import date
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import frames, read, towns

import egretscore as es
from egretscore.records import sources
from egretscore.records.schema import TABLES

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


def all_that_came_of(given_frames: dict[str, Any], fewest: int) -> dict[str, Any]:
    with mock.patch.object(sources, "FEWEST_TYPED_ROWS", fewest):
        records = es.read_records(given_frames, threads=1)
    connection = records.connect()
    names = [*TABLES, "doubts"]
    found = {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall())) for name in names}
    return {**found, "problems": records.problems, "counts": records.counts}


@given(towns(), st.data())
def test_values_and_texts_come_to_the_same(town, data):
    tables = {name: spoilt(data.draw, table) for name, table in frames(town).items()}
    # In two frames, so that rows of one repeat and contradict those of another; of one, sometimes, as texts.
    split = {}
    for name, table in tables.items():
        middle = data.draw(st.integers(0, len(table)))
        first, second = table[:middle], table[middle:]
        if data.draw(st.booleans()):
            second = second.cast(pa.schema([(column, pa.string()) for column in second.column_names]))
        split[name] = [first, second]
    assert all_that_came_of(split, fewest=0) == all_that_came_of(split, fewest=10**9)


@given(towns())
def test_good_rows_are_taken_as_values_and_none_is_lost(town):
    with (
        mock.patch.object(sources, "FEWEST_TYPED_ROWS", 0),
        mock.patch.object(sources, "_take_typed_rows", wraps=sources._take_typed_rows) as taken,
    ):
        records = read(town)
    assert {call.args[1].name for call in taken.call_args_list} == {"civic_points", "penalties", "commitments"}
    assert [(count.good, count.rows) for count in records.counts] == [
        (len(table), len(table)) for table in frames(town).values()
    ]


@pytest.mark.parametrize("rows", [sources.FEWEST_TYPED_ROWS - 1, sources.FEWEST_TYPED_ROWS])
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
    with mock.patch.object(sources, "_take_typed_rows", wraps=sources._take_typed_rows) as taken:
        records = es.read_records({"consents": pa.table(consents), "civic_points": pa.table(points)})
    assert taken.called == (rows >= sources.FEWEST_TYPED_ROWS)
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
    with mock.patch.object(sources, "FEWEST_TYPED_ROWS", 0):
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
    with mock.patch.object(sources, "FEWEST_TYPED_ROWS", 0):
        records = es.read_records({"consents": pa.table(consents), "civic_points": pa.table(points)})
    (problem,) = [problem for problem in records.problems if problem.table == "civic_points"]
    assert (problem.row, problem.column, problem.value) == (1, "recorded_on", "2025-01-01")
    assert problem.expected == "no earlier than earned_on"
