"""What can go wrong, as one small tree.

::

    EgretError
    ├── RecordsError            the records cannot be read or used
    │   └── ForbiddenColumnError    a column this library refuses by name
    ├── PolicyError             the policy file does not say what a policy must say
    ├── BundleError             a model folder is damaged, altered or of an unknown format
    ├── TrainingError           these records cannot train a model
    └── ArgumentError           a call got an argument it cannot use (also a ValueError)

Every error says what is wrong and where, what was expected and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict, Unpack, overload

__all__ = [
    "ArgumentError",
    "BundleError",
    "EgretError",
    "ForbiddenColumnError",
    "PolicyError",
    "RecordsError",
    "TrainingError",
    "did_you_mean",
    "shown",
]

_LONGEST_VALUE_SHOWN = 60


if TYPE_CHECKING:

    class _Place(TypedDict, total=False):
        file: object
        row: int | None
        column: str | None
        value: object


class EgretError(Exception):
    """The root of all errors this library raises on purpose.

    Each says what was expected, or what to do, or both: the types let none be raised without.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence without a full stop.
    file, row, column, value : optional
        Where it is: each is named in the message when given.
    expected : str, optional
        What was expected instead.
    remedy : str, optional
        What to do about it.
    """

    @overload
    def __init__(self, problem: str, *, expected: str, remedy: str | None = None, **place: Unpack[_Place]) -> None: ...

    @overload
    def __init__(self, problem: str, *, remedy: str, **place: Unpack[_Place]) -> None: ...

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        row: int | None = None,
        column: str | None = None,
        value: object = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.row = row
        self.column = column
        self.value = value
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        place = [
            part
            for part in (
                self.file,
                None if self.row is None else f"row {self.row}",
                None if self.column is None else f"column {shown(self.column)}",
                None if self.value is None else f"value {shown(self.value)}",
            )
            if part
        ]
        sentences = [f"{', '.join(place)}: {self.problem}" if place else self.problem]
        if self.expected:
            sentences.append(f"Expected {self.expected}")
        if self.remedy:
            sentences.append(self.remedy)
        return " ".join(s if s.endswith(("?", "!", ".")) else f"{s}." for s in sentences)


class RecordsError(EgretError):
    """The records cannot be read or used."""


class ForbiddenColumnError(RecordsError):
    """A column holds what this library never takes in (promise 5 of the design)."""


class PolicyError(EgretError):
    """The policy file does not say what a policy must say."""


class BundleError(EgretError):
    """A model folder is damaged, altered or of an unknown format."""


class TrainingError(EgretError):
    """These records cannot train a model."""


class ArgumentError(EgretError, ValueError):
    """A call got an argument it cannot use."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str | None:
    """Return ``Did you mean 'x'?`` for the nearest known name, or None."""
    near = difflib.get_close_matches(wrong.strip().lower()[:100], list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else None


def shown(value: object) -> str:
    """Quote a value for a message: escaped (no control or invisible characters) and short."""
    text = str(value)
    if len(text) > _LONGEST_VALUE_SHOWN:
        text = f"{text[:_LONGEST_VALUE_SHOWN]}…"
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + "'"
