"""Day by day: those alone are scored again who changed, and the bytes are those of scoring everyone."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from stopping import run
from whole_records import (
    AS_OF,
    Person,
    as_known,
    engines,
    plain_consent,
    shipped_engine,
    standing_penalty,
    towns,
    write,
)

import egretscore as es
from egretscore.cli import main
from egretscore.everyone import day_by_day, files, on_one_machine
from egretscore.everyone.part_scores import part_file
from egretscore.records.kept import folder as kept
from egretscore.records.kept.erasing import erase
from egretscore.records.parts import PARTS, part_of
from egretscore.records.schema import TABLES
from egretscore.shipped import shipped_model

EVERY_COLUMN = {"vectors": True, "reasons": True, "benefits": True}
SINCE, DAY = "2025-12-28", "2026-01-01"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@given(towns(consented=False), engines(), st.integers(0, 400), st.data())
@settings(max_examples=10)
def test_the_bytes_are_those_of_scoring_everyone(town, engine, days, data):
    """With rows that come late, rows that fill cells, birthdays of records, and someone erased in between."""
    since = AS_OF - timedelta(days=days)
    before = [
        Person(p.subject_id, **{t: tuple(row for row in getattr(p, t) if data.draw(st.integers(0, 5))) for t in TABLES})
        for p in as_known(town, since)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        es.keep_records(write(before, folder / "before"), folder / "kept", threads=1)
        es.score_everyone(engine, folder / "kept", since, folder / "scores", threads=1, **EVERY_COLUMN)
        if data.draw(st.booleans()):
            es.add_records(write(as_known(town, AS_OF), folder / "new"), folder / "kept", threads=1)
        for person in town:
            if data.draw(st.integers(0, 4)) == 0:
                erase(folder / "kept", person.subject_id)
        gone_on = {"since": data.draw(st.sampled_from([since, None])), "previous": folder / "scores"}
        es.score_everyone(engine, folder / "kept", AS_OF, folder / "day", threads=1, **gone_on, **EVERY_COLUMN)
        es.score_everyone(engine, folder / "kept", AS_OF, folder / "all", threads=1, **EVERY_COLUMN)
        assert contents(folder / "day") == contents(folder / "all")


# ------------------------------------------------------------------------------- a town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept records, their scores on one day, and everyone's on a later one, when a few rows had come in."""
    folder = tmp_path_factory.mktemp("town")
    records = es.simulate_town(600, folder / "records", seed=5)
    new = folder / "new"
    new.mkdir()
    shutil.copy(records / "invented.json", new)
    for table in ("civic_points", "commitments"):
        head, *lines = (records / f"{table}.csv").read_text(encoding="utf-8").splitlines()
        for out, rows in ((records, lines[9:]), (new, lines[:9])):
            (out / f"{table}.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    es.keep_records(records, folder / "kept")
    es.score_everyone(shipped_engine(), folder / "kept", SINCE, folder / "scores", **EVERY_COLUMN)
    es.add_records(new, folder / "kept")
    es.score_everyone(shipped_engine(), folder / "kept", DAY, folder / "all", **EVERY_COLUMN)
    return folder


@pytest.fixture
def here(town: Path, tmp_path: Path) -> Path:
    for name in ("kept", "scores"):
        shutil.copytree(town / name, tmp_path / name)
    return tmp_path


def go_on(folder: Path, out: str = "day", **options: Any) -> on_one_machine.Outcome:
    options = {"since": SINCE, "previous": folder / "scores", **EVERY_COLUMN, **options}
    return es.score_everyone(shipped_engine(), folder / "kept", DAY, folder / out, **options)


def arguments(folder: Path) -> list[str]:
    return [
        *("score", "--records", str(folder / "kept"), "--model", str(shipped_model()), "--as-of", DAY),
        *("--out", str(folder / "day"), "--vectors", "--reasons", "--benefits"),
        *("--since", SINCE, "--previous", str(folder / "scores")),
    ]


def test_those_alone_are_read_who_changed(town, here, monkeypatch, capsys):
    read: list[int] = []
    table = on_one_machine.PartScorer.table

    def counted(self: Any, people: Any) -> Any:
        read.append(len(people))
        return table(self, people)

    monkeypatch.setattr(on_one_machine.PartScorer, "table", counted)
    outcome = go_on(here)
    about = json.loads((town / "all" / files.ABOUT).read_text(encoding="utf-8"))
    assert 0 < sum(read) < about["people"] / 2
    assert outcome.read_again == sum(read)
    assert contents(here / "day") == contents(town / "all")
    assert main(arguments(here)) == 0
    assert f"egretscore: the records of {outcome.read_again:,} people were read again" in capsys.readouterr().err


def test_the_earlier_scores_may_be_replaced_in_place(town, here):
    go_on(here, out="scores")
    assert contents(here / "scores") == contents(town / "all")
    assert {entry.name for entry in here.iterdir()} == {"kept", "scores"}


def test_a_day_on_which_nothing_was_added_is_a_day_of_its_own(town, here):
    """In place: the records are those that the scores say they were made of, and the scores are of another date."""
    shutil.copytree(town / "all", here / "day")
    for out in ("day", "fresh"):
        gone_on = {"previous": here / "day"} if out == "day" else {}
        es.score_everyone(shipped_engine(), here / "kept", "2026-01-02", here / out, **gone_on, **EVERY_COLUMN)
    assert contents(here / "day") == contents(here / "fresh") != contents(town / "all")


def test_what_is_added_on_a_day_that_was_scored_is_scored_on_that_day(town, here):
    newcomer = Person("newcomer", consents=(plain_consent("newcomer"),))
    shutil.copy(town / "records" / "invented.json", write([newcomer], here / "more"))
    es.add_records(here / "more", here / "kept")
    again = go_on(here, since=DAY, previous=town / "all")
    assert again.read_again == 1
    es.score_everyone(shipped_engine(), here / "kept", DAY, here / "fresh", **EVERY_COLUMN)
    assert contents(here / "day") == contents(here / "fresh")


@pytest.mark.parametrize("cell", [{"fine_yuan": "7"}, {"repaired_on": "2026-13-01"}])
def test_whose_record_an_addition_puts_in_doubt_is_scored_again(tmp_path, cell):
    """By a row that contradicts the kept one, or one that cannot be read: nothing else of theirs came in."""
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    person = Person("p0", (plain_consent("p0"),), penalties=(penalty,))
    es.keep_records(write([person], tmp_path / "records"), tmp_path / "kept")
    score = partial(es.score_everyone, shipped_engine(), tmp_path / "kept", AS_OF)
    score(tmp_path / "scores")
    (tmp_path / "new").mkdir()
    row = ",".join("" if value is None else str(value) for value in {**penalty, **cell}.values())
    (tmp_path / "new" / "penalties.csv").write_text(f"{','.join(penalty)}\n{row}\n", encoding="utf-8")
    assert es.add_records(tmp_path / "new", tmp_path / "kept").set_aside == 1
    score(tmp_path / "day", previous=tmp_path / "scores")
    score(tmp_path / "all")
    assert contents(tmp_path / "day") == contents(tmp_path / "all")
    before, after = (parquet.read_table(tmp_path / of / part_file(part_of("p0")))["score"] for of in ("scores", "day"))
    assert before[0].as_py() < after[0].as_py()


def test_scores_that_stand_already_are_those_of_the_records_as_they_are_now(town, here, capsys):
    """Replaced in place and asked for again, they stand; not once more was added, of whatever day."""
    in_place = [*arguments(here)]
    in_place[in_place.index("--out") + 1] = str(here / "scores")
    assert main(in_place) == main(in_place) == 0
    before = contents(here / "scores")
    newcomer = Person("newcomer", consents=(plain_consent("newcomer"),))
    shutil.copy(town / "records" / "invented.json", write([newcomer], here / "more"))
    assert es.add_records(here / "more", here / "kept").new == 1
    capsys.readouterr()
    assert main(in_place) == 2
    assert f"since says {SINCE}, and the previous scores are of {DAY}." in capsys.readouterr().err
    assert contents(here / "scores") == before


def test_a_part_whose_past_is_not_known_is_scored_anew(town, here, monkeypatch):
    erased = next(
        subject
        for subject in es.read_records(here / "kept").connect().execute("SELECT subject_id FROM consents").fetchall()
    )[0]
    erase(here / "kept", erased)
    anew: list[int] = []
    knows = day_by_day.Previous.knows

    def noted(self: Any, records: Path, part: int) -> bool:
        if not knows(self, records, part):
            anew.append(part)
        return part not in anew

    monkeypatch.setattr(day_by_day.Previous, "knows", noted)
    outcome = go_on(here)
    assert anew == [part_of(erased)]
    assert outcome.read_again >= len(parquet.read_table(here / "day" / part_file(part_of(erased))))
    es.score_everyone(shipped_engine(), here / "kept", DAY, here / "all", **EVERY_COLUMN)
    assert contents(here / "day") == contents(here / "all")
    assert contents(here / "day") != contents(town / "all")


def test_killed_at_any_moment_a_run_goes_on_where_it_was(town, here):
    for death in (
        "die_at(on_one_machine, 'write_scores', 3, False)",
        "die_at(on_one_machine, 'write_scores', 20, True)",
        "die_at(files, 'take_the_place', 1, False)",
    ):
        assert run(arguments(here), death).returncode == -signal.SIGKILL
        assert not (here / "day").exists()
    finished = run(arguments(here))
    assert "people scored as of 2026-01-01" in finished.stderr
    assert contents(here / "day") == contents(town / "all")
    undisturbed = go_on(here, out="undisturbed")
    assert undisturbed.read_again is not None
    assert f"the records of {undisturbed.read_again:,} people were read again" in finished.stderr


@pytest.mark.parametrize(
    "death",
    [
        "die_at(files, 'take_the_place', 1, False)",
        "die_at(writing.Path, 'rename', 1, True)",
        "die_at(writing.Path, 'rename', 2, True)",
    ],
)
def test_killed_as_it_replaces_the_previous_scores_it_still_goes_on(town, here, death):
    """Also where the earlier scores lie aside, and where the later ones stand in their place already."""
    again = [str(here / "scores") if argument == str(here / "day") else argument for argument in arguments(here)]
    assert run(again, death).returncode == -signal.SIGKILL
    finished = run(again)
    assert finished.returncode == 0, finished.stderr
    assert contents(here / "scores") == contents(town / "all")
    assert {entry.name for entry in here.iterdir()} == {"kept", "scores"}
    assert run(again).returncode == 0  # there is nothing left to do
    for wrong in (["--since", "2026-01-02"], ["--previous", str(here / "nowhere")]):
        assert run([*again, *wrong]).returncode == 2
    part = here / "scores" / part_file(11)
    part.write_bytes(part.read_bytes()[:-1])
    assert run(again).returncode == 2  # these are none to go on from


def test_one_file_can_be_written_from_parts(here):
    go_on(here, out="day.parquet")
    es.score_everyone(shipped_engine(), here / "kept", DAY, here / "all.parquet", **EVERY_COLUMN)
    assert (here / "day.parquet").read_bytes() == (here / "all.parquet").read_bytes()


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--since": "2025-12-27"}, f"since says 2025-12-27, and the previous scores are of {SINCE}."),
        ({"--as-of": "2025-12-27"}, "an earlier date than the previous ones"),
        ({"--previous": "kept"}, "scoring cannot continue from this folder"),
        ({"--previous": "nowhere"}, "there is no such folder"),
        ({"--records": "records"}, "only kept records tell"),
        ({"--reasons": None}, "have other columns"),
        ({"--previous": None}, "since needs previous"),
        ({"--engine": "spark"}, "Spark scores everyone"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_in_a_line(town, here, change, says, capsys):
    shutil.copytree(town / "records", here / "records")
    given = arguments(here)
    for option, to in change.items():
        if option == "--reasons":
            given.remove(option)
        elif option not in given:
            given += [option, to]
        elif to is None:
            del given[given.index(option) : given.index(option) + 2]
        else:
            given[given.index(option) + 1] = to if option in {"--since", "--as-of"} else str(here / to)
    assert main(given) in {1, 2}
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (here / "day").exists()


def test_scores_of_raw_records_another_model_or_another_query_are_refused(town, here):
    es.score_everyone(shipped_engine(), town / "records", SINCE, here / "raw", **EVERY_COLUMN)
    with pytest.raises(es.ArgumentError, match="scoring cannot continue from this folder"):
        go_on(here, previous=here / "raw")
    about = here / "scores" / files.ABOUT
    said = json.loads(about.read_text(encoding="utf-8"))
    for change, says in (
        ({"model_sha256": "0" * 64}, "of another model"),
        ({"kept": {**said["kept"], "query_sha256": "0" * 64}}, "another version of this library"),
        ({"kept": {**said["kept"], "version": "0.0.1"}}, "another version of this library"),
        ({"sha256": {}}, "scoring cannot continue from this folder"),
        ({"sha256": sorted(said["sha256"])}, "scoring cannot continue from this folder"),
        ({"kept": {**said["kept"], "states": []}}, "scoring cannot continue from this folder"),
    ):
        about.write_text(json.dumps({**said, **change}), encoding="utf-8")
        with pytest.raises(es.ArgumentError, match=says):
            go_on(here)
    about.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(es.ArgumentError, match="scoring cannot continue from this folder"):
        go_on(here)


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"PAR1"), Path.unlink])
@pytest.mark.parametrize("part", [0, 9])
def test_previous_scores_that_are_not_as_they_were_written_are_refused(here, damage, part):
    damage(here / "scores" / part_file(part))
    with pytest.raises(es.RecordsError, match="previous scores") as raised:
        go_on(here)
    assert raised.value.file == str(here / "scores" / part_file(part))
    assert not (here / "day").exists()


