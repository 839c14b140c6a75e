"""The rows set aside: what is wrong with each, and the rows themselves, so that nothing is lost."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from egretscore.errors import EgretError, shown
from egretscore.writing import whole_file


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row.

    Attributes
    ----------
    table, file : str
    row : int
        Counted from 1 below the header; in a CSV file the line number less one.
    column : str or None
        None when the whole row is broken.
    value : str or None
        The cell as it was read, its first 200 characters; None when it is empty.
    expected : str
    original : str
        The whole row as it was read.
    """

    table: str
    file: str
    row: int
    column: str | None
    value: str | None
    expected: str
    original: str

    def __str__(self) -> str:
        what = "the row is broken" if self.column is None else f"{shown(self.column)} is "
        if self.column is not None:
            what += "empty" if self.value is None else shown(self.value)
        return str(EgretError(what, file=self.file, row=self.row, expected=self.expected))


def write_quarantine(problems: Iterable[Problem], folder: Path) -> list[Path]:
    """Write the problems into one CSV file for each table that has any.

    Returns
    -------
    list of the files written
    """
    by_table: dict[str, list[Problem]] = {}
    for problem in problems:
        by_table.setdefault(problem.table, []).append(problem)
    written = []
    for table, found in by_table.items():
        file = folder / f"{table}.csv"
        with whole_file(file) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(field.name for field in fields(Problem))
            writer.writerows(astuple(problem) for problem in found)
        written.append(file)
    return written
