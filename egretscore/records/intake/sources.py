"""The three doors through which records come in: CSV files, Parquet files and frames.

Behind each door stands the same thing: a table ``staged`` in which every cell is text
(NULL when empty) beside the number of its source and of its row. Only those who are
``chosen`` (see ``egretscore.records.parts``) come in, where a table can be read in parts.

Where there are many, rows whose cells have types stay where they lie (``in_place``), which is a
fraction of the work. What the checks make of them is the same. A row is counted from 1
at the first row below the header, so in a CSV file it is the line number less one.

CSV is cut into lines here and into cells by DuckDB. DuckDB's own CSV reader is not used:
it gives no row numbers, skips over a last row with an open quote without a word, and
gives up on a whole file whose line ends are mixed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from egretscore.arrays import arrow_flags, arrow_numbers
from egretscore.errors import ForbiddenColumnError, RecordsError, did_you_mean
from egretscore.policy.forbidden import forbidden_matter
from egretscore.records.database import GLOB_SIGNS, quoted
from egretscore.records.files import LET_IT_BE_READ, check_readable
from egretscore.records.intake.in_place import (
    ROUNDED,
    WHOLE_NUMBERS_BELOW,
    InPlace,
    Relation,
    collect_subjects,
    may_be_chosen,
    may_stay,
    scan_in_place,
    stage_rows,
)
from egretscore.records.schema import Table

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 32 * 2**20
_CELL = '"(?:[^"]|"")*"|[^",]*'
_ROW_NUMBER = "row number"


def create_staging(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Create the empty table ``staged`` for the rows of a table."""
    cells = ", ".join(f'"{name}" VARCHAR' for name in table.column_names)
    connection.execute(
        f"CREATE OR REPLACE TABLE staged (source INTEGER, row BIGINT, expected VARCHAR, line VARCHAR, {cells})"
    )


def stage_file(
    connection: duckdb.DuckDBPyConnection, table: Table, source: int, file: Path, *, in_parts: bool
) -> InPlace | None:
    """Put the rows of a CSV or Parquet file, or those of some parts of everyone, into ``staged``.

    Returns those that stay in the file, if any do.
    """
    if file.suffix.lower() == ".csv":
        _stage_csv(connection, table, source, file)
        return None
    return _stage_parquet(connection, table, source, file, in_parts=in_parts)


def stage_frame(
    connection: duckdb.DuckDBPyConnection, table: Table, source: int, frame: Any, label: str, *, in_parts: bool = False
) -> InPlace | None:
    """Put the rows of a pandas, polars or Arrow frame, or those of some parts of everyone, into ``staged``.

    Returns those that stay in a table of their own, if any do.
    """
    arrow = _as_arrow(frame, label)
    check_columns(table, arrow.column_names, label)
    connection.register("frame", arrow.append_column(_ROW_NUMBER, _numbers(1, arrow.num_rows)))
    try:
        relation = Relation.of_table(connection, "frame", _ROW_NUMBER)
        if not may_stay(connection, table, relation):
            _stage_as_text(connection, table, relation, source, in_parts=in_parts)
            return None
        collect_subjects(connection, relation)
        own = f'in_place."source {source}"'  # the frame itself is seen by this connection alone
        theirs = f"SELECT * FROM frame SEMI JOIN subjects ON subject = {relation.subject}"
        connection.execute(f"CREATE TABLE {own} AS {theirs}")
        relation = Relation.of_table(connection, own, _ROW_NUMBER)
        return scan_in_place(connection, table, source, relation, in_parts=in_parts)
    finally:
        connection.unregister("frame")


