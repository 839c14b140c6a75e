"""Rows in the order of subject_id, some people's of which are put in place of what stood."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from egretscore.arrays import numbers, numbers_of

if TYPE_CHECKING:
    import pyarrow as pa


def people_replaced(rows: pa.Table, people: pa.Array, theirs: pa.Table) -> pa.Table:
    """Return rows in the order of subject_id, with those of some people replaced.

    Parameters
    ----------
    rows : Table
        In the order of subject_id.
    people : array of str
        Whose rows to replace.
    theirs : Table
        Their rows, none of anyone else's, in the order of subject_id: none of who has none any more.
    """
    import pyarrow as pa
    from pyarrow import compute

    people = compute.unique(people.cast(pa.string())).sort()
    person_of = _positions(rows, people)
    stays = np.flatnonzero(person_of < 0)
    has_rows, first = np.unique(person_of[person_of >= 0], return_index=True)
    # Where in what stays the rows of each of them go: where theirs stood, or would have stood.
    before = np.full(len(people), -1, dtype=np.int64)
    before[has_rows] = np.searchsorted(stays, np.flatnonzero(person_of >= 0)[first])
    new = np.flatnonzero(before < 0)
    if len(new):
        subjects = (
            rows["subject_id"].combine_chunks().take(numbers(stays, pa.int64()))
            if len(stays) < len(rows)
            else rows["subject_id"]
        )
        for person in new.tolist():
            before[person] = bisect_left(subjects, people[person].as_py(), key=lambda subject: subject.as_py())
    taken = np.insert(stays, before[_positions(theirs, people)], len(rows) + np.arange(len(theirs)))
    return (
        pa.concat_tables([rows, theirs.cast(rows.schema)])
        .combine_chunks()
        .take(numbers(taken, pa.int64()))
        .combine_chunks()
    )


def _positions(rows: pa.Table, people: pa.Array) -> NDArray[np.int64]:
    """Return the position of each row's person among people, -1 of who is not."""
    import pyarrow as pa
    from pyarrow import compute

    found = compute.index_in(rows["subject_id"], value_set=people)
    nobody = numbers(np.array([-1]), pa.int32())[0]
    return numbers_of(compute.fill_null(found, nobody)).astype(np.int64)
