"""Score tables: a score as a sum of published tables, and its exact reasons.

A table gives a number for each step of one feature, or for each pair of steps of two. The
score is the number at the baseline (the blank file) plus one number from each table, every
table being 0 at the baseline.

The reasons are Shapley values against the baseline. A table of one feature is that
feature's reason. A table g of features a and b, with g(0, 0) = 0, is shared out as ::

    reason of a = (g(a, 0) + g(a, b) - g(0, b)) / 2
    reason of b = (g(0, b) + g(a, b) - g(a, 0)) / 2

(the mean of what a feature adds when it comes first and when it comes last). In whole
points the first share is rounded down and the second up, which still adds up to g(a, b),
keeps every sign and keeps each share going the way its feature does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from egretscore.scoring.adder import Adder

_NO_CODES: NDArray[np.float64] = np.empty(0)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What the steps of one feature, or of two together, are worth.

    Attributes
    ----------
    features : tuple of one or two int
        Positions in the vector, ascending.
    values : ndarray, one axis per feature
        Indexed by cell; see :meth:`ScoreTables.cells`.
    """

    features: tuple[int, ...]
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class ScoreTables:
    """A score as a sum of tables over the steps of a vector's features.

    Attributes
    ----------
    feature_names : tuple of str
    cuts : tuple of ndarray of float64
        For each feature the ascending upper bounds of its cells, the last cell being open:
        a value x lies in the cell of the first cut it does not exceed.
    missing : tuple of bool
        For each feature whether a missing value has a cell of its own, after the others.
        Where it has none, a missing value counts as 0.
    baseline : ndarray of float64, shape (n_features,)
        The vector against which reasons are given: the blank file.
    base : int or float
        The score of the baseline.
    tables : tuple of ScoreTable
        All of one dtype, 0 at the baseline's cells: int64 for whole points, float64 for log-odds.
    special : tuple of ndarray of float64, or empty
        For each feature the values that are codes and no quantities: each has a cell of its
        own, after those of the cuts and before that of missing values, outside their order.
    """

    feature_names: tuple[str, ...]
    cuts: tuple[NDArray[np.float64], ...]
    missing: tuple[bool, ...]
    baseline: NDArray[np.float64]
    base: float
    tables: tuple[ScoreTable, ...]
    special: tuple[NDArray[np.float64], ...] = ()

    def special_of(self, feature: int) -> NDArray[np.float64]:
        """Return the special codes of a feature."""
        return self.special[feature] if self.special else _NO_CODES

    def n_cells(self, feature: int) -> int:
        """Return how many cells a feature has."""
        return len(self.cuts[feature]) + 1 + len(self.special_of(feature)) + self.missing[feature]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the tables' numbers."""
        return np.result_type(*(table.values for table in self.tables)) if self.tables else np.dtype(np.float64)

    @cached_property
    def baseline_cells(self) -> tuple[int, ...]:
        """The cell of the baseline in each feature."""
        return tuple(int(cell) for cell in self.cells(self.baseline[None, :])[:, 0])

    def cells(self, vectors: ArrayLike) -> NDArray[np.intp]:
        """Return the cell of each value, features first: shape (n_features, n)."""
        values = np.asarray(vectors, dtype=np.float64)
        cells = np.empty((len(self.cuts), len(values)), dtype=np.intp)
        for feature in range(len(self.cuts)):
            cells[feature] = self.cells_of(feature, values[:, feature])
        return cells

    def cells_of(self, feature: int, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the cell of each value of one feature."""
        cuts = self.cuts[feature]
        absent = np.isnan(values)
        cells = np.searchsorted(cuts, np.where(absent, 0.0, values), side="left")
        for number, code in enumerate(self.special_of(feature), start=len(cuts) + 1):
            cells[values == code] = number
        if self.missing[feature]:
            cells[absent] = self.n_cells(feature) - 1
        return cells

    def reasons(self, vectors: ArrayLike, *, threads: int = 1) -> NDArray[Any]:
        """Return what each feature adds to or takes from the baseline's score.

        Parameters
        ----------
        vectors : array of shape (n, n_features)
        threads : int
            How many to use; the answer is the same for any number.

        Returns
        -------
        ndarray of shape (n, n_features), in the tables' unit
        """
        return self._adder.reasons(np.asarray(vectors), threads)

    def totals(self, vectors: ArrayLike, *, threads: int = 1) -> NDArray[Any]:
        """Return the score of each vector: the base plus one number from each table."""
        return self._adder.totals(np.asarray(vectors), threads)

    @cached_property
    def _adder(self) -> Adder:
        return Adder(self)

    def shares(self, table: ScoreTable) -> tuple[NDArray[Any], ...]:
        """Return what each cell of a table gives to each of its features, as reasons."""
        if len(table.features) == 1:
            return (table.values,)
        g = table.values
        first, second = (self.baseline_cells[feature] for feature in table.features)
        only_a, only_b = g[:, [second]], g[[first], :]
        doubled_a, doubled_b = only_a + (g - only_b), only_b + (g - only_a)
        if np.issubdtype(g.dtype, np.integer):
            return doubled_a // 2, -(-doubled_b // 2)
        return doubled_a / 2, doubled_b / 2

    def bounds(self) -> tuple[float, float]:
        """Return numbers that no score is below or above: the sums of the tables' least and greatest."""
        return (
            self.base + sum(table.values.min() for table in self.tables),
            self.base + sum(table.values.max() for table in self.tables),
        )


@dataclass(frozen=True)
class Violation:
    """Two neighbouring cells of a table between which it goes the wrong way."""

    features: tuple[str, ...]
    along: str
    cell: tuple[int, ...]
    change: float


def violations(tables: ScoreTables, directions: Sequence[int]) -> Iterator[Violation]:
    """Yield every place where a table goes against the direction of one of its features.

    None at all is the proof that the score, and each reason, moves only its own way over
    the whole input space: a sum of tables that each go one way goes that way too.

    Parameters
    ----------
    tables : ScoreTables
    directions : sequence of int
        For each feature +1, -1 or, where it may go either way, 0. The cell of missing
        values is outside the order.
    """
    for table in tables.tables:
        for axis, feature in enumerate(table.features):
            if directions[feature] == 0:
                continue
            ordered = np.take(table.values, range(len(tables.cuts[feature]) + 1), axis=axis)
            changes = np.diff(ordered, axis=axis)
            for cell in np.argwhere(changes * directions[feature] < 0):
                yield Violation(
                    features=tuple(tables.feature_names[f] for f in table.features),
                    along=tables.feature_names[feature],
                    cell=tuple(int(i) for i in cell),
                    change=changes[tuple(cell)].item(),
                )


def steps_compared(tables: ScoreTables, directions: Sequence[int]) -> int:
    """Return how many steps from one cell to the next :func:`violations` compares."""
    return sum(
        table.values.size // table.values.shape[axis] * len(tables.cuts[feature])
        for table in tables.tables
        for axis, feature in enumerate(table.features)
        if directions[feature]
    )
