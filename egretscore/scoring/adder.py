"""Adding up score tables fast, for one person and for millions: the same numbers either way.

A block of rows small enough for the processor's cache is worked through feature by feature
and then pair by pair, with numpy's ``take`` into buffers made once, so that memory does not
grow with the number of rows. Whole numbers are looked up directly; other values are sought
among the cuts. A few rows are added up in plain Python, where calling numpy would cost more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from egretscore.scoring.tables import ScoreTable, ScoreTables

_BLOCK = 16_384
_BLOCK_OF_THREADS = 65_536  # longer calls, so that threads seldom wait for the interpreter's lock
_FEW_ROWS = 32
_LARGEST_LOOKUP = 2**16
_EXACT = 2**53

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Lookup:
    """The cell of every whole number from ``first`` on; beyond either end, that of the end."""

    first: int
    cells: NDArray[np.intp]

    @property
    def last(self) -> int:
        """The last number listed."""
        return self.first + len(self.cells) - 1


@dataclass(frozen=True)
class _Pair:
    """A table of two features, laid out flat: the cell of ``a`` times ``width`` plus that of ``b``."""

    a: int
    b: int
    width: int
    values: Array
    share_of_a: Array
    share_of_b: Array


class Adder:
    """The tables of a score, laid out for adding up.

    Parameters
    ----------
    tables : ScoreTables
    """

    def __init__(self, tables: ScoreTables) -> None:
        self._tables = tables
        self._n_features = len(tables.cuts)
        self._has_codes = any(len(codes) for codes in tables.special)
        self._dtype = _smallest(tables)
        singles = {table.features[0]: table.values for table in tables.tables if len(table.features) == 1}
        self._singles = [
            singles.get(feature, np.zeros(tables.n_cells(feature))).astype(self._dtype)
            for feature in range(self._n_features)
        ]
        self._pairs = [
            _pair(table, tables.shares(table), self._dtype) for table in tables.tables if len(table.features) > 1
        ]
        self._paired = {feature for pair in self._pairs for feature in (pair.a, pair.b)}
        self._lookups = [_lookup(tables, feature) for feature in range(self._n_features)]
        self._points = [
            None if lookup is None else single[lookup.cells]
            for lookup, single in zip(self._lookups, self._singles, strict=True)
        ]
        # For a few rows: plain lists, which Python reads faster than arrays.
        self._cuts_list = [cuts.tolist() for cuts in tables.cuts]
        self._singles_list = [single.tolist() for single in self._singles]
        self._pairs_list = [
            (pair.a, pair.b, pair.width, pair.share_of_a.tolist(), pair.share_of_b.tolist(), pair.values.tolist())
            for pair in self._pairs
        ]

    def reasons(self, vectors: Array, threads: int) -> Array:
        """Return the reasons of each vector, shape (n, n_features)."""
        if len(vectors) <= _FEW_ROWS:
            rows = [self._reasons_of_one(row) for row in self._cells_of_few(vectors)]
            return np.array(rows, dtype=self._dtype).reshape(len(vectors), self._n_features)
        # Features first, so that each is written in one stretch; the caller sees rows first.
        reasons = np.empty((self._n_features, len(vectors)), dtype=self._dtype)
        self._in_blocks(vectors, threads, lambda block, work: self._add_reasons(block, work, reasons))
        return reasons.T

    def totals(self, vectors: Array, threads: int) -> Array:
        """Return the base plus one number from each table, shape (n,)."""
        dtype = self._tables.dtype
        if len(vectors) <= _FEW_ROWS:
            return np.array([self._total_of_one(cells) for cells in self._cells_of_few(vectors)], dtype=dtype)
        totals = np.empty(len(vectors), dtype=dtype)
        self._in_blocks(vectors, threads, lambda block, work: self._add_totals(block, work, totals))
        return totals

    # --------------------------------------------------------------------------- many rows

    def _in_blocks(self, vectors: Array, threads: int, add: Callable[[slice, _Work], None]) -> None:
        rows = _BLOCK if threads == 1 else _BLOCK_OF_THREADS

        def run(first: int) -> None:
            work = _Work(vectors, self._n_features, rows, self._dtype)
            for start in range(first * rows, len(vectors), threads * rows):
                block = slice(start, min(start + rows, len(vectors)))
                work.take_up(block)
                add(block, work)

        if threads == 1:
            run(0)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))

    def _add_reasons(self, block: slice, work: _Work, reasons: Array) -> None:
        size = block.stop - block.start
        for feature in range(self._n_features):
            self._look_up(feature, size, work, reasons[feature, block])
        index, number = work.index[:size], work.number[:size]
        for pair in self._pairs:
            work.pair_index(pair, index)
            for feature, share in ((pair.a, pair.share_of_a), (pair.b, pair.share_of_b)):
                np.take(share, index, mode="clip", out=number)
                reasons[feature, block] += number

    def _add_totals(self, block: slice, work: _Work, totals: Array) -> None:
        size = block.stop - block.start
        index, number = work.index[:size], work.number[:size]
        totals[block] = self._tables.base
        for feature in range(self._n_features):
            self._look_up(feature, size, work, number)
            totals[block] += number
        for pair in self._pairs:
            work.pair_index(pair, index)
            np.take(pair.values, index, mode="clip", out=number)
            totals[block] += number

    def _look_up(self, feature: int, size: int, work: _Work, out: Array) -> None:
        """Write what a feature's own table gives, and keep the cells if its pairs need them."""
        values, cells, index = work.columns[feature, :size], work.cells[feature, :size], work.index[:size]
        lookup, points = self._lookups[feature], self._points[feature]
        if lookup is None or points is None or not _as_whole_numbers(values, index):
            cells[:] = self._tables.cells_of(feature, values.astype(np.float64))
            np.take(self._singles[feature], cells, mode="clip", out=out)
            return
        np.clip(index, lookup.first, lookup.last, out=index)
        index -= lookup.first
        np.take(points, index, mode="clip", out=out)
        if feature in self._paired:
            np.take(lookup.cells, index, mode="clip", out=cells)

    # --------------------------------------------------------------------------- a few rows

    def _cells_of_few(self, vectors: Array) -> list[list[int]]:
        if not len(vectors):
            return []
        if vectors.dtype.kind != "i" or self._has_codes:
            cells: list[list[int]] = self._tables.cells(vectors).T.tolist()
            return cells
        return [list(map(bisect_left, self._cuts_list, row)) for row in vectors.astype(np.float64).tolist()]

    def _reasons_of_one(self, cells: list[int]) -> list[Any]:
        reasons = [single[cell] for single, cell in zip(self._singles_list, cells, strict=True)]
        for a, b, width, share_of_a, share_of_b, _ in self._pairs_list:
            index = cells[a] * width + cells[b]
            reasons[a] += share_of_a[index]
            reasons[b] += share_of_b[index]
        return reasons

    def _total_of_one(self, cells: list[int]) -> Any:
        total = self._tables.base
        for single, cell in zip(self._singles_list, cells, strict=True):
            total += single[cell]
        for a, b, width, _, _, values in self._pairs_list:
            total += values[cells[a] * width + cells[b]]
        return total


