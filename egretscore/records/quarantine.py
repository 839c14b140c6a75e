"""The rows set aside, each with what is wrong with it: nothing is lost."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from egretscore.errors import ArgumentError, EgretError, shown
from egretscore.paths import as_path
from egretscore.records.files import table_of
from egretscore.records.schema import TABLES
from egretscore.writing import check_lies_in_nothing_of_ours, make_folder, whole_file


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
        value = "empty" if self.value is None else shown(self.value)
        what = f"the row is broken: {value}" if self.column is None else f"{shown(self.column)} is {value}"
        return str(EgretError(what, file=self.file, row=self.row, expected=self.expected))


def number_of_rows(problems: Iterable[Problem]) -> int:
    """Return how many rows have these problems."""
    return len({(problem.file, problem.row) for problem in problems})


CONTRADICTIONS: Final = "contradictions.csv"
"""The file, beside those of the quarantine, of rows that an addition set aside because they contradict kept ones."""


def write_quarantine(problems: Iterable[Problem], into: str | Path) -> list[Path]:
    """Write the problems into one CSV file ``quarantine-TABLE.csv`` for each table that has any.

    Files of an earlier run are replaced, or removed if their table has no problems any more.

    Returns
    -------
    list of the files written

    Raises
    ------
    ArgumentError
        If it is no path, or the folder holds records: rows set aside must not end up among them.
    """
    folder = as_path(into, "rows set aside are written into a folder")
    check_holds_no_records(folder)
    make_folder(folder)
    (folder / CONTRADICTIONS).unlink(missing_ok=True)
    by_table: dict[str, list[Problem]] = {}
    for problem in problems:
        by_table.setdefault(problem.table, []).append(problem)
    written = []
    for table in TABLES:
        file, found = folder / f"quarantine-{table}.csv", by_table.get(table)
        if found is None:
            file.unlink(missing_ok=True)
            continue
        with whole_file(file) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(field.name for field in fields(Problem))
            writer.writerows(astuple(problem) for problem in found)
        written.append(file)
    return written


def check_holds_no_records(folder: Path) -> None:
    """Raise if a folder for rows set aside holds records, or lies among them or others of ours."""
    check_lies_in_nothing_of_ours(folder / CONTRADICTIONS)
    entries = list(folder.iterdir()) if folder.is_dir() else []
    among = next((entry for entry in entries if table_of(entry)), None)
    if among is not None:
        raise ArgumentError(
            "the folder for the rows set aside holds records", file=among, remedy="Name another folder."
        )
