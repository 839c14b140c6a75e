"""Kept records say what the records they came from say, and are used only as they were kept."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from whole_records import AS_OF, POLICY, engines, shipped_engine, split, towns, write_with_broken_rows

import egretscore as es
from egretscore.cli import main
from egretscore.parts import PARTS, part_of
from egretscore.policy import parse_policy
from egretscore.records import keeping
from egretscore.records.kept import file_of, part_folder
from egretscore.shipped import shipped_model

DAY = "2026-01-01"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return es.simulate_town(600, tmp_path_factory.mktemp("kept") / "town", seed=5, file_format="parquet")


@pytest.fixture(scope="module")
def kept_once(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("once") / "kept"
    es.keep_records(town, out)
    return out


@pytest.fixture
def kept(kept_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_once, tmp_path / "kept"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def everything(engine: es.Engine, records: es.Records, day=DAY) -> dict[str, list]:
    columns = engine.score_columns(records, day, vectors=True, reasons=True, benefits=True)
    return {name: values.tolist() for name, values in columns.items()}


# ------------------------------------------------------------------------------- the same


@given(towns(consented=False), engines(), st.data())
@settings(max_examples=12)
def test_kept_records_say_what_those_they_came_from_say(town, engine, data):
    """Also what broken rows put in doubt, and whose consent they make unclear."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "records", Path(scratch) / "kept"
        folder.mkdir()
        write_with_broken_rows(data.draw, town, folder)
        given = es.read_records(folder, policy=engine.policy, threads=1)
        outcome = es.keep_records(folder, out, policy=engine.policy, threads=1)
        kept = es.read_records(out, threads=1)
        assert everything(engine, kept, AS_OF) == everything(engine, given, AS_OF)
        for person in town:
            assert engine.explain(kept, person.subject_id, AS_OF) == engine.explain(given, person.subject_id, AS_OF)
        assert outcome.set_aside == sum(count.quarantined for count in given.counts)
        assert outcome.rows == sum(count.good for count in given.counts) == sum(count.good for count in kept.counts)


@pytest.mark.parametrize(("parts", "threads"), [(3, 1), (5, 2), (PARTS, None)])
def test_the_bytes_are_the_same_for_any_threads_memory_and_files(
    town, kept_once, tmp_path, monkeypatch, parts, threads
):
    monkeypatch.setattr(keeping, "parts_at_once", lambda *_: parts)
    records = split(town, tmp_path / "records") if parts == 5 else town
    es.keep_records(records, tmp_path / "kept", threads=threads)
    assert contents(tmp_path / "kept") == contents(kept_once)


