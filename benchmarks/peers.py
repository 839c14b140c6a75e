"""What a good analyst would write without this library: the same vectors in pandas and in polars.

The declarations of the features say what is counted; how it is counted is written here again, the
way one writes it in each library, and ``city.py`` holds the vectors against ours. Nothing is checked
and nobody's broken row is set aside: the peers are given good records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from egretscore.features import Aggregate, Feature
from egretscore.policy import Policy, WeightSteps
from egretscore.status import Settlement

Frames = Mapping[str, Any]

# What a vector is made from; the rest of the columns is not read.
COLUMNS = {
    "consents": ["subject_id", "letter_version", "adult_confirmed", "granted_on", "withdrawn_on"],
    "civic_points": ["subject_id", "activity", "points", "earned_on", "recorded_on", "excluded_on"],
    "penalties": ["decision_no", "subject_id", "category", "fine_yuan", "decided_on", "effective_on", "revoked_on",
                  "repaired_on", "recorded_on"],
    "commitments": ["commitment_id", "subject_id", "kind", "due_on", "outcome", "outcome_on", "recorded_on"],
    "objections": ["table", "record_id", "subject_id", "filed_on", "resolved_on", "outcome"],
}  # fmt: skip


# ------------------------------------------------------------------------------- pandas


def read_pandas(files: Mapping[str, Sequence[Path]]) -> dict[str, pd.DataFrame]:
    """Read the columns that vectors are made from, days as datetime64."""
    return {
        table: as_pandas(pd.concat([pd.read_parquet(file, columns=COLUMNS[table]) for file in of], ignore_index=True))
        for table, of in files.items()
    }


def as_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose days can be compared and subtracted, and whose amounts are numbers."""
    for column in frame:
        if str(column).endswith("_on"):
            frame[column] = pd.to_datetime(frame[column])
    if "fine_yuan" in frame:
        frame["fine_yuan"] = frame["fine_yuan"].astype("float64")
    return frame


def pandas_vectors(frames: Frames, features: Sequence[Feature], policy: Policy, day: date) -> pd.DataFrame:
    """Return the vectors of everyone who may be scored, index subject_id, ascending."""
    as_of = pd.Timestamp(day)
    scored = _scored_in_pandas(frames["consents"], policy, as_of)
    made = [
        _features_in_pandas(standing(frames, policy, as_of), [f for f in features if f.source == source])
        for source, standing in (
            ("civic_points", _civic_points_in_pandas),
            ("penalties", _penalties_in_pandas),
            ("commitments", _commitments_in_pandas),
        )
    ]
    vectors = pd.concat([of_source.reindex(scored, fill_value=0) for of_source in made], axis=1)
    return vectors[[f.name for f in features]].astype("int32")


def _scored_in_pandas(consents: pd.DataFrame, policy: Policy, as_of: pd.Timestamp) -> pd.Index[Any]:
    consents = consents[consents.granted_on <= as_of]
    covers = consents.letter_version.isin(policy.letters_for("scoring"))
    dates = pd.DataFrame(
        {
            "withdrawn": consents.withdrawn_on.where(consents.withdrawn_on <= as_of),
            "granted": consents.granted_on.where(covers),
            "adult": consents.granted_on.where(covers & consents.adult_confirmed),
            "minor": consents.granted_on.where(covers & ~consents.adult_confirmed),
        }
    )
    latest = dates.groupby(consents.subject_id).max()
    withdrawn = latest.withdrawn.notna() & ~(latest.withdrawn < latest.granted)
    adult = latest.adult.notna() & ~(latest.minor >= latest.adult)
    return latest.index[~withdrawn & latest.granted.notna() & adult]


