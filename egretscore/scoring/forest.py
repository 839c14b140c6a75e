"""From a LightGBM forest to score tables, without approximation.

A tree each of whose leaves depends on one feature, or on two, is a sum of step functions of
one or two features. Each leaf is added to the cells it covers in the table of its features.

To a cell belongs, for each column that LightGBM was given, one number that stands for all
values in the cell; a split sends the whole cell the way of that number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.columns import Column, InputFeature
from egretscore.scoring.tables import ScoreTable, ScoreTables

_MOST_FEATURES = 2
Cells = NDArray[np.bool_]
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class _Leaf:
    """A leaf's value, and which cells of each feature on its path reach it."""

    value: float
    reach: Mapping[int, Cells]


def compile_forests(
    forests: Sequence[Mapping[str, Any]],
    features: Sequence[InputFeature],
    columns: Sequence[Column],
    baseline: NDArray[np.float64],
) -> ScoreTables:
    """Compile the mean of several forests into score tables in log-odds.

    Parameters
    ----------
    forests : sequence of mappings
        What ``Booster.dump_model()`` returns of each.
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
    trees = [tree["tree_structure"] for forest in forests for tree in forest["tree_info"]]
    names = tuple(feature.name for feature in features)
    empty = ScoreTables(
        feature_names=names,
        cuts=_cuts(trees, features, columns),
        missing=tuple(feature.missing for feature in features),
        baseline=baseline,
        base=0.0,
        tables=(),
        special=tuple(feature.special for feature in features),
    )
    standing_for = [column.standing_for(empty) for column in columns]
    sizes = [empty.n_cells(position) for position in range(len(features))]
    share = 1 / len(forests)
    base, grids = 0.0, dict[tuple[int, ...], NDArray[np.float64]]()
    for tree in trees:
        leaves = list(_leaves(tree, columns, standing_for, {}))
        # What a leaf of one feature says belongs beside the leaves of that feature's pair.
        pairs = {tuple(sorted(leaf.reach)) for leaf in leaves if len(leaf.reach) > 1}
        for leaf in leaves:
            own = tuple(sorted(leaf.reach))
            if len(own) > _MOST_FEATURES:
                together = ", ".join(names[f] for f in own)
                raise ValueError(f"a leaf depends on more than {_MOST_FEATURES} features together: {together}")
            if not own:
                base += leaf.value * share
                continue
            of = min((pair for pair in pairs if set(own) <= set(pair)), default=own)
            grid = grids.setdefault(of, np.zeros([sizes[f] for f in of]))
            everywhere = (leaf.reach.get(f, np.ones(sizes[f], dtype=bool)) for f in of)
            grid[np.ix_(*everywhere)] += leaf.value * share
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


def _leaves(
    node: Tree, columns: Sequence[Column], standing_for: Sequence[NDArray[np.float64]], reach: Mapping[int, Cells]
) -> Iterator[_Leaf]:
    """Yield the leaves of a tree with the cells that reach them."""
    if "leaf_value" in node:
        yield _Leaf(node["leaf_value"], reach)
        return
    feature = columns[node["split_feature"]].feature
    left = _goes_left(node, standing_for[node["split_feature"]])
    here = reach.get(feature)
    yield from _leaves(
        node["left_child"], columns, standing_for, {**reach, feature: left if here is None else here & left}
    )
    yield from _leaves(
        node["right_child"], columns, standing_for, {**reach, feature: ~left if here is None else here & ~left}
    )


def _goes_left(split: Tree, numbers: NDArray[np.float64]) -> Cells:
    """Return which numbers a split sends left, as LightGBM decides it."""
    if split["decision_type"] == "==":
        return np.isin(numbers, [float(level) for level in split["threshold"].split("||")])
    threshold = split["threshold"]
    missing_left = split["default_left"] if split["missing_type"] == "NaN" else threshold >= 0
    left: Cells = np.where(np.isnan(numbers), missing_left, numbers <= threshold)
    return left


def _cuts(
    trees: Sequence[Tree], features: Sequence[InputFeature], columns: Sequence[Column]
) -> tuple[NDArray[np.float64], ...]:
    """Return where the cells of each feature end: at its splits, or between the levels of a category."""
    found: list[set[float]] = [set() for _ in features]
    for tree in trees:
        for column, threshold in _thresholds(tree):
            if not columns[column].codes and not columns[column].category:
                found[columns[column].feature].add(threshold)
    return tuple(
        np.array(sorted(cuts), dtype=np.float64)
        if feature.levels is None
        else np.arange(len(feature.levels) - 1, dtype=np.float64) + 0.5
        for feature, cuts in zip(features, found, strict=True)
    )


def _thresholds(node: Tree) -> Iterator[tuple[int, Any]]:
    if "leaf_value" not in node:
        yield node["split_feature"], node["threshold"]
        yield from _thresholds(node["left_child"])
        yield from _thresholds(node["right_child"])
