"""What people read, apart from code: one file for each language, with the same keys."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args

from egretscore.errors import ArgumentError

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[str, ...]] = get_args(Language)


@cache
def texts(lang: str) -> Mapping[str, Any]:
    """Return the texts of a language.

    Raises
    ------
    ArgumentError
        If there are none.
    """
    if lang not in LANGUAGES:
        raise ArgumentError("there are no texts in this language", value=lang, expected=" or ".join(LANGUAGES))
    return tomllib.loads((resources.files(__package__) / f"{lang}.toml").read_text(encoding="utf-8"))
