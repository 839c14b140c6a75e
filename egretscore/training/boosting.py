"""Boosting in stages, so that every path of every tree stays within one pair of features.

LightGBM grows the trees. Each stage hands it the pairs that may share a path as interaction
constraints, the next stage other pairs, continuing the same booster, round and round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from egretscore.training.columns import Column
from egretscore.training.pairs import Pair, best_pairs, gains_of_pairs, stages

_PATIENCE_OF_BEST = 0.1


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

    def quiet_this_thread(self) -> None:
        """Keep LightGBM from printing: its verbosity is set per thread, by the first parameters passed.

        Its number of threads is set for the whole process, by every call: a call that asks for more than one has
        ended processes in which others were at work.
        """
        lgb.Dataset(np.zeros((1, 1)), params={"verbosity": -1, "num_threads": 1}).construct()

    def _columns_of(self, features: Sequence[int]) -> list[int]:
        return [number for number, column in enumerate(self.columns) if column.feature in features]


@dataclass(frozen=True, eq=False)
class Rows:
    """Weighted rows to learn from: columns for LightGBM and for the regression, outcomes 0 or 1, and weights."""

    columns: NDArray[np.float64]
    for_regression: Any  # an array, or a sparse one where levels are many
    outcome: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[Any]) -> Rows:
        return Rows(self.columns[chosen], self.for_regression[chosen], self.outcome[chosen], self.weight[chosen])

    def without_regression(self) -> Rows:
        """Return the same rows without what the regression is given."""
        return replace(self, for_regression=self.outcome)

    def log_loss(self, log_odds: NDArray[np.float64]) -> float:
        """Return the weighted mean log loss of these log-odds of the rows, 0 of none."""
        if not len(self.outcome):
            return 0.0
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

        LightGBM never draws the highest cut of a column, nor the cut between values and missing
        values. So, where cuts are drawn at random, a row above all others adds to each column one
        more cut, which may go undrawn.
        """
        if not settings.random_cuts:
            return self.dataset(settings)
        greatest = np.nanmax(np.vstack([self.columns, np.zeros(self.columns.shape[1])]), axis=0)
        twice = 2 * np.minimum(greatest, np.finfo(np.float64).max / 2)
        above = np.where([column.category for column in settings.columns], np.nan, twice + 1)
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


