"""From a table with columns of any kind to the numbers that a forest is grown on.

A numeric feature is one column. A numeric feature with special codes (a credit bureau's -9 for "no
record") is two: its values, with codes replaced by missing values, and the codes, so that codes have
no place in the order of values. A category is one column of level numbers. A missing value is NaN,
and so is a level never seen in training; in the column of a category, missing is one more level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.tables import ScoreTables

Floats = NDArray[np.float64]

_AS_GOOD_AS_ZERO = 1.1e-35


@dataclass(frozen=True)
class InputFeature:
    """A feature of the training table.

    Attributes
    ----------
    name : str
    levels : tuple or None
        The levels of a category, in the order of their numbers; None for a numeric feature.
    special : ndarray of float64
        The special codes that occur in training.
    unseen : ndarray of float64
        The special codes that do not: they count as missing values.
    missing : bool
        Whether missing values get a cell of their own.
    usual : float
        The median, or the number of the most frequent level: what a missing value counts as
        where it has no cell.
    """

    name: str
    levels: tuple[Any, ...] | None
    special: Floats
    unseen: Floats
    missing: bool
    usual: float


@dataclass(frozen=True)
class Column:
    """A column that LightGBM is given.

    Attributes
    ----------
    name : str
        As LightGBM takes it: letters, digits and underscores.
    feature : int
        The position of its feature.
    codes : bool
        Whether it holds the special code in place of a value (0: none).
    category : bool
        Whether its numbers are levels without an order.
    """

    name: str
    feature: int
    codes: bool
    category: bool

    @property
    def unordered(self) -> bool:
        """Whether its numbers are only names, of codes or of levels."""
        return self.codes or self.category

    def of(self, feature: InputFeature, values: Floats) -> Floats:
        """Return the column for a feature's values."""
        if feature.levels is not None:
            return np.where(np.isnan(values), float(len(feature.levels)), values)
        is_code = values[:, None] == feature.special
        if self.codes:
            return np.asarray(is_code @ np.arange(1.0, len(feature.special) + 1))
        return np.where(is_code.any(axis=1), np.nan, values) if len(feature.special) else values

    def standing_for(self, tables: ScoreTables) -> Floats:
        """Return a representative number for each cell of the feature: a split sends the whole cell the same way."""
        ordered = np.append(tables.cuts[self.feature], np.inf)
        n_codes = len(tables.special_of(self.feature))
        n_others = n_codes + tables.missing[self.feature]
        if self.codes:
            return np.concatenate([np.zeros(len(ordered)), np.arange(1.0, n_codes + 1), np.zeros(n_others - n_codes)])
        if self.category:
            return np.arange(len(ordered) + n_others, dtype=np.float64)
        return np.concatenate([ordered, np.full(n_others, np.nan)])


def input_features(
    names: Sequence[str], values: Sequence[Any], special: Mapping[int, Sequence[float]], categories: frozenset[int]
) -> tuple[InputFeature, ...]:
    """Return what the features of a table are, learnt from their values.

    Parameters
    ----------
    names : sequence of str
    values : sequence of arrays, one for each feature
        Float64 of a number, objects of a category.
    special : mapping of position to codes
    categories : the positions of the categories
    """
    return tuple(
        _category(name, values[position])
        if position in categories
        else _number(name, values[position], special.get(position, ()))
        for position, name in enumerate(names)
    )


def _number(name: str, values: Floats, special: Sequence[float]) -> InputFeature:
    codes = np.array(sorted(set(special)), dtype=np.float64)
    absent = np.isnan(values)
    known = values[~absent & ~np.isin(values, codes)]
    seen = np.isin(codes, values)
    usual = float(np.median(known)) if len(known) else 0.0
    return InputFeature(name, None, codes[seen], codes[~seen], bool(absent.any()), usual)


def _category(name: str, values: NDArray[Any]) -> InputFeature:
    import pandas as pd

    counts = pd.Series(values, dtype=object).value_counts()
    levels = tuple(sorted(counts.index, key=lambda level: (str(type(level)), level)))
    usual = float(levels.index(counts.index[0])) if levels else 0.0
    return InputFeature(name, levels, np.empty(0), np.empty(0), missing=True, usual=usual)


def columns_of(features: Sequence[InputFeature]) -> tuple[Column, ...]:
    """Return the columns that LightGBM is given for the features."""
    made = []
    for position, feature in enumerate(features):
        # LightGBM refuses names with other characters, so it gets numbers in place of such names.
        name = feature.name if feature.name.isidentifier() and feature.name.isascii() else f"x{position}"
        made.append(Column(name, position, codes=False, category=feature.levels is not None))
        if len(feature.special):
            made.append(Column(f"{name}__code", position, codes=True, category=False))
    if len({column.name for column in made}) < len(made):
        made = [Column(f"x{number}", c.feature, c.codes, c.category) for number, c in enumerate(made)]
    return tuple(made)


def as_numbers(features: Sequence[InputFeature], values: Sequence[Any]) -> Floats:
    """Return a table as numbers, features in columns: levels numbered, what is unseen or missing NaN."""
    import pandas as pd

    numbers = np.empty((len(values[0]) if len(values) else 0, len(features)))
    for position, (feature, column) in enumerate(zip(features, values, strict=True)):
        if feature.levels is None:
            numbers[:, position] = column
            if len(feature.unseen):
                numbers[np.isin(column, feature.unseen), position] = np.nan
        else:
            level = pd.Index(feature.levels, dtype=object).get_indexer(pd.Index(column, dtype=object))
            numbers[:, position] = np.where(level < 0, np.nan, level)
        # LightGBM takes numbers as small as these for 0, but puts cuts between them and it.
        numbers[np.abs(numbers[:, position]) <= _AS_GOOD_AS_ZERO, position] = 0.0
        if not feature.missing:
            absent = np.isnan(numbers[:, position])
            numbers[absent, position] = feature.usual
    return numbers


def for_lightgbm(features: Sequence[InputFeature], columns: Sequence[Column], numbers: Floats) -> Floats:
    """Return the columns that LightGBM is given, side by side."""
    return np.column_stack([column.of(features[column.feature], numbers[:, column.feature]) for column in columns])
