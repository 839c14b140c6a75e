"""Kept records say what the records they came from say, and are used only as they were kept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sqlglot import expressions as exp
from stopping import run
from test_checks import ROWS
from whole_records import (
    AS_OF,
    OF_SEVERAL_FORMS,
    POLICY,
    engines,
    in_any_form,
    shipped_engine,
    split,
    towns,
    with_letters,
    write,
    write_with_broken_rows,
)

import egretscore as es
from egretscore.cli import main
from egretscore.policy import parse_policy
from egretscore.records.checked.store import check_agrees
from egretscore.records.in_bulk.runs import Progress
from egretscore.records.intake import in_place
from egretscore.records.kept.folder import about_part, files_of_part, part_folder, state_of_part
from egretscore.records.parts import PARTS, part_of
from egretscore.records.upkeep import keeping
from egretscore.shipped import shipped_model
from egretscore.writing import alone_in

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


def test_kept_records_named_from_the_current_folder_stay_those_in_another(kept_once, tmp_path, monkeypatch):
    """A service goes to / when it has started; a notebook goes where its files are."""
    monkeypatch.chdir(kept_once.parent)
    records, engine = es.read_records(kept_once.name), shipped_engine()
    monkeypatch.chdir(tmp_path)
    scores = engine.score(records, DAY)
    someone = scores["subject_id"][0]
    assert engine.explain(records, someone, DAY).status == scores["status"][0]
    assert records.last_day is not None
    assert records.counts[0].file.startswith(kept_once.name)


@given(towns(consented=False), st.sampled_from([0, 10**9]), st.data())
@settings(max_examples=12)
def test_ids_of_any_form_are_kept_as_the_same_bytes(town, fewest, data):
    """Also where a row is there twice. Whatever asks kept records, Spark too, sees one form only."""
    town = with_letters(town, lambda: data.draw(OF_SEVERAL_FORMS))
    with tempfile.TemporaryDirectory() as scratch, patch.object(in_place, "FEWEST_TYPED_ROWS", fewest):
        folder = Path(scratch)
        as_given = es.keep_records(write(town, folder / "once"), folder / "kept once", threads=1)
        twice = in_any_form(data.draw, [*town, *town])
        in_forms = es.keep_records(write(twice, folder / "twice"), folder / "kept twice", threads=1)
        assert in_forms == as_given
        assert contents(folder / "kept twice") == contents(folder / "kept once")


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
        assert outcome.set_aside == sum(count.set_aside for count in given.counts)
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
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    said, said_of_kept = json.loads(a.pop("_scores.json")), json.loads(b.pop("_scores.json"))
    assert a == b
    states = [about_part(kept, part).state for part in range(PARTS)]
    assert said_of_kept.pop("kept")["states"] == states, "scores of kept records say of which"
    assert said == said_of_kept


def test_rows_of_one_person_are_found_in_however_many_groups_of_a_file_they_lie(town, tmp_path, monkeypatch):
    monkeypatch.setattr("egretscore.records.kept.folder._ROWS_OF_A_GROUP", 3)
    es.keep_records(town, tmp_path / "kept")
    engine, given, kept = shipped_engine(), es.read_records(town), es.read_records(tmp_path / "kept")
    for subject in engine.score(given, DAY)["subject_id"][::9]:
        assert engine.explain(kept, subject, DAY) == engine.explain(given, subject, DAY)


def test_a_model_trained_on_kept_records_is_the_same_bytes(tmp_path):
    es.keep_records(es.sample_records(), tmp_path / "kept")
    for records, out in ((es.sample_records(), tmp_path / "a"), (tmp_path / "kept", tmp_path / "b")):
        es.train(es.read_records(records), ["2025-06-01"]).save(out)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_folder_whose_name_is_a_pattern_is_refused_before_any_work(town, kept, tmp_path, capsys):
    assert main(["keep", "--records", str(town), "--out", str(tmp_path / "kept [2026]*")]) == 2
    assert "a name without * ? [" in capsys.readouterr().err
    odd = kept.rename(tmp_path / "kept [2026]")
    with pytest.raises(es.ArgumentError, match="Rename it"):
        es.read_records(odd)


def test_killed_at_any_moment_keeping_goes_on_where_it_was(town, kept_once, tmp_path):
    out = tmp_path / "kept"
    arguments = ["keep", "--records", str(town), "--out", str(out)]
    done = 0
    for death, parts in (
        ("die_at(folder, 'write_table', 9, False)", 0),
        ("die_at(folder, 'write_about_part', 6, True)", 4),
        ("die_at(folder, 'write_table', 60, True)", 12),
        ("die_at(folder, 'write_about', 1, False)", 64),
        ("die_at(folder, 'write_about', 1, True)", 64),
        ("die_at(runs, 'put_in_place', 1, False)", 64),
    ):
        assert run(arguments, death).returncode == -signal.SIGKILL
        made = [
            folder for folder in (tmp_path / ".kept.unfinished").glob("part-??") if (folder / "part.json").is_file()
        ]
        assert len(made) >= max(done, parts)
        assert not out.exists()
        done = len(made)
    finished = run(arguments)
    assert "rows kept" in finished.stderr
    assert contents(out) == contents(kept_once)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_part_that_a_power_cut_left_half_written_is_made_again(town, kept_once, tmp_path):
    out = tmp_path / "kept"
    arguments = ["keep", "--records", str(town), "--out", str(out)]
    run(arguments, "die_at(folder, 'write_about', 1, False)")
    unfinished = tmp_path / ".kept.unfinished"
    (unfinished / part_folder(3) / "part.json").write_bytes(b"")
    damage([*files_of_part(unfinished, 5).values()][1])
    assert run(arguments).returncode == 0
    assert contents(out) == contents(kept_once)


@pytest.mark.parametrize("other", ["nothing", "policy", "version"])
def test_parts_of_another_policy_or_another_version_are_kept_anew(town, tmp_path, monkeypatch, other):
    monkeypatch.setattr(keeping, "parts_at_once", lambda *_: 32)

    def stop(done: Progress) -> None:
        if done.parts == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        es.keep_records(town, tmp_path / "kept", progress=stop)
    if other == "version":
        monkeypatch.setattr(keeping, "__version__", "9.9")
    policy = parse_policy(f"{POLICY.text}\n# of another year\n") if other == "policy" else POLICY
    seen: list[Progress] = []
    es.keep_records(town, tmp_path / "kept", policy=policy, progress=seen.append)
    assert {done.taken_up > 0 for done in seen} == {other == "nothing"}


def test_a_link_to_a_folder_stays_one(town, kept_once, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    for _ in range(2):
        assert main(["keep", "--records", str(town), "--out", str(link)]) == 0
        assert link.is_symlink()
        assert contents(target) == contents(kept_once)


# ------------------------------------------------------------------------------- only as it was kept


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damage_a_file(kept: Path) -> Path:
    file = max(kept.rglob("commitments-*.parquet"), key=lambda file: file.stat().st_size)
    damage(file)
    return file


def lose_a_part(kept: Path) -> Path:
    shutil.rmtree(kept / part_folder(9))
    return kept / part_folder(9)


def lose_a_file(kept: Path) -> Path:
    file = files_of_part(kept, 9)["doubts"]
    file.unlink()
    return file


def cut_a_description(kept: Path) -> Path:
    file = kept / part_folder(9) / "part.json"
    file.write_text("{", encoding="utf-8")
    return file


def empty_a_description(kept: Path) -> Path:
    file = kept / part_folder(9) / "part.json"
    file.write_text('{"rows": {}, "sha256": {}, "set_aside": 0}', encoding="utf-8")
    return file


def say_less(kept: Path) -> Path:
    about = json.loads((kept / "kept.json").read_text())
    del about["invented"]
    (kept / "kept.json").write_text(json.dumps(about))
    return kept / "kept.json"


def add_a_file_to_a_part(kept: Path) -> Path:
    (kept / part_folder(9) / "thesis.txt").write_text("years of work")
    return kept / part_folder(9) / "thesis.txt"


def change_the_policy(kept: Path) -> Path:
    with (kept / "policy.toml").open("a", encoding="utf-8") as file:
        file.write("\n")
    return kept / "policy.toml"


def come_from_the_future(kept: Path) -> Path:
    about = json.loads((kept / "kept.json").read_text())
    (kept / "kept.json").write_text(json.dumps({**about, "format": 99}))
    return kept / "kept.json"


def lose_what_says_that_they_are_kept(kept: Path) -> Path:
    (kept / "kept.json").unlink()
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
        empty_a_description,
        say_less,
        add_a_file_to_a_part,
        change_the_policy,
        come_from_the_future,
        lose_what_says_that_they_are_kept,
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
    subject = parquet.read_table(files_of_part(kept, (part + 1) % PARTS)["consents"])["subject_id"][0].as_py()
    victim = parquet.read_table(files_of_part(kept, part)["consents"])["subject_id"][0].as_py()
    records = es.read_records(kept)
    assert shipped_engine().explain(records, subject, DAY).subject_id == subject
    with pytest.raises(es.RecordsError, match="not as it was kept"):
        shipped_engine().explain(records, victim, DAY)


def test_a_policy_without_the_words_of_the_records_is_refused(kept):
    fewer = parse_policy(POLICY.text.replace("2023-A", "2031-Z"))
    with pytest.raises(es.RecordsError, match="2023-A"):
        es.read_records(kept, policy=fewer)


FERRY = '[[kinds]]\nid = "ferry"\ngroup = "convenience"\nzh = "轮渡"\nen = "ferry"\nsource = "assumption"\n\n'
WITH_FERRIES = parse_policy(POLICY.text.replace("[[kinds]]", f"{FERRY}[[kinds]]", 1))


def test_where_rows_may_be_missing_a_policy_that_knows_their_words_is_refused(kept):
    """Else commitments of a kind that the kept records' policy does not know would count for nobody, without a word."""
    with pytest.raises(es.RecordsError, match=r"does not know all words for kind .* may be missing: ferry"):
        es.read_records(kept, policy=WITH_FERRIES)
    rows = {"consents": pd.DataFrame([ROWS["consents"]]), "commitments": pd.DataFrame([ROWS["commitments"]])}
    check_agrees(es.read_records(rows), WITH_FERRIES, "the model")
    rows["commitments"]["kind"] = "ferry"
    with pytest.raises(es.RecordsError, match="may be missing: ferry"):
        check_agrees(es.read_records(rows), WITH_FERRIES, "the model")


