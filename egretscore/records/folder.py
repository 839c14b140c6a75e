"""Which files of a folder hold which table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from egretscore.errors import RecordsError, did_you_mean
from egretscore.records.schema import TABLES

SUFFIXES = (".csv", ".parquet")


def files_by_table(folder: str | Path) -> Mapping[str, tuple[Path, ...]]:
    """Find the record files of a folder.

    A table is ``TABLE.csv`` or ``TABLE.parquet``, any number of parts whose names go on
    after a dot, hyphen or underscore (``civic_points-2026.csv``), or a folder ``TABLE``
    of parts with any names. Other kinds of file are not looked at.

    Parameters
    ----------
    folder : path of a folder

    Returns
    -------
    mapping of table name to its files, in the order of their names

    Raises
    ------
    RecordsError
        If there is no such folder, it holds a CSV or Parquet file of no table, or no
        consents.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise RecordsError(
            f"the records folder cannot be read ({error.strerror})",
            file=folder,
            expected=f"a folder with {', '.join(f'{name}.csv' for name in TABLES)} (or .parquet)",
        ) from error
    found: dict[str, list[Path]] = {name: [] for name in TABLES}
    for entry in entries:
        if entry.is_dir() and entry.name in TABLES:
            found[entry.name] += [part for part in sorted(entry.rglob("*")) if part.suffix in SUFFIXES]
        elif entry.is_file() and entry.suffix in SUFFIXES:
            found[_table_of(entry)].append(entry)
    if not found["consents"]:
        raise RecordsError(
            "there is no file of consents",
            file=folder,
            expected="consents.csv or consents.parquet",
            remedy="Nobody is scored without one.",
        )
    return {name: tuple(files) for name, files in found.items()}


def _table_of(file: Path) -> str:
    for name in TABLES:
        if re.fullmatch(rf"{name}([._-].*)?", file.stem):
            return name
    raise RecordsError(
        "this file is not one of the record tables",
        file=file,
        expected=f"a name that begins with one of {', '.join(TABLES)}",
        remedy=did_you_mean(file.stem, TABLES) or "Move it elsewhere if it holds something else.",
    )
