"""Training: from records to a model that is a sum of tables, with a report on people it has not seen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from egretscore.audit import (
    OURS,
    UNROUNDED,
    Report,
    Rows,
    as_stated,
    check_chances,
    measured_beside_peers,
    two_weighted_rows,
)
from egretscore.dates import as_day
from egretscore.errors import ArgumentError, TrainingError
from egretscore.features import Feature, declare_features
from egretscore.numbers import as_whole_number
from egretscore.policy import Policy, as_policy
from egretscore.records import Records
from egretscore.records.checked.store import check_agrees, check_are_records
from egretscore.records.schema import COMMITMENTS
from egretscore.scoring.bundle import Model, library_versions
from egretscore.scoring.scorecard import Scorecard
from egretscore.training.estimator import ScoreTableClassifier
from egretscore.training.snapshots import Snapshots, known_after, take_snapshots

FEWEST_PEOPLE_IN_A_LEAF = 20
HELD_OUT_SHARE = 0.3
LONGEST_HORIZON_DAYS = 3653
_FEWEST_PEOPLE = 200

SETTINGS: dict[str, Any] = {
    "ridge": None,
    "bags": 1,
    "random_cuts": False,
    "validation_fraction": 0.2,
    "max_bins": 16,
    "max_pairs": 8,
    "max_leaves": 5,
    "learning_rate": 0.08,
    "l2": 5.0,
    "max_rounds": 600,
    "patience": 80,
    "rounds_per_stage": 20,
    "min_people": FEWEST_PEOPLE_IN_A_LEAF,
}
"""How the scorer's forest is grown: few steps a feature and few pairs, so that it can be printed."""


def train(
    records: Records,
    as_of: date | str | Iterable[date | str],
    *,
    policy: Policy | str | Path | None = None,
    horizon_days: int = 365,
    seed: int = 0,
) -> Model:
    """Train a model on snapshots of records.

    Parameters
    ----------
    records : Records
    as_of : one date or several, or str such as "2025-10-01"
        The dates of the snapshots. With several, the last is held out to validate on, and the
        report says how many days after it the last outcome learnt from became known. With one,
        the model is validated on other people on the same date, and on no later one.
    policy : Policy or path, optional
        The policy of the records when not given.
    horizon_days : int
        Commitments falling due in so many days after a snapshot are its outcome.
    seed : int
        The same records and seed give the same bytes.

    Returns
    -------
    Model
        With ``report`` and ``save(folder)``; ``Engine(model)`` scores with it.

    Raises
    ------
    TrainingError
        If the records cannot train a model, or end before the outcomes are known.
    RecordsError
        If the records cannot be read any more, do not fit into memory, or are not for the policy given.
    PolicyError
        If the policy cannot be read, or gives two features one name.
    ArgumentError
        If ``records`` are not records, no date is given, or the horizon or the seed is out of range.
    """
    check_are_records(records)
    policy = records.policy if policy is None else as_policy(policy)
    dates = _dates(as_of)
    horizon_days, seed = _checked_numbers(horizon_days, seed)
    check_agrees(records, policy, "the policy given")
    _check_has_commitments(records)
    _check_dates(records, dates, horizon_days, policy)
    features = declare_features(policy)
    snapshots = take_snapshots(records, features, policy, dates, horizon_days)
    learn, hold_out, later = _split(snapshots, dates, seed)
    learnt, held_out = snapshots[learn], snapshots[hold_out]
    _check_enough(learnt, "to learn from")
    _check_enough(held_out, "to hold out")
    classifier = _fitted(learnt, features, seed)
    scorecard = Scorecard(features, policy.scale, classifier.tables_)
    try:
        problems = list(scorecard.problems())
    except ValueError as error:  # of a scale without room for so many tables
        raise TrainingError(
            str(error), remedy="Leave more room in the policy between the blank score and the ends of the scale."
        ) from error
    if problems:
        raise TrainingError(
            f"the trained tables break a promise: {problems[0]}",
            remedy="There is no model, and this is a fault of the library: please report it.",
        )
    overlap = dates[-2] + known_after(horizon_days, policy) - dates[-1] if later else None
    report = _report(learnt, held_out, overlap, scorecard, seed)
    return Model(
        policy=policy,
        scorecard=scorecard,
        forest=classifier.boosters_[0].model_to_string(),
        invented=records.invented is not None,
        training={
            "as_of": [day.isoformat() for day in dates],
            "horizon_days": horizon_days,
            "seed": seed,
            "settings": SETTINGS,
            "rounds": classifier.n_rounds_[0],
            "smallest_leaf_people": classifier.smallest_leaf_,
            "pairs": [[features[a].name, features[b].name] for a, b in classifier.pairs_],
            "fingerprint": snapshots.fingerprint,
        },
        report=report,
        libraries=library_versions(),
    )


def _dates(as_of: date | str | Iterable[date | str]) -> list[date]:
    """Return the days of the snapshots, each once, the earliest first."""
    given = as_of if isinstance(as_of, Iterable) and not isinstance(as_of, str) else [as_of]
    dates = sorted({as_day(day) for day in given})
    if not dates:
        raise ArgumentError("training needs an as-of date", expected="one date or, to validate on later ones, several")
    return dates


