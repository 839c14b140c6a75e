"""How many parts of the records are read at once, so that they fit into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from operator import index
from pathlib import Path
from typing import Final, TypeVar

import duckdb

from egretscore.errors import ArgumentError, RecordsError
from egretscore.records.database import open_locked
from egretscore.records.files import files_by_table
from egretscore.records.intake.in_place import Relation, may_stay
from egretscore.records.kept.folder import about_part, is_kept
from egretscore.records.parts import PARTS
from egretscore.records.schema import TABLES, Table

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


def memory_to_use(memory: int | None) -> int:
    """Return the bytes a run may use: those asked for, or half the machine's.

    Raises
    ------
    ArgumentError
        If they are too few or no number, or none are given and the system does not say how much memory it has.
    """
    if memory is None:
        return max(_memory_of_this_machine() // 2, _SMALLEST_MEMORY)
    try:
        memory = index(memory)
    except TypeError:
        raise ArgumentError(
            "the memory must be a number of bytes", value=memory, expected="a whole number such as 4_000_000_000"
        ) from None
    if memory < _SMALLEST_MEMORY:
        raise ArgumentError(
            "this is too little memory", value=memory, expected=f"at least {_SMALLEST_MEMORY // 1_000_000}MB"
        )
    return min(memory, _LARGEST_MEMORY)


def for_the_database(memory: int) -> int:
    """Return the database's share of the memory; the rest is for working on its answers."""
    return int(memory * _SHARE_OF_THE_DATABASE)


def _memory_of_this_machine() -> int:
    """Return the bytes of memory of the machine, or of the container if it may use fewer."""
    if not hasattr(os, "sysconf"):
        raise ArgumentError("this system does not say how much memory there is", remedy="Give the memory to use.")
    every = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS_OF_CONTAINERS:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            every = min(every, int(limit.read_text(encoding="ascii")))
    return every


def parts_at_once(folder: Path, memory: int) -> int:
    """Estimate, from the files, how many parts of a folder's records can be read at once."""
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
    except (pa.ArrowException, duckdb.Error, OSError, KeyError, ValueError):
        pass  # reading the file will say what is wrong with it
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
                    "there is not enough memory for one part of the records",
                    remedy="Give more memory, or fewer threads.",
                ) from error
        else:
            yield group, found
            del found  # not held while the next group is read
            continue
        # Not while the error is handled: it holds on to what the failed read had in memory.
        yield from as_memory_allows(groups_of(group, len(group) // 2), read)


def one_ahead(items: Iterator[_Read]) -> Generator[_Read, None, None]:
    """Yield items, making the next one while the caller works on this one; close it when done."""
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
