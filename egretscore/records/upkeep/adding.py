"""Adding new records to kept ones, such as those of a day, without checking again what is kept.

A row whose record is not kept yet is added. A row that agrees with the kept one and fills cells
that were empty, such as an outcome (``Column.later``), replaces it. A row that contradicts the kept
one is set aside: the kept row stays, and the record is in doubt, so that it counts against nobody,
from the later of the days on which the two rows came on file. A kept record is in doubt as well if a
new row of it cannot be read.

A row of consents that cannot be used may be the withdrawal of anyone whose consents are kept, and an
objection that does not name its record may be about any kept record. Then nothing at all is added. (Rows of
empty cells, as spreadsheets write them, say nothing and are only set aside.)
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from egretscore.arrays import by_part
from egretscore.errors import ArgumentError, RecordsError, shown
from egretscore.paths import as_path
from egretscore.policy import parse_policy
from egretscore.records.checked.store import Records, SourceCount
from egretscore.records.database import Resources, check_threads, open_locked, threads_to_use
from egretscore.records.files import FILES, INVENTED_MARK, files_by_table
from egretscore.records.in_bulk.memory import (
    as_memory_allows,
    for_the_database,
    groups_of,
    memory_to_use,
    parts_at_once,
)
from egretscore.records.in_bulk.runs import Progress, check_not_among, check_unchanged, state_of_records, to_report
from egretscore.records.intake.checking import CONSENT_IN_DOUBT
from egretscore.records.kept import folder as kept
from egretscore.records.kept.touched import write_addition
from egretscore.records.parts import PARTS, tables_reported_with
from egretscore.records.quarantine import CONTRADICTIONS, Problem, number_of_rows, write_quarantine
from egretscore.records.reading import invented_mark, read_addition
from egretscore.records.schema import BROKEN, CHECKED, CONSENTS, DOUBTS, OBJECTIONS, PEOPLE, TABLES
from egretscore.records.upkeep.keeping import rows_in_order
from egretscore.records.upkeep.merging import (
    Contradiction,
    Difference,
    doubts_of,
    doubts_of_broken,
    merge,
    people_after,
)
from egretscore.writing import sha256_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

_BYTES_OF_A_MERGED_ROW: Final = 400  # as it was read, and as it is written again
_MOST_NAMED: Final = 20
_MAY_BE: Final = {CONSENTS.name: "a withdrawal", OBJECTIONS.name: "an objection to a record that is kept"}
_ByPart = Mapping[int, Mapping[str, "pa.Table"]]


@dataclass(frozen=True)
class _NewRows:
    """The new rows of some parts, without the database that checked them.

    Attributes
    ----------
    by_part : mapping of part to mapping of table to its rows
        Of each part that has any.
    broken : Table
        The records that have an unreadable row (``schema.BROKEN``).
    counts : tuple of SourceCount
    problems : tuple of Problem
    unclear : tuple of Problem
        Those of rows that may be a withdrawal, or an objection to a record they do not name.
    """

    by_part: _ByPart
    broken: pa.Table
    counts: tuple[SourceCount, ...]
    problems: tuple[Problem, ...]
    unclear: tuple[Problem, ...]

    @classmethod
    def of(cls, found: Records) -> _NewRows:
        tables: dict[int, dict[str, pa.Table]] = {}
        for table in CHECKED.values():
            for part, rows in by_part(rows_in_order(found, table)):
                tables.setdefault(part, {})[table.name] = rows
        broken = found.connect().sql(f"SELECT * FROM {BROKEN.name}").to_arrow_table()
        return cls(tables, broken, found.counts, found.problems, found.unclear)

    def checked(self, group: Sequence[int]) -> Added:
        """Return what checking the rows of a group of parts gave, before they are merged."""
        counted = tables_reported_with(group)
        return Added(
            known=sum(count.repeated for count in self.counts if count.table in counted),
            problems=tuple(problem for problem in self.problems if problem.table in counted),
        )


@dataclass(frozen=True)
class Added:
    """The result of an addition.

    Attributes
    ----------
    new : int
        How many rows were added.
    completed : int
        How many replaced a kept row that they complete.
    known : int
        How many repeat what is kept already, or one another.
    problems : tuple of Problem
        What is wrong with the rows set aside, apart from contradictions.
    contradictions : tuple of Contradiction
        The rows set aside because they contradict what is kept.
    """

    new: int = 0
    completed: int = 0
    known: int = 0
    problems: tuple[Problem, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()

    def __add__(self, more: Added) -> Added:
        """Return the result of both."""
        return Added(*(getattr(self, of.name) + getattr(more, of.name) for of in fields(Added)))

    @property
    def set_aside(self) -> int:
        """How many rows were set aside."""
        return number_of_rows(self.problems) + len(self.contradictions)

    def write_quarantine(self, folder: str | Path) -> list[Path]:
        """Write what was set aside, with the reasons, into CSV files: one for each table, and one of contradictions.

        The file of contradictions has a line for each cell in which a row differs from what is kept.

        Parameters
        ----------
        folder : path
            Files of an earlier run in it are replaced.

        Returns
        -------
        list of the files written

        Raises
        ------
        ArgumentError
            If it is not a path, or no folder, holds records, or lies among records or in a folder of ours.
        """
        written = write_quarantine(self.problems, folder)
        if not self.contradictions:
            return written
        file = Path(folder) / CONTRADICTIONS
        with whole_file(file) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            record = [of.name for of in fields(Contradiction) if of.name != "differences"]
            writer.writerow([*record, *(of.name for of in fields(Difference))])
            for one in self.contradictions:
                of_record = [getattr(one, name) for name in record]
                writer.writerows([*of_record, *astuple(difference)] for difference in one.differences)
        return [*written, file]


def add_records(
    records: str | Path,
    to: str | Path,
    *,
    dry_run: bool = False,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Added:
    """Add new records to kept ones.

    Where no row is set aside, the folder then holds what :func:`egretscore.keep_records` would keep of all the
    records together. An addition that was interrupted is finished by adding the same again,
    before any other.

    Parameters
    ----------
    records : path
        A folder of CSV or Parquet files with the new rows, and those that now say more than the kept ones.
    to : path
        A folder that ``egretscore keep`` wrote.
    dry_run : bool
        Return or raise what the addition would, and change nothing that is kept. (What a stopped change left
        behind is removed.)
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
        If the records cannot be read, the kept ones are damaged, the consents of either are unclear, or an
        addition of others was stopped half-way.
    ArgumentError
        If ``to`` holds no kept records, ``records`` holds kept ones or lies around ``to``, there is too little
        memory, or an argument is not what it should be.
    """
    folder = as_path(
        records,
        "the records to add come from a folder",
        remedy="Write frames to Parquet files named after their tables, such as consents.parquet.",
    )
    to, memory = as_path(to, "kept records are in a folder").resolve(), memory_to_use(memory)
    check_threads(threads)
    progress = to_report(progress)
    threads = threads_to_use(threads)
    _check_places(folder, to)
    files = [file for of_table in files_by_table(folder, consents_needed=False).values() for file in of_table]
    if not files:
        raise RecordsError(
            "there is no file of records in this folder",
            file=folder,
            expected=f"one of {FILES}",
        )
    state = state_of_records(folder)
    with kept.changing(to):
        about = kept.read_about(to)
        _check_invented(folder, kept_invented=about.invented is not None)
        _check_kept_are_clear(to)
        policy, spill = parse_policy(about.policy, origin=str(to / kept.POLICY)), kept.spill_of(to)
        hashes = {sha256_of(file) for file in files}
        kept.check_finishes_what_was_begun(to, hashes)
        spill.mkdir(mode=0o700)  # before the databases make it, open to others

        def read(group: Sequence[int], tables: Collection[str] = tuple(TABLES)) -> _NewRows:
            resources = Resources(threads, for_the_database(memory), spill / "new")
            new = _NewRows.of(read_addition(folder, group, tables, policy, resources))
            check_unchanged(folder, state, "added")
            return new

        try:
            # Each part's rows are few, and several parts are worked on at once.
            left = memory - for_the_database(memory)
            database = open_locked((), Resources(1, left, spill / "merged"))
            reach_others = [table.name for table in TABLES.values() if table.reaches_others]
            _check_new_are_clear(database, to, read(range(PARTS), reach_others))
            groups = as_memory_allows(groups_of(range(PARTS), parts_at_once(folder, memory)), read)
            at_once = _parts_in_memory(to, threads, left)
            with closing(groups), ThreadPoolExecutor(at_once) as pool:
                return _add(database, to, hashes, groups, pool, progress, dry_run=dry_run)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise ArgumentError(
                "there is not enough memory for a part of the kept records",
                file=to,
                remedy="Give more memory, or fewer threads; then add again to finish.",
            ) from error


def _add(
    database: duckdb.DuckDBPyConnection,
    to: Path,
    files: Collection[str],
    groups: Iterable[tuple[Sequence[int], _NewRows]],
    pool: ThreadPoolExecutor,
    progress: Callable[[Progress], None],
    *,
    dry_run: bool,
) -> Added:
    """Add the new rows of each group of parts."""
    done = Added()
    for group, new in groups:
        if not dry_run:
            kept.begin_adding(to, files)
        done += new.checked(group)
        add_to_part = partial(_add_to_part, database, to, new, dry_run=dry_run)
        for part, added in zip(group, pool.map(add_to_part, group), strict=True):
            done += added
            progress(Progress(part + 1, group[-1] + 1, 0, done.new + done.completed))
        del new  # not held while the next group is read
    if not dry_run:
        kept.finish_adding(to)
    return done


def _parts_in_memory(to: Path, threads: int, memory: int) -> int:
    """Return how many parts of the kept records are worked on at once."""
    largest = max(sum(kept.about_part(to, part).rows.values()) for part in range(PARTS))
    return max(1, min(threads, memory // max(1, largest * _BYTES_OF_A_MERGED_ROW)))


# ------------------------------------------------------------------------------- what is refused


def _check_places(folder: Path, to: Path) -> None:
    kept.check_is_kept(to)
    if kept.is_kept(folder):
        raise ArgumentError("these records are kept already", file=folder, expected="a folder of CSV or Parquet files")
    check_not_among(to, folder)


def _check_invented(folder: Path, *, kept_invented: bool) -> None:
    if (invented_mark(folder) is not None) != kept_invented:
        raise RecordsError(
            f"these records do {'not ' if kept_invented else ''}say that they are invented, and the kept ones "
            f"do{'' if kept_invented else ' not'}",
            file=folder,
            remedy=f"Never mix the two. More of an invented town needs its mark as well, a copy of {INVENTED_MARK}.",
        )


def _check_kept_are_clear(to: Path) -> None:
    unclear = max(kept.about_part(to, part).unclear for part in range(PARTS))
    if unclear:
        raise RecordsError(
            f"{unclear:,} {'row was' if unclear == 1 else 'rows were'} set aside when these records were kept, and "
            "each may be a withdrawal, or an objection to a record, that concerns what is added now",
            file=to,
            remedy="Correct them in the original records (`egretscore validate --records` and their folder says what "
            "is wrong) and keep all again.",
        )


def _check_new_are_clear(database: duckdb.DuckDBPyConnection, to: Path, new: _NewRows) -> None:
    """Raise if new consents are unclear or contradict kept ones, or an objection does not name its record."""
    contradictions = [
        contradiction
        for part, tables in new.by_part.items()
        if CONSENTS.name in tables
        for contradiction in merge(
            database, CONSENTS.name, kept.read_table(to, part, CONSENTS.name), tables[CONSENTS.name]
        ).contradictions
    ]
    contradictions.sort(key=lambda one: (one.subject_id, one.record_id))
    if new.unclear:
        raise _unclear(new.unclear, contradictions)
    if contradictions:
        raise _contradicting_consents(contradictions)


def _unclear(problems: Iterable[Problem], contradictions: Iterable[Contradiction]) -> RecordsError:
    to_mend = [problem for problem in problems if problem.expected != CONSENT_IN_DOUBT]
    first, tables = to_mend[0], {problem.table for problem in to_mend}
    _, *others = dict.fromkeys(f"{problem.file}, row {problem.row}" for problem in to_mend)
    may_be = " or ".join(what for table, what in _MAY_BE.items() if table in tables)
    return RecordsError(
        f"the row may be {may_be} and cannot be used, so nothing was added",
        file=first.file,
        row=first.row,
        column=first.column,
        value=first.value,
        expected=first.expected,
        remedy="Correct it, and add again."
        + _naming("Likewise", others)
        + _naming("Consents that contradict the kept ones", [*map(_of_whom, contradictions)]),
    )


def _contradicting_consents(contradictions: Sequence[Contradiction]) -> RecordsError:
    first, *others = contradictions
    cell = first.differences[0]
    return RecordsError(
        f"the consent {_of_whom(first)} contradicts the one that is kept, so nothing was added",
        column=cell.column,
        value=cell.given,
        expected=shown(cell.kept) if cell.kept else "an empty cell",
        remedy="Correct it; if the kept one is wrong, keep all records again."
        + _naming("Likewise", [*map(_of_whom, others)]),
    )


def _of_whom(consent: Contradiction) -> str:
    return f"of {consent.subject_id!r} to {consent.record_id}"


def _naming(what: str, all_of_them: Sequence[str]) -> str:
    """Return a sentence that names them, or nothing if there are none."""
    more = f"; and {len(all_of_them) - _MOST_NAMED:,} more" if len(all_of_them) > _MOST_NAMED else ""
    return f" {what}: {'; '.join(all_of_them[:_MOST_NAMED])}{more}." if all_of_them else ""


# ------------------------------------------------------------------------------- a part


def _add_to_part(
    database: duckdb.DuckDBPyConnection, to: Path, all_new: _NewRows, part: int, *, dry_run: bool
) -> Added:
    """Add rows to a part, and rewrite it if they say anything new and this is no dry run."""
    import pyarrow as pa

    new = all_new.by_part.get(part, {})
    if not new and not len(all_new.broken):
        return Added()
    about, before = kept.read_part(to, part)
    merged = [merge(database, table, before[table], rows) for table, rows in new.items() if table in TABLES]
    added = sum((Added(of.new, of.completed, of.known, (), of.contradictions) for of in merged), Added())
    if dry_run:
        return added
    doubted = [new[DOUBTS.name]] if DOUBTS.name in new else []
    doubted += [doubts_of(added.contradictions)] if added.contradictions else []
    doubted += [doubts_of_broken(database, all_new.broken, before)] if len(all_new.broken) else []
    if doubted:
        merged.append(merge(database, DOUBTS.name, before[DOUBTS.name], pa.concat_tables(doubted)))
    changed = {of_table.table: of_table.rows for of_table in merged if of_table.rows is not None}
    if changed:
        all_touched = [of_table.touched for of_table in merged if of_table.touched is not None]
        touched = pa.concat_arrays(all_touched).unique().sort()
        changed[PEOPLE.name] = people_after(database, before, changed, touched)
        write_addition(to, part, about, changed, touched)
    return added
