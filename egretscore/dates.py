"""The as-of date of a question."""

from __future__ import annotations

from datetime import date, datetime

from egretscore.errors import ArgumentError


def as_day(as_of: date | str) -> date:
    """Return an as-of date given as a date or as text.

    Raises
    ------
    ArgumentError
        If it is neither.
    """
    if isinstance(as_of, datetime):
        return as_of.date()
    if isinstance(as_of, date):
        return as_of
    try:
        return date.fromisoformat(as_of)
    except (TypeError, ValueError):
        raise ArgumentError("as_of is not a date", value=as_of, expected="a date such as 2026-10-31") from None
