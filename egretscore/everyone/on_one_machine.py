"""Scoring everyone on file into Parquet, part by part, so that a whole city fits through a small machine.

``egretscore.records.in_bulk.runs`` says how a run works through the parts and goes on where it was
stopped. What a part holds depends on the records and the question alone, so the finished bytes do
not depend on interruptions, memory, threads, or how the records are split into files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from egretscore.dates import as_day
from egretscore.engine import Engine
from egretscore.errors import ArgumentError
from egretscore.everyone.day_by_day import Previous, are_up_to_date, read_previous
from egretscore.everyone.files import (
    Outcome,
    check_engine_and_places,
    finish,
    is_whole,
    part_scorer,
    place_of_scores,
    question,
)
from egretscore.everyone.part_scores import PartRead, PartScorer, part_file, write_scores
from egretscore.paths import as_path
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.database import Resources, check_threads, threads_to_use
from egretscore.records.in_bulk.memory import (
    as_memory_allows,
    for_the_database,
    groups_of,
    memory_to_use,
    one_ahead,
    parts_at_once,
)
from egretscore.records.in_bulk.runs import (
    SPILL,
    Progress,
    check_unchanged,
    parts_beside,
    remove_what_was_replaced,
    state_of_records,
    to_report,
)
from egretscore.records.kept.folder import check_is_kept, is_kept
from egretscore.records.parts import PARTS
from egretscore.records.reading import invented_mark, read_parts
from egretscore.scored import ColumnsAsked

if TYPE_CHECKING:
    import pyarrow as pa

# Of fewer people, most of the time is that of the calls: measured.
_PEOPLE_AT_ONCE: Final = 8_192


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
    progress: Callable[[Progress], None] | None = None,
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
        folder: one file for each part, in the order of subject_id, and ``_scores.json``,
        which names the model and the records. A folder of earlier scores is replaced.
    vectors, reasons, benefits : bool
        Which columns to add; see :meth:`Engine.score_columns`.
    since : date or str, optional
        With ``previous``: the date that the previous scores must be of, as a safeguard.
    previous : path, optional
        A folder of scores that this function wrote from the same kept records, which may have
        been added to since (:func:`egretscore.add_records`). Only the records of people who changed
        since then are read; the bytes are those of scoring everyone. It may be ``out`` itself.
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
        If the records cannot be read, change during the run, or are not for this engine's policy, or the previous
        scores are not as they were written.
    ArgumentError
        If ``out`` holds something else, is being written by another run or lies among the records or in a folder of
        ours, the previous scores are of other records, columns, dates or models, there is too little memory, or an
        argument is not what it should be.
    """
    check_engine_and_places(engine, records, out)
    check_threads(threads)
    progress = to_report(progress)
    memory = memory_to_use(memory)
    out = place_of_scores(Path(out), Path(records))
    run = _Run.of(engine, Path(records), as_day(as_of), ColumnsAsked(vectors, reasons, benefits), memory)
    if since is not None or previous is not None:
        earlier, day_before = _where_to_go_on(run, since, previous)
        if earlier.resolve() == out and run.is_answered_by(out):
            remove_what_was_replaced(out)  # by a run that was stopped at its very end
            return Outcome.of(out)
        before = read_previous(earlier, day_before, engine, run.scorer.column_names)
        run.check_is_of_no_day_before(before.as_of)
        run = replace(run, before=before)
    return _score_in_parts(run, out, threads, progress)


