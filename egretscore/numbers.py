"""Whole numbers given by a caller."""

from __future__ import annotations

from numbers import Integral

from egretscore.errors import ArgumentError


def as_whole_number(given: object, what: str, least: int, most: int) -> int:
    """Return a whole number of any type, such as numpy's, as Python's own.

    Parameters
    ----------
    given : object
    what : str
        What the number is, such as "seed".
    least, most : int
        Between which it must lie; either is allowed.

    Raises
    ------
    ArgumentError
        If it is no whole number, or does not lie there. True is none.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or not least <= int(given) <= most:
        raise ArgumentError(
            f"{what} cannot have this value", value=given, expected=f"a whole number from {least:,} to {most:,}"
        )
    return int(given)
