"""Real event data end to end: OULAD as records, then the ordinary commands.

    python benchmarks/oulad.py --data FOLDER --out FOLDER

FOLDER holds the files of the OULAD data set (presentations 2013B, 2013J and 2014B; Kuzilek,
Hlosta and Zdrahal 2017, Scientific Data 4:170171). What becomes what:

- a person is a student in one presentation of one module;
- registration is consent, from the first day of the presentation on; to unregister is to
  withdraw it. With --keep-unregistered it is not: what falls due later is simply missing;
- an assessment with a due day is a commitment of everyone registered by then; handed in by
  that day it is kept, later it is kept late, never handed in it stays without an outcome;
- score times weight are points, on file from the day the work was both due and handed in:
  the data set does not say when it was marked;
- work carried over from an earlier presentation is neither.

All students count as adults: the data set as used here holds nothing on age. The 2014B
presentations are dated eight months later than they were, so that presentations follow one
another without overlap and nobody is in two snapshots; their order and all days within them
are as recorded.

The model learns from the presentations of 2013 as of day 60 and is measured on those of
2014B as of day 60, on the share of the assessments due in the rest of the course (and not
handed in yet) that were handed in on time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from egretscore.cli import main as egretscore
from egretscore.policy import parse_policy

FIRST_DAY = {"2013B": date(2013, 2, 1), "2013J": date(2013, 10, 1), "2014B": date(2014, 10, 1)}
DAY = 60
HORIZON_DAYS = 208
KEY = ["code_module", "code_presentation"]

POLICY = """
[policy]
name = "oulad"
version = "1"
valid_from = 2013-01-01
zh = "OULAD 测量用政策"
en = "OULAD, for measuring"

[sources]
assumption = "Chosen to fit 60 days of a course; no rule stands behind it."

[scale]
minimum = 0
maximum = 1000
blank = 550
points_to_double_odds = 100
source = "assumption"

[commitments]
grace_days = 0
late_retention_days = 365
partly_retention_days = 365
unkept_retention_days = 365
prior_permille = 600
prior_weight = 3
source = "assumption"

