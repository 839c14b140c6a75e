"""Scoring everyone on file into Parquet, part by part, so that a whole city fits through a small machine.

How a run works through the parts, and goes on where it was stopped, is told in
``egretscore.records.partwise``. What a part holds depends on the records and the question
alone, so the finished bytes do not tell how often a run was stopped, how much memory or how
many threads it had, or into how many files the records were cut.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from egretscore import __version__
from egretscore.dates import as_day
from egretscore.day_by_day import ABOUT, ORIGIN, Origin, Previous, read_previous
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, QUESTION, WHICH_PART, part_file
from egretscore.records.database import create_view, open_locked
from egretscore.records.kept import is_kept
from egretscore.records.partwise import (
    SHARE_OF_THE_DATABASE,
    SPILL,
    Progress,
    as_memory_allows,
    check_not_among,
    groups_of,
    memory_to_use,
    note_set_aside,
    noted_set_aside,
    one_ahead,
    parts_at_once,
    parts_beside,
    set_aside_by_part,
    state_of_files,
    take_the_place,
)
from egretscore.records.store import KeptRecords, Records, invented_mark, read_parts
from egretscore.scored import METADATA, ColumnsAsked, PartScorer, write_scores
from egretscore.writing import check_no_folder, check_replaceable, sha256_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    people, scored : int
        How many people are on file, and how many of them were scored.
    set_aside : int or None
        How many rows were set aside; None when an earlier run was stopped at its very end,
        and this one had nothing left to read.
    read_again : int or None
        Going on from previous scores: of how many people the records were read. None when
        everyone's were, or parts of an earlier run were taken up.
    """

    people: int
    scored: int
    set_aside: int | None
    read_again: int | None = None

    @classmethod
    def of(cls, parts: Path, set_aside: int | None, read_again: int | None = None) -> Outcome:
        """Return what came of the run that wrote these parts."""
        from pyarrow import parquet

        # Not read_table: it loads pandas.
        files = (parquet.ParquetFile(parts / part_file(part)) for part in range(PARTS))
        scores = [file.read(columns=["score"])["score"] for file in files]
        people = sum(map(len, scores))
        return cls(people, people - sum(of_part.null_count for of_part in scores), set_aside, read_again)


