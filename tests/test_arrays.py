"""Arrays between numpy and Arrow: what pyarrow's own ways give, without pandas."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from egretscore.arrays import arrow_flags, arrow_numbers, arrow_texts, by_part, numpy_flags, numpy_numbers

whole_numbers = st.lists(st.integers(-(2**31), 2**31 - 1))


@given(whole_numbers, st.sampled_from([pa.int32(), pa.int64()]), st.data())
def test_whole_numbers_some_of_which_may_be_missing(values, type_, data):
    known = data.draw(st.none() | st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    made = arrow_numbers(
        np.array(values, dtype=np.int64), type_, None if known is None else np.array(known, dtype=bool)
    )
    made.validate(full=True)
    assert made.equals(pa.array(values if known is None else here_only(values, known), type_))


def here_only(values: list[int], known: list[bool]) -> list[int | None]:
    return [value if here else None for value, here in zip(values, known, strict=True)]


@given(whole_numbers, st.integers(0, 5), st.integers(0, 5))
def test_columns_come_back_wherever_they_are_cut(values, first, chunks):
    column = pa.chunked_array([values] * chunks, pa.int32())
    assert numpy_numbers(column[first:]).tolist() == (values * chunks)[first:]
    odd = [value % 2 == 1 for value in values]
    assert numpy_flags(pa.chunked_array([odd] * chunks, pa.bool_())[first:]).tolist() == (odd * chunks)[first:]


@given(st.lists(st.booleans()))
def test_flags(values):
    assert arrow_flags(np.array(values, dtype=bool)).equals(pa.array(values, pa.bool_()))


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"))))
def test_texts(words):
    made = arrow_texts(words)
    made.validate(full=True)
    assert made.equals(pa.array(words, pa.string()))


READING_BEGINS_NO_THREAD = """
import os, sys
from egretscore.arrays import table_in
from pyarrow import parquet

before = len(os.listdir("/proc/self/task"))
assert len(table_in(sys.argv[1])) == 9
sys.exit(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list a process's threads")
def test_reading_a_file_begins_no_thread_that_could_outlive_a_command(tmp_path):
    file = tmp_path / "of several columns.parquet"
    parquet.write_table(pa.table({f"column_{number}": range(9) for number in range(4)}), file)
    done = subprocess.run([sys.executable, "-c", READING_BEGINS_NO_THREAD, str(file)], check=False)
    assert done.returncode == 0


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 12)))
def test_rows_are_cut_into_parts_wherever_batches_end(parts, ends):
    """Also where a batch is empty."""
    rows = pa.record_batch(
        {"row": pa.array(range(len(parts)), pa.int32()), "part": pa.array(sorted(parts), pa.int32())}
    )
    cuts = [0, *sorted(min(end, len(parts)) for end in ends), len(parts)]
    batches = [rows[first:end] for first, end in pairwise(cuts)]
    found = {part: of_part["row"].to_pylist() for part, of_part in by_part(batches)}
    assert found == {part: [row for row, of in enumerate(sorted(parts)) if of == part] for part in {*parts}}
