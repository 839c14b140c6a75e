"""An invented town: records of people who do not exist, for samples, tests and benchmarks.

Nothing here is taken from a real person or from a city's data, and no figure of the
invented town is evidence about real people.

The mechanism. Each resident has a hidden *reliability* and a hidden *engagement*, mildly
correlated. Reliability drives how commitments are kept, how far ahead of time, and how
often penalties are decided; engagement drives civic points. Some residents go through a
*hard spell* of two to eight months in which they keep fewer commitments, so what is recent
says more than what is old. Engagement makes up for some unreliability (the two interact).
Commitments and civic points follow the seasons. Records come on file some days after what
they record; penalties are repaired, revoked and objected to; points are excluded by their
holders; some residents have thin files, are not adults, never consented or withdrew.

Residents are invented in blocks, each from a random stream of its own, so a town of any size
needs the memory of one block, and a seed gives the same bytes every time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from egretscore.errors import ArgumentError
from egretscore.numbers import as_whole_number
from egretscore.paths import as_path
from egretscore.records.files import INVENTED_MARK
from egretscore.records.in_bulk.runs import to_report
from egretscore.records.schema import TABLES
from egretscore.writing import whole_folder

FIRST_DAY: Final = date(2022, 9, 1)
LAST_DAY: Final = date(2026, 10, 31)
RESIDENTS_PER_BLOCK: Final = 50_000
NOTICE: Final = "Invented: no record here is of a real person, and no figure from it says anything about real people."

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_DAYS: Final = (LAST_DAY - FIRST_DAY).days + 1
_NEVER: Final = np.iinfo(np.int64).min
# Less happens around the Spring Festival, more in summer and towards the end of the year.
_BUSYNESS_BY_MONTH: Final = np.array([0.9, 0.65, 1.0, 1.0, 1.05, 1.1, 1.2, 1.2, 1.0, 0.95, 1.05, 1.1])
# kind: (how often, days until due, how easy to keep)
_KINDS: Final[Mapping[str, tuple[float, int, float]]] = {
    "library_loan": (5.0, 30, -0.3),
    "roadside_parking": (5.0, 7, 0.3),
    "car_park": (3.0, 4, 0.5),
    "bike_rental": (2.5, 1, 0.6),
    "approval_substitution": (0.5, 90, -0.2),
    "missing_documents": (1.0, 30, -0.4),
    "statement_of_fact": (0.8, 60, 0.1),
    "credit_repair": (0.2, 120, 0.0),
    "self_discipline": (0.4, 180, -0.1),
    "voluntary": (0.8, 60, 0.2),
    "other": (0.4, 45, 0.0),
}
_LONGEST_PAID_TERM: Final = 7  # days: parking and bikes, which are about an amount
# category: (how often, usual fine in yuan or 0)
_CATEGORIES: Final[Mapping[str, tuple[float, int]]] = {
    "warning": (3.0, 0),
    "public_criticism": (0.5, 0),
    "summary_fine": (3.0, 150),
    "fine": (2.6, 800),
    "confiscation": (0.3, 0),
    "licence_suspended": (0.4, 0),
    "huge_fine": (0.35, 12_000),
    "licence_revoked": (0.2, 0),
    "ban_on_practice": (0.1, 0),
}
_ACTIVITIES: Final[Mapping[str, float]] = {
    "volunteering": 2.0,
    "waste_sorting": 4.0,
    "civilised_conduct": 1.5,
    "community_service": 1.0,
    "civic_learning": 1.2,
    "first_aid_training": 0.3,
}
# Invented authorities under a region code, 999999, that no place has.
_AUTHORITIES: Final = (
    ("示例市城市管理局", "11999999MB0000014B"),
    ("示例市公安局交通警察支队", "11999999MB00000226"),
    ("示例市市场监督管理局", "11999999MB00000301"),
    ("示例市生态环境局", "11999999MB0000049X"),
)


def simulate_town(
    residents: int,
    out: str | Path,
    *,
    seed: int = 0,
    file_format: Literal["csv", "parquet"] = "csv",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Invent a town and write its records into a folder.

    Parameters
    ----------
    residents : int
        How many people, 1 or more.
    out : path
        A folder that does not exist yet, or is empty. Written whole or not at all.
    seed : int
        The same seed gives the same bytes.
    file_format : "csv" or "parquet"
        One file for each table, or, for towns of several blocks, a folder of parts.
    progress : callable
        Called with the number of residents written so far.

    Returns
    -------
    Path
        The folder. Beside the tables it holds ``invented.json``, which says that they are
        invented, their last day and a resident to look at.

    Raises
    ------
    ArgumentError
        If an argument is not what it should be or out of range, or the folder is not
        empty, lies in one of ours, or is being written.
    """
    residents = as_whole_number(residents, "residents", 1, 2**31 - 1)
    seed = as_whole_number(seed, "seed", 0, 2**31 - 1)
    progress = to_report(progress)
    if file_format not in ("csv", "parquet"):
        raise ArgumentError("file_format cannot have this value", value=file_format, expected="csv or parquet")
    several = residents > RESIDENTS_PER_BLOCK
    example = ""
    with whole_folder(as_path(out, "a town goes into a folder")) as town:
        for block, first in enumerate(range(0, residents, RESIDENTS_PER_BLOCK)):
            count = min(RESIDENTS_PER_BLOCK, residents - first)
            tables = _block(np.random.default_rng([seed, block]), first, count, seed)
            for table, rows in tables.items():
                name = f"{table}/part-{block:05d}" if several else table
                _write(rows, town / f"{name}.{file_format}")
            example = example or _someone_to_look_at(tables)
            progress(first + count)
        mark = {
            "notice": NOTICE,
            "residents": residents,
            "seed": seed,
            "as_of": LAST_DAY.isoformat(),
            "subject_id": example,
        }
        (town / INVENTED_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
    return Path(out)


def _write(rows: pa.Table, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".csv":
        with file.open("wb") as stream:
            stream.write(",".join(rows.column_names).encode() + b"\n")
            # Without a header, Arrow 26 writes what its memory happens to hold for a first chunk that is empty.
            csv.write_csv(rows.combine_chunks(), stream, csv.WriteOptions(include_header=False, quoting_style="none"))
    else:
        parquet.write_table(rows, file, compression="zstd")


def _someone_to_look_at(tables: Mapping[str, pa.Table]) -> str:
    """Return a resident with something of everything, or simply the first who consented."""
    consents, penalties, commitments = tables["consents"], tables["penalties"], tables["commitments"]
    lately = pa.scalar(LAST_DAY - timedelta(days=300))
    consented = consents.filter(pc.and_(consents["adult_confirmed"], pc.is_null(consents["withdrawn_on"])))
    fined = penalties.filter(
        pc.and_(
            pc.and_(pc.equal(penalties["category"], "fine"), pc.is_null(penalties["repaired_on"])),
            pc.greater(penalties["effective_on"], lately),
        )
    )
    in_part = commitments.filter(
        pc.and_(pc.equal(commitments["outcome"], "partly"), pc.greater(commitments["due_on"], lately))
    )
    points = tables["civic_points"].group_by("subject_id").aggregate([("points", "sum")])
    for records in (consented, fined, in_part):
        among = points.filter(pc.is_in(points["subject_id"], records["subject_id"].combine_chunks()))
        points = among if len(among) else points
    if len(points):
        return str(points.sort_by([("points_sum", "descending"), ("subject_id", "ascending")])["subject_id"][0])
    return str(consents["subject_id"][0]) if len(consents) else ""


# ------------------------------------------------------------------------------- the mechanism


@dataclass(frozen=True)
class _Residents:
    """The hidden side of a block of residents."""

    first: int
    subjects: pa.Array
    reliability: Floats
    engagement: Floats
    spell_start: Ints
    spell_end: Ints

    @property
    def count(self) -> int:
        return len(self.reliability)


def _block(rng: np.random.Generator, first: int, count: int, seed: int) -> Mapping[str, pa.Table]:
    reliability = rng.normal(size=count)
    spell = np.where(_happens(rng, 0.35, count), rng.integers(0, _DAYS, count), _DAYS)
    residents = _Residents(
        first=first,
        subjects=_subjects(first, count, seed),
        reliability=reliability,
        engagement=0.4 * reliability + 0.92 * rng.normal(size=count),
        spell_start=spell,
        spell_end=spell + rng.integers(60, 240, count),
    )
    consents = _consents(rng, residents)
    civic_points = _civic_points(rng, residents)
    penalties = _penalties(rng, residents)
    commitments = _commitments(rng, residents)
    objections = _objections(rng, penalties, commitments)
    tables = {
        "consents": consents,
        "civic_points": civic_points,
        "penalties": penalties,
        "commitments": commitments,
        "objections": objections,
    }
    return {name: table.select(TABLES[name].column_names) for name, table in tables.items()}


def _consents(rng: np.random.Generator, people: _Residents) -> pa.Table:
    n = people.count
    granted = np.where(_happens(rng, 0.75, n), rng.integers(0, 500, n), rng.integers(500, _DAYS, n)) - 60
    withdrawn = np.where(_happens(rng, 0.06, n), granted + rng.integers(20, 700, n), _NEVER)
    consented = _happens(rng, 0.92, n)
    first = _consent_rows(rng, people, np.flatnonzero(consented), granted, withdrawn)
    # A third of those who withdrew consent again later.
    again = np.flatnonzero(consented & (withdrawn != _NEVER) & _happens(rng, 0.33, n))
    granted = np.where(withdrawn == _NEVER, _NEVER, withdrawn + rng.integers(10, 200, n))
    second = _consent_rows(rng, people, again[granted[again] < _DAYS], granted, np.full(n, _NEVER))
    return pa.concat_tables([first, second])


def _consent_rows(rng: np.random.Generator, people: _Residents, who: Ints, granted: Ints, withdrawn: Ints) -> pa.Table:
    return pa.table(
        {
            "subject_id": people.subjects.take(pa.array(who)),
            "letter_version": _words(("2023-B", "2023-A"), _happens(rng, 0.2, len(who)).astype(np.int64)),
            "adult_confirmed": _happens(rng, 0.975, len(who)),
            "granted_on": _dates(granted[who]),
            "withdrawn_on": _dates(_if_known(withdrawn[who])),
        }
    )


def _civic_points(rng: np.random.Generator, people: _Residents) -> pa.Table:
    takes_part = _happens(rng, 0.6, people.count)
    expected = np.where(takes_part, 12.0 * np.exp(0.6 * people.engagement), 0.0)
    who = np.repeat(np.arange(people.count), rng.poisson(expected))
    n = len(who)
    earned = _seasonal_days(rng, n)
    recorded = earned + rng.integers(0, 6, n)
    excluded = np.where(_happens(rng, 0.015, n), recorded + rng.integers(1, 200, n), _NEVER)
    rows = pa.table(
        {
            "record_id": _ids("cp", people.first, who),
            "subject_id": people.subjects.take(pa.array(who)),
            "activity": _words(tuple(_ACTIVITIES), _choice(rng, list(_ACTIVITIES.values()), n)),
            "points": 5 * rng.integers(1, 7, n),
            "earned_on": _dates(earned),
            "recorded_on": _dates(recorded),
            "excluded_on": _dates(_if_known(excluded)),
        }
    )
    return rows.filter(pa.array(recorded < _DAYS))


def _penalties(rng: np.random.Generator, people: _Residents) -> pa.Table:
    who = np.repeat(np.arange(people.count), rng.poisson(0.28 * np.exp(-0.7 * people.reliability)))
    n = len(who)
    category = _choice(rng, [rate for rate, _ in _CATEGORIES.values()], n)
    usual_fine = np.array([fine for _, fine in _CATEGORIES.values()])[category]
    fine = np.round(usual_fine * np.exp(0.5 * rng.normal(size=n)), -1)
    decided = rng.integers(0, _DAYS, n)
    effective = np.where(_happens(rng, 0.97, n), decided + rng.integers(0, 61, n), _NEVER)
    revoked = np.where(_happens(rng, 0.02, n), decided + rng.integers(10, 200, n), _NEVER)
    repaired = np.where(_happens(rng, 0.3, n), decided + rng.integers(90, 600, n), _NEVER)
    recorded = decided + rng.integers(1, 8, n)
    authority = rng.integers(0, len(_AUTHORITIES), n)
    rows = pa.table(
        {
            "decision_no": _ids("示罚决字", people.first, who),
            "subject_id": people.subjects.take(pa.array(who)),
            "category": _words(tuple(_CATEGORIES), category),
            "fine_yuan": pa.array(fine, mask=fine == 0).cast(pa.decimal128(12, 2)),
            "decided_on": _dates(decided),
            "effective_on": _dates(_if_known(effective)),
            "revoked_on": _dates(_if_known(revoked)),
            "repaired_on": _dates(_if_known(repaired)),
            "authority": _words([name for name, _ in _AUTHORITIES], authority),
            "authority_code": _words([code for _, code in _AUTHORITIES], authority),
            "recorded_on": _dates(recorded),
        }
    )
    return rows.filter(pa.array(recorded < _DAYS))


def _commitments(rng: np.random.Generator, people: _Residents) -> pa.Table:
    thin = _happens(rng, 0.15, people.count)
    expected = np.where(thin, 1.5, 22.0) * rng.gamma(1.3, 1 / 1.3, people.count)
    who = np.repeat(np.arange(people.count), rng.poisson(expected))
    n = len(who)
    kind = _choice(rng, [rate for rate, _, _ in _KINDS.values()], n)
    usual_term, ease = (np.array(column)[kind] for column in list(zip(*_KINDS.values(), strict=True))[1:])
    term = np.maximum(1, np.round(usual_term * rng.uniform(0.5, 1.5, n))).astype(np.int64)
    made = _seasonal_days(rng, n)
    due = made + term
    outcome, outcome_on = _outcomes(rng, people, who, ease, made, due)
    outcome_on = _if_known(outcome_on)
    recorded = made + rng.integers(0, 3, n)
    words = pa.array(["fulfilled", "partly", "unfulfilled"])
    rows = pa.table(
        {
            "commitment_id": _ids("cm", people.first, who),
            "subject_id": people.subjects.take(pa.array(who)),
            "kind": _words(tuple(_KINDS), kind),
            "made_on": _dates(made),
            "due_on": _dates(due),
            "outcome": words.take(pa.array(outcome, mask=outcome_on == _NEVER)),
            "outcome_on": _dates(outcome_on),
            "amount_yuan": pa.array(
                rng.integers(1, 60, n).astype(np.float64), mask=usual_term > _LONGEST_PAID_TERM
            ).cast(pa.decimal128(12, 2)),
            "recorded_on": _dates(recorded),
        }
    )
    return rows.filter(pa.array(recorded < _DAYS))


def _outcomes(
    rng: np.random.Generator, people: _Residents, who: Ints, ease: Floats, made: Ints, due: Ints
) -> tuple[Ints, Ints]:
    """Return each commitment's outcome (0 fulfilled, 1 partly, 2 not) and the day it is known from."""
    n = len(who)
    reliability, engagement = people.reliability[who], people.engagement[who]
    in_spell = (due >= people.spell_start[who]) & (due < people.spell_end[who])
    made_up_for = 0.7 * np.maximum(engagement, 0) * (reliability < 0)
    log_odds = 1.9 + ease + 1.3 * reliability + made_up_for - 2.0 * in_spell
    kept = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    ahead = rng.random(n) ** np.exp(-0.5 * reliability) * (due - made) * 0.9
    late_by = 4 + rng.geometric(1 / 25, n)
    ending = _choice(rng, [0.45, 0.12, 0.15, 0.28], n)
    outcome = np.where(kept | (ending == 0), 0, np.where(ending == 1, 1, 2))
    day = np.where(kept, due - np.floor(ahead).astype(np.int64), due + late_by)
    return outcome, np.where(~kept & (ending == 3), _NEVER, day)  # noqa: PLR2004 - the fourth ending is none


def _objections(rng: np.random.Generator, penalties: pa.Table, commitments: pa.Table) -> pa.Table:
    against_penalties = penalties.filter(pa.array(_happens(rng, 0.08, len(penalties))))
    breached = pc.fill_null(pc.not_equal(commitments["outcome"], "fulfilled"), fill_value=False)
    against_breaches = commitments.filter(pc.and_(breached, pa.array(_happens(rng, 0.05, len(commitments)))))
    return pa.concat_tables(
        [
            _objection_rows(rng, "penalties", against_penalties, "decision_no", "recorded_on"),
            _objection_rows(rng, "commitments", against_breaches, "commitment_id", "outcome_on"),
        ]
    )


def _objection_rows(rng: np.random.Generator, table: str, rows: pa.Table, record: str, after: str) -> pa.Table:
    n = len(rows)
    start = rows[after].combine_chunks().cast(pa.int32()).to_numpy(zero_copy_only=False) - _day_number(FIRST_DAY)
    filed = start + rng.integers(3, 45, n)
    resolved = _if_known(np.where(_happens(rng, 0.85, n), filed + rng.integers(3, 21, n), _NEVER))
    outcome = _choice(rng, [0.3, 0.6, 0.1], n)
    words = pa.array(["upheld", "rejected", "withdrawn"])
    made = pa.table(
        {
            "table": pa.array([table] * n, pa.string()),
            "record_id": rows[record],
            "subject_id": rows["subject_id"],
            "filed_on": _dates(filed),
            "resolved_on": _dates(resolved),
            "outcome": words.take(pa.array(outcome, mask=resolved == _NEVER)),
        }
    )
    return made.filter(pa.array(filed < _DAYS))


# ------------------------------------------------------------------------------- days, words and ids


def _day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _dates(days: Ints) -> pa.Array:
    """Return days counted from the first one as dates, empty where never."""
    numbers = np.where(days == _NEVER, 0, days + _day_number(FIRST_DAY)).astype(np.int32)
    return pa.array(numbers, mask=days == _NEVER).cast(pa.date32())


def _if_known(days: Ints) -> Ints:
    """Return the days that had come by the town's last day; the others are still unknown."""
    return np.where(days < _DAYS, days, _NEVER)


def _seasonal_days(rng: np.random.Generator, n: int) -> Ints:
    months = np.array([(FIRST_DAY + timedelta(days=day)).month for day in range(_DAYS)])
    return _choice(rng, _BUSYNESS_BY_MONTH[months - 1], n)


def _choice(rng: np.random.Generator, weights: Any, n: int) -> Ints:
    """Return n positions drawn with these weights."""
    chances = np.asarray(weights, dtype=np.float64)
    return rng.choice(len(chances), n, p=chances / chances.sum())


def _happens(rng: np.random.Generator, chance: float, n: int) -> NDArray[np.bool_]:
    happens: NDArray[np.bool_] = rng.random(n) < chance
    return happens


def _words(words: Any, positions: Ints) -> pa.Array:
    return pa.array(list(words), pa.string()).take(pa.array(positions))


def _ids(prefix: str, first: int, who: Ints) -> pa.Array:
    """Return ids of rows sorted by resident: the resident's number and the row's among theirs."""
    within = np.arange(len(who)) - np.searchsorted(who, who, side="left")
    parts = (
        pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
        for numbers, width in ((who + first, 7), (within, 3))
    )
    return pc.binary_join_element_wise(prefix, *parts, "-")


def _subjects(first: int, count: int, seed: int) -> pa.Array:
    """Return pseudonyms: numbers scrambled one to one within 40 bits, as hexadecimal digits."""
    bits, mask = np.uint64(40), np.uint64(2**40 - 1)
    numbers = np.arange(first, first + count, dtype=np.uint64) + np.uint64(seed % 2**32 * 7_919 + 104_729)
    for odd in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03):
        numbers = (numbers * np.uint64(odd)) & mask
        numbers ^= numbers >> (bits // np.uint64(2))
    digits = (numbers[:, None] >> np.arange(36, -4, -4, dtype=np.uint64)) & np.uint64(15)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits.astype(np.intp)]
    return pa.array(np.char.add("r", letters.view("S10").ravel().astype("U10")), pa.string())
