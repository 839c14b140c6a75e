"""Rows whose cells are typed already: those with nothing wrong in them stay where they are.

A typed row need not be copied or turned into text to be checked. Such rows are scanned once. Those
with something wrong in them, and those that another row may repeat, become text in ``staged`` and
are checked like all other rows; the rest are read from their file or frame, as values, when they
are asked for. The result is the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np

from egretscore.arrays import arrow_numbers, arrow_texts
from egretscore.records.database import has_rows, listed
from egretscore.records.schema import SUBJECT_ID, Column, Table, in_normal_form

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

FEWEST_TYPED_ROWS = 8_000
"""From how many rows of a source on it pays to leave them where they are."""

WHOLE_NUMBERS_BELOW: Final = {"DOUBLE": 2**53, "FLOAT": 2**24}
"""Below this a floating-point number stands for one whole number; from here on it may stand for several."""

ROUNDED: Final = "\n(rounded: a floating-point number)"
"""Ends the text of a larger number, so that it can be nobody's id."""

_NO_TEXT: Final = "\n(not UTF-8)"
_NUMBERED: Final = ", file_row_number = true, filename = true"


@dataclass(frozen=True)
class Relation:
    """Rows as DuckDB reads them.

    Attributes
    ----------
    sql : str
        What to select from.
    row : str
        The expression for the number of a row.
    types : mapping of column to type
    file : Path or None
        Their Parquet file, if they are in one.
    """

    sql: str
    row: str
    types: Mapping[str, str]
    file: Path | None = None

    @classmethod
    def of_file(cls, connection: duckdb.DuckDBPyConnection, file: Path) -> Relation:
        """Return the rows of a Parquet file."""
        return cls(_parquet([file], _NUMBERED), "file_row_number + 1", _types(connection, _parquet([file])), file)

    @classmethod
    def of_table(cls, connection: duckdb.DuckDBPyConnection, name: str, row: str) -> Relation:
        """Return the rows of a table of the database; ``row`` is its column of row numbers."""
        return cls(name, f'"{row}"', _types(connection, name))

    def text(self, column: str) -> str:
        """Return the expression for the text of a column, as in a CSV file: NULL where it is empty."""
        return _as_text(f'"{column}"', self.types[column])

    @property
    def subject(self) -> str:
        """The expression for the text of a row's subject, empty where there is none."""
        return f"coalesce({self.text('subject_id')}, '')"

    def value(self, column: Column) -> str:
        """Return the expression for the value of a cell with nothing wrong in it."""
        own, text = column.type, self.text(column.name)
        if own.sql == "VARCHAR":
            return text
        # TRY_CAST: the database may evaluate this for rows set aside as well, before it drops them.
        return f'TRY_CAST("{column.name}" AS {own.sql})' if self.has_values(column) else f"{own.name}({text})"

    def has_values(self, column: Column) -> bool:
        """Return whether the cells of a column are typed values that can be checked without turning them into text."""
        return self.types[column.name] in column.type.typed_as


@dataclass(frozen=True, eq=False)
class InPlace:
    """The rows of a source that were scanned: those not in ``staged`` are still in their file or frame.

    Attributes
    ----------
    source : int
    relation : Relation
    identities : array of shape (n,)
        A hash of what identifies each row, in no order.
    """

    source: int
    relation: Relation
    identities: NDArray[np.uint64]


def prepare_in_place(connection: duckdb.DuckDBPyConnection, *, in_parts: bool) -> None:
    """Create the schema ``in_place``, with what is needed to read rows in place.

    Its macro ``is_chosen(cell)`` says whether a row's subject is chosen, without an MD5 for each row.
    """
    connection.execute("CREATE SCHEMA in_place")
    connection.execute("CREATE TABLE in_place.chosen_subjects (subject VARCHAR)")
    chosen = "cell IN (SELECT subject FROM in_place.chosen_subjects)" if in_parts else "true"
    connection.execute(f"CREATE MACRO in_place.is_chosen(cell) AS {chosen}")


def may_stay(connection: duckdb.DuckDBPyConnection, table: Table, relation: Relation) -> bool:
    """Return whether the rows of a relation are typed, and enough for that to pay."""
    if table.reaches_others or not all(_may_be_told(column, relation.types[column.name]) for column in table.columns):
        return False
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {relation.sql}").fetchall()
    return bool(rows >= FEWEST_TYPED_ROWS)


