"""Checking everyone's records, as many parts at once as fit into memory, to report what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from operator import add
from pathlib import Path

from egretscore.paths import as_path
from egretscore.policy import Policy, as_policy
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.checked.store import COUNTED, Records, SourceCount, UnmatchedObjection, check_agrees
from egretscore.records.database import Resources
from egretscore.records.in_bulk.memory import (
    as_memory_allows,
    for_the_database,
    groups_of,
    memory_to_use,
    parts_at_once,
)
from egretscore.records.in_bulk.runs import Progress, check_unchanged, state_of_records, to_report
from egretscore.records.parts import PARTS, tables_reported_with
from egretscore.records.quarantine import Problem, number_of_rows, write_quarantine
from egretscore.records.reading import read_parts
from egretscore.records.schema import TABLES


@dataclass(frozen=True)
class Validated:
    """What was found in records.

    Attributes
    ----------
    counts : tuple of SourceCount
        Where the rows of each file went.
    problems : tuple of Problem
        Everything that is wrong with the rows set aside, in the order of files and rows.
    unmatched_objections : tuple of UnmatchedObjection
    set_aside_before : int
        How many rows were set aside when the records were kept, if they are kept ones.
    """

    counts: tuple[SourceCount, ...] = ()
    problems: tuple[Problem, ...] = ()
    unmatched_objections: tuple[UnmatchedObjection, ...] = ()
    set_aside_before: int = 0

    @classmethod
    def of(cls, records: Records, group: Sequence[int]) -> Validated:
        """Return what was found in the records of a group of parts.

        Parameters
        ----------
        records : Records
            Of the people of these parts.
        group : numbers from 0 to 63

        Returns
        -------
        Validated

        Raises
        ------
        RecordsError
            If the records cannot be read any more, or do not fit into memory.
        """
        reported = frozenset(TABLES) if isinstance(records, KeptRecords) else tables_reported_with(group)
        return cls(
            tuple(
                count if count.table in reported else SourceCount(count.table, count.file, *(0 for _ in COUNTED))
                for count in records.counts
            ),
            tuple(problem for problem in records.problems if problem.table in reported),
            records.unmatched_objections,
            records.set_aside_before,
        )

    def __add__(self, more: Validated) -> Validated:
        """Return what was found in the records of these people and of others."""
        if not self.counts:
            return more
        return Validated(
            tuple(map(add, self.counts, more.counts)),
            self.problems + more.problems,
            self.unmatched_objections + more.unmatched_objections,
            self.set_aside_before + more.set_aside_before,
        )

    @property
    def set_aside(self) -> int:
        """How many rows were set aside."""
        return number_of_rows(self.problems)

    @property
    def absent(self) -> tuple[str, ...]:
        """The tables without a file, which are taken to be empty."""
        there = {count.table for count in self.counts}
        return tuple(table for table in TABLES if table not in there)

    def in_order(self) -> Validated:
        """Return the same, in the order of files and rows.

        Returns
        -------
        Validated
        """
        place = {(count.table, count.file): position for position, count in enumerate(self.counts)}

        def lies(problem: Problem) -> tuple[int, int, bool, str, str]:
            column = problem.column
            return place[problem.table, problem.file], problem.row, column is None, column or "", problem.expected

        unmatched = sorted(self.unmatched_objections, key=astuple)
        return replace(self, problems=tuple(sorted(self.problems, key=lies)), unmatched_objections=tuple(unmatched))

    def write_quarantine(self, folder: str | Path) -> list[Path]:
        """Write the rows set aside, with their reasons; see :meth:`Records.write_quarantine`.

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
        return write_quarantine(self.problems, folder)


def validate_records(
    records: str | Path,
    *,
    policy: Policy | str | Path | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Validated:
    """Check a folder's records in bounded memory, apart from the list of what is wrong.

    Parameters
    ----------
    records : path
        A folder of CSV or Parquet files, or one that ``egretscore keep`` wrote.
    policy : Policy or path, optional
        As :func:`egretscore.read_records` takes it.
    threads : int, optional
        How many threads to use; as many as there are cores when not given.
    memory : int, optional
        How many bytes to use, roughly; half the machine's when not given.
    progress : function of Progress, optional
        Called after every group of parts.

    Returns
    -------
    Validated

    Raises
    ------
    RecordsError
        If they cannot be read, change meanwhile, or were kept under a policy that does not agree with the one given.
    PolicyError
        If the policy cannot be read.
    ArgumentError
        If there is too little memory, or an argument is not what it should be.
    """
    folder = as_path(
        records,
        "the records to validate come from a folder",
        remedy="Of frames, read_records tells what is wrong: records.problems.",
    )
    memory, words = memory_to_use(memory), as_policy(policy)
    progress = to_report(progress)
    resources = Resources(threads, for_the_database(memory))
    state = state_of_records(folder)

    def read(group: Sequence[int]) -> Validated:
        found = read_parts(folder, group, words, resources)
        if policy is not None:
            check_agrees(found, words, "the policy given")
        return Validated.of(found, group)

    done = Validated()
    for group, found in as_memory_allows(groups_of(range(PARTS), parts_at_once(folder, memory)), read):
        check_unchanged(folder, state, "checked")
        done += found
        progress(Progress(group[-1] + 1, group[-1] + 1, 0, sum(count.rows for count in done.counts)))
    return done.in_order()
