"""Promise 8: as known then. A score uses what was on file by its date, and gives the same bytes always."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet
from whole_records import (
    AS_OF,
    Person,
    civic_points,
    commitments,
    consents,
    engines,
    frames,
    objections,
    penalties,
    plain_consent,
    read,
    scored,
    shipped_engine,
    towns,
)

import egretscore as es
from egretscore.records.schema import OBJECTIONS, TABLES


def columns_equal(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(
        a[name].tolist() == b[name].tolist() if name != "grade" else list(a[name]) == list(b[name]) for name in a
    )


@given(engines(), towns(most=4), st.data())
def test_rows_recorded_after_the_date_change_nothing(engine, town, data):
    later = []
    for person in town:
        day = AS_OF + timedelta(days=data.draw(st.integers(1, 30)))
        point = {**data.draw(civic_points(person.subject_id, 90)), "recorded_on": day, "excluded_on": None}
        point["earned_on"] = min(point["earned_on"], day)
        penalty = {**data.draw(penalties(person.subject_id, 90)), "recorded_on": day}
        penalty["decided_on"] = min(penalty["decided_on"], day)
        commitment = {**data.draw(commitments(person.subject_id, 90)), "recorded_on": day}
        shift = max(timedelta(0), commitment["made_on"] - day)
        for name in ("made_on", "due_on", "outcome_on"):
            commitment[name] = commitment[name] and commitment[name] - shift
        against = f"pn-{person.subject_id}-0"
        objection = {**data.draw(objections("penalties", against, person.subject_id)), "filed_on": day}
        objection["resolved_on"] = objection["resolved_on"] and day
        # With the identity of one that is on file it would be the same objection, told in two ways.
        is_new = all(any(o[name] != objection[name] for name in OBJECTIONS.identity) for o in person.objections)
        consent = {**data.draw(consents(person.subject_id)), "granted_on": day, "withdrawn_on": None}
        for table, row in (
            ("civic_points", point),
            ("penalties", penalty),
            ("commitments", commitment),
            *([("objections", objection)] if is_new else []),
            ("consents", consent),
        ):
            person = person.with_row(table, row)  # noqa: PLW2901 - the same person, later
        later.append(person)
    assert scored(engine, later) == scored(engine, town)


def test_who_comes_on_file_is_there_from_that_day_on(engine):
    row = {
        "record_id": "cp-1",
        "subject_id": "p0",
        "activity": "volunteering",
        "points": 5,
        "earned_on": AS_OF - timedelta(days=9),
        "recorded_on": AS_OF,
        "excluded_on": None,
    }
    records = read([Person("p0", civic_points=(row,)), Person("p1", consents=(plain_consent("p1"),))])
    the_day_before, that_day = {"p1": "scored"}, {"p0": "not_consented", "p1": "scored"}
    for day, on_file in ((AS_OF - timedelta(days=1), the_day_before), (AS_OF, that_day)):
        columns = engine.score_columns(records, day)
        assert dict(zip(columns["subject_id"], columns["status"], strict=True)) == on_file


@given(engines(), towns(most=4), st.integers(0, 200))
def test_dates_inside_a_row_that_lie_after_the_date_are_not_yet_known(engine, town, days):
    """Score as of an earlier day: with the later facts of each row, and with these cells emptied."""
    day = AS_OF - timedelta(days=days)
    emptied = []
    for person in town:
        for table, cells in (
            ("consents", {"withdrawn_on": ()}),
            ("civic_points", {"excluded_on": ()}),
            ("penalties", {"effective_on": (), "revoked_on": (), "repaired_on": ()}),
            ("commitments", {"outcome_on": ("outcome",)}),
            ("objections", {"resolved_on": ("outcome",)}),
        ):
            for number, row in enumerate(getattr(person, table)):
                unknown = [name for name in cells if row[name] and row[name] > day]
                blanks = {name: None for cell in unknown for name in (cell, *cells[cell])}
                person = person.changed(table, number, **blanks)  # noqa: PLW2901 - the same person, as known then
        emptied.append(person)
    assert scored(engine, emptied, day) == scored(engine, town, day)


@given(engines(), towns(), towns(consented=False, most=4))
def test_other_people_change_nothing(engine, town, others):
    alone = scored(engine, town)
    among = scored(engine, [*town, *(person.renamed("-other") for person in others)])
    for person in town:
        assert among.scores[person.subject_id] == alone.scores[person.subject_id]
        assert among.reasons[person.subject_id] == alone.reasons[person.subject_id]


@given(engines(), towns(), st.randoms(use_true_random=False))
def test_the_order_of_rows_repetitions_and_parts_change_nothing(engine, town, shuffle):
    whole = engine.score_columns(read(town), AS_OF, reasons=True)
    parts = {}
    for name, table in frames(town).items():
        rows = list(range(table.num_rows))
        rows += shuffle.sample(rows, k=shuffle.randint(0, len(rows)))
        shuffle.shuffle(rows)
        cut = shuffle.randint(0, len(rows))
        parts[name] = [table.take(pa.array(part, pa.int64())) for part in (rows[:cut], rows[cut:])]
    records = es.read_records(parts, threads=shuffle.choice([1, 2]))
    assert records.problems == ()
    assert columns_equal(engine.score_columns(records, AS_OF, reasons=True), whole)


FILES = ("csv", "parquet", "split csv", "split parquet")


@given(towns(consented=False, most=4))
def test_csv_parquet_and_frames_give_the_same(tmp_path_factory, town):
    engine = shipped_engine()
    tables = frames(town)
    expected = engine.score_columns(read(town), AS_OF, reasons=True)
    scratch = tmp_path_factory.mktemp("records")
    sources: dict[str, Any] = {
        "pandas": {name: table.to_pandas() for name, table in tables.items()},
        "polars": {name: pl.from_arrow(table) for name, table in tables.items()},
        **{kind: _written(tables, scratch / kind, kind) for kind in FILES},
    }
    for kind, source in sources.items():
        records = es.read_records(source)
        assert records.problems == (), kind
        assert columns_equal(engine.score_columns(records, AS_OF, reasons=True), expected), kind


def _written(tables: Mapping[str, pa.Table], folder: Path, kind: str) -> Path:
    folder.mkdir()
    for name, table in tables.items():
        _write(table, folder, name, kind)
    return folder


def _write(table: pa.Table, folder: Path, name: str, kind: str) -> None:
    middle = table.num_rows // 2
    parts = [table.slice(0, middle), table.slice(middle)] if kind.startswith("split") else [table]
    for number, part in enumerate(parts):
        file = folder / (f"{name}-{number}" if len(parts) > 1 else name)
        if kind.endswith("csv"):
            csv.write_csv(part, f"{file}.csv")
        else:
            parquet.write_table(part, f"{file}.parquet")


def test_threads_and_order_give_the_same_bytes_on_the_sample_town(engine, tmp_path):
    """Read the sample town three ways and write what was scored: byte for byte the same file."""
    folder = es.sample_records()
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for name in TABLES:
        head, *lines = (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        for part in range(3):
            text = "\n".join([head, *lines[part::3][::-1]]) + "\n"
            (shuffled / f"{name}_{part}.csv").write_text(text, encoding="utf-8")
    outputs: list[bytes] = []
    for source, threads in ((folder, 1), (folder, 2), (shuffled, 2)):
        records = es.read_records(source, threads=threads)
        columns = engine.score_columns(records, "2026-10-31", reasons=True)
        file = tmp_path / f"{len(outputs)}.parquet"
        parquet.write_table(pa.table(columns), file)
        outputs.append(file.read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


def test_one_person_has_the_same_vector_as_among_all(engine, sample):
    vectors = engine.vectors(sample, "2026-10-31")
    for subject in vectors.index[:: max(1, len(vectors) // 40)]:
        explanation = engine.explain(sample, subject, "2026-10-31")
        assert np.array_equal(explanation.vector, vectors.loc[subject].to_numpy())


def test_a_date_long_past_is_scored_as_it_was_then(engine, sample):
    """Records that were not on file yet leave everyone blank."""
    scores = engine.score(sample, "2022-07-15")
    assert set(scores["score"].dropna()) <= {550}
    assert (scores["status"] == "scored").any()


def test_people_differ(engine, sample):
    assert len(set(engine.score(sample, "2026-10-31")["score"].dropna())) > 100


def test_person_dataclass_has_every_table():
    assert {*TABLES} == set(Person("p0").__dict__) - {"subject_id"}
