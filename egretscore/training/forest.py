"""From a LightGBM forest to score tables, without approximation.

A tree each of whose leaves depends on one feature, or on two, is a sum of step functions of
one or two features. Each leaf is added to the cells it covers in the table of its features.

To a cell belongs, for each column that LightGBM was given, one number that stands for all
values in the cell; a split sends the whole cell the way of that number.

Many trees are gone down together, one level after the other, for forests have tens of thousands of
leaves. The cells of each table are added up tree after tree, so the sums have the same last bits
on every machine, and however many trees go together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.tables import ScoreTable, ScoreTables
from egretscore.training.columns import Column, InputFeature

# So that memory stays small: the cells of all leaves that are gone down to together, and those of a table
# times the trees that are added to it together, which had better fit into a processor's own memory.
_MOST_REACHED_AT_ONCE = 4_000_000
_MOST_CELLS_AT_ONCE = 100_000
# What LightGBM writes of a split in the bits of its decision type (Tree::decision_type).
_IS_CATEGORY, _MISSING_GOES_LEFT, _MISSING_IS_NAN = 0b0001, 0b0010, 0b1000
# A split that tells missing values from all others lies at infinity, and no value does.
_ABOVE_ALL = np.finfo(np.float64).max
_WORD = np.dtype("<u4")
_NO_FEATURE = -1

Numbers = NDArray[np.float64]
Cells = NDArray[np.bool_]
Positions = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Forests:
    """The trees of one forest, or of several one after the other.

    Attributes
    ----------
    count : int
        Of how many forests.
    roots : array of shape (n_trees,)
        Where each tree begins: a position among the splits, or ``~position`` among the leaves.
    column, threshold, decision : arrays of shape (n_splits,)
        As LightGBM has them.
    left, right : arrays of shape (n_splits,)
        Where each split leads, as in ``roots``.
    levels : array of shape (n_splits_of_categories, most_words)
        Of each split of a category which levels go left, as bits; ``threshold`` is a position in it.
    value : array of shape (n_leaves,)
    """

    count: int
    roots: Positions
    column: Positions
    threshold: Numbers
    decision: Positions
    left: Positions
    right: Positions
    levels: NDArray[np.uint32]
    value: Numbers

    def some(self, trees: slice) -> Forests:
        """Return some of the trees, with all splits and leaves still there."""
        return replace(self, roots=self.roots[trees])


def read_forests(models: Sequence[str], n_trees: Sequence[int | None]) -> Forests:
    """Return so many trees, or all of them, of each model as ``Booster.model_to_string`` writes it."""
    texts = [text for model, n in zip(models, n_trees, strict=True) for text in _tree_texts(model)[:n]]
    trees = [dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in texts]

    def listed(name: str, of: Any) -> NDArray[Any]:
        numbers = " ".join(tree[name] for tree in trees if name in tree)
        return np.fromstring(numbers.strip(), of, sep=" ")  # blanks alone it reads as a number

    leaves, categories = listed("num_leaves", np.intp), listed("num_cat", np.intp)
    splits = leaves - 1
    first_leaf, first_split = np.cumsum(leaves) - leaves, np.cumsum(splits) - splits
    own_first_leaf, own_first_split = np.repeat(first_leaf, splits), np.repeat(first_split, splits)

    def child(side: str) -> Positions:
        of_tree = listed(f"{side}_child", np.intp)
        placed: Positions = np.where(of_tree < 0, ~(~of_tree + own_first_leaf), of_tree + own_first_split)
        return placed

    decision = listed("decision_type", np.intp)
    threshold = np.minimum(listed("threshold", np.float64), _ABOVE_ALL)
    first_category = np.repeat(np.cumsum(categories) - categories, splits)
    return Forests(
        count=len(models),
        roots=np.where(splits > 0, first_split, ~first_leaf),
        column=listed("split_feature", np.intp),
        threshold=np.where(decision & _IS_CATEGORY, threshold + first_category, threshold),
        decision=decision,
        left=child("left"),
        right=child("right"),
        levels=_levels(listed("cat_boundaries", np.intp), listed("cat_threshold", _WORD)),
        value=listed("leaf_value", np.float64),
    )


def _tree_texts(model: str) -> list[str]:
    trees, _, _ = model.partition("\nend of trees")
    return trees.split("\nTree=")[1:]


def _levels(boundaries: Positions, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the words of each split of a category, filled up with zeros."""
    counts = np.diff(boundaries)[boundaries[1:] > 0]  # those of each tree begin with 0
    levels = np.zeros((len(counts), counts.max(initial=0)), dtype=_WORD)
    levels[np.arange(levels.shape[1]) < counts[:, None]] = words
    return levels


