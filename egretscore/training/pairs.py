"""Which pairs of features may share a tree, and in which stages of boosting.

Pairs are chosen from the data: a model that may combine what it likes is trained, and a
pair is worth the gain of the splits made on one of the two right below a split on the
other. The pairs chosen are dealt out into stages: within one, a feature that must go one
way stands in one pair at most, so that all a tree says of it comes to stand in one table,
which then goes that way too. Features free to go either way share a stage with all pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Pair = tuple[int, int]


def gains_of_pairs(forest: Mapping[str, Any], feature_of: Sequence[int]) -> Mapping[Pair, float]:
    """Return, for each pair of features, the gain of the splits on one right below the other.

    Parameters
    ----------
    forest : mapping
        What ``Booster.dump_model()`` returns.
    feature_of : sequence of int
        The feature of each column.
    """
    gains: defaultdict[Pair, float] = defaultdict(float)
    for tree in forest["tree_info"]:
        for above, below, gain in _splits_below(tree["tree_structure"]):
            a, b = sorted((feature_of[above], feature_of[below]))
            if a != b:
                gains[a, b] += gain
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


def stages(pairs: Sequence[Pair], directions: Sequence[int]) -> list[list[list[int]]]:
    """Deal pairs out into stages of sets of features that may share a path of a tree.

    Each pair goes into the first stage in which no pair has those of its features yet that
    must go one way; features in no pair of a stage stand alone in it.
    """
    dealt: list[list[Pair]] = []
    for pair in pairs:
        directed = {feature for feature in pair if directions[feature]}
        for stage in dealt:
            if not any(directed & set(other) for other in stage):
                stage.append(pair)
                break
        else:
            dealt.append([pair])
    return [_with_the_rest(stage, len(directions)) for stage in dealt or [[]]]


def _with_the_rest(stage: list[Pair], n_features: int) -> list[list[int]]:
    paired = {feature for pair in stage for feature in pair}
    return [*(list(pair) for pair in stage), *([f] for f in range(n_features) if f not in paired)]
