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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from egretscore import __version__
from egretscore.dates import as_day
from egretscore.day_by_day import ABOUT, ORIGIN, Origin, Previous, read_previous, stand_already
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
from egretscore.parts import PARTS, QUESTION, WHICH_PART, part_file
from egretscore.records.database import create_view, open_locked
from egretscore.records.kept import check_is_kept, is_kept
from egretscore.records.kept_records import KeptRecords
from egretscore.records.partwise import (
    SPILL,
    PartRead,
    Progress,
    as_memory_allows,
    check_not_among,
    for_the_database,
    groups_of,
    memory_to_use,
    note_read,
    noted_read,
    one_ahead,
    parts_at_once,
    parts_beside,
    remove_what_was_replaced,
    set_aside_by_part,
    state_of_records,
    take_the_place,
)
from egretscore.records.reading import invented_mark, read_parts
from egretscore.scored import AS_WRITTEN, METADATA, ColumnsAsked, PartScorer, are_whole, write_scores
from egretscore.writing import check_no_folder, check_replaceable, hash_beside, sha256_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES_IN_A_FOLDER: Final = frozenset({ABOUT, *map(part_file, range(PARTS))})
_ROWS_AT_ONCE: Final = 65_536
# Of fewer people, most of the time is that of the calls: measured.
_PEOPLE_AT_ONCE: Final = 8_192


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
        everyone's were, and where ``set_aside`` is.
    """

    people: int
    scored: int
    set_aside: int | None
    read_again: int | None = None

    @classmethod
    def of(cls, parts: Path, set_aside: int | None, read_again: int | None = None) -> Outcome:
        """Return what came of the run that wrote these parts."""
        from pyarrow import parquet

        people = unscored = 0
        for part in range(PARTS):
            written = parquet.read_metadata(parts / part_file(part))
            position = written.schema.names.index("score")
            people += written.num_rows
            groups = (written.row_group(group) for group in range(written.num_row_groups))
            unscored += sum(group.column(position).statistics.null_count for group in groups if group.num_rows)
        return cls(people, people - unscored, set_aside, read_again)


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
    out, memory = Path(out).resolve(), memory_to_use(memory)
    check_place(out, Path(records))
    run = _Run.of(engine, Path(records), as_day(as_of), ColumnsAsked(vectors, reasons, benefits), threads, memory)
    if since is not None or previous is not None:
        earlier, day = _where_to_go_on(run, since, previous, out)
        if earlier.resolve() == out and run.is_answered_by(out):
            remove_what_was_replaced(out)  # by a run that was stopped at its very end
            return Outcome.of(out, None)
        run = replace(run, before=read_previous(earlier, day, engine, run.scorer.column_names))

    asked = run.question()
    with parts_beside(out, asked, part_file, is_whole) as (parts, unfinished):
        done = read = taken_up = PARTS - len(unfinished)
        found, written = noted_read(parts), 0
        with _writers(threads) as writers, closing(run.groups(unfinished, parts / SPILL)) as groups:
            for group in groups:
                if run.question() != asked:
                    raise RecordsError(
                        "the records changed while they were being scored", file=run.folder, remedy="Score them again."
                    )
                found.update(group.found)
                note_read(parts, found)
                read += len(group.people)
                for bundle in writers.map(partial(run.write, group, parts), group.bundles()):
                    for people in bundle:
                        done, written = done + 1, written + people
                        progress(Progress(done, read, taken_up, written))
                del group  # while the next is read, this is not held as well
        whole = found.values() if len(found) == PARTS else None
        outcome = Outcome.of(
            parts,
            None if whole is None else sum(part.set_aside for part in whole),
            None if whole is None or run.before is None else sum(part.people for part in whole),
        )
        return finish(parts, out, outcome, asked, threads, memory)


@dataclass(frozen=True)
class _Group:
    """Some parts whose records have been read.

    Attributes
    ----------
    people : mapping of part to Table
        Everyone to be scored; see :meth:`Engine.people_by_part`.
    found : mapping of part to PartRead
        What reading each came to.
    changed : mapping of part to array of subject_id
        Of the parts of which only some people are scored, and the rest is as it was: those people.
    """

    people: Mapping[int, pa.Table]
    found: Mapping[int, PartRead]
    changed: Mapping[int, pa.Array]

    def bundles(self) -> list[Sequence[int]]:
        """Return the parts in bundles of enough people each to be worth a call of numpy's."""
        total = sum(map(len, self.people.values()))
        return groups_of(list(self.people), max(1, _PEOPLE_AT_ONCE * len(self.people) // max(1, total)))


@dataclass(frozen=True)
class _Run:
    """What is asked of which records, and what may be used to answer it.

    Attributes
    ----------
    before : Previous or None
        The scores that it goes on from.
    """

    engine: Engine
    folder: Path
    day: date
    columns: ColumnsAsked
    scorer: PartScorer
    threads: int | None
    memory: int
    before: Previous | None = None

    @classmethod
    def of(
        cls, engine: Engine, folder: Path, day: date, columns: ColumnsAsked, threads: int | None, memory: int
    ) -> _Run:
        scorer = part_scorer(engine, day, columns, invented=invented_mark(folder) is not None)
        return cls(engine, folder, day, columns, scorer, threads, memory)

    def question(self) -> str:
        return question(self.engine, self.folder, self.day, self.columns, self.before)

    def is_answered_by(self, scores: Path) -> bool:
        """Return whether a folder holds these very scores of these kept records, as they were written."""
        return stand_already(scores, self.folder, self.engine, self.scorer.column_names, self.scorer.about)

    def groups(self, parts: Sequence[int], spill: Path) -> Generator[_Group, None, None]:
        """Read the records of these parts, as many at once as the memory holds."""
        known = [part for part in parts if self.before is not None and self.before.knows(self.folder, part)]
        unknown = [part for part in parts if part not in known]
        # Groups of kept records are small: one is read while one is written.
        ahead = is_kept(self.folder)
        at_most = parts_at_once(self.folder, self.memory)
        memory = for_the_database(self.memory) // (2 if ahead else 1)
        found = as_memory_allows(
            [*groups_of(known, at_most), *groups_of(unknown, at_most)],
            lambda group: self._read(group, memory, spill, self.before if group[0] in known else None),
        )
        groups = (group for _, group in found)
        return one_ahead(groups) if ahead else groups

    def _read(self, group: Sequence[int], memory: int, spill: Path, before: Previous | None) -> _Group:
        found = read_parts(
            self.folder, group, policy=self.engine.policy, threads=self.threads, memory=memory, spill=spill
        )
        changed: dict[int, pa.Array] = {}
        if before is not None and isinstance(found, KeptRecords):
            changed.update(before.narrow(found, self.folder, self.engine, self.day, group))

        people = dict(zip(group, self.engine.people_by_part(found, self.day, group), strict=True))
        rows = set_aside_by_part(found)
        read = {part: PartRead(len(of_part), rows.get(part, 0)) for part, of_part in people.items()}
        return _Group(people, read, changed)

    def write(self, group: _Group, parts: Path, bundle: Sequence[int]) -> list[int]:
        """Score and write some parts of a group, and return of how many people each is."""
        import pyarrow as pa

        scores = self.scorer.table(pa.concat_tables(group.people[part] for part in bundle))
        written, first = [], 0
        for part in bundle:
            of_part = scores[first : (first := first + len(group.people[part]))]
            if self.before is not None and part in group.changed:
                of_part = self.before.with_changes(part, group.changed[part], of_part)
            write_scores(of_part, parts / part_file(part))
            written.append(len(of_part))
        return written


@contextmanager
def _writers(threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """Give threads that score and write parts side by side, and begin no more when the run is stopped."""
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _where_to_go_on(run: _Run, since: date | str | None, previous: str | Path | None, out: Path) -> tuple[Path, date]:
    """Return the folder of the previous scores, and their date."""
    if since is None or previous is None:
        raise ArgumentError("--since and --previous go together", expected="the previous scores, and their date")
    check_is_kept(run.folder, "who changed since a date is known of kept records alone")
    if Path(previous).resolve() in out.parents:
        raise ArgumentError(
            "what is to be written would come to lie in the previous scores", file=out, remedy="Name a place elsewhere."
        )
    if run.day < as_day(since):
        raise ArgumentError("the scores would be of an earlier date than the previous ones", value=run.day.isoformat())
    return Path(previous), as_day(since)


def question(engine: Engine, folder: Path, day: date, columns: ColumnsAsked, before: Previous | None = None) -> str:
    """Return what is asked, and of which records: parts that answer another question are not taken up."""
    asked = {"version": __version__, "model": engine.sha256, "as_of": day.isoformat(), **asdict(columns)}
    origin = {ORIGIN: asdict(Origin.of(engine, folder))} if is_kept(folder) else {}
    # By what they are, not where: a run stopped at its very end may have put them aside.
    gone_on_from = {} if before is None else {"since": before.as_of.isoformat(), "previous": dict(before.sha256)}
    return json.dumps({**asked, **origin, **gone_on_from, "files": state_of_records(folder)})


def finish(parts: Path, out: Path, outcome: Outcome, asked: str, threads: int | None, memory: int) -> Outcome:
    """Make the finished parts the file or the folder that was to be written."""
    if _is_one_file(out):
        _write_in_one(parts, out, threads, memory)
    else:
        _write_about(parts, outcome, asked)
        take_the_place(parts, out, _NAMES_IN_A_FOLDER)
    return outcome


def is_whole(parts: Path, part: int) -> bool:
    """Return whether the scores of a part are as an earlier run wrote them."""
    return are_whole(parts / part_file(part))


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
            file=out,
            expected="a name ending in .parquet, or that of a folder, with no ending",
        )
    else:
        check_replaceable(out, {QUESTION, *_NAMES_IN_A_FOLDER, *map(hash_beside, _NAMES_IN_A_FOLDER)})


def _is_one_file(out: Path) -> bool:
    return out.suffix.lower() == ".parquet"


def _write_in_one(parts: Path, out: Path, threads: int | None, memory: int) -> None:
    """Merge the parts into one file in the order of subject_id."""
    from pyarrow import parquet

    files = [parts / part_file(part) for part in range(PARTS)]
    schema = parquet.read_schema(files[0])
    connection = open_locked(files, threads, for_the_database(memory), parts / SPILL)
    try:
        create_view(connection, "scores", files)
        merged = connection.sql("SELECT * FROM scores ORDER BY subject_id")
        with (
            whole_file(out, within=parts) as scratch,
            parquet.ParquetWriter(scratch, schema, **AS_WRITTEN) as writer,
        ):
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