class _Work:
    """What one thread works on: the vectors, and buffers for a block of them."""

    def __init__(self, vectors: Array, n_features: int, rows: int, dtype: np.dtype[Any]) -> None:
        size = min(rows, len(vectors))
        self._vectors = vectors
        self._by_feature = vectors.T.flags.c_contiguous
        self.columns = vectors.T[:, :size] if self._by_feature else np.empty((n_features, size), dtype=vectors.dtype)
        self.cells = np.empty((n_features, size), dtype=np.intp)
        self.index = np.empty(size, dtype=np.intp)
        self.number = np.empty(size, dtype=dtype)

    def take_up(self, block: slice) -> None:
        """Lay out a block of the vectors feature by feature, unless they lie so already."""
        rows = self._vectors[block].T
        if self._by_feature:
            self.columns = rows
        else:
            self.columns[:, : rows.shape[1]] = rows

    def pair_index(self, pair: _Pair, out: NDArray[np.intp]) -> None:
        """Write where in a pair's flat table each row of the block lies."""
        np.multiply(self.cells[pair.a, : len(out)], pair.width, out=out)
        np.add(out, self.cells[pair.b, : len(out)], out=out)


def _as_whole_numbers(values: Array, out: NDArray[np.intp]) -> bool:
    """Write values as whole numbers, and say whether they all are: what is missing or broken is not."""
    if values.dtype.kind == "i":
        out[:] = values
        return True
    with np.errstate(invalid="ignore"):
        np.copyto(out, values, casting="unsafe")
    return bool((out == values).all())


def _smallest(tables: ScoreTables) -> np.dtype[Any]:
    """Return the type of reasons: of whole points the smallest that holds every sum, else the tables' own."""
    if not np.issubdtype(tables.dtype, np.integer):
        return tables.dtype
    largest = sum(
        max(int(np.abs(part).max()) for part in (table.values, *tables.shares(table))) for table in tables.tables
    )
    return np.result_type(np.int16, np.min_scalar_type(-largest - 1))


def _pair(table: ScoreTable, shares: tuple[Array, ...], dtype: np.dtype[Any]) -> _Pair:
    a, b = table.features
    values, share_of_a, share_of_b = (flat.astype(dtype).ravel() for flat in (table.values, *shares))
    return _Pair(a, b, table.values.shape[1], values, share_of_a, share_of_b)


def _lookup(tables: ScoreTables, feature: int) -> _Lookup | None:
    """Return the cells of all whole numbers, or None where there are too many to list."""
    cuts, codes = tables.cuts[feature], tables.special_of(feature)
    ends = np.concatenate([cuts, codes]) if len(codes) else cuts
    if not len(ends):
        return _Lookup(0, tables.cells_of(feature, np.zeros(1)))
    first, last = int(np.floor(ends.min())) - 1, int(np.floor(ends.max())) + 1
    if last - first >= _LARGEST_LOOKUP or max(abs(first), abs(last)) >= _EXACT:
        return None
    return _Lookup(first, tables.cells_of(feature, np.arange(first, last + 1, dtype=np.float64)))
