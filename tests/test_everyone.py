"""Scoring everyone part by part: as if all at once, however often a run is stopped."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
import weakref
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from stopping import run as stopped
from whole_records import AS_OF, POLICY, engines, frames, shipped_engine, split, towns, write_with_broken_rows

import egretscore as es
from egretscore.cli import main
from egretscore.everyone import files, on_one_machine
from egretscore.everyone.files import ABOUT
from egretscore.everyone.on_one_machine import score_everyone
from egretscore.everyone.part_scores import PartRead, are_whole, noted_read, part_file, write_scores
from egretscore.records.database import Resources
from egretscore.records.in_bulk import memory, runs
from egretscore.records.in_bulk.memory import parts_at_once
from egretscore.records.in_bulk.runs import Progress, remove_what_was_replaced
from egretscore.records.intake import in_place
from egretscore.records.parts import PARTS, macro_chosen, part_of
from egretscore.records.reading import read_parts
from egretscore.records.schema import TABLES
from egretscore.shipped import shipped_model
from egretscore.writing import note_beside

TOWN_DAY = "2026-01-01"
EVERY_COLUMN = {"vectors": True, "reasons": True, "benefits": True}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return es.simulate_town(900, tmp_path_factory.mktemp("everyone") / "town", seed=3, file_format="parquet")


@pytest.fixture(scope="module")
def undisturbed(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "scores"
    score_everyone(shipped_engine(), town, TOWN_DAY, out, **EVERY_COLUMN)
    return out


def test_a_folder_of_scores_opens_as_one_table(undisturbed):
    """``_scores.json`` is passed over for its first sign; DuckDB is given the parts."""
    people = json.loads((undisturbed / ABOUT).read_text(encoding="utf-8"))["people"]
    assert parquet.read_table(undisturbed).num_rows == len(pd.read_parquet(undisturbed)) == people
    assert duckdb.read_parquet(f"{undisturbed}/*.parquet").count("*").fetchall() == [(people,)]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_columns_may_be_asked_for_by_numpys_true(town, undisturbed, tmp_path):
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", **dict.fromkeys(EVERY_COLUMN, np.True_))
    assert contents(tmp_path / "scores") == contents(undisturbed)


def in_passes_of(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_one_machine, "parts_at_once", lambda *_: parts)


# ------------------------------------------------------------------------------- parts


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.sets(st.integers(0, 63)))
def test_the_database_finds_the_same_part(subject_id, parts):
    connection = duckdb.connect()
    connection.execute(macro_chosen(parts or {0}))
    part = part_of(without_what_is_not_seen_around(subject_id))
    assert connection.execute("SELECT chosen(?)", [subject_id]).fetchone() == (part in (parts or {0}),)


def without_what_is_not_seen_around(text: str) -> str:
    seen = [unicodedata.category(sign) not in {"Cc", "Cf", "Co", "Zs", "Zl", "Zp"} for sign in text]
    return text[seen.index(True) : len(text) - seen[::-1].index(True)] if any(seen) else ""


@given(towns(), engines(), st.data())
@settings(max_examples=30)
def test_read_in_parts_everyone_is_who_they_are_among_all(town, engine, data):
    """Also where rows are broken: a consent or an objection that cannot be read may name anybody."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_with_broken_rows(data.draw, town, folder)
        whole = es.read_records(folder, policy=engine.policy, threads=1)
        taken = data.draw(st.sets(st.integers(0, PARTS - 1)))
        groups = [taken, set(range(PARTS)) - taken]
        parts = [read_parts(folder, group, engine.policy, Resources(1)) for group in groups]
        found = [row for records in parts for row in rows_of(scored(engine, records))]
        assert sorted(found, key=lambda row: row[0]) == rows_of(scored(engine, whole))
        left_out = [records.set_aside_by_part() for records in parts]
        in_all = sum(rows.get(part, 0) for group, rows in zip(groups, left_out, strict=True) for part in group)
        assert in_all == sum(count.set_aside for count in whole.counts)


