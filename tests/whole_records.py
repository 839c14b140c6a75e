"""Hypothesis strategies for whole records of several people, and for engines that may score them.

A person's records are lists of rows as dictionaries, one list for each table. Days are
drawn around the as-of date, so that every rule about dates is met from both sides.
"""

from __future__ import annotations

import csv
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import parquet

import egretscore as es
from egretscore.features import declare_features
from egretscore.policy import parse_policy
from egretscore.records.schema import OBJECTIONS, TABLES
from egretscore.scoring.scorecard import Scorecard
from egretscore.scoring.tables import ScoreTable, ScoreTables

AS_OF = date(2026, 10, 31)
POLICY = es.shipped_policy()
AUTHORITY_CODE = "11999999MB0000014B"

Row = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """All rows about one person."""

    subject_id: str
    consents: tuple[Row, ...] = ()
    civic_points: tuple[Row, ...] = ()
    penalties: tuple[Row, ...] = ()
    commitments: tuple[Row, ...] = ()
    objections: tuple[Row, ...] = ()

    def with_row(self, table: str, row: Row) -> Person:
        return replace(self, **{table: (*getattr(self, table), row)})

    def changed(self, table: str, number: int, **cells: Any) -> Person:
        rows = list(getattr(self, table))
        rows[number] = {**rows[number], **cells}
        return replace(self, **{table: tuple(rows)})

    def renamed(self, suffix: str) -> Person:
        """Return someone else with the same records."""
        ids = {"subject_id", *RECORD_IDS}
        tables = {
            table: tuple({k: v + suffix if k in ids else v for k, v in row.items()} for row in getattr(self, table))
            for table in TABLES
        }
        return Person(self.subject_id + suffix, **tables)

    def without_record(self, table: str, record_id: str) -> Person:
        """Leave out all rows of a record: of a decision, all penalties it imposed."""
        rows = tuple(row for row in getattr(self, table) if row[RECORDS[table]] != record_id)
        return replace(self, **{table: rows})

    def without(self, table: str, number: int) -> Person:
        rows = list(getattr(self, table))
        del rows[number]
        return replace(self, **{table: tuple(rows)})


def as_known(town: list[Person], day: date) -> list[Person]:
    """Return several people's rows as they were on a day: those on file by then, with what was known by then."""
    return [
        Person(
            person.subject_id,
            **{
                name: tuple(
                    _row_as_known(name, row, day) for row in getattr(person, name) if row[TABLES[name].on_file] <= day
                )
                for name in TABLES
            },
        )
        for person in town
    ]


def _row_as_known(table: str, row: Row, day: date) -> Row:
    known = dict(row)
    for name in TABLES[table].later_columns:
        if isinstance(row[name], date) and row[name] > day:
            known[name] = None
            if name in {"outcome_on", "resolved_on"}:
                known["outcome"] = None
    return known


def write(town: list[Person], folder: Path) -> Path:
    """Write several people's rows into Parquet files."""
    folder.mkdir()
    for name, table in frames(town).items():
        parquet.write_table(table, folder / f"{name}.parquet")
    return folder


def days_ago(least: int, most: int) -> st.SearchStrategy[date]:
    return st.integers(least, most).map(lambda age: AS_OF - timedelta(days=age))


def after(day: date, most: int) -> st.SearchStrategy[date]:
    return st.integers(0, most).map(lambda days: day + timedelta(days=days))


def perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


@st.composite
def consents(draw: Any, subject_id: str) -> Row:
    granted = draw(st.one_of(days_ago(-40, 1500), days_ago(-1, 2)))  # so that several of one day are met
    return {
        "subject_id": subject_id,
        "letter_version": draw(st.sampled_from([letter.version for letter in POLICY.letters])),
        "adult_confirmed": draw(st.sampled_from([True, True, True, False])),
        "granted_on": granted,
        "withdrawn_on": draw(st.one_of(st.none(), st.none(), after(granted, 2), after(granted, 800))),
    }


def plain_consent(subject_id: str) -> Row:
    return {
        "subject_id": subject_id,
        "letter_version": "2023-B",
        "adult_confirmed": True,
        "granted_on": AS_OF - timedelta(days=1600),
        "withdrawn_on": None,
    }


