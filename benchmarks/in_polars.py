"""Everyone's vectors as one writes it in polars; see ``peers.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl
from peers import COLUMNS, counts_until, retention

from egretscore.features import Aggregate, Feature
from egretscore.policy import Policy, WeightSteps

Frames = Mapping[str, pl.LazyFrame]


def scan(files: Mapping[str, Sequence[Path]]) -> dict[str, pl.LazyFrame]:
    """Return the tables as polars reads them: lazily, and of each what is asked for."""
    return {table: pl.scan_parquet([str(file) for file in of]).select(COLUMNS[table]) for table, of in files.items()}


def vectors(frames: Frames, features: Sequence[Feature], policy: Policy, day: date) -> pl.DataFrame:
    """Return the vectors of everyone who may be scored: subject_id, ascending, and the features."""
    found = _scored(frames["consents"], policy, day)
    for source, standing in (
        ("civic_points", _civic_points),
        ("penalties", _penalties),
        ("commitments", _commitments),
    ):
        own = [f for f in features if f.source == source]
        records = standing(frames, policy, day).filter(pl.col("age_days") < counts_until(own))
        made = records.group_by("subject_id").agg(map(_feature, own))
        found = found.join(made, on="subject_id", how="left")
    names = [f.name for f in features]
    return found.select("subject_id", pl.col(names).fill_null(0).cast(pl.Int32)).sort("subject_id").collect()


def _scored(consents: pl.LazyFrame, policy: Policy, day: date) -> pl.LazyFrame:
    covers = pl.col("letter_version").is_in(policy.letters_for("scoring"))
    adult, granted = pl.col("adult_confirmed"), pl.col("granted_on")
    return (
        consents.filter(granted <= day)
        .group_by("subject_id")
        .agg(
            withdrawn=pl.col("withdrawn_on").filter(pl.col("withdrawn_on") <= day).max(),
            granted=granted.filter(covers).max(),
            adult=granted.filter(covers & adult).max(),
            minor=granted.filter(~adult).max(),
        )
        .filter(
            pl.col("granted").is_not_null(),
            pl.col("withdrawn").is_null() | (pl.col("withdrawn") < pl.col("granted")),
            pl.col("adult").is_not_null(),
            pl.col("minor").is_null() | (pl.col("minor") < pl.col("adult")),
        )
        .select("subject_id")
    )


def _civic_points(frames: Frames, _: Policy, day: date) -> pl.LazyFrame:
    stands = (pl.col("recorded_on") <= day) & ~(pl.col("excluded_on") <= day).fill_null(value=False)
    return _aged(frames["civic_points"].filter(stands), "earned_on", day)


def _penalties(frames: Frames, policy: Policy, day: date) -> pl.LazyFrame:
    severity = {c.id: c.severity for c in policy.categories}
    retention = {s.id: s.retention_days for s in policy.severities}
    gone = (pl.col("revoked_on") <= day).fill_null(value=False) | (pl.col("repaired_on") <= day).fill_null(value=False)
    penalties = (
        frames["penalties"]
        .filter(pl.col("recorded_on") <= day, pl.col("effective_on") <= day, ~gone)
        .join(_disputed(frames["objections"], "penalties", day), left_on="decision_no", right_on="record_id",
              how="anti")
        .with_columns(
            severity=pl.col("category").replace_strict(severity, return_dtype=pl.String),
            fine_yuan=pl.col("fine_yuan").cast(pl.Float64).fill_null(0).floor().cast(pl.Int64),
        )
    )  # fmt: skip
    stands = pl.col("age_days") < pl.col("severity").replace_strict(retention, return_dtype=pl.Int64)
    return _aged(penalties, "decided_on", day).filter(stands)


def _commitments(frames: Frames, policy: Policy, day: date) -> pl.LazyFrame:
    grace = pl.duration(days=policy.commitments.grace_days)
    known = (pl.col("outcome_on") <= day).fill_null(value=False)
    in_time = (pl.col("outcome_on") <= pl.col("due_on") + grace).fill_null(value=False)
    kept = known & (pl.col("outcome") == "fulfilled").fill_null(value=False) & in_time
    disputed = _disputed(frames["objections"], "commitments", day).with_columns(disputed=pl.lit(value=True))
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
    stands = pl.col("age_days") < pl.col("settlement").replace_strict(retention(policy), return_dtype=pl.Int64)
    return _aged(commitments, "settled_on", day).filter(stands)


def _disputed(objections: pl.LazyFrame, table: str, day: date) -> pl.LazyFrame:
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


def _aged(records: pl.LazyFrame, of: str, day: date) -> pl.LazyFrame:
    days = pl.col(of)
    return records.with_columns(
        age_days=(pl.lit(day) - days).dt.total_days(), month=days.dt.year().cast(pl.Int32) * 12 + days.dt.month()
    )


def _feature(f: Feature) -> pl.Expr:
    matches: pl.Expr = pl.lit(value=True)
    for column, words in f.where.items():
        matches &= pl.col(column).is_in(words)
    weight = pl.when(matches).then(_weights(f.weights)).otherwise(0)
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
        against = pl.when(matches).then(0).otherwise(_weights(f.prior.against)).sum()
        share = (made * 1000 + f.prior.permille * f.prior.weight) // (made + against + f.prior.weight)
        made = share - f.prior.permille
    return made.cast(pl.Int64).clip(upper_bound=f.cap).alias(f.name)


def _weights(steps: WeightSteps) -> pl.Expr:
    weight: pl.Expr = pl.lit(0)
    for days, value in reversed(steps):
        weight = pl.when(pl.col("age_days") < days).then(pl.lit(value)).otherwise(weight)
    return weight.cast(pl.Int64)