def score_everyone(  # noqa: PLR0913 - the options of one command
    engine: Engine,
    records: str | Path,
    as_of: date | str,
    out: str | Path,
    *,
    vectors: bool = False,
    reasons: bool = False,
    benefits: bool = False,
    since: date | str | None = None,
    previous: str | Path | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Score everyone on file on a date into Parquet, in bounded memory.

    Parameters
    ----------
    engine : Engine
    records : path
        A folder of CSV or Parquet files, or one that ``egretscore keep`` wrote.
    as_of : date or str such as "2026-10-31"
    out : path
        A name ending in ``.parquet`` for one file, in the order of subject_id; else a
        folder: one file for each part, in the order of subject_id, and ``scores.json``,
        which says of whom and by what they were made. A folder of earlier scores is replaced.
    vectors, reasons, benefits : bool
        Which columns to add; see :meth:`Engine.score_columns`.
    since : date or str, optional
        With ``previous``: the date of the previous scores. The records of those alone are
        read who changed since; the bytes are those of scoring everyone.
    previous : path, optional
        A folder of scores that this function wrote from the same kept records, which may have
        been added to since (:func:`egretscore.add_records`). It may be ``out`` itself.
    threads : int, optional
        How many threads to use; as many as there are cores when not given.
    memory : int, optional
        How many bytes to use, roughly; half the machine's when not given. The database
        keeps to its share strictly, and what does not fit goes to a folder beside ``out``.
    progress : function of Progress, optional
        Called after every part.

    Returns
    -------
    Outcome

    Raises
    ------
    RecordsError
        If the records cannot be read, or change during the run.
    ArgumentError
        If ``out`` holds something else, is being written by another run or lies among the
        records, or the memory does not suffice.
    """
    folder, out, day = Path(records), Path(out).resolve(), as_day(as_of)
    memory = memory_to_use(memory)
    check_place(out, folder)
    columns = ColumnsAsked(vectors=vectors, reasons=reasons, benefits=benefits)

    scorer = part_scorer(engine, day, columns, invented=invented_mark(folder) is not None)
    before = _previous(since, previous, engine=engine, records=folder, scorer=scorer, day=day, out=out)

    def question_now() -> str:
        return question(engine, folder, day, columns, before)

    asked = question_now()
    with parts_beside(out, asked, part_file) as (parts, unfinished):
        known = [part for part in unfinished if before is not None and before.knows(folder, part)]
        unknown = [part for part in unfinished if part not in known]
        missing = [*known, *unknown]
        taken_up, left_out, written = PARTS - len(missing), noted_set_aside(parts), 0
        read_again = dict[int, int]()
        at_once = 2 if is_kept(folder) else 1  # groups of kept records are small: one is read while one is written

        def read(group: Sequence[int]) -> tuple[Records, Mapping[int, Callable[[], pa.Table]]]:
            """Read the records of some parts, and return with them what makes the scores of each."""
            share = int(memory * SHARE_OF_THE_DATABASE / at_once)
            found = read_parts(folder, group, policy=engine.policy, threads=threads, memory=share, spill=parts / SPILL)
            changed = None
            if before is not None and group[0] in known and isinstance(found, KeptRecords):
                changed = before.narrow(found, folder, engine, day, group)
                read_again.update((part, len(changed[part])) for part in group)

            def scores_of(part: int, people: pa.Table) -> pa.Table:
                scores = scorer.table(people)
                return scores if before is None or changed is None else before.with_changes(part, changed[part], scores)

            by_part = zip(group, engine.people_by_part(found, day, group), strict=True)
            return found, {part: partial(scores_of, part, people) for part, people in by_part}

        def write(part: int, scores_of_part: Callable[[], pa.Table]) -> int:
            scores = scores_of_part()
            write_scores(scores, parts / part_file(part))
            return len(scores)

        at_most = parts_at_once(folder, memory)
        groups = as_memory_allows([*groups_of(known, at_most), *groups_of(unknown, at_most)], read)
        with _writers(threads) as writers, closing(one_ahead(groups) if at_once > 1 else groups) as found_groups:
            for group, (found, scores_of) in found_groups:
                if question_now() != asked:
                    raise RecordsError(
                        "the records changed while they were being scored", file=folder, remedy="Score them again."
                    )
                rows = set_aside_by_part(found)
                left_out.update((part, rows.get(part, 0)) for part in group)
                note_set_aside(parts, left_out)
                for part, people in zip(group, writers.map(write, scores_of, scores_of.values()), strict=True):
                    written += people
                    read_again.setdefault(part, people)
                    done, read_so_far = (taken_up + missing.index(last) + 1 for last in (part, group[-1]))
                    progress(Progress(done, read_so_far, taken_up, written))
        again = None if taken_up or before is None else sum(read_again.values())
        left_out_in_all = sum(left_out.values()) if len(left_out) == PARTS else None
        outcome = Outcome.of(parts, left_out_in_all, again)
        return finish(parts, out, outcome, asked, threads, memory)


@contextmanager
def _writers(threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """Give threads that score and write parts side by side, and begin no more when the run is stopped."""
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _previous(
    since: date | str | None,
    previous: str | Path | None,
    *,
    engine: Engine,
    records: Path,
    scorer: PartScorer,
    day: date,
    out: Path,
) -> Previous | None:
    """Return the previous scores to go on from, if there are to be any."""
    if since is None and previous is None:
        return None
    if since is None or previous is None:
        raise ArgumentError("--since and --previous go together", expected="the previous scores, and their date")
    if not is_kept(records):
        raise RecordsError(
            "who changed since a date is known of kept records alone",
            file=records,
            expected="a folder that egretscore keep wrote, and egretscore add added to",
        )
    if Path(previous).resolve() in out.parents:
        raise ArgumentError(
            "what is to be written would come to lie in the previous scores", file=out, remedy="Name a place elsewhere."
        )
    return read_previous(Path(previous), as_day(since), engine, scorer.column_names, day)


def question(engine: Engine, folder: Path, day: date, columns: ColumnsAsked, before: Previous | None = None) -> str:
    """Return what is asked, and of which records: parts that answer another question are not taken up."""
    asked = {"version": __version__, "model": engine.sha256, "as_of": day.isoformat(), **asdict(columns)}
    origin = {ORIGIN: asdict(Origin.of(engine, folder))} if is_kept(folder) else {}
    # By what they are, not where: a run stopped at its very end may have put them aside.
    gone_on_from = {} if before is None else {"since": before.as_of.isoformat(), "previous": dict(before.sha256)}
    return json.dumps({**asked, **origin, **gone_on_from, "files": state_of_files(folder)})


def finish(parts: Path, out: Path, outcome: Outcome, asked: str, threads: int | None, memory: int) -> Outcome:
    """Make the finished parts the file or the folder that was to be written."""
    if _is_one_file(out):
        _write_in_one(parts, out, threads, memory)
    else:
        _write_about(parts, outcome, asked)
        take_the_place(parts, out)
    return outcome


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


def check_place(out: Path, records: Path) -> None:
    """Raise if scores cannot be written there."""
    check_not_among(out, records)
    if _is_one_file(out):
        check_no_folder(out)
    elif out.suffix[1:].isalpha() and not out.is_dir():
        raise ArgumentError(
            "the file to write must be a Parquet file",
            value=out,
            expected="a name ending in .parquet, or that of a folder, with no ending",
        )
    else:
        check_replaceable(out, {ABOUT, QUESTION, *map(part_file, range(PARTS))})


def _is_one_file(out: Path) -> bool:
    return out.suffix.lower() == ".parquet"


def _write_in_one(parts: Path, out: Path, threads: int | None, memory: int) -> None:
    """Merge the parts into one file in the order of subject_id."""
    from pyarrow import parquet

    files = [parts / part_file(part) for part in range(PARTS)]
    schema = parquet.read_schema(files[0])
    connection = open_locked(files, threads, int(memory * SHARE_OF_THE_DATABASE), parts / SPILL)
    try:
        create_view(connection, "scores", files)
        merged = connection.sql("SELECT * FROM scores ORDER BY subject_id")
        with whole_file(out) as scratch, parquet.ParquetWriter(scratch, schema, compression="zstd") as writer:
            for rows in _of_one_size(merged.to_arrow_reader(_ROWS_AT_ONCE), schema):
                writer.write_table(rows, row_group_size=_ROWS_AT_ONCE)
    except duckdb.Error as error:
        raise RecordsError(f"the scores cannot be merged ({str(error).splitlines()[0]})", file=out) from error
    shutil.rmtree(parts)


def _of_one_size(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut rows into tables of one size, however the database dealt them out."""
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
