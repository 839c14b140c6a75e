"""One person's records, each left out in turn: what would be asked if it had never been."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

from egretscore.records.one_person.lookup import FIRST_DAY, PersonRows
from egretscore.records.schema import DISPUTABLE, TABLES


class LeftOut(NamedTuple):
    """A record, and the rows of its holder without it."""

    table: str
    record_id: str
    recorded_on: date
    others: PersonRows


_TABLES: Final = tuple(TABLES[name] for name in DISPUTABLE)
COLUMNS_NEEDED: Final = frozenset(name for table in _TABLES for name in (table.identity[0], table.on_file))
"""The columns by which a record is known."""


def each_left_out(rows: PersonRows, as_of: date) -> Iterator[LeftOut]:
    """Yield the records that were on file on a date, each with all other rows."""
    for table in _TABLES:
        of_table = rows[table.name]
        record, day = (table.column_names.index(name) for name in (table.identity[0], table.on_file))
        for position, row in enumerate(of_table):
            recorded_on = date.fromordinal(row[day] + FIRST_DAY)
            if recorded_on <= as_of:
                others = [*of_table[:position], *of_table[position + 1 :]]
                yield LeftOut(table.name, row[record], recorded_on, {**rows, table.name: others})
