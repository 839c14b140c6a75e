"""Arrays between numpy and Arrow: what pyarrow's own ways give, without pandas."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from egretscore.arrays import arrow_flags, arrow_numbers, arrow_texts, numpy_flags, numpy_numbers

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