def check_columns(table: Table, columns: Sequence[str], file: object) -> None:
    """Raise for a forbidden, unknown, repeated or missing column."""
    for column in columns:
        if column in table.column_names:
            if list(columns).count(column) > 1:
                raise RecordsError("the column stands twice", file=file, column=column, expected="each column once")
            continue
        matter = forbidden_matter(column)
        if matter is not None:
            raise ForbiddenColumnError(
                f"this library never takes in {matter}",
                file=file,
                column=column,
                expected=f"only {', '.join(table.column_names)}",
                remedy="Remove the column before the file reaches this library.",
            )
        separated = ", separated by commas" if str(file).lower().endswith(".csv") else ""
        raise RecordsError(
            f"the table {table.name} has no such column",
            file=file,
            column=column,
            expected=f"only {', '.join(table.column_names)}{separated}",
            remedy=did_you_mean(column, table.column_names),
        )
    for declared in table.columns:
        if declared.name not in columns:
            empty = "; its cells may be empty, but the column must be there" if declared.optional else ""
            raise RecordsError(
                f"the column is missing{empty}",
                file=file,
                column=declared.name,
                expected=f"the columns {', '.join(table.column_names)}",
            )


# ------------------------------------------------------------------------------- CSV


def _stage_csv(connection: duckdb.DuckDBPyConnection, table: Table, source: int, file: Path) -> None:
    try:
        blocks = _line_blocks(file)
        header = _csv_header(next(blocks, None), file)
        check_columns(table, header, file)
        for lines in blocks:
            connection.register("lines", lines)
            connection.execute(
                f"INSERT INTO staged (source, row, expected, line, {quoted(header)}) {_split_lines(header, table)}",
                [source],
            )
            connection.unregister("lines")
    except OSError as error:
        raise RecordsError(f"the file cannot be read ({error.strerror})", file=file, remedy=LET_IT_BE_READ) from error


def _line_blocks(file: Path) -> Iterator[pa.Table]:
    """Yield the lines of a file with their numbers: the first line alone, as bytes, then blocks of lines.

    Of a line that is not UTF-8 the bytes that are no text are written as Python escapes them, and it is garbled.
    """
    import pyarrow as pa

    def numbered(block: bytes, first: int, *, as_text: bool = True) -> pa.Table:
        garbled: list[int] = []
        if as_text:
            block, garbled = _legible(block)
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
        if not len(ends) or ends[-1] != len(block):
            ends = np.append(ends, len(block))
        starts = np.concatenate([[0], ends]).astype(np.int64)
        of = pa.large_string() if as_text else pa.large_binary()
        lines = pa.Array.from_buffers(of, len(ends), [None, pa.py_buffer(starts), pa.py_buffer(block)])
        is_garbled = np.isin(np.arange(len(ends)), garbled)
        return pa.table({"row": _numbers(first, len(ends)), "line": lines, "garbled": arrow_flags(is_garbled)})

    with file.open("rb") as stream:
        header = stream.readline()
        if not header:
            return
        yield numbered(header, 0, as_text=False)
        rows, rest = 0, b""
        while block := stream.read(_BLOCK_BYTES):
            whole = block.rfind(b"\n") + 1
            if not whole:
                rest += block
                continue
            lines = numbered(rest + block[:whole], rows + 1)
            rows, rest = rows + lines.num_rows, block[whole:]
            yield lines
        if rest:
            yield numbered(rest, rows + 1)


def _legible(block: bytes) -> tuple[bytes, list[int]]:
    """Return lines as UTF-8, and which of them were not."""
    try:
        block.decode()
    except UnicodeDecodeError:
        lines, garbled = block.split(b"\n"), []
        for number, line in enumerate(lines):
            text = line.decode(errors="backslashreplace").encode()
            if text != line:
                lines[number] = text
                garbled.append(number)
        return b"\n".join(lines), garbled
    return block, []


def _numbers(first: int, count: int) -> pa.Int64Array:
    """Return so many whole numbers, one after the other."""
    import pyarrow as pa

    return arrow_numbers(np.arange(first, first + count), pa.int64())


