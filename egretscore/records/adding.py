"""Adding new records to kept ones, such as those of a day, without checking again what is kept.

A row whose record is not kept yet comes in. One that says what is kept, and fills cells that were
empty and tell what became of the record (``Column.later``), stands in its place. What says something
else of a record is set aside: what was on file first stays, and the record is in doubt from that
day, so that it counts against nobody.

A row of consents that cannot be used may be a withdrawal, of whomever it names or of one whose
consents were kept. Then nothing is added, and nobody is scored on less than what is on file.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, fields, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, by_part
from egretscore.policy import parse_policy
from egretscore.records import kept
from egretscore.records.database import open_locked, quoted
from egretscore.records.folder import files_by_table
from egretscore.records.keeping import rows_in_order
from egretscore.records.partwise import (
    Progress,
    as_memory_allows,
    check_not_among,
    for_the_database,
    groups_of,
    memory_to_use,
    parts_at_once,
)
from egretscore.records.quarantine import Problem, write_quarantine
from egretscore.records.schema import (
    CHECKED_COLUMNS,
    CONSENTS,
    DOUBTS,
    OBJECTIONS,
    PEOPLE,
    TABLES,
    people_sql,
)
from egretscore.records.store import Records, SourceCount, invented_mark, read_addition
from egretscore.sorted_rows import people_replaced
from egretscore.writing import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

_BYTES_OF_A_MERGED_ROW: Final = 400  # as it was read, and as it is written again
_ByPart = Mapping[int, Mapping[str, "pa.Table"]]


@dataclass(frozen=True)
class Contradiction:
    """A row that says something else than what is kept of its record.

    Attributes
    ----------
    table, record_id, subject_id : str
    since : date
        From when the record is in doubt.
    """

    table: str
    record_id: str
    subject_id: str
    since: date

    def __str__(self) -> str:
        return (
            f"{self.table}, record {self.record_id!r} of {self.subject_id!r}: what is kept says something else; "
            f"it stays, in doubt from {self.since}"
        )


@dataclass(frozen=True)
class _NewRows:
    """The new rows of some parts, without the database that checked them.

    Attributes
    ----------
    by_part : mapping of part to mapping of table to its rows
        Of each part that has any.
    counts : tuple of SourceCount
    problems : tuple of Problem
    """

    by_part: _ByPart
    counts: tuple[SourceCount, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, found: Records) -> _NewRows:
        tables: dict[int, dict[str, pa.Table]] = {}
        for table in CHECKED_COLUMNS:
            for part, rows in by_part(rows_in_order(found, table)):
                tables.setdefault(part, {})[table] = rows
        return cls(tables, found.counts, found.problems)


@dataclass(frozen=True)
class Added:
    """What came of an addition.

    Attributes
    ----------
    new : int
        How many rows came in.
    completed : int
        How many took the place of a row that they complete.
    known : int
        How many say nothing that was not kept, or that another of them does not say.
    problems : tuple of Problem
        What is wrong with the rows set aside by themselves.
    contradictions : tuple of Contradiction
        The rows set aside for what is kept.
    """

    new: int
    completed: int
    known: int
    problems: tuple[Problem, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()

    @property
    def set_aside(self) -> int:
        """How many rows were set aside."""
        return len({(problem.file, problem.row) for problem in self.problems}) + len(self.contradictions)

    def write_quarantine(self, folder: str | Path) -> list[Path]:
        """Write what was set aside, with the reasons, into CSV files: one for each table, and one of contradictions.

        Returns
        -------
        list of the files written
        """
        written = write_quarantine(self.problems, Path(folder))
        file = Path(folder) / "contradictions.csv"
        if not self.contradictions:
            file.unlink(missing_ok=True)
            return written
        with whole_file(file) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(of.name for of in fields(Contradiction))
            writer.writerows(map(astuple, self.contradictions))
        return [*written, file]


def add_records(
    records: str | Path,
    to: str | Path,
    *,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Added:
    """Add new records to kept ones.

    What is kept afterwards is what :func:`egretscore.keep_records` would keep of all records, where
    nothing contradicts another. An addition that was stopped is finished by adding again.

    Parameters
    ----------
    records : path
        A folder of CSV or Parquet files: the rows that are new, and those of which more is known now.
    to : path
        A folder that ``egretscore keep`` wrote.
    threads : int, optional
        How many threads to use; all cores when not given.
    memory : int, optional
        How many bytes to use, roughly; half the machine's when not given.
    progress : function of Progress, optional
        Called after every part.

    Returns
    -------
    Added

    Raises
    ------
    RecordsError
        If the records cannot be read, the kept ones are damaged, or the consents of either are unclear.
    ArgumentError
        If ``to`` holds no kept records, or the memory does not suffice.
    """
    folder, to, memory = Path(records), Path(to).resolve(), memory_to_use(memory)
    threads = threads or os.cpu_count() or 1
    _check_places(folder, to)
    files_by_table(folder, consents_needed=False)
    with kept.changing(to):
        about = kept.read_about(to)
        _check_invented(folder, kept_invented=about.invented is not None)
        _check_kept_consents(to)
        policy, spill = parse_policy(about.policy, origin=str(to / kept.POLICY)), kept.spill_of(to)
        spill.mkdir(mode=0o700)  # before the databases make it, open to others

        def read(group: Sequence[int], tables: Collection[str] = tuple(TABLES)) -> _NewRows:
            share = for_the_database(memory)
            options: dict[str, Any] = {"policy": policy, "threads": threads, "memory": share, "spill": spill / "new"}
            return _NewRows.of(read_addition(folder, group, tables, **options))

        try:
            # Each part's rows are few, and several parts are worked on at once.
            left = memory - for_the_database(memory)
            database = open_locked(threads=1, memory=left, spill=spill / "merged")
            _check_consents(database, to, read(range(PARTS), [CONSENTS.name]))
            groups = as_memory_allows(groups_of(range(PARTS), parts_at_once(folder, memory)), read)
            with closing(groups), ThreadPoolExecutor(_parts_in_memory(to, threads, left)) as pool:
                return _add(database, to, groups, pool, progress)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise ArgumentError(
                "the memory does not suffice for a part of the kept records",
                file=to,
                remedy="Give more with --memory, or fewer --threads; then add again to finish.",
            ) from error


def _add(
    database: duckdb.DuckDBPyConnection,
    to: Path,
    groups: Iterable[tuple[Sequence[int], _NewRows]],
    pool: ThreadPoolExecutor,
    progress: Callable[[Progress], None],
) -> Added:
    """Add the new rows of each group of parts."""
    done = Added(0, 0, 0)
    for group, new in groups:
        every_table = group[-1] == PARTS - 1  # some tables every group reads whole, and counts
        counted = [table.name for table in TABLES.values() if every_table or not table.reaches_others]
        done = replace(
            done,
            known=done.known + sum(count.repeated for count in new.counts if count.table in counted),
            problems=(*done.problems, *(problem for problem in new.problems if problem.table in counted)),
        )
        for part, merged in zip(group, pool.map(partial(_add_to_part, database, to, new.by_part), group), strict=True):
            done = Added(
                done.new + sum(of_table.new for of_table in merged),
                done.completed + sum(of_table.completed for of_table in merged),
                done.known + sum(of_table.known for of_table in merged),
                done.problems,
                (*done.contradictions, *(one for of_table in merged for one in of_table.contradictions)),
            )
            progress(Progress(part + 1, group[-1] + 1, 0, done.new + done.completed))
        del new  # while the next are read, these are not held as well
    return done


def _parts_in_memory(to: Path, threads: int, memory: int) -> int:
    """Return how many parts of the kept records are worked on at once."""
    largest = max(sum(kept.about_part(to, part).rows.values()) for part in range(PARTS))
    return max(1, min(threads, memory // max(1, largest * _BYTES_OF_A_MERGED_ROW)))


# ------------------------------------------------------------------------------- what is refused


def _check_places(folder: Path, to: Path) -> None:
    if not kept.is_kept(to):
        raise ArgumentError("these are no kept records", file=to, expected="a folder that egretscore keep wrote")
    if kept.is_kept(folder):
        raise ArgumentError("these records are kept already", file=folder, expected="a folder of CSV or Parquet files")
    check_not_among(to, folder)


def _check_invented(folder: Path, *, kept_invented: bool) -> None:
    if (invented_mark(folder) is not None) != kept_invented:
        raise RecordsError(
            f"these records do {'not ' if kept_invented else ''}say that they are invented, and the kept ones "
            f"do{'' if kept_invented else ' not'}",
            file=folder,
            remedy="Never mix the two.",
        )


def _check_kept_consents(to: Path) -> None:
    unclear = max(kept.about_part(to, part).unclear_consents for part in range(PARTS))
    if unclear:
        raise RecordsError(
            f"{unclear:,} rows of consents were set aside when these records were kept, and any may be a withdrawal "
            "by someone who is added to",
            file=to,
            remedy="Mend them in the records, and keep all again; `egretscore validate` says what is wrong.",
        )


def _check_consents(database: duckdb.DuckDBPyConnection, to: Path, new: _NewRows) -> None:
    """Raise if the new consents are unclear by themselves, or contradict those that are kept."""
    for problem in new.problems:
        raise RecordsError(
            "the row may be a withdrawal and cannot be used, so nothing was added",
            file=problem.file,
            row=problem.row,
            column=problem.column,
            value=problem.value,
            expected=problem.expected,
            remedy="Mend it, and add again.",
        )
    for part, tables in new.by_part.items():
        before = kept.read_table(to, part, CONSENTS.name)
        for one in _merge(database, CONSENTS.name, before, tables[CONSENTS.name]).contradictions:
            raise RecordsError(
                f"a row of consents of {one.subject_id!r} says something else than the one that is kept, "
                "so nothing was added",
                column=CONSENTS.identity[1],
                value=one.record_id,
                remedy="Mend it; if the kept one is wrong, keep all records again.",
            )


# ------------------------------------------------------------------------------- a part


@dataclass(frozen=True)
class _Merged:
    """What came of the new rows of a table of a part; ``rows`` is None where nothing changed."""

    table: str
    new: int = 0
    completed: int = 0
    known: int = 0
    rows: pa.Table | None = None
    touched: pa.Array | None = None
    contradictions: tuple[Contradiction, ...] = ()


def _add_to_part(database: duckdb.DuckDBPyConnection, to: Path, by_part: _ByPart, part: int) -> list[_Merged]:
    """Add rows to a part, write it again if they say anything new, and return what came of them, without the rows."""
    import pyarrow as pa

    new = by_part.get(part, {})
    if not new:
        return []
    about, before = kept.read_part(to, part)
    merged = [_merge(database, table, before[table], rows) for table, rows in new.items() if table != DOUBTS]
    doubted = [new[DOUBTS]] if DOUBTS in new else []
    doubted += [_doubts(of_table.contradictions) for of_table in merged if of_table.contradictions]
    if doubted:
        merged.append(_merge(database, DOUBTS, before[DOUBTS], pa.concat_tables(doubted)))
    changed = {of_table.table: of_table.rows for of_table in merged if of_table.rows is not None}
    if changed:
        all_touched = [of_table.touched for of_table in merged if of_table.touched is not None]
        touched = pa.concat_arrays(all_touched).unique().sort()
        changed[PEOPLE] = _people(database, before, changed, touched)
        kept.write_addition(to, part, about, changed, touched)
    return [replace(of_table, rows=None, touched=None) for of_table in merged if of_table.table != DOUBTS]


def _people(
    database: duckdb.DuckDBPyConnection,
    before: Mapping[str, pa.Table],
    changed: Mapping[str, pa.Table],
    touched: pa.Array,
) -> pa.Table:
    """Return who is on file in a part, and since when, once some were touched."""
    from pyarrow import compute

    with database.cursor() as connection:
        for table in TABLES:
            rows = changed.get(table, before[table])
            connection.register(table, rows.filter(compute.is_in(rows["subject_id"], value_set=touched)))
        theirs = connection.sql(f"{people_sql()} ORDER BY subject_id").to_arrow_table()
    return people_replaced(before[PEOPLE], touched, theirs)


def _doubts(contradictions: tuple[Contradiction, ...]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "table": pa.array([one.table for one in contradictions], pa.string()),
            "record_id": pa.array([one.record_id for one in contradictions], pa.string()),
            "subject_id": pa.array([one.subject_id for one in contradictions], pa.string()),
            "since": pa.array([one.since for one in contradictions], pa.date32()),
        }
    )


def _merge(database: duckdb.DuckDBPyConnection, table: str, before: pa.Table, rows: pa.Table) -> _Merged:
    """Put new rows of a table of a part among those that are kept."""
    from pyarrow import compute

    theirs = compute.is_in(before["subject_id"], value_set=compute.unique(rows["subject_id"]))
    with database.cursor() as connection:
        connection.register("stood", before.filter(theirs))
        connection.register("given", rows)
        connection.execute(f"CREATE TEMP TABLE judged AS {_judged(table)}")
        counts = dict(connection.execute("SELECT verdict, count(*) FROM judged GROUP BY verdict").fetchall())
        contradictions = connection.execute(_contradicted(table)).fetchall() if "contradicts" in counts else []
        result = _Merged(
            table,
            counts.get("new", 0),
            counts.get("completes", 0),
            counts.get("known", 0),
            contradictions=tuple(Contradiction(*one) for one in contradictions),
        )
        if not result.new and not result.completed:
            return result
        names, identity = quoted(CHECKED_COLUMNS[table]), quoted(kept.identity_of(table))
        good = "SELECT * FROM judged WHERE verdict IN ('new', 'completes')"
        of_touched = "subject_id IN (SELECT subject_id FROM good)"
        after = connection.sql(
            f"WITH good AS ({good}) "
            f"SELECT {names} FROM stood ANTI JOIN good USING ({identity}) WHERE {of_touched} "
            f"UNION ALL SELECT {names} FROM good ORDER BY {quoted(kept.order_of(table))}"
        ).to_arrow_table()
        touched = compute.unique(after["subject_id"]).cast("string")
        return replace(result, rows=people_replaced(before, touched, after), touched=touched)


def _judged(table: str) -> str:
    """Return the query for the new rows and what each is to those that stood: new, known, completes or contradicts."""
    columns, identity = CHECKED_COLUMNS[table], kept.identity_of(table)
    later = TABLES[table].later_columns if table in TABLES else ()
    fixed = [name for name in columns if name not in {*identity, *later}]

    def says(one: str, other: str) -> str:
        """Return the condition that a row says all that another does."""
        same = [f'{one}."{name}" IS NOT DISTINCT FROM {other}."{name}"' for name in fixed]
        same += [f'coalesce({one}."{name}" = {other}."{name}", {other}."{name}" IS NULL)' for name in later]
        return " AND ".join(same) or "true"

    on = " AND ".join(f'given."{name}" = stood."{name}"' for name in identity)
    return (
        f"SELECT given.*, CASE WHEN stood.subject_id IS NULL THEN 'new' WHEN {says('stood', 'given')} THEN 'known' "
        f"WHEN {says('given', 'stood')} THEN 'completes' ELSE 'contradicts' END AS verdict, "
        f'stood."{_came_on_file(table)}" AS stood_since FROM (SELECT DISTINCT * FROM given) AS given '
        f"LEFT JOIN stood ON {on}"
    )


def _contradicted(table: str) -> str:
    """Return the query for the records that rows contradict, and since when."""
    what = f"'{table}', \"{kept.identity_of(table)[0]}\""
    if table == OBJECTIONS.name:
        what = '"table", record_id'
    if table == CONSENTS.name:
        what = f"'{table}', letter_version"
    return (
        f'SELECT {what}, subject_id, greatest("{_came_on_file(table)}", stood_since) FROM judged '
        f"WHERE verdict = 'contradicts' ORDER BY ALL"
    )


def _came_on_file(table: str) -> str:
    return TABLES[table].on_file if table in TABLES else "since"
