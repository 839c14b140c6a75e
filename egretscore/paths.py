"""The place that a caller names."""

from __future__ import annotations

import os
from pathlib import Path

from egretscore.errors import ArgumentError


def as_path(given: object, says: str, remedy: str | None = None) -> Path:
    """Return a place given as text or as a path.

    Parameters
    ----------
    given : object
    says : str
        What is told of what is no path, such as "a model comes from a folder".
    remedy : str, optional

    Raises
    ------
    ArgumentError
        If it is neither, or an empty text, of which ``Path`` would make the current folder.
    """
    if not isinstance(given, str | os.PathLike) or given == "":
        value = given if isinstance(given, str) else type(given).__name__
        raise ArgumentError(says, value=value, expected="a path", remedy=remedy)
    return Path(given)