def _csv_header(first_line: pa.Table | None, file: Path) -> list[str]:
    if first_line is None:
        raise RecordsError("the file is empty", file=file, expected="a first line with the names of the columns")
    raw: bytes = first_line["line"][0].as_py()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) > 1 and not (any(raw[::2]) and any(raw[1::2]))):
        raise RecordsError(
            "the file is UTF-16 text", file=file, expected="UTF-8", remedy="Save it again as CSV in UTF-8."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordsError(
            "the first line is not UTF-8 text",
            file=file,
            value=raw[error.start : error.start + 8],
            expected="the names of the columns in UTF-8",
            remedy="Save the file again as CSV in UTF-8.",
        ) from error
    if not text.strip():
        raise RecordsError("the first line is empty", file=file, expected="the names of the columns")
    if text.lower().startswith(("sep=", '"sep=')):
        raise RecordsError(
            "the first line tells a spreadsheet how to read the file",
            file=file,
            expected="the names of the columns",
            remedy="Remove this line.",
        )
    try:
        return next(csv.reader([text.rstrip("\r\n")], strict=True))
    except csv.Error as error:
        raise RecordsError(
            "the first line cannot be read",
            file=file,
            expected="the names of the columns, separated by commas",
        ) from error


def _split_lines(header: Sequence[str], table: Table) -> str:
    """Return the query that cuts lines into cells, as far as it can, and says what is wrong with a line."""
    width = len(header)
    # Where it is not known whose a line is, it may be anyone's.
    comes_in = "true" if table.reaches_others else may_be_chosen("subject_id")
    # Of a cell with bytes that are no text it is not known what it says.
    known = "can_be_cut AND NOT (garbled AND contains(cells[{0}], '\\x'))"
    cells = ", ".join(
        f"CASE WHEN {known.format(i)} THEN {_cell(i)} END AS {quoted([name])}" for i, name in enumerate(header, start=1)
    )
    into = quoted(header)
    return f"""
        WITH ended AS (
            SELECT row, garbled, NOT ends_with(line, chr(10)) AS unfinished, rtrim(line, chr(13) || chr(10)) AS text
            FROM lines
        ), cut AS (
            SELECT *, CASE WHEN contains(text, '"') THEN regexp_extract_all(',' || text, ',({_CELL})', 1)
                           ELSE string_split(text, ',') END AS cells
            FROM ended WHERE text <> ''
        ), judged AS (
            SELECT *, CASE
                WHEN contains(text, '"') AND NOT regexp_full_match(text, '(?:{_CELL})(?:,(?:{_CELL}))*')
                    THEN 'quotes that close'
                WHEN len(cells) <> {width} THEN '{width} cells, not ' || len(cells)
                END AS uncut, uncut IS NULL AS can_be_cut,
                CASE WHEN garbled THEN 'text in UTF-8 (is the file GBK? save it again as CSV in UTF-8)' ELSE uncut END
                || CASE WHEN unfinished THEN '; the file ends in the middle of this row' ELSE '' END AS expected
            FROM cut
        ), given AS (
            SELECT row, expected, CASE WHEN expected IS NOT NULL THEN text END AS line, {cells} FROM judged
        )
        SELECT ?::INTEGER, row, expected, line, {into} FROM given WHERE {comes_in}
    """


def _cell(i: int) -> str:
    """Return the expression for the text of a line's i-th cell, without its quotes, NULL when empty."""
    return (
        f"nullif(CASE WHEN starts_with(cells[{i}], '\"') AND ends_with(cells[{i}], '\"') "
        f"THEN replace(cells[{i}][2:-2], '\"\"', '\"') ELSE cells[{i}] END, '')"
    )


# ------------------------------------------------------------------------------- Parquet and frames


def _stage_parquet(
    connection: duckdb.DuckDBPyConnection, table: Table, source: int, file: Path, *, in_parts: bool
) -> InPlace | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if GLOB_SIGNS.intersection(str(file)):  # DuckDB would read other files, whose names match, as well
            with file.open("rb") as stream:
                return stage_frame(connection, table, source, pq.read_table(stream), str(file), in_parts=in_parts)
        relation = Relation.of_file(connection, file)
        check_columns(table, list(relation.types), file)
        if not may_stay(connection, table, relation):
            _stage_as_text(connection, table, relation, source, in_parts=in_parts)
            return None
        collect_subjects(connection, relation)
        return scan_in_place(connection, table, source, relation, in_parts=in_parts)
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        check_readable([file])
        raise RecordsError(
            f"the Parquet file cannot be read ({str(error).splitlines()[0]})",
            file=file,
            expected="a whole Parquet file",
            remedy="Write it again; a file that was cut off while being written looks like this.",
        ) from error


def _stage_as_text(
    connection: duckdb.DuckDBPyConnection, table: Table, relation: Relation, source: int, *, in_parts: bool
) -> None:
    comes_in = "true"
    if in_parts and not table.reaches_others:
        collect_subjects(connection, relation)
        comes_in = f"{relation.subject} IN (SELECT subject FROM subjects)"
    stage_rows(connection, table, source, relation, comes_in)


def _as_arrow(frame: Any, label: str) -> pa.Table:
    import pyarrow as pa

    try:
        if isinstance(frame, Mapping):
            return _as_the_database_knows(_columns_as_arrow(frame))
        if type(frame).__module__.partition(".")[0] == "pandas":
            return _as_the_database_knows(_pandas_as_arrow(frame))
        return _as_the_database_knows(frame if isinstance(frame, pa.Table) else pa.table(frame))
    except (AttributeError, TypeError, ValueError, pa.ArrowException) as error:
        raise RecordsError(
            f"this is not a table of records ({error})",
            file=label,
            expected="a pandas, polars or Arrow frame, collected where it is lazy, or a mapping of columns",
        ) from error


def _as_the_database_knows(table: pa.Table) -> pa.Table:
    """Return a table whose columns are of kinds that the database can calculate with.

    Of other decimals it has no type, and timestamps in seconds or milliseconds it would turn into nanoseconds.
    """
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_float16(field.type):
            table = table.set_column(position, field.name, table[position].cast(pa.float32()))
        elif pa.types.is_decimal256(field.type) or (pa.types.is_decimal(field.type) and field.type.scale < 0):
            texts = [None if value is None else _text(value) for value in table[position].to_pylist()]
            table = table.set_column(position, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_timestamp(field.type) and field.type.unit in {"s", "ms"}:
            table = table.set_column(position, field.name, _in_microseconds(table[position]))
    return table


def _in_microseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return times.cast(pa.timestamp("us", times.type.tz))
    except pa.ArrowInvalid:  # after the year 294,000
        return times.cast(pa.timestamp(times.type.unit)).cast(pa.string())


def _pandas_as_arrow(frame: Any) -> pa.Table:
    """Convert column by column, so that one column of mixed types becomes text and not an error."""
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    return pa.Table.from_arrays([_series_as_arrow(frame.iloc[:, i]) for i in range(len(names))], names=names)


def _columns_as_arrow(frame: Mapping[str, Any]) -> pa.Table:
    """Convert a mapping of columns: lists, and those of pandas, numpy, polars or Arrow."""
    import pandas as pd
    import pyarrow as pa

    def column(values: Any) -> Any:
        if isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.dtype == object):
            values = pd.Series(values, dtype=object)
        return _series_as_arrow(values) if isinstance(values, pd.Series) else values

    return pa.table({name: column(values) for name, values in frame.items()})


def _series_as_arrow(values: Any) -> pa.Array:
    import pyarrow as pa

    try:
        converted = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, TypeError, OverflowError):  # a decimal that is infinite, beside a text
        converted = None
    if converted is None or _may_have_lost_hours(values, converted.type):
        return pa.array(values.map(_text, na_action="ignore"), from_pandas=True)
    return converted


def _may_have_lost_hours(values: Any, taken_for: pa.DataType) -> bool:
    """Return whether objects were taken for days of which some are timestamps: Arrow cuts these to their day."""
    import pyarrow as pa

    of_categories = hasattr(values, "cat")
    if not pa.types.is_date(taken_for.value_type if of_categories else taken_for):
        return False
    objects = values.cat.categories if of_categories else values if values.dtype == object else ()
    return any(isinstance(value, datetime) for value in objects)


def _text(value: object) -> str:
    """Return the text of a cell of a column of several types: of a day without an hour, the day."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < WHOLE_NUMBERS_BELOW["DOUBLE"] else f"{value}{ROUNDED}"
    if isinstance(value, datetime):
        value = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        value = value.date() if value.time() == time() else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)  # a hundred may be 1E+2 as text
