"""Scoring everyone on file into Parquet, part by part, so that a whole city fits through a small machine.

People are dealt out into parts (``egretscore.records.parts``). A run takes as many parts at
once as its memory holds, reads and checks the records of their people, scores them, and
writes each part whole. Parts lie in a hidden folder beside what is to be written and take
its place when the last is done. A run that was stopped, however, leaves its parts; the next
run of the same question goes on with the others. What a part holds depends on the records
and the question alone, so the finished bytes do not tell how often a run was stopped, how
much memory or how many threads it had, or into how many files the records were cut.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb
from sqlglot import exp

from egretscore import __version__
from egretscore.dates import as_day
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
from egretscore.records.database import open_locked
from egretscore.records.folder import files_by_table
from egretscore.records.parts import PARTS
from egretscore.records.schema import TABLES
from egretscore.records.store import Records, read_parts
from egretscore.writing import check_no_folder, check_replaceable, put_in_place, umask, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT: Final = "scores.json"
_QUESTION: Final = "question.json"
_SPILL: Final = "spill"
_METADATA: Final = b"egretscore"
_SMALLEST_MEMORY: Final = 256 * 2**20
# What a row takes while it is checked, as text and as values; and of a line of CSV, its length.
_BYTES_OF_A_ROW, _BYTES_OF_A_LINE = 600, 60
_SHARE_OF_THE_DATABASE: Final = 0.7
_ROWS_AT_ONCE: Final = 65_536
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    parts : int
        How many of the parts are done.
    read : int
        For how many of the parts the records have been read: most of the work.
    taken_up : int
        How many of them an earlier run had done, which is no measure of this one's speed.
    people : int
        How many people this run has written.
    """

    parts: int
    read: int
    taken_up: int
    people: int


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    people, scored : int
        How many people are on file, and how many of them were scored.
    set_aside : int or None
        How many rows were set aside; None when parts of an earlier run were taken up, whose
        rows were not read again.
    """

    people: int
    scored: int
    set_aside: int | None


def part_file(part: int) -> str:
    """Return the name of the file that holds a part."""
    return f"part-{part:02}.parquet"


def score_everyone(  # noqa: PLR0913 - the options of one command
    engine: Engine,
    records: str | Path,
    as_of: date | str,
    out: str | Path,
    *,
    vectors: bool = False,
    reasons: bool = False,
    benefits: bool = False,
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Score everyone on file on a date into Parquet, in bounded memory.

    Parameters
    ----------
    engine : Engine
    records : path
        A folder of CSV or Parquet files.
    as_of : date or str such as "2026-10-31"
    out : path
        A name ending in ``.parquet`` for one file, in the order of subject_id; else a
        folder: one file for each part, in the order of subject_id, and ``scores.json``,
        which says of whom and by what they were made. A folder of earlier scores is replaced.
    vectors, reasons, benefits : bool
        Which columns to add; see :meth:`Engine.score_columns`.
    threads : int, optional
        How many threads the database uses; all cores when not given.
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
    folder, out, day = Path(records), Path(out), as_day(as_of)
    memory = _memory_to_use(memory)
    _check_place(out, folder)
    columns = {"vectors": vectors, "reasons": reasons, "benefits": benefits}

    def question() -> str:
        asked = {"version": __version__, "model": engine.sha256, "as_of": day.isoformat(), **columns}
        return json.dumps({**asked, "files": _state_of_files(folder)})

    asked = question()
    with _parts_beside(out, asked) as parts:
        missing = [part for part in range(PARTS) if not (parts / part_file(part)).is_file()]
        taken_up = PARTS - len(missing)
        set_aside, written = 0, 0
        groups = _groups(missing, _parts_at_once(folder, memory))

        def read(group: Sequence[int]) -> tuple[Records, Iterator[tuple[int, dict[str, Any]]]]:
            share = int(memory * _SHARE_OF_THE_DATABASE)
            spill = parts / _SPILL
            found = read_parts(folder, group, policy=engine.policy, threads=threads, memory=share, spill=spill)
            return found, engine.score_columns_by_part(found, day, group, **columns)

        for group, (found, by_part) in _as_memory_allows(groups, read):
            if question() != asked:
                raise RecordsError(
                    "the records changed while they were being scored", file=folder, remedy="Score them again."
                )
            set_aside += _set_aside(found, every_table=group[-1] == missing[-1])
            for part, values in by_part:
                _write_part(engine, values, day, found.invented is not None, parts / part_file(part))
                written += len(values["subject_id"])
                done, known = (taken_up + missing.index(last) + 1 for last in (part, group[-1]))
                progress(Progress(done, known, taken_up, written))
        outcome = Outcome(*_counted(parts), None if taken_up else set_aside)
        if _is_one_file(out):
            _write_in_one(parts, out, threads, memory)
        else:
            _write_about(parts, outcome)
            _take_the_place(parts, out)
    return outcome


# ------------------------------------------------------------------------------- what a part holds


def _write_part(engine: Engine, columns: Mapping[str, Any], day: date, invented: bool, file: Path) -> None:
    from pyarrow import parquet

    about = {
        "as_of": day.isoformat(),
        "model": engine.name,
        "model_sha256": engine.sha256,
        "invented": engine.model.invented or invented,
    }
    table = _as_arrow(columns).replace_schema_metadata({_METADATA: json.dumps(about, ensure_ascii=False)})
    with whole_file(file) as scratch:
        parquet.write_table(table, scratch, compression="zstd")


def _as_arrow(columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    def column(values: Any) -> Any:
        if hasattr(values, "mask"):  # older pyarrow takes no notice of a mask unless it is handed over
            return pa.array(values.data, pa.int32(), mask=values.mask)
        return pa.array(values, pa.string() if values.dtype == object else None)

    return pa.table({name: column(values) for name, values in columns.items()})


def _set_aside(records: Records, *, every_table: bool) -> int:
    """Return how many rows were set aside, those of tables that every group reads whole only once."""
    return sum(c.quarantined for c in records.counts if every_table or not TABLES[c.table].reaches_others)


def _counted(parts: Path) -> tuple[int, int]:
    """Return how many people the parts hold, and how many of them were scored."""
    from pyarrow import parquet

    people = scored = 0
    for part in range(PARTS):
        scores = parquet.read_table(parts / part_file(part), columns=["score"])["score"]
        people, scored = people + len(scores), scored + len(scores) - scores.null_count
    return people, scored


# ------------------------------------------------------------------------------- how much at once


def _memory_to_use(memory: int | None) -> int:
    if memory is None:
        return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, _SMALLEST_MEMORY)
    if memory < _SMALLEST_MEMORY:
        raise ArgumentError(
            "the memory is too little", value=memory, expected=f"at least {_SMALLEST_MEMORY // 2**20} MiB"
        )
    return memory


def _parts_at_once(folder: Path, memory: int) -> int:
    passes = -(-_rows(folder) * _BYTES_OF_A_ROW // memory)
    return max(1, PARTS // max(1, passes))


def _rows(folder: Path) -> int:
    """Return how many rows the records have, roughly."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = 0
    for files in files_by_table(folder).values():
        for file in files:
            if file.suffix.lower() == ".csv":
                rows += file.stat().st_size // _BYTES_OF_A_LINE
                continue
            with suppress(pa.ArrowException, OSError):  # what is wrong with the file, reading it will say
                rows += parquet.read_metadata(file).num_rows
    return rows


