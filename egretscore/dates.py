"""The as-of date of a question, and today's."""

from __future__ import annotations

import re
from datetime import date, datetime

import numpy as np

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
    given: object = as_of
    if isinstance(given, np.datetime64):
        given = given.astype("datetime64[D]").item()  # None of NaT
    try:
        if isinstance(given, datetime):
            return date(given.year, given.month, given.day)  # pandas' NaT has no such parts
        if isinstance(given, date):
            return given
        return date.fromisoformat(str(given) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(given)) else "")
    except (TypeError, ValueError):
        raise ArgumentError("as_of is not a date", value=as_of, expected="a date such as 2026-10-31") from None