@st.composite
def civic_points(draw: Any, subject_id: str, number: int) -> Row:
    earned = draw(days_ago(-20, 900))
    recorded = draw(after(earned, 30))
    return {
        "record_id": f"cp-{subject_id}-{number}",
        "subject_id": subject_id,
        "activity": draw(st.sampled_from([activity.id for activity in POLICY.activities])),
        "points": draw(st.integers(0, 300)),
        "earned_on": earned,
        "recorded_on": recorded,
        "excluded_on": draw(st.one_of(st.none(), st.none(), after(earned, 400))),
    }


@st.composite
def penalties(draw: Any, subject_id: str, number: int) -> Row:
    decided = draw(days_ago(-20, 1300))
    return {
        "decision_no": f"pn-{subject_id}-{number}",
        "subject_id": subject_id,
        "category": draw(st.sampled_from([category.id for category in POLICY.categories])),
        "fine_yuan": draw(perhaps(st.integers(0, 3_000_000).map(lambda fen: fen / 100))),
        "decided_on": decided,
        "effective_on": draw(st.one_of(st.just(decided), perhaps(after(decided, 90)))),
        "revoked_on": draw(st.one_of(st.none(), st.none(), after(decided, 600))),
        "repaired_on": draw(st.one_of(st.none(), st.none(), after(decided, 600))),
        "authority": "示例市城市管理局",
        "authority_code": AUTHORITY_CODE,
        "recorded_on": draw(after(decided, 30)),
    }


def standing_penalty(subject_id: str, category: str, decided: date, fine: int) -> Row:
    return {
        "decision_no": f"pn-{subject_id}-new",
        "subject_id": subject_id,
        "category": category,
        "fine_yuan": fine,
        "decided_on": decided,
        "effective_on": decided,
        "revoked_on": None,
        "repaired_on": None,
        "authority": "示例市城市管理局",
        "authority_code": AUTHORITY_CODE,
        "recorded_on": decided,
    }


@st.composite
def commitments(draw: Any, subject_id: str, number: int) -> Row:
    due = draw(days_ago(-120, 900))
    made = due - timedelta(days=draw(st.integers(0, 120)))
    outcome = draw(st.sampled_from(["fulfilled", "fulfilled", "fulfilled", "partly", "unfulfilled", None]))
    return {
        "commitment_id": f"cm-{subject_id}-{number}",
        "subject_id": subject_id,
        "kind": draw(st.sampled_from([kind.id for kind in POLICY.kinds])),
        "made_on": made,
        "due_on": due,
        "outcome": outcome,
        "outcome_on": None if outcome is None else draw(after(made, 220)),
        "amount_yuan": draw(perhaps(st.integers(0, 5000))),
        "recorded_on": draw(after(made, 10)),
    }


def settled_commitment(subject_id: str, kind: str, due: date, outcome: str | None, outcome_on: date | None) -> Row:
    made = min(due, outcome_on or due) - timedelta(days=30)
    return {
        "commitment_id": f"cm-{subject_id}-new",
        "subject_id": subject_id,
        "kind": kind,
        "made_on": made,
        "due_on": due,
        "outcome": outcome,
        "outcome_on": outcome_on,
        "amount_yuan": None,
        "recorded_on": made,
    }


@st.composite
def objections(draw: Any, table: str, record_id: str, subject_id: str) -> Row:
    filed = draw(days_ago(-20, 500))
    resolved = draw(perhaps(after(filed, 90)))
    return {
        "table": table,
        "record_id": record_id,
        "subject_id": subject_id,
        "filed_on": filed,
        "resolved_on": resolved,
        "outcome": None if resolved is None else draw(st.sampled_from(["upheld", "rejected", "withdrawn"])),
    }


RECORDS = {"civic_points": "record_id", "penalties": "decision_no", "commitments": "commitment_id"}
RECORD_IDS = {*RECORDS.values()}


def with_objection(person: Person, table: str, row: Row, filed: date, **decision: Any) -> Person:
    """Let a person object to a record, in place of what they filed against it that day."""
    new = {
        "table": table,
        "record_id": row[RECORDS[table]],
        "subject_id": person.subject_id,
        "filed_on": filed,
        "resolved_on": None,
        "outcome": None,
        **decision,
    }
    others = tuple(o for o in person.objections if any(o[name] != new[name] for name in OBJECTIONS.identity))
    return replace(person, objections=(*others, new))


