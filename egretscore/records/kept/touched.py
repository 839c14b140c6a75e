"""The people touched by the last additions to kept records: who changed since a part was in an earlier state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from egretscore.arrays import arrow_flags, arrow_numbers, arrow_texts, numpy_numbers, table_in
from egretscore.errors import RecordsError
from egretscore.records.kept import folder as kept

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ADDITIONS: Final = 31


def write_addition(
    folder: Path, part: int, about: kept.AboutPart, changed: Mapping[str, pa.Table], touched: pa.Array
) -> None:
    """Rewrite the tables of a part that rows were added to, and remember the people touched.

    Parameters
    ----------
    folder : Path
    part : int
    about : kept.AboutPart
        The part as it was.
    changed : mapping of table to all its rows
    touched : array of subject_id
    """
    import pyarrow as pa

    own = folder / kept.part_folder(part)
    written = {table: kept.write_table(rows, own, table) for table, rows in changed.items()}
    known = about.added_to[-(_MOST_ADDITIONS - 1) :]
    number = arrow_numbers(np.full(len(touched), len(known)), pa.int32())
    noted = pa.table({"subject_id": touched, "addition": number})
    if about.touched is not None:
        before = table_in(own / kept.name_of_file(kept.TOUCHED, about.touched))
        forgotten = len(about.added_to) - len(known)
        since = numpy_numbers(before["addition"]) - forgotten
        before = before.set_column(1, "addition", arrow_numbers(since, pa.int32())).filter(arrow_flags(since >= 0))
        noted = pa.concat_tables([before, noted])
    touching = kept.write_table(noted, own, kept.TOUCHED).sha256
    kept.write_about_part(own, replace(about.with_tables(written), added_to=(*known, about.state), touched=touching))


def knows_since(folder: Path, part: int, state: str) -> bool:
    """Return whether a part remembers everyone touched since it was in a state."""
    about = kept.about_part(folder, part)
    return state == about.state or state in about.added_to


def touched_since(folder: Path, part: int, state: str) -> pa.Array:
    """Return the ids of the people touched by additions to a part since it was in a state.

    Raises
    ------
    RecordsError
        If that is not known, or what the part remembers is damaged.
    """
    from pyarrow import compute

    about = kept.about_part(folder, part)
    if state == about.state:
        return arrow_texts([])
    if about.touched is None or state not in about.added_to:
        raise RecordsError(
            "the records changed while they were being read", file=folder / kept.part_folder(part), remedy="Ask again."
        )
    file = folder / kept.part_folder(part) / kept.name_of_file(kept.TOUCHED, about.touched)
    kept.verify_file(file, about.touched)
    touched = table_in(file)
    since = numpy_numbers(touched["addition"]) >= about.added_to.index(state)
    return compute.unique(touched.filter(arrow_flags(since))["subject_id"])