def _civic_points_in_pandas(frames: Frames, _: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    points = frames["civic_points"]
    stands = (points.recorded_on <= as_of) & ~(points.excluded_on <= as_of)
    return _aged_in_pandas(points.loc[stands, ["subject_id", "activity", "points", "earned_on"]], "earned_on", as_of)


def _penalties_in_pandas(frames: Frames, policy: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    penalties = frames["penalties"]
    severity = {c.id: c.severity for c in policy.categories}
    retention = {s.id: s.retention_days for s in policy.severities}
    penalties = penalties[
        (penalties.recorded_on <= as_of)
        & (penalties.effective_on <= as_of)
        & ~(penalties.revoked_on <= as_of)
        & ~(penalties.repaired_on <= as_of)
        & ~_disputed_in_pandas(frames["objections"], "penalties", penalties, "decision_no", as_of)
    ]
    penalties = penalties.assign(
        severity=penalties.category.map(severity), fine_yuan=np.floor(penalties.fine_yuan.fillna(0))
    )
    penalties = _aged_in_pandas(penalties, "decided_on", as_of)
    return penalties[penalties.age_days < penalties.severity.map(retention).astype("int64")]


def _commitments_in_pandas(frames: Frames, policy: Policy, as_of: pd.Timestamp) -> pd.DataFrame:
    commitments, rules = frames["commitments"], policy.commitments
    commitments = commitments[commitments.recorded_on <= as_of]
    known = commitments.outcome_on <= as_of
    outcome = commitments.outcome.where(known)
    grace = pd.Timedelta(days=rules.grace_days)
    kept = (outcome == "fulfilled") & (commitments.outcome_on <= commitments.due_on + grace)
    disputed = _disputed_in_pandas(frames["objections"], "commitments", commitments, "commitment_id", as_of)
    breached = ~kept & (as_of > commitments.due_on + grace) & ~disputed
    worse = outcome.map({"fulfilled": Settlement.LATE.value, "partly": "partly", "unfulfilled": "unfulfilled"})
    settlement = worse.fillna(Settlement.OVERDUE.value).where(~kept, Settlement.KEPT.value)
    settled_on = commitments.due_on.where(~kept, commitments.outcome_on)
    commitments = commitments.assign(
        settlement=settlement,
        settled_on=settled_on,
        days_ahead=(commitments.due_on - settled_on).dt.days.clip(lower=0),
    )[kept | breached]
    commitments = _aged_in_pandas(commitments, "settled_on", as_of)
    return commitments[commitments.age_days < commitments.settlement.map(_retention(policy)).astype("int64")]


def _disputed_in_pandas(
    objections: pd.DataFrame, table: str, records: pd.DataFrame, record: str, as_of: pd.Timestamp
) -> pd.Series[bool]:
    objections = objections[
        (objections.table == table)
        & (objections.filed_on <= as_of)
        & (~(objections.resolved_on <= as_of) | (objections.outcome == "upheld"))
    ]
    return records[record].isin(objections.record_id)


def _aged_in_pandas(records: pd.DataFrame, day: str, as_of: pd.Timestamp) -> pd.DataFrame:
    days = records[day]
    return records.assign(age_days=(as_of - days).dt.days, month=days.dt.year * 12 + days.dt.month)


def _features_in_pandas(records: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
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


def _retention(policy: Policy) -> dict[str, int]:
    rules = policy.commitments
    return {
        Settlement.KEPT.value: np.iinfo(np.int64).max,
        Settlement.LATE.value: rules.late_retention_days,
        Settlement.PARTLY.value: rules.partly_retention_days,
        Settlement.OVERDUE.value: rules.unkept_retention_days,
        Settlement.UNFULFILLED.value: rules.unkept_retention_days,
    }


# ------------------------------------------------------------------------------- polars


def scan_polars(files: Mapping[str, Sequence[Path]]) -> dict[str, pl.LazyFrame]:
    """Return the tables as polars reads them: lazily, and of each what is asked for."""
    return {table: pl.scan_parquet([str(file) for file in of]).select(COLUMNS[table]) for table, of in files.items()}


def polars_vectors(frames: Frames, features: Sequence[Feature], policy: Policy, day: date) -> pl.DataFrame:
    """Return the vectors of everyone who may be scored: subject_id, ascending, and the features."""
    vectors = _scored_in_polars(frames["consents"], policy, day)
    for source, standing in (
        ("civic_points", _civic_points_in_polars),
        ("penalties", _penalties_in_polars),
        ("commitments", _commitments_in_polars),
    ):
        own = [_in_polars(f) for f in features if f.source == source]
        made = standing(frames, policy, day).group_by("subject_id").agg(own)
        vectors = vectors.join(made, on="subject_id", how="left")
    names = [f.name for f in features]
    return vectors.select("subject_id", pl.col(names).fill_null(0).cast(pl.Int32)).sort("subject_id").collect()


def _scored_in_polars(consents: pl.LazyFrame, policy: Policy, day: date) -> pl.LazyFrame:
    covers = pl.col("letter_version").is_in(policy.letters_for("scoring"))
    adult, granted = pl.col("adult_confirmed"), pl.col("granted_on")
    return (
        consents.filter(granted <= day)
        .group_by("subject_id")
        .agg(
            withdrawn=pl.col("withdrawn_on").filter(pl.col("withdrawn_on") <= day).max(),
            granted=granted.filter(covers).max(),
            adult=granted.filter(covers & adult).max(),
            minor=granted.filter(covers & ~adult).max(),
        )
        .filter(
            pl.col("granted").is_not_null(),
            pl.col("withdrawn").is_null() | (pl.col("withdrawn") < pl.col("granted")),
            pl.col("adult").is_not_null(),
            pl.col("minor").is_null() | (pl.col("minor") < pl.col("adult")),
        )
        .select("subject_id")
    )


def _civic_points_in_polars(frames: Frames, _: Policy, day: date) -> pl.LazyFrame:
    stands = (pl.col("recorded_on") <= day) & ~(pl.col("excluded_on") <= day).fill_null(value=False)
    return _aged_in_polars(frames["civic_points"].filter(stands), "earned_on", day)


def _penalties_in_polars(frames: Frames, policy: Policy, day: date) -> pl.LazyFrame:
    severity = {c.id: c.severity for c in policy.categories}
    retention = {s.id: s.retention_days for s in policy.severities}
    gone = (pl.col("revoked_on") <= day).fill_null(value=False) | (pl.col("repaired_on") <= day).fill_null(value=False)
    penalties = (
        frames["penalties"]
        .filter(pl.col("recorded_on") <= day, pl.col("effective_on") <= day, ~gone)
        .join(_disputed_in_polars(frames["objections"], "penalties", day), left_on="decision_no", right_on="record_id",
              how="anti")
        .with_columns(
            severity=pl.col("category").replace_strict(severity, return_dtype=pl.String),
            fine_yuan=pl.col("fine_yuan").cast(pl.Float64).fill_null(0).floor().cast(pl.Int64),
        )
    )  # fmt: skip
    stands = pl.col("age_days") < pl.col("severity").replace_strict(retention, return_dtype=pl.Int64)
    return _aged_in_polars(penalties, "decided_on", day).filter(stands)


def _commitments_in_polars(frames: Frames, policy: Policy, day: date) -> pl.LazyFrame:
    grace = pl.duration(days=policy.commitments.grace_days)
    known = (pl.col("outcome_on") <= day).fill_null(value=False)
    in_time = (pl.col("outcome_on") <= pl.col("due_on") + grace).fill_null(value=False)
    kept = known & (pl.col("outcome") == "fulfilled").fill_null(value=False) & in_time
    disputed = _disputed_in_polars(frames["objections"], "commitments", day).with_columns(disputed=pl.lit(value=True))
    worse = pl.when(known).then(
        pl.col("outcome").replace_strict({"fulfilled": "late", "partly": "partly", "unfulfilled": "unfulfilled"},
                                         return_dtype=pl.String)
    )  # fmt: skip
    commitments = (
        frames["commitments"]
        .filter(pl.col("recorded_on") <= day)
        .join(disputed, left_on="commitment_id", right_on="record_id", how="left")
        .with_columns(
            kept=kept,
            settlement=pl.when(kept).then(pl.lit("kept")).otherwise(worse.fill_null("overdue")),
            settled_on=pl.when(kept).then(pl.col("outcome_on")).otherwise(pl.col("due_on")),
        )
        .filter(pl.col("kept") | ((pl.lit(day) > pl.col("due_on") + grace) & pl.col("disputed").is_null()))
        .with_columns(days_ahead=(pl.col("due_on") - pl.col("settled_on")).dt.total_days().clip(lower_bound=0))
    )
    stands = pl.col("age_days") < pl.col("settlement").replace_strict(_retention(policy), return_dtype=pl.Int64)
    return _aged_in_polars(commitments, "settled_on", day).filter(stands)


def _disputed_in_polars(objections: pl.LazyFrame, table: str, day: date) -> pl.LazyFrame:
    closed = (pl.col("resolved_on") <= day).fill_null(value=False)
    return (
        objections.filter(
            pl.col("table") == table,
            pl.col("filed_on") <= day,
            ~closed | (pl.col("outcome") == "upheld").fill_null(value=False),
        )
        .select("record_id")
        .unique()
    )


def _aged_in_polars(records: pl.LazyFrame, of: str, day: date) -> pl.LazyFrame:
    days = pl.col(of)
    return records.with_columns(
        age_days=(pl.lit(day) - days).dt.total_days(), month=days.dt.year().cast(pl.Int32) * 12 + days.dt.month()
    )


def _in_polars(f: Feature) -> pl.Expr:
    matches: pl.Expr = pl.lit(value=True)
    for column, words in f.where.items():
        matches &= pl.col(column).is_in(words)
    weight = pl.when(matches).then(_weights_in_polars(f.weights)).otherwise(0)
    made: pl.Expr
    if f.aggregate in {Aggregate.MONTHS, Aggregate.VARIETY}:
        what = "month" if f.aggregate is Aggregate.MONTHS else str(f.column)
        made = pl.col(what).filter(matches & (pl.col("age_days") < f.weights[-1][0])).n_unique()
    elif f.aggregate is Aggregate.SUM:
        made = (weight * pl.col(str(f.column)).cast(pl.Int64)).sum()
    else:
        made = weight.sum()
    if f.aggregate is Aggregate.REPEATS:
        made = (made - 1).clip(lower_bound=0)
    if f.prior is not None:
        against = pl.when(matches).then(0).otherwise(_weights_in_polars(f.prior.against)).sum()
        share = (made * 1000 + f.prior.permille * f.prior.weight) // (made + against + f.prior.weight)
        made = share - f.prior.permille
    return made.cast(pl.Int64).clip(upper_bound=f.cap).alias(f.name)


def _weights_in_polars(steps: WeightSteps) -> pl.Expr:
    weight: pl.Expr = pl.lit(0)
    for days, value in reversed(steps):
        weight = pl.when(pl.col("age_days") < days).then(pl.lit(value)).otherwise(weight)
    return weight.cast(pl.Int64)
