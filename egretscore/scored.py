"""From status and vectors to scores, reasons and benefits: whole columns at once.

This needs numpy and pyarrow alone: no database and no model library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from egretscore.arrays import arrow_numbers, arrow_texts, numpy_flags, numpy_numbers
from egretscore.benefits import opened_by
from egretscore.features.limits import BENEFIT_COLUMN, REASON_COLUMN
from egretscore.policy import Policy
from egretscore.scoring.scorecard import Scorecard
from egretscore.status import Status

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ColumnsAsked:
    """Which columns to add to subject_id, status, score and grade.

    Attributes
    ----------
    vectors : bool
        One for each feature, the vector.
    reasons : bool
        One ``reason_<feature>`` for each feature, in points.
    benefits : bool
        One ``benefit_<id>`` of true and false for each convenience.
    """

    vectors: bool = False
    reasons: bool = False
    benefits: bool = False


def scored_columns(people: pa.Table, scorecard: Scorecard, policy: Policy, asked: ColumnsAsked) -> dict[str, Any]:
    """Score people.

    Parameters
    ----------
    people : Table
        subject_id, status, and one column of whole numbers for each feature.
    scorecard : Scorecard
    policy : Policy
    asked : ColumnsAsked

    Returns
    -------
    dict of columns
        subject_id and status as given and grade, as Arrow columns of strings; benefits as numpy
        arrays; whole numbers as masked arrays, masked where a person is not scored.
    """
    from pyarrow import compute

    is_scored = compute.is_in(people["status"], value_set=arrow_texts([Status.SCORED.value]))
    scored = numpy_flags(is_scored)
    names = [feature.name for feature in scorecard.features]
    known = people.select(names).filter(is_scored)
    vectors = np.empty((len(names), len(known)), dtype=np.int32)
    for row, name in zip(vectors, names, strict=True):
        row[:] = numpy_numbers(known[name])
    by_person = vectors.T
    scores = scorecard.scores(by_person)
    of_everyone = _spread(scores, scored)
    columns = {
        "subject_id": people["subject_id"],
        "status": people["status"],
        "score": of_everyone,
        "grade": _grades(of_everyone, policy),
    }
    if asked.vectors:
        for name, values in zip(names, vectors, strict=True):
            columns[name] = _spread(values, scored)
    if asked.reasons:
        for name, points in zip(names, scorecard.reasons(by_person).T, strict=True):
            columns[f"{REASON_COLUMN}{name}"] = _spread(points, scored)
    if asked.benefits:
        for benefit in policy.benefits:
            granted = np.zeros(len(scored), dtype=bool)
            granted[scored] = opened_by(benefit, scores)
            columns[f"{BENEFIT_COLUMN}{benefit.id}"] = granted
    return columns


def _grades(scores: np.ma.MaskedArray[Any, Any], policy: Policy) -> pa.ChunkedArray:
    import pyarrow as pa

    ascending = sorted(policy.grades, key=lambda grade: grade.min_score)
    position = np.searchsorted([grade.min_score for grade in ascending], scores.data, side="right") - 1
    words = arrow_texts([grade.id for grade in ascending])
    return pa.chunked_array([words.take(arrow_numbers(position, pa.int32(), known=~np.ma.getmaskarray(scores)))])


def _spread(values: NDArray[Any], where: NDArray[np.bool_]) -> np.ma.MaskedArray[Any, Any]:
    """Return the values at their places, all other places masked."""
    spread = np.zeros(len(where), dtype=np.int64)
    spread[where] = values
    return np.ma.MaskedArray(spread, mask=~where)
