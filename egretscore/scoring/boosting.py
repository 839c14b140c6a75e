"""Boosting in stages, so that every tree lives in one pair of features or in one feature.

LightGBM grows the trees. Each stage hands it a set of disjoint pairs as interaction
constraints, the next stage another set, continuing the same booster, round and round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.pairs import Pair, best_pairs, gains_of_pairs, stages


@dataclass(frozen=True)
class Settings:
    """How a forest is grown.

    Attributes
    ----------
    feature_names : tuple of str
        As LightGBM writes them: letters, digits and underscores.
    directions : tuple of int
        For each feature +1, -1 or 0: the way the log-odds must go.
    pair_across : tuple or None
        A label for each feature; features of one label are never paired. None: any may be.
    """

    feature_names: tuple[str, ...]
    directions: tuple[int, ...]
    pair_across: tuple[Any, ...] | None
    most_pairs: int
    learning_rate: float
    leaves: int
    most_bins: int
    smallest_leaf: int
    l2: float
    rounds_per_stage: int
    seed: int

    def for_lightgbm(self, sets: list[list[int]] | None = None) -> dict[str, Any]:
        """Return LightGBM's parameters; ``sets`` are the features that may share a tree."""
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "max_bin": self.most_bins,
            "min_data_in_bin": 1,
            "min_data_in_leaf": self.smallest_leaf,
            "min_sum_hessian_in_leaf": 1e-3,
            "lambda_l2": self.l2,
            "monotone_constraints": list(self.directions),
            "monotone_constraints_method": "basic",
            **({} if sets is None else {"interaction_constraints": sets}),
            # One thread and no choice by timing: the same bytes on any number of cores.
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": 1,
            "seed": self.seed,
            "verbosity": -1,
        }


@dataclass(frozen=True)
class Rows:
    """Weighted rows to learn from: features, outcomes 0 or 1, and weights."""

    features: NDArray[np.float64]
    outcome: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[Any]) -> Rows:
        return Rows(self.features[chosen], self.outcome[chosen], self.weight[chosen])

    def dataset(self, settings: Settings) -> lgb.Dataset:
        """Return the rows as LightGBM holds them."""
        return lgb.Dataset(
            self.features,
            self.outcome,
            weight=self.weight,
            feature_name=list(settings.feature_names),
            params=settings.for_lightgbm(),
            free_raw_data=False,
        )


def choose_pairs(rows: Rows, settings: Settings, rounds: int) -> list[Pair]:
    """Return the pairs of features that gain most in a model free to combine them."""
    free = lgb.train(settings.for_lightgbm(), rows.dataset(settings), num_boost_round=rounds)
    labels = settings.pair_across
    return best_pairs(
        gains_of_pairs(free.dump_model()),
        settings.most_pairs,
        allowed=lambda a, b: labels is None or labels[a] != labels[b],
    )


def boost(rows: Rows, pairs: Sequence[Pair], settings: Settings, rounds: int) -> lgb.Booster:
    """Grow a forest of so many rounds, each tree inside one of the pairs."""
    *_, booster = _growing(rows, pairs, settings, rounds)
    return booster


def rounds_until_no_better(
    rows: Rows, held_out: Rows, pairs: Sequence[Pair], settings: Settings, most_rounds: int, patience: int
) -> int:
    """Return after how many rounds the log loss of the rows held out was least.

    Stops early when it has not improved for ``patience`` rounds.
    """
    best_loss, best_rounds, done = np.inf, settings.rounds_per_stage, 0
    raw = np.zeros(len(held_out.outcome))
    for booster in _growing(rows, pairs, settings, most_rounds):
        grown = booster.num_trees()
        raw += booster.predict(held_out.features, raw_score=True, start_iteration=done, num_iteration=grown - done)
        done = grown
        loss = float(np.average(np.logaddexp(0.0, raw) - held_out.outcome * raw, weights=held_out.weight))
        if loss < best_loss:
            best_loss, best_rounds = loss, grown
        elif grown - best_rounds >= patience:
            break
    return best_rounds


def _growing(rows: Rows, pairs: Sequence[Pair], settings: Settings, rounds: int) -> Iterator[lgb.Booster]:
    """Yield the growing forest after each stage."""
    sets_by_stage = stages(pairs, rows.features.shape[1])
    data = rows.dataset(settings)
    booster: lgb.Booster | None = None
    for stage, start in enumerate(range(0, rounds, settings.rounds_per_stage)):
        booster = lgb.train(
            settings.for_lightgbm(sets_by_stage[stage % len(sets_by_stage)]),
            data,
            num_boost_round=min(settings.rounds_per_stage, rounds - start),
            init_model=booster,
        )
        yield booster
