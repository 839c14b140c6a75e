"""Finding one person's rows among everyone's, in a fraction of a millisecond or a few."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from egretscore.records.kept.folder import files_of_part
from egretscore.records.schema import CHECKED

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyarrow import parquet

PersonRows = Mapping[str, Sequence[tuple[Any, ...]]]
"""One person's rows of every table of ``CHECKED``. A date is the number of days since 1970-01-01; a column that was
not asked for is None."""

FIRST_DAY: Final = date(1970, 1, 1).toordinal()
"""The day from which these days are counted, as an ordinal."""


class RowsInMemory:
    """The rows of everyone, a copy of a database's, in the order of subject_id.

    Parameters
    ----------
    connection : to a database of checked records
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._tables = {
            table: connection.sql(f'SELECT * FROM "{table}" ORDER BY subject_id').to_arrow_table() for table in CHECKED
        }

    def of(self, subject_id: str, columns: Collection[str]) -> PersonRows:
        """Return a person's rows, with the columns of these names."""
        return {name: _rows_of(subject_id, table, name, columns) for name, table in self._tables.items()}


class RowsOfPart:
    """The rows of a part of kept records, read from its files when they are asked for.

    Parameters
    ----------
    folder : Path
        A folder of kept records.
    part : int
    """

    def __init__(self, folder: Path, part: int) -> None:
        files = files_of_part(folder, part)
        self._files = {table: _SortedFile.of(files[table]) for table in CHECKED}

    def of(self, subject_id: str, columns: Collection[str]) -> PersonRows:
        """Return a person's rows, with the columns of these names."""
        read = {
            name: file.near(subject_id, [column for column in CHECKED[name].column_names if column in columns])
            for name, file in self._files.items()
        }
        return {name: [] if near is None else _rows_of(subject_id, near, name, columns) for name, near in read.items()}


@dataclass(frozen=True)
class _SortedFile:
    """A Parquet file in the order of subject_id, with the first and last subject_id of each row group."""

    path: Path
    metadata: parquet.FileMetaData
    firsts: tuple[str, ...]
    lasts: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> _SortedFile:
        from pyarrow import parquet

        metadata = parquet.read_metadata(path)
        position = metadata.schema.names.index("subject_id")
        groups = range(metadata.num_row_groups if metadata.num_rows else 0)
        bounds = [metadata.row_group(group).column(position).statistics for group in groups]
        return cls(path, metadata, tuple(bound.min for bound in bounds), tuple(bound.max for bound in bounds))

    def near(self, subject_id: str, columns: list[str]) -> pa.Table | None:
        """Return the row groups, of a few thousand rows, that may hold a person's rows; None if none does."""
        from pyarrow import parquet

        groups = range(bisect_left(self.lasts, subject_id), bisect_right(self.firsts, subject_id))
        if not groups:
            return None
        with parquet.ParquetFile(self.path, metadata=self.metadata) as file:
            return file.read_row_groups(list(groups), columns=columns, use_threads=False)


def _rows_of(subject_id: str, table: pa.Table, name: str, columns: Collection[str]) -> list[tuple[Any, ...]]:
    """Return a person's rows of a table that is in the order of subject_id, None for the columns not asked for."""
    subjects = table["subject_id"]
    first = bisect_left(subjects, subject_id, key=_text)
    end = bisect_right(subjects, subject_id, lo=first, key=_text)
    if first == end:
        return []
    theirs = (
        _plain(table[column].slice(first, end - first)).to_pylist() if column in columns else [None] * (end - first)
        for column in CHECKED[name].column_names
    )
    return list(zip(*theirs, strict=True))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_date(column.type):
        return column.cast(pa.int32())
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _text(value: pa.StringScalar) -> str:
    text: str = value.as_py()
    return text