def test_scores_of_kept_records_are_the_same_bytes(town, kept, tmp_path):
    for records, out in ((town, tmp_path / "a"), (kept, tmp_path / "b")):
        es.score_everyone(shipped_engine(), records, DAY, out, vectors=True, reasons=True, benefits=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_model_trained_on_kept_records_is_the_same_bytes(tmp_path):
    es.keep_records(es.sample_records(), tmp_path / "kept")
    for records, out in ((es.sample_records(), tmp_path / "a"), (tmp_path / "kept", tmp_path / "b")):
        es.train(es.read_records(records), ["2025-06-01"]).save(out)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_folder_whose_name_looks_like_a_pattern_is_read(kept, tmp_path):
    odd = kept.rename(tmp_path / "kept [2026]*")
    records = es.read_records(odd)
    assert (everything(shipped_engine(), records)["status"]).count("scored") > 100
    subject = records.invented["subject_id"]
    assert shipped_engine().explain(records, subject, DAY).score is not None


def test_killed_at_any_moment_keeping_goes_on_where_it_was(town, kept_once, tmp_path):
    out, lots = tmp_path / "kept", np.random.default_rng(5)
    few_at_once = "import egretscore.records.keeping as k; k.parts_at_once = lambda *_: 4"
    command = f"import sys; {few_at_once}; from egretscore.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = [sys.executable, "-c", command, "keep", "--records", str(town), "--out", str(out)]
    for _ in range(4):
        with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
            time.sleep(lots.uniform(0.5, 4.0))
            process.send_signal(signal.SIGKILL)
        if out.exists():
            break
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "rows kept" in done.stderr
    assert contents(out) == contents(kept_once)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


# ------------------------------------------------------------------------------- only as it was kept


def damage_a_file(kept: Path) -> Path:
    file = max(kept.rglob("commitments.parquet"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file


def lose_a_part(kept: Path) -> Path:
    shutil.rmtree(kept / part_folder(9))
    return kept / part_folder(9)


def lose_a_file(kept: Path) -> Path:
    file_of(kept, 9, "doubts").unlink()
    return file_of(kept, 9, "doubts")


def cut_a_description(kept: Path) -> Path:
    file = kept / part_folder(9) / "part.json"
    file.write_text("{", encoding="utf-8")
    return file


def change_the_policy(kept: Path) -> Path:
    with (kept / "policy.toml").open("a", encoding="utf-8") as file:
        file.write("\n")
    return kept / "policy.toml"


def come_from_the_future(kept: Path) -> Path:
    about = json.loads((kept / "kept.json").read_text())
    (kept / "kept.json").write_text(json.dumps({**about, "format": 99}))
    return kept / "kept.json"


def add_more_records(kept: Path) -> Path:
    (kept / "penalties.csv").write_text("decision_no\n")
    return kept / "penalties.csv"


@pytest.mark.parametrize(
    "change",
    [
        damage_a_file,
        lose_a_part,
        lose_a_file,
        cut_a_description,
        change_the_policy,
        come_from_the_future,
        add_more_records,
    ],
)
def test_what_is_not_as_it_was_kept_is_refused(kept, tmp_path, capsys, change):
    named = change(kept)
    arguments = ["score", "--records", str(kept), "--model", str(shipped_model()), "--as-of", DAY]
    assert main([*arguments, "--out", str(tmp_path / "scores")]) == 1
    assert str(named) in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()
    with pytest.raises(es.RecordsError):
        es.read_records(kept).connect()


def test_a_question_about_one_person_holds_their_part_against_its_hashes(kept):
    file = damage_a_file(kept)
    part = int(file.parent.name.removeprefix("part-"))
    subject = parquet.read_table(file_of(kept, (part + 1) % PARTS, "consents"))["subject_id"][0].as_py()
    victim = parquet.read_table(file_of(kept, part, "consents"))["subject_id"][0].as_py()
    records = es.read_records(kept)
    assert shipped_engine().explain(records, subject, DAY).subject_id == subject
    with pytest.raises(es.RecordsError, match="not as it was kept"):
        shipped_engine().explain(records, victim, DAY)


def test_a_policy_without_the_words_of_the_records_is_refused(kept):
    fewer = parse_policy(POLICY.text.replace("2023-A", "2031-Z"))
    with pytest.raises(es.RecordsError, match="2023-A"):
        es.read_records(kept, policy=fewer)


# ------------------------------------------------------------------------------- erasing


def test_who_is_erased_is_in_no_file_and_everyone_else_is_as_before(kept):
    records = es.read_records(kept)
    before = everything(shipped_engine(), records)
    subject = records.invented["subject_id"]
    held = sum(len(records.rows_of(subject)[table]) for table in es.records.TABLES)
    assert records.erase(subject) == held > 0
    assert records.erase(subject) == 0
    for again in (records, es.read_records(kept)):
        assert shipped_engine().explain(again, subject, DAY).status is es.Status.NOT_CONSENTED
        after = everything(shipped_engine(), again)
        gone = before["subject_id"].index(subject)
        assert after == {name: values[:gone] + values[gone + 1 :] for name, values in before.items()}
    for file in kept.rglob("*.parquet"):
        assert subject not in parquet.read_table(file)["subject_id"].to_pylist()
        assert subject.encode() not in file.read_bytes()
    assert sum(count.good for count in es.read_records(kept).counts) == sum(c.good for c in records.counts) - held


def test_who_is_erased_is_gone_for_those_who_had_the_records_open(kept, tmp_path):
    """In this process and another, also where a copy was made because of signs in the name, and meanwhile."""
    odd = Path(shutil.copytree(kept, tmp_path / "kept [1]"))
    for folder in (kept, odd):
        records, elsewhere = es.read_records(folder), es.read_records(folder)
        subject = records.invented["subject_id"]
        for opened in (records, elsewhere):
            assert shipped_engine().explain(opened, subject, DAY).score is not None
            assert subject in everything(shipped_engine(), opened)["subject_id"]
        own = part_of(subject)
        others = [name for name in everything(shipped_engine(), records)["subject_id"] if part_of(name) == own]
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(shipped_engine().explain, elsewhere, name, DAY) for name in others * 20]
            records.erase(subject)
            scores = {(asked.result().subject_id, asked.result().score) for asked in asking}
        assert len(scores) <= len(others) + 1
        assert shipped_engine().explain(elsewhere, subject, DAY).status is es.Status.NOT_CONSENTED
        assert subject not in everything(shipped_engine(), records)["subject_id"]
        assert subject not in everything(shipped_engine(), es.read_records(folder))["subject_id"]


def test_erasing_touches_the_files_of_one_part(kept):
    before = contents(kept)
    records = es.read_records(kept)
    subject = records.invented["subject_id"]
    records.erase(subject)
    after = contents(kept)
    own = part_folder(part_of(subject))
    assert {name for name in before if before[name] != after[name]} <= {n for n in before if n.startswith(own)}
    assert before.keys() == after.keys()


# ------------------------------------------------------------------------------- where it is written


def test_what_is_something_else_is_left_alone(town, kept, tmp_path, capsys):
    thesis = kept / "thesis.txt"
    thesis.write_text("years of work")
    for records, out, says in (
        (town, kept, "something else"),
        (town, thesis, "something else"),
        (town, town / "kept", "among the records"),
        (kept, tmp_path / "again", "kept already"),
    ):
        assert main(["keep", "--records", str(records), "--out", str(out)]) == 2
        assert says in capsys.readouterr().err
    assert thesis.read_text() == "years of work"
    assert {entry.name for entry in town.iterdir()} == {
        "invented.json",
        *(f"{table}.parquet" for table in es.records.TABLES),
    }


def test_records_kept_earlier_are_replaced(town, kept, kept_once):
    damage_a_file(kept)
    assert main(["keep", "--records", str(town), "--out", str(kept)]) == 0
    assert contents(kept) == contents(kept_once)


def test_every_command_reads_kept_records(kept, capsys):
    assert main(["validate", "--records", str(kept)]) == 0
    assert "commitments.parquet" in capsys.readouterr().out
    subject = es.read_records(kept).invented["subject_id"]
    assert main(["explain", subject, "--records", str(kept), "--as-of", DAY]) == 0
    assert "invented" in capsys.readouterr().out


def test_how_many_rows_are_not_kept_is_said(tmp_path, capsys):
    records = Path(shutil.copytree(es.sample_records(), tmp_path / "records"))
    with (records / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("broken\n")
    assert main(["keep", "--records", str(records), "--out", str(tmp_path / "kept")]) == 0
    assert "1 rows are set aside" in capsys.readouterr().err
