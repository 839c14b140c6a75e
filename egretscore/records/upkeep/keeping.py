"""Checking everyone's records once and keeping them, ready to be scored and explained any number of times."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from egretscore import __version__
from egretscore.arrays import by_part
from egretscore.errors import ArgumentError, RecordsError
from egretscore.paths import as_path
from egretscore.policy import Policy, as_policy
from egretscore.records.checked.store import Records
from egretscore.records.database import Resources, asking, check_name_is_text, check_no_wildcard
from egretscore.records.in_bulk.memory import (
    as_memory_allows,
    for_the_database,
    groups_of,
    memory_to_use,
    parts_at_once,
)
from egretscore.records.in_bulk.runs import (
    SPILL,
    Progress,
    check_not_among,
    check_unchanged,
    parts_beside,
    state_of_records,
    take_the_place,
    to_report,
)
from egretscore.records.kept import folder as kept
from egretscore.records.parts import PARTS, sql_part_of
from egretscore.records.quarantine import number_of_rows
from egretscore.records.reading import invented_mark, read_parts
from egretscore.records.schema import READY, TABLES, Table
from egretscore.writing import check_can_give_way, check_lies_in_nothing_of_ours

if TYPE_CHECKING:
    import pyarrow as pa

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
    unclear : int
        How many of them may be someone's withdrawal, or an objection to a record they do not name: nothing can
        be added (:func:`egretscore.add_records`) until all are corrected and the records kept again.
    """

    rows: int
    set_aside: int
    unclear: int


def keep_records(
    records: str | Path,
    out: str | Path,
    *,
    policy: Policy | str | Path | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Kept:
    """Check a folder's records and keep the good ones in a folder that need not be checked again.

    :func:`egretscore.read_records` reads that folder like any other and returns what it would
    return for the records themselves, without the rows that were set aside.

    Parameters
    ----------
    records : path
        A folder of CSV or Parquet files.
    out : path
        The folder to write. One of records kept earlier is replaced.
    policy : Policy or path, optional
        The policy that defines the words the records use; the shipped policy when not given.
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
    PolicyError
        If the policy cannot be read.
    ArgumentError
        If the records are kept ones, ``out`` holds something else, is being written by another run or lies among
        the records or in a folder of ours, there is too little memory, or an argument is not what it should be.
    """
    folder = as_path(
        records,
        "the records to keep come from a folder",
        remedy="Write frames to Parquet files named after their tables, such as consents.parquet.",
    )
    out, policy = as_path(out, "kept records go into a folder").resolve(), as_policy(policy)
    memory = memory_to_use(memory)
    progress = to_report(progress)
    _check_place(out, folder)

    state = state_of_records(folder)
    asked = json.dumps({"version": __version__, "policy": policy.sha256, "files": state})
    with parts_beside(out, asked, kept.part_folder, _is_whole) as (parts, missing):
        taken_up, rows = PARTS - len(missing), 0

        def read(group: Sequence[int]) -> Mapping[int, kept.AboutPart]:
            found = read_parts(folder, group, policy, Resources(threads, for_the_database(memory), parts / SPILL))
            return _write_parts(found, {part: _begun(parts, part) for part in group})

        for group, made in as_memory_allows(groups_of(missing, parts_at_once(folder, memory)), read):
            check_unchanged(folder, state, "kept")
            known = taken_up + missing.index(group[-1]) + 1
            for part, about in made.items():
                _begun(parts, part).rename(parts / kept.part_folder(part))
                rows += sum(about.rows[table] for table in TABLES)
                progress(Progress(taken_up + missing.index(part) + 1, known, taken_up, rows))
        every = [kept.about_part(parts, part) for part in range(PARTS)]
        kept.write_about(parts, kept.AboutKept(policy.text, invented_mark(folder)))
        take_the_place(parts, out, kept.NAMES_IN_A_FOLDER)
    return Kept(
        rows=sum(part.rows[table] for part in every for table in TABLES),
        set_aside=sum(part.set_aside for part in every),
        unclear=max(part.unclear for part in every),
    )


def _is_whole(folder: Path, part: int) -> bool:
    try:
        kept.verify(folder, [part])
    except RecordsError:
        return False
    return True


def _begun(parts: Path, part: int) -> Path:
    """Return the folder of a part until all of its group are written."""
    return parts / f".{kept.part_folder(part)}"


def _write_parts(records: Records, folders: Mapping[int, Path]) -> Mapping[int, kept.AboutPart]:
    """Write the records of some parts into a folder each, and return the description of each."""
    with asking():
        written = {name: _write_table(records, table, folders) for name, table in READY.items()}
    set_aside, unclear = records.set_aside_by_part(), number_of_rows(records.unclear)
    made = {}
    for part, folder in folders.items():
        blank = kept.AboutPart({}, {}, {}, set_aside.get(part, 0), unclear)
        made[part] = blank.with_tables({table: of[part] for table, of in written.items()})
        kept.write_about_part(folder, made[part])
    return made


def _write_table(records: Records, table: Table, folders: Mapping[int, Path]) -> dict[int, kept.Written]:
    """Write a table's rows for each of some parts, in an order that does not depend on files or threads."""
    import pyarrow as pa

    batches = rows_in_order(records, table)
    nobody = pa.Table.from_batches([], batches.schema).drop_columns("part")  # empty_table would load pandas
    written: dict[int, Future[kept.Written]] = {}
    with ThreadPoolExecutor(1) as writer:  # so that the database goes on while a part is written
        for number, rows in chain(by_part(batches), ((number, nobody) for number in folders)):
            if number not in written:
                wait(written.values())  # no more than one part waits to be written
                folders[number].mkdir(exist_ok=True)
                written[number] = writer.submit(kept.write_table, rows, folders[number], table.name)
    return {number: of_part.result() for number, of_part in written.items()}


def rows_in_order(records: Records, table: Table) -> pa.RecordBatchReader:
    """Return a table's rows in the order in which they are kept, with the part of each."""
    order = ", ".join(f'"{column}"' for column in dict.fromkeys(("part", *table.order)))
    # The five tables hold nobody else's rows; checking again would cost another MD5 for each row.
    theirs = "subject_id IS NOT NULL" if table.name in TABLES else "subject_id IS NOT NULL AND chosen(subject_id)"
    people = f'SELECT DISTINCT subject_id FROM "{table.name}" WHERE {theirs}'
    # One MD5 for each person, not for each row.
    part_of_each = f"SELECT subject_id, {sql_part_of('subject_id')} AS part FROM ({people})"
    found = records.connect().sql(
        f'SELECT rows.*, part FROM "{table.name}" AS rows JOIN ({part_of_each}) USING (subject_id) ORDER BY {order}'
    )
    return found.to_arrow_reader(_ROWS_AT_ONCE)


def _check_place(out: Path, records: Path) -> None:
    if kept.is_kept(records):
        raise ArgumentError("these records are kept already", file=records, expected="a folder of CSV or Parquet files")
    check_name_is_text(out)
    check_not_among(out, records)
    check_lies_in_nothing_of_ours(out)
    check_can_give_way(out)
    if out.exists() and not out.is_dir():
        raise ArgumentError("there is something else where the folder should go", file=out, remedy="Name a new one.")
    if out.is_dir():
        entries = kept.strangers(out) or ([] if kept.is_kept(out) else sorted(out.iterdir()))
        for entry in entries[:1]:
            raise ArgumentError("the folder to write holds something else", file=entry, remedy="Name a new folder.")
    check_no_wildcard(out)
