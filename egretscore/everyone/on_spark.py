"""Scoring everyone on a Spark cluster: the same declarations, the same tables, the same bytes.

The query for everyone's vectors is the one that DuckDB is asked, rendered for Spark. What it
gives is dealt out by part, and each executor scores its people with numpy and writes their
parts whole (``egretscore.everyone.part_scores``). Records are read as they were kept
(``egretscore.records.kept``): what has been checked once is not checked again on every machine.

The folders of the records and of the scores must be seen under the same path by all machines.
"""

from __future__ import annotations

import locale
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from egretscore.arrays import by_part
from egretscore.dates import as_day
from egretscore.engine import Engine
from egretscore.errors import ArgumentError, RecordsError
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
from egretscore.features.query import everyone_query
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.checked.store import check_agrees
from egretscore.records.database import GLOB_SIGNS, Resources, check_no_wildcard, check_threads
from egretscore.records.in_bulk.memory import for_the_database, memory_to_use
from egretscore.records.in_bulk.runs import SPILL, check_unchanged, make_fence, parts_beside, state_of_records
from egretscore.records.kept import folder as kept
from egretscore.records.parts import PARTS
from egretscore.records.schema import READY
from egretscore.scored import ColumnsAsked
from egretscore.writing import sha256_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

_GLOB_SIGNS: Final = GLOB_SIGNS | {"{", "\\"}
_PART: Final = f"CAST(CONV(SUBSTRING(MD5(subject_id), 1, 2), 16, 10) AS INT) % {PARTS}"
_LOCAL: Final = "local"
_MASTER: Final = re.compile(r"local(\[([1-9][0-9]*|\*)(\s*,\s*[1-9][0-9]*)?\])?|yarn|(spark|k8s|mesos)://\S+", re.ASCII)
_EXPECTED_MASTER: Final = "a Spark master such as spark://host:7077, k8s://https://host:443, yarn or local[4]"
_QUIET: Final = "spark-log4j2.properties"
_RAISED: Final = re.compile(r"([A-Za-z.]*Error|[A-Za-z.]*Exception): ")
_LEAST_OF_A_DRIVER: Final = 450  # MiB, what Spark insists on
_LOCAL_SHARES: Final = 16  # one machine has nothing to gain from Spark's usual 200


def score_on_spark(  # noqa: PLR0913 - the options of one command
    engine: Engine,
    records: str | Path,
    as_of: date | str,
    out: str | Path,
    *,
    vectors: bool = False,
    reasons: bool = False,
    benefits: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
    threads: int | None = None,
    memory: int | None = None,
) -> Outcome:
    """Score everyone on file on a date into Parquet, on Spark.

    Parameters
    ----------
    engine : Engine
    records : path
        A folder that ``egretscore keep`` wrote.
    as_of : date or str such as "2026-10-31"
    out : path
        As :func:`egretscore.score_everyone` has it; the bytes are the same.
    vectors, reasons, benefits : bool
        Which columns to add.
    master : str, optional
        The cluster, such as ``spark://host:7077``; this machine when not given. Not of a session that is running.
    spark : SparkSession, optional
        A session of yours; when not given, the one that is running, else one is begun, and
        stopped at the end. The Python of its executors, which PYSPARK_PYTHON names, needs this library.
    threads : int, optional
        How many threads this machine uses, where it is the cluster; all cores when not given. Not of a session
        that is running.
    memory : int, optional
        How many bytes the driver uses, of a session begun here, and what joins one output file; half the machine's
        when not given.

    Returns
    -------
    Outcome

    Raises
    ------
    ArgumentError
        If pyspark or Java is missing, the cluster cannot be reached, the records are no kept ones, ``out`` holds
        something else, is being written by another run or lies among the records or in a folder of ours, there is too
        little memory, or an argument is not what it should be.
    RecordsError
        If the records are damaged, change during the run, or are not for this engine's policy, or Spark fails.
    """
    check_engine_and_places(engine, records, out)
    _check_is_master(master)
    folder, day = Path(records).absolute(), as_day(as_of)
    memory = memory_to_use(memory)
    check_threads(threads)
    out = place_of_scores(Path(out), folder)
    found = _kept_records(folder, engine)
    if spark is None:
        _check_java_can_name(folder)
    columns = ColumnsAsked(vectors=vectors, reasons=reasons, benefits=benefits)
    state = state_of_records(folder)
    asked = question(engine, folder, state, day, columns)
    with parts_beside(out, asked, part_file, is_whole) as (parts, missing):
        scorer = part_scorer(engine, day, columns, invented=found.invented is not None)
        if missing:
            with _quietly(), _session(spark, master, threads, memory) as session, _in_words():
                _see_records(session, folder, missing)
                people = everyone_query(engine.model.scorecard.features, engine.policy)
                # Written into the query, for Spark takes no day before the year 1000 from Python.
                the_day = exp.cast(exp.Literal.string(day.isoformat()), "DATE")
                _score(session, exp.replace_placeholders(people, as_of=the_day).sql("spark"), missing, scorer, parts)
        check = partial(check_unchanged, folder, state, "scored")
        try:
            check()
        except RecordsError:
            for part in missing:  # they may be of the records as they are now
                (parts / part_file(part)).unlink()
            raise
        outcome = replace(Outcome.of(parts), last_day=found.last_day)
        finish(parts, out, outcome, asked, Resources(threads, for_the_database(memory), parts / SPILL), check)
    return outcome


