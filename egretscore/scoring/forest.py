"""From a LightGBM forest to score tables, without approximation.

A tree that splits on one feature, or on two, is a step function of those features. Its
leaves are added to the cells they cover in the table of that tree's features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.tables import ScoreTable, ScoreTables

_MOST_FEATURES = 2


@dataclass(frozen=True)
class _Range:
    """The values of a feature that reach a leaf: above ``low``, up to ``high``, and whether missing ones do."""

    low: float = -np.inf
    high: float = np.inf
    missing: bool = True


@dataclass(frozen=True)
class _Leaf:
    value: float
    ranges: Mapping[int, _Range]


def compile_forest(
    forest: Mapping[str, Any], feature_names: Sequence[str], baseline: NDArray[np.float64], has_missing: Sequence[bool]
) -> ScoreTables:
    """Compile a forest into score tables in log-odds.

    Parameters
    ----------
    forest : mapping
        What ``Booster.dump_model()`` returns.
    feature_names : sequence of str
    baseline : ndarray of shape (n_features,)
        The vector at which every table shall be 0.
    has_missing : sequence of bool
        Which features get a cell for missing values.

    Raises
    ------
    ValueError
        If a tree uses more than two features: such a forest is not a sum of tables.
    """
    trees = [list(_leaves(tree["tree_structure"])) for tree in forest["tree_info"]]
    cuts = _cuts(trees, len(feature_names))
    sizes = [len(c) + 1 + missing for c, missing in zip(cuts, has_missing, strict=True)]
    grids: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for leaves in trees:
        features = tuple(sorted({feature for leaf in leaves for feature in leaf.ranges}))
        if len(features) > _MOST_FEATURES:
            names = ", ".join(feature_names[f] for f in features)
            raise ValueError(f"a tree uses more than {_MOST_FEATURES} features together: {names}")
        grid = grids.setdefault(features, np.zeros([sizes[f] for f in features]))
        for leaf in leaves:
            covered = (_covered(leaf.ranges.get(f, _Range()), cuts[f], has_missing[f]) for f in features)
            grid[np.ix_(*covered)] += leaf.value
    base = float(grids.pop((), np.float64(0.0)))
    unanchored = ScoreTables(tuple(feature_names), cuts, tuple(has_missing), baseline, 0.0, ())
    at_baseline = {f: tuple(unanchored.baseline_cells[i] for i in f) for f in grids}
    return ScoreTables(
        feature_names=tuple(feature_names),
        cuts=cuts,
        missing=tuple(has_missing),
        baseline=baseline,
        base=base + sum(float(grids[f][at_baseline[f]]) for f in sorted(grids)),
        tables=tuple(ScoreTable(f, grids[f] - grids[f][at_baseline[f]]) for f in sorted(grids)),
    )


def _leaves(node: Mapping[str, Any], ranges: Mapping[int, _Range] | None = None) -> Iterator[_Leaf]:
    """Yield the leaves of a tree with the ranges of values that reach them."""
    ranges = ranges or {}
    if "leaf_value" in node:
        yield _Leaf(node["leaf_value"], ranges)
        return
    feature, threshold = node["split_feature"], node["threshold"]
    here = ranges.get(feature, _Range())
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
    left = _Range(here.low, min(here.high, threshold), here.missing and missing_left)
    right = _Range(max(here.low, threshold), here.high, here.missing and not missing_left)
    yield from _leaves(node["left_child"], {**ranges, feature: left})
    yield from _leaves(node["right_child"], {**ranges, feature: right})


def _cuts(trees: list[list[_Leaf]], n_features: int) -> tuple[NDArray[np.float64], ...]:
    found: dict[int, set[float]] = defaultdict(set)
    for leaves in trees:
        for leaf in leaves:
            for feature, reach in leaf.ranges.items():
                found[feature] |= {bound for bound in (reach.low, reach.high) if np.isfinite(bound)}
    return tuple(np.array(sorted(found[feature]), dtype=np.float64) for feature in range(n_features))


def _covered(reach: _Range, cuts: NDArray[np.float64], has_missing: bool) -> NDArray[np.intp]:
    """Return the cells that a range covers."""
    first = 0 if reach.low == -np.inf else int(np.searchsorted(cuts, reach.low)) + 1
    last = len(cuts) if reach.high == np.inf else int(np.searchsorted(cuts, reach.high))
    cells = list(range(first, last + 1))
    if has_missing and reach.missing:
        cells.append(len(cuts) + 1)
    return np.array(cells, dtype=np.intp)
