"""Arrow without pandas: from and to numpy, reading Parquet, and cutting rows into parts.

pyarrow's ``pa.array``, ``to_numpy`` and ``parquet.read_table`` import pandas wherever it is installed, which takes a
good part of the time and memory of scoring a small town.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def numpy_numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers without missing values as a read-only numpy array."""
    if not len(column):  # pyarrow combines no chunks by way of pandas
        return np.empty(0, dtype=column.type.to_pandas_dtype())
    return np.from_dlpack(column.combine_chunks())


def numpy_flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a column of booleans without missing values as a read-only numpy array."""
    import pyarrow as pa

    return numpy_numbers(column.cast(pa.uint8())).view(np.bool_)


def arrow_numbers(values: NDArray[Any], type_: pa.DataType, known: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return whole numbers as an Arrow array, those not known as missing values.

    Parameters
    ----------
    values : ndarray of whole numbers
    type_ : DataType
        Arrow's type; the numbers must fit.
    known : ndarray of bool, optional
        Which are known; all when not given.
    """
    import pyarrow as pa

    as_stored = np.ascontiguousarray(values, dtype=type_.to_pandas_dtype())
    return pa.Array.from_buffers(type_, len(values), [None if known is None else _bits(known), pa.py_buffer(as_stored)])


def arrow_flags(values: NDArray[np.bool_]) -> pa.BooleanArray:
    """Return booleans as an Arrow array."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def arrow_texts(words: Sequence[str]) -> pa.StringArray:
    """Return a few words as an Arrow array of strings."""
    import pyarrow as pa

    encoded = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(words), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def table_in(file: Path | pa.BufferReader) -> pa.Table:
    """Return the rows of a Parquet file.

    On this thread alone: a process that ends while Arrow is starting threads may abort (apache/arrow#34314).
    """
    from pyarrow import parquet

    with parquet.ParquetFile(file, pre_buffer=False) as opened:
        return opened.read(use_threads=False)


def _bits(values: NDArray[np.bool_]) -> pa.Buffer:
    import pyarrow as pa

    return pa.py_buffer(np.packbits(values, bitorder="little"))


def by_part(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """Cut rows that come in the order of ``part`` into one table for each part."""
    import pyarrow as pa

    def whole(rows: list[pa.RecordBatch]) -> pa.Table:
        return pa.Table.from_batches(rows).drop_columns("part").combine_chunks()

    part, waiting = 0, list[Any]()
    for batch in filter(len, batches):
        parts = np.from_dlpack(batch["part"])
        for first, end in pairwise([0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]):
            if waiting and parts[first] != part:
                yield part, whole(waiting)
                waiting = []
            part = int(parts[first])
            waiting.append(batch.slice(first, end - first))
    if waiting:
        yield part, whole(waiting)
