"""An SQLite database for the rows of one person, where a query takes a fraction of a millisecond.

DuckDB takes some 17 milliseconds to plan the query for everyone's vectors, however few the
rows. So one person's rows are put into an SQLite database in memory, and the same query is run
there, rendered for SQLite: nothing is declared a second time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlglot import exp

from egretscore.records.database import quoted
from egretscore.records.one_person.lookup import FIRST_DAY, PersonRows
from egretscore.records.schema import CHECKED

_of_thread = threading.local()


def small_sql(query: exp.Query) -> str:
    """Return a query over the tables of ``CHECKED`` as text for SQLite."""
    small = query.copy()
    for node in reversed(list(small.find_all(*_IN_SMALL))):  # from the inside out
        node.replace(_IN_SMALL[type(node)](node))
    return small.sql("sqlite")


def _call(function: str) -> Callable[[exp.Expr], exp.Expr]:
    return lambda of: exp.Anonymous(this=function, expressions=[of.this, *of.expressions])


# What SQLite and the functions below have instead; a date is a number of days.
_IN_SMALL: Final[Mapping[type[exp.Expr], Callable[[Any], exp.Expr]]] = {
    exp.BitwiseOrAgg: _call("bit_or_of"),
    exp.DateDiff: lambda of: exp.paren(of.this - of.expression),
    # No amount is below 0, so cutting off is rounding down; not every SQLite has FLOOR.
    exp.Floor: lambda of: exp.cast(of.this, "BIGINT"),
    exp.Greatest: _call("MAX"),
    exp.IntDiv: lambda of: exp.Div(this=of.this, expression=of.expression, typed=True, safe=True),
    exp.Least: _call("MIN"),
    exp.Month: _call("month_of"),
    exp.TsOrDsToDate: lambda of: of.this,
    exp.Year: _call("year_of"),
}


def columns_in(*queries: exp.Query) -> frozenset[str]:
    """Return the names of all columns that queries use."""
    return frozenset(column.name for query in queries for column in query.find_all(exp.Column))


def ask(rows: PersonRows, sql: Sequence[str], as_of: date) -> list[tuple[Any, ...] | None]:
    """Run queries on one person's rows and return the first row of each result, None where there is none.

    Safe from many threads at once: each has a database of its own, which is empty again afterwards.

    Parameters
    ----------
    rows : PersonRows
    sql : texts of :func:`small_sql`
    as_of : date
        The queries' one parameter.
    """
    connection = _connection()
    try:
        connection.execute("BEGIN")
        for table, of_person in rows.items():
            connection.executemany(_INSERT[table], of_person)
        day = {"as_of": as_of.toordinal() - FIRST_DAY}
        return [connection.execute(query, day).fetchone() for query in sql]
    except sqlite3.OperationalError as error:
        if "user-defined" in str(error):  # nothing but an interrupt stops those, and SQLite does not say what it was
            raise KeyboardInterrupt from error
        raise
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


_INSERT: Mapping[str, str] = {
    table: f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(of.columns))})' for table, of in CHECKED.items()
}


def _connection() -> sqlite3.Connection:
    process = os.getpid()  # SQLite must not be carried into a fork
    if getattr(_of_thread, "process", None) != process:
        _of_thread.connection, _of_thread.process = _open(), process
    connection: sqlite3.Connection = _of_thread.connection
    return connection


class _ClosedAtTheEnd(sqlite3.Connection):
    """A connection that is closed with the thread it belongs to; Python warns of one that is left open."""

    def __del__(self) -> None:
        self.close()


def _open() -> sqlite3.Connection:
    # Only its own thread uses it, but another may close it after that thread ended.
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_ClosedAtTheEnd)
    connection.create_aggregate("bit_or_of", 1, _BitOr)  # type: ignore[arg-type]  # typeshed wants finalize() -> int
    for name, function in (("bit_count", _bit_count), ("year_of", _year_of), ("month_of", _month_of)):
        connection.create_function(name, 1, function, deterministic=True)
    for table, of in CHECKED.items():
        connection.execute(f'CREATE TABLE "{table}" ({quoted(of.column_names)})')
    return connection


class _BitOr:
    """Bitwise OR of whole numbers; NULL if there are none."""

    def __init__(self) -> None:
        self._bits: int | None = None

    def step(self, bits: int | None) -> None:
        if bits is not None:
            self._bits = bits | (self._bits or 0)

    def finalize(self) -> int | None:
        return self._bits


def _bit_count(bits: int | None) -> int | None:
    return None if bits is None else bits.bit_count()


def _year_of(day: int) -> int:
    return date.fromordinal(day + FIRST_DAY).year


def _month_of(day: int) -> int:
    return date.fromordinal(day + FIRST_DAY).month