def _score(session: SparkSession, people: str, missing: Sequence[int], scorer: PartScorer, to: Path) -> None:
    """Score the people that a query returns, and write each part."""
    fence = make_fence(to)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for part, of_part in by_part(batches):
            write_scores(scorer.table(of_part), to / part_file(part), PartRead(len(of_part), 0), within=fence)
            yield pa.RecordBatch.from_pydict({"part": [part]})

    found = session.sql(f"SELECT *, {_PART} AS part FROM ({people})")
    dealt = found.repartition("part").sortWithinPartitions("part", "subject_id")
    written = {row.part for row in dealt.mapInArrow(write, "part long").collect()}
    nobody = found.limit(0).toArrow().drop_columns("part")
    for part in set(missing) - written:
        write_scores(scorer.table(nobody), to / part_file(part), PartRead(0, 0))


def _see_records(session: SparkSession, folder: Path, parts: Sequence[int]) -> None:
    """Create views of the records of some parts, once each file was checked against its hash on some machine."""

    def damage(file: tuple[str, str]) -> str | None:
        path, sha256 = file
        try:
            return None if sha256_of(Path(path)) == sha256 else path
        except OSError:
            return path

    files = {part: kept.files_of_part(folder, part) for part in parts}
    hashes = [
        (str(files[part][table]), sha256)
        for part in parts
        for table, sha256 in kept.about_part(folder, part).sha256.items()
    ]
    damaged = session.sparkContext.parallelize(hashes).map(damage).filter(bool).collect()
    if damaged:
        raise RecordsError("the file is not as it was kept", file=damaged[0], remedy=kept.AGAIN)
    for table, declared_as in READY.items():
        named = [f"file://{files[part][table]}" for part in parts]  # not as_uri(): %20 are three signs to Spark
        types = {name: exp.DataType.build(of, dialect="duckdb").sql("spark") for name, of in declared_as.types.items()}
        declared = ", ".join(f"`{name}` {of}" for name, of in types.items())
        session.read.schema(declared).parquet(*named).createOrReplaceTempView(table)


def _check_is_master(master: str | None) -> None:
    """Raise if this is no Spark master: Java would say so late and at length."""
    if master is not None and not _MASTER.fullmatch(str(master)):
        raise ArgumentError("this is not a Spark master", value=master, expected=_EXPECTED_MASTER)


def _kept_records(folder: Path, engine: Engine) -> KeptRecords:
    """Return the kept records; raise if the engine cannot use them or Spark cannot open their files."""
    kept.check_is_kept(folder, "Spark scores records that were kept")
    check_no_wildcard(folder, _GLOB_SIGNS)
    records = KeptRecords(folder)
    check_agrees(records, engine.policy, "the model")
    return records


