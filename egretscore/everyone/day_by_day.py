"""Scoring again only the people for whom something changed since the scores of an earlier date.

Kept records tell whose rows were added to since (``egretscore.records.kept.touched``), and a query
tells for whom the new date alone changes something (``egretscore.features.turning``). Everyone else
keeps their earlier score. Where a part no longer knows who changed, as after someone was erased from
it, everyone in it is scored again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egretscore import __version__
from egretscore.arrays import table_in
from egretscore.dates import as_day
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
from egretscore.everyone.files import ABOUT, ORIGIN, SCORE_EVERYONE, Origin, read_about_scores
from egretscore.everyone.part_scores import part_file
from egretscore.features.turning import turned_query
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.database import asking
from egretscore.records.kept.touched import knows_since, touched_since
from egretscore.records.parts import people_replaced
from egretscore.writing import earlier_of, sha256_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Previous:
    """The scores of an earlier date.

    Attributes
    ----------
    folder : Path
    as_of : date
    states : tuple of str
        The state of each part of the kept records then.
    sha256 : mapping of each file of scores to its hash
    """

    folder: Path
    as_of: date
    states: tuple[str, ...]
    sha256: Mapping[str, str]

    @property
    def asked(self) -> Mapping[str, Any]:
        """How a question names them: by content, not by place, for a run stopped at its very end may move them."""
        return {"since": self.as_of.isoformat(), "previous": dict(self.sha256)}

    def knows(self, records: Path, part: int) -> bool:
        """Return whether a part still knows who changed since."""
        return knows_since(records, part, self.states[part])

    def narrow(self, found: KeptRecords, records: Path, engine: Engine, day: date, parts: Sequence[int]) -> None:
        """Restrict records to the people for whom something changed by a date.

        Parameters
        ----------
        found : KeptRecords
            The records of these parts.
        records : Path
            Their folder.
        engine : Engine
        day : date
        parts : numbers from 0 to 63
            Each must still know who changed (:meth:`knows`).
        """
        import pyarrow as pa

        turned = turned_query(engine.model.scorecard.features, engine.policy, self.as_of, day).sql("duckdb")
        changed = found.ask(turned)["subject_id"].cast(pa.string()).chunks
        changed += [touched_since(records, part, self.states[part]) for part in parts]
        with asking():
            found.narrow(pa.chunked_array(changed, pa.string()))

    def scores_of(self, part: int) -> pa.Table:
        """Return the earlier scores of a part.

        Raises
        ------
        RecordsError
            If they are not as they were written.
        """
        import pyarrow as pa

        file = self.folder / part_file(part)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise RecordsError(
                f"the previous scores cannot be read ({error.strerror})", file=file, remedy=SCORE_EVERYONE
            ) from error
        if sha256(content).hexdigest() != self.sha256[file.name]:
            raise RecordsError("the previous scores are not as they were written", file=file, remedy=SCORE_EVERYONE)
        return table_in(pa.BufferReader(content))

    def with_changes(self, part: int, scores: pa.Table) -> pa.Table:
        """Return the earlier scores of a part, with those of the people scored again replaced.

        Nobody has left the file since, or the whole part would be scored again (:meth:`knows`).
        """
        merged = people_replaced(self.scores_of(part), scores["subject_id"].combine_chunks(), scores)
        return merged.replace_schema_metadata(scores.schema.metadata)


def read_previous(folder: Path, since: date | None, engine: Engine, columns: Sequence[str]) -> Previous:
    """Return the scores of an earlier date, to continue from.

    If a run that replaces them was stopped at its very end, they are found where it moved them.

    Parameters
    ----------
    folder : Path
        Scores in parts, made from kept records.
    since : date, optional
        The date they must be of.
    engine : Engine
    columns : names of columns
        The columns to be written now, which must be the same.

    Raises
    ------
    ArgumentError
        If they are no such scores, or of another date or model, or with other columns.
    RecordsError
        If they are damaged.
    """
    try:
        return _read_previous(folder, since, engine, columns)
    except ArgumentError:
        with suppress(ArgumentError):
            return _read_previous(earlier_of(folder.resolve()), since, engine, columns)
        raise  # of the folder that was named


def are_up_to_date(
    scores: Path, records: Path, engine: Engine, columns: Sequence[str], about: Mapping[str, Any]
) -> bool:
    """Return whether a folder holds, unaltered, the scores of kept records as they are now.

    Parameters
    ----------
    scores, records : Path
    engine : Engine
    columns : names of columns
    about : mapping
        The metadata that the scores would have.
    """
    try:
        said = read_about_scores(scores)
        there = _read_previous(scores, None, engine, columns)
        whole = all(sha256_of(scores / file) == sha256 for file, sha256 in there.sha256.items())
    except (ArgumentError, RecordsError, OSError):
        return False
    return whole and about.items() <= said.items() and there.states == Origin.of(engine, records).states


def _read_previous(folder: Path, since: date | None, engine: Engine, columns: Sequence[str]) -> Previous:
    about = read_about_scores(folder)
    other_version = "the previous scores were made by another version of this library"
    as_of = as_day(about.get("as_of", ""))
    if since not in (None, as_of):
        raise ArgumentError(
            f"since says {since}, and the previous scores are of {as_of}",
            file=folder / ABOUT,
            remedy=f"Give since as {as_of}, or name as previous the scores of {since}.",
        )
    for column, was, expected, problem in (
        ("model_sha256", about.get("model_sha256"), engine.sha256, "the previous scores are of another model"),
        (ORIGIN, about[ORIGIN].get("version"), __version__, other_version),
        (ORIGIN, about[ORIGIN].get("query_sha256"), engine.query_sha256, other_version),
    ):
        if was != expected:
            raise ArgumentError(
                problem, file=folder / ABOUT, column=column, value=was, expected=expected, remedy=SCORE_EVERYONE
            )
    previous = Previous(folder, as_of, tuple(about[ORIGIN]["states"]), about["sha256"])
    were = previous.scores_of(0).column_names
    if were != list(columns):
        raise ArgumentError(
            "the previous scores have other columns",
            file=folder,
            expected=f"vectors, reasons and benefits as then ({len(were)} columns, not {len(columns)})",
        )
    return previous
