"""From a LightGBM forest to score tables, without approximation.

A tree each of whose leaves depends on one feature, or on two, is a sum of step functions of
one or two features. Each leaf is added to the cells it covers in the table of its features.

To a cell belongs, for each column that LightGBM was given, one number that stands for all
values in the cell; a split sends the whole cell the way of that number.

All trees are gone down at once, one level after the other, for a forest has tens of thousands of
leaves. The cells of each table are added up tree after tree, so the sums have the same last bits
on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.columns import Column, InputFeature
from egretscore.scoring.tables import ScoreTable, ScoreTables

_MOST_LEAVES_AT_ONCE = 20_000
# What LightGBM writes of a split in the bits of its decision type (Tree::decision_type).
_IS_CATEGORY, _MISSING_GOES_LEFT, _MISSING_IS_NAN = 0b0001, 0b0010, 0b1000
# A split that tells missing values from all others lies at infinity; LightGBM's own dump says 1e300.
_ABOVE_ALL = 1e300
_NO_FEATURE = -1

Numbers = NDArray[np.float64]
Cells = NDArray[np.bool_]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Forest:
    """The trees of a forest, side by side.

    Attributes
    ----------
    roots : array of shape (n_trees,)
        Where each tree begins: a position among the splits, or ``~position`` among the leaves.
    column, threshold, decision : arrays of shape (n_splits,)
        As LightGBM has them.
    left, right : arrays of shape (n_splits,)
        Where each split leads, as in ``roots``.
    levels : list of arrays
        Of each split of a category the levels that go left; ``threshold`` is a position in this list.
    value : array of shape (n_leaves,)
    """

    roots: Positions
    column: Positions
    threshold: Numbers
    decision: Positions
    left: Positions
    right: Positions
    levels: Sequence[Positions]
    value: Numbers

    def some(self, trees: slice) -> Forest:
        """Return a forest of some of the trees, with all splits and leaves still there."""
        return Forest(
            self.roots[trees],
            self.column,
            self.threshold,
            self.decision,
            self.left,
            self.right,
            self.levels,
            self.value,
        )


def read_forest(model: str) -> Forest:
    """Return the trees of a model, as ``Booster.model_to_string`` writes it."""
    trees = [dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in _tree_texts(model)]

    def listed(name: str) -> list[str]:
        return " ".join(tree.get(name, "") for tree in trees).split()

    leaves = np.array([int(tree["num_leaves"]) for tree in trees], dtype=np.intp)
    splits = leaves - 1
    first_leaf, first_split = np.cumsum(leaves) - leaves, np.cumsum(splits) - splits
    categories = np.array([int(tree["num_cat"]) for tree in trees], dtype=np.intp)
    own_first_leaf, own_first_split = np.repeat(first_leaf, splits), np.repeat(first_split, splits)

    def child(side: str) -> Positions:
        of_tree = np.array(listed(f"{side}_child"), dtype=np.intp)
        return np.where(of_tree < 0, ~(~of_tree + own_first_leaf), of_tree + own_first_split)

    decision = np.array(listed("decision_type"), dtype=np.intp)
    threshold = np.minimum(list(map(float, listed("threshold"))), _ABOVE_ALL)
    first_category = np.repeat(np.cumsum(categories) - categories, splits)
    return Forest(
        roots=np.where(splits > 0, first_split, ~first_leaf),
        column=np.array(listed("split_feature"), dtype=np.intp),
        threshold=np.where(decision & _IS_CATEGORY, threshold + first_category, threshold),
        decision=decision,
        left=child("left"),
        right=child("right"),
        levels=[levels for tree in trees if "cat_boundaries" in tree for levels in _levels(tree)],
        value=np.array(list(map(float, listed("leaf_value")))),
    )


def _tree_texts(model: str) -> list[str]:
    trees, _, _ = model.partition("\nend of trees")
    return trees.split("\nTree=")[1:]


def _levels(tree: dict[str, str]) -> Iterator[Positions]:
    """Yield the levels that each split of a category sends left: the bits that are set in its words."""
    words = np.array(tree["cat_threshold"].split(), dtype="<u4")
    for first, end in pairwise(map(int, tree["cat_boundaries"].split())):
        yield np.flatnonzero(np.unpackbits(words[first:end].view(np.uint8), bitorder="little"))


def compile_forests(
    forests: Sequence[Forest],
    features: Sequence[InputFeature],
    columns: Sequence[Column],
    baseline: Numbers,
) -> ScoreTables:
    """Compile the mean of several forests into score tables in log-odds.

    Parameters
    ----------
    forests : sequence of Forest
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
    share = 1 / len(forests)
    base, grids = 0.0, dict[tuple[int, ...], Numbers]()
    for forest in forests:
        at_once = max(1, _MOST_LEAVES_AT_ONCE * len(forest.roots) // max(len(forest.value), 1))
        for first in range(0, len(forest.roots), at_once):
            for tree in _leaves_by_tree(forest.some(slice(first, first + at_once)), columns, empty):
                for of, leaves in _by_table(tree):
                    if not of:
                        base += float(leaves.value[0]) * share
                        continue
                    grid = grids.setdefault(of, np.zeros([sizes[f] for f in of]))
                    # No cell is in two leaves of a tree, so these products are sums of one number and zeros.
                    reach = [leaves.reach_of(f, sizes[f]) for f in of]
                    shares = leaves.value * share
                    grid += shares @ reach[0] if len(of) == 1 else (reach[0].T * shares) @ reach[1]
    at_baseline = {of: tuple(empty.baseline_cells[f] for f in of) for of in grids}
    return ScoreTables(
        feature_names=names,
        cuts=empty.cuts,
        missing=empty.missing,
        baseline=baseline,
        base=base + sum(float(grids[of][at_baseline[of]]) for of in sorted(grids)),
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

    def reach_of(self, feature: int, size: int) -> Numbers:
        """Return which of a feature's cells reach each leaf, shape (n, size), as ones and zeros."""
        chosen = np.where((self.feature[0] == feature)[:, None], *self.reach[:, :, :size])
        return np.asarray(chosen, dtype=np.float64)


def _by_table(tree: _Leaves) -> Iterator[tuple[tuple[int, ...], _Leaves]]:
    """Yield the features of each table that a tree adds to, and the leaves that belong there."""
    own = [tuple(sorted(f for f in pair if f != _NO_FEATURE)) for pair in tree.feature.T.tolist()]
    pairs = sorted({of for of in own if len(of) > 1})
    # What a leaf of one feature says belongs beside the leaves of that feature's pair.
    belongs = [next((pair for pair in pairs if set(of) <= set(pair)), of) if len(of) == 1 else of for of in own]
    for of in sorted(set(belongs)):
        yield of, tree[np.array([position for position, other in enumerate(belongs) if other == of])]


def _leaves_by_tree(forest: Forest, columns: Sequence[Column], tables: ScoreTables) -> Iterator[_Leaves]:
    """Yield the leaves of each tree with the cells that reach them."""
    feature_of = np.array([column.feature for column in columns], dtype=np.intp)
    standing_for = [column.standing_for(tables) for column in columns]
    width = max(map(len, standing_for))
    node, n = forest.roots, len(forest.roots)
    at = _Leaves(np.arange(n), np.zeros(n), np.full((2, n), _NO_FEATURE), np.ones((2, n, width), dtype=bool))
    found = []
    while len(node):
        ended = node < 0
        leaves = at[np.flatnonzero(ended)]
        found.append(replace(leaves, value=forest.value[~node[ended]]))
        node, at = node[~ended], at[np.flatnonzero(~ended)]
        left = _go_left(forest, node, standing_for, width)
        sides = [_narrowed(at, feature_of[forest.column[node]], reach, tables.feature_names) for reach in (left, ~left)]
        node = np.concatenate([forest.left[node], forest.right[node]])
        at = _together(sides)
    every = _together(found)
    in_order = every[np.argsort(every.tree, kind="stable")]
    ends = np.searchsorted(in_order.tree, np.arange(n), side="right").tolist()
    return (in_order[slice(first, end)] for first, end in pairwise([0, *ends]))


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


def _go_left(forest: Forest, splits: Positions, standing_for: Sequence[Numbers], width: int) -> Cells:
    """Return which cells each split sends left, as LightGBM decides it, shape (n_splits, width)."""
    left = np.zeros((len(splits), width), dtype=bool)
    threshold, decision = forest.threshold[splits], forest.decision[splits]
    missing_left = np.where(decision & _MISSING_IS_NAN, decision & _MISSING_GOES_LEFT, threshold >= 0).astype(bool)
    for column, numbers in enumerate(standing_for):
        of_column = np.flatnonzero(forest.column[splits] == column)
        cells = slice(len(numbers))
        left[of_column, cells] = np.where(
            np.isnan(numbers), missing_left[of_column, None], numbers <= threshold[of_column, None]
        )
        for split in of_column[(decision[of_column] & _IS_CATEGORY) > 0].tolist():
            left[split, cells] = np.isin(numbers, forest.levels[int(threshold[split])])
    return left


def _cuts(
    forests: Sequence[Forest], features: Sequence[InputFeature], columns: Sequence[Column]
) -> tuple[Numbers, ...]:
    """Return where the cells of each feature end: at its splits, or between the levels of a category."""
    column = np.concatenate([forest.column for forest in forests])
    threshold = np.concatenate([forest.threshold for forest in forests])
    of_values = {of.feature: number for number, of in enumerate(columns) if not of.codes and not of.category}
    return tuple(
        np.unique(threshold[column == of_values[position]])
        if feature.levels is None
        else np.arange(len(feature.levels) - 1, dtype=np.float64) + 0.5
        for position, feature in enumerate(features)
    )
