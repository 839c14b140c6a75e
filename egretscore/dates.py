"""The as-of date of a question, and today's."""

from __future__ import annotations

import re
from datetime import date, datetime

from egretscore.errors import ArgumentError


def today() -> date:
    """Return the day it is where this machine stands."""
    return datetime.now().astimezone().date()


def as_day(as_of: date | str) -> date:
    """Return an as-of date given as a date or as text.

    Raises
    ------
    ArgumentError
        If it is neither.
    """
    try:
        if isinstance(as_of, datetime):
            return date(as_of.year, as_of.month, as_of.day)  # pandas' NaT has no such parts
        if isinstance(as_of, date):
            return as_of
        return date.fromisoformat(str(as_of) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(as_of)) else "")
    except (TypeError, ValueError):
        raise ArgumentError("as_of is not a date", value=as_of, expected="a date such as 2026-10-31") from None
