"""What a feature is: one declaration that everything else follows from.

The declaration builds the vector (``features/query.py``), constrains the model, names the
reason and writes the documentation. It is data and nothing else, so a model bundle keeps
the declarations it was trained with and scores by them for as long as it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, get_type_hints

from egretscore.policy import WeightSteps


class Aggregate(StrEnum):
    """How the standing records of a person become one whole number."""

    COUNT = "count"
    """The weights of the records, added up."""
    SUM = "sum"
    """A column of the records, each times its weight, added up."""
    MONTHS = "months"
    """The number of calendar months with such a record."""
    VARIETY = "variety"
    """The number of different words in a column of the records."""
    REPEATS = "repeats"
    """The weights of the records, added up, less the first one."""
    RATE = "rate"
    """How many in a thousand of the weights are such records, shrunk towards a prior, less the prior."""


@dataclass(frozen=True)
class Prior:
    """What a keeping rate starts from, and the weights of the records that count against it."""

    permille: int
    weight: int
    against: WeightSteps


@dataclass(frozen=True)
class Feature:
    """A whole number about a person on a date: 0 for a blank file.

    Attributes
    ----------
    name : str
        The column of the vector.
    code : str
        The reason's code: stays the same when texts change.
    source : str
        The standing records it is made from: civic_points, penalties or commitments.
    aggregate : Aggregate
    where : mapping of column to words
        Which standing records count: those with one of the words in each column.
    weights : WeightSteps
        What a record counts at each age; records older than the last step count nothing.
    cap : int
        The most the feature can be.
    direction : int
        +1 if more can only raise the score, -1 if more can only lower it.
    indicator : str
        The public indicator the reason stands under.
    zh, en : str
        Its label.
    unit_zh, unit_en : str
        The unit of its value; empty in English where the label says what is counted.
    column : str, optional
        What is summed or told apart, for ``sum`` and ``variety``.
    words : tuple of str
        The words told apart, for ``variety``.
    prior : Prior, optional
        For ``rate``.
    """

    name: str
    code: str
    source: str
    aggregate: Aggregate
    where: Mapping[str, tuple[str, ...]]
    weights: WeightSteps
    cap: int
    direction: int
    indicator: str
    zh: str
    en: str
    unit_zh: str
    unit_en: str
    column: str | None = None
    words: tuple[str, ...] = ()
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if (self.aggregate is Aggregate.RATE) != (self.prior is not None):
            raise ValueError(f"{self.name}: a rate declares its prior, and nothing else has one")

    @property
    def lowest(self) -> int:
        """The least the feature can be."""
        return 0 if self.prior is None else -self.prior.permille

    @property
    def every_step(self) -> WeightSteps:
        """All steps of age at which a record's weight changes, for the feature or against it."""
        return self.weights if self.prior is None else (*self.weights, *self.prior.against)

    def to_dict(self) -> dict[str, Any]:
        """Return the declaration as plain JSON data.

        Returns
        -------
        dict
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Feature:
        """Return the declaration that :meth:`to_dict` wrote.

        Parameters
        ----------
        raw : mapping

        Returns
        -------
        Feature

        Raises
        ------
        ValueError
            If it lacks a key, has another, or a value is of another type.
        """
        known = {field.name for field in fields(cls)}
        if set(raw) != known:
            raise ValueError(f"a feature declares {sorted(known)}, not {sorted(raw)}")
        prior = raw["prior"]
        for value, kind in _plain_values(raw):
            if type(value) is not kind:
                raise ValueError(f"the feature {raw['name']!r} declares {value!r} in place of {_NAME_OF_TYPE[kind]}")
        return cls(
            **{
                **raw,
                "aggregate": Aggregate(raw["aggregate"]),
                "where": {column: tuple(words) for column, words in raw["where"].items()},
                "weights": _steps(raw["weights"]),
                "words": tuple(raw["words"]),
                "prior": prior and Prior(prior["permille"], prior["weight"], _steps(prior["against"])),
            }
        )


_NAME_OF_TYPE = {str: "a text", int: "a whole number"}


def _plain_values(raw: Mapping[str, Any]) -> Iterator[tuple[object, type]]:
    """Yield every text and whole number of a declaration read from JSON, with the type it must have."""
    yield from ((raw[name], kind) for name, kind in get_type_hints(Feature).items() if kind in (str, int))
    yield from ((word, str) for words in (raw["words"], *raw["where"].values()) for word in words)
    yield from ((raw["prior"][name], int) for name in ("permille", "weight") if raw["prior"])
    if raw["column"] is not None:
        yield raw["column"], str


def _steps(raw: list[list[int]]) -> WeightSteps:
    return tuple((int(days), int(weight)) for days, weight in raw)