def _groups(parts: Sequence[int], at_once: int) -> list[Sequence[int]]:
    return [parts[first : first + at_once] for first in range(0, len(parts), at_once)]


def _as_memory_allows(
    groups: Sequence[Sequence[int]], read: Callable[[Sequence[int]], _Read]
) -> Iterator[tuple[Sequence[int], _Read]]:
    """Read each group of parts, in halves where it does not fit into the memory."""
    for group in groups:
        try:
            found = read(group)
        except (RecordsError, duckdb.OutOfMemoryException, MemoryError) as error:
            if not _lacks_memory(error):
                raise
            if len(group) == 1:
                raise ArgumentError(
                    "the memory does not suffice to check one part of the records",
                    remedy="Give more with --memory, or fewer --threads.",
                ) from error
            yield from _as_memory_allows(_groups(group, len(group) // 2), read)
        else:
            yield group, found


def _lacks_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
            return True
        error = error.__cause__
    return False


# ------------------------------------------------------------------------------- where it is written


def _check_place(out: Path, records: Path) -> None:
    if records.resolve() in (out.resolve(), *out.resolve().parents):
        raise ArgumentError(
            "the scores would come to lie among the records", file=out, remedy="Name a place elsewhere."
        )
    if _is_one_file(out):
        check_no_folder(out)
    elif out.suffix[1:].isalpha() and not out.is_dir():
        raise ArgumentError(
            "the file to write must be a Parquet file",
            value=out,
            expected="a name ending in .parquet, or that of a folder, with no ending",
        )
    else:
        check_replaceable(out, {ABOUT, *map(part_file, range(PARTS))})


def _is_one_file(out: Path) -> bool:
    return out.suffix.lower() == ".parquet"


def _state_of_files(folder: Path) -> list[Any]:
    """Return what tells whether any file of the records is another than before."""
    state = []
    for files in files_by_table(folder).values():
        for file in files:
            try:
                of = file.stat()
            except OSError as error:
                raise RecordsError(f"the file cannot be read ({error.strerror})", file=file) from error
            state.append([str(file.absolute()), of.st_size, of.st_mtime_ns])
    return state


@contextmanager
def _parts_beside(out: Path, question: str) -> Iterator[Path]:
    """Give the hidden folder of the parts, with those that an earlier run of this question finished."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    parts = out.absolute().parent / f".{out.name}.unfinished"
    parts.mkdir(mode=0o700, exist_ok=True)
    with _alone_in(parts, out):
        asked = parts / _QUESTION
        if not asked.is_file() or asked.read_text(encoding="utf-8") != question:
            _clear(parts, keep=())
            with whole_file(asked) as scratch:
                scratch.write_text(question, encoding="utf-8")
        else:
            _clear(parts, keep=(_QUESTION, *map(part_file, range(PARTS))))
        try:
            yield parts
        finally:
            nothing_to_go_on_with = not any((parts / part_file(part)).is_file() for part in range(PARTS))
            shutil.rmtree(parts if nothing_to_go_on_with else parts / _SPILL, ignore_errors=True)


@contextmanager
def _alone_in(folder: Path, out: Path) -> Iterator[None]:
    """Let no other run work in the folder; however this one ends, the system lets go of it."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ArgumentError(
                "another run is writing this", file=out, remedy="Wait for it, or name another place."
            ) from error
        yield
    finally:
        os.close(handle)


def _clear(folder: Path, keep: Sequence[str]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in keep:
            entry.unlink()


def _write_in_one(parts: Path, out: Path, threads: int | None, memory: int) -> None:
    """Merge the parts into one file in the order of subject_id."""
    from pyarrow import parquet

    files = [parts / part_file(part) for part in range(PARTS)]
    schema = parquet.read_schema(files[0])
    connection = open_locked(files, threads, int(memory * _SHARE_OF_THE_DATABASE), parts / _SPILL)
    named = exp.array(*(exp.Literal.string(str(file)) for file in files)).sql("duckdb")
    try:
        merged = connection.sql(f"SELECT * FROM read_parquet({named}, hive_partitioning = false) ORDER BY subject_id")
        with whole_file(out) as scratch, parquet.ParquetWriter(scratch, schema, compression="zstd") as writer:
            for rows in _of_one_size(merged.to_arrow_reader(_ROWS_AT_ONCE), schema):
                writer.write_table(rows, row_group_size=_ROWS_AT_ONCE)
    except duckdb.Error as error:
        raise RecordsError(f"the scores cannot be merged ({str(error).splitlines()[0]})", file=out) from error
    shutil.rmtree(parts)


def _of_one_size(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut rows into tables of one size, however the database dealt them out."""
    import pyarrow as pa

    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while len(waiting) >= _ROWS_AT_ONCE:
            yield waiting[:_ROWS_AT_ONCE].combine_chunks()
            waiting = waiting[_ROWS_AT_ONCE:]
    if len(waiting):
        yield waiting.combine_chunks()


def _write_about(parts: Path, outcome: Outcome) -> None:
    from pyarrow import parquet

    of_every_part = json.loads(parquet.read_schema(parts / part_file(0)).metadata[_METADATA])
    about = {
        **of_every_part,
        "people": outcome.people,
        "scored": outcome.scored,
        "parts": PARTS,
        "part": f"the first byte of the MD5 of subject_id, modulo {PARTS}",
    }
    with whole_file(parts / ABOUT) as scratch:
        scratch.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _take_the_place(parts: Path, out: Path) -> None:
    """Make the folder of the parts the folder that was to be written."""
    shutil.rmtree(parts / _SPILL, ignore_errors=True)
    (parts / _QUESTION).unlink()
    parts.chmod(out.stat().st_mode if out.exists() else 0o777 & ~umask())
    earlier = parts.with_name(f".{out.name}.earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    put_in_place(parts, out, earlier)
    shutil.rmtree(earlier, ignore_errors=True)
