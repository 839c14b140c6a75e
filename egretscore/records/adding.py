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
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, by_part
from egretscore.policy import Policy, parse_policy
from egretscore.records import kept
from egretscore.records.database import open_locked
from egretscore.records.keeping import rows_in_order
from egretscore.records.partwise import (
    SHARE_OF_THE_DATABASE,
    Progress,
    check_not_among,
    lacks_memory,
    memory_to_use,
)
from egretscore.records.quarantine import Problem, write_quarantine
from egretscore.records.schema import CHECKED_COLUMNS, COMES_ON_FILE, CONSENTS, OBJECTIONS, TABLES, people_sql
from egretscore.records.store import Records, invented_mark, read_parts
from egretscore.sorted_rows import people_replaced
from egretscore.writing import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

DOUBTS: Final = "doubts"
PEOPLE: Final = "people"


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
class Added:
    """What came of an addition.

    Attributes
    ----------
    new : int
        How many rows came in.
    completed : int
        How many took the place of a row that they complete.
    known : int
        How many say nothing that was not kept.
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
    nothing contradicts another. An addition that was stopped, however, is finished by adding again.

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
    _check_places(folder, to)
    with kept.changing(to):
        about = kept.read_about(to)
        _check_invented(folder, kept_invented=about.invented is not None)
        _check_kept_consents(to)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-adding-") as spill:
            policy = parse_policy(about.policy, origin=str(to / kept.POLICY))
            found, new = _read_new(folder, policy, threads, memory, Path(spill))
        database = open_locked(threads=1)  # each part's rows are few, and several parts are worked on at once
        for part, tables in new.items():
            if CONSENTS.name in tables:
                _check_consents_agree(database, to, part, tables[CONSENTS.name])
        rows, merged = 0, list[_Merged]()
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            of_parts = pool.map(lambda part: _add_to_part(database, to, part, new.get(part, {})), range(PARTS))
            for done, of_part in enumerate(of_parts, start=1):
                merged += of_part
                rows += sum(of_table.new + of_table.completed for of_table in of_part)
                progress(Progress(done, done, 0, rows))
    return Added(
        new=sum(of_table.new for of_table in merged),
        completed=sum(of_table.completed for of_table in merged),
        known=sum(of_table.known for of_table in merged) + sum(count.repeated for count in found.counts),
        problems=found.problems,
        contradictions=tuple(one for of_table in merged for one in of_table.contradictions),
    )


def _read_new(
    folder: Path, policy: Policy, threads: int | None, memory: int, spill: Path
) -> tuple[Records, Mapping[int, Mapping[str, pa.Table]]]:
    """Return the new records, whose consents are clear, and the rows of each part that has any, by table."""
    try:
        found = read_parts(
            folder,
            range(PARTS),
            policy=policy,
            threads=threads,
            memory=int(memory * SHARE_OF_THE_DATABASE),
            spill=spill,
            consents_needed=False,
        )
        _check_new_consents(found)
        return found, _by_part(found)
    except (RecordsError, duckdb.OutOfMemoryException, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise ArgumentError(
            "the memory does not suffice for what is to be added",
            file=folder,
            remedy="Give more with --memory, or add it in several folders.",
        ) from error


def _by_part(found: Records) -> Mapping[int, Mapping[str, pa.Table]]:
    """Return the new rows of each part that has any, by table."""
    tables: dict[int, dict[str, pa.Table]] = {}
    for table in CHECKED_COLUMNS:
        for part, rows in by_part(rows_in_order(found, table)):
            tables.setdefault(part, {})[table] = rows
    return tables


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


def _check_new_consents(found: Records) -> None:
    of_consents = [problem for problem in found.problems if problem.table == CONSENTS.name]
    if of_consents:
        first = of_consents[0]
        raise RecordsError(
            "the row may be a withdrawal and cannot be used, so nothing was added",
            file=first.file,
            row=first.row,
            column=first.column,
            value=first.value,
            expected=first.expected,
            remedy="Mend it, and add again.",
        )


def _check_consents_agree(database: duckdb.DuckDBPyConnection, to: Path, part: int, rows: pa.Table) -> None:
    from pyarrow import parquet

    before = parquet.read_table(kept.files_of_part(to, part)[CONSENTS.name])
    for one in _merge(database, CONSENTS.name, before, rows).contradictions:
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


def _add_to_part(
    database: duckdb.DuckDBPyConnection, to: Path, part: int, new: Mapping[str, pa.Table]
) -> list[_Merged]:
    """Add rows to a part, and write it again if they say anything new."""
    import pyarrow as pa

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
    return [of_table for of_table in merged if of_table.table != DOUBTS]


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
        names, identity = _quoted(CHECKED_COLUMNS[table]), _quoted(kept.identity_of(table))
        good = "SELECT * FROM judged WHERE verdict IN ('new', 'completes')"
        of_touched = "subject_id IN (SELECT subject_id FROM good)"
        after = connection.sql(
            f"WITH good AS ({good}) "
            f"SELECT {names} FROM stood ANTI JOIN good USING ({identity}) WHERE {of_touched} "
            f"UNION ALL SELECT {names} FROM good ORDER BY {_quoted(kept.order_of(table))}"
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
    return COMES_ON_FILE[table][0] if table in COMES_ON_FILE else "since"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
