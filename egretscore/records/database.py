"""The locked database that checks records and builds vectors.

DuckDB runs in memory, with no extension, no network and no file but those named when it
is opened; the configuration is then locked, so that no query can undo it.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
from sqlglot import exp

from egretscore.errors import ArgumentError, RecordsError
from egretscore.numbers import as_whole_number
from egretscore.records.schema import SUBJECT_ID, is_personal_number

MOST_THREADS: Final = 256

_NO_TEXT: Final = "the path is not UTF-8 text"
GLOB_SIGNS: Final = frozenset("*?[")
"""The wildcards in a file's name, which DuckDB matches against other names."""


def check_threads(threads: int | None) -> None:
    """Raise if a number of threads makes no sense; None is as many as there are cores."""
    if threads is not None:
        as_whole_number(threads, "threads", 1, MOST_THREADS)


def threads_to_use(threads: int | None) -> int:
    """Return how many threads a run may use: as many as were asked for, or as there are cores for this process."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_no_wildcard(folder: Path, signs: frozenset[str] = GLOB_SIGNS) -> None:
    """Raise if a folder's name holds a wildcard."""
    if signs.intersection(str(folder.absolute())):
        raise ArgumentError(
            "the name of this folder holds a wildcard, which databases would match against other names",
            file=folder,
            expected=f"a name without {' '.join(sorted(signs))}",
            remedy="Rename it, or name another.",
        )


def is_text(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8: a Python string need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name_is_text(place: Path) -> None:
    """Raise if the name of a place is not UTF-8 text."""
    if not is_text(str(place)):
        raise ArgumentError(_NO_TEXT, file=place, remedy="Rename it, or name another.")


def check_subject_id(subject_id: object) -> None:
    """Raise if a subject_id is not a text, or empty."""
    if not isinstance(subject_id, str) or not subject_id:
        raise ArgumentError("this is no subject_id", value=subject_id, expected="a text that is not empty")


def check_is_no_personal_number(subject_id: str) -> None:
    """Raise if an id is shaped like a resident ID or a mobile number; the message does not repeat it."""
    if is_personal_number(subject_id):
        raise ArgumentError(
            "this id is shaped like a resident ID or a mobile number, and such are never taken in: "
            "nobody is on file under one",
            expected=SUBJECT_ID.expected,
        )


@dataclass(frozen=True)
class Resources:
    """What a database may use of the machine.

    Attributes
    ----------
    threads : int, optional
        How many it uses; all cores when not given.
    memory : int, optional
        How many bytes it may hold in memory; DuckDB's default when not given.
    spill : Path, optional
        The folder for what does not fit into memory; when not given, that is an error.
    """

    threads: int | None = None
    memory: int | None = None
    spill: Path | None = None


NO_LIMIT: Final = Resources()
"""All cores and DuckDB's share of the memory, and nothing on disk."""


def open_locked(
    files: Iterable[Path] = (), resources: Resources = NO_LIMIT, *, folders: Iterable[Path] = ()
) -> duckdb.DuckDBPyConnection:
    """Open an empty database that can read the named files and nothing else.

    Parameters
    ----------
    files : paths of the files it may read
    resources : Resources
    folders : paths of folders whose files it may read

    Raises
    ------
    ArgumentError
        If the number of threads makes no sense.
    RecordsError
        If a file or folder has a name that is no text.
    """
    threads, memory, spill = resources.threads, resources.memory, resources.spill
    check_threads(threads)
    files, folders = list(files), list(folders)
    for place in (*files, *folders):
        if not is_text(str(place)):
            raise RecordsError(_NO_TEXT, file=place, remedy="Rename it.")
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            # Not the default ".tmp": nothing is written where nobody expects it.
            "temp_directory": "" if spill is None else str(spill),
            **({} if memory is None else {"memory_limit": f"{memory}B"}),
        },
    )
    _OPEN.add(connection)
    connection.execute(f"SET allowed_paths = {listed(files)}")
    connection.execute(f"SET allowed_directories = {listed(folders)}")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")  # GLOBAL: for its cursors as well
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets has no bar to turn off
        connection.execute("SET enable_progress_bar = false")  # it would be printed into whatever the caller prints
    connection.execute(f"SET threads = {threads_to_use(threads)}")  # its own default is every core of the machine
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


_OPEN: Final = weakref.WeakSet[duckdb.DuckDBPyConnection]()


def _never_close_those_that_are_open() -> None:
    """Keep databases that were open before a fork from being closed: that would wait for, or crash on, lost threads."""
    for connection in _OPEN:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_never_close_those_that_are_open)


def too_large_for_memory() -> RecordsError:
    """Return the error for records that do not fit into memory."""
    return RecordsError(
        "the records do not fit into memory",
        remedy="`egretscore score` works part by part. To explain one person, `egretscore keep` the records first.",
    )


@contextmanager
def asking() -> Iterator[None]:
    """Turn the database's error about a file that can no longer be read into one that says it may have changed."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error  # it is what DuckDB makes of one
    except (duckdb.InternalException, duckdb.FatalException):
        raise
    except duckdb.OutOfMemoryException as error:
        raise too_large_for_memory() from error
    except duckdb.Error as error:
        raise RecordsError(
            f"the records cannot be read any more ({str(error).splitlines()[0]})",
            remedy="They may have changed while they were being read: ask again.",
        ) from error


def create_table(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> None:
    """Create an empty table of columns and their types."""
    declared = ", ".join(f'"{column}" {of}' for column, of in columns.items())
    connection.execute(f'CREATE TABLE "{name}" ({declared})')


def create_view(
    connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], where: str | None = None
) -> None:
    """Show Parquet files, or their rows for which a condition holds, as one table of a database.

    It replaces an earlier one of this name.
    """
    only = "" if where is None else f" WHERE {where}"
    if any(GLOB_SIGNS.intersection(str(file)) for file in files):  # DuckDB would match other files
        from pyarrow import dataset

        connection.register("files", dataset.dataset([str(file) for file in files], format="parquet"))
        connection.execute(f'CREATE OR REPLACE TABLE "{name}" AS SELECT * FROM files{only}')
        connection.unregister("files")
        return
    rows = f"SELECT * FROM read_parquet({listed(files)}, hive_partitioning = false){only}"
    connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS {rows}')


def has_rows(connection: duckdb.DuckDBPyConnection, rows: str) -> bool:
    """Return whether there are rows in what could follow FROM."""
    return bool(connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall())


def quoted(names: Iterable[str]) -> str:
    """Return the names of columns as SQL lists them."""
    return ", ".join(f'"{name}"' for name in names)


def listed(paths: Iterable[Path]) -> str:
    """Return paths as a list in SQL."""
    return exp.array(*(exp.Literal.string(str(path)) for path in paths)).sql("duckdb")
