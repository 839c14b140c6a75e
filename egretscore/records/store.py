"""Records that have been read and checked, ready to be used as of any date."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from egretscore.errors import ArgumentError, RecordsError, did_you_mean
from egretscore.parts import PARTS, by_part, macro_chosen, part_of, sql_part_of
from egretscore.policy import Policy, as_policy, parse_policy
from egretscore.records import kept
from egretscore.records.checking import check_staged, create_accounts, finish_checks, prepare_checks
from egretscore.records.database import check_subject_id, create_view, do_not_fit, is_text, open_locked
from egretscore.records.folder import check_readable, files_by_table, state_of_files
from egretscore.records.in_place import InPlace, prepare_in_place, stage_what_may_stand_twice
from egretscore.records.lookup import PersonRows, RowsInMemory, RowsOfPart
from egretscore.records.quarantine import Problem, write_quarantine
from egretscore.records.schema import CHECKED, CONSENTS, DISPUTABLE, DOUBTS, READY, TABLES, Table
from egretscore.records.sources import create_staging, stage_file, stage_frame

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EVERY_COLUMN: Final = frozenset(column for table in CHECKED.values() for column in table.column_names)
"""The names of all columns."""

_MOST_TRIES: Final = 50
_NARROWED_TO: Final = "narrowed_to"

INVENTED_MARK: Final = "invented.json"
"""The file by which a folder of records says that they are invented."""


@dataclass(frozen=True)
class SourceCount:
    """Where the rows of one file or frame went: rows = good + quarantined + repeated."""

    table: str
    file: str
    rows: int
    good: int
    quarantined: int
    repeated: int


@dataclass(frozen=True)
class UnmatchedObjection:
    """An objection to a record that is not on file: its id may be mistyped, or the record come later."""

    table: str
    record_id: str
    subject_id: str
    filed_on: date

    def __str__(self) -> str:
        return (
            f"{self.subject_id} objected on {self.filed_on} to {self.record_id!r} of {self.table}, which is not on file"
        )


class Records:
    """The checked records of many people, in memory or, as :class:`KeptRecords`, on disk.

    Made by :func:`read_records`. Holds what is on file, whatever the date; the as-of
    date of each question decides what of it may be used.

    Attributes
    ----------
    policy : Policy
        The policy whose words the records use.
    invented : Mapping or None
        What the records' folder says of itself when they are invented, else None.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, policy: Policy, invented: Mapping[str, Any] | None
    ) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._rows: RowsInMemory | None = None
        self.policy = policy
        self.invented = invented

    def __repr__(self) -> str:
        return f"<Records: {sum(count.good for count in self.counts):,} rows, {self.set_aside:,} set aside>"

    @property
    def set_aside(self) -> int:
        """How many rows were set aside when these were read."""
        return sum(count.quarantined for count in self.counts)

    @cached_property
    def counts(self) -> tuple[SourceCount, ...]:
        """Where the rows of each file went when they were read."""
        rows = self._connection.execute(
            'SELECT "table", file, rows, good, quarantined, repeated FROM sources JOIN counts USING (source) '
            "ORDER BY source"
        ).fetchall()
        return tuple(SourceCount(*row) for row in rows)

    @property
    def last_day(self) -> date | None:
        """The last day on which a record came on file; None of no records.

        Consents do not tell it, nor does what becomes of a record: that may lie ahead.
        """
        days = [
            f'SELECT max("{table.on_file}") AS day FROM "{table.name}"'
            for table in TABLES.values()
            if table is not CONSENTS
        ]
        found = self.connect().execute(f"SELECT max(day) FROM ({' UNION ALL '.join(days)})").fetchone()
        return found[0] if found else None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of one's own to the locked database; safe to use from one thread."""
        return self._connection.cursor()

    def rows_of(self, subject_id: str, columns: Collection[str] = EVERY_COLUMN) -> PersonRows:
        """Return what is on file about a person.

        The first call lays out a copy of everyone's rows to find theirs in.

        Parameters
        ----------
        subject_id : str
        columns : names of columns, optional
            Which to read, subject_id among them; the cells of others are None.
        """
        rows = self._rows
        if rows is None:
            with self._lock:
                rows = self._rows = self._rows or RowsInMemory(self.connect())
        return rows.of(subject_id, columns)

    @property
    def unmatched_objections(self) -> tuple[UnmatchedObjection, ...]:
        """The objections to records that are not on file, in order: they dispute nothing until these come."""
        unmatched = (
            f'SELECT "table", record_id, subject_id, filed_on FROM objections WHERE "table" = \'{name}\' '
            f'AND (record_id, subject_id) NOT IN (SELECT ("{TABLES[name].identity[0]}", subject_id) FROM "{name}")'
            for name in DISPUTABLE
        )
        rows = self.connect().execute(f"{' UNION ALL '.join(unmatched)} ORDER BY ALL").fetchall()
        return tuple(UnmatchedObjection(*row) for row in rows)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with the rows set aside, in the order of files and rows."""
        return tuple(
            Problem(*row)
            for row in self.connect()
            .execute(
                'SELECT "table", file, row, "column", value, expected, original '
                'FROM quarantine JOIN sources USING (source) ORDER BY source, row, "column", expected'
            )
            .fetchall()
        )

    @property
    def quarantine(self) -> pd.DataFrame:
        """The same as a data frame: table, file, row, column, value, expected, original."""
        import pandas as pd

        return pd.DataFrame(self.problems, columns=list(Problem.__dataclass_fields__))

    def write_quarantine(self, folder: str | Path) -> list[Path]:
        """Write the rows set aside, with their reasons, into one CSV file for each table that has any.

        Returns
        -------
        list of the files written
        """
        return write_quarantine(self.problems, Path(folder))

    def erase(self, subject_id: str) -> int:
        """Remove every row about a person from memory, and every row set aside that names them.

        Returns
        -------
        int
            How many rows were removed. The files they were read from stay as they are.
        """
        check_subject_id(subject_id)
        if not is_text(subject_id):
            return 0
        connection = self.connect()
        removed = 0
        about = dict.fromkeys(CHECKED, "subject_id = $subject")
        about["quarantine"] = "subject_id = $subject OR names(original, $subject)"
        with self._lock:
            for table, condition in about.items():
                (count,) = connection.execute(
                    f'DELETE FROM "{table}" WHERE {condition}', {"subject": subject_id}
                ).fetchall()[0]
                removed += int(count) * (table != DOUBTS.name)
            self._rows = None
        return removed


class KeptRecords(Records):
    """Checked records in a folder that ``egretscore keep`` wrote; see :class:`Records`.

    They stay on disk: a question about one person reads the few thousand rows among which theirs are.
    ``problems`` is empty, for what the checks set aside is not kept.

    Parameters
    ----------
    folder : Path
    parts : numbers from 0 to 63, optional
        Of whom; of everyone when not given.
    threads, memory, spill
        As :func:`egretscore.records.database.open_locked` has them.
    """

    def __init__(
        self,
        folder: Path,
        parts: Collection[int] | None = None,
        *,
        threads: int | None = None,
        memory: int | None = None,
        spill: Path | None = None,
    ) -> None:
        self._kept_as, _ = kept.state_of_part(folder, 0)  # first, so that no later state passes for this one
        about = kept.read_about(folder)
        self._folder, self._threads = folder, threads
        self._parts = sorted(range(PARTS) if parts is None else parts)
        self._found: dict[int, tuple[kept.State, RowsOfPart]] = {}
        self._seen: dict[int, kept.State] = {}
        self._seen_of: str | None = None
        connection = open_locked((), threads, memory, spill, folders=[folder.absolute()])
        create_accounts(connection)
        super().__init__(connection, parse_policy(about.policy, origin=str(folder / kept.POLICY)), about.invented)

    @property
    def set_aside_before(self) -> int:
        """How many rows were set aside when these were kept."""
        return sum(kept.about_part(self._folder, part).set_aside for part in self._parts)

    @property
    def counts(self) -> tuple[SourceCount, ...]:
        """How many rows each table has."""
        parts = [kept.about_part(self._folder, part) for part in self._parts]
        rows = {table: sum(part.rows[table] for part in parts) for table in TABLES}
        named = {table: str(self._folder / "part-*" / f"{table}-*.parquet") for table in TABLES}
        return tuple(SourceCount(table, named[table], rows[table], rows[table], 0, 0) for table in TABLES)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of one's own to the locked database.

        The first call holds every file against its hash; later ones, those of the parts that were written again.
        """
        with self._lock:
            states = {part: self._state_of(part) for part in self._parts}
            if states != self._seen:
                unseen = [part for part in self._parts if self._seen.get(part) != states[part]]
                kept.verify(self._folder, unseen, self._threads)
                files = [kept.files_of_part(self._folder, part) for part in self._parts]
                for table in READY:
                    create_view(
                        self._connection, table, [of_part[table].absolute() for of_part in files], self._seen_of
                    )
                self._seen = states
        return self._connection.cursor()

    def narrow(self, subjects: pa.ChunkedArray) -> Mapping[int, pa.Array]:
        """See the rows of some people alone from now on.

        Returns
        -------
        mapping of part to the ids of its people, each once
        """
        import pyarrow as pa
        from pyarrow import compute

        connection = self.connect()
        connection.register("subjects", pa.table({"subject_id": compute.unique(subjects)}))
        connection.execute(f"CREATE TABLE {_NARROWED_TO} AS SELECT * FROM subjects")
        connection.unregister("subjects")
        self._seen_of, self._seen = f"subject_id IN (SELECT subject_id FROM {_NARROWED_TO})", {}
        part = sql_part_of("subject_id")
        found = connection.sql(f"SELECT subject_id, {part} AS part FROM {_NARROWED_TO} ORDER BY part")
        theirs = {part: rows["subject_id"].combine_chunks() for part, rows in by_part(found.to_arrow_reader())}
        return {part: theirs.get(part, pa.array([], pa.string())) for part in self._parts}

    def rows_of(self, subject_id: str, columns: Collection[str] = EVERY_COLUMN) -> PersonRows:
        """Return what is on file about a person; see :meth:`Records.rows_of`.

        A part's files are read through, to hold them against their hashes, by the first call of the part and by
        the first after the part was written again.
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
                    "a part of the kept records cannot be read", file=self._folder / kept.part_folder(part)
                ) from error
            if self._state_of(part) == state:
                return found
        raise RecordsError(
            "a part of the kept records is written again all the time", file=self._folder / kept.part_folder(part)
        )

    def erase(self, subject_id: str) -> int:
        """Remove every row about a person from the files.

        Returns
        -------
        int
            How many rows were removed.
        """
        return kept.erase(self._folder, subject_id)

    def _rows_of_part(self, part: int) -> RowsOfPart:
        """Return the rows of a part as it is now, held against its hashes."""
        known = self._found.get(part)
        if known is None or known[0] != self._state_of(part):
            with self._lock:
                known = self._found.get(part)
                state = self._state_of(part)
                if known is None or known[0] != state:
                    kept.verify(self._folder, [part])
                    known = self._found[part] = state, RowsOfPart(self._folder, part)
        return known[1]

    def _state_of(self, part: int) -> kept.State:
        """Return what tells whether a part was written again; raise if all records were kept again."""
        kept_as, state = kept.state_of_part(self._folder, part)
        if kept_as != self._kept_as:
            raise RecordsError(
                "the records were kept again since they were opened", file=self._folder, remedy="Open them again."
            )
        return state


def read_records(
    source: str | Path | Mapping[str, Any], *, policy: Policy | str | Path | None = None, threads: int | None = None
) -> Records:
    """Read and check the records of a folder, or of frames in memory.

    Parameters
    ----------
    source : path or mapping
        A folder of CSV or Parquet files (see ``egretscore.records.folder``), a folder that
        ``egretscore keep`` wrote, or a mapping of table name to a pandas, polars or Arrow
        frame. Consents must be there; another table that is not is read as empty.
    policy : Policy or path, optional
        Whose words the records use: the shipped policy when not given. For records that
        a loaded engine shall score, pass ``engine.policy``. Kept records have their own.
    threads : int, optional
        How many threads the database uses; all cores when not given.

    Returns
    -------
    Records
        Good rows only. What is wrong with the others is in ``records.problems``.

    Raises
    ------
    RecordsError
        If a file cannot be read at all, or its columns are not those of its table.
    """
    if isinstance(source, Mapping):
        return _read(_frames_by_table(source), as_policy(policy), threads, None)
    if not isinstance(source, str | Path):
        raise ArgumentError(
            "records come from a folder or a mapping",
            value=type(source).__name__,
            expected="a path or a mapping of table name to frame",
        )
    if kept.is_kept(Path(source)):
        records = KeptRecords(Path(source), threads=threads)
        if policy is not None:
            check_words(records, as_policy(policy), "the policy given")
        return records
    policy = as_policy(policy)
    return _read(files_by_table(source), policy, threads, invented_mark(Path(source)))


def check_words(records: Records, policy: Policy, whose: str) -> None:
    """Raise if the records may hold words that another policy does not know."""
    for column, words in records.policy.vocabulary.items():
        unknown = words - policy.vocabulary[column]
        if unknown:
            raise RecordsError(
                f"the records were read under the policy {records.policy.name!r}, whose words for {column} {whose} "
                f"does not know: {', '.join(sorted(unknown))}",
                remedy="Keep them again under that policy, or train a model under theirs."
                if isinstance(records, KeptRecords)
                else "Read them with read_records(..., policy=engine.policy).",
            )


def read_parts(
    folder: Path,
    parts: Collection[int],
    *,
    policy: Policy,
    threads: int | None = None,
    memory: int | None = None,
    spill: Path | None = None,
) -> Records:
    """Read and check a folder's records of the people of some parts (see ``egretscore.parts``).

    What is read of a person is what :func:`read_records` reads. Rows that are set aside in
    the tables that reach others are counted with any parts, all other rows with one. Rows of
    Parquet files may be read from the files again with every question: who asks must make sure that
    they are the same still. Nobody can be erased from these.

    Parameters
    ----------
    folder : Path
    parts : numbers from 0 to 63
    policy : Policy
    threads, memory, spill
        As :func:`egretscore.records.database.open_locked` has them.
    """
    if kept.is_kept(folder):
        return KeptRecords(folder, parts, threads=threads, memory=memory, spill=spill)
    options: dict[str, Any] = {"memory": memory, "spill": spill, "in_memory": False}
    return _read(files_by_table(folder), policy, threads, invented_mark(folder), parts, **options)


def read_addition(
    folder: Path,
    parts: Collection[int],
    tables: Collection[str],
    *,
    policy: Policy,
    threads: int | None,
    memory: int,
    spill: Path,
) -> Records:
    """Read and check some tables of records that may hold no consents; otherwise as :func:`read_parts`."""
    every = files_by_table(folder, consents_needed=False)
    files = {name: of_table if name in tables else () for name, of_table in every.items()}
    return _read(files, policy, threads, invented_mark(folder), parts, memory=memory, spill=spill)


def _read(  # noqa: PLR0913 - the one place where all ways of reading meet
    sources: Mapping[str, tuple[Any, ...]],
    policy: Policy,
    threads: int | None,
    invented: Mapping[str, Any] | None,
    parts: Collection[int] | None = None,
    *,
    memory: int | None = None,
    spill: Path | None = None,
    in_memory: bool = True,
) -> Records:
    files = [item.absolute() for items in sources.values() for item in items if isinstance(item, Path)]
    state = state_of_files(files)
    connection = open_locked(files, threads, memory, spill)
    in_parts = parts is not None and len(set(parts)) < PARTS
    connection.execute(macro_chosen(parts if in_parts else None))
    try:
        _fill(connection, sources, policy, threads, in_memory=in_memory, in_parts=in_parts)
    except duckdb.OutOfMemoryException as error:
        raise do_not_fit() from error
    except duckdb.Error as error:
        check_readable(files)
        raise RecordsError(f"the records cannot be checked ({str(error).splitlines()[0]})") from error
    if state_of_files(files) != state:  # a Parquet file is read more than once
        raise RecordsError("the records changed while they were being read", remedy="Read them again.")
    return Records(connection, policy, invented)


def _fill(
    connection: duckdb.DuckDBPyConnection,
    sources: Mapping[str, tuple[Any, ...]],
    policy: Policy,
    threads: int | None,
    *,
    in_memory: bool,
    in_parts: bool,
) -> None:
    """Read every source into the database, and check what it holds."""
    prepare_checks(connection, policy.vocabulary)
    prepare_in_place(connection, in_parts=in_parts)
    number = 0
    for name, table in TABLES.items():
        create_staging(connection, table)
        numbered = dict(enumerate(sources[name], start=number + 1))
        number += len(numbered)
        for source, item in numbered.items():
            connection.execute("INSERT INTO sources VALUES (?, ?, ?)", [source, name, _label(item, name)])
        _take_in(connection, table, numbered, threads, in_memory=in_memory, in_parts=in_parts)
    finish_checks(connection, in_memory=in_memory)


def _take_in(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    numbered: Mapping[int, Any],
    threads: int | None,
    *,
    in_memory: bool,
    in_parts: bool,
) -> None:
    """Read the sources of a table, and check what they hold."""
    in_place = _stage(connection, table, numbered, threads, in_parts=in_parts)
    if in_place:
        stage_what_may_stand_twice(connection, table, in_place)
    check_staged(connection, table, in_place, in_memory=in_memory)


def _stage(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    numbered: Mapping[int, Any],
    threads: int | None,
    *,
    in_parts: bool,
) -> list[InPlace]:
    """Read the sources of a table, files several at once: within one, the database may find nothing to share out.

    Each through a cursor of its own, with which what was worked on goes.
    """

    def read(source: int) -> InPlace | None:
        item = numbered[source]
        with connection.cursor() as own:
            if isinstance(item, Path):
                return stage_file(own, table, source, item.absolute(), in_parts=in_parts)
            return stage_frame(own, table, source, item, _label(item, table.name))

    files = [source for source, item in numbered.items() if isinstance(item, Path)]
    frames = [source for source, item in numbered.items() if not isinstance(item, Path)]
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        found = [*pool.map(read, files), *map(read, frames)]
    return [rows for rows in found if rows is not None]


def _label(item: Any, table: str) -> str:
    return str(item) if isinstance(item, Path) else f"the frame {table!r}"


def _frames_by_table(frames: Mapping[str, Any]) -> Mapping[str, tuple[Any, ...]]:
    for name in frames:
        if name not in TABLES:
            raise ArgumentError(
                f"there is no table {name!r}",
                expected=f"frames named {', '.join(TABLES)}",
                remedy=did_you_mean(str(name), TABLES),
            )
    if not _listed(frames, "consents"):
        raise RecordsError(
            "there is no frame of consents", expected="a frame named 'consents'", remedy="Nobody is scored without one."
        )
    return {name: _listed(frames, name) for name in TABLES}


def _listed(frames: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return the frames of a table: none, one, or those of a list or tuple."""
    given = frames.get(name, ())
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def invented_mark(folder: Path) -> Mapping[str, Any] | None:
    """Return what a folder of records, or of kept ones, says of itself when they are invented, else None."""
    if kept.is_kept(folder):
        return kept.read_about(folder).invented
    mark = folder / INVENTED_MARK
    if not mark.is_file():
        return None
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordsError("this mark of invented records cannot be read", file=mark, expected="JSON") from error
    return content if isinstance(content, dict) else {}
