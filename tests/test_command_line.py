"""The command line: its contract, its errors and its manners."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import egretscore as es
from egretscore.cli import commands, main, terminal
from egretscore.cli.arguments import memory_size, parser
from egretscore.cli.terminal import amount_done, interrupts_noted, parts_done, working
from egretscore.explanation import texts
from egretscore.records.files import INVENTED_MARK
from egretscore.records.in_bulk.runs import Progress
from egretscore.records.quarantine import CONTRADICTIONS
from egretscore.records.schema import TABLES
from egretscore.shipped import shipped_model

SAMPLE, MODEL = str(es.sample_records()), str(shipped_model())
AS_OF = "2026-10-31"
SCORE = ["score", "--records", SAMPLE, "--model", MODEL, "--as-of", AS_OF]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "egretscore", *arguments],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **environment},
    )


def someone(status: str) -> str:
    scores = es.load_engine().score(es.read_records(SAMPLE), AS_OF)
    return str(scores.loc[scores["status"] == status, "subject_id"].iloc[0])


def test_explain_without_options_explains_someone_of_the_sample_town(capsys):
    assert main(["explain", "--lang", "en"]) == 0
    text = capsys.readouterr().out
    assert "invented" in text
    assert f"As of: {AS_OF}" in text
    assert "= the score" in text
    assert main(["explain", "--lang", "zh"]) == 0
    assert "虚构" in capsys.readouterr().out


def test_explain_as_json_has_the_fields_of_the_contract(capsys):
    assert main(["explain", "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {
        "subject_id",
        "status",
        "status_text",
        "as_of",
        "score",
        "grade",
        "grade_text",
        "blank_score",
        "model",
        "reasons",
        "benefits",
        "objection",
    }
    assert {"name", "sha256"} <= set(made["model"])
    assert made["status"] == "scored"
    assert made["score"] == made["blank_score"] + sum(reason["points"] for reason in made["reasons"])
    for reason in made["reasons"]:
        assert set(reason) == {"feature", "code", "indicator", "indicator_text", "value", "points", "text"}
    for benefit in made["benefits"]:
        assert set(benefit) == {"id", "name", "min_score", "eligible", "ordinary_route"}


def test_json_speaks_the_language_asked_for(capsys):
    main(["explain", "--format", "json", "--lang", "zh"])
    made = json.loads(capsys.readouterr().out)
    assert any("公共图书馆" in benefit["name"] for benefit in made["benefits"])
    assert (made["status"], made["status_text"]) == ("scored", "已评分")
    assert (made["grade"], made["grade_text"]) == ("good", "良好")
    headings = {indicator.id: indicator.zh for indicator in es.load_engine().policy.indicators}
    told = {reason["indicator"]: reason["indicator_text"] for reason in made["reasons"]}
    assert len(told) > 1
    assert told == {indicator: headings[indicator] for indicator in told}
    assert "您可以对记录提出异议" in made["objection"]


@pytest.mark.parametrize("status", ["not_consented", "withdrawn", "not_adult"])
def test_who_is_not_scored_gets_status_3(status, capsys):
    subject = someone(status)
    arguments = ["explain", subject, "--records", SAMPLE, "--as-of", AS_OF]
    assert main([*arguments, "--format", "json"]) == 3
    made = json.loads(capsys.readouterr().out)
    assert (made["status"], made["reasons"]) == (status, [])
    assert all(made[name] is None for name in ("score", "grade", "grade_text", "objection"))
    assert made["status_text"] == texts("en")["status"][status]
    assert not any(benefit["eligible"] for benefit in made["benefits"])
    assert main(arguments) == 3
    assert "No score is made" in capsys.readouterr().out


def test_score_writes_one_parquet_file(tmp_path, capsys):
    out = tmp_path / "deep" / "scores.parquet"
    assert main([*SCORE, "--out", str(out), "--reasons"]) == 0
    table = parquet.read_table(out)
    engine = es.load_engine()
    assert table.column_names == [
        *("subject_id", "status", "score", "grade"),
        *(f"reason_{name}" for name in engine.feature_names),
    ]
    assert all(pa.types.is_integer(table.schema.field(name).type) for name in table.column_names[4:])
    expected = engine.score(es.read_records(SAMPLE), AS_OF, reasons=True)
    assert (
        table["score"].to_pylist() == expected["score"].astype(object).where(expected["score"].notna(), None).tolist()
    )
    assert [file.name for file in out.parent.iterdir()] == ["scores.parquet"]
    assert "people scored" in capsys.readouterr().err


def test_score_and_validate_without_records_take_the_sample_town_and_say_so(tmp_path, capsys):
    assert main(["score", "--out", str(tmp_path / "by default.parquet")]) == 0
    assert "the sample town, whose residents are invented" in capsys.readouterr().err
    assert main([*SCORE, "--out", str(tmp_path / "named.parquet")]) == 0
    assert (tmp_path / "by default.parquet").read_bytes() == (tmp_path / "named.parquet").read_bytes()
    capsys.readouterr()
    assert main(["validate"]) == 0
    said = capsys.readouterr()
    assert "the sample town, whose residents are invented" in said.err
    assert main(["validate", "--records", SAMPLE]) == 0
    assert capsys.readouterr().out == said.out


def test_the_model_of_other_records_is_named(tmp_path, capsys):
    for given, lacking in (([], "--model DIR and --as-of DATE"), (["--as-of", AS_OF], "--model DIR.")):
        assert main(["score", "--records", SAMPLE, *given, "--out", str(tmp_path / "s.parquet")]) == 2
        assert f"need a model and a date. Expected {lacking}" in capsys.readouterr().err


def test_score_without_reasons_has_four_columns(tmp_path):
    out = tmp_path / "scores.parquet"
    assert main([*SCORE, "--out", str(out)]) == 0
    assert parquet.read_schema(out).names == ["subject_id", "status", "score", "grade"]


def test_simulate_train_validate_publish(tmp_path, capsys):
    town, model = tmp_path / "town", tmp_path / "model"
    assert main(["simulate", "--residents", "2500", "--out", str(town), "--seed", "5", "--format", "parquet"]) == 0
    assert main(["validate", "--records", str(town)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[-1].startswith("in all")
    assert (
        main(["train", "--records", str(town), "--as-of", "2024-09-01", "--as-of", "2025-10-01", "--out", str(model)])
        == 0
    )
    assert "lightgbm_unconstrained" in capsys.readouterr().out
    assert main(["publish", "--model", str(model)]) == 0
    published = capsys.readouterr().out
    for heading in ("## Points of one feature", "## Proof that it goes one way", "## The queries", "SELECT"):
        assert heading in published
    assert " 0 the wrong way" in published
    assert main(["explain", someone("scored"), "--records", SAMPLE, "--model", str(model), "--as-of", AS_OF]) == 0


def test_validate_names_what_is_wrong_and_ends_with_the_table(tmp_path, capsys):
    records = tmp_path / "records"
    records.mkdir()
    good = (es.sample_records() / "consents.csv").read_text(encoding="utf-8").splitlines()[:3]
    (records / "consents.csv").write_text("\n".join([*good, "p1,2023-B,true,2025-02-30,", ""]), encoding="utf-8")
    assert main(["validate", "--records", str(records), "--quarantine", str(tmp_path / "aside")]) == 1
    said = capsys.readouterr()
    assert "consents.csv, row 3: 'granted_on' is '2025-02-30'" in said.out
    assert said.out.splitlines()[-1].split() == ["in", "all", "3", "2", "1", "0"]
    assert "1 row set aside" in said.err
    assert (tmp_path / "aside" / "quarantine-consents.csv").is_file()


def test_of_many_rows_set_aside_the_first_twenty_are_named_and_how_many_there_are(tmp_path, capsys):
    consents = tmp_path / "consents.csv"
    head = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
    consents.write_text(head + "p1,2023-B,perhaps,2025-02-28,\n" * 22, encoding="utf-8")
    assert main(["validate", "--records", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert re.findall(r"consents\.csv, row (\d+):", said.out) == [str(row) for row in range(1, 21)]
    assert "… and 2 more\n" in said.out
    assert "22 rows set aside; --quarantine DIR writes them to files with their reasons" in said.err
    assert main(["explain", "p1", "--records", str(tmp_path)]) == 3
    assert f"{consents}, row 20; … 22. Such rows" in capsys.readouterr().err


def test_validate_tells_of_objections_to_what_is_not_on_file(tmp_path, capsys):
    consents, objections = tmp_path / "consents.csv", tmp_path / "objections.csv"
    consents.write_text(
        "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\np1,2023-B,true,2025-02-28,\n",
        encoding="utf-8",
    )
    objections.write_text(
        "table,record_id,subject_id,filed_on,resolved_on,outcome\npenalties,n1,p1,2025-03-01,,\n", encoding="utf-8"
    )
    assert main(["validate", "--records", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "p1 objected on 2025-03-01 to 'n1' of penalties, which is not on file" in said.out
    assert "1 objection to records that are not on file" in said.err


def test_validate_names_the_tables_of_which_there_is_no_file(tmp_path, capsys):
    for name in ("consents", "penalties", "commitments"):
        shutil.copy(es.sample_records() / f"{name}.csv", tmp_path)
    assert main(["validate", "--records", str(tmp_path)]) == 0
    assert "there is no file of civic_points, objections: taken to be empty" in capsys.readouterr().err
    assert main(["validate", "--records", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["absent"] == ["civic_points", "objections"]
    assert main(["validate"]) == 0
    assert "there is no file of" not in capsys.readouterr().err


BAD_INPUT = [
    ["explain", "p1", "--records", "nowhere"],
    ["explain", "p1", "--records", SAMPLE, "--model", "nowhere"],
    ["score", "--records", "nowhere", "--model", MODEL, "--as-of", AS_OF, "--out", "x.parquet"],
    ["train", "--records", SAMPLE, "--as-of", "2031-01-01", "--out", "m"],
    ["train", "--records", SAMPLE, "--as-of", "2025-10-01", "--out", "m", "--policy", "nowhere.toml"],
    ["train", "--records", SAMPLE, "--as-of", "2025-10-01", "--out", "m", "--policy", "/dev/null"],
    ["validate", "--records", "nowhere"],
    ["publish", "--model", "nowhere"],
]
WRONG_USAGE = [
    [],
    ["dance"],
    ["explain", "--lang", "fr"],
    ["simulate", "--residents", "1_0", "--out", "town"],
    ["simulate", "--residents", "５", "--out", "town"],
    ["explain", "--as-of", "yesterday"],
    ["explain", "--records", SAMPLE],
    ["score", "--records", SAMPLE],
    [*SCORE, "--out", "scores.csv"],
    ["train", "--records", SAMPLE, "--as-of", "2025-10-01", "--out", "m", "--horizon-days", "0"],
    ["simulate", "--residents", "0", "--out", "town"],
    ["simulate", "--residents", "many", "--out", "town"],
]


@pytest.mark.parametrize(("arguments", "status"), [*((a, 1) for a in BAD_INPUT), *((a, 2) for a in WRONG_USAGE)])
def test_bad_input_and_wrong_usage_get_a_message_and_no_traceback(arguments, status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [*SCORE, "--out", "{odd}"],
        ["keep", "--records", SAMPLE, "--out", "{odd}"],
        ["validate", "--records", "{odd}"],
        ["explain", "--records", "{odd}"],
        ["explain", "\udcff", "--records", "{kept}"],
        ["train", "--records", SAMPLE, "--as-of", "9999-12-31", "--out", "{out}"],
    ],
)
def test_what_is_no_text_and_the_last_day_there_is_are_a_message(tmp_path, capsys, arguments):
    odd = shutil.copytree(SAMPLE, tmp_path / "s\udcffx") if "--out" not in arguments else tmp_path / "s\udcffx"
    if "{kept}" in arguments:
        es.keep_records(SAMPLE, tmp_path / "kept")
        assert main(["erase", "\udcff", "--kept", str(tmp_path / "kept")]) == 0
        assert capsys.readouterr().err.startswith("no rows of ")
        (tmp_path / "kept").rename(tmp_path / "\udcff")
        assert main(["erase", "nobody", "--kept", str(tmp_path / "\udcff")]) == 2
        assert "is not UTF-8 text" in capsys.readouterr().err
        (tmp_path / "\udcff").rename(tmp_path / "kept")
    places = {"{odd}": str(odd), "{kept}": str(tmp_path / "kept"), "{out}": str(tmp_path / "out")}
    assert main([places.get(argument, argument) for argument in arguments]) in {1, 2}
    said = capsys.readouterr().err
    assert said.startswith("egretscore: ")
    assert "unfinished" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["keep", "--records", SAMPLE, "--out"],
        [*SCORE, "--out"],
        ["simulate", "--residents", "1", "--out"],
        ["train", "--records", "nowhere", "--as-of", "2025-10-01", "--out"],
        ["validate", "--records", SAMPLE, "--quarantine"],
    ],
)
@pytest.mark.parametrize("below", ["town", "a/town", "a/town.parquet"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, capsys, arguments, below):
    file = tmp_path / "thesis.txt"
    file.touch()
    assert main([*arguments, str(file / below)]) == 2
    assert f"egretscore: {file}: there is a file where the folder should go." in capsys.readouterr().err


@pytest.mark.parametrize("file", ["kept.json", "part-03/part.json", "policy.toml"])
def test_a_file_of_brackets_is_a_message(tmp_path, capsys, file):
    es.keep_records(SAMPLE, tmp_path / "kept")
    (tmp_path / "kept" / file).write_text("[" * 100_000, encoding="utf-8")
    assert main(["validate", "--records", str(tmp_path / "kept")]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "kept") in said
    assert said.count("\n") == 1


def test_a_mark_of_brackets_is_a_message(tmp_path, capsys):
    records = Path(shutil.copytree(SAMPLE, tmp_path / "records"))
    (records / "invented.json").write_text("[" * 100_000, encoding="utf-8")
    assert main(["validate", "--records", str(records)]) == 1
    assert "this mark of invented records cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--residents", "1", "--out", ""],
        [*SCORE, "--out", ""],
        ["train", "--records", SAMPLE, "--as-of", AS_OF, "--out", ""],
        ["validate", "--records", ""],
        ["explain", "--model", ""],
    ],
)
def test_a_place_without_a_name_is_not_the_current_folder(arguments, tmp_path, monkeypatch, capsys):
    """As of a shell variable that is not set."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "'' names no place" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_set_aside_is_said_before_records_are_read(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["validate", "--records", str(tmp_path / "nowhere"), "--quarantine", str(tmp_path / "file")]) == 2
    assert "there is a file where the folder should go" in capsys.readouterr().err