class Growth:
    """A forest that grows stage by stage, at the same pace as others.

    Rounds are counted after the starting trees, whose loss is that of round 0. Without starting trees the first tree
    holds the mean: the loss after the first stage is then noted for round 0 as well. A round in which nothing could be
    split adds no tree.

    Parameters
    ----------
    data : lightgbm.Dataset
        The rows it learns from.
    held_out : Rows
        The rows its loss is measured on.
    pairs : sequence of Pair
        The features that may share a path.
    settings : Settings
    start : lightgbm.Booster or None
        The starting trees.

    Attributes
    ----------
    rounds : list of int
        The rounds after which ``trees`` and ``losses`` are noted: the same for all forests with the same settings.
    trees : list of int
        How many trees there were.
    losses : list of float
        The log loss of the rows held out.
    """

    def __init__(
        self,
        data: lgb.Dataset,
        held_out: Rows,
        pairs: Sequence[Pair],
        settings: Settings,
        start: lgb.Booster | None,
    ) -> None:
        self.rounds, self.trees, self.losses = list[int](), list[int](), list[float]()
        self._booster = start
        self._stages = self._stage_by_stage(data, held_out, stages(pairs, settings.directions), settings)

    def grow(self) -> None:
        """Grow by one more stage, as long as there are rounds left."""
        next(self._stages, None)

    def model(self, trees: int) -> str:
        """Return the first trees as LightGBM writes them."""
        assert self._booster is not None  # noqa: S101 - it has grown
        return self._booster.model_to_string(num_iteration=trees)

    def _stage_by_stage(
        self, data: lgb.Dataset, held_out: Rows, sets_by_stage: Sequence[list[list[int]]], settings: Settings
    ) -> Iterator[None]:
        log_odds = np.zeros(len(held_out.outcome))
        if self._booster is not None:
            log_odds = _log_odds(self._booster, held_out)
            self._note(0, held_out.log_loss(log_odds))
        if len(sets_by_stage) == 1:
            yield from self._on_and_on(data, held_out, sets_by_stage[0], settings)
        else:
            yield from self._in_turn(data, held_out, sets_by_stage, settings, log_odds)

    def _on_and_on(
        self, data: lgb.Dataset, held_out: Rows, sets: list[list[int]], settings: Settings
    ) -> Iterator[None]:
        """Grow one booster, whose loss LightGBM itself evaluates after each round."""
        parameters = {**settings.for_lightgbm(sets), "metric": "binary_logloss"}
        valid_sets = [held_out.dataset(settings, data)] if len(held_out.outcome) else []
        booster = self._booster = _grown(data, parameters, 1, self._booster, valid_sets=valid_sets)
        for rounds in range(1, settings.most_rounds + 1):
            if rounds > 1:
                booster.update()
            self._note(rounds, booster.eval_valid()[0][2] if valid_sets else 0.0)
            if rounds % settings.rounds_per_stage == 0:
                yield

    def _in_turn(
        self,
        data: lgb.Dataset,
        held_out: Rows,
        sets_by_stage: Sequence[list[list[int]]],
        settings: Settings,
        log_odds: NDArray[np.float64],
    ) -> Iterator[None]:
        """Grow by another booster in each stage, for the pairs whose turn it is."""
        rounds, done = 0, 0 if self._booster is None else self._booster.num_trees()
        for booster in _growing(data, sets_by_stage, settings, settings.most_rounds, self._booster):
            self._booster, grown = booster, booster.num_trees()
            if grown > done:
                log_odds = log_odds + _log_odds(booster, held_out, done)
            rounds, done = min(rounds + settings.rounds_per_stage, settings.most_rounds), grown
            self._note(rounds, held_out.log_loss(log_odds))
            yield

    def _note(self, rounds: int, loss: float) -> None:
        assert self._booster is not None  # noqa: S101 - it has grown
        for _ in range(2 if rounds and not self.rounds else 1):
            self.rounds.append(rounds)
            self.trees.append(self._booster.num_trees())
            self.losses.append(loss)


def _log_odds(booster: lgb.Booster, rows: Rows, first: int = 0) -> NDArray[np.float64]:
    """Return what the trees of a booster, from number ``first`` on, add to the log-odds of rows."""
    if not len(rows.outcome):
        return np.zeros(0)
    found = booster.predict(rows.columns, raw_score=True, start_iteration=first, num_iteration=-1, num_threads=1)
    return np.asarray(found)


def grow_until_no_better(
    growths: Sequence[Growth],
    at_once: Callable[[Callable[[Growth], None], Sequence[Growth]], Iterable[None]],
    pairs: Sequence[Pair],
    settings: Settings,
) -> int:
    """Grow forests in step until their mean log loss on held-out rows stops falling; return where it is least.

    The mean over forests, each with other rows held out, is far smoother than the loss of one, which may be least too
    early or too late by chance.

    Parameters
    ----------
    growths : sequence of Growth
    at_once : callable
        Calls a function on each of them, like ``map``.
    pairs, settings
        Those of any of them. Where pairs take turns, each gets a turn before growing stops.

    Returns
    -------
    int
        The position in ``trees`` and ``losses`` of each.
    """
    a_turn_each = settings.rounds_per_stage * len(stages(pairs, settings.directions))
    means = list[float]()
    while True:
        for _ in at_once(Growth.grow, growths):
            pass
        rounds, known = growths[0].rounds, len(means)
        means += np.mean([growth.losses[known:] for growth in growths], axis=0).tolist()
        best = int(np.argmin(means))
        enough = max(settings.patience, _PATIENCE_OF_BEST * rounds[best], a_turn_each)
        if rounds[-1] - rounds[best] >= enough or rounds[-1] >= settings.most_rounds:
            return best


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
    """Return a grown forest together with its training data.

    Without ``keep_training_booster`` LightGBM writes every forest to text and reads it back, which takes as long as
    several rounds.
    """
    return lgb.train(parameters, data, num_boost_round=rounds, init_model=start, keep_training_booster=True, **more)
