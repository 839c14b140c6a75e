"""Boosting in stages, so that every path of every tree stays within one pair of features.

LightGBM grows the trees. Each stage hands it the pairs that may share a path as interaction
constraints, the next stage other pairs, continuing the same booster, round and round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from egretscore.scoring.columns import Column
from egretscore.scoring.pairs import Pair, best_pairs, gains_of_pairs, stages


@dataclass(frozen=True)
class Settings:
    """How a forest is grown.

    Attributes
    ----------
    columns : tuple of Column
        What LightGBM is given.
    directions : tuple of int
        For each feature +1, -1 or 0: the way the log-odds must go.
    pair_across : tuple or None
        A label for each feature; features of one label are never paired. None: any may be.
    """

    columns: tuple[Column, ...]
    directions: tuple[int, ...]
    pair_across: tuple[Any, ...] | None
    most_pairs: int
    ridge: float | None
    learning_rate: float
    leaves: int
    most_bins: int
    random_cuts: bool
    smallest_leaf: int
    l2: float
    rounds_per_stage: int
    most_rounds: int
    patience: int
    seed: int

    def for_lightgbm(self, sets: list[list[int]] | None = None) -> dict[str, Any]:
        """Return LightGBM's parameters; ``sets`` are the features that may share a path."""
        columns = self.columns
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "max_bin": self.most_bins,
            "min_data_in_bin": 1,
            # Bins come from all rows: from a sample they would lack the rarest values.
            "bin_construct_sample_cnt": np.iinfo(np.int32).max,
            "extra_trees": self.random_cuts,
            "min_data_in_leaf": self.smallest_leaf,
            "min_sum_hessian_in_leaf": 1e-3,
            # One level against all others. Sets of levels, put in order by their own rows' outcomes, fit to chance.
            "max_cat_to_onehot": np.iinfo(np.int32).max,
            "lambda_l2": self.l2,
            # Codes and levels have no order, so a direction is that of the values alone.
            "monotone_constraints": [0 if c.unordered else self.directions[c.feature] for c in columns],
            "monotone_constraints_method": "basic",
            **({} if sets is None else {"interaction_constraints": [self._columns_of(features) for features in sets]}),
            # One thread and no choice by timing: the same bytes on any number of cores. By columns the trees are
            # the same, and take longer.
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "seed": self.seed,
            "verbosity": -1,
        }

    def _columns_of(self, features: Sequence[int]) -> list[int]:
        return [number for number, column in enumerate(self.columns) if column.feature in features]


@dataclass(frozen=True)
class Rows:
    """Weighted rows to learn from: columns for LightGBM and for the regression, outcomes 0 or 1, and weights."""

    columns: NDArray[np.float64]
    for_regression: Any  # an array, or a sparse one where levels are many
    outcome: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[Any]) -> Rows:
        return Rows(self.columns[chosen], self.for_regression[chosen], self.outcome[chosen], self.weight[chosen])

    def log_loss(self, log_odds: NDArray[np.float64]) -> float:
        """Return the weighted mean log loss of these log-odds of the rows."""
        return float(np.average(np.logaddexp(0.0, log_odds) - self.outcome * log_odds, weights=self.weight))

    def dataset(self, settings: Settings, cut_like: lgb.Dataset | None = None) -> lgb.Dataset:
        """Return the rows as LightGBM holds them, cut into the bins of another data set if one is given."""
        return lgb.Dataset(
            self.columns,
            self.outcome,
            weight=self.weight,
            reference=cut_like,
            feature_name=[column.name for column in settings.columns],
            categorical_feature=[number for number, column in enumerate(settings.columns) if column.category],
            params=settings.for_lightgbm(),
            free_raw_data=False,
        )

    def bins(self, settings: Settings) -> lgb.Dataset:
        """Return a data set for others to be cut like.

        LightGBM never draws the highest cut of a column by lot, nor the one between all values
        and the missing ones. Where cuts are drawn, a row above all others gives each column one more
        cut, there, which nobody needs.
        """
        if not settings.random_cuts:
            return self.dataset(settings)
        greatest = np.nanmax(np.vstack([self.columns, np.zeros(self.columns.shape[1])]), axis=0)
        above = np.where([column.category for column in settings.columns], np.nan, 2 * greatest + 1)
        above = np.minimum(above, np.finfo(np.float64).max)
        with_it = np.vstack([self.columns, above])
        return replace(
            self, columns=with_it, outcome=np.append(self.outcome, 0.0), weight=np.append(self.weight, 1.0)
        ).dataset(settings)


def choose_pairs(data: lgb.Dataset, settings: Settings, rounds: int, start: lgb.Booster | None) -> list[Pair]:
    """Return the pairs of features that gain most in a model free to combine them."""
    free = lgb.train(settings.for_lightgbm(), data, num_boost_round=rounds, init_model=start)
    labels = settings.pair_across
    return best_pairs(
        gains_of_pairs(free.dump_model(), [column.feature for column in settings.columns]),
        settings.most_pairs,
        allowed=lambda a, b: labels is None or labels[a] != labels[b],
    )