def _check_java_can_name(folder: Path) -> None:
    """Raise if this folder's name cannot be written in the locale, which Java uses for the names of files."""
    try:
        str(folder).encode(locale.getencoding())
    except UnicodeEncodeError as error:
        raise ArgumentError(
            "in the locale of this process Java cannot name this folder",
            file=folder,
            remedy="Set LC_ALL to C.UTF-8, or name the folder in ASCII.",
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings of Spark's own libraries, and their log of an interrupt, which is reported in a line."""

    def is_no_interrupt(record: logging.LogRecord) -> bool:
        raised = None if record.exc_info is None else record.exc_info[0]
        # On an interrupt pyspark sends Java another command in the middle of one, which py4j logs at length.
        return raised is not KeyboardInterrupt and (raised is None or not raised.__module__.startswith("py4j."))

    root = logging.getLogger()
    root.addFilter(is_no_interrupt)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PySpark does not yet fully support", FutureWarning)
            yield
    finally:
        root.removeFilter(is_no_interrupt)


@contextmanager
def _in_words(remedy: str = "Put that right, Spark's own log says more, and score again.") -> Iterator[None]:
    """Turn an error of Spark's, a hundred lines long, into one line."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raised = next((line for line in lines if _RAISED.match(line)), lines[0] if lines else repr(error))
        if "No module named" in raised:
            remedy = "Install this library for the Python of the executors (PYSPARK_PYTHON names it), and score again."
        raise RecordsError(f"Spark did not score the records ({raised})", remedy=remedy) from error


@contextmanager
def _session(
    given: SparkSession | None, master: str | None, threads: int | None, memory: int
) -> Iterator[SparkSession]:
    """Give a session with tables of its own; a session started here is stopped at the end."""
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ArgumentError(
            "pyspark is not installed", remedy="In a clone of this library: pip install '.[spark]'"
        ) from error
    if given is not None and not hasattr(given, "newSession"):
        raise ArgumentError("this is no Spark session", value=type(given).__name__, expected="a SparkSession")
    running = given or SparkSession.getActiveSession()
    if running is not None:
        if master is not None:
            raise ArgumentError(
                "the Spark session that is running has its cluster already",
                value=master,
                remedy="Name no cluster, or stop the session first.",
            )
        with _in_words("Give a session that is running: this one may have been stopped."):
            session = running.newSession()
            session.conf.set("spark.sql.session.timeZone", "UTC")
        yield session
        return
    master = master or f"{_LOCAL}[{threads or '*'}]"
    of_the_driver = memory // 2**21  # MiB; the other half is for the rest of this process
    if of_the_driver < _LEAST_OF_A_DRIVER:
        raise ArgumentError(
            "this is too little memory for Spark", value=memory, expected=f"at least {2 * _LEAST_OF_A_DRIVER}MiB"
        )
    os.environ.setdefault("SPARK_SUBMIT_OPTS", f"-Dlog4j2.configurationFile={Path(__file__).parent / _QUIET}")
    options = {
        "spark.driver.memory": f"{of_the_driver}m",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": str(sys.stderr is not None and sys.stderr.isatty()).lower(),
    }
    if master.startswith(_LOCAL):  # nothing of this machine is offered to the network
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        options |= {"spark.driver.host": "127.0.0.1", "spark.sql.shuffle.partitions": str(_LOCAL_SHARES)}
    builder: Any = SparkSession.builder
    builder = builder.appName("egretscore").master(master)
    for name, value in options.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise ArgumentError(
            "Spark does not start",
            expected="Java 17 or newer, found by JAVA_HOME or PATH, and for yarn HADOOP_CONF_DIR or YARN_CONF_DIR",
        ) from error
    except Exception as error:  # whatever Java raises where the cluster cannot be reached
        raise ArgumentError(
            "Spark cannot begin on this cluster",
            value=master,
            expected=_EXPECTED_MASTER,
        ) from error
    try:
        yield session
    finally:
        session.stop()