def compile_forests(
    forests: Forests,
    features: Sequence[InputFeature],
    columns: Sequence[Column],
    baseline: Numbers,
) -> ScoreTables:
    """Compile the mean of several forests into score tables in log-odds.

    Parameters
    ----------
    forests : Forests
    features : sequence of InputFeature
    columns : sequence of Column
        What LightGBM was given, in order.
    baseline : ndarray of shape (n_features,)
        The vector at which every table shall be 0.

    Raises
    ------
    ValueError
        If a leaf depends on more than two features: such a forest is not a sum of tables.
    """
    names = tuple(feature.name for feature in features)
    empty = ScoreTables(
        feature_names=names,
        cuts=_cuts(forests, features, columns),
        missing=tuple(feature.missing for feature in features),
        baseline=baseline,
        base=0.0,
        tables=(),
        special=tuple(feature.special for feature in features),
    )
    sizes = [empty.n_cells(position) for position in range(len(features))]
    mean = replace(forests, value=forests.value * (1 / forests.count))
    constant, grids = list[float](), dict[tuple[int, ...], Numbers]()
    leaves_at_once = _MOST_REACHED_AT_ONCE // max(sizes, default=1)
    at_once = max(1, leaves_at_once * len(forests.roots) // max(len(forests.value), 1))
    for first in range(0, len(forests.roots), at_once):
        leaves = _leaves_of(mean.some(slice(first, first + at_once)), columns, empty)
        for of, own in _by_table(leaves, len(features)):
            if not of:
                constant += own.value.tolist()
                continue
            grid = grids.setdefault(of, np.zeros([sizes[f] for f in of]))
            for of_tree in _added_by_tree(own, of, grid.shape):
                grid += of_tree
    at_baseline = {of: tuple(empty.baseline_cells[f] for f in of) for of in grids}
    return ScoreTables(
        feature_names=names,
        cuts=empty.cuts,
        missing=empty.missing,
        baseline=baseline,
        base=math.fsum([*constant, *(float(grids[of][at_baseline[of]]) for of in sorted(grids))]),
        tables=tuple(ScoreTable(of, grids[of] - grids[of][at_baseline[of]]) for of in sorted(grids)),
        special=empty.special,
    )


@dataclass(frozen=True)
class _Leaves:
    """Leaves, each of which depends on two features at most, and which cells of these reach it.

    Attributes
    ----------
    tree : array of shape (n,)
    value : array of shape (n,)
    feature : array of shape (2, n)
        ``_NO_FEATURE`` where a leaf depends on fewer.
    reach : array of shape (2, n, most cells)
        All of them where a leaf depends on fewer features.
    """

    tree: Positions
    value: Numbers
    feature: Positions
    reach: Cells

    def __getitem__(self, chosen: slice | Positions) -> _Leaves:
        return _Leaves(self.tree[chosen], self.value[chosen], self.feature[:, chosen], self.reach[:, chosen])

    def reach_of(self, feature: int, size: int) -> Cells:
        """Return which of a feature's cells reach each leaf, shape (n, size)."""
        first, second = self.reach[:, :, :size]
        reach: Cells = np.where((self.feature[0] == feature)[:, None], first, second)
        return reach


def _by_table(leaves: _Leaves, n_features: int) -> Iterator[tuple[tuple[int, ...], _Leaves]]:
    """Yield the features of each table that trees add to, and the leaves that belong there, tree after tree."""
    table = _table_of(leaves, n_features)
    in_order = np.argsort(table, kind="stable")
    tables, firsts = np.unique(table[in_order], return_index=True)
    for number, chosen in zip(tables.tolist(), np.split(in_order, firsts[1:]), strict=True):
        both = (position - 1 for position in divmod(number, n_features + 1))
        yield tuple(feature for feature in both if feature != _NO_FEATURE), leaves[chosen]


def _table_of(leaves: _Leaves, n_features: int) -> Positions:
    """Return a number for the table of each leaf: that of its features, a missing one first, in base n + 1."""
    a, b = np.sort(leaves.feature, axis=0)
    table: Positions = (a + 1) * (n_features + 1) + b + 1
    # What a leaf of one feature says belongs beside the leaves of that feature's pair, the first in its tree.
    none = (n_features + 1) ** 2
    first_pair = np.full((leaves.tree.max(initial=-1) + 1, n_features), none)
    paired, alone = a != _NO_FEATURE, (a == _NO_FEATURE) & (b != _NO_FEATURE)
    for feature in (a, b):
        np.minimum.at(first_pair, (leaves.tree[paired], feature[paired]), table[paired])
    beside = first_pair[leaves.tree[alone], b[alone]]
    table[alone] = np.where(beside == none, table[alone], beside)
    return table


def _added_by_tree(leaves: _Leaves, of: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[Numbers]:
    """Yield what each tree adds to the cells of a table."""
    begins = np.flatnonzero(np.diff(leaves.tree, prepend=-1))
    counts = np.diff(begins, append=len(leaves.tree))
    tree = np.repeat(np.arange(len(begins)), counts)
    place = np.arange(len(tree)) - begins[tree]
    at_once = max(1, _MOST_CELLS_AT_ONCE // math.prod(shape))
    for first in range(0, len(begins), at_once):
        chosen = np.flatnonzero((tree >= first) & (tree < first + at_once))
        some, at = leaves[chosen], (tree[chosen] - first, place[chosen])
        leaf_by_tree = (int(at[0][-1]) + 1, int(counts[first : first + at_once].max()))
        value = np.zeros((*leaf_by_tree, 1))
        value[at] = some.value[:, None]
        reach = [np.zeros((*leaf_by_tree, size)) for size in shape]
        for of_feature, feature, size in zip(reach, of, shape, strict=True):
            of_feature[at] = some.reach_of(feature, size)
        *others, last = reach
        rows = others[0] * value if others else value
        # No cell is in two leaves of a tree, so this product is sums of one number and zeros.
        yield from (rows.transpose(0, 2, 1) @ last).reshape(-1, *shape)


def _leaves_of(forests: Forests, columns: Sequence[Column], tables: ScoreTables) -> _Leaves:
    """Return the leaves, tree after tree, with the cells that reach them."""
    feature_of = np.array([column.feature for column in columns], dtype=np.intp)
    standing_for = [column.standing_for(tables) for column in columns]
    width = max(map(len, standing_for))
    node, n = forests.roots, len(forests.roots)
    at = _Leaves(np.arange(n), np.zeros(n), np.full((2, n), _NO_FEATURE), np.ones((2, n, width), dtype=bool))
    found = []
    while len(node):
        ended = node < 0
        leaves = at[np.flatnonzero(ended)]
        found.append(replace(leaves, value=forests.value[~node[ended]]))
        node, at = node[~ended], at[np.flatnonzero(~ended)]
        left = _go_left(forests, node, standing_for, width)
        feature = feature_of[forests.column[node]]
        sides = [_narrowed(at, feature, reach, tables.feature_names) for reach in (left, ~left)]
        node = np.concatenate([forests.left[node], forests.right[node]])
        at = _together(sides)
    every = _together(found)
    return every[np.argsort(every.tree, kind="stable")]


def _narrowed(at: _Leaves, feature: Positions, reach: Cells, names: Sequence[str]) -> _Leaves:
    """Return where a path leads once it went one way at a split on a feature."""
    free_or_own = (at.feature == feature) | (at.feature == _NO_FEATURE)
    too_many = np.flatnonzero(~free_or_own.any(axis=0))
    if len(too_many):
        together = ", ".join(
            names[f] for f in sorted([*at.feature[:, too_many[0]].tolist(), int(feature[too_many[0]])])
        )
        raise ValueError(f"a leaf depends on more than {len(at.feature)} features together: {together}")
    place = (np.argmax(free_or_own, axis=0), np.arange(len(feature)))
    features, cells = at.feature.copy(), at.reach.copy()
    features[place] = feature
    cells[place] &= reach
    return replace(at, feature=features, reach=cells)


def _together(parts: Sequence[_Leaves]) -> _Leaves:
    return _Leaves(
        np.concatenate([part.tree for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.feature for part in parts], axis=1),
        np.concatenate([part.reach for part in parts], axis=1),
    )


def _go_left(forests: Forests, splits: Positions, standing_for: Sequence[Numbers], width: int) -> Cells:
    """Return which cells each split sends left, as LightGBM decides it, shape (n_splits, width)."""
    left = np.zeros((len(splits), width), dtype=bool)
    threshold, decision = forests.threshold[splits], forests.decision[splits]
    missing_left = np.where(decision & _MISSING_IS_NAN, decision & _MISSING_GOES_LEFT, threshold >= 0).astype(bool)
    for column, numbers in enumerate(standing_for):
        of_column = np.flatnonzero(forests.column[splits] == column)
        cells = slice(len(numbers))
        left[of_column, cells] = np.where(
            np.isnan(numbers), missing_left[of_column, None], numbers <= threshold[of_column, None]
        )
        of_levels = of_column[(decision[of_column] & _IS_CATEGORY) > 0]
        words = forests.levels[threshold[of_levels].astype(np.intp)]
        # The cells of a category are its levels, in order.
        levels = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : len(numbers)]
        left[of_levels, cells] = False
        left[of_levels, : levels.shape[1]] = levels
    return left


def _cuts(forests: Forests, features: Sequence[InputFeature], columns: Sequence[Column]) -> tuple[Numbers, ...]:
    """Return where the cells of each feature end: at its splits, or between the levels of a category."""
    of_values = {of.feature: number for number, of in enumerate(columns) if not of.codes and not of.category}
    return tuple(
        np.unique(forests.threshold[forests.column == of_values[position]])
        if feature.levels is None
        else np.arange(len(feature.levels) - 1, dtype=np.float64) + 0.5
        for position, feature in enumerate(features)
    )
