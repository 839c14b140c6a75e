"""Which pairs of features may share a tree, and in which stages of boosting.

Pairs are chosen from the data: a model that may combine what it likes is trained, and a
pair is worth the gain of the splits made on one of the two right below a split on the
other. The pairs chosen are dealt out into stages, in each of which no feature stands in two
pairs, so that every tree grown in a stage stays inside one pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Pair = tuple[int, int]


def gains_of_pairs(forest: Mapping[str, Any]) -> Mapping[Pair, float]:
    """Return, for each pair of features, the gain of the splits on one right below the other.

    Parameters
    ----------
    forest : mapping
        What ``Booster.dump_model()`` returns.
    """
    gains: defaultdict[Pair, float] = defaultdict(float)
    for tree in forest["tree_info"]:
        for above, below, gain in _splits_below(tree["tree_structure"]):
            if above != below:
                gains[min(above, below), max(above, below)] += gain
    return gains


def _splits_below(node: Mapping[str, Any]) -> Iterator[tuple[int, int, float]]:
    for side in ("left_child", "right_child"):
        child = node.get(side, {})
        if "split_feature" in child:
            yield node["split_feature"], child["split_feature"], child["split_gain"]
            yield from _splits_below(child)


def best_pairs(gains: Mapping[Pair, float], most: int, allowed: Callable[[int, int], bool]) -> list[Pair]:
    """Return the allowed pairs of greatest gain, at most so many, the greatest first."""
    ranked = sorted(((gain, pair) for pair, gain in gains.items() if allowed(*pair)), key=lambda x: (-x[0], x[1]))
    return [pair for _, pair in ranked[:most]]


def stages(pairs: Sequence[Pair], n_features: int) -> list[list[list[int]]]:
    """Deal pairs out into stages of disjoint sets that together hold every feature.

    Each pair goes into the first stage in which both its features are still free; features
    in no pair of a stage stand alone in it.
    """
    dealt: list[list[Pair]] = []
    for pair in pairs:
        for stage in dealt:
            if not any(set(pair) & set(other) for other in stage):
                stage.append(pair)
                break
        else:
            dealt.append([pair])
    return [_with_the_rest(stage, n_features) for stage in dealt or [[]]]


def _with_the_rest(stage: list[Pair], n_features: int) -> list[list[int]]:
    paired = {feature for pair in stage for feature in pair}
    return [*(list(pair) for pair in stage), *([f] for f in range(n_features) if f not in paired)]
