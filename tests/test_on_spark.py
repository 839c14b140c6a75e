"""On Spark everyone is scored as in DuckDB: the same bytes."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from pyarrow import parquet
from whole_records import AS_OF, POLICY, shipped_engine

import egretscore as es
from egretscore.cli import main
from egretscore.everyone.files import part_scorer
from egretscore.everyone.on_one_machine import score_everyone
from egretscore.everyone.on_spark import _quietly, _score, _session, score_on_spark
from egretscore.everyone.part_scores import PartRead, part_file, write_scores
from egretscore.records.kept.folder import files_of_part
from egretscore.records.parts import PARTS
from egretscore.scored import ColumnsAsked
from egretscore.shipped import shipped_model

EVERY_COLUMN = {"vectors": True, "reasons": True, "benefits": True}
CAN_RUN = shutil.which("java") is not None or "JAVA_HOME" in os.environ
needs_java = pytest.mark.skipif(
    not CAN_RUN and "EGRETSCORE_NEEDS_SPARK" not in os.environ, reason="Spark needs Java 17"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # pyspark's own sockets
    pytest.mark.xdist_group("spark"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    with _session(None, None, 2, 2**30) as session:
        yield session
    assert SparkSession.getActiveSession() is None


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample town, with rows that put others in doubt."""
    records = tmp_path_factory.mktemp("spark") / "records"
    shutil.copytree(es.sample_records(), records)
    for table, column in (("penalties", "category"), ("commitments", "kind"), ("objections", "filed_on")):
        file = records / f"{table}.csv"
        head, *lines = file.read_text(encoding="utf-8").splitlines()
        position = head.split(",").index(column)
        again = [line.split(",") for line in lines[::9]]
        for number, cells in enumerate(again):
            cells[position] = "nonsense" if number % 3 else cells[position]
            cells[-1] = "2026-01-09" if head.endswith("recorded_on") else cells[-1]
        text = "\n".join([head, *lines, *(",".join(cells) for cells in again)])
        file.write_text(text + "\n", encoding="utf-8")
    outcome = es.keep_records(records, records.parent / "kept")
    assert outcome.set_aside > 500
    return records.parent / "kept"


def test_a_folder_that_java_cannot_name_is_a_clear_error(kept, tmp_path, monkeypatch):
    """In a locale of ASCII alone, where Python reads any name and Java says that the path does not exist."""
    named = shutil.copytree(kept, tmp_path / "白鹭")
    monkeypatch.setattr("locale.getencoding", lambda: "ANSI_X3.4-1968")
    with pytest.raises(es.ArgumentError, match=r"Java cannot name.*LC_ALL"):
        score_on_spark(shipped_engine(), named, "2026-10-31", tmp_path / "scores")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@needs_java
def test_the_parts_are_the_same_bytes_and_a_stopped_run_goes_on(kept, spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ("spark", "duckdb"):
        score = score_on_spark if out == "spark" else score_everyone
        options = {"spark": spark} if out == "spark" else {}
        outcome = score(shipped_engine(), kept, "2026-10-31", tmp_path / out, **EVERY_COLUMN, **options)
        assert outcome.scored > 1000
    assert contents(tmp_path / "spark") == contents(tmp_path / "duckdb")
    assert spark.read.parquet(str(tmp_path / "spark")).count() == outcome.people, "the folder opens as one table"
    assert {entry.name for entry in tmp_path.iterdir()} == {"spark", "duckdb"}

    unfinished = tmp_path / ".again.unfinished"
    stop_after(monkeypatch, "_score")
    with pytest.raises(RuntimeError, match="stopped"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "again", spark=spark, **EVERY_COLUMN)
    monkeypatch.undo()
    (unfinished / part_file(7)).unlink()
    before = {file.name: file.stat().st_mtime_ns for file in unfinished.glob("part-??.parquet")}
    assert len(before) == 63
    score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "again", spark=spark, **EVERY_COLUMN)
    assert contents(tmp_path / "again") == contents(tmp_path / "duckdb")
    assert {name: (tmp_path / "again" / name).stat().st_mtime_ns for name in before} == before


