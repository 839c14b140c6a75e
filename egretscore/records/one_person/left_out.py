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
    """Yield the records that were on file on a date, each with all other rows.

    A record is what an objection names: all penalties that one decision imposed are one.
    """
    for table in _TABLES:
        of_table = rows[table.name]
        record, day = (table.column_names.index(name) for name in (table.identity[0], table.on_file))
        first_day: dict[str, int] = {}
        for row in of_table:
            first_day[row[record]] = min(row[day], first_day.get(row[record], row[day]))
        for record_id in sorted(first_day):
            recorded_on = date.fromordinal(first_day[record_id] + FIRST_DAY)
            if recorded_on <= as_of:
                others = [row for row in of_table if row[record] != record_id]
                yield LeftOut(table.name, record_id, recorded_on, {**rows, table.name: others})
