"""The scores of a part as a file, with a note beside it that shows whether the file is whole.

This needs numpy and pyarrow but no database and no model library, so it works the same on one
machine and on the executors of a cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from egretscore.arrays import arrow_flags, arrow_numbers, arrow_texts
from egretscore.policy import Policy
from egretscore.scored import ColumnsAsked, scored_columns
from egretscore.scoring.scorecard import Scorecard
from egretscore.writing import errors_that_name, note_beside, sha256_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

AS_WRITTEN: Final[Mapping[str, Any]] = {"compression": "zstd", "use_dictionary": ["status", "grade"]}
"""How scores are laid out in Parquet. Measured: numbers take less time, and no more room, without dictionaries."""

METADATA: Final = b"egretscore"
"""The metadata key under which a file of scores names its model and as-of date."""

_NOTE: Final = re.compile(r"([0-9a-f]{64}) ([0-9]{1,18}) ([0-9]{1,18}) (-|\d{4}-\d\d-\d\d)", re.ASCII)


@dataclass(frozen=True)
class PartScorer:
    """Scores people and lays the scores out as they are written, wherever their vectors were made.

    Attributes
    ----------
    scorecard : Scorecard
    policy : Policy
    asked : ColumnsAsked
    about : mapping
        The metadata of the file: its model and as-of date.
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
                return arrow_numbers(values.data, pa.int32(), known=~np.ma.getmaskarray(values))
            if isinstance(values, np.ndarray):
                return arrow_flags(values)
            return values.cast(pa.string()).combine_chunks() if len(values) else arrow_texts([])

        columns = scored_columns(people, self.scorecard, self.policy, self.asked)
        said = {METADATA: json.dumps(dict(self.about), ensure_ascii=False)}
        return pa.table({name: column(values) for name, values in columns.items()}, metadata=said)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns that are written."""
        import pyarrow as pa

        nobody = dict.fromkeys(("subject_id", "status"), arrow_texts([]))
        no_vectors = dict.fromkeys((f.name for f in self.scorecard.features), arrow_numbers(np.empty(0), pa.int32()))
        return list(self.table(pa.table({**nobody, **no_vectors})).column_names)


@dataclass(frozen=True)
class PartRead:
    """What was found when the records of a part were read.

    Attributes
    ----------
    people : int
        How many people had records to read.
    set_aside : int
        How many rows were set aside.
    last_day : date or None
        The last day on which a record of any of them came on file, as far as it is known.
    """

    people: int
    set_aside: int
    last_day: date | None = None


def part_file(part: int) -> str:
    """Return the name of the file that holds the scores of a part."""
    return f"part-{part:02}.parquet"


def write_scores(scores: pa.Table, file: Path, read: PartRead, *, within: Path | None = None) -> None:
    """Write scores, in the order of subject_id, into a file, whole or not at all, with a note beside it.

    The note is one line, the file's hash and the fields of ``read`` ("-" for no day). It shows whether the file is
    whole, and lets a run that continues another report on all parts.

    Parameters
    ----------
    scores : Table
    file : Path
    read : PartRead
    within : Path, optional
        The folder without which nothing must be put into place (:func:`egretscore.writing.whole_file`).
    """
    from pyarrow import parquet

    with whole_file(file, within=within) as scratch:
        parquet.write_table(scores, scratch, **AS_WRITTEN)
        sha256 = sha256_of(scratch)
    note = file.with_name(note_beside(file.name))
    with errors_that_name(note), nullcontext(note) if within is None else whole_file(note, within=within) as place:
        place.write_text(f"{sha256} {read.people} {read.set_aside} {read.last_day or '-'}", encoding="ascii")


def are_whole(file: Path) -> bool:
    """Return whether the scores in a file are as :func:`write_scores` wrote them."""
    noted = _noted(file)
    try:
        return noted is not None and noted[0] == sha256_of(file)
    except OSError:
        return False


def noted_read(file: Path) -> PartRead | None:
    """Return the :class:`PartRead` noted beside a file of scores; None where there is no note."""
    noted = _noted(file)
    return None if noted is None else noted[1]


def _noted(file: Path) -> tuple[str, PartRead] | None:
    try:
        note = _NOTE.fullmatch(file.with_name(note_beside(file.name)).read_text(encoding="ascii"))
        if note is None:
            return None
        last_day = None if note[4] == "-" else date.fromisoformat(note[4])
    except (OSError, ValueError):
        return None
    return note[1], PartRead(int(note[2]), int(note[3]), last_day)
