"""Paths given by a caller."""

from __future__ import annotations

import os
from pathlib import Path

from egretscore.errors import ArgumentError


def as_path(given: object, says: str, remedy: str | None = None) -> Path:
    """Return a path given as text or as a path.

    Parameters
    ----------
    given : object
    says : str
        The problem stated when it is no path, such as "a model comes from a folder".
    remedy : str, optional

    Raises
    ------
    ArgumentError
        If it is neither, an empty text, which ``Path`` would take for the current folder, or one with a null
        character, which no name has.
    """
    if not isinstance(given, str | os.PathLike) or given == "" or "\0" in str(given):
        value = given if isinstance(given, str) else type(given).__name__
        raise ArgumentError(says, value=value, expected="a path", remedy=remedy)
    return Path(given)