@st.composite
def decided_together(draw: Any, person: Person) -> Person:
    """Let each decision about a person impose one penalty or two, of different categories."""
    for row in person.penalties:
        category = draw(st.sampled_from([category.id for category in POLICY.categories]))
        if category != row["category"]:
            fine = draw(perhaps(st.integers(0, 5000).map(float)))
            person = person.with_row("penalties", {**row, "category": category, "fine_yuan": fine})
    return person


@st.composite
def people(draw: Any, subject_id: str, *, consented: bool = True) -> Person:
    """Draw a person's records, with a plain consent in force or with consents of any kind."""
    made: dict[str, tuple[Row, ...]] = {
        table: tuple(draw(rows(subject_id, number)) for number in range(draw(st.integers(0, most))))
        for table, rows, most in (
            ("civic_points", civic_points, 4),
            ("penalties", penalties, 3),
            ("commitments", commitments, 6),
        )
    }
    disputed = [
        draw(objections(table, row[record], subject_id))
        for table, record in RECORDS.items()
        for row in made[table]
        if draw(st.integers(0, 5)) == 0
    ]
    given = (plain_consent(subject_id),) if consented else tuple(_different_consents(draw, subject_id))
    return Person(subject_id, consents=given, objections=tuple(disputed), **made)


def _different_consents(draw: Any, subject_id: str) -> list[Row]:
    drawn = [draw(consents(subject_id)) for _ in range(draw(st.integers(0, 3)))]
    return list({(row["letter_version"], row["granted_on"]): row for row in drawn}.values())


@st.composite
def towns(draw: Any, *, consented: bool = True, most: int = 6) -> list[Person]:
    """Draw several people with ids of their own."""
    return [draw(people(f"p{number}", consented=consented)) for number in range(draw(st.integers(1, most)))]


# Among them: marks in another order than the normal one, and signs that a normal form has in one way only.
OF_SEVERAL_FORMS = st.sampled_from(["é", "ö", "각", "q\u0323\u0307", "龍", "\ufa19", "\u212b", "\u1e9b\u0323", "ệ"])


def with_letters(town: list[Person], letters: Callable[[], str]) -> list[Person]:
    """Return several people's rows with letters at the end of each record's id."""
    ids = {row[RECORDS[table]] for person in town for table in RECORDS for row in getattr(person, table)}
    longer = {record_id: record_id + letters() for record_id in sorted(ids)}
    return _with_ids(town, lambda record_id: longer[record_id])


def in_any_form(draw: Any, town: list[Person]) -> list[Person]:
    """Return several people's rows, each with its record's id in one of the two normal forms."""
    forms = st.sampled_from(["NFC", "NFD"])
    return _with_ids(town, lambda record_id: unicodedata.normalize(draw(forms), record_id))


def _with_ids(town: list[Person], written: Callable[[str], str]) -> list[Person]:
    return [
        Person(
            person.subject_id,
            **{
                table: tuple(
                    {name: written(cell) if name in RECORD_IDS else cell for name, cell in row.items()}
                    for row in getattr(person, table)
                )
                for table in TABLES
            },
        )
        for person in town
    ]


_ARROW = {"BOOLEAN": pa.bool_(), "INTEGER": pa.int32(), "DATE": pa.date32(), "VARCHAR": pa.string()}


def frames(town: list[Person]) -> dict[str, pa.Table]:
    """Return the rows of several people as Arrow frames."""
    return {name: frame(name, [row for person in town for row in getattr(person, name)]) for name in TABLES}


def texts_of(table: pa.Table) -> pa.Table:
    """Return a frame with every cell as text."""
    return table.cast(pa.schema([(column, pa.string()) for column in table.column_names]))


def frame(table: str, rows: list[Row]) -> pa.Table:
    columns = {}
    for column in TABLES[table].columns:
        values = [row[column.name] for row in rows]
        columns[column.name] = pa.array(values, _ARROW.get(column.type.sql, pa.float64()))
    return pa.table(columns)


def read(town: list[Person], **options: Any) -> es.Records:
    """Read several people's records, none of which may be set aside."""
    records = es.read_records(frames(town), **{"threads": 1, **options})
    assert records.problems == ()
    return records


