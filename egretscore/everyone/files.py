"""Scores as files: one file, or a folder of parts with ``_scores.json``, which names their model and records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from egretscore import __version__
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
from egretscore.everyone.part_scores import AS_WRITTEN, METADATA, PartScorer, are_whole, noted_read, part_file
from egretscore.paths import as_path
from egretscore.records.database import Resources, check_name_is_text, create_view, open_locked
from egretscore.records.in_bulk.runs import check_not_among, take_the_place
from egretscore.records.kept import folder as kept
from egretscore.records.parts import PARTS, QUESTION, WHICH_PART
from egretscore.scored import ColumnsAsked
from egretscore.writing import (
    SCORES_MARK,
    check_lies_in_nothing_of_ours,
    check_no_folder,
    check_replaceable,
    note_beside,
    sha256_of,
    whole_file,
)

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT: Final = SCORES_MARK
"""The file that names the model and the records that the scores of a folder were made from."""

ORIGIN: Final = "kept"
"""The key in it for the state of the kept records they were made from."""

SCORE_EVERYONE: Final = "Score everyone, without since and previous."
"""What to do where scoring cannot continue from earlier scores."""

_NAMES_IN_A_FOLDER: Final = frozenset({ABOUT, *map(part_file, range(PARTS))})
_ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes
    ----------
    people, scored : int
        How many people are on file, and how many of them were scored.
    set_aside : int or None
        How many rows were set aside; None if exactly these scores were there already.
    read_again : int or None
        When continuing from previous scores: how many people's records were read again. None when
        everyone's were read, and where ``set_aside`` is None.
    last_day : date or None
        The last day on which a record came on file; None if there are no records, or where ``set_aside`` is None.
    """

    people: int
    scored: int
    set_aside: int | None
    read_again: int | None = None
    last_day: date | None = None

    @classmethod
    def of(cls, parts: Path, *, went_on: bool = False) -> Outcome:
        """Return the result of a run.

        Parameters
        ----------
        parts : Path
            The folder of the parts that it wrote.
        went_on : bool
            Whether it continued from earlier scores.

        Returns
        -------
        Outcome
        """
        from pyarrow import parquet

        people = unscored = 0
        for part in range(PARTS):
            written = parquet.read_metadata(parts / part_file(part))
            position = written.schema.names.index("score")
            people += written.num_rows
            groups = (written.row_group(group) for group in range(written.num_row_groups))
            unscored += sum(group.column(position).statistics.null_count for group in groups if group.num_rows)
        read = [noted_read(parts / part_file(part)) for part in range(PARTS)]
        noted = [of_part for of_part in read if of_part is not None]
        return cls(
            people,
            people - unscored,
            sum(of_part.set_aside for of_part in noted) if noted else None,
            sum(of_part.people for of_part in noted) if noted and went_on else None,
            max((of_part.last_day for of_part in noted if of_part.last_day), default=None),
        )


@dataclass(frozen=True)
class Origin:
    """What scores of kept records were made from.

    Attributes
    ----------
    version : str
        The version of this library.
    query_sha256 : str
        The hash of the query for everyone's vectors.
    states : tuple of str
        The state of each part of the records.
    """

    version: str
    query_sha256: str
    states: tuple[str, ...]

    @classmethod
    def of(cls, engine: Engine, folder: Path) -> Origin:
        """Return what scores made now from a folder of kept records are made from."""
        return cls(
            __version__, engine.query_sha256, tuple(kept.about_part(folder, part).state for part in range(PARTS))
        )


# ------------------------------------------------------------------------------- what is asked


def check_engine_and_places(engine: object, records: object, out: object) -> None:
    """Raise if this is no engine, or these are not paths to score from and to."""
    if not isinstance(engine, Engine):
        raise ArgumentError(
            "this is no engine", value=type(engine).__name__, expected="what load_engine(folder) returns"
        )
    as_path(
        records,
        "the records of everyone come from a folder",
        remedy="Of records that were read, ask engine.score(records, as_of).",
    )
    as_path(out, "the scores go into a file or a folder")


def question(
    engine: Engine,
    folder: Path,
    state: Sequence[Any],
    day: date,
    columns: ColumnsAsked,
    gone_on_from: Mapping[str, Any] | None = None,
) -> str:
    """Return the question of a run as text: parts that answer another question are not used.

    Parameters
    ----------
    engine : Engine
    folder : Path
        The folder of the records.
    state : list
        The state of these records (:func:`egretscore.records.in_bulk.runs.state_of_records`).
    day : date
    columns : ColumnsAsked
    gone_on_from : mapping, optional
        The earlier scores that the run continues from.
    """
    which = {name: bool(given) for name, given in asdict(columns).items()}  # numpy's too
    asked = {"version": __version__, "model": engine.sha256, "as_of": day.isoformat(), **which}
    origin = {ORIGIN: asdict(Origin.of(engine, folder))} if kept.is_kept(folder) else {}
    return json.dumps({**asked, **origin, **(gone_on_from or {}), "files": state})


def part_scorer(engine: Engine, day: date, columns: ColumnsAsked, *, invented: bool) -> PartScorer:
    """Return what writes the parts of a question."""
    about = {
        "as_of": day.isoformat(),
        "model": engine.name,
        "model_sha256": engine.sha256,
        "invented": engine.model.invented or invented,
    }
    return PartScorer(engine.model.scorecard, engine.policy, columns, about)


