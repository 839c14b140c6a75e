"""Everyone dealt out into parts by a hash, so that a whole city fits through a small machine.

A person's part depends on their subject_id and on nothing else: not on the records, the
files, the machine or the engine. Any system that knows MD5 finds the same part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from egretscore.records.schema import TABLES, stripped

if TYPE_CHECKING:
    import pyarrow as pa

PARTS: Final = 64
WHICH_PART: Final = f"the first byte of the MD5 of subject_id, modulo {PARTS}"
"""How a person's part is found, in words."""

QUESTION: Final = "question.json"
"""The file beside unfinished parts with the question they answer. A run stopped at its very end leaves it behind."""

_ALL: Final = 256


def part_of(subject_id: str) -> int:
    """Return a person's part, from 0 to 63: the first byte of the MD5 of subject_id, modulo 64."""
    # A text that no file can hold has a part as well, with nobody in it.
    return hashlib.md5(subject_id.encode(errors="surrogatepass"), usedforsecurity=False).digest()[0] % PARTS


def sql_part_of(subject: str) -> str:
    """Return the SQL expression for the same."""
    return f"CAST('0x' || left(md5({subject}), 2) AS UTINYINT) % {PARTS}"


def macro_chosen(parts: Collection[int] | None) -> str:
    """Return the statement that creates ``chosen(subject)``: whether a subject is in one of these parts.

    The cell of a broken row may be empty, or hold no valid subject_id; it has a part all the same. Invisible
    characters around an id are ignored.
    """
    if parts is None:
        return "CREATE MACRO chosen(subject) AS true"
    beginnings = ", ".join(f"'{byte:02x}'" for byte in range(_ALL) if byte % PARTS in parts)
    cell = stripped("coalesce(subject, '')")
    return f"CREATE MACRO chosen(subject) AS left(md5({cell}), 2) IN ({beginnings})"


def tables_reported_with(parts: Collection[int]) -> frozenset[str]:
    """Return the tables whose counts and problems are reported with these parts.

    A table that is read whole with every group of parts (``Table.reaches_others``) is reported once, with part 0.
    """
    return frozenset(table.name for table in TABLES.values() if 0 in parts or not table.reaches_others)


def people_replaced(rows: pa.Table, people: pa.Array, theirs: pa.Table) -> pa.Table:
    """Return rows in the order of subject_id, with those of some people replaced.

    Parameters
    ----------
    rows : Table
        In the order of subject_id.
    people : array of str
        Whose rows to replace.
    theirs : Table
        The rows these people have now, in the order of subject_id, and nobody else's.
    """
    import pyarrow as pa
    from pyarrow import compute

    replaced = compute.is_in(rows["subject_id"], value_set=people.cast(pa.string()))
    others = rows.filter(compute.invert(replaced))
    # Arrow's sorting is stable: the rows of each person stay in the order in which they came.
    return pa.concat_tables([others, theirs.cast(rows.schema)]).sort_by("subject_id").combine_chunks()
