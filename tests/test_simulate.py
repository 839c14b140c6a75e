"""The invented town: reproducible, says that it is invented, and has something of everything."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import csv, parquet
from whole_records import AS_OF, POLICY, Person, plain_consent, write

import egretscore as es
from egretscore import simulate
from egretscore.records.schema import TABLES


def contents(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, file_format):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        es.simulate_town(300, tmp_path / name, seed=seed, file_format=file_format)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


SMALL_TOWNS = st.tuples(st.integers(1, 40), st.integers(0, 2**31 - 1))


@example(town=(30, 0), other=(1, 0), file_format="csv")
@given(SMALL_TOWNS, SMALL_TOWNS, st.sampled_from(["csv", "parquet"]))
def test_every_row_of_a_small_town_is_good_and_stays_so_after_another_town(town, other, file_format):
    """In a small town a table may have no rows of one origin and some of another."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, (residents, seed) in {"first": town, "other": other, "again": town}.items():
            es.simulate_town(residents, Path(scratch) / name, seed=seed, file_format=file_format)
        assert es.read_records(Path(scratch) / "first", threads=1).problems == ()
        assert contents(Path(scratch) / "first") == contents(Path(scratch) / "again")


def test_the_sample_town_is_what_simulate_writes(tmp_path):
    es.simulate_town(2000, tmp_path / "town")
    assert contents(tmp_path / "town") == contents(es.sample_records())


def test_a_town_of_several_blocks_is_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "RESIDENTS_PER_BLOCK", 100)
    es.simulate_town(250, tmp_path / "town", file_format="parquet")
    assert sorted(p.name for p in (tmp_path / "town" / "commitments").iterdir()) == [
        *("part-00000.parquet", "part-00001.parquet", "part-00002.parquet"),
    ]
    records = es.read_records(tmp_path / "town")
    assert records.problems == ()
    assert es.load_engine().score(records, "2026-10-31")["subject_id"].is_unique


def test_it_says_that_it_is_invented_wherever_it_is_used(engine, sample):
    mark = json.loads((es.sample_records() / "invented.json").read_text(encoding="utf-8"))
    assert mark["notice"].startswith("Invented")
    assert sample.invented == mark
    explanation = engine.explain(sample, mark["subject_id"], mark["as_of"])
    assert explanation.invented
    assert "invented" in explanation.text("en")
    assert "虚构" in explanation.text("zh")
    assert engine.model.invented
    assert engine.name.startswith("invented-")


@pytest.mark.parametrize("mark", ["{}", "[]", "true", "null"])
def test_records_with_a_mark_are_invented_whatever_it_says(engine, tmp_path, mark):
    folder = write([Person("p0", (plain_consent("p0"),))], tmp_path / "town")
    (folder / "invented.json").write_text(mark, encoding="utf-8")
    records = es.read_records(folder)
    assert records.invented == {}
    others = es.Engine(replace(engine.model, invented=False))
    assert others.explain(records, "p0", AS_OF).invented


def test_every_word_of_the_policy_occurs(sample):
    database = sample.connect()
    for table, column, words in (
        ("civic_points", "activity", [a.id for a in POLICY.activities]),
        ("penalties", "category", [c.id for c in POLICY.categories]),
        ("commitments", "kind", [k.id for k in POLICY.kinds]),
        ("consents", "letter_version", [letter.version for letter in POLICY.letters]),
    ):
        found = database.execute(f'SELECT DISTINCT "{column}" FROM "{table}"').fetchall()
        assert {word for (word,) in found} == set(words)


def test_it_has_something_of_everything(engine, sample):
    scores = engine.score(sample, "2026-10-31", reasons=True)
    assert set(scores["status"]) == {"scored", "not_consented", "withdrawn", "not_adult"}
    assert (scores["score"] == 550).any()
    mark = sample.invented
    reasons = engine.explain(sample, mark["subject_id"], mark["as_of"]).reasons
    assert {reason.points > 0 for reason in reasons} == {True, False}
    database = sample.connect()
    for condition in (
        "SELECT 1 FROM penalties WHERE repaired_on IS NOT NULL",
        "SELECT 1 FROM penalties WHERE revoked_on IS NOT NULL",
        "SELECT 1 FROM penalties WHERE effective_on IS NULL",
        "SELECT 1 FROM civic_points WHERE excluded_on IS NOT NULL",
        "SELECT 1 FROM objections WHERE outcome = 'upheld'",
        "SELECT 1 FROM objections WHERE resolved_on IS NULL",
        "SELECT 1 FROM commitments WHERE outcome IS NULL",
        "SELECT 1 FROM commitments WHERE outcome = 'fulfilled' AND outcome_on > due_on",
        "SELECT subject_id FROM consents GROUP BY subject_id HAVING count(*) > 1",
    ):
        assert database.execute(condition).fetchone(), condition


def test_habits_drive_how_commitments_are_kept_and_how_penalties_come(tmp_path):
    """The documented mechanism shows: people with penalties keep fewer commitments."""
    es.simulate_town(4000, tmp_path / "town", seed=9, file_format="parquet")
    penalised = set(parquet.read_table(tmp_path / "town/penalties.parquet")["subject_id"].to_pylist())
    commitments = parquet.read_table(tmp_path / "town/commitments.parquet").to_pandas()
    commitments = commitments[commitments["outcome"].notna()]
    kept = (commitments["outcome"] == "fulfilled").groupby(commitments["subject_id"].isin(penalised)).mean()
    assert kept[True] < kept[False] - 0.02


def test_seasons_show(sample):
    months = dict(sample.connect().execute("SELECT month(made_on), count(*) FROM commitments GROUP BY 1").fetchall())
    assert months[2] < min(months[7], months[8])


def test_csv_files_open_with_any_reader():
    table = csv.read_csv(es.sample_records() / "penalties.csv")
    assert table.column_names == list(TABLES["penalties"].column_names)
    assert pc.any(pc.equal(table["category"], "fine")).as_py()