# ------------------------------------------------------------------------------- where it is written


def place_of_scores(out: Path, records: Path) -> Path:
    """Return where scores are written, with links followed; raise if they cannot be written there."""
    check_name_is_text(out)
    named = out
    try:
        out = out.resolve()
    except (OSError, RuntimeError) as error:
        raise ArgumentError("this link leads nowhere", file=named, remedy="Name another place.") from error
    check_name_is_text(out)
    check_not_among(out, records)
    if _is_one_file(named) != _is_one_file(out):
        raise ArgumentError(
            "of this link and its target, only one has the name of a file of scores",
            file=named,
            expected="both to end in .parquet, or neither",
        )
    check_lies_in_nothing_of_ours(out)
    if _is_one_file(out):
        check_no_folder(out)
        _check_holds_scores(out)
    elif out.suffix[1:].isalpha() and not out.is_dir():
        raise ArgumentError(
            "the file to write must be a Parquet file",
            file=out,
            expected="a name ending in .parquet, or that of a folder, with no ending",
        )
    else:
        check_replaceable(out, {QUESTION, *_NAMES_IN_A_FOLDER, *map(note_beside, _NAMES_IN_A_FOLDER)})
    return out


def is_whole(parts: Path, part: int) -> bool:
    """Return whether the scores of a part are as an earlier run wrote them."""
    return are_whole(parts / part_file(part))


def finish(
    parts: Path, out: Path, outcome: Outcome, asked: str, resources: Resources, check: Callable[[], None]
) -> None:
    """Make the finished parts the output file or folder, unless ``check`` raises at the very end."""
    if _is_one_file(out):
        _write_in_one(parts, out, resources, check)
    else:
        _write_about(parts, outcome, asked)
        check()
        take_the_place(parts, out, _NAMES_IN_A_FOLDER)


def _check_holds_scores(file: Path) -> None:
    """Raise if a file that would be replaced is there and holds something else than scores."""
    from pyarrow import ArrowException, parquet

    if not file.exists():
        return
    try:
        is_of_scores = METADATA in (parquet.read_metadata(file).metadata or {})
    except (ArrowException, OSError):
        is_of_scores = False
    if not is_of_scores:
        raise ArgumentError(
            "this file holds something else than scores, and would be replaced", file=file, remedy="Name a new file."
        )


def _is_one_file(out: Path) -> bool:
    return out.suffix.lower() == ".parquet"


def _write_in_one(parts: Path, out: Path, resources: Resources, check: Callable[[], None]) -> None:
    """Merge the parts into one file in the order of subject_id."""
    from pyarrow import parquet

    files = [parts / part_file(part) for part in range(PARTS)]
    schema = parquet.read_schema(files[0])
    connection = open_locked(files, resources)
    try:
        create_view(connection, "scores", files)
        merged = connection.sql("SELECT * FROM scores ORDER BY subject_id")
        with (
            whole_file(out, within=parts) as scratch,
            parquet.ParquetWriter(scratch, schema, **AS_WRITTEN) as writer,
        ):
            for rows in _of_one_size(merged.to_arrow_reader(_ROWS_AT_ONCE), schema):
                writer.write_table(rows, row_group_size=_ROWS_AT_ONCE)
            check()
    except duckdb.Error as error:
        raise RecordsError(
            f"the scores cannot be merged ({str(error).splitlines()[0]})",
            file=out,
            remedy="Make room on the disk, or give more memory, and score again: the parts are there already.",
        ) from error
    shutil.rmtree(parts)


def _of_one_size(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut rows into tables of one size, whatever the sizes of the batches."""
    import pyarrow as pa

    waiting = pa.Table.from_batches([], schema)
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while len(waiting) >= _ROWS_AT_ONCE:
            yield waiting[:_ROWS_AT_ONCE].combine_chunks()
            waiting = waiting[_ROWS_AT_ONCE:]
    if len(waiting):
        yield waiting.combine_chunks()


def _write_about(parts: Path, outcome: Outcome, asked: str) -> None:
    from pyarrow import parquet

    origin = json.loads(asked).get(ORIGIN)
    of_every_part = json.loads(parquet.read_schema(parts / part_file(0)).metadata[METADATA])
    about = {
        **of_every_part,
        "people": outcome.people,
        "scored": outcome.scored,
        "parts": PARTS,
        "part": WHICH_PART,
        "sha256": {part_file(part): sha256_of(parts / part_file(part)) for part in range(PARTS)},
        **({} if origin is None else {ORIGIN: origin}),
    }
    with whole_file(parts / ABOUT) as scratch:
        scratch.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_about_scores(folder: Path) -> Mapping[str, Any]:
    """Return what ``_scores.json`` says; raise unless the scores were made from kept records, in parts."""
    file = folder / ABOUT
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        states, hashes = about[ORIGIN]["states"], about["sha256"]
        complete = len(states) == PARTS and set(hashes) == set(map(part_file, range(PARTS)))
        complete = complete and all(isinstance(text, str) for text in (*states, *hashes.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        complete = False
    if not complete:
        raise ArgumentError(
            "scoring cannot continue from this folder" if folder.exists() else "there is no such folder",
            file=folder,
            expected="a folder of 64 parts, which egretscore score wrote from kept records",
            remedy=SCORE_EVERYONE,
        )
    return dict(about)
