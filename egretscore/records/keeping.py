"""Checking everyone's records once and keeping them, ready to be scored and explained any number of times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from egretscore import __version__
from egretscore.errors import ArgumentError, RecordsError
from egretscore.policy import Policy, shipped_policy
from egretscore.records import kept
from egretscore.records.parts import PARTS, WHICH_PART, sql_part_of
from egretscore.records.partwise import (
    SHARE_OF_THE_DATABASE,
    SPILL,
    Progress,
    as_memory_allows,
    check_not_among,
    groups_of,
    memory_to_use,
    parts_at_once,
    parts_beside,
    set_aside,
    state_of_files,
    take_the_place,
)
from egretscore.records.schema import CHECKED_COLUMNS, TABLES
from egretscore.records.store import Records, invented_mark, read_parts

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Kept:
    """What was kept.

    Attributes
    ----------
    rows : int
        How many rows of the five tables.
    set_aside : int or None
        How many rows were set aside, and so are not kept; None when parts of an earlier run
        were taken up, whose rows were not read again.
    """

    rows: int
    set_aside: int | None


def keep_records(
    records: str | Path,
    out: str | Path,
    *,
    policy: Policy | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Kept:
    """Check a folder's records and keep the good ones in a folder that need not be checked again.

    :func:`egretscore.read_records` reads that folder as it reads any, and gives what it would
    of the records themselves, less the rows that were set aside.

    Parameters
    ----------
    records : path
        A folder of CSV or Parquet files.
    out : path
        The folder to write. One of records kept earlier is replaced.
    policy : Policy, optional
        Whose words the records use: the shipped policy when not given.
    threads : int, optional
        How many threads the database uses; all cores when not given.
    memory : int, optional
        How many bytes to use, roughly; half the machine's when not given.
    progress : function of Progress, optional
        Called after every part.

    Returns
    -------
    Kept

    Raises
    ------
    RecordsError
        If the records cannot be read, or change meanwhile.
    ArgumentError
        If ``out`` holds something else, is being written by another run or lies among the
        records, or the memory does not suffice.
    """
    folder, out, policy = Path(records), Path(out), policy or shipped_policy()
    memory = memory_to_use(memory)
    _check_place(out, folder)

    def question() -> str:
        return json.dumps({"version": __version__, "policy": policy.sha256, "files": state_of_files(folder)})

    asked = question()
    with parts_beside(out, asked, kept.part_folder) as (parts, missing):
        taken_up, rows, left_out = PARTS - len(missing), 0, 0

        def read(group: Sequence[int]) -> tuple[Records, Mapping[str, pa.Table]]:
            share = int(memory * SHARE_OF_THE_DATABASE)
            found = read_parts(folder, group, policy=policy, threads=threads, memory=share, spill=parts / SPILL)
            return found, {table: _by_part(found, table) for table in CHECKED_COLUMNS}

        for group, (found, tables) in as_memory_allows(groups_of(missing, parts_at_once(folder, memory)), read):
            if question() != asked:
                raise RecordsError(
                    "the records changed while they were being kept", file=folder, remedy="Keep them again."
                )
            left_out += set_aside(found, every_table=group[-1] == missing[-1])
            known = taken_up + missing.index(group[-1]) + 1
            for part, written in _write(tables, group, parts, threads):
                rows += written
                progress(Progress(taken_up + missing.index(part) + 1, known, taken_up, rows))
        outcome = Kept(
            sum(sum(kept.rows_of_part(parts, part).values()) for part in range(PARTS)), None if taken_up else left_out
        )
        about = {
            "egretscore": __version__,
            "invented": invented_mark(folder),
            "set_aside": outcome.set_aside,
            "parts": PARTS,
            "part": WHICH_PART,
        }
        kept.write_about(parts, about, policy.text)
        take_the_place(parts, out)
    return outcome


def _by_part(records: Records, table: str) -> pa.Table:
    """Return the rows of the people of a group with their part, in an order that no file or thread has a say in."""
    columns = list(CHECKED_COLUMNS[table])
    identity = TABLES[table].identity if table in TABLES else columns
    order = ", ".join(f'"{column}"' for column in dict.fromkeys(("part", "subject_id", *identity)))
    part, theirs = sql_part_of("subject_id"), "subject_id IS NOT NULL AND chosen(subject_id)"
    found = records.connect().sql(f'SELECT *, {part} AS part FROM "{table}" WHERE {theirs} ORDER BY {order}')
    return found.to_arrow_table()


def _write(
    tables: Mapping[str, pa.Table], group: Sequence[int], folder: Path, threads: int | None
) -> Iterator[tuple[int, int]]:
    """Write the parts of a group, and yield each with how many rows it has."""
    part_of_row = {name: table["part"].to_numpy() for name, table in tables.items()}
    plain = {name: table.drop_columns("part") for name, table in tables.items()}

    def write(part: int) -> int:
        of_part = {}
        for name, table in plain.items():
            first, end = part_of_row[name].searchsorted([part, part + 1]).tolist()
            of_part[name] = table.slice(first, end - first).combine_chunks()
        kept.write_part(of_part, folder / kept.part_folder(part))
        return sum(len(of_part[table]) for table in TABLES)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        yield from zip(group, pool.map(write, group), strict=True)


def _check_place(out: Path, records: Path) -> None:
    if kept.is_kept(records):
        raise ArgumentError("these records are kept already", file=records)
    check_not_among(out, records)
    if out.exists() and (not out.is_dir() or kept.strangers(out)):
        raise ArgumentError("the folder to write holds something else", file=out, remedy="Name a new folder.")
