"""Erasing a person from kept records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from egretscore.arrays import arrow_texts
from egretscore.records.database import check_subject_id, is_text
from egretscore.records.kept import folder as kept
from egretscore.records.parts import part_of
from egretscore.records.schema import TABLES


def erase(folder: Path, subject_id: str) -> int:
    """Rewrite a person's part without their rows, and return how many those were.

    If it is stopped half-way, erasing again finishes it.

    Raises
    ------
    RecordsError
        If the part is damaged, or an addition was stopped half-way.
    ArgumentError
        If these are no kept records.
    """
    from pyarrow import compute

    kept.check_is_kept(folder)
    check_subject_id(subject_id)
    if not is_text(subject_id):
        return 0
    part = part_of(subject_id)
    own = folder / kept.part_folder(part)
    with kept.changing(folder):
        # What is to be finished may name the person: their rows would come back.
        kept.check_no_addition_is_left(folder)
        about, before = kept.read_part(folder, part)
        theirs = arrow_texts([subject_id])[0]
        after = {name: table.filter(compute.not_equal(table["subject_id"], theirs)) for name, table in before.items()}
        if any(len(after[table]) < len(before[table]) for table in before):
            written = {table: kept.write_table(rows, own, table) for table, rows in after.items()}
            # The people touched by additions are forgotten: the person may be one of them.
            kept.write_about_part(own, replace(about.with_tables(written), added_to=(), touched=None))
    return sum(len(before[table]) - len(after[table]) for table in TABLES)