def boost(
    data: lgb.Dataset, pairs: Sequence[Pair], settings: Settings, rounds: int, start: lgb.Booster | None
) -> lgb.Booster:
    """Grow a forest by so many rounds, each path of a tree inside one of the pairs."""
    if not rounds and start is not None:
        return start
    sets_by_stage = stages(pairs, settings.directions)
    if len(sets_by_stage) == 1:
        return _grown(data, settings.for_lightgbm(sets_by_stage[0]), rounds, start)
    *_, booster = _growing(data, sets_by_stage, settings, rounds, start)
    return booster


@dataclass(frozen=True)
class Growth:
    """A forest as LightGBM writes it, and what it was after so many rounds: its trees, and the loss of held-out rows.

    Rounds count from the end of the start, whose own loss is that after none; a round in
    which nothing could be split adds no tree. Without a start the first trees hold the mean, so
    that such a forest is never less than these.
    """

    model: str
    trees: Mapping[int, int]
    losses: Mapping[int, float]

    @property
    def own_best(self) -> int:
        """After how many rounds the loss of this forest's own rows was least."""
        return _least(self.losses)

    def trees_within(self, rounds: int) -> int:
        """Return how many trees count: up to the forest's own best, within so many rounds."""
        last = min(self.own_best, rounds)
        return self.trees[max((known for known in self.trees if known <= last), default=min(self.trees))]


def boost_until_no_better(
    data: lgb.Dataset, held_out: Rows, pairs: Sequence[Pair], settings: Settings, start: lgb.Booster | None
) -> Growth:
    """Grow a forest until the log loss of the rows held out has not got less for ``settings.patience`` rounds.

    Where pairs have to take turns, each gets one before growing stops.
    """
    sets_by_stage = stages(pairs, settings.directions)
    trees, losses = dict[int, int](), dict[int, float]()
    raw = np.zeros(len(held_out.outcome))
    if start is not None:
        raw += start.predict(held_out.columns, raw_score=True, num_threads=1)
        trees[0], losses[0] = start.num_trees(), held_out.log_loss(raw)
    if len(sets_by_stage) == 1:

        def note(env: Any) -> None:
            rounds = env.iteration - env.begin_iteration + 1
            trees[rounds], losses[rounds] = env.model.num_trees(), env.evaluation_result_list[0][2]

        booster = _grown(
            data,
            {**settings.for_lightgbm(sets_by_stage[0]), "metric": "binary_logloss"},
            settings.most_rounds,
            start,
            valid_sets=[held_out.dataset(settings, data)],
            callbacks=[note, lgb.early_stopping(settings.patience, verbose=False)],
        )
        return Growth(booster.model_to_string(), trees, losses)
    a_turn_each = settings.rounds_per_stage * len(sets_by_stage)
    rounds, done = 0, trees.get(0, 0)
    for booster in _growing(data, sets_by_stage, settings, settings.most_rounds, start):
        grown = booster.num_trees()
        if grown > done:
            raw += booster.predict(
                held_out.columns, raw_score=True, start_iteration=done, num_iteration=grown - done, num_threads=1
            )
        rounds, done = min(rounds + settings.rounds_per_stage, settings.most_rounds), grown
        trees[rounds], losses[rounds] = grown, held_out.log_loss(raw)
        if rounds - _least(losses) >= max(settings.patience, a_turn_each):
            break
    return Growth(booster.model_to_string(), trees, losses)


def _least(losses: Mapping[int, float]) -> int:
    """Return the first number of rounds after which the loss was least."""
    return min(losses, key=lambda rounds: losses[rounds])


def best_rounds(growths: Sequence[Growth]) -> int:
    """Return after how many rounds the mean log loss of the rows held out was least.

    One number for all forests: the mean of their losses is smoother than each. A forest that
    stopped before has its last loss from there on, one whose first loss came later has that before.
    """
    every = sorted({rounds for growth in growths for rounds in growth.losses})
    means = np.zeros(len(every))
    for growth in growths:
        known = sorted(growth.losses)
        last = np.searchsorted(known, every, side="right") - 1
        means += np.array([growth.losses[rounds] for rounds in known])[np.maximum(last, 0)]
    return every[int(means.argmin())]


def _growing(
    data: lgb.Dataset,
    sets_by_stage: Sequence[list[list[int]]],
    settings: Settings,
    rounds: int,
    start: lgb.Booster | None,
) -> Iterator[lgb.Booster]:
    """Yield the growing forest after each stage."""
    booster = start
    for stage, done in enumerate(range(0, rounds, settings.rounds_per_stage)):
        # LightGBM draws the same lots again for the same seed, so each stage has one of its own.
        drawn = np.random.SeedSequence([settings.seed, stage]).generate_state(1)[0] >> 1
        booster = _grown(
            data,
            replace(settings, seed=int(drawn)).for_lightgbm(sets_by_stage[stage % len(sets_by_stage)]),
            min(settings.rounds_per_stage, rounds - done),
            booster,
        )
        yield booster


def _grown(
    data: lgb.Dataset, parameters: dict[str, Any], rounds: int, start: lgb.Booster | None, **more: Any
) -> lgb.Booster:
    """Return a forest as it was grown, with what it was grown from: to be written down, or grown on, at once.

    Else LightGBM writes every forest down and reads it again, which takes as long as many a round.
    """
    return lgb.train(parameters, data, num_boost_round=rounds, init_model=start, keep_training_booster=True, **more)
