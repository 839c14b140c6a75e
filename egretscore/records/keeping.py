"""Checking everyone's records once and keeping them, ready to be scored and explained any number of times."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from egretscore import __version__
from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, WHICH_PART, by_part, sql_part_of
from egretscore.policy import Policy, shipped_policy
from egretscore.records import kept
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
    state_of_files,
    take_the_place,
)
from egretscore.records.schema import CHECKED_COLUMNS, TABLES
from egretscore.records.store import Records, invented_mark, read_parts

_ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class Kept:
    """What was kept.

    Attributes
    ----------
    rows : int
        How many rows of the five tables.
    set_aside : int
        How many rows were set aside, and so are not kept.
    """

    rows: int
    set_aside: int


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
        taken_up, rows = PARTS - len(missing), 0

        def read(group: Sequence[int]) -> Mapping[int, int]:
            share = int(memory * SHARE_OF_THE_DATABASE)
            found = read_parts(folder, group, policy=policy, threads=threads, memory=share, spill=parts / SPILL)
            for table in CHECKED_COLUMNS:
                _write_table(found, table, {part: _half(parts, part) for part in group})
            return _set_aside_by_part(found)

        for group, set_aside in as_memory_allows(groups_of(missing, parts_at_once(folder, memory)), read):
            if question() != asked:
                raise RecordsError(
                    "the records changed while they were being kept", file=folder, remedy="Keep them again."
                )
            known = taken_up + missing.index(group[-1]) + 1
            for part in group:
                kept.finish_part(_half(parts, part), set_aside.get(part, 0))
                _half(parts, part).rename(parts / kept.part_folder(part))
                rows += sum(kept.about_part(parts, part).rows[table] for table in TABLES)
                progress(Progress(taken_up + missing.index(part) + 1, known, taken_up, rows))
        made = [kept.about_part(parts, part) for part in range(PARTS)]
        outcome = Kept(sum(part.rows[table] for part in made for table in TABLES), sum(part.set_aside for part in made))
        about = {
            "egretscore": __version__,
            "invented": invented_mark(folder),
            "parts": PARTS,
            "part": WHICH_PART,
        }
        kept.write_about(parts, about, policy.text)
        take_the_place(parts, out)
    return outcome


def _set_aside_by_part(records: Records) -> Mapping[int, int]:
    """Return how many rows that may name the people of each part were set aside."""
    part = sql_part_of("coalesce(subject_id, '')")
    found = records.connect().execute(
        f"SELECT {part} AS part, count(DISTINCT (source, row)) FROM quarantine GROUP BY part"
    )
    return dict(found.fetchall())


def _half(folder: Path, part: int) -> Path:
    """Return the folder in which a part is made."""
    return folder / f".{kept.part_folder(part)}"


def _write_table(records: Records, table: str, folders: Mapping[int, Path]) -> None:
    """Write a table's rows of the people of some parts, in an order that no file or thread has a say in."""
    identity = TABLES[table].identity if table in TABLES else tuple(CHECKED_COLUMNS[table])
    order = ", ".join(f'"{column}"' for column in dict.fromkeys(("part", "subject_id", *identity)))
    part, theirs = sql_part_of("subject_id"), "subject_id IS NOT NULL AND chosen(subject_id)"
    found = records.connect().sql(f'SELECT *, {part} AS part FROM "{table}" WHERE {theirs} ORDER BY {order}')
    batches = found.to_arrow_reader(_ROWS_AT_ONCE)
    nobody = batches.schema.empty_table().drop_columns("part")
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
        kept.write_table(nobody, folder, table)
    with ThreadPoolExecutor(1) as writer:  # so that the database goes on while a part is written
        written: Future[Any] = writer.submit(int)
        for number, rows in by_part(batches):
            written.result()
            written = writer.submit(kept.write_table, rows, folders[number], table)
        written.result()


def _check_place(out: Path, records: Path) -> None:
    if kept.is_kept(records):
        raise ArgumentError("these records are kept already", file=records)
    check_not_among(out, records)
    if out.exists() and (not out.is_dir() or kept.strangers(out)):
        raise ArgumentError("the folder to write holds something else", file=out, remedy="Name a new folder.")
