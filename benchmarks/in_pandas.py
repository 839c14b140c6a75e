"""Everyone's vectors as one writes it in pandas; see ``peers.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from peers import COLUMNS, counts_until, retention

from egretscore.features import Aggregate, Feature
from egretscore.policy import Policy, WeightSteps
from egretscore.status import Settlement

Frames = Mapping[str, pd.DataFrame]


def read(files: Mapping[str, Sequence[Path]]) -> dict[str, pd.DataFrame]:
    """Read the columns that vectors are made from, days as datetime64."""
    return {
        table: ready(pd.concat([pd.read_parquet(file, columns=COLUMNS[table]) for file in of], ignore_index=True))
        for table, of in files.items()
    }


def ready(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose days can be compared and subtracted, and whose amounts are numbers."""
    for column in frame:
        if str(column).endswith("_on"):
            frame[column] = pd.to_datetime(frame[column])
    if "fine_yuan" in frame:
        frame["fine_yuan"] = frame["fine_yuan"].astype("float64")
    return frame


def vectors(frames: Frames, features: Sequence[Feature], policy: Policy, day: date) -> pd.DataFrame:
    """Return the vectors of everyone who may be scored, index subject_id, ascending."""
    as_of = pd.Timestamp(day)
    scored = _scored(frames["consents"], policy, as_of)
    made = []
    for source, standing in (
        ("civic_points", _civic_points),
        ("penalties", _penalties),
        ("commitments", _commitments),
    ):
        own = [f for f in features if f.source == source]
        records = standing(frames, policy, as_of)
        made.append(_features(records[records.age_days < counts_until(own)], own))
    found = pd.concat([of_source.reindex(scored, fill_value=0) for of_source in made], axis=1)
    return found[[f.name for f in features]].astype("int32")


def _scored(consents: pd.DataFrame, policy: Policy, as_of: pd.Timestamp) -> pd.Index[Any]:
    consents = consents[consents.granted_on <= as_of]
    covers = consents.letter_version.isin(policy.letters_for("scoring"))
    dates = pd.DataFrame(
        {
            "withdrawn": consents.withdrawn_on.where(consents.withdrawn_on <= as_of),
            "granted": consents.granted_on.where(covers),
            "adult": consents.granted_on.where(covers & consents.adult_confirmed),
            "minor": consents.granted_on.where(~consents.adult_confirmed),
        }
    )
    latest = dates.groupby(consents.subject_id).max()
    withdrawn = latest.withdrawn.notna() & ~(latest.withdrawn < latest.granted)
    adult = latest.adult.notna() & ~(latest.minor >= latest.adult)
    return latest.index[~withdrawn & latest.granted.notna() & adult]


def _civic_points(frames: Frames, _: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    points = frames["civic_points"]
    stands = (points.recorded_on <= as_of) & ~(points.excluded_on <= as_of)
    return _aged(points.loc[stands, ["subject_id", "activity", "points", "earned_on"]], "earned_on", as_of)


def _penalties(frames: Frames, policy: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    penalties = frames["penalties"]
    severity = {c.id: c.severity for c in policy.categories}
    retention = {s.id: s.retention_days for s in policy.severities}
    penalties = penalties[
        (penalties.recorded_on <= as_of)
        & (penalties.effective_on <= as_of)
        & ~(penalties.revoked_on <= as_of)
        & ~(penalties.repaired_on <= as_of)
        & ~_disputed(frames["objections"], "penalties", penalties, "decision_no", as_of)
    ]
    penalties = penalties.assign(
        severity=penalties.category.map(severity), fine_yuan=np.floor(penalties.fine_yuan.fillna(0))
    )
    penalties = _aged(penalties, "decided_on", as_of)
    return penalties[penalties.age_days < penalties.severity.map(retention).astype("int64")]


def _commitments(frames: Frames, policy: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    commitments, rules = frames["commitments"], policy.commitments
    commitments = commitments[commitments.recorded_on <= as_of]
    known = commitments.outcome_on <= as_of
    outcome = commitments.outcome.where(known)
    grace = pd.Timedelta(days=rules.grace_days)
    kept = (outcome == "fulfilled") & (commitments.outcome_on <= commitments.due_on + grace)
    disputed = _disputed(frames["objections"], "commitments", commitments, "commitment_id", as_of)
    breached = ~kept & (as_of > commitments.due_on + grace) & ~disputed
    worse = outcome.map({"fulfilled": Settlement.LATE.value, "partly": "partly", "unfulfilled": "unfulfilled"})
    settlement = worse.fillna(Settlement.OVERDUE.value).where(~kept, Settlement.KEPT.value)
    settled_on = commitments.due_on.where(~kept, commitments.outcome_on)
    commitments = commitments.assign(
        settlement=settlement,
        settled_on=settled_on,
        days_ahead=(commitments.due_on - settled_on).dt.days.clip(lower=0),
    )[kept | breached]
    commitments = _aged(commitments, "settled_on", as_of)
    return commitments[commitments.age_days < commitments.settlement.map(retention(policy)).astype("int64")]


def _disputed(
    objections: pd.DataFrame, table: str, records: pd.DataFrame, record: str, as_of: pd.Timestamp
) -> pd.Series[bool]:
    objections = objections[
        (objections.table == table)
        & (objections.filed_on <= as_of)
        & (~(objections.resolved_on <= as_of) | (objections.outcome == "upheld"))
    ]
    return records[record].isin(objections.record_id)


def _aged(records: pd.DataFrame, day: str, as_of: pd.Timestamp) -> pd.DataFrame:
    days = records[day]
    return records.assign(age_days=(as_of - days).dt.days, month=days.dt.year * 12 + days.dt.month)


def _features(records: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    of_row: dict[str, Any] = {}
    apart: dict[str, pd.Series[Any]] = {}
    for f in features:
        matches = np.ones(len(records), dtype=bool)
        for column, words in f.where.items():
            matches &= records[column].isin(words).to_numpy()
        weight = _weights(records.age_days.to_numpy(), f.weights) * matches
        if f.aggregate in {Aggregate.MONTHS, Aggregate.VARIETY}:
            what = "month" if f.aggregate is Aggregate.MONTHS else f.column
            counts = matches & (records.age_days < f.weights[-1][0]).to_numpy()
            apart[f.name] = records.loc[counts, ["subject_id", what]].drop_duplicates().groupby("subject_id").size()
        elif f.aggregate is Aggregate.SUM:
            of_row[f.name] = weight * records[f.column].to_numpy()
        else:
            of_row[f.name] = weight
        if f.prior is not None:
            of_row["against"] = _weights(records.age_days.to_numpy(), f.prior.against) * ~matches
    sums = pd.DataFrame(of_row, index=records.index).groupby(records.subject_id).sum()
    for f in features:
        if f.aggregate is Aggregate.REPEATS:
            sums[f.name] = (sums[f.name] - 1).clip(lower=0)
        if f.prior is not None:
            prior = f.prior
            share = (sums[f.name] * 1000 + prior.permille * prior.weight) // (
                sums[f.name] + sums.against + prior.weight
            )
            sums[f.name] = share - prior.permille
        if f.name in apart:
            sums[f.name] = apart[f.name].reindex(sums.index, fill_value=0)
        sums[f.name] = sums[f.name].clip(upper=f.cap)
    return sums[[f.name for f in features]]


def _weights(age_days: NDArray[np.int64], steps: WeightSteps) -> NDArray[np.int64]:
    return np.select([age_days < days for days, _ in steps], [weight for _, weight in steps], 0)