def may_be_chosen(subject: str) -> str:
    """Return the condition that a row may be about someone chosen, given the text of its subject."""
    return f"chosen({subject}) OR {SUBJECT_ID.name}(stripped(coalesce({subject}, ''))) IS NULL"


def collect_subjects(connection: duckdb.DuckDBPyConnection, relation: Relation) -> None:
    """Put the subjects who are, or may be, chosen into ``subjects``, and whether each is a valid id.

    Each subject is checked once: to check every row takes longer than to read it. ``any_value`` is needed for
    that: DuckDB evaluates an expression over a group's key for each row.
    """
    cells = f"(SELECT subject_id FROM {relation.sql} GROUP BY subject_id)"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE subjects AS
        SELECT subject, {SUBJECT_ID.name}(subject) IS NOT NULL AS is_id
        FROM (SELECT any_value({relation.subject}) AS subject FROM {cells} GROUP BY {relation.subject})
        WHERE {may_be_chosen("subject")}
        """
    )


def scan_in_place(
    connection: duckdb.DuckDBPyConnection, table: Table, source: int, relation: Relation, *, in_parts: bool
) -> InPlace:
    """Scan the rows of ``subjects``, and put those with something wrong in them into ``staged``."""
    given, taken, fit = [], [], []
    for column in table.columns:
        cell, own = f'"{column.name}"', column.type
        as_given, parse = (cell, own.typed) if relation.has_values(column) else (relation.text(column.name), own.parse)
        given.append(f'{as_given} AS "{column.text}"')
        parse = parse.replace("cell", f'"{column.text}"')
        if column.name == "subject_id":
            parse = f'CASE WHEN is_id THEN "{column.text}" END'
        taken.append(f'CASE WHEN "{column.text}" IS NOT NULL THEN {parse} END AS {cell}')
        # A text that is not in normal form is no value as it stands.
        holds = f'coalesce({cell} = "{column.text}", false)' if own.in_normal_form else f"{cell} IS NOT NULL"
        fit.append(f'{holds}{f""" OR "{column.text}" IS NULL""" if column.optional else ""}')
    fit += [f"coalesce({rule.holds}, true)" for rule in table.rules]
    every_row = not in_parts and not has_rows(connection, "subjects WHERE NOT is_id")
    of_subjects = (
        f"(SELECT *, true AS is_id FROM {relation.sql})"
        if every_row
        else f"{relation.sql} JOIN subjects ON subject = {relation.subject}"
    )
    looked_through = f"""
        WITH given AS (
            SELECT {relation.row} AS row, is_id, {_identity(table, relation)} AS identity, {", ".join(given)}
            FROM {of_subjects}
        ), taken AS (SELECT *, {", ".join(taken)} FROM given)
        SELECT row, identity, {" AND ".join(f"({holds})" for holds in fit)} AS fit FROM taken
    """
    found = connection.execute(f"SELECT identity, fit FROM ({looked_through})").fetchnumpy()
    if not np.all(found["fit"]):
        wrong = f"SELECT row FROM ({looked_through}) WHERE NOT fit"
        stage_rows(connection, table, source, relation, f"{relation.row} IN ({wrong})")
    if in_parts:
        connection.execute(
            "INSERT INTO in_place.chosen_subjects "
            "SELECT subject FROM subjects ANTI JOIN in_place.chosen_subjects USING (subject)"
        )
    return InPlace(source, relation, np.asarray(found["identity"]))


def stage_rows(
    connection: duckdb.DuckDBPyConnection, table: Table, source: int, relation: Relation, comes_in: str
) -> None:
    """Put the rows for which a condition holds into ``staged``, as text."""
    cells = ", ".join(relation.text(name) for name in table.column_names)
    connection.execute(
        f"INSERT INTO staged SELECT {source}, {relation.row}, NULL, NULL, {cells} FROM {relation.sql} WHERE {comes_in}"
    )


def stage_possible_duplicates(connection: duckdb.DuckDBPyConnection, table: Table, in_place: Sequence[InPlace]) -> None:
    """Put those rows in place that another row may repeat or contradict into ``staged``.

    They are found by hashes, in a fraction of the memory; a chance collision stages a row too many, which does no harm.
    """
    of_staged = _hashed(f'"{name}"' for name in table.identity)
    staged = connection.execute(f"SELECT source, {of_staged} AS identity FROM staged").fetchnumpy()
    in_staged_alone = ~np.isin(staged["source"], [rows.source for rows in in_place])
    identities = [*(rows.identities for rows in in_place), staged["identity"][in_staged_alone]]
    every = np.concatenate(identities)
    every.sort()
    repeated = np.unique(every[1:][every[1:] == every[:-1]])
    connection.register("again", _as_arrow("identity", repeated))
    for rows in in_place:
        if not np.isin(rows.identities, repeated).any():
            continue
        once_more = f"{_identity(table, rows.relation)} IN (SELECT identity FROM again)"
        not_yet = f"{rows.relation.row} NOT IN (SELECT row FROM staged WHERE source = {rows.source})"
        chosen = f"in_place.is_chosen({rows.relation.subject})"
        stage_rows(connection, table, rows.source, rows.relation, f"{once_more} AND {not_yet} AND {chosen}")
    connection.unregister("again")


def queries_in_place(connection: duckdb.DuckDBPyConnection, table: Table, in_place: Iterable[InPlace]) -> list[str]:
    """Return queries for the rows in place that are not in ``staged``.

    Files of the same types are read by one query: that spreads the work over the threads best.
    """
    alike: dict[tuple[Any, ...], list[InPlace]] = {}
    for rows in in_place:
        where = rows.relation.sql if rows.relation.file is None else None
        alike.setdefault((where, *sorted(rows.relation.types.items())), []).append(rows)
    return [
        _query_in_place(connection, table, of_a_kind, f'in_place."{table.name} apart {number}"')
        for number, of_a_kind in enumerate(alike.values())
    ]


def _query_in_place(
    connection: duckdb.DuckDBPyConnection, table: Table, in_place: Sequence[InPlace], apart: str
) -> str:
    first = in_place[0].relation
    files = [rows.relation.file for rows in in_place if rows.relation.file is not None]
    named = _as_arrow("source", np.array([rows.source for rows in in_place]))
    named = named.append_column("file", arrow_texts([str(rows.relation.file or "") for rows in in_place]))
    connection.register("named", named)
    connection.execute(f"CREATE TABLE {apart} AS SELECT file, row FROM staged JOIN named USING (source)")
    connection.unregister("named")
    values = ", ".join(f'{first.value(column)} AS "{column.name}"' for column in table.columns)
    query = f"SELECT {values} FROM {_parquet(files, _NUMBERED) if files else first.sql}"
    if has_rows(connection, apart):
        of_file = "filename = apart.file AND " if files else ""
        query += f" ANTI JOIN {apart} AS apart ON {of_file}{first.row} = apart.row"
    return f"{query} WHERE in_place.is_chosen({first.subject})"


def _parquet(files: Iterable[Path], more: str = "") -> str:
    # Folders named key=value are names, not cells: they must not stand in for a column.
    return f"read_parquet({listed(files)}, hive_partitioning = false{more})"


def _types(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, str]:
    return {str(name): str(of) for name, of, *_ in connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()}


def _identity(table: Table, relation: Relation) -> str:
    return _hashed(relation.text(name) for name in table.identity)


def _hashed(texts: Iterable[str]) -> str:
    return f"hash({', '.join(map(in_normal_form, texts))})"


def _may_be_told(column: Column, of: str) -> bool:
    """Return whether cells of a type can be checked in place."""
    return column.type.of_any_type or of in (column.type.typed_as or ("VARCHAR",))


def _as_text(column: str, of: str) -> str:
    plain = f"CAST({column} AS VARCHAR)"
    if of.startswith("TIMESTAMP"):
        return f"CASE WHEN date_trunc('day', {column}) = {column} THEN strftime({column}, '%Y-%m-%d') ELSE {plain} END"
    if of in WHOLE_NUMBERS_BELOW:
        # Not isnan, no comparison, and no CAST that raises: DuckDB concludes from the least and the largest number of
        # a Parquet file, which leave those that are none out, that there are none, or that all cells say the same.
        return (
            f"CASE WHEN contains({plain}, 'nan') THEN NULL WHEN {column} <> trunc({column}) THEN {plain} "
            f"WHEN abs({column}) < {WHOLE_NUMBERS_BELOW[of]} THEN CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR) "
            f"ELSE {plain} || '{ROUNDED}' END"
        )
    if of.startswith("DECIMAL") and not of.endswith(",0)"):
        return rf"regexp_replace({plain}, '\.0+$', '')"
    if of == "BLOB":
        return f"nullif(coalesce(TRY(decode({column})), {plain} || '{_NO_TEXT}'), '')"
    return f"nullif({plain}, '')"


def _as_arrow(name: str, values: NDArray[Any]) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: arrow_numbers(values, pa.from_numpy_dtype(values.dtype))})
