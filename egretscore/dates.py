"""The as-of date of a question, and today's."""

from __future__ import annotations

import re
from datetime import date, datetime, time

import numpy as np

from egretscore.errors import ArgumentError


def today() -> date:
    """Return the day it is where this machine stands."""
    return datetime.now().astimezone().date()


def as_day(as_of: date | str) -> date:
    """Return an as-of date given as a date, as text, or as midnight.

    Raises
    ------
    ArgumentError
        If it is none of these. A time of day, or of a zone other than UTC, may be of another day where people live.
    """
    given: object = as_of
    try:
        if isinstance(given, np.datetime64):
            given = _of_numpy(given)
        if isinstance(given, datetime):  # pandas' too, of which NaT has no such parts
            return _of_midnight(given)
        if isinstance(given, date):
            return given
        return date.fromisoformat(str(given) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(given)) else "")
    except (TypeError, ValueError):
        raise ArgumentError(
            "as_of is not a date", value=as_of, expected="a date such as 2026-10-31, with no time of day"
        ) from None


def _of_midnight(moment: datetime) -> date:
    if moment.time() != time.min or moment.utcoffset():
        raise ValueError
    return date(moment.year, moment.month, moment.day)


def _of_numpy(moment: np.datetime64) -> object:
    day = moment.astype("datetime64[D]")
    if np.datetime_data(moment.dtype)[0] in {"Y", "M", "W"} or day != moment:
        raise ValueError
    return day.item()