@dataclass(frozen=True)
class _Group:
    """Some parts whose records have been read.

    Attributes
    ----------
    people : mapping of part to Table
        Everyone to be scored; see :meth:`Engine.people_by_part`.
    read : mapping of part to PartRead
        What was found when the records of each were read.
    before : Previous or None
        The earlier scores of everyone else in these parts, where only some people are to be scored.
    """

    people: Mapping[int, pa.Table]
    read: Mapping[int, PartRead]
    before: Previous | None

    def bundles(self) -> list[Sequence[int]]:
        """Return the parts in bundles, each of enough people to be worth scoring in one numpy call."""
        total = sum(map(len, self.people.values()))
        return groups_of(list(self.people), max(1, _PEOPLE_AT_ONCE * len(self.people) // max(1, total)))


@dataclass(frozen=True)
class _Run:
    """One run: the question, the records, and the memory it may use.

    Attributes
    ----------
    before : Previous or None
        The earlier scores that it continues from.
    """

    engine: Engine
    folder: Path
    day: date
    columns: ColumnsAsked
    scorer: PartScorer
    memory: int
    before: Previous | None = None

    @classmethod
    def of(cls, engine: Engine, folder: Path, day: date, columns: ColumnsAsked, memory: int) -> _Run:
        scorer = part_scorer(engine, day, columns, invented=invented_mark(folder) is not None)
        return cls(engine, folder, day, columns, scorer, memory)

    def question(self, state: Sequence[Any]) -> str:
        gone_on_from = None if self.before is None else self.before.asked
        return question(self.engine, self.folder, state, self.day, self.columns, gone_on_from)

    def check_is_of_no_day_before(self, since: date) -> None:
        if self.day < since:
            raise ArgumentError(
                "the scores would be of an earlier date than the previous ones",
                value=self.day.isoformat(),
                expected=f"{since} or later",
            )

    def is_answered_by(self, scores: Path) -> bool:
        """Return whether a folder holds exactly the scores this run would write, unaltered."""
        return are_up_to_date(scores, self.folder, self.engine, self.scorer.column_names, self.scorer.about)

    def groups(self, parts: Sequence[int], resources: Resources) -> Generator[_Group, None, None]:
        """Read the records of these parts, as many at once as the memory holds."""
        known = [part for part in parts if self.before is not None and self.before.knows(self.folder, part)]
        unknown = [part for part in parts if part not in known]
        # Groups of kept records are small: one is read while one is written.
        ahead = is_kept(self.folder)
        at_most = parts_at_once(self.folder, self.memory)
        each = replace(resources, memory=for_the_database(self.memory) // (2 if ahead else 1))
        found = as_memory_allows(
            [*groups_of(known, at_most), *groups_of(unknown, at_most)],
            lambda group: self._read(group, each, self.before if group[0] in known else None),
        )
        groups = (group for _, group in found)
        return one_ahead(groups) if ahead else groups

    def _read(self, group: Sequence[int], resources: Resources, before: Previous | None) -> _Group:
        found = read_parts(self.folder, group, self.engine.policy, resources)
        last_day = found.last_day
        if before is not None and isinstance(found, KeptRecords):
            before.narrow(found, self.folder, self.engine, self.day, group)

        people = dict(zip(group, self.engine.people_by_part(found, self.day, group), strict=True))
        set_aside = found.set_aside_by_part()
        read = {part: PartRead(len(of_part), set_aside.get(part, 0), last_day) for part, of_part in people.items()}
        return _Group(people, read, before)

    def write(self, group: _Group, parts: Path, bundle: Sequence[int]) -> list[int]:
        """Score and write some parts of a group, and return the number of people in each."""
        import pyarrow as pa

        scores = self.scorer.table(pa.concat_tables(group.people[part] for part in bundle))
        written, first = [], 0
        for part in bundle:
            of_part = scores[first : (first := first + len(group.people[part]))]
            if group.before is not None:
                of_part = group.before.with_changes(part, of_part)
            write_scores(of_part, parts / part_file(part), group.read[part])
            written.append(len(of_part))
        return written


def _score_in_parts(run: _Run, out: Path, threads: int | None, progress: Callable[[Progress], None]) -> Outcome:
    """Score the parts that no earlier run of the same question finished, and make all of them the output."""
    state = state_of_records(run.folder)
    asked, check = run.question(state), partial(check_unchanged, run.folder, state, "scored")
    with parts_beside(out, asked, part_file, is_whole) as (parts, unfinished):
        done = read = taken_up = PARTS - len(unfinished)
        written, resources = 0, Resources(threads, for_the_database(run.memory), parts / SPILL)
        with _writers(threads) as writers, closing(run.groups(unfinished, resources)) as groups:
            for group in groups:
                check()
                read += len(group.people)
                for bundle in writers.map(partial(run.write, group, parts), group.bundles()):
                    for people in bundle:
                        done, written = done + 1, written + people
                        progress(Progress(done, read, taken_up, written))
                del group  # not held while the next group is read
        outcome = Outcome.of(parts, went_on=run.before is not None)
        # Checked once more at the end: someone may have been erased meanwhile.
        finish(parts, out, outcome, asked, resources, check)
    return outcome


@contextmanager
def _writers(threads: int | None) -> Iterator[ThreadPoolExecutor]:
    """Give threads that score and write parts at once, and start no more parts when the run is stopped."""
    pool = ThreadPoolExecutor(threads_to_use(threads))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _where_to_go_on(run: _Run, since: date | str | None, previous: str | Path | None) -> tuple[Path, date | None]:
    """Return the folder of the previous scores, and their date if one was given."""
    if previous is None:
        raise ArgumentError("since needs previous", expected="a folder of scores of that date")
    check_is_kept(run.folder, "only kept records tell who changed since a date")
    earlier = as_path(previous, "previous scores are in a folder")
    day_before = None if since is None else as_day(since)
    if day_before is not None:
        run.check_is_of_no_day_before(day_before)
    return earlier, day_before
