"""Reading records: from files or frames, all of them or those of some people, checked or kept."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from egretscore.errors import ArgumentError, RecordsError, did_you_mean
from egretscore.paths import as_path
from egretscore.policy import Policy, as_policy
from egretscore.records.checked.in_database import CheckedRecords
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.checked.store import Records, check_agrees
from egretscore.records.database import NO_LIMIT, Resources, open_locked, threads_to_use, too_large_for_memory
from egretscore.records.files import INVENTED_MARK, check_readable, files_by_table, state_of_files
from egretscore.records.intake.checking import check_staged, finish_checks, prepare_checks
from egretscore.records.intake.in_place import InPlace, prepare_in_place, stage_possible_duplicates
from egretscore.records.intake.sources import create_staging, stage_file, stage_frame
from egretscore.records.kept import folder as kept
from egretscore.records.parts import PARTS, macro_chosen
from egretscore.records.schema import BROKEN, TABLES, Table


def read_records(
    source: str | Path | Mapping[str, Any], *, policy: Policy | str | Path | None = None, threads: int | None = None
) -> Records:
    """Read and check the records of a folder, or of frames in memory.

    Parameters
    ----------
    source : path or mapping
        A folder of CSV or Parquet files (see ``egretscore.records.files``), a folder that
        ``egretscore keep`` wrote, or a mapping of table name to a pandas, polars or Arrow
        frame, or a mapping of columns. Consents must be there; another table that is not is read as empty.
    policy : Policy or path, optional
        The policy that defines the words the records use; the shipped policy when not given.
        To score the records with a loaded engine, pass ``engine.policy``. Kept records carry their own.
    threads : int, optional
        How many threads the database uses; all cores when not given.

    Returns
    -------
    Records
        Good rows only. What is wrong with the others is in ``records.problems``.

    Raises
    ------
    RecordsError
        If a file cannot be read at all, or its columns are not those of its table. Or if kept records are damaged,
        or their policy does not agree with the one given.
    ForbiddenColumnError
        If a column holds what is never taken in.
    PolicyError
        If the policy cannot be read.
    ArgumentError
        If ``source`` is neither a path nor a mapping, names an unknown table, or has a wildcard in its name while it
        holds kept records; or if ``threads`` is out of range.
    """
    if isinstance(source, Mapping):
        return _read(_frames_by_table(source), as_policy(policy), None, Resources(threads))
    folder = as_path(source, "records come from a folder or a mapping of table name to frame")
    if kept.is_kept(folder):
        records = KeptRecords(folder, resources=Resources(threads))
        if policy is not None:
            check_agrees(records, as_policy(policy), "the policy given")
        return records
    policy = as_policy(policy)
    return _read(files_by_table(folder), policy, invented_mark(folder), Resources(threads))


def read_parts(folder: Path, parts: Collection[int], policy: Policy, resources: Resources = NO_LIMIT) -> Records:
    """Read and check a folder's records of the people of some parts (see ``egretscore.records.parts``).

    Of each person, exactly what :func:`read_records` reads is read. Rows set aside in the
    tables that reach others are counted with every group of parts, all other rows once. Rows of
    Parquet files may be read from the files again for every question: the caller must make sure
    that the files have not changed. Nobody can be erased from these records.

    Parameters
    ----------
    folder : Path
    parts : numbers from 0 to 63
    policy : Policy
    resources : Resources
    """
    if kept.is_kept(folder):
        return KeptRecords(folder, parts, resources, policy)
    return _read(files_by_table(folder), policy, invented_mark(folder), resources, parts, in_memory=False)


def read_addition(
    folder: Path, parts: Collection[int], tables: Collection[str], policy: Policy, resources: Resources
) -> Records:
    """Read and check some tables of records that may hold no consents; otherwise as :func:`read_parts`."""
    every = files_by_table(folder, consents_needed=False)
    files = {name: of_table if name in tables else () for name, of_table in every.items()}
    return _read(files, policy, invented_mark(folder), resources, parts, for_addition=True)


def _read(
    sources: Mapping[str, tuple[Any, ...]],
    policy: Policy,
    invented: Mapping[str, Any] | None,
    resources: Resources,
    parts: Collection[int] | None = None,
    *,
    in_memory: bool = True,
    for_addition: bool = False,
) -> Records:
    files = [item.absolute() for items in sources.values() for item in items if isinstance(item, Path)]
    state = state_of_files(files)
    connection = open_locked(files, resources)
    in_parts = parts is not None and len(set(parts)) < PARTS
    connection.execute(macro_chosen(parts if in_parts else None))
    try:
        _fill(connection, sources, policy, resources.threads, in_memory=in_memory, in_parts=in_parts)
        if not for_addition:  # only an addition asks which records have an unreadable row
            connection.execute(f"DELETE FROM {BROKEN.name}")
    except duckdb.OutOfMemoryException as error:
        raise too_large_for_memory() from error
    except duckdb.Error as error:
        check_readable(files)
        raise RecordsError(
            f"the records cannot be checked ({str(error).splitlines()[0]})",
            remedy="Write the file that it names again; if it names none, make room on the disk and read them again.",
        ) from error
    if state_of_files(files) != state:  # a Parquet file is read more than once
        raise RecordsError("the records changed while they were being read", remedy="Read them again.")
    return CheckedRecords(connection, policy, invented)


def _fill(
    connection: duckdb.DuckDBPyConnection,
    sources: Mapping[str, tuple[Any, ...]],
    policy: Policy,
    threads: int | None,
    *,
    in_memory: bool,
    in_parts: bool,
) -> None:
    """Read every source into the database, and check what it holds."""
    prepare_checks(connection, policy.vocabulary)
    prepare_in_place(connection, in_parts=in_parts)
    number = 0
    for name, table in TABLES.items():
        create_staging(connection, table)
        numbered = dict(enumerate(sources[name], start=number + 1))
        number += len(numbered)
        labels = {source: _label(numbered, source, name) for source in numbered}
        for source, label in labels.items():
            connection.execute("INSERT INTO sources VALUES (?, ?, ?)", [source, name, label])
        in_place = _stage(connection, table, numbered, labels, threads, in_parts=in_parts)
        if in_place:
            stage_possible_duplicates(connection, table, in_place)
        check_staged(connection, table, in_place, in_memory=in_memory)
    finish_checks(connection, in_memory=in_memory)


def _stage(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    numbered: Mapping[int, Any],
    labels: Mapping[int, str],
    threads: int | None,
    *,
    in_parts: bool,
) -> list[InPlace]:
    """Read the sources of a table, several files at once: a single file may not keep all threads busy.

    Each is read through a cursor of its own, whose temporary tables go with it.
    """

    def read(source: int) -> InPlace | None:
        item = numbered[source]
        with connection.cursor() as own:
            if isinstance(item, Path):
                return stage_file(own, table, source, item.absolute(), in_parts=in_parts)
            return stage_frame(own, table, source, item, labels[source])

    files = [source for source, item in numbered.items() if isinstance(item, Path)]
    frames = [source for source, item in numbered.items() if not isinstance(item, Path)]
    with ThreadPoolExecutor(threads_to_use(threads)) as pool:
        found = [*pool.map(read, files), *map(read, frames)]
    return [rows for rows in found if rows is not None]


def _label(numbered: Mapping[int, Any], source: int, table: str) -> str:
    """Return what a source is called: each its own name, for the number of a row tells nothing without it."""
    if isinstance(numbered[source], Path):
        return str(numbered[source])
    place = f", {source - min(numbered) + 1} of {len(numbered)}" if len(numbered) > 1 else ""
    return f"the frame {table!r}{place}"


def _frames_by_table(frames: Mapping[str, Any]) -> Mapping[str, tuple[Any, ...]]:
    for name in frames:
        if name not in TABLES:
            raise ArgumentError(
                f"there is no table {name!r}",
                expected=f"frames named {', '.join(TABLES)}",
                remedy=did_you_mean(str(name), TABLES),
            )
    if not _listed(frames, "consents"):
        raise RecordsError(
            "there is no frame of consents", expected="a frame named 'consents'", remedy="Nobody is scored without one."
        )
    return {name: _listed(frames, name) for name in TABLES}


def _listed(frames: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return the frames of a table: none, one, or those of a list or tuple."""
    given = frames.get(name, ())
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def invented_mark(folder: Path) -> Mapping[str, Any] | None:
    """Return what a folder of records, or of kept ones, says of itself when they are invented, else None."""
    if kept.is_kept(folder):
        return kept.read_about(folder).invented
    mark = folder / INVENTED_MARK
    if not mark.is_file():
        return None
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordsError("this mark of invented records cannot be read", file=mark, expected="JSON") from error
    return content if isinstance(content, dict) else {}