# ------------------------------------------------------------------------------- erasing


def test_who_is_erased_is_in_no_file_and_everyone_else_is_as_before(kept):
    records = es.read_records(kept)
    before, rows = everything(shipped_engine(), records), sum(count.good for count in records.counts)
    subject = records.invented["subject_id"]
    held = sum(len(records.rows_of(subject)[table]) for table in es.records.TABLES)
    assert records.erase(subject) == held > 0
    assert records.erase(subject) == 0
    gone = before["subject_id"].index(subject)
    for again in (records, es.read_records(kept)):
        assert shipped_engine().explain(again, subject, DAY).status is es.Status.NOT_CONSENTED
        after = everything(shipped_engine(), again)
        assert after == {name: values[:gone] + values[gone + 1 :] for name, values in before.items()}
        assert sum(count.good for count in again.counts) == rows - held
    assert_in_no_file(kept, subject)


def assert_in_no_file(kept: Path, subject: str) -> None:
    for file in kept.rglob("*"):
        if file.is_file():
            assert subject.encode() not in file.read_bytes() or file.name == "kept.json"
            if file.suffix == ".parquet":
                assert subject not in parquet.read_table(file)["subject_id"].to_pylist()


def test_erasing_touches_the_files_of_one_part(kept):
    before = contents(kept)
    records = es.read_records(kept)
    subject = records.invented["subject_id"]
    records.erase(subject)
    after = contents(kept)
    own = part_folder(part_of(subject))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed
    assert all(name.startswith(own) for name in changed)


