"""The interface of checked records, wherever they are held."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Never

from egretscore.errors import ArgumentError, RecordsError
from egretscore.policy import Policy
from egretscore.records.database import asking
from egretscore.records.one_person.lookup import PersonRows
from egretscore.records.quarantine import Problem, write_quarantine
from egretscore.records.schema import CHECKED, CONSENTS, DISPUTABLE, TABLES

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

EVERY_COLUMN: Final = frozenset(column for table in CHECKED.values() for column in table.column_names)
"""The names of all columns."""


@dataclass(frozen=True)
class SourceCount:
    """Where the rows of one file or frame went: rows = good + set_aside + repeated.

    Attributes
    ----------
    table, file : str
    rows, good, set_aside : int
    repeated : int
        Those of which another row says all that they do.
    """

    table: str
    file: str
    rows: int
    good: int
    set_aside: int
    repeated: int

    def __add__(self, more: SourceCount) -> SourceCount:
        """Return the sum of two counts of the same source."""
        return SourceCount(self.table, self.file, *(getattr(self, of) + getattr(more, of) for of in COUNTED))


NAMES_THEM: Final = "subject_id = $subject OR names(original, $subject)"
"""The condition that a row set aside may be about a person."""

Whose = Literal["the model", "the policy given"]
"""Whose policy records are held against."""

COUNTED: Final = ("rows", "good", "set_aside", "repeated")
"""The names of the numbers that are counted for each source."""


@dataclass(frozen=True)
class UnmatchedObjection:
    """An objection to a record that is not on file: its id may be mistyped, or the record come later.

    Attributes
    ----------
    table, record_id : str
        The record objected to.
    subject_id : str
        Who objects.
    filed_on : date
    """

    table: str
    record_id: str
    subject_id: str
    filed_on: date

    def __str__(self) -> str:
        return (
            f"{self.subject_id} objected on {self.filed_on} to {self.record_id!r} of {self.table}, which is not on file"
        )


COUNT_FOR_LAST_DAY: Final = tuple(table for table in TABLES.values() if table is not CONSENTS)
"""The tables whose rows count for ``Records.last_day``."""


class Records(ABC):
    """The checked records of many people, in a database (``in_database.py``) or on disk (``in_files.py``).

    Made by :func:`read_records`. Holds what is on file, whatever the date; the as-of
    date of each question decides what of it may be used.

    Attributes
    ----------
    policy : Policy
        The policy whose words the records use.
    invented : Mapping or None
        What the records' folder says of itself when they are invented, else None.
    """

    AGAIN: ClassVar[str]
    """What to do, under another policy, when theirs does not agree with it."""

    def __init__(self, policy: Policy, invented: Mapping[str, Any] | None) -> None:
        self._lock = threading.Lock()
        self.policy = policy
        self.invented = invented

    def __getstate__(self) -> Never:
        """Raise: a database in memory goes to no other process, and two copies would share one."""
        raise TypeError("records cannot be pickled or copied: let each process read them, quickest from kept ones")

    def __repr__(self) -> str:
        return f"<Records: {sum(count.good for count in self.counts):,} rows, {self.set_aside:,} set aside>"

    @property
    def set_aside(self) -> int:
        """How many rows were set aside when these were read."""
        return sum(count.set_aside for count in self.counts)

    @property
    def set_aside_before(self) -> int:
        """How many rows were set aside when these were kept, if they are kept ones."""
        return 0

    @property
    @abstractmethod
    def holds_every_row(self) -> bool:
        """Whether no row was set aside that another policy might take."""

    @property
    @abstractmethod
    def counts(self) -> tuple[SourceCount, ...]:
        """Where the rows of each file went when they were read."""

    @property
    @abstractmethod
    def last_day(self) -> date | None:
        """The last day on which a record came on file; None if there are no records.

        Consents and later cells, such as an outcome, do not count; nor do future days, which may be mistyped.
        """

    @abstractmethod
    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the locked database of these records, for use by one thread.

        Returns
        -------
        duckdb.DuckDBPyConnection

        Raises
        ------
        RecordsError
            If kept records are damaged, or an addition to them is under way or was stopped half-way.
        """

    def ask(self, sql: str, **parameters: object) -> pa.Table:
        """Return the answer to a query about these records.

        Parameters
        ----------
        sql : str
        **parameters : values of the query's parameters, by name

        Returns
        -------
        pyarrow.Table

        Raises
        ------
        RecordsError
            If the records can no longer be read, do not fit into memory, or do not answer such a query.
        """
        with asking():
            return self.connect().sql(sql, params=parameters).to_arrow_table()

    @abstractmethod
    def rows_of(self, subject_id: str, columns: Collection[str] = EVERY_COLUMN) -> PersonRows:
        """Return what is on file about a person.

        Parameters
        ----------
        subject_id : str
        columns : names of columns, optional
            Which to read, subject_id among them; the cells of others are None.

        Returns
        -------
        mapping of table to rows
            Each row a tuple with a cell for every column of its table.

        Raises
        ------
        RecordsError
            If the records cannot be read any more, or do not fit into memory.
        """

    @abstractmethod
    def erase(self, subject_id: str) -> int:
        """Remove every row about a person, and every row set aside that names them.

        Parameters
        ----------
        subject_id : str

        Returns
        -------
        int
            How many rows were removed. The files they were read from stay as they are.

        Raises
        ------
        ArgumentError
            If the id is not a text, or is empty, or the folder of kept records holds none any more.
        RecordsError
            If kept records are damaged, or an addition to them was stopped half-way.
        """

    @abstractmethod
    def set_aside_by_part(self) -> Mapping[int, int]:
        """Return how many rows were set aside, by part; rows without a subject_id are in the part of the empty text.

        Returns
        -------
        mapping of part to number
            Parts without such rows are left out. Empty for kept records, which lack such rows.

        Raises
        ------
        RecordsError
            If they do not fit into memory.
        """

    @property
    def unmatched_objections(self) -> tuple[UnmatchedObjection, ...]:
        """The objections to records that are not on file, in order: they have no effect until the records come."""
        unmatched = (
            f'SELECT "table", record_id, subject_id, filed_on FROM objections WHERE "table" = \'{name}\' '
            f'AND (record_id, subject_id) NOT IN (SELECT ("{TABLES[name].identity[0]}", subject_id) FROM "{name}")'
            for name in DISPUTABLE
        )
        rows = self.ask(f"{' UNION ALL '.join(unmatched)} ORDER BY ALL")
        return tuple(UnmatchedObjection(**row) for row in rows.to_pylist())

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with the rows set aside, in the order of files and rows."""
        return self._problems("true")

    @property
    def unclear(self) -> tuple[Problem, ...]:
        """The problems of rows that may be a withdrawal, or an objection to a record they do not name."""
        return self._problems("unclear")

    def problems_about(self, subject_id: str) -> tuple[Problem, ...]:
        """Return the problems of rows set aside that name a person; none for kept records, which lack such rows.

        Parameters
        ----------
        subject_id : str

        Returns
        -------
        tuple of Problem

        Raises
        ------
        RecordsError
            If they do not fit into memory.
        """
        return self._problems(NAMES_THEM, subject=subject_id)

    @abstractmethod
    def _problems(self, condition: str, **parameters: str) -> tuple[Problem, ...]:
        """Return the problems of the rows set aside that meet a condition of SQL, in the order of files and rows."""

    @property
    def quarantine(self) -> pd.DataFrame:
        """The same as a data frame: table, file, row, column, value, expected, original."""
        import pandas as pd

        return pd.DataFrame(self.problems, columns=list(Problem.__dataclass_fields__))

    def write_quarantine(self, folder: str | Path) -> list[Path]:
        """Write the rows set aside, with their reasons, into one CSV file for each table that has any.

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
        RecordsError
            If they do not fit into memory.
        """
        return write_quarantine(self.problems, folder)


def check_are_records(records: object) -> None:
    """Raise if ``records`` is not what :func:`read_records` returns."""
    if not isinstance(records, Records):
        raise ArgumentError(
            "these are not records", value=type(records).__name__, expected="what read_records(folder) returns"
        )


_UNDER_WHICH: Final[Mapping[Whose, str]] = {
    "the model": "the model's policy (policy.toml in its folder; engine.policy), or use a model trained under theirs",
    "the policy given": "that policy, or name no policy",
}


def check_agrees(records: Records, policy: Policy, whose: Whose) -> None:
    """Raise if records cannot be used under another policy than their own.

    The other policy must know every word that theirs knows, and, unless no row was set aside, the other way round. No
    letter may cover more purposes under the other policy than under theirs.

    Parameters
    ----------
    records : Records
    policy : Policy
    whose : "the model" or "the policy given"
    """
    remedy = f"{records.AGAIN} under {_UNDER_WHICH[whose]}."
    for column, words in records.policy.vocabulary.items():
        unknown = words - policy.vocabulary[column]
        if unknown:
            raise RecordsError(
                f"the records were read under the policy {records.policy.name!r}, whose words for {column} {whose} "
                f"does not know: {', '.join(sorted(unknown))}",
                remedy=remedy,
            )
    for column, words in policy.vocabulary.items():
        lacking = words - records.policy.vocabulary[column]
        if lacking and not records.holds_every_row:
            raise RecordsError(
                f"the records were read under the policy {records.policy.name!r}, which does not know all words for "
                f"{column} that {whose} knows, so that rows with these may be missing: {', '.join(sorted(lacking))}",
                remedy=remedy,
            )
    covers = {letter.version: set(letter.purposes) for letter in policy.letters}
    for letter in records.policy.letters:
        if not covers[letter.version] <= set(letter.purposes):
            raise RecordsError(
                f"the records were read under the policy {records.policy.name!r}, in which the letter "
                f"{letter.version} covers fewer purposes than {whose} needs",
                value=", ".join(letter.purposes),
                expected=", ".join(sorted(covers[letter.version])),
                remedy=remedy,
            )