@given(towns(), st.sets(st.integers(0, PARTS - 1)), st.data())
@settings(max_examples=10)
def test_of_typed_rows_each_comes_in_with_one_part_also_those_of_nobody(town, taken, data):
    nobody = st.sampled_from([None, "", "\x01", "nobody at all"])
    with tempfile.TemporaryDirectory() as scratch, patch.object(in_place, "FEWEST_TYPED_ROWS", 1):
        for name, table in frames(town).items():
            unclear = table.set_column(
                table.column_names.index("subject_id"),
                "subject_id",
                pa.array([data.draw(nobody) for _ in range(len(table))], pa.string()),
            )
            rows = pa.concat_tables([table, unclear] if name in {"penalties", "commitments"} else [table])
            parquet.write_table(rows, Path(scratch) / f"{name}.parquet")
        whole = es.read_records(scratch, threads=1)
        groups = [taken, set(range(PARTS)) - taken]
        parts = [read_parts(Path(scratch), group, whole.policy, Resources(1)) for group in groups]
        for table in TABLES.values():
            if not table.reaches_others:
                of_parts = [count for records in parts for count in records.counts if count.table == table.name]
                (of_all,) = (count for count in whole.counts if count.table == table.name)
                assert sum(count.rows for count in of_parts) == of_all.rows
                assert sum(count.set_aside for count in of_parts) == of_all.set_aside


def scored(engine: es.Engine, records: es.Records) -> dict[str, Any]:
    return engine.score_columns(records, AS_OF, **EVERY_COLUMN)


def rows_of(columns: dict[str, Any]) -> list[tuple[Any, ...]]:
    return list(zip(*(values.tolist() for values in columns.values()), strict=True))


# ------------------------------------------------------------------------------- the same bytes