def test_many_may_erase_at_once(kept):
    """Two handles in one process and a process of its own take people out of one part; nobody comes back."""
    subjects = parquet.read_table(files_of_part(kept, 7)["consents"])["subject_id"].unique().to_pylist()
    assert len(subjects) > 5
    handles = [es.read_records(kept) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        erasing = [pool.submit(handles[i % 3].erase, subject) for i, subject in enumerate(subjects[1:])]
        assert main(["erase", subjects[0], "--kept", str(kept)]) == 0
        assert all(erased.result() > 0 for erased in erasing)
    for handle in (*handles, es.read_records(kept)):
        assert {shipped_engine().explain(handle, subject, DAY).status for subject in subjects} == {
            es.Status.NOT_CONSENTED
        }
    for subject in subjects:
        assert_in_no_file(kept, subject)


@pytest.mark.parametrize(
    "death",
    [
        "die_at(folder, 'write_table', 3, True)",
        "die_at(folder, 'write_about_part', 1, False)",
        "die_at(folder, '_remove_all_others', 2, False)",
        "die_at(folder, '_remove_all_others', 2, True)",
    ],
)
def test_who_is_killed_while_erasing_finishes_by_erasing_again(kept, death):
    subject = es.read_records(kept).invented["subject_id"]
    before = everything(shipped_engine(), es.read_records(kept))
    arguments = ["erase", subject, "--kept", str(kept)]
    assert run(arguments, death).returncode == -signal.SIGKILL
    between = everything(shipped_engine(), es.read_records(kept))["subject_id"]  # the old part or the new one
    assert set(before["subject_id"]) - set(between) <= {subject}
    assert run(arguments).returncode == 0
    assert_in_no_file(kept, subject)
    assert {file.name for file in (kept / part_folder(part_of(subject))).iterdir()} == {
        "part.json",
        *(file.name for file in files_of_part(kept, part_of(subject)).values()),
    }


def test_what_a_stopped_change_left_in_a_part_is_gone_once_anyone_of_it_is_erased(kept):
    """Also where the part holds no rows of theirs, and so is not written again."""
    subject = es.read_records(kept).invented["subject_id"]
    left = kept / part_folder(part_of(subject)) / "penalties-0123456789abcdef.parquet"
    left.write_bytes(b"rows of someone")
    nobody = next(f"q{n}" for n in range(10_000) if part_of(f"q{n}") == part_of(subject))
    assert es.read_records(kept).erase(nobody) == 0
    assert not left.exists()


def test_who_is_erased_is_not_in_what_a_stopped_keeping_left_behind(town, kept):
    run(["keep", "--records", str(town), "--out", str(kept)], "die_at(runs, 'put_in_place', 1, True)")
    run(["keep", "--records", str(town), "--out", str(kept)], "die_at(folder, 'write_about', 1, False)")
    left = kept.with_name(".kept.earlier"), kept.with_name(".kept.unfinished")
    subject = es.read_records(kept).invented["subject_id"]
    assert all(folder.is_dir() for folder in left)
    assert list(left[1].glob(f"{part_folder(part_of(subject))}/consents-*.parquet"))
    assert main(["erase", subject, "--kept", str(kept)]) == 0
    assert not any(folder.exists() for folder in left)


def test_who_cannot_be_erased_from_what_was_left_is_not_said_to_be(town, kept, monkeypatch, capsys):
    run(["keep", "--records", str(town), "--out", str(kept)], "die_at(folder, 'write_about', 1, False)")

    def refuse(place: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert main(["erase", es.read_records(kept).invented["subject_id"], "--kept", str(kept)]) == 1
    assert f"{kept.with_name('.kept.unfinished')}: Permission denied" in capsys.readouterr().err


def test_a_name_that_no_folder_can_have_is_an_error_of_ours():
    with pytest.raises(es.RecordsError, match="the folder cannot be read") as raised:
        es.read_records("n" * 300)
    assert raised.value.file == "n" * 300


@pytest.mark.parametrize("name", ["kept.json", "part.json"])
def test_kept_records_that_may_not_be_read_need_not_be_kept_again(kept, monkeypatch, name):
    read_text = Path.read_text

    def refuse(file: Path, *arguments: Any, **options: Any) -> str:
        if file.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return read_text(file, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(es.RecordsError, match="cannot be read") as raised:
        es.load_engine().score(es.read_records(kept), "2026-10-31")
    assert raised.value.remedy == "Let this process read it."


def test_someone_is_erased_where_nothing_can_be_made_beside_the_folder(kept, monkeypatch):
    mkdir = Path.mkdir

    def refuse(place: Path, *arguments: Any, **options: Any) -> None:
        if place.parent == kept.parent:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        mkdir(place, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["erase", es.read_records(kept).invented["subject_id"], "--kept", str(kept)]) == 0


def test_nobody_is_erased_while_all_records_are_being_kept_again(kept, capsys):
    unfinished = kept.with_name(".kept.unfinished")
    unfinished.mkdir()
    subject = es.read_records(kept).invented["subject_id"]
    with alone_in(unfinished):
        assert main(["erase", subject, "--kept", str(kept)]) == 2
    assert "another run is writing this" in capsys.readouterr().err
    assert main(["erase", subject, "--kept", str(kept)]) == 0


def test_who_is_erased_is_gone_for_those_who_have_the_records_open(kept):
    """Also meanwhile: nobody is told that the records are damaged, and nobody else's score changes."""
    records, elsewhere = es.read_records(kept), es.read_records(kept)
    subject = records.invented["subject_id"]
    everyone = everything(shipped_engine(), records)
    scores = dict(zip(everyone["subject_id"], everyone["score"], strict=True))
    own = [name for name in scores if part_of(name) == part_of(subject)]
    assert everything(shipped_engine(), elsewhere) == everyone
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(shipped_engine().explain, elsewhere, name, DAY) for name in own * 30]
        for name in own[: len(own) // 2]:
            elsewhere.erase(name) if name == subject else records.erase(name)
        records.erase(subject)
        explained = [asked.result() for asked in asking]
    assert {e.score for e in explained if e.status is es.Status.SCORED} <= set(scores.values())
    assert all(e.score in (None, scores[e.subject_id]) for e in explained)
    left = {name for name in scores if name not in {subject, *own[: len(own) // 2]}}
    for handle in (records, elsewhere):
        assert shipped_engine().explain(handle, subject, DAY).status is es.Status.NOT_CONSENTED
        assert set(everything(shipped_engine(), handle)["subject_id"]) == left


def test_records_that_were_kept_again_must_be_opened_again(town, kept):
    records = es.read_records(kept)
    subject = records.invented["subject_id"]
    assert shipped_engine().explain(records, subject, DAY).score is not None
    before = state_of_part(kept, 0)
    es.keep_records(town, kept)
    assert state_of_part(kept, 0) != before
    for ask in (records.connect, lambda: records.rows_of(subject)):
        with pytest.raises(es.RecordsError, match="kept again"):
            ask()


def test_what_an_objection_that_cannot_be_read_says_of_a_person_is_not_kept(tmp_path):
    """Numbers that identify a person are refused at the door, also where only a doubt would hold them."""
    records = Path(shutil.copytree(es.sample_records(), tmp_path / "records"))
    with (records / "objections.csv").open("a", encoding="utf-8") as file:
        file.write("penalties,张三 13800138000,110101199003074514,2026-01-01,,\n")
        file.write(f"penalties,{'x' * 9000},{'y' * 9000},2026-01-01,,\n")
    assert es.keep_records(records, tmp_path / "kept").set_aside == 2
    doubts = [parquet.read_table(files_of_part(tmp_path / "kept", part)["doubts"]) for part in range(PARTS)]
    assert sum(map(len, doubts)) == 0
    kept = es.read_records(tmp_path / "kept")
    assert {shipped_engine().explain(kept, f"r{n}", DAY).status for n in range(200)} == {es.Status.NOT_CONSENTED}


def test_erasing_from_what_was_not_kept_is_wrong_usage(capsys):
    assert main(["erase", "r1", "--kept", str(es.sample_records())]) == 2
    assert "egretscore keep" in capsys.readouterr().err


# ------------------------------------------------------------------------------- where it is written


def test_what_is_something_else_is_left_alone(town, kept, tmp_path, capsys):
    hidden = tmp_path / "hidden"
    for thesis in (kept / "thesis.txt", hidden / ".git" / "thesis.txt", tmp_path / "like" / "part-00" / "thesis.txt"):
        thesis.parent.mkdir(parents=True, exist_ok=True)
        thesis.write_text("years of work")
    for records, out, says in (
        (town, kept, "something else"),
        (town, kept / "thesis.txt", "among kept records"),
        (town, hidden, "something else"),
        (town, tmp_path / "like", "something else"),
        (town, town / "kept", "among the records"),
        (kept, tmp_path / "again", "kept already"),
    ):
        assert main(["keep", "--records", str(records), "--out", str(out)]) == 2
        assert says in capsys.readouterr().err
    assert {file.read_text() for file in tmp_path.rglob("thesis.txt")} == {"years of work"}
    assert len(list(tmp_path.rglob("thesis.txt"))) == 3
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
    assert "commitments-*.parquet" in capsys.readouterr().out
    subject = es.read_records(kept).invented["subject_id"]
    assert main(["explain", subject, "--records", str(kept), "--as-of", DAY]) == 0
    assert "invented" in capsys.readouterr().out


def test_how_many_rows_are_not_kept_is_said(tmp_path, capsys):
    records = Path(shutil.copytree(es.sample_records(), tmp_path / "records"))
    with (records / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("broken\n")
    assert main(["keep", "--records", str(records), "--out", str(tmp_path / "kept")]) == 0
    assert "1 row set aside" in capsys.readouterr().err
    assert main(["validate", "--records", str(tmp_path / "kept")]) == 0
    said = "1 row set aside when these were kept; validate the original records to see why"
    assert said in capsys.readouterr().err


def test_records_kept_under_a_policy_are_read_under_it(tmp_path, capsys):
    policy = tmp_path / "mine.toml"
    policy.write_text(POLICY.text.replace("2023-A", "2031-Z"), encoding="utf-8")
    records = Path(shutil.copytree(es.sample_records(), tmp_path / "records"))
    consents = records / "consents.csv"
    consents.write_text(consents.read_text(encoding="utf-8").replace("2023-A", "2031-Z"), encoding="utf-8")
    es.keep_records(records, tmp_path / "kept", policy=policy)
    kept = ["--records", str(tmp_path / "kept")]
    assert main(["validate", *kept]) == 0
    dates = ["--as-of", "2024-09-01", "--as-of", "2025-10-01"]
    assert main(["train", *kept, *dates, "--out", str(tmp_path / "model")]) == 0
    subject = es.read_records(tmp_path / "kept").invented["subject_id"]
    assert main(["explain", subject, *kept, "--model", str(tmp_path / "model"), "--as-of", DAY]) in {0, 3}
    capsys.readouterr()
    assert main(["explain", subject, *kept, "--as-of", DAY]) == 1
    said = capsys.readouterr().err
    assert "letter_version the model does not know: 2031-Z" in said
    assert "or use a model trained under theirs" in said
    policy.write_text(policy.read_text(encoding="utf-8").replace("grace_days = 3", "grace_days = 29"), encoding="utf-8")
    assert main(["train", *kept, *dates, "--policy", str(policy), "--out", str(tmp_path / "model")]) == 0
    assert "grace_days = 29" in (tmp_path / "model" / "policy.toml").read_text(encoding="utf-8")


def test_who_is_not_there_to_be_erased_is_said(kept, capsys):
    assert main(["erase", "nobody", "--kept", str(kept)]) == 0
    others = "; the original records, and scores written earlier, are unchanged\n"
    assert capsys.readouterr().err == f"no rows of 'nobody' in {kept} (is the id right?){others}"
    somebody = es.read_records(kept).invented["subject_id"]
    assert main(["erase", somebody, "--kept", str(kept)]) == 0
    assert capsys.readouterr().err.endswith(f" rows erased: {kept}{others}")


IN_ANOTHER_PROCESS = """
import os, signal, sys
import egretscore as es
records, engine = es.read_records(sys.argv[1]), es.load_engine()
alone = len(engine.score(records, "2026-01-01")) if sys.argv[2] == "asked" else None
child = os.fork()
if child == 0:
    signal.alarm(120)  # it would wait for ever
    people = len(engine.score(records, "2026-01-01"))
    os._exit(0 if alone in (None, people) and people else 1)
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no process")
@pytest.mark.parametrize("before", ["asked", "not asked"])
def test_a_process_that_was_forked_asks_a_database_of_its_own(kept_once, before):
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, str(kept_once), before]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_asks_about_everyone_while_others_are_erased_is_answered(kept, monkeypatch):
    """Each erasure replaces files, some of which a question may already have been about to read."""
    engine, records = shipped_engine(), es.read_records(kept)
    subjects = engine.score(records, DAY)["subject_id"].tolist()
    to_erase = iter(subjects)
    connect = type(records).connect

    def erased_meanwhile(self: Any) -> Any:
        connection = connect(self)
        if len(erased) < 3:
            erased.append(next(to_erase))
            es.read_records(kept).erase(erased[-1])
        return connection

    erased: list[str] = []
    monkeypatch.setattr(type(records), "connect", erased_meanwhile)
    assert set(engine.score(records, DAY)["subject_id"]) == set(subjects) - set(erased)
    assert len(erased) == 3


def test_kept_records_that_keep_changing_are_a_message(kept, monkeypatch):
    records = es.read_records(kept)
    changes = iter(range(10**6))
    monkeypatch.setattr(type(records), "_states", lambda _: dict.fromkeys(range(PARTS), (next(changes), 0)))
    for part in range(PARTS):
        shutil.rmtree(kept / part_folder(part))
    with pytest.raises(es.RecordsError, match="kept changing"):
        shipped_engine().score(records, DAY)


def test_a_part_that_may_not_be_read_is_not_said_to_be_gone(kept, monkeypatch):
    records = es.read_records(kept)
    stat = Path.stat

    def denied(self: Path, **options: Any) -> Any:
        if self.name == "part.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(es.RecordsError, match="Permission denied"):
        shipped_engine().explain(records, "r1", DAY)


def test_models_are_not_trained_on_records_that_changed_meanwhile(kept, capsys, tmp_path, monkeypatch):
    """Said in a line, as wherever everyone is asked about."""
    monkeypatch.setattr(
        "egretscore.training.snapshots._snapshot_query", lambda *_: exp.select("*").from_("read_parquet('/gone')")
    )
    given = ["train", "--records", str(kept), "--as-of", "2024-09-01", "--out", str(tmp_path / "model")]
    assert main(given) == 1
    assert "cannot be read any more" in capsys.readouterr().err