[weights_by_age]
points = [[365, 1]]
recent_points = [[21, 1]]
active_months = [[365, 1]]
kept = [[365, 1]]
recent_kept = [[21, 1]]
unkept = [[365, 1]]
recent_unkept = [[21, 1]]
general_penalties = [[365, 1]]
serious_penalties = [[365, 1]]
source = "assumption"
"""
ENTRIES: dict[str, list[dict[str, Any]]] = {
    "grades": [{"id": "on_time", "min_score": 600}, {"id": "some", "min_score": 0}],
    "indicators": [{"id": name} for name in ("basic", "positive", "breach", "repair", "use")],
    "letters": [{"version": "registration", "purposes": ["scoring", "training"]}],
    "activities": [{"id": "tutor_marked", "cap": 2000}, {"id": "computer_marked", "cap": 2000}],
    "severities": [
        {"id": "minor", "retention_days": 0},
        {"id": "general", "retention_days": 365},
        {"id": "serious", "retention_days": 1095},
    ],
    "categories": [{"id": "none", "severity": "general"}],
    "groups": [{"id": "tma", "indicator": "positive"}, {"id": "cma", "indicator": "use"}],
    "kinds": [
        {"id": "tma", "group": "tma"},
        {"id": "exam", "group": "tma"},
        {"id": "cma", "group": "cma"},
    ],
    "benefits": [{"id": "extension", "min_score": 600, "route_zh": "照常申请", "route_en": "ask as everyone can"}],
}
KINDS = {"TMA": "tma", "CMA": "cma", "Exam": "exam"}
ACTIVITIES = {"TMA": "tutor_marked", "CMA": "computer_marked", "Exam": "tutor_marked"}


def policy_text() -> str:
    """Return the policy under which students are scored."""
    lines = [POLICY]
    for section, entries in ENTRIES.items():
        for entry in entries:
            named = {"zh": entry["id"], "en": entry["id"]} if "id" in entry else {}
            lines.append(f"[[{section}]]")
            lines += [f"{key} = {_toml(value)}" for key, value in {**entry, **named, "source": "assumption"}.items()]
    text = "\n".join(lines) + "\n"
    parse_policy(text)
    return text


def _toml(value: object) -> str:
    """Return a number, a text or a list of texts as TOML writes it, which is as JSON does."""
    return json.dumps(value)


def write_records(data: Path, out: Path, *, keep_unregistered: bool) -> None:
    """Turn the data set into the five tables."""
    registered = _registered(data)
    due = _due(data, registered)
    handed_in = due.date_submitted.notna()
    subject, number = due.subject_id, due.id_assessment.astype(str)
    tables = {
        "consents": pd.DataFrame(
            {
                "subject_id": registered.subject_id,
                "letter_version": "registration",
                "adult_confirmed": True,
                "granted_on": registered.granted_on,
                "withdrawn_on": None if keep_unregistered else registered.withdrawn_on,
            }
        ),
        "civic_points": pd.DataFrame(
            {
                "record_id": "points-" + subject + "-" + number,
                "subject_id": subject,
                "activity": due.assessment_type.map(ACTIVITIES),
                "points": (due.score.fillna(0) * due.weight / 10).round().astype(int),
                "earned_on": due.outcome_on,
                "recorded_on": due[["outcome_on", "due_on"]].max(axis=1),
                "excluded_on": None,
            }
        )[handed_in & due.score.notna()],
        "penalties": _empty("penalties"),
        "commitments": pd.DataFrame(
            {
                "commitment_id": subject + "-" + number,
                "subject_id": subject,
                "kind": due.assessment_type.map(KINDS),
                "made_on": due.made_on,
                "due_on": due.due_on,
                "outcome": handed_in.map({True: "fulfilled", False: None}),
                "outcome_on": due.outcome_on,
                "amount_yuan": None,
                "recorded_on": due.made_on,
            }
        ),
        "objections": _empty("objections"),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(out / f"{name}.parquet", index=False)
        print(f"{name:14}{len(table):>9,} rows")


def _registered(data: Path) -> pd.DataFrame:
    """Return who is registered, with the days of their consent."""
    table = pd.read_csv(data / "student_registration.csv").dropna(subset=["date_registration"])
    table["subject_id"] = table.code_module + "-" + table.code_presentation + "-" + table.id_student.astype(str)
    first = table.code_presentation.map(FIRST_DAY)
    table["granted_on"] = _dates(first, table.date_registration.clip(lower=0))
    table["withdrawn_on"] = _dates(first, table.date_unregistration)
    # Whoever left before the first day never was part of the presentation.
    return table[~(table.date_unregistration <= 0)]


def _due(data: Path, registered: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each person and assessment that fell due for them."""
    assessments = pd.read_csv(data / "assessment.csv").dropna(subset=["date"])
    handed_in = pd.read_parquet(data / "student_assessment.parquet")
    due = registered.merge(assessments, on=KEY).merge(handed_in, on=["id_assessment", "id_student"], how="left")
    made = due.date_registration.clip(lower=0)
    due = due[(due.is_banked.isna() | (due.is_banked == False)) & (due.date >= made)].copy()  # noqa: E712 - a column of objects
    first, made = due.code_presentation.map(FIRST_DAY), due.date_registration.clip(lower=0)
    due["made_on"], due["due_on"] = _dates(first, made), _dates(first, due.date)
    due["outcome_on"] = _dates(first, due.date_submitted.clip(lower=made).where(due.date_submitted.notna()))
    return due


def _dates(first: pd.Series, days: pd.Series) -> pd.Series:
    return pd.Series(
        [None if pd.isna(day) else start + timedelta(days=int(day)) for start, day in zip(first, days, strict=True)],
        index=first.index,
        dtype=object,
    )


def _empty(table: str) -> pd.DataFrame:
    from egretscore.records import TABLES

    return pd.DataFrame(columns=list(TABLES[table].column_names), dtype=str)


def run(*arguments: object) -> None:
    """Show a command and run it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ egretscore {shlex.join(words)}", flush=True)
    status = egretscore(words)
    if status:
        sys.exit(status)


def main() -> None:
    """Write the records and run validate, train, score and explain on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the OULAD data set")
    parser.add_argument("--out", type=Path, required=True, help="a folder for records, policy, model and scores")
    parser.add_argument("--keep-unregistered", action="store_true", help="to unregister does not withdraw consent")
    options = parser.parse_args()
    records, policy, model = options.out / "records", options.out / "policy.toml", options.out / "model"
    write_records(options.data, records, keep_unregistered=options.keep_unregistered)
    policy.write_text(policy_text(), encoding="utf-8")
    days = [first + timedelta(days=DAY) for first in FIRST_DAY.values()]
    as_of = [word for day in days for word in ("--as-of", day)]
    run("validate", "--records", records, "--policy", policy)
    run("train", "--records", records, "--policy", policy, *as_of, "--horizon-days", HORIZON_DAYS, "--out", model)
    scores = options.out / "scores-2014B.parquet"
    run("score", "--records", records, "--model", model, "--as-of", days[-1], "--out", scores, "--reasons")
    someone = (
        pd.read_parquet(scores).query("status == 'scored' and subject_id.str.contains('2014B')").subject_id.iloc[0]
    )
    run("explain", someone, "--records", records, "--model", model, "--as-of", days[-1])


if __name__ == "__main__":
    main()
