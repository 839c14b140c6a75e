"""From people, their status and their vectors to scores, reasons and benefits: whole columns, by tables alone.

This needs numpy and, to be written down, pyarrow: no database and no model library, so it works
the same wherever the vectors were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from egretscore.benefits import opened_by
from egretscore.policy import Policy
from egretscore.scoring.scorecard import Scorecard
from egretscore.status import Status
from egretscore.writing import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

METADATA: Final = b"egretscore"
"""The key under which a file of scores says by what and as of when they were made."""


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
        subject_id and status as they came; grade and benefits as numpy arrays; whole numbers
        as masked arrays, masked for who is not scored.
    """
    import pyarrow.compute as pc

    scored = pc.equal(people["status"], Status.SCORED.value).to_numpy().astype(bool)
    names = [feature.name for feature in scorecard.features]
    vectors = np.empty((len(names), int(scored.sum())), dtype=np.int32)
    for row, name in zip(vectors, names, strict=True):
        row[:] = people[name].to_numpy()[scored]
    by_person = vectors.T
    scores = scorecard.scores(by_person)
    grades = np.full(len(scored), None, dtype=object)
    grades[scored] = _grades(scores, policy)
    columns = {
        "subject_id": people["subject_id"],
        "status": people["status"],
        "score": _spread(scores, scored),
        "grade": grades,
    }
    if asked.vectors:
        for name, values in zip(names, vectors, strict=True):
            columns[name] = _spread(values, scored)
    if asked.reasons:
        for name, points in zip(names, scorecard.reasons(by_person).T, strict=True):
            columns[f"reason_{name}"] = _spread(points, scored)
    if asked.benefits:
        for benefit in policy.benefits:
            granted = np.zeros(len(scored), dtype=bool)
            granted[scored] = opened_by(benefit, scores)
            columns[f"benefit_{benefit.id}"] = granted
    return columns


@dataclass(frozen=True)
class PartScorer:
    """All it takes to write the scores of people, wherever their vectors were made.

    Attributes
    ----------
    scorecard : Scorecard
    policy : Policy
    asked : ColumnsAsked
    about : mapping
        What the file says of itself: as of when, and by which model.
    """

    scorecard: Scorecard
    policy: Policy
    asked: ColumnsAsked
    about: Mapping[str, Any]

    def table(self, people: pa.Table) -> pa.Table:
        """Return the scores of people as they are written; ``people`` as :func:`scored_columns` has them."""
        import pyarrow as pa

        def column(values: Any) -> Any:
            if isinstance(values, np.ma.MaskedArray):
                # Older pyarrow takes no notice of a mask unless it is handed over.
                return pa.array(values.data, pa.int32(), mask=values.mask)
            if isinstance(values, np.ndarray):
                return pa.array(values, pa.string() if values.dtype == object else None)
            return values.cast(pa.string()).combine_chunks() if len(values) else pa.array([], pa.string())

        columns = scored_columns(people, self.scorecard, self.policy, self.asked)
        said = {METADATA: json.dumps(dict(self.about), ensure_ascii=False)}
        return pa.table({name: column(values) for name, values in columns.items()}, metadata=said)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns that are written."""
        import pyarrow as pa

        nobody = dict.fromkeys(("subject_id", "status"), pa.array([], pa.string()))
        no_vectors = dict.fromkeys((f.name for f in self.scorecard.features), pa.array([], pa.int32()))
        return list(self.table(pa.table({**nobody, **no_vectors})).column_names)


def write_scores(scores: pa.Table, file: Path) -> None:
    """Write scores, in the order of subject_id, into a file, whole or not at all."""
    from pyarrow import parquet

    with whole_file(file) as scratch:
        parquet.write_table(scores, scratch, compression="zstd")


def _grades(scores: NDArray[np.int64], policy: Policy) -> NDArray[np.object_]:
    ascending = sorted(policy.grades, key=lambda grade: grade.min_score)
    position = np.searchsorted([grade.min_score for grade in ascending], scores, side="right") - 1
    return np.array([grade.id for grade in ascending], dtype=object)[position]


def _spread(values: NDArray[Any], where: NDArray[np.bool_]) -> np.ma.MaskedArray[Any, Any]:
    """Return the values at their places, all other places masked."""
    spread = np.zeros(len(where), dtype=np.int64)
    spread[where] = values
    return np.ma.MaskedArray(spread, mask=~where)