def _checked_numbers(horizon_days: object, seed: object) -> tuple[int, int]:
    """Return them as Python's own whole numbers, which a manifest can hold."""
    days = as_whole_number(horizon_days, "horizon_days", 1, LONGEST_HORIZON_DAYS)
    return days, as_whole_number(seed, "seed", 0, 2**31 - 1)


def _check_has_commitments(records: Records) -> None:
    if not any(count.good for count in records.counts if count.table == COMMITMENTS.name):
        raise TrainingError(
            "there are no commitments to learn from",
            expected="commitments with their outcomes",
        )


def _check_dates(records: Records, dates: list[date], horizon_days: int, policy: Policy) -> None:
    """Raise where an outcome would be read from a future that nobody has seen yet."""
    wait = known_after(horizon_days, policy)
    ends = records.last_day
    if ends is None or ends - dates[-1] < wait:
        expected, remedy = "records", "Give earlier dates or a shorter horizon."
        if ends is not None and wait.days < ends.toordinal():
            expected = f"as-of dates up to {ends - wait} (the records end on {ends})"
        elif ends is not None:  # no calendar has days so early
            expected = f"less than {wait.days:,} days of horizon and grace (the records end on {ends})"
            remedy = "Give a shorter horizon, or a policy with fewer grace_days."
        raise TrainingError(
            "the records end before the outcomes of the commitments are known",
            value=dates[-1],
            expected=expected,
            remedy=remedy,
        )


def _split(snapshots: Snapshots, dates: list[date], seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Return which snapshots to learn from and which to hold out, and whether those are later.

    With several dates the last one is held out. People seen only before it are learnt from,
    people seen only on it are held out, and people seen on both sides fall to one by lot. With
    one date a share of the people is held out by lot.
    """
    later = len(dates) > 1
    on_last = snapshots.as_of == np.datetime64(dates[-1], "D")
    everyone, person = np.unique(snapshots.subject_ids, return_inverse=True)
    drawn = (np.random.default_rng(seed).random(len(everyone)) < HELD_OUT_SHARE)[person]
    if not later:
        return ~drawn, drawn, later
    on_both_sides = np.isin(person, person[on_last]) & np.isin(person, person[~on_last])
    return ~on_last & ~(on_both_sides & drawn), on_last & ~(on_both_sides & ~drawn), later


def _check_enough(part: Snapshots, side: str) -> None:
    """Raise if there are too few people on a side, or nothing to tell them apart by."""
    people = len(np.unique(part.subject_ids))
    if people < _FEWEST_PEOPLE:
        raise TrainingError(
            f"only {people} {'person' if people == 1 else 'people'} {side} consented to training and had "
            "commitments falling due",
            expected=f"at least {_FEWEST_PEOPLE}",
            remedy="Check the as-of dates and the horizon against the dates of the records, or give more people's.",
        )
    if not 0 < part.kept.mean() < 1:
        raise TrainingError(
            f"all commitments of the people {side} ended alike: there is nothing to learn",
            expected="some that were kept in time, and some that were not",
        )


def _fitted(learnt: Snapshots, features: tuple[Feature, ...], seed: int) -> ScoreTableClassifier:
    of, outcome, weight = two_weighted_rows(learnt.kept)
    classifier = ScoreTableClassifier(
        monotone=[feature.direction for feature in features],
        # One record can move several features of its source. Were two of them in one table, a
        # record that makes both worse could make the reason of one of them better.
        pair_across=[feature.source for feature in features],
        random_state=seed,
        **SETTINGS,
    )
    vectors = pd.DataFrame(learnt.vectors[of].astype(np.float64), columns=[feature.name for feature in features])
    classifier.fit(vectors, outcome, sample_weight=weight, groups=learnt.subject_ids[of])
    return classifier


def _report(
    learnt: Snapshots, held_out: Snapshots, overlap: timedelta | None, scorecard: Scorecard, seed: int
) -> Report:
    scores = scorecard.scores(held_out.vectors)
    chances = {
        OURS: scorecard.chance(scores),
        UNROUNDED: 1.0 / (1.0 + np.exp(-scorecard.log_odds.totals(held_out.vectors))),
    }
    return Report(
        learnt=_described(learnt),
        held_out=_described(held_out),
        later=overlap is not None,
        overlap_days=None if overlap is None else max(overlap.days, 0),
        chances=check_chances(scores, chances[OURS], held_out.kept, seed),
        measures=measured_beside_peers(
            Rows(learnt.vectors, learnt.kept), Rows(held_out.vectors, held_out.kept), chances, seed
        ),
    )


def _described(part: Snapshots) -> dict[str, Any]:
    return {
        "people": len(np.unique(part.subject_ids)),
        "snapshots": len(part),
        "as_of": [str(day) for day in np.unique(part.as_of)],
        "kept": as_stated(part.kept.mean()),
    }
