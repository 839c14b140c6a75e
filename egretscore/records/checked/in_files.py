"""Kept records, opened to be asked: they stay on disk, and each question sees them as they are then."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import duckdb

from egretscore.errors import RecordsError
from egretscore.policy import Policy, parse_policy
from egretscore.records.checked.store import COUNT_FOR_LAST_DAY, EVERY_COLUMN, Records, SourceCount
from egretscore.records.database import NO_LIMIT, Resources, check_threads, create_view, open_locked
from egretscore.records.kept import folder as kept
from egretscore.records.kept.erasing import erase
from egretscore.records.one_person.lookup import PersonRows, RowsOfPart
from egretscore.records.parts import PARTS, part_of
from egretscore.records.quarantine import Problem
from egretscore.records.schema import READY, TABLES

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_TRIES: Final = 50
_NARROWED_TO: Final = "narrowed_to"


class KeptRecords(Records):
    """Checked records in a folder that ``egretscore keep`` wrote; see :class:`Records`.

    They stay on disk: a question about one person reads the few thousand rows among which theirs are.
    ``problems`` is empty, for what the checks set aside is not kept.

    Parameters
    ----------
    folder : Path
    parts : numbers from 0 to 63, optional
        Only the people of these parts; everyone when not given.
    resources : Resources
    policy : Policy, optional
        One that may be theirs: it takes a while to read theirs.
    """

    AGAIN: ClassVar[str] = "Keep the original records again"

    def __init__(
        self,
        folder: Path,
        parts: Collection[int] | None = None,
        resources: Resources = NO_LIMIT,
        policy: Policy | None = None,
    ) -> None:
        check_threads(resources.threads)
        self._kept_as, _ = kept.state_of_part(folder, 0)  # first: what is read below is at least as new
        about = kept.read_about(folder)
        # A service, or a notebook, may go to another current folder.
        self._folder, self._named, self._resources = folder.absolute(), folder, resources
        self._parts = sorted(range(PARTS) if parts is None else parts)
        self._found: dict[int, tuple[kept.State, RowsOfPart]] = {}
        self._seen: dict[int, kept.State] = {}
        self._files: list[dict[str, Path]] = []
        self._only: str | None = None
        # By process: closing a database opened before a fork would wait for threads that the fork does not have.
        self._databases: dict[int, duckdb.DuckDBPyConnection] = {}
        if policy is None or policy.text != about.policy:
            policy = parse_policy(about.policy, origin=str(folder / kept.POLICY))
        super().__init__(policy, about.invented)

    @property
    def set_aside_before(self) -> int:
        """How many rows were set aside when these were kept."""
        return sum(kept.about_part(self._folder, part).set_aside for part in self._parts)

    @property
    def holds_every_row(self) -> bool:
        """Not known: what additions set aside is not counted."""
        return False

    @property
    def counts(self) -> tuple[SourceCount, ...]:
        """How many rows each table has."""
        parts = [kept.about_part(self._folder, part) for part in self._parts]
        rows = {table: sum(part.rows[table] for part in parts) for table in TABLES}
        named = {table: str(self._named / "part-*" / f"{table}-*.parquet") for table in TABLES}
        return tuple(SourceCount(table, named[table], rows[table], rows[table], 0, 0) for table in TABLES)

    def set_aside_by_part(self) -> Mapping[int, int]:
        """Return an empty mapping: rows set aside are not kept."""
        return {}

    def _problems(self, condition: str, **parameters: str) -> tuple[Problem, ...]:  # noqa: ARG002 - there are none
        return ()

    @property
    def last_day(self) -> date | None:
        """The last day on which a record came on file, up to that of keeping it; see :attr:`Records.last_day`."""
        parts = [kept.about_part(self._folder, part) for part in self._parts]
        days = [day for part in parts for table in COUNT_FOR_LAST_DAY if (day := part.last_day[table.name])]
        return max(days, default=None)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the locked database.

        The first call checks every file against its hash; later calls, the files of parts that were rewritten since.

        Raises
        ------
        RecordsError
            If an addition to these records is under way, or was stopped half-way, or a file is damaged.
        """
        kept.check_no_addition_is_left(self._folder)
        with self._lock:
            database = self._database()
            states = self._states()
            if states != self._seen:
                unseen = [part for part in self._parts if self._seen.get(part) != states[part]]
                kept.verify(self._folder, unseen, self._resources.threads)
                self._files = [kept.files_of_part(self._folder, part) for part in self._parts]
                self._create_views(database)
                self._seen = states
        return database.cursor()

    def ask(self, sql: str, **parameters: object) -> pa.Table:
        """Return the answer to a query; see :meth:`Records.ask`. It is asked again where records changed meanwhile."""
        for _ in range(_MOST_TRIES):
            states = self._states()
            try:
                return super().ask(sql, **parameters)
            except RecordsError:
                if self._states() == states:
                    raise
        raise self._kept_changing(self._folder)

    def _database(self) -> duckdb.DuckDBPyConnection:
        """Return the database of this process, opened at first use: one opened before a fork fails after it."""
        process = os.getpid()
        if process not in self._databases:
            connection = open_locked((), self._resources, folders=[self._folder.absolute()])
            self._databases[process], self._seen = connection, {}
        return self._databases[process]

    def narrow(self, subjects: pa.ChunkedArray) -> None:
        """Show the rows of these people only, from now on."""
        import pyarrow as pa
        from pyarrow import compute

        connection = self.connect()
        connection.register("subjects", pa.table({"subject_id": compute.unique(subjects)}))
        connection.execute(f"CREATE TABLE {_NARROWED_TO} AS SELECT * FROM subjects")
        connection.unregister("subjects")
        with self._lock:
            self._only = f"subject_id IN (SELECT subject_id FROM {_NARROWED_TO})"
            self._create_views(self._database())

    def _create_views(self, database: duckdb.DuckDBPyConnection) -> None:
        for table in READY:
            create_view(database, table, [of_part[table].absolute() for of_part in self._files], self._only)

    def rows_of(self, subject_id: str, columns: Collection[str] = EVERY_COLUMN) -> PersonRows:
        """Return what is on file about a person; see :meth:`Records.rows_of`.

        The first call for a part, and the first after it was rewritten, check its files against their hashes.
        """
        import pyarrow as pa

        part = part_of(subject_id)
        for _ in range(_MOST_TRIES):
            state = self._state_of(part)
            try:
                found = self._rows_of_part(part).of(subject_id, columns)
            except (OSError, RecordsError, pa.ArrowException) as error:
                # While someone else erases, files may vanish between being named and being read.
                if self._state_of(part) != state:
                    continue
                if isinstance(error, RecordsError):
                    raise
                raise RecordsError(
                    "a part of the kept records cannot be read",
                    file=self._folder / kept.part_folder(part),
                    remedy="Ask again. If that fails too, keep the records again, from the original ones.",
                ) from error
            if self._state_of(part) == state:
                return found
        raise self._kept_changing(self._folder / kept.part_folder(part))

    @staticmethod
    def _kept_changing(place: Path) -> RecordsError:
        return RecordsError("kept records kept changing while they were read", file=place, remedy="Ask again.")

    def erase(self, subject_id: str) -> int:
        """Remove every row about a person from the files.

        Returns
        -------
        int
            How many rows were removed.
        """
        return erase(self._folder, subject_id)

    def _rows_of_part(self, part: int) -> RowsOfPart:
        """Return the rows of a part as it is now, its files checked against their hashes."""
        known = self._found.get(part)
        if known is None or known[0] != self._state_of(part):
            with self._lock:
                known = self._found.get(part)
                state = self._state_of(part)
                if known is None or known[0] != state:
                    kept.verify(self._folder, [part])
                    known = self._found[part] = state, RowsOfPart(self._folder, part)
        return known[1]

    def _states(self) -> dict[int, kept.State]:
        return {part: self._state_of(part) for part in self._parts}

    def _state_of(self, part: int) -> kept.State:
        """Return the state of a part; raise if all records were kept again."""
        kept_as, state = kept.state_of_part(self._folder, part)
        if kept_as != self._kept_as:
            raise RecordsError(
                "the records were kept again since they were opened", file=self._folder, remedy="Open them again."
            )
        return state
