"""Working through the records of everyone part by part, in bounded memory, into a place of one's own.

People are dealt out into parts (``egretscore.parts``). A run takes as many parts at
once as its memory holds, reads their people's records, and writes each part whole into a
hidden folder beside the place it is to take. When the last is done, the folder takes its
place. A run may be stopped at any moment and leaves its parts; the next run of the same question
goes on with the others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb

from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, QUESTION
from egretscore.records.database import open_locked
from egretscore.records.folder import INVENTED_MARK, files_by_table, state_of_files
from egretscore.records.in_place import Relation, may_stay
from egretscore.records.kept import about_part, is_kept, kept_files
from egretscore.records.schema import TABLES, Table
from egretscore.writing import (
    alone_in,
    clear,
    earlier_of,
    note_beside,
    put_in_place,
    rights_of_new_folders,
    take_over_rights,
    unfinished_of,
    whole_file,
)

SPILL: Final = "spill"
"""The folder, among the parts of a run, for what does not fit into memory."""

_SHARE_OF_THE_DATABASE: Final = 0.7
# Of Linux control groups, version 2 and 1.
_LIMITS_OF_CONTAINERS: Final = tuple(
    Path("/sys/fs/cgroup") / file for file in ("memory.max", "memory/memory.limit_in_bytes")
)
_SMALLEST_MEMORY: Final = 256_000_000
_LARGEST_MEMORY: Final = 2**50  # more than any machine has, and a number that every database takes
# What a row takes while it is checked: in place its hash and a share of its person's vector, else text and values.
_BYTES_OF_ROW_IN_PLACE, _BYTES_OF_TEXT_ROW, _BYTES_OF_A_LINE = 50, 600, 60
# Kept records need no checking: what a row takes is a share of its person's vector. More at once are no faster.
_BYTES_OF_KEPT_ROW: Final = 100
_MOST_KEPT_ROWS: Final = 8_000_000
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    parts : int
        How many of the parts are done.
    read : int
        For how many of the parts the records have been read: most of the work.
    taken_up : int
        How many of them an earlier run had done, which is no measure of this one's speed.
    written : int
        How many people, or rows, this run has written.
    """

    parts: int
    read: int
    taken_up: int
    written: int


# ------------------------------------------------------------------------------- how much at once


