"""Records in the database that checked them: in memory or, when read in parts, partly in their files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from functools import cached_property
from typing import Any, ClassVar

import duckdb

from egretscore.dates import today
from egretscore.policy import Policy
from egretscore.records.checked.store import COUNT_FOR_LAST_DAY, EVERY_COLUMN, NAMES_THEM, Records, SourceCount
from egretscore.records.database import asking, check_subject_id, is_text
from egretscore.records.one_person.lookup import PersonRows, RowsInMemory
from egretscore.records.parts import sql_part_of
from egretscore.records.quarantine import Problem
from egretscore.records.schema import CHECKED, DOUBTS


class CheckedRecords(Records):
    """Records as they were read and checked; see :class:`Records`."""

    AGAIN: ClassVar[str] = "Read them again"

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, policy: Policy, invented: Mapping[str, Any] | None
    ) -> None:
        super().__init__(policy, invented)
        self._connection = connection
        self._rows: RowsInMemory | None = None

    @property
    def holds_every_row(self) -> bool:
        """Whether no row was set aside that another policy might take."""
        return not self.set_aside

    @cached_property
    def counts(self) -> tuple[SourceCount, ...]:
        """Where the rows of each file went when they were read."""
        rows = self._connection.execute(
            'SELECT "table", file, rows, good, set_aside, repeated FROM sources JOIN counts USING (source) '
            "ORDER BY source"
        ).fetchall()
        return tuple(SourceCount(*row) for row in rows)

    @property
    def last_day(self) -> date | None:
        """The last day, up to today, on which a record came on file; see :attr:`Records.last_day`."""
        days = [f'SELECT "{table.on_file}" AS day FROM "{table.name}"' for table in COUNT_FOR_LAST_DAY]
        last = f"SELECT max(day) AS day FROM ({' UNION ALL '.join(days)}) WHERE day <= $today"
        day: date | None = self.ask(last, today=today())["day"][0].as_py()
        return day

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the locked database, to be used from one thread."""
        return self._connection.cursor()

    def rows_of(self, subject_id: str, columns: Collection[str] = EVERY_COLUMN) -> PersonRows:
        """Return what is on file about a person; see :meth:`Records.rows_of`.

        The first call makes a sorted copy of everyone's rows, to look people up in.
        """
        rows = self._rows
        if rows is None:
            with self._lock, asking():
                rows = self._rows = self._rows or RowsInMemory(self.connect())
        return rows.of(subject_id, columns)

    def set_aside_by_part(self) -> Mapping[int, int]:
        """Return how many rows were set aside, by part; see :meth:`Records.set_aside_by_part`."""
        part = sql_part_of("coalesce(subject_id, '')")
        counted = f"SELECT {part} AS part, count(DISTINCT (source, row)) AS rows FROM quarantine GROUP BY part"
        return {found["part"]: found["rows"] for found in self.ask(counted).to_pylist()}

    def _problems(self, condition: str, **parameters: str) -> tuple[Problem, ...]:
        rows = self.ask(
            'SELECT "table", file, row, "column", value, expected, original FROM quarantine '
            f'JOIN sources USING (source) WHERE {condition} ORDER BY source, row, "column", expected',
            **parameters,
        )
        return tuple(Problem(**row) for row in rows.to_pylist())

    def erase(self, subject_id: str) -> int:
        """Remove every row about a person from memory; see :meth:`Records.erase`."""
        check_subject_id(subject_id)
        if not is_text(subject_id):
            return 0
        connection = self.connect()
        removed = 0
        about = dict.fromkeys(CHECKED, "subject_id = $subject")
        about["quarantine"] = NAMES_THEM
        with self._lock:
            for table, condition in about.items():
                # A row set aside stands there once for each thing that is wrong with it.
                rows = "DISTINCT (source, row)" if table == "quarantine" else "*"
                ((count,),) = connection.execute(
                    f'SELECT count({rows}) FROM "{table}" WHERE {condition}', {"subject": subject_id}
                ).fetchall()
                connection.execute(f'DELETE FROM "{table}" WHERE {condition}', {"subject": subject_id})
                removed += int(count) * (table != DOUBTS.name)
            self._rows = None
        return removed