def test_one_file_holds_what_the_engine_scores_in_the_order_of_subject_id(town, tmp_path):
    out = tmp_path / "scores.parquet"
    outcome = score_everyone(shipped_engine(), town, TOWN_DAY, out, **EVERY_COLUMN)
    expected = shipped_engine().score_columns(es.read_records(town), TOWN_DAY, **EVERY_COLUMN)
    table = parquet.read_table(out)
    assert table.to_pydict() == {name: values.tolist() for name, values in expected.items()}
    assert (outcome.people, outcome.set_aside) == (len(table), 0)
    assert outcome.scored == len(table) - table["score"].null_count
    assert json.loads(table.schema.metadata[b"egretscore"])["invented"] is True
    assert [file.name for file in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_folder_holds_each_person_in_their_part_once(town, undisturbed):
    ids = {part: parquet.read_table(undisturbed / part_file(part))["subject_id"].to_pylist() for part in range(PARTS)}
    for part, own in ids.items():
        assert own == sorted(own)
        assert {part_of(subject_id) for subject_id in own} <= {part}
    everyone_known = shipped_engine().score_columns(es.read_records(town), TOWN_DAY)["subject_id"].tolist()
    assert sorted(subject_id for own in ids.values() for subject_id in own) == everyone_known
    about = json.loads((undisturbed / ABOUT).read_text())
    assert (about["people"], about["as_of"], about["invented"]) == (len(everyone_known), TOWN_DAY, True)


def test_a_benefit_column_says_what_explain_says(town):
    records = es.read_records(town)
    columns = shipped_engine().score_columns(records, TOWN_DAY, benefits=True)
    statuses = columns["status"].tolist()
    some = sorted({*range(0, len(statuses), 40), *(statuses.index(status) for status in set(statuses))})
    for position in some:
        explained = shipped_engine().explain(records, columns["subject_id"][position], TOWN_DAY)
        assert {decision.benefit.id: decision.eligible for decision in explained.benefits} == {
            benefit.id: columns[f"benefit_{benefit.id}"][position] for benefit in POLICY.benefits
        }


@pytest.mark.parametrize(("parts", "threads"), [(3, 1), (5, 2), (PARTS, None)])
def test_the_bytes_are_the_same_for_any_threads_memory_and_files(
    town, undisturbed, tmp_path, monkeypatch, parts, threads
):
    in_passes_of(parts, monkeypatch)
    records = split(town, tmp_path / "records") if parts == 5 else town
    for out in (tmp_path / "scores", tmp_path / "scores.parquet"):
        score_everyone(shipped_engine(), records, TOWN_DAY, out, threads=threads, memory=2**28, **EVERY_COLUMN)
    assert contents(tmp_path / "scores") == contents(undisturbed)
    again = tmp_path / "again.parquet"
    monkeypatch.undo()
    score_everyone(shipped_engine(), town, TOWN_DAY, again, **EVERY_COLUMN)
    assert (tmp_path / "scores.parquet").read_bytes() == again.read_bytes()


def test_parts_that_do_not_fit_are_read_fewer_at_once(town, undisturbed, tmp_path, monkeypatch):
    tried = []

    def read(folder, parts, *options):
        tried.append(len(parts))
        if len(parts) > 8:
            raise es.RecordsError(
                "the records cannot be checked", remedy="Check them."
            ) from duckdb.OutOfMemoryException("no more")
        return read_parts(folder, parts, *options)

    monkeypatch.setattr(on_one_machine, "read_parts", read)
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", **EVERY_COLUMN)
    assert tried[:4] == [64, 32, 16, 8]
    assert contents(tmp_path / "scores") == contents(undisturbed)


def test_rows_that_become_text_are_fewer_at_once(town, tmp_path, monkeypatch):
    """Those of CSV files, and those of Parquet files whose types tell less than their texts, or that are few."""
    as_text = split(town, tmp_path / "as_text")
    memory = 2**20

    def passes(records: Path, fewest: int) -> int:
        monkeypatch.setattr(in_place, "FEWEST_TYPED_ROWS", fewest)
        return PARTS // parts_at_once(records, memory)

    assert passes(town, 1) < passes(as_text, 1) < passes(town, 10**9)


def test_too_little_memory_is_said(town, tmp_path):
    with pytest.raises(es.ArgumentError, match="256MB"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", memory=10**6)


# ------------------------------------------------------------------------------- stopped and started again


def command(town: Path, out: Path, prelude: str = "") -> list[str]:
    arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
    arguments += ["--out", str(out), "--vectors", "--reasons", "--benefits"]
    few_at_once = "import egretscore.everyone.on_one_machine as e; e.parts_at_once = lambda *_: 4"
    return [
        *(sys.executable, "-c"),
        f"import sys; {few_at_once}; {prelude}\nfrom egretscore.cli import main; sys.exit(main({arguments!r}))",
    ]


def test_killed_at_any_moment_a_run_goes_on_where_it_was(town, undisturbed, tmp_path):
    out, lots, kept = tmp_path / "scores", np.random.default_rng(11), 0
    for at_least in (0, 3, 11, 24, 36, 44):  # a fast machine ends what little is left
        with subprocess.Popen(command(town, out), stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(parts_of(tmp_path)) < at_least:
                time.sleep(0.005)
            time.sleep(lots.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        before, kept = kept, len(parts_of(tmp_path))
        assert not out.exists()
        assert max(before, at_least) <= kept < PARTS
    done = subprocess.run(command(town, out), capture_output=True, text=True, check=True)
    assert "64 of 64 parts" in done.stderr
    assert contents(out) == contents(undisturbed)
    assert [file.name for file in tmp_path.iterdir()] == ["scores"]


def parts_of(folder: Path) -> list[Path]:
    return list((folder / ".scores.unfinished").glob("part-??.parquet"))


def test_killed_while_it_writes_one_file_it_leaves_nothing_behind_once_it_is_done(town, tmp_path):
    arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
    out = tmp_path / "scores.parquet"
    for death in ("die_at(files, '_of_one_size', 1, True)", "die_at(files.shutil, 'rmtree', 1, False)"):
        assert stopped([*arguments, "--out", str(out)], death).returncode == -signal.SIGKILL
    assert stopped([*arguments, "--out", str(out)]).returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["scores.parquet"]
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "undisturbed.parquet")
    assert out.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()


def test_a_part_that_is_not_as_it_was_written_is_made_again(town, undisturbed, tmp_path, monkeypatch):
    """As after a power cut: cut off, empty, of other bytes, or of a question that cannot be read."""
    in_passes_of(4, monkeypatch)
    out, unfinished = tmp_path / "scores", tmp_path / ".scores.unfinished"

    def stop(done: Progress) -> None:
        if done.parts == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(shipped_engine(), town, TOWN_DAY, out, progress=stop, **EVERY_COLUMN)
    for number, damage in enumerate(
        (lambda old: old[:-9], lambda _: b"", lambda old: old[:99] + b"?" + old[100:]), start=1
    ):
        part = unfinished / part_file(number)
        part.write_bytes(damage(part.read_bytes()))
    (unfinished / note_beside(part_file(4))).unlink()
    seen: list[Progress] = []
    score_everyone(shipped_engine(), town, TOWN_DAY, out, progress=seen.append, **EVERY_COLUMN)
    assert seen[0].taken_up == 8
    assert contents(out) == contents(undisturbed)

    unfinished.mkdir()
    (unfinished / "question.json").write_bytes(b"\xff\xfe")
    score_everyone(shipped_engine(), town, TOWN_DAY, out, **EVERY_COLUMN)
    assert contents(out) == contents(undisturbed)


def test_stopped_at_its_very_end_a_run_has_nothing_left_to_score(town, undisturbed, tmp_path):
    arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
    arguments += ["--out", str(tmp_path / "scores"), "--vectors", "--reasons", "--benefits"]
    for death in ("die_at(runs, 'put_in_place', 1, False)", "die_at(runs, 'put_in_place', 1, True)"):
        assert stopped(arguments, death).returncode == -signal.SIGKILL
    seen: list[Progress] = []
    assert not (tmp_path / ".scores.unfinished").exists()
    score_everyone(shipped_engine(), town, "2026-01-02", tmp_path / "scores")  # what was left is no hindrance
    assert stopped(arguments, "die_at(runs, 'put_in_place', 1, False)").returncode == -signal.SIGKILL
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", progress=seen.append, **EVERY_COLUMN)
    assert seen == []
    assert contents(tmp_path / "scores") == contents(undisturbed)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores"]


def test_what_a_killed_process_of_a_cluster_left_among_the_parts_is_none_of_the_scores(town, undisturbed, tmp_path):
    def leave(done: Progress) -> None:
        (tmp_path / ".scores.unfinished" / f".part-{done.parts - 1:02}.parquet-half").write_bytes(b"half of it")

    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", progress=leave, **EVERY_COLUMN)
    assert contents(tmp_path / "scores") == contents(undisturbed)


def test_records_that_come_to_say_that_they_are_invented_are_scored_anew(town, tmp_path, monkeypatch):
    in_passes_of(4, monkeypatch)
    records, out = Path(shutil.copytree(town, tmp_path / "records")), tmp_path / "scores"
    mark = (records / "invented.json").rename(tmp_path / "mark")

    def stop(done: Progress) -> None:
        if done.parts == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(not_invented(), records, TOWN_DAY, out, progress=stop)
    mark.rename(records / "invented.json")
    score_everyone(not_invented(), records, TOWN_DAY, out)
    every = [parquet.read_schema(out / part_file(part)).metadata[b"egretscore"] for part in range(PARTS)]
    assert {json.loads(said)["invented"] for said in every} == {True}
    assert json.loads((out / ABOUT).read_text(encoding="utf-8"))["invented"] is True


def not_invented() -> es.Engine:
    """Return an engine of which the records alone tell whether the scores are invented."""
    return es.Engine(replace(shipped_engine().model, invented=False))


def test_parts_of_an_earlier_run_are_taken_up(town, undisturbed, tmp_path, monkeypatch):
    in_passes_of(4, monkeypatch)
    out = tmp_path / "scores"

    def stop_after_ten(done: Progress) -> None:
        if done.parts == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(shipped_engine(), town, TOWN_DAY, out, progress=stop_after_ten, **EVERY_COLUMN)
    unfinished = tmp_path / ".scores.unfinished"
    before = {file.name: file.stat().st_mtime_ns for file in unfinished.glob("part-??.parquet")}
    assert 10 <= len(before) <= 12  # those of one pass are written side by side
    (unfinished / ".part-11.parquet-half").write_bytes(b"half of it")
    seen: list[Progress] = []
    score_everyone(shipped_engine(), town, TOWN_DAY, out, progress=seen.append, **EVERY_COLUMN)
    assert [done.parts for done in seen] == list(range(len(before) + 1, PARTS + 1))
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert contents(out) == contents(undisturbed)


NOTES = st.from_regex(r"[0-9a-f]{63,65} -?[0-9]{1,20} [0-9]{0,20} (-|20[0-9]{2}-[0-9]{2}-[0-9]{2})\n?", fullmatch=True)


@given(st.binary(max_size=90) | NOTES.map(str.encode))
def test_a_note_is_believed_only_where_it_is_one(tmp_path_factory, note):
    part = tmp_path_factory.mktemp("unfinished") / part_file(7)
    for read in (PartRead(3, 1), PartRead(3, 1, date(2026, 10, 31))):
        write_scores(pa.table({"score": [550]}), part, read)
        assert noted_read(part) == read
    assert are_whole(part)
    part.with_name(note_beside(part.name)).write_bytes(note)
    assert noted_read(part) is None or re.fullmatch(rb"[0-9a-f]{64} [0-9]+ [0-9]+ (-|[0-9-]{10})", note)
    assert not are_whole(part)


def test_a_folder_of_scores_is_as_open_to_others_as_any_new_folder(town, tmp_path):
    (tmp_path / "any").mkdir()
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")
    assert (tmp_path / "scores").stat().st_mode == (tmp_path / "any").stat().st_mode
    (tmp_path / "scores").chmod(0o700)
    score_everyone(shipped_engine(), town, "2026-01-02", tmp_path / "scores")
    assert (tmp_path / "scores").stat().st_mode & 0o777 == 0o700


def test_killed_as_it_takes_the_place_of_closed_scores_it_leaves_them_closed(town, tmp_path):
    arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
    arguments += ["--out", str(tmp_path / "scores")]
    assert stopped(arguments).returncode == 0
    (tmp_path / "scores").chmod(0o700)
    assert stopped(arguments, "die_at(writing.Path, 'rename', 1, True)").returncode == -signal.SIGKILL
    assert not (tmp_path / "scores").exists()
    assert stopped(arguments).returncode == 0
    assert (tmp_path / "scores").stat().st_mode & 0o777 == 0o700


def test_scores_do_not_take_the_place_of_a_disk(town, tmp_path, monkeypatch):
    (tmp_path / "scores").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "scores")
    with pytest.raises(es.ArgumentError, match="mounted"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", progress=pytest.fail)


def test_no_more_memory_is_used_than_a_container_has(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("3000000000\n", encoding="ascii")
    (tmp_path / "other").write_text("max\n", encoding="ascii")
    monkeypatch.setattr(memory, "_LIMITS_OF_CONTAINERS", [tmp_path / name for name in ("other", "memory.max", "no")])
    assert memory.memory_to_use(None) == 1_500_000_000


def test_where_no_one_says_how_much_memory_there_is_one_is_asked(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    with pytest.raises(es.ArgumentError, match="Give the memory to use"):
        memory.memory_to_use(None)
    assert memory.memory_to_use(10**9) == 10**9


def test_what_was_read_is_let_go_of_before_more_is_read():
    class Read:
        pass

    alive: list[weakref.ref[Read]] = []

    def read(_: object) -> Read:
        assert not any(earlier() is not None for earlier in alive)
        found = Read()
        alive.append(weakref.ref(found))
        return found

    for _, found in memory.as_memory_allows([[0], [1], [2]], read):
        assert alive[-1]() is found
        del found
    assert len(alive) == 3


def test_a_run_that_goes_on_says_of_all_its_parts_how_many_rows_were_set_aside(tmp_path, monkeypatch):
    """Of rows of consents, which every pass reads, as of those of a table of which each pass reads its own."""
    in_passes_of(4, monkeypatch)
    records, out = tmp_path / "records", tmp_path / "scores"
    shutil.copytree(es.sample_records(), records)
    for table in ("consents", "civic_points"):
        with (records / f"{table}.csv").open("a", encoding="utf-8") as file:
            file.writelines(f"broken-{number}{',never' * 3}\n" for number in range(30))

    def stop(done: Progress) -> None:
        if done.parts == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(shipped_engine(), records, TOWN_DAY, out, progress=stop)
    going_on = score_everyone(shipped_engine(), records, TOWN_DAY, out)
    undisturbed = score_everyone(shipped_engine(), records, TOWN_DAY, out)
    assert going_on.set_aside == undisturbed.set_aside == 60
    assert {file.name for file in out.iterdir()} == {ABOUT, *map(part_file, range(PARTS))}


def test_parts_of_another_question_or_of_other_records_are_not(town, tmp_path, monkeypatch):
    in_passes_of(4, monkeypatch)
    records, out = tmp_path / "records", tmp_path / "scores"
    shutil.copytree(town, records)

    def stop(done: Progress) -> None:
        if done.parts == 5:
            raise KeyboardInterrupt

    def run(day: str = TOWN_DAY, **options) -> int:
        seen: list[Progress] = []
        score_everyone(shipped_engine(), records, day, out, progress=seen.append, **options)
        shutil.rmtree(out)
        return len(seen)

    def begin() -> None:
        with pytest.raises(KeyboardInterrupt):
            score_everyone(shipped_engine(), records, TOWN_DAY, out, progress=stop)

    begin()
    assert run(day="2025-12-31") == PARTS
    begin()
    assert run(reasons=True) == PARTS
    begin()
    (records / "penalties.parquet").rename(records / "penalties-1.parquet")
    assert run() == PARTS
    begin()
    assert PARTS - 8 <= run() <= PARTS - 5  # those of one pass are written side by side


@pytest.mark.parametrize("other", ["nothing", "model", "version"])
def test_parts_of_another_model_or_another_version_are_scored_anew(town, tmp_path, monkeypatch, other):
    in_passes_of(32, monkeypatch)
    engine = shipped_engine()

    def stop(done: Progress) -> None:
        if done.parts == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(engine, town, TOWN_DAY, tmp_path / "scores", progress=stop)
    if other == "model":
        engine = es.Engine(replace(engine.model, training={**engine.model.training, "seed": 9}))
    if other == "version":
        monkeypatch.setattr(files, "__version__", "9.9")
    seen: list[Progress] = []
    score_everyone(engine, town, TOWN_DAY, tmp_path / "scores", progress=seen.append)
    assert {done.taken_up > 0 for done in seen} == {other == "nothing"}


def test_what_did_not_fit_into_memory_does_not_outlive_a_run_that_is_stopped(town, tmp_path, monkeypatch):
    """It is rows of people; what is scored of them stays, to go on from."""
    in_passes_of(4, monkeypatch)
    unfinished = tmp_path / ".scores.unfinished"

    def stop(_: Progress) -> None:
        (unfinished / runs.SPILL).mkdir(exist_ok=True)
        (unfinished / runs.SPILL / "duckdb_temp_storage.tmp").write_bytes(b"rows of people")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", progress=stop)
    assert parts_of(tmp_path)
    assert not (unfinished / runs.SPILL).exists()


def test_until_it_is_whole_a_folder_of_scores_is_open_to_nobody_else(town, tmp_path):
    seen: list[int] = []

    def look(_: Progress) -> None:
        seen.append((tmp_path / ".scores.unfinished").stat().st_mode & 0o777)

    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores", progress=look)
    assert set(seen) == {0o700}


def test_two_runs_do_not_write_one_place(town, tmp_path, capsys):
    unfinished = tmp_path / ".scores.unfinished"
    unfinished.mkdir()
    other = os.open(unfinished, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
        assert main([*arguments, "--out", str(tmp_path / "scores")]) == 2
    finally:
        os.close(other)
    assert "another run" in capsys.readouterr().err


def test_a_process_that_outlives_its_run_puts_nothing_among_the_parts_of_the_next(town, undisturbed, tmp_path):
    """Spark's may outlive a driver that was killed: their parts may be of another day, or of someone erased since."""
    out = tmp_path / "scores"
    of_another_run = parquet.read_table(undisturbed / part_file(1))
    fences: list[Path] = []

    def written_late(part: int, parts: Path) -> None:
        write_scores(of_another_run, parts / part_file(part), PartRead(7, 7), within=fences[0])

    def killed() -> None:
        with runs.parts_beside(out, "another question", part_file, files.is_whole) as (parts, _):
            fences.append(runs.make_fence(parts))
            written_late(0, parts)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    unfinished = fences[0].parent
    assert are_whole(unfinished / part_file(0))
    tried: list[int] = []

    def outlives(done: Progress) -> None:
        for part in {0, done.parts - 1, PARTS - 1}:
            with pytest.raises(FileNotFoundError):
                written_late(part, unfinished)
            tried.append(part)

    score_everyone(shipped_engine(), town, TOWN_DAY, out, progress=outlives, **EVERY_COLUMN)
    assert set(tried) == set(range(PARTS))
    with pytest.raises(FileNotFoundError):
        written_late(0, unfinished)
    assert contents(out) == contents(undisturbed)
    assert [*tmp_path.iterdir()] == [out]


# ------------------------------------------------------------------------------- what goes wrong


def test_a_disk_that_fills_up_is_a_message_and_the_run_can_go_on(town, undisturbed, tmp_path):
    """A file that may not grow beyond a size fails as on a full disk: in the middle of being written."""
    out = tmp_path / "scores"
    most = sorted(map(len, contents(undisturbed).values()))[PARTS * 3 // 4]
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))"
    done = subprocess.run(command(town, out, full), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "too large" in done.stderr
    assert not out.exists()
    left = [file.name for file in (tmp_path / ".scores.unfinished").iterdir()]
    assert all(name.startswith(("part-", "question", "read.")) for name in left)
    assert str(tmp_path) in done.stderr
    subprocess.run(command(town, out), check=True, capture_output=True)
    assert contents(out) == contents(undisturbed)


def test_records_that_are_damaged_vanish_or_change_meanwhile_are_a_message(town, tmp_path, monkeypatch):
    in_passes_of(16, monkeypatch)
    records, out = tmp_path / "records", tmp_path / "scores"
    shutil.copytree(town, records)
    file = records / "commitments.parquet"
    whole = file.read_bytes()

    def when_some_are_done(change) -> object:
        return lambda done: change() if done.parts == 20 else None

    for change, says in (
        (lambda: file.write_bytes(whole[: len(whole) // 2]), "commitments.parquet"),
        (lambda: file.write_bytes(whole), "changed"),
        (file.unlink, "changed|cannot be read"),
    ):
        file.write_bytes(whole)
        with pytest.raises(es.RecordsError, match=says):
            score_everyone(shipped_engine(), records, TOWN_DAY, out, progress=when_some_are_done(change))
        assert not out.exists()


def test_what_is_something_else_is_left_alone(town, tmp_path, undisturbed):
    out = tmp_path / "scores"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(es.ArgumentError, match="something else"):
        score_everyone(shipped_engine(), town, TOWN_DAY, out)
    assert contents(out) == {"thesis.txt": b"years of work"}
    (out / "thesis.txt").unlink()
    for name, content in contents(undisturbed).items():
        (out / name).write_bytes(content[:5])
    score_everyone(shipped_engine(), town, TOWN_DAY, out, **EVERY_COLUMN)
    assert contents(out) == contents(undisturbed)
    assert [file.name for file in tmp_path.iterdir()] == ["scores"]


def test_a_run_that_finished_no_part_leaves_nothing(town, tmp_path, monkeypatch):
    begun = []

    def fails(*_: object) -> None:
        begun.extend(tmp_path.iterdir())
        raise es.RecordsError("the records cannot be read", remedy="Read them again.")

    monkeypatch.setattr(on_one_machine, "read_parts", fails)
    with pytest.raises(es.RecordsError):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")
    assert [place.name for place in begun] == [".scores.unfinished"]
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_too_many_threads_begins_nothing(town, tmp_path, capsys):
    arguments = ["score", "--records", str(town), "--model", str(shipped_model()), "--as-of", TOWN_DAY]
    assert main([*arguments, "--out", str(tmp_path / "scores"), "--threads", "257"]) == 2
    assert "threads" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["4", "4XB", "1,5GB", "GB", "4.5.1GB", ""])
def test_a_size_that_is_none_is_wrong_usage(size, capsys):
    with pytest.raises(SystemExit):
        main(["score", "--records", ".", "--model", ".", "--as-of", TOWN_DAY, "--out", "x", "--memory", size])
    assert "4GB or 800MB" in capsys.readouterr().err


def score_ids(records: Path, out: Path) -> list[str]:
    score_everyone(shipped_engine(), records, TOWN_DAY, out)
    return parquet.read_table(out)["subject_id"].to_pylist()


def test_a_run_that_ends_leaves_what_the_next_has_begun(town, tmp_path, monkeypatch):
    begun = tmp_path / ".scores.unfinished"

    def the_next_begins(out: Path) -> None:
        begun.mkdir()
        (begun / "spill").mkdir()
        remove_what_was_replaced(out)

    monkeypatch.setattr(runs, "remove_what_was_replaced", the_next_begins)
    score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")
    assert [entry.name for entry in begun.iterdir()] == ["spill"]


def test_a_question_that_cannot_be_written_leaves_nothing(town, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "whole_file", full)
    with pytest.raises(OSError, match="No space"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("link", "target"), [("scores.parquet", "nowhere"), ("scores", "nowhere.parquet")])
def test_a_link_does_not_make_a_folder_of_what_is_named_a_file(town, tmp_path, link, target):
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(es.ArgumentError, match="this link"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / link)
    assert not (tmp_path / target).exists()


def test_the_last_day_of_the_records_is_told_however_they_are_read(town, tmp_path):
    es.keep_records(town, tmp_path / "kept")
    raw, kept = (
        score_everyone(shipped_engine(), records, TOWN_DAY, tmp_path / "scores")
        for records in (town, tmp_path / "kept")
    )
    assert raw.last_day == kept.last_day == es.read_records(town).last_day


@pytest.mark.parametrize(("out", "last_step"), [("scores", "_write_about"), ("scores.parquet", "_of_one_size")])
def test_nobody_stands_in_scores_who_was_erased_while_they_were_finished(town, tmp_path, monkeypatch, out, last_step):
    es.keep_records(town, tmp_path / "kept")
    somebody = str(score_ids(town, tmp_path / "all.parquet")[0])
    step = getattr(files, last_step)

    def erase_meanwhile(*arguments: object) -> object:
        assert es.read_records(tmp_path / "kept").erase(somebody)
        return step(*arguments)

    monkeypatch.setattr(files, last_step, erase_meanwhile)
    with pytest.raises(es.RecordsError, match="changed while they were being scored"):
        score_everyone(shipped_engine(), tmp_path / "kept", TOWN_DAY, tmp_path / out)
    assert not (tmp_path / out).exists()
    monkeypatch.undo()
    assert somebody not in score_ids(tmp_path / "kept", tmp_path / "scores.parquet")


def test_a_run_that_is_stopped_at_its_very_end_leaves_what_the_next_has_begun(town, tmp_path, monkeypatch):
    begun = tmp_path / ".scores.unfinished"

    def the_next_begins(_: Path) -> None:
        begun.mkdir()
        (begun / "spill").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "remove_what_was_replaced", the_next_begins)
    with pytest.raises(KeyboardInterrupt):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")
    assert [entry.name for entry in begun.iterdir()] == ["spill"]


@pytest.mark.parametrize("target", ["scores", "\udcff"])
def test_a_link_that_leads_nowhere_is_a_message(town, tmp_path, target):
    (tmp_path / "scores").symlink_to(tmp_path / target)
    with pytest.raises(es.ArgumentError, match=r"leads nowhere|not UTF-8"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "scores")


def test_a_file_that_holds_something_else_is_left_alone(town, tmp_path):
    """A mistyped name must not cost a city its consents."""
    records = Path(shutil.copytree(town, tmp_path / "records"))
    mine = records / "consents.parquet"
    before = mine.read_bytes()
    text = tmp_path / "notes.parquet"
    text.write_text("years of work", encoding="utf-8")
    for file in (mine, text):
        with pytest.raises(es.ArgumentError, match="something else than scores") as wrong:
            score_everyone(shipped_engine(), town, TOWN_DAY, file)
        assert wrong.value.file == str(file)
    assert (mine.read_bytes(), text.read_text(encoding="utf-8")) == (before, "years of work")
    es.keep_records(town, tmp_path / "kept")
    with pytest.raises(es.ArgumentError, match="among kept records"):
        score_everyone(shipped_engine(), town, TOWN_DAY, tmp_path / "kept" / "part-00" / "scores.parquet")
    for day in (TOWN_DAY, "2026-01-02"):
        score_everyone(shipped_engine(), town, day, tmp_path / "scores.parquet")
    assert b"2026-01-02" in parquet.read_schema(tmp_path / "scores.parquet").metadata[b"egretscore"]


@given(st.sets(st.integers(0, PARTS - 1)), st.randoms())
@settings(max_examples=10)
def test_the_people_of_some_parts_are_theirs_alone(sample, parts, random):
    asked = random.sample(sorted(parts), len(parts))
    found = shipped_engine().people_by_part(sample, TOWN_DAY, asked)
    of_each = {
        part: {part_of(subject) for subject in people["subject_id"].to_pylist()}
        for part, people in zip(asked, found, strict=True)
    }
    assert all(of_part <= {part} for part, of_part in of_each.items())
    everyone = {part_of(subject) for subject in shipped_engine().score(sample, TOWN_DAY)["subject_id"]}
    assert {part for part, of_part in of_each.items() if of_part} == everyone & parts
