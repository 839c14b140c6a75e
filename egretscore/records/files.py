"""Which files of a folder hold which table, and whether files have changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from egretscore.errors import RecordsError, did_you_mean
from egretscore.records.schema import TABLES

SUFFIXES = (".csv", ".parquet")
FILES = f"{', '.join(f'{name}.csv' for name in TABLES)} (or .parquet)"
"""The files of a folder of records, in words."""

LET_IT_BE_READ = "Put it back if it is gone, or let this process read it."
"""What to do about a file that cannot be read."""

INVENTED_MARK = "invented.json"
"""The file that marks a folder of records as invented."""


def files_by_table(folder: str | Path, *, consents_needed: bool = True) -> Mapping[str, tuple[Path, ...]]:
    """Find the record files of a folder.

    A table is ``TABLE.csv`` or ``TABLE.parquet``, any number of parts whose names go on
    after a dot, hyphen or underscore (``civic_points-2026.csv``), or a folder so named
    (``penalties``, ``penalties.parquet``) of parts with any names, as Spark and polars write
    them. Other kinds of file are not looked at, unless they are named like a table, or lie in a
    folder so named under a name that begins with neither a dot nor an underscore.

    Parameters
    ----------
    folder : path of a folder
    consents_needed : bool
        Whether consents must be there, as they must wherever people are scored.

    Returns
    -------
    mapping of table name to its files, in the order of their names

    Raises
    ------
    RecordsError
        If there is no such folder, it holds a CSV or Parquet file of no table, something
        named like a table that is neither, or no consents, or a part of it cannot be read.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise RecordsError(
            f"the records folder cannot be read ({error.strerror})",
            file=folder,
            expected=f"a folder with {FILES}",
        ) from error
    found: dict[str, list[Path]] = {name: [] for name in TABLES}
    for entry in entries:
        table = table_of(entry)
        if entry.is_dir() and table:
            found[table] += _parts(entry)
        elif _is_record_file(entry):
            found[table or _no_table(entry)].append(entry)
        elif table:
            raise _no_record_file("this is named like a record table but is", entry)
    if consents_needed and not found["consents"]:
        raise RecordsError(
            "there is no file of consents",
            file=folder,
            expected="consents.csv or consents.parquet",
            remedy="Nobody is scored without one.",
        )
    return {name: tuple(files) for name, files in found.items()}


def state_of_files(files: Iterable[Path], remedy: str = LET_IT_BE_READ) -> list[Any]:
    """Return the state of files, to compare later: it differs if any of them was changed or replaced.

    Parameters
    ----------
    files : paths
    remedy : str, optional
        What to do if one is missing.

    Raises
    ------
    RecordsError
        If one of them cannot be read.
    """
    state = []
    for file in files:
        try:
            of = file.stat()
        except OSError as error:
            raise RecordsError(f"the file cannot be read ({error.strerror})", file=file, remedy=remedy) from error
        # The ctime as well, because a replaced file may be given the old modification time.
        state.append([str(file.absolute()), of.st_size, of.st_mtime_ns, of.st_ctime_ns])
    return state


def check_readable(files: Iterable[Path]) -> None:
    """Raise if one of these files is gone or cannot be opened."""
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise RecordsError(
                f"the file cannot be read ({error.strerror})", file=file, remedy=LET_IT_BE_READ
            ) from error


def table_of(entry: Path) -> str | None:
    """Return the table that a file or folder is named like."""
    return next((name for name in TABLES if re.fullmatch(rf"{name}([._-].*)?", entry.name, re.IGNORECASE)), None)


def _is_record_file(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and entry.is_file()


def _no_record_file(lies_here_but_is: str, entry: Path) -> RecordsError:
    never = "no part of a table is ever skipped in silence."
    if not entry.exists():
        return RecordsError(
            f"{lies_here_but_is} a broken link", file=entry, remedy=f"Repair the link, or remove it; {never}"
        )
    if not entry.is_file():
        return RecordsError(
            f"{lies_here_but_is} no regular file", file=entry, remedy=f"Put a file in its place, or remove it; {never}"
        )
    return RecordsError(
        f"{lies_here_but_is} no file of records",
        file=entry,
        expected=f"a file whose name ends in {' or '.join(SUFFIXES)}",
        remedy=f"Rename it, or move it elsewhere; {never}",
    )


def _parts(folder: Path) -> list[Path]:
    """Return the files in a folder and all folders below it, following links: none is skipped in silence."""

    def fail(error: OSError) -> NoReturn:
        raise RecordsError(
            f"the folder cannot be read ({error.strerror})", file=error.filename, remedy=LET_IT_BE_READ
        ) from error

    parts, seen = [], set[str]()
    for place, below, names in os.walk(folder, onerror=fail, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # the same folder by another name, or a loop of links
            below.clear()
            continue
        seen.add(real)
        below.sort()
        for entry in (Path(place) / name for name in names):
            if _is_record_file(entry):
                parts.append(entry)
            elif entry.suffix.lower() in SUFFIXES or not entry.name.startswith((".", "_")):
                raise _no_record_file("this lies among the parts of a record table but is", entry)
    parts.sort()
    if not parts:
        raise RecordsError(
            "this folder is named like a record table but holds no file of records",
            file=folder,
            expected=f"parts whose names end in {' or '.join(SUFFIXES)}",
            remedy="Put the parts into it, or remove it.",
        )
    return parts


def _no_table(file: Path) -> NoReturn:
    raise RecordsError(
        "this file is not one of the record tables",
        file=file,
        expected=f"one of {', '.join(TABLES)}, alone or before a dot, a hyphen or an underscore and anything else",
        remedy=did_you_mean(file.stem, TABLES) or "Move it elsewhere if it holds something else.",
    )
