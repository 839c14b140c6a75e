"""Merging the new rows of a part with its kept ones: each is new, completes, is known or contradicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from egretscore.arrays import arrow_numbers, arrow_texts
from egretscore.records.database import quoted
from egretscore.records.intake.checking import records_meant
from egretscore.records.parts import people_replaced
from egretscore.records.schema import (
    BROKEN,
    CHECKED,
    CONSENTS,
    DISPUTABLE,
    DOUBTS,
    OBJECTIONS,
    PEOPLE,
    TABLES,
    Table,
    people_sql,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Difference:
    """A cell in which a row differs from the kept one; None is an empty cell.

    Attributes
    ----------
    column : str
    kept, given : str or None
    """

    column: str
    kept: str | None
    given: str | None

    def __str__(self) -> str:
        kept, given = ("nothing" if text is None else repr(text) for text in (self.kept, self.given))
        return f"{self.column} {given}, kept {kept}"


@dataclass(frozen=True)
class Contradiction:
    """A row that contradicts the kept row of its record.

    Attributes
    ----------
    table, record_id, subject_id : str
    since : date
        From when the record is in doubt.
    differences : tuple of Difference
    """

    table: str
    record_id: str
    subject_id: str
    since: date
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return (
            f"{self.table}, record {self.record_id!r} of {self.subject_id!r}: what is kept says something else "
            f"({'; '.join(map(str, self.differences))}); it stays, in doubt from {self.since}"
        )


@dataclass(frozen=True)
class Merged:
    """The result of merging the new rows of a table of a part.

    Attributes
    ----------
    table : str
    new, completed, known : int
        How many rows are new, complete a kept one, and say nothing new.
    contradictions : tuple of Contradiction
    rows : Table or None
        All rows of the table now; None if nothing changed.
    touched : array of subject_id or None
        The people whose rows were added or completed.
    """

    table: str
    new: int = 0
    completed: int = 0
    known: int = 0
    contradictions: tuple[Contradiction, ...] = ()
    rows: pa.Table | None = None
    touched: pa.Array | None = None


def merge(database: duckdb.DuckDBPyConnection, name: str, before: pa.Table, rows: pa.Table) -> Merged:
    """Merge new rows of a table of a part with the kept ones."""
    from pyarrow import compute

    table = CHECKED[name]

    theirs = compute.is_in(before["subject_id"], value_set=compute.unique(rows["subject_id"]))
    with database.cursor() as connection:
        connection.register("stood", before.filter(theirs))
        connection.register("given", rows)
        connection.execute(f"CREATE TEMP TABLE judged AS {_judged(table)}")
        counts = dict(connection.execute("SELECT verdict, count(*) FROM judged GROUP BY verdict").fetchall())
        contradicted = connection.execute(_contradicted(table)).fetchall() if "contradicts" in counts else []
        result = Merged(
            name,
            counts.get("new", 0),
            counts.get("completes", 0),
            counts.get("known", 0),
            tuple(_contradiction(table, row) for row in contradicted),
        )
        if not result.new and not result.completed:
            return result
        names = quoted(table.column_names)
        good = "SELECT * FROM judged WHERE verdict IN ('new', 'completes')"
        of_touched = "subject_id IN (SELECT subject_id FROM good)"
        after = connection.sql(
            f"WITH good AS ({good}) "
            f"SELECT {names} FROM stood ANTI JOIN good USING ({quoted(table.identity)}) WHERE {of_touched} "
            f"UNION ALL SELECT {names} FROM good ORDER BY {quoted(table.order)}"
        ).to_arrow_table()
        touched = compute.unique(after["subject_id"]).cast("string")
        return replace(result, rows=people_replaced(before, touched, after), touched=touched)


def people_after(
    database: duckdb.DuckDBPyConnection,
    before: Mapping[str, pa.Table],
    changed: Mapping[str, pa.Table],
    touched: pa.Array,
) -> pa.Table:
    """Return everyone on file in a part and since when, working it out again for the people touched."""
    from pyarrow import compute

    with database.cursor() as connection:
        for table in TABLES:
            rows = changed.get(table, before[table])
            connection.register(table, rows.filter(compute.is_in(rows["subject_id"], value_set=touched)))
        theirs = connection.sql(f"{people_sql()} ORDER BY subject_id").to_arrow_table()
    return people_replaced(before[PEOPLE.name], touched, theirs)


def doubts_of(contradictions: tuple[Contradiction, ...]) -> pa.Table:
    """Return the rows of ``doubts`` for contradicted records."""
    import pyarrow as pa

    since = np.array([one.since for one in contradictions], dtype="datetime64[D]")
    return pa.table(
        {
            "table": arrow_texts([one.table for one in contradictions]),
            "record_id": arrow_texts([one.record_id for one in contradictions]),
            "subject_id": arrow_texts([one.subject_id for one in contradictions]),
            "since": arrow_numbers(since.astype(np.int32), pa.int32()).view(pa.date32()),
        }
    )


def doubts_of_broken(database: duckdb.DuckDBPyConnection, broken: pa.Table, before: Mapping[str, pa.Table]) -> pa.Table:
    """Return the rows of ``doubts`` for kept records that have an unreadable new row."""
    with database.cursor() as connection:
        connection.register(BROKEN.name, broken)
        for name in DISPUTABLE:
            connection.register(name, before[name])
        meant = " UNION ALL ".join(records_meant(BROKEN.name, name) for name in DISPUTABLE)
        return connection.sql(f"SELECT * FROM ({meant}) ORDER BY {quoted(DOUBTS.order)}").to_arrow_table()


def _judged(table: Table) -> str:
    """Return the query for the new rows, each with its verdict: new, known, completes or contradicts."""
    given = "SELECT DISTINCT * FROM given"
    known, completes = table.says_all("stood", "given"), table.says_all("given", "stood")
    if table is DOUBTS:  # what is in doubt since a day is in doubt since every later one
        given = f"SELECT {quoted(table.identity)}, min(since) AS since FROM given GROUP BY ALL"
        known, completes = "stood.since <= given.since", "true"
    on = " AND ".join(f'given."{name}" = stood."{name}"' for name in table.identity)
    return (
        f"SELECT given.*, CASE WHEN stood.subject_id IS NULL THEN 'new' WHEN {known} THEN 'known' "
        f"WHEN {completes} THEN 'completes' ELSE 'contradicts' END AS verdict, "
        f'stood."{table.on_file}" AS stood_since FROM ({given}) AS given LEFT JOIN stood ON {on}'
    )


def _contradicted(table: Table) -> str:
    """Return the query for the contradicted records, since when, and all cells as kept and as given."""
    what = f"'{table.name}', \"{table.identity[0]}\""
    if table is OBJECTIONS:
        what = '"table", record_id'
    if table is CONSENTS:
        what = f"'{table.name}', letter_version"
    kept, given = (
        ", ".join(f'CAST({row}."{name}" AS VARCHAR)' for name in table.column_names) for row in ("stood", "judged")
    )
    return (
        f'SELECT {what}, subject_id, greatest(judged."{table.on_file}", stood_since), [{kept}], [{given}] '
        f"FROM judged JOIN stood USING ({quoted(table.identity)}) WHERE verdict = 'contradicts' ORDER BY ALL"
    )


def _contradiction(table: Table, row: tuple[Any, ...]) -> Contradiction:
    """Return the contradiction that a row of that query describes."""
    of, record_id, subject_id, since, kept, given = row
    later, cells = table.later_columns, map(Difference, table.column_names, kept, given)
    differences = tuple(cell for cell in cells if cell.kept != cell.given)
    # A cell that may be filled later does not contradict an empty one, unless each row fills what the other lacks.
    both_say = tuple(cell for cell in differences if cell.column not in later or (cell.kept and cell.given))
    return Contradiction(of, record_id, subject_id, since, both_say or differences)