def stop_after(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    from egretscore.everyone import on_spark

    done = getattr(on_spark, step)

    def then_stop(*arguments: Any) -> None:
        done(*arguments)
        raise RuntimeError("stopped")

    monkeypatch.setattr(on_spark, step, then_stop)


@needs_java
@pytest.mark.parametrize("day", ["2024-02-29", "0500-01-01"])
def test_one_file_of_another_day_is_the_same_bytes(kept, spark, tmp_path, day):
    """By a model that is not invented: that the records are is said all the same."""
    engine = es.Engine(replace(shipped_engine().model, invented=False))
    on_spark = score_on_spark(engine, kept, day, tmp_path / "spark.parquet", spark=spark, reasons=True)
    in_duckdb = score_everyone(engine, kept, day, tmp_path / "duckdb.parquet", reasons=True)
    assert on_spark.last_day == in_duckdb.last_day
    assert (tmp_path / "spark.parquet").read_bytes() == (tmp_path / "duckdb.parquet").read_bytes()


@needs_java
def test_people_stand_in_the_order_of_their_ids_in_whatever_order_they_come(spark, tmp_path):
    """In few records they come in it by chance."""
    engine = shipped_engine()
    people = engine._people(es.read_records(es.sample_records()), "2026-10-31").sort_by([("subject_id", "descending")])
    spark.createDataFrame(people).createOrReplaceTempView("people")
    scorer = part_scorer(engine, date(2026, 10, 31), ColumnsAsked(), invented=True)
    _score(spark, "SELECT * FROM people", range(PARTS), scorer, tmp_path)
    for part in range(PARTS):
        ids = parquet.read_table(tmp_path / part_file(part))["subject_id"].to_pylist()
        assert len(ids) > 1
        assert ids == sorted(ids)


@needs_java
def test_a_damaged_file_is_refused(kept, spark, tmp_path):
    damaged = Path(shutil.copytree(kept, tmp_path / "kept"))
    file = files_of_part(damaged, 40)["commitments"]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    for damage in (lambda: None, file.unlink):
        damage()
        with pytest.raises(es.RecordsError, match=r"not as it was kept\. Keep the records again") as raised:
            score_on_spark(shipped_engine(), damaged, "2026-10-31", tmp_path / "out", spark=spark)
        assert raised.value.file == str(file)
        assert not (tmp_path / "out").exists()


@needs_java
def test_records_that_change_meanwhile_are_refused(kept, spark, tmp_path, monkeypatch):
    from egretscore.everyone import on_spark

    changing = Path(shutil.copytree(kept, tmp_path / "kept"))
    score = on_spark._score

    def score_and_erase(*arguments: Any) -> None:
        score(*arguments)
        records = es.read_records(changing)
        assert records.erase(records.invented["subject_id"]) > 0

    monkeypatch.setattr(on_spark, "_score", score_and_erase)
    with pytest.raises(es.RecordsError, match="changed"):
        score_on_spark(shipped_engine(), changing, "2026-10-31", tmp_path / "out", spark=spark)
    assert {entry.name for entry in tmp_path.iterdir()} == {"kept"}


@needs_java
def test_what_fails_on_an_executor_is_said_in_a_line(kept, spark, tmp_path, monkeypatch):
    from egretscore.everyone import on_spark

    monkeypatch.setattr(on_spark, "part_file", lambda part: f"/proc/nowhere/{part}")
    with pytest.raises(es.RecordsError, match=r"Error: .*/proc/nowhere") as raised:
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", spark=spark)
    assert len(str(raised.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@needs_java
def test_a_folder_may_have_any_name_that_is_no_pattern(kept, spark, tmp_path):
    odd = tmp_path / "年=2026 %20#+ä'&"
    shutil.copytree(kept, odd / "kept")
    score_on_spark(shipped_engine(), odd / "kept", "2026-10-31", odd / "spark", spark=spark)
    score_everyone(shipped_engine(), odd / "kept", "2026-10-31", odd / "duckdb")
    assert contents(odd / "spark") == contents(odd / "duckdb")


@pytest.mark.parametrize("name", ["kept {a,b}", "kept \\", "kept [2026]", "kept*", "kept?"])
def test_a_folder_whose_name_is_a_pattern_is_refused(kept, tmp_path, name):
    (tmp_path / name).symlink_to(kept)
    with pytest.raises(es.ArgumentError, match="holds a wildcard"):
        score_on_spark(shipped_engine(), tmp_path / name, "2026-10-31", tmp_path / "out")


def test_records_kept_under_a_policy_that_the_model_does_not_know_are_refused(tmp_path):
    policy, records = tmp_path / "mine.toml", tmp_path / "records"
    policy.write_text(POLICY.text.replace("2023-A", "2031-Z"), encoding="utf-8")
    records.mkdir()
    head = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on"
    (records / "consents.csv").write_text(f"{head}\np1,2031-Z,true,2025-02-28,\n", encoding="utf-8")
    es.keep_records(records, tmp_path / "kept", policy=policy)
    with pytest.raises(es.RecordsError, match="letter_version the model does not know: 2031-Z"):
        score_on_spark(shipped_engine(), tmp_path / "kept", "2026-10-31", tmp_path / "out")


@needs_java
def test_a_session_of_this_machine_is_offered_to_nobody_else_and_takes_what_was_given(spark):
    assert spark.sparkContext.master == "local[2]"
    expected = {"driver.host": "127.0.0.1", "driver.memory": "512m", "ui.enabled": "false"}
    assert {name: spark.conf.get(f"spark.{name}") for name in expected} == expected


@needs_java
def test_an_executor_without_this_library_is_said_to_lack_it(kept, spark, tmp_path, monkeypatch):
    from egretscore.everyone import on_spark

    def lacks(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'egretscore'")

    monkeypatch.setattr(on_spark, "write_scores", lacks)
    with pytest.raises(es.RecordsError, match="Install this library for the Python of the executors"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", spark=spark)


@needs_java
def test_a_part_is_not_put_into_place_where_the_next_run_has_begun(kept, spark, tmp_path, monkeypatch):
    """The driver may have been killed, and the executors not know it yet."""
    from egretscore.everyone import on_spark

    write_scores = on_spark.write_scores

    def write_late(scores: Any, file: Path, read: Any, *, within: Path | None = None) -> None:
        if within is not None:
            shutil.rmtree(within, ignore_errors=True)
        write_scores(scores, file, read, within=within)

    monkeypatch.setattr(on_spark, "write_scores", write_late)
    with pytest.raises(es.RecordsError, match="No such file"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", spark=spark)
    assert list(tmp_path.iterdir()) == []


@needs_java
def test_a_cluster_is_not_named_to_a_session_that_has_one(kept, spark, tmp_path):
    with pytest.raises(es.ArgumentError, match="has its cluster"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", master="local[2]", spark=spark)


@needs_java
def test_a_session_of_ones_own_stays_as_it_was(kept, spark, tmp_path):
    spark.range(3).createOrReplaceTempView("consents")
    score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out")  # takes the session that is running
    assert spark.sql("SELECT count(*) FROM consents").collect()[0][0] == 3


def test_records_that_were_not_kept_are_refused(tmp_path, capsys):
    arguments = ["score", "--model", str(shipped_model()), "--as-of", "2026-10-31", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--engine", "spark", "--records", str(es.sample_records())]) == 2
    assert "egretscore keep" in capsys.readouterr().err
    assert main([*arguments, "--master", "spark://host:7077", "--records", str(es.sample_records())]) == 2
    assert "--engine spark" in capsys.readouterr().err


@pytest.mark.parametrize(
    "master",
    ["nonsense", "", "local[x]", "local[0]", "local[]", "local[2,0]", "local[２]", "local[2]\n", "spark://", "yarn:"],
)
def test_a_master_that_is_none_is_refused_before_anything_is_read(tmp_path, master):
    with pytest.raises(es.ArgumentError, match=r"not a Spark master\. Expected .*spark://host:7077"):
        score_on_spark(shipped_engine(), tmp_path / "no records", "2026-10-31", tmp_path / "out", master=master)


@pytest.mark.parametrize(
    "master",
    [
        *("local", "local[4]", "local[*]", "local[2,3]", "local[*, 3]", "yarn"),
        *("spark://one:7077,two:7077", "k8s://https://host:443", "mesos://zk://host:2181/mesos"),
    ],
)
def test_a_master_that_spark_knows_is_taken(tmp_path, master):
    with pytest.raises(es.ArgumentError, match="no such folder"):
        score_on_spark(shipped_engine(), tmp_path / "no records", "2026-10-31", tmp_path / "out", master=master)


def test_too_little_memory_and_no_threads_are_refused(kept, tmp_path, monkeypatch):
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    for options, says in (({"memory": 800_000_000}, "900MiB"), ({"threads": 0}, "threads")):
        with pytest.raises(es.ArgumentError, match=says):
            score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", **options)


def test_a_session_that_was_stopped_is_said_in_a_line(kept, tmp_path):
    protocol = pytest.importorskip("py4j.protocol")

    class Stopped:
        def newSession(self) -> None:  # noqa: N802 - Spark's name
            raise protocol.Py4JError("the session was stopped")

    with pytest.raises(es.RecordsError, match=r"the session was stopped.*Give a session that is running"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", spark=Stopped())
    with pytest.raises(es.ArgumentError, match="no Spark session"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out", spark="local[2]")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_not_told_by_others_as_well(caplog):
    from py4j.protocol import Py4JNetworkError

    with _quietly():
        logging.getLogger().error("KeyboardInterrupt while sending command.", exc_info=KeyboardInterrupt())
        logging.getLogger().error("Exception while sending command.", exc_info=Py4JNetworkError())
        logging.getLogger().error("what else is wrong")
    assert caplog.messages == ["what else is wrong"]


def test_without_pyspark_it_is_said_what_to_install(kept, tmp_path, monkeypatch):
    for name in {"pyspark", "py4j", *sys.modules}:
        if name.partition(".")[0] in {"pyspark", "py4j"}:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(es.ArgumentError, match=r"pip install .\.\[spark\]"):
        score_on_spark(shipped_engine(), kept, "2026-10-31", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_executor_needs_no_database_and_no_model_library(tmp_path):
    """What is sent to them scores people with numpy and pyarrow (which loads pandas where it finds it)."""
    engine = shipped_engine()
    people = engine._people(es.read_records(es.sample_records()), "2026-10-31")
    scorer = part_scorer(engine, date(2026, 10, 31), ColumnsAsked(reasons=True, benefits=True), invented=True)
    (tmp_path / "sent").write_bytes(pickle.dumps((scorer, people)))
    program = (
        "import pickle, sys; from pathlib import Path; "
        "from egretscore.everyone.part_scores import PartRead, write_scores; "
        "scorer, people = pickle.loads(Path('sent').read_bytes()); "
        "write_scores(scorer.table(people), Path('part.parquet'), PartRead(1, 0)); "
        "print(sorted({'duckdb', 'sqlglot', 'lightgbm', 'sklearn', 'shap'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    write_scores(scorer.table(people), tmp_path / "here.parquet", PartRead(1, 0))
    assert (tmp_path / "part.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_what_is_sent_to_an_executor_loads_no_database(tmp_path):
    """The very function, as Spark sends it."""
    cloudpickle = pytest.importorskip("pyspark.cloudpickle")
    session = MagicMock()
    _score(session, "people", [], part_scorer(shipped_engine(), AS_OF, ColumnsAsked(), invented=True), tmp_path)
    dealt = session.sql.return_value.repartition.return_value.sortWithinPartitions.return_value
    (tmp_path / "sent").write_bytes(cloudpickle.dumps(dealt.mapInArrow.call_args.args[0]))
    program = (
        "import pickle, sys; write = pickle.load(open('sent', 'rb')); assert list(write([])) == []; "
        "print(sorted({'duckdb', 'sqlglot', 'lightgbm', 'sklearn', 'shap'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