def test_damage_to_what_a_part_remembers_is_found(here):
    file = next((here / "kept").rglob("touched-*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(es.RecordsError, match="not as it was kept"):
        go_on(here)


@pytest.mark.parametrize("place", ["scores/day", "scores/part-00.parquet"])
def test_nothing_is_written_into_the_previous_scores(here, place):
    before = contents(here / "scores")
    with pytest.raises(es.ArgumentError, match="among scores"):
        go_on(here, out=place)
    assert contents(here / "scores") == before


@pytest.mark.parametrize("asked", ["knows", "narrow"])
@pytest.mark.parametrize("change", ["erase", "add"])
def test_who_changes_the_records_meanwhile_is_noticed(here, monkeypatch, asked, change):
    """Whatever happens between two steps of a run, it ends as it should or says that the records changed."""
    step = getattr(day_by_day.Previous, asked)
    changed: list[int] = []

    def then_change(*arguments: Any) -> Any:
        found = step(*arguments)
        if not changed:
            changed.append(1)
            if change == "erase":
                someone = es.read_records(here / "kept").connect().execute("SELECT subject_id FROM consents").fetchone()
                erase(here / "kept", someone[0])
            else:
                es.add_records(write([Person("p0", consents=(plain_consent("p0"),))], here / "more"), here / "kept")
        return found

    monkeypatch.setattr(day_by_day.Previous, asked, then_change)
    monkeypatch.setattr("egretscore.records.upkeep.adding._check_invented", lambda *_, **__: None)
    with pytest.raises(es.RecordsError, match="changed while"):
        go_on(here)
    assert not (here / "day").exists()


def test_scores_say_of_which_kept_records_they_are(town):
    about = json.loads((town / "all" / files.ABOUT).read_text(encoding="utf-8"))
    states = [kept.about_part(town / "kept", part).state for part in range(PARTS)]
    query = shipped_engine().query_sha256
    assert about["kept"] == {"version": es.__version__, "query_sha256": query, "states": states}