def memory_to_use(memory: int | None) -> int:
    """Return the bytes a run may use: those asked for, or half the machine's.

    Raises
    ------
    ArgumentError
        If they are too few for anything.
    """
    if memory is None:
        return max(_memory_of_this_machine() // 2, _SMALLEST_MEMORY)
    if memory < _SMALLEST_MEMORY:
        raise ArgumentError(
            "the memory is too little", value=memory, expected=f"at least {_SMALLEST_MEMORY // 1_000_000}MB"
        )
    return min(memory, _LARGEST_MEMORY)


def for_the_database(memory: int) -> int:
    """Return how much of the memory is the database's; the rest is for what is made of its answers."""
    return int(memory * _SHARE_OF_THE_DATABASE)


def _memory_of_this_machine() -> int:
    """Return the bytes of memory there are, or those a container may use of them."""
    every = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS_OF_CONTAINERS:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            every = min(every, int(limit.read_text(encoding="ascii")))
    return every


def parts_at_once(folder: Path, memory: int) -> int:
    """Return how many parts of a folder's records are read at once, as far as the files tell."""
    if is_kept(folder):
        rows = sum(sum(about_part(folder, part).rows.values()) for part in range(PARTS))
        at_once = min(_MOST_KEPT_ROWS, memory // _BYTES_OF_KEPT_ROW)
        return min(PARTS, max(1, PARTS * at_once // max(rows, 1)))
    found = files_by_table(folder, consents_needed=False)
    files = [(TABLES[name], file.absolute()) for name, of_table in found.items() for file in of_table]
    with closing(open_locked(file for _, file in files)) as connection:
        taken = sum(_bytes_of(connection, table, file) for table, file in files)
    passes = max(1, -(-taken // memory))
    return max(1, -(-PARTS // passes))


def _bytes_of(connection: duckdb.DuckDBPyConnection, table: Table, file: Path) -> int:
    """Return how many bytes the rows of a file take, roughly."""
    import pyarrow as pa
    from pyarrow import parquet

    if file.suffix.lower() == ".csv":
        return file.stat().st_size // _BYTES_OF_A_LINE * _BYTES_OF_TEXT_ROW
    rows, of_a_row = 0, _BYTES_OF_TEXT_ROW
    try:
        rows = int(parquet.read_metadata(file).num_rows)
        if may_stay(connection, table, Relation.of_file(connection, file)):
            of_a_row = _BYTES_OF_ROW_IN_PLACE
    except duckdb.InterruptException:
        raise
    except (pa.ArrowException, duckdb.Error, OSError, KeyError):
        pass  # what is wrong with it, reading it will say
    return rows * of_a_row


def groups_of(parts: Sequence[int], at_once: int) -> list[Sequence[int]]:
    """Cut the parts into groups that are read at once."""
    return [parts[first : first + at_once] for first in range(0, len(parts), at_once)]


def as_memory_allows(
    groups: Sequence[Sequence[int]], read: Callable[[Sequence[int]], _Read]
) -> Generator[tuple[Sequence[int], _Read], None, None]:
    """Read each group of parts, in halves where it does not fit into the memory.

    Raises
    ------
    ArgumentError
        If one part alone does not fit.
    """
    for group in groups:
        try:
            found = read(group)
        except (RecordsError, duckdb.OutOfMemoryException, MemoryError) as error:
            if not _lacks_memory(error):
                raise
            if len(group) == 1:
                raise ArgumentError(
                    "the memory does not suffice for one part of the records",
                    remedy="Give more with --memory, or fewer --threads.",
                ) from error
        else:
            yield group, found
            del found  # while the next are read, these are not held as well
            continue
        # Not while the error is handled: it holds on to what the failed read had in memory.
        yield from as_memory_allows(groups_of(group, len(group) // 2), read)


def one_ahead(items: Iterator[_Read]) -> Generator[_Read, None, None]:
    """Yield items, the next of which is being made while the caller works on one; close it when done."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def _lacks_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
            return True
        error = error.__cause__
    return False


# ------------------------------------------------------------------------------- where it is written


def check_not_among(out: Path, records: Path) -> None:
    """Raise if what is to be written would come to lie among the records."""
    if records.resolve() in (out.resolve(), *out.resolve().parents):
        raise ArgumentError(
            "what is to be written would come to lie among the records", file=out, remedy="Name a place elsewhere."
        )


def state_of_records(folder: Path) -> list[Any]:
    """Return what tells whether any file of the records is another than before."""
    if is_kept(folder):
        return state_of_files(kept_files(folder))
    mark = folder / INVENTED_MARK
    files = [file for of_table in files_by_table(folder).values() for file in of_table]
    return state_of_files([*files, mark] if mark.is_file() else files)


@contextmanager
def parts_beside(
    out: Path, question: str, part_name: Callable[[int], str], is_whole: Callable[[Path, int], bool]
) -> Iterator[tuple[Path, list[int]]]:
    """Give the hidden folder of the parts, and the parts that no earlier run of this question finished.

    Parameters
    ----------
    out : Path
        What is to be written.
    question : str
        What the parts answer.
    part_name : function of a part
        Of the file or folder of each.
    is_whole : function of the hidden folder and a part
        Whether a part that an earlier run wrote is as it wrote it: after a power cut it may not be.

    Raises
    ------
    ArgumentError
        If another run is at work there.
    """
    names = [part_name(part) for part in range(PARTS)]
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = unfinished_of(out.absolute())
    folder.mkdir(mode=0o700, exist_ok=True)
    with alone_in(folder):
        asked = folder / QUESTION
        if not asked.is_file() or asked.read_bytes() != question.encode():
            clear(folder)
            with whole_file(asked) as scratch:
                scratch.write_bytes(question.encode())
        finished = {names[part] for part in range(PARTS) if (folder / names[part]).exists() and is_whole(folder, part)}
        clear(folder, keep={QUESTION, *finished, *map(note_beside, finished)})
        try:
            yield folder, [part for part in range(PARTS) if names[part] not in finished]
        finally:
            nothing_to_go_on_with = not any((folder / name).exists() for name in names)
            shutil.rmtree(folder if nothing_to_go_on_with else folder / SPILL, ignore_errors=True)


def take_the_place(folder: Path, out: Path, holds: Collection[str]) -> None:
    """Make the folder of the parts the folder that was to be written, with its rights, and nothing but what it holds.

    Stopped before, the next run finds all parts done. Stopped after, the file of the question and the folder that
    was there before are left, which the next run, and who erases from kept records, removes.
    """
    # What a killed process of a cluster was writing may lie there as well.
    clear(folder, keep={QUESTION, *holds, *map(note_beside, holds)})
    earlier = earlier_of(out)
    stood = next((place for place in (out, earlier) if place.exists()), None)
    if stood is None:
        folder.chmod(rights_of_new_folders(folder))
    else:
        take_over_rights(folder, stood)
    shutil.rmtree(earlier, ignore_errors=True)
    with alone_in(out, wait=True) if out.is_dir() else nullcontext():
        put_in_place(folder, out, earlier)
    remove_what_was_replaced(out)


def remove_what_was_replaced(out: Path) -> None:
    """Remove what is left when parts have taken the place of earlier ones."""
    for noted in (QUESTION, *(entry.name for entry in out.glob(note_beside("*")))):
        (out / noted).unlink(missing_ok=True)
    shutil.rmtree(earlier_of(out), ignore_errors=True)