def test_what_is_set_aside_is_written_before_it_is_printed(tmp_path):
    records = Path(shutil.copytree(SAMPLE, tmp_path / "records"))
    with (records / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense\n")
    command = [sys.executable, "-m", "egretscore", "validate", "--records", str(records)]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        to_full = [*command, "--quarantine", str(tmp_path / "aside")]
        done = subprocess.run(to_full, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (tmp_path / "aside" / "quarantine-penalties.csv").is_file()
    assert done.returncode == 1
    said = "egretscore: standard output: No space left on device. Make room, and give the same command again.\n"
    assert done.stderr.endswith(said)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_for_which_there_is_no_room_is_no_success(tmp_path, unbuffered):
    """Where output is not buffered, as is usual in containers, a part of it may go out without an error."""
    command = shlex.join([sys.executable, "-m", "egretscore", "publish", "--model", MODEL])
    limited = f"ulimit -f 4; exec {command} > {shlex.quote(str(tmp_path / 'out'))}"
    # Byte code would be cut off too, and taken for whole by whoever comes next.
    told = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["/bin/bash", "-c", limited], capture_output=True, text=True, env=told, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("egretscore: standard output: File too large")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_are_the_same_bytes_buffered_or_not(unbuffered):
    command = [sys.executable, "-m", "egretscore", "explain", "--lang", "zh"]
    told = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, env=told, check=True)
    engine, records = es.load_engine(), es.read_records(es.sample_records())
    someone_s = engine.explain(records, records.invented["subject_id"], "2026-10-31").text("zh")
    assert done.stdout.decode() == someone_s


def test_a_policy_to_train_under_may_come_from_a_pipe(tmp_path):
    command = [sys.executable, "-m", "egretscore", "train", "--records", str(SAMPLE), "--as-of", "2025-10-01"]
    through_a_pipe = f"exec {shlex.join(command)} --out {tmp_path}/model --policy <(cat {MODEL}/policy.toml)"
    done = subprocess.run(["/bin/bash", "-c", through_a_pipe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert es.load_engine(tmp_path / "model").policy.text == es.shipped_policy().text


def test_who_is_named_without_records_is_looked_for_in_the_sample_town_and_told_so(capsys):
    subject = someone("scored")
    assert main(["explain", subject]) == 0
    assert "the sample town, whose residents are invented; --records DIR" in capsys.readouterr().err
    assert main(["explain", subject, "--records", SAMPLE, "--as-of", AS_OF]) == 0
    assert capsys.readouterr().err == ""


def test_it_is_shown_that_records_are_being_read_where_that_takes_a_while(tmp_path, monkeypatch):
    shown = []

    @contextmanager
    def working(what: str):
        shown.append(what)
        yield

    monkeypatch.setattr(commands, "working", working)
    es.keep_records(SAMPLE, tmp_path / "kept")
    for records, said in (([], []), (["--records", str(tmp_path / "kept")], []), (["--records", SAMPLE], ["Reading"])):
        shown.clear()
        main(["explain", "r1", *records])
        assert [what.split()[0] for what in shown] == said


def test_it_is_said_that_nobody_of_an_id_is_on_file(tmp_path, capsys):
    """Not of who is on file and has not consented."""
    town = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    penalty = (town / "penalties.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    penalty[:2] = ["n-1", "r-penalty-alone"]
    with (town / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write(",".join(penalty) + "\n")
    es.keep_records(town, tmp_path / "kept")
    for records in (town, tmp_path / "kept"):
        for subject, told in (("nosuch", True), ("r-penalty-alone", False), (someone("not_consented"), False)):
            assert main(["explain", subject, "--records", str(records), "--as-of", AS_OF]) == 3
            assert ("nobody of this id is on file" in capsys.readouterr().err) is told, (records, subject)


def test_what_is_said_beside_an_explanation_is_in_its_language(tmp_path, capsys):
    town = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    with (town / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense\n")
    for lang, said in (
        ("en", ("1 row set aside", "the last record came on file on", "nobody of this id")),
        ("zh", ("搁置了1行", "最近一条记录于", "没有此人的在档记录")),
    ):
        main(["explain", "nosuch", "--records", str(town), "--as-of", "2027-10-31", "--lang", lang])
        for line, expected in zip(capsys.readouterr().err.splitlines(), said, strict=True):
            assert expected in line
    main(["explain", someone("scored"), "--lang", "zh"])
    assert "示例镇" in capsys.readouterr().err


def test_the_texts_of_all_languages_have_the_same_keys_and_places():
    def shape(words: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: shape(text) if isinstance(text, dict) else sorted(set(re.findall(r"{[^}]*}", text)))
            for key, text in words.items()
        }

    assert shape(texts("zh")) == shape(texts("en"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "--lang", "en", "--lang", "zh"],
        [*SCORE, "--out", "scores", "--records", SAMPLE],
        [*SCORE, "--out", "scores", "--as-of", AS_OF],
    ],
)
def test_an_option_that_takes_one_value_is_given_once(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert f"argument {arguments[-2]}: given more than once" in capsys.readouterr().err


def test_after_an_unknown_option_the_usage_of_the_command_is_shown(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", "--langage", "zh"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: egretscore explain ")
    assert "unrecognized arguments: --langage" in said


@pytest.mark.parametrize("number", ["0", "-1"])
@pytest.mark.parametrize(
    "arguments",
    [
        [*SCORE, "--out", "scores", "--threads"],
        ["simulate", "--out", "town", "--residents"],
        ["train", "--records", SAMPLE, "--as-of", AS_OF, "--out", "model", "--horizon-days"],
    ],
)
def test_a_number_that_begins_at_1_says_so(arguments, number, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*arguments, number])
    assert f"{number!r} is not a whole number, 1 or more" in capsys.readouterr().err


def test_too_little_memory_is_shown_as_it_was_typed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([*SCORE, "--out", "scores", "--memory", "1KB"])
    assert "'1KB' is too little; expected at least 256MB" in capsys.readouterr().err


def test_a_size_may_leave_out_the_b():
    assert memory_size("4G") == memory_size("4GB") == memory_size("4 gb") == 4_000_000_000
    assert memory_size("800M") == 800_000_000
    assert memory_size("1.5Gi") == memory_size("1.5GiB") == 3 * 2**29


def test_only_who_takes_kept_records_speaks_of_their_policy(capsys):
    for command, takes_kept in (("train", True), ("validate", True), ("keep", False)):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert ("for kept records, their own" in " ".join(capsys.readouterr().out.split())) is takes_kept


def test_training_tells_what_a_single_date_is_validated_on(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "validated on others on the same date" in " ".join(capsys.readouterr().out.split())


def test_one_is_counted_as_one(tmp_path, capsys):
    row = "p1,2023-B,true,2025-02-28,\n"
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / "consents.csv").write_text(
        f"subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n{row}", encoding="utf-8"
    )
    kept = str(tmp_path / "kept")
    assert main(["keep", "--records", str(tmp_path / "town"), "--out", kept]) == 0
    said = capsys.readouterr().err
    assert "64 of 64 parts, 1 row in " in said
    assert "in place of" not in said
    score = ["score", "--records", kept, "--model", MODEL, "--as-of", AS_OF, "--out", str(tmp_path / "scores")]
    assert main(score) == 0
    said = capsys.readouterr().err
    assert "64 of 64 parts, 1 person in " in said
    assert "1 of 1 person scored" in said
    with (tmp_path / "town" / "consents.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense\n")
    assert main(["keep", "--records", str(tmp_path / "town"), "--out", kept]) == 0
    assert "1 row kept: " in (said := capsys.readouterr().err)
    assert "in place of the records that were kept there" in said
    assert main(["add", "--records", str(tmp_path / "town"), "--kept", kept]) == 1
    assert "1 row was set aside when these records were kept" in capsys.readouterr().err


def test_a_run_says_now_and_then_how_far_it_is_how_fast_and_how_long_it_takes(capsys, monkeypatch):
    """What an earlier run had done is not counted into the speed, and what was read and is still to be written is."""
    now = [0.0]
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with parts_done("Scoring", "person", "people") as progress:
        for now[0], done, read, written in ((9, 20, 24, 900), (11, 20, 24, 2200), (20, 40, 48, 5000)):
            progress(Progress(parts=done, read=read, taken_up=16, written=written))
        assert capsys.readouterr().err == "20 of 64 parts, 2,200 people, 400 a second, 55 s left\n"
        for now[0], done, written in ((32, 63, 9600), (33, 64, 10000)):
            progress(Progress(parts=done, read=64, taken_up=16, written=written))
    said = ["63 of 64 parts, 9,600 people, 306 a second, 0 s left", "64 of 64 parts, 10,000 people in 33.0 s"]
    assert capsys.readouterr().err.splitlines() == said


def said_after_a_while(capsys):
    said = ""
    for _ in range(600):
        time.sleep(0.1)
        said += capsys.readouterr().err
        if said.endswith("\n"):
            return said
    return pytest.fail("no line was said for a minute")


def test_what_takes_long_is_said_to_go_on_into_a_pipe(capsys, monkeypatch):
    """And no more once it has said how far it is."""
    monkeypatch.setattr(terminal, "_SECONDS_BETWEEN_LINES", 0.05)
    with working("Training"):
        assert re.fullmatch(r"(Training … \d s\n)+", said_after_a_while(capsys))
    capsys.readouterr()  # there may have been time for another line
    with parts_done("Keeping", "row") as progress:
        assert re.fullmatch(r"(Keeping … \d s\n)+", said_after_a_while(capsys))
        progress(Progress(parts=1, read=64, taken_up=0, written=2000))
        time.sleep(0.1)
        assert "1 of 64 parts" in capsys.readouterr().err
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    with amount_done("Inventing residents", 50_000) as advance_to:
        for done in (10_000, 50_000):
            time.sleep(0.1)
            advance_to(done)
    said_of_each = ["Inventing residents: 10,000 of 50,000", "Inventing residents: 50,000 of 50,000"]
    assert capsys.readouterr().err.splitlines() == said_of_each


def test_on_a_terminal_a_run_is_a_bar_that_says_as_much(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "_on_a_terminal", lambda: True)
    with parts_done("Scoring", "person", "people") as progress:
        progress(Progress(parts=64, read=64, taken_up=0, written=2000))
    said = capsys.readouterr()
    assert re.search(r"Scoring ━+ 2,000 people in ", said.err)
    assert said.out == ""


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["simulate", "--residents", "10", "--out", str(tmp_path)]) == 2
    assert "something else" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_why_rows_were_set_aside_is_told_under_the_same_policy(tmp_path, capsys):
    policy = tmp_path / "my policy.toml"
    text = es.shipped_policy().text.replace('id = "waste_sorting"', 'id = "recycling"')
    policy.write_text(text, encoding="utf-8")
    given = ["keep", "--records", str(es.sample_records()), "--policy", str(policy), "--out", str(tmp_path / "kept")]
    assert main(given) == 0
    hint = re.search(r"`egretscore (validate .*)` says why", capsys.readouterr().err)
    assert main(shlex.split(hint[1])) == 1
    assert "waste_sorting" in capsys.readouterr().out
    assert main(["train", *given[1:5], "--as-of", "2031-01-01", "--out", str(tmp_path / "model")]) == 1
    assert f"`egretscore {hint[1]}`" in capsys.readouterr().err


def test_why_rows_were_set_aside_is_told_under_the_policy_of_the_model(tmp_path, capsys):
    town = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    with (town / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense\n")
    given = ["--records", str(town), "--model", MODEL, "--as-of", AS_OF]
    for command in (["explain", "nobody"], ["score", "--out", str(tmp_path / "scores")]):
        assert main([*command, *given]) in {0, 3}
        hint = shlex.join(["--records", str(town), "--policy", str(Path(MODEL) / "policy.toml")])
        assert f"1 row set aside; `egretscore validate {hint}` says why" in capsys.readouterr().err


def test_it_is_said_that_a_model_takes_the_place_of_another(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("egretscore.training.train.train", lambda *_, **__: es.load_engine().model)
    out = str(tmp_path / "model")
    for more in ("", ", in place of the model that was there"):
        assert main(["train", "--records", SAMPLE, "--as-of", "2025-10-01", "--out", out]) == 0
        assert capsys.readouterr().err == f"Written to {out}{more}\n"


def test_no_model_is_trained_that_could_not_be_saved(tmp_path, capsys, monkeypatch):
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.setattr("egretscore.training.train.train", lambda *_, **__: pytest.fail("it was trained"))
    given = ["train", "--records", str(es.sample_records()), "--as-of", "2025-10-01", "--out"]
    assert main([*given, str(tmp_path)]) == 2
    assert "something else" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "thesis.txt")]) == 2
    assert "a file where the folder should go" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.mkdtemp", Mock(side_effect=OSError(errno.EROFS, "Read-only file system", "/.hidden")))
        assert main([*given, str(tmp_path / "new" / "model")]) == 1
    assert f"{tmp_path / 'new' / 'model'}: Read-only file system" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_memory_that_does_not_suffice_is_a_message(monkeypatch, capsys, tmp_path):
    def lacks_memory(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9.31 GiB for an array")

    monkeypatch.setattr("egretscore.training.train.train", lacks_memory)
    assert main(["train", "--records", SAMPLE, "--as-of", "2025-10-01", "--out", str(tmp_path / "model")]) == 1
    said = capsys.readouterr().err
    assert "there is not enough memory" in said
    assert "fewer people" in said
    assert list(tmp_path.iterdir()) == []


def test_no_place_to_write_is_a_message(tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "scores.parquet"
    done = run(*SCORE, "--out", str(out))
    assert done.returncode == 2
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_hears_what_is_said_and_the_work_is_done_all_the_same(tmp_path):
    """Also of a result that nobody reads: what came of the command is its status."""
    damaged = shutil.copytree(SAMPLE, tmp_path / "damaged")
    with (damaged / "penalties.csv").open("a", encoding="utf-8") as file:
        file.write("nonsense\n")
    for number, (silence, arguments, status) in enumerate(
        (
            ("2>&1 | true", ["keep", "--records", SAMPLE, "--out", "{out}"], 0),
            ("2>&1 | true", [*SCORE, "--out", "{out}"], 0),
            ("2>&-", [*SCORE, "--out", "{out}"], 0),
            ("2>/dev/full", [*SCORE, "--out", "{out}"], 0),
            ("2>&1 | true", ["validate", "--records", str(damaged)], 1),
            (">&- 2>&-", ["validate", "--records", str(damaged)], 1),
            ("2>&1 | true", ["explain", "nosuch", "--records", SAMPLE], 3),
        )
    ):
        out = tmp_path / str(number)
        command = shlex.join([sys.executable, "-m", "egretscore", *arguments]).replace("{out}", str(out))
        done = subprocess.run(["/bin/bash", "-c", f"{command} {silence}; exit ${{PIPESTATUS[0]}}"], check=False)
        assert done.returncode == status, (silence, arguments)
        assert out.exists() == ("{out}" in arguments)


def test_an_interrupt_while_the_options_are_read_is_said_too(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "parser", interrupted)
    assert main(["explain"]) == 130
    assert capsys.readouterr().err.startswith("egretscore: interrupted")


def test_what_goes_wrong_and_is_nobodys_input_is_not_called_bad_input(monkeypatch):
    def mistaken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "parser", mistaken)
    with pytest.raises(ZeroDivisionError):
        main(["explain"])


def test_a_command_may_run_in_any_thread():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["explain"]).result() == 0


def test_an_interrupt_that_was_to_be_ignored_is_ignored(tmp_path):
    command = shlex.join([sys.executable, "-m", "egretscore", *SCORE, "--out", str(tmp_path / "scores")])
    # Again and again, for it must meet the command at work.
    started = f"trap '' INT; {command} & while kill -INT $! 2>/dev/null; do sleep 0.05; done; wait $!"
    done = subprocess.run(["/bin/bash", "-c", started], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores").is_dir()


def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "egretscore", "publish", "--model", MODEL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # long before Python has started
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_what_came_of_a_command_can_be_told_to_machines(tmp_path, capsys):
    """The same as the functions return, as the only thing on stdout, with every problem."""
    records, kept, scores = shutil.copytree(SAMPLE, tmp_path / "records"), tmp_path / "kept", tmp_path / "scores"
    with (records / "civic_points.csv").open("a", encoding="utf-8") as stream:
        stream.writelines(f"x{row},r0,no_such_act,{row},2025-01-01,2025-01-01\n" for row in range(30))

    def told(*arguments: object, status: int = 0) -> dict[str, Any]:
        assert main([*map(str, arguments), "--format", "json"]) == status
        return json.loads(capsys.readouterr().out)

    found = told("validate", "--records", records, status=1)
    counts, problems = found["counts"], found["problems"]
    assert [of["table"] for of in counts] == list(TABLES)
    assert sum(of["rows"] for of in counts) == sum(of["good"] + of["set_aside"] + of["repeated"] for of in counts)
    assert found["set_aside"] == len({problem["row"] for problem in problems}) == 30
    assert {problem["file"] for problem in problems} == {str(records / "civic_points.csv")}

    good = sum(of["good"] for of in counts)
    assert told("keep", "--records", records, "--out", kept) == {
        "out": str(kept), "replaced": False, "rows": good, "set_aside": 30, "unclear": 0
    }  # fmt: skip
    scored = told("score", "--records", kept, "--model", MODEL, "--as-of", AS_OF, "--out", scores)
    table = parquet.read_table(scores)
    assert scored["people"] == len(table)
    assert scored["scored"] == len(table) - table["score"].null_count
    assert scored["last_day"] <= AS_OF

    news = tmp_path / "news"
    news.mkdir()
    shutil.copy(records / INVENTED_MARK, news)
    header, first, *_ = (records / "penalties.csv").read_text(encoding="utf-8").splitlines()
    of_first = dict(zip(header.split(","), first.split(","), strict=True))
    other = ",".join(str({**of_first, "fine_yuan": "77777"}[name]) for name in header.split(","))
    (news / "penalties.csv").write_text(f"{header}\n{first}\n{other.replace(of_first['decision_no'], 'new')}\n")
    tried = told("add", "--records", news, "--kept", kept, "--dry-run")
    assert (tried["dry_run"], tried["new"], tried["known"], tried["set_aside"]) == (True, 1, 1, 0)
    assert main(["add", "--records", str(news), "--kept", str(kept), "--dry-run"]) == 0
    assert "1 row new, 0 completed, 1 repeated or known before; nothing was added" in capsys.readouterr().err
    added = told("add", "--records", news, "--kept", kept)
    assert added == {**tried, "dry_run": False}
    (news / "penalties.csv").write_text(f"{header}\n{other}\n")
    contradicting = told("add", "--records", news, "--kept", kept)
    assert contradicting["set_aside"] == 1
    cell = contradicting["contradictions"][0]["differences"][0]
    assert (cell["column"], cell["given"]) == ("fine_yuan", "77777.00")

    subject_id = of_first["subject_id"]
    erased = told("erase", subject_id, "--kept", kept)
    assert (erased["subject_id"], told("erase", subject_id, "--kept", kept)["rows"]) == (subject_id, 0)
    assert erased["rows"] > 1


@pytest.mark.parametrize(("day", "told"), [("2026-10-31", False), ("2026-11-03", False), ("2026-11-04", True)])
def test_it_is_said_where_outcomes_may_not_be_on_file_yet(tmp_path, capsys, day, told):
    """Three days of grace after the last record of the sample town no commitment due since can be called broken."""
    score = [*SCORE[:-1], day, "--out", str(tmp_path / "scores")]
    for command in (score, ["explain", "--records", SAMPLE, "--as-of", day, "r1"]):
        assert main(command) in {0, 3}
        assert ("the last record came on file on 2026-10-31" in capsys.readouterr().err) is told


def test_a_terminal_without_chinese_gets_replacements_and_no_error():
    done = run("explain", "--lang", "zh", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_machines_get_every_letter_whatever_the_encoding(tmp_path, encoding):
    records = tmp_path / "记录"
    shutil.copytree(SAMPLE, records)
    penalties = records / "penalties.csv"
    penalties.write_text(penalties.read_text("utf-8").replace(",fine,", ",fines,", 1), encoding="utf-8")
    done = run("validate", "--records", str(records), "--format", "json", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["file"] == str(penalties)
    assert "示罚决字" in problem["original"]


def test_the_locale_chooses_the_language():
    assert "虚构" in run("explain", LC_ALL="zh_CN.UTF-8").stdout
    assert "虚构" in run("explain", LC_ALL="", LC_MESSAGES="zh_CN.UTF-8").stdout
    assert "invented" in run("explain").stdout


COMMANDS = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert f"egretscore {command}" in text.split("example")[1]


HEAVY = ("shap", "lightgbm", "sklearn", "matplotlib", "pandas", "numba", "rich")


@pytest.mark.parametrize(
    "what",
    [
        "import egretscore",
        "import egretscore; egretscore.load_engine()",
        f"import egretscore as es; es.load_engine().explain(es.read_records({SAMPLE!r}), 'p', '{AS_OF}').text('zh')",
        "from egretscore.cli import main; main(['explain'])",
        "from egretscore.cli import main; main(['explain', '--format', 'json'])",
        f"from egretscore.cli import main; main({[*SCORE, '--out', '{out}', '--reasons', '--benefits', '--vectors']})",
        f"from egretscore.cli import main; main({[*SCORE, '--out', '{out}.parquet']})",
    ],
)
def test_scoring_and_explaining_load_nothing_heavy(what, tmp_path):
    what = what.replace("{out}", str(tmp_path / "out"))
    loaded = f"import sys; print('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{what}; {loaded}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_command_line_notes_interrupts_before_it_loads_anything_that_takes_long():
    loaded = (
        "import sys; import egretscore.cli; print([m for m in sys.modules if m.split('.')[0] in {'numpy', 'duckdb'}])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_interrupt_waits_until_what_is_being_imported_is_whole(tmp_path, monkeypatch):
    """An exception in the midst of an extension module's setting up has ended processes."""
    (tmp_path / "interrupted_halfway.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interrupts_noted() as noted:
            assert importlib.import_module("interrupted_halfway").whole
            assert noted
            with pytest.raises(KeyboardInterrupt):
                time.sleep(60)
        del sys.modules["interrupted_halfway"]
        with interrupts_noted() as noted:
            importlib.import_module("interrupted_halfway")
            assert noted
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        time.sleep(0.2)  # what waited is forgotten with the command
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_runs_while_its_caller_is_imported_can_be_interrupted(tmp_path, monkeypatch):
    (tmp_path / "runs_a_command.py").write_text(
        "import signal\nfrom egretscore.cli.terminal import interrupts_noted\n"
        "with interrupts_noted():\n    signal.raise_signal(signal.SIGINT)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            importlib.import_module("runs_a_command")
    finally:
        signal.signal(signal.SIGINT, before)


def test_explain_tells_of_rows_set_aside_that_name_the_person(tmp_path, capsys):
    records = tmp_path / "records"
    records.mkdir()
    consents = records / "consents.csv"
    head = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
    consents.write_text(f"{head}p1,2023-B,yes,2025-02-28,\np2,2023-B,true,2025-02-28,\n", encoding="utf-8")
    told = f"set aside, and naming this person: {consents}, row 1."
    explain = ["explain", "p1", "--model", MODEL, "--as-of", AS_OF]
    assert main([*explain, "--records", str(records)]) == 3
    assert told in capsys.readouterr().err
    assert main([*explain, "--records", str(records), "--lang", "zh"]) == 3
    assert f"提到此人但被搁置的行：{consents}, row 1。" in capsys.readouterr().err
    assert main(["explain", "p2", *explain[2:], "--records", str(records)]) == 0
    assert told not in capsys.readouterr().err
    es.keep_records(records, tmp_path / "kept")
    assert main([*explain, "--records", str(tmp_path / "kept")]) == 3
    assert "(1 in all) it is not known here whose they are" in capsys.readouterr().err
    assert main(["explain", "p2", *explain[2:], "--records", str(tmp_path / "kept")]) == 0
    assert "(1 in all) it is not known here whose they are" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--records", "{records}", "--as-of", "2025-10-01", "--out", "{records}/model"],
        ["validate", "--records", "{records}", "--quarantine", "{records}/set-aside"],
        ["add", "--records", "{records}", "--kept", "{kept}", "--quarantine", "{records}/set-aside"],
    ],
)
def test_nothing_is_written_among_the_records(tmp_path, capsys, arguments):
    records, kept = Path(shutil.copytree(SAMPLE, tmp_path / "records")), tmp_path / "kept"
    before = sorted(records.iterdir())
    assert main([argument.format(records=records, kept=kept) for argument in arguments]) == 2
    assert "would lie among the records" in capsys.readouterr().err
    assert sorted(records.iterdir()) == before


def test_scores_are_not_written_among_the_files_of_the_model(tmp_path, capsys):
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    out = ["--model", str(model), "--out", str(model / "scores")]
    assert main(["score", "--records", SAMPLE, "--as-of", AS_OF, *out]) == 2
    assert "among the files of a model" in capsys.readouterr().err
    assert not (model / "scores").exists()


def test_a_part_of_kept_records_that_is_gone_is_told_with_what_to_do(tmp_path, capsys):
    es.keep_records(SAMPLE, tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept" / "part-05")
    for command in (["validate"], [*SCORE[:1], "--model", MODEL, "--as-of", AS_OF, "--out", str(tmp_path / "out")]):
        assert main([*command, "--records", str(tmp_path / "kept")]) == 1
        assert "Keep the records again, from the original ones." in capsys.readouterr().err


def on_file(town: Path, after: str, until: str) -> str:
    """Return a folder of the records of a town that came on file after one day and by another."""
    folder = town.with_name(until)
    folder.mkdir()
    shutil.copy(town / INVENTED_MARK, folder)
    for name, table in TABLES.items():
        rows = duckdb.read_parquet(str(town / f"{name}.parquet"))
        came = rows.filter(f"{table.on_file} > DATE '{after}' AND {table.on_file} <= DATE '{until}'")
        came.write_parquet(str(folder / f"{name}.parquet"))
    return str(folder)


def contradicting(records: Path, folder: Path) -> Path:
    """Return a folder of one row of civic points that says something else than that of some records."""
    folder.mkdir()
    shutil.copy(records / INVENTED_MARK, folder)
    row = duckdb.read_parquet(str(records / "civic_points.parquet")).limit(1)
    row.project("* REPLACE (points + 1 AS points)").write_parquet(str(folder / "civic_points.parquet"))
    return folder


def test_keeping_and_going_on_from_day_to_day_load_nothing_heavy(tmp_path):
    town = es.simulate_town(400, tmp_path / "town", seed=3, file_format="parquet")
    days = ["2025-12-29", "2025-12-30", "2025-12-31"]
    before, *new = (on_file(town, *between) for between in pairwise(["0001-01-01", *days]))
    kept, scores = str(tmp_path / "kept"), str(tmp_path / "scores")
    score = ["score", "--model", MODEL, "--out", scores, "--reasons", "--as-of"]
    commands = [
        [*score, days[0], "--records", before],
        ["keep", "--records", before, "--out", kept],
        [*score, days[0], "--records", kept],
        *(["add", "--records", folder, "--kept", kept] for folder in new),
        [*score, days[2], "--records", kept, "--since", days[0], "--previous", scores],
        ["add", "--records", str(contradicting(Path(before), tmp_path / "contradicting")), "--kept", kept],
        ["erase", "somebody", "--kept", kept],
    ]
    program = f"""
import sys
from egretscore.cli import main
from egretscore.records.intake import in_place

in_place.FEWEST_TYPED_ROWS = 0
for command in {commands}:
    if main(command):
        sys.exit(command[0] + " failed")
    loaded = [name for name in {HEAVY} if name in sys.modules]
    if loaded:
        sys.exit(command[0] + " loaded " + ", ".join(loaded))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_works_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("explain").returncode == 0
    assert list(Path(tmp_path).iterdir()) == []


def test_no_output_comes_to_lie_among_the_records(tmp_path, capsys):
    folder = tmp_path / "records"
    shutil.copytree(es.sample_records(), folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    model = str(shipped_model())
    arguments = ["score", "--records", str(folder), "--model", model, "--as-of", "2026-10-31", "--out"]
    assert main([*arguments, str(folder / "commitments.parquet")]) == 2
    assert "among the records" in capsys.readouterr().err
    lines = (folder / "civic_points.csv").read_text(encoding="utf-8").splitlines()
    (folder / "civic_points.csv").write_text("\n".join([*lines, lines[-1].replace(",", ",,", 1)]) + "\n", "utf-8")
    before["civic_points.csv"] = (folder / "civic_points.csv").read_bytes()
    assert main(["validate", "--records", str(folder), "--quarantine", str(folder)]) == 2
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_earlier_quarantine_does_not_outlive_its_rows(tmp_path):
    folder, set_aside = tmp_path / "records", tmp_path / "set-aside"
    shutil.copytree(es.sample_records(), folder)
    good = (folder / "objections.csv").read_text(encoding="utf-8")
    (folder / "objections.csv").write_text(good + "x\n", encoding="utf-8")
    assert main(["validate", "--records", str(folder), "--quarantine", str(set_aside)]) == 1
    assert [file.name for file in set_aside.iterdir()] == ["quarantine-objections.csv"]
    (set_aside / CONTRADICTIONS).write_text("of an earlier addition", encoding="utf-8")
    (folder / "objections.csv").write_text(good, encoding="utf-8")
    assert main(["validate", "--records", str(folder), "--quarantine", str(set_aside)]) == 0
    assert list(set_aside.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", ""],
        ["explain", "r\x1b[31m"],
        ["explain", "--as-of", "20261031"],
        ["simulate", "--residents", "5", "--out", "town", "--seed", "-1"],
        ["train", "--records", "r", "--as-of", "2025-01-01", "--out", "m", "--seed", "-1"],
        ["train", "--records", "SAMPLE", "--as-of", "2025-01-01", "--out", "m", "--horizon-days", "99999999999"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [str(es.sample_records()) if word == "SAMPLE" else word for word in arguments]
    try:
        status: object = main(words)
    except SystemExit as stopped:  # argparse's way
        status = stopped.code
    assert status == 2
    assert capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("subject_id", "as_of"),
    [(5, "2026-10-31"), (["a"], "2026-10-31"), (b"a", "2026-10-31"), ("a", None), ("a", 20261031)],
)
def test_what_cannot_be_asked_is_an_argument_error(engine, sample, subject_id, as_of):
    with pytest.raises(es.ArgumentError):
        engine.explain(sample, subject_id, as_of)
    with pytest.raises(es.ArgumentError):
        engine.score("records", "2026-10-31")


IN_XIAMEN = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    "as_of",
    [
        np.datetime64("2026-10-31"),
        np.datetime64("2026-10-31", "ns"),
        pd.Timestamp("2026-10-31"),
        pd.Timestamp("2026-10-31", tz="UTC"),
        datetime(2026, 10, 31, tzinfo=UTC),
    ],
)
def test_dates_of_pandas_and_numpy_are_dates(engine, sample, as_of):
    subject = engine.vectors(sample, "2026-10-31").index[0]
    assert engine.explain(sample, subject, as_of) == engine.explain(sample, subject, "2026-10-31")


@pytest.mark.parametrize(
    "as_of",
    [
        *(np.datetime64("NaT"), np.datetime64("2026-10"), np.datetime64("2026"), np.datetime64("2026-10-31T12")),
        *(pd.NaT, pd.Timestamp("2026-10-31 12:00"), pd.Timestamp("2026-10-31", tz="Asia/Shanghai")),
        *(datetime(2026, 10, 30, 16, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=IN_XIAMEN)),
    ],
)
def test_what_may_be_of_another_day_where_people_live_is_no_date(engine, sample, as_of):
    """As in records; a month is none either."""
    with pytest.raises(es.ArgumentError, match="as_of is not a date"):
        engine.explain(sample, "anyone", as_of)
