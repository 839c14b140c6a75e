"""Snapshots to train on: what was known of people on a date, and how their later commitments ended.

The outcome of a snapshot is the share of the person's commitments falling due in the
horizon after it that were kept in time. Left out are commitments under dispute, and those
that were already settled on the date itself: a score is no forecast of what is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp
from sqlglot.expressions import Select, column, select

from egretscore.arrays import numpy_numbers
from egretscore.features import Feature
from egretscore.features.query import vectors_query
from egretscore.policy import Policy
from egretscore.records import Records
from egretscore.records.schema import LATEST
from egretscore.standing import settled_commitments, status_by_consent
from egretscore.status import Settlement, Status


def known_after(horizon_days: int, policy: Policy) -> timedelta:
    """Return how long after a snapshot the outcomes of all commitments due in its horizon are known."""
    return timedelta(days=horizon_days + policy.commitments.grace_days + 1)


@dataclass(frozen=True, eq=False)
class Snapshots:
    """People on dates: one row for each person and date with commitments falling due after it.

    Attributes
    ----------
    subject_ids : ndarray of str, shape (n,)
    as_of : ndarray of datetime64[D], shape (n,)
    vectors : ndarray of int32, shape (n, n_features)
    kept : ndarray of float64, shape (n,)
        The share of the commitments falling due that were kept in time.
    """

    subject_ids: NDArray[np.object_]
    as_of: NDArray[np.datetime64]
    vectors: NDArray[np.int32]
    kept: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Snapshots:
        return Snapshots(self.subject_ids[chosen], self.as_of[chosen], self.vectors[chosen], self.kept[chosen])

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over dates, vectors and outcomes, without the ids."""
        digest = hashlib.sha256()
        for part, kind in ((self.as_of, "datetime64[D]"), (self.vectors, "<i4"), (self.kept, "<f8")):
            digest.update(part.astype(kind).tobytes())
        return digest.hexdigest()


def take_snapshots(
    records: Records, features: Sequence[Feature], policy: Policy, dates: Sequence[date], horizon_days: int
) -> Snapshots:
    """Take a snapshot of everyone who may be learnt from, on each date.

    That is everyone who could be scored on the date and whose consent, given by the day the
    last record came on file, covers training and is not withdrawn on any day.
    """
    sql = _snapshot_query(features, policy).sql("duckdb")
    parts = [_snapshot(records, sql, policy, day, horizon_days) for day in sorted(set(dates))]
    return Snapshots(
        np.concatenate([part.subject_ids for part in parts]),
        np.concatenate([part.as_of for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.kept for part in parts]),
    )


def _snapshot(records: Records, sql: str, policy: Policy, day: date, horizon_days: int) -> Snapshots:
    last_due = day + timedelta(days=horizon_days)
    found = records.ask(
        sql,
        as_of=day,
        last_due=last_due,
        outcomes_known_on=day + known_after(horizon_days, policy),
        last_day=records.last_day,
        end_of_file=date.fromisoformat(LATEST),
    )
    subject_ids, kept = np.array(found["subject_id"].to_pylist(), dtype=object), numpy_numbers(found["kept"])
    features = found.drop_columns(["subject_id", "kept"]).columns
    vectors = np.column_stack([numpy_numbers(of_feature).astype(np.int32) for of_feature in features])
    return Snapshots(subject_ids, np.full(len(kept), np.datetime64(day, "D")), vectors, kept)


def _snapshot_query(features: Sequence[Feature], policy: Policy) -> Select:
    """Return the query for vectors with outcomes, of people whose consent covers training.

    Parameters: ``:as_of`` and ``:last_due``, between which commitments fall due,
    ``:outcomes_known_on``, ``:last_day`` and ``:end_of_file``.
    """
    consent = status_by_consent(policy, "training")
    given, not_withdrawn = (
        select("subject_id").from_(_at(day, consent).subquery("people")).where(column("status").eq(Status.SCORED.value))
        for day in ("last_day", "end_of_file")
    )
    outcomes = (
        select(
            "subject_id", exp.Avg(this=exp.cast(column("settlement").eq(Settlement.KEPT.value), "DOUBLE")).as_("kept")
        )
        .from_(_at("outcomes_known_on", settled_commitments(policy)).subquery("settled"))
        .where(
            "due_on > :as_of",
            "due_on <= :last_due",
            "settlement IS NOT NULL",
            "outcome_on IS NULL OR outcome_on > :as_of",
            exp.In(this=column("subject_id"), query=given.subquery()),
            exp.In(this=column("subject_id"), query=not_withdrawn.subquery()),
        )
        .group_by("subject_id")
    )
    return (
        select("vectors.*", "outcomes.kept")
        .from_(vectors_query(features, policy).subquery("vectors"))
        .join(outcomes.subquery("outcomes"), on="vectors.subject_id = outcomes.subject_id")
        .order_by("vectors.subject_id")
    )


def _at(day: str, query: Select) -> Select:
    """Return a query with its as-of date renamed to another parameter."""
    renamed = query.copy()
    for placeholder in renamed.find_all(exp.Placeholder):
        placeholder.set("this", day)
    return renamed