BROKEN = st.sampled_from(["", " ", "2026-13-01", "nobody p0", "p1", "true", "\x01", "r" * 200])


def write_with_broken_rows(draw: Any, town: list[Person], folder: Path) -> None:
    """Write several people's rows into files of text, some twice: with a cell that may break them, or as at first."""
    as_csv = draw(st.booleans())
    for name, table in frames(town).items():
        rows = [
            ["" if v is None else str(v).lower() if v in (True, False) else str(v) for v in row.values()]
            for row in table.to_pylist()
        ]
        for row in list(rows):
            again, how = list(row), draw(st.sampled_from(["not", "not", "not", "broken", "as at first"]))
            if how == "broken":
                again[draw(st.integers(0, len(row) - 1))] = draw(BROKEN)
            if how == "as at first":
                again = ["" if column.later else cell for cell, column in zip(row, TABLES[name].columns, strict=True)]
            if how != "not":
                rows.insert(draw(st.sampled_from([0, len(rows)])), again)
        if as_csv:
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([table.column_names, *rows])
        else:
            cells = [pa.array([row[i] or None for row in rows], pa.string()) for i in range(table.num_columns)]
            parquet.write_table(pa.table(cells, table.column_names), folder / f"{name}.parquet")


def split(town: Path, out: Path) -> Path:
    """Write a town's records again, the rows of each table shuffled into several files of both kinds."""
    out.mkdir()
    shuffled = np.random.default_rng(7)
    shutil.copy(town / "invented.json", out)
    for file in town.glob("*.parquet"):
        table = parquet.read_table(file)
        table = table.take(shuffled.permutation(len(table)))
        (out / file.stem).mkdir()
        for number, first in enumerate(range(0, len(table), len(table) // 3 + 1)):
            rows = table[first : first + len(table) // 3 + 1]
            if number == 0:
                rows.to_pandas().to_csv(out / file.stem / "0.csv", index=False)
            else:
                parquet.write_table(rows, out / file.stem / f"{number}.parquet")
    return out


# ------------------------------------------------------------------------------- policies


@st.composite
def policies(draw: Any) -> es.Policy:
    """Draw the shipped policy with other weights at other ages, other retentions and other days of grace."""
    days = st.one_of(st.integers(1, 30), st.integers(1, 1825))
    late, partly, unkept = sorted(draw(st.tuples(days, days, days)))
    figures = {
        "grace_days": draw(st.integers(0, 40)),
        "late_retention_days": late,
        "partly_retention_days": partly,
        "unkept_retention_days": unkept,
        "prior_permille": draw(st.integers(1, 999)),
        "prior_weight": draw(st.integers(1, 50)),
        **{use.name: draw(_steps_by_age(days)) for use in fields(POLICY.weights_by_age) if use.name != "source"},
    }
    text = POLICY.text
    for name, figure in figures.items():
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {figure}", text)
    for severity in ("general", "serious"):
        stands = rf'(?m)(^id = "{severity}"\nretention_days = ).*$'
        text = re.sub(stands, lambda found: f"{found[1]}{draw(days)}", text)
    return parse_policy(text)


@st.composite
def _steps_by_age(draw: Any, days: st.SearchStrategy[int]) -> list[list[int]]:
    ages = sorted(draw(st.sets(days, min_size=1, max_size=3)))
    weights = sorted((draw(st.integers(1, 100)) for _ in ages), reverse=True)
    return [list(step) for step in zip(ages, weights, strict=True)]


# ------------------------------------------------------------------------------- engines


@dataclass(frozen=True)
class RandomTables:
    """Score tables drawn at random that keep the directions of the features."""

    seed: int
    features: Any = field(default_factory=lambda: declare_features(POLICY))

    def scorecard(self) -> Scorecard:
        rng = np.random.default_rng(self.seed)
        cuts = tuple(self._cuts(rng, feature) for feature in self.features)
        names = tuple(feature.name for feature in self.features)
        bare = ScoreTables(names, cuts, (False,) * len(cuts), np.zeros(len(cuts)), 1.0, ())
        tables = [self._table(rng, bare, (f,)) for f in range(len(cuts)) if rng.random() < 0.8]
        for _ in range(6):
            a, b = sorted(rng.choice(len(cuts), 2, replace=False))
            if self.features[a].source != self.features[b].source:
                tables.append(self._table(rng, bare, (int(a), int(b))))
        return Scorecard(self.features, POLICY.scale, replace(bare, tables=tuple(tables)))

    def _cuts(self, rng: Any, feature: Any) -> Any:
        inside = np.arange(feature.lowest, feature.cap)
        return np.sort(rng.choice(inside, min(len(inside), 4), replace=False)).astype(float)

    def _table(self, rng: Any, bare: ScoreTables, of: tuple[int, ...]) -> ScoreTable:
        values = rng.integers(-60, 60, [len(bare.cuts[f]) + 1 for f in of]) / 97.0
        for axis, f in enumerate(of):
            forward = values if self.features[f].direction > 0 else np.flip(values, axis)
            ordered = np.maximum.accumulate(forward, axis)
            values = ordered if self.features[f].direction > 0 else np.flip(ordered, axis)
        at_blank = values[tuple(bare.baseline_cells[f] for f in of)]
        return ScoreTable(of, values - at_blank)


@cache
def shipped_engine() -> es.Engine:
    return es.load_engine()


@cache
def random_engine(seed: int) -> es.Engine:
    shipped = shipped_engine().model
    card = RandomTables(seed).scorecard()
    assert list(card.problems()) == []
    return es.Engine(replace(shipped, scorecard=card))


def engine_under(policy: es.Policy) -> es.Engine:
    """Return an engine with random tables of what is counted under a policy."""
    card = RandomTables(0, declare_features(policy)).scorecard()
    return es.Engine(replace(shipped_engine().model, policy=policy, scorecard=card))


def engines() -> st.SearchStrategy[es.Engine]:
    """Draw the shipped engine, or one with random tables that keep the promised directions."""
    return st.one_of(st.just("shipped").map(lambda _: shipped_engine()), st.integers(0, 12).map(random_engine))


def turned_around(model: es.Model, position: int, **otherwise: Any) -> es.Model:
    """Return a model in which a feature goes the other way, as do its tables, and may be declared otherwise."""
    card = model.scorecard
    feature = card.features[position]
    features = list(card.features)
    features[position] = replace(feature, direction=-feature.direction, **otherwise)
    tables = tuple(
        # In a table of two features nothing can be turned around for the one and not for the other.
        table
        if position not in table.features
        else ScoreTable(table.features, table.values * -(len(table.features) < 2))
        for table in card.log_odds.tables
    )
    names = tuple(feature.name for feature in features)
    log_odds = replace(card.log_odds, feature_names=names, tables=tables)
    return replace(model, scorecard=Scorecard(tuple(features), card.scale, log_odds))


# ------------------------------------------------------------------------------- what is asked of them


@dataclass(frozen=True)
class Scored:
    """Scores and reasons of several people by id; None for who is not scored."""

    scores: dict[str, int | None]
    reasons: dict[str, dict[str, int]]


def scored(engine: es.Engine, town: list[Person], as_of: date = AS_OF) -> Scored:
    columns = engine.score_columns(read(town), as_of, reasons=True)
    ids = list(columns["subject_id"])
    scores = dict(zip(ids, columns["score"].tolist(), strict=True))
    names = engine.feature_names
    reasons = {
        subject: {name: columns[f"reason_{name}"][row] for name in names}
        for row, subject in enumerate(ids)
        if scores[subject] is not None
    }
    return Scored(scores, reasons)


def compared(engine: es.Engine, before: list[Person], *after: list[Person]) -> tuple[Scored, ...]:
    """Score people as they are and as they would be, in one or several ways, side by side as different people."""
    sides = {f"-side{number}" if number else "": people for number, people in enumerate([before, *after])}
    everyone = scored(engine, [person.renamed(suffix) for suffix, people in sides.items() for person in people])

    def side(people: list[Person], suffix: str) -> Scored:
        ids = [person.subject_id for person in people]
        return Scored(
            {subject: everyone.scores.get(subject + suffix) for subject in ids},
            {subject: everyone.reasons.get(subject + suffix, {}) for subject in ids},
        )

    return tuple(side(people, suffix) for suffix, people in sides.items())
