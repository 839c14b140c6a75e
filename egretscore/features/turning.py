"""Who may change from one date to another: everyone with a record that turns in between.

A record *turns* on the day it comes on file, on the day one of its later cells (an outcome, a
repair) takes effect, and on each day it reaches an age at which it weighs differently or no longer
stands. Status and vector depend on the date in no other way, so a person with no record that turns
between two dates has the same status and the same vector on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from sqlglot import exp
from sqlglot.expressions import case, column, select

from egretscore.features.declaration import Feature
from egretscore.policy import Policy
from egretscore.records.schema import CHECKED
from egretscore.standing import AGE_COUNTS_FROM, kept_in_time, retention_of_breaches, retention_of_penalties
from egretscore.status import Settlement


def turned_query(features: Sequence[Feature], policy: Policy, since: date, as_of: date) -> exp.Query:
    """Return the query for everyone with a record that turns after ``since`` and by ``as_of``.

    Columns: subject_id, each once.
    """
    turning = {
        "civic_points": _reaches("civic_points", _ages(features, "civic_points"), since, as_of),
        "penalties": _penalty_turns(features, policy, since, as_of),
        "commitments": _commitment_turns(features, policy, since, as_of),
    }
    found = []
    for table, of in CHECKED.items():
        turns = [_between(day, {0}, since, as_of) for day in (of.on_file, *of.later_days)]
        turns += [turning[table]] if table in turning else []
        known = column(of.on_file) <= _literal(as_of)
        found.append(select("subject_id").from_(table).where(known, exp.or_(*turns)))
    return exp.union(*found)


def _penalty_turns(features: Sequence[Feature], policy: Policy, since: date, as_of: date) -> exp.Expr:
    retention = set(retention_of_penalties(policy).values())
    return _reaches("penalties", retention | _ages(features, "penalties"), since, as_of)


def _commitment_turns(features: Sequence[Feature], policy: Policy, since: date, as_of: date) -> exp.Expr:
    """Return the condition that a commitment falls past due or reaches an age that counts."""
    kept = (Settlement.KEPT.value,)
    of_kept = [f for f in features if Settlement.KEPT.value in f.where.get("settlement", kept)]
    of_breaches = [f for f in features if f.where.get("settlement") != kept or f.prior is not None]
    past_due = policy.commitments.grace_days + 1
    retention = set(retention_of_breaches(policy).values())
    known = exp.and_(kept_in_time(policy), column("outcome_on") <= _literal(since))
    return (
        case()
        .when(known, _reaches("kept commitments", _ages(of_kept, "commitments"), since, as_of))
        .else_(_reaches("breaches", {past_due} | retention | _ages(of_breaches, "commitments"), since, as_of))
    )


def _ages(features: Iterable[Feature], source: str) -> set[int]:
    """Return the ages, in days, at which the weight of a source's records changes."""
    return {days for feature in features if feature.source == source for days, _ in feature.every_step}


def _reaches(records: str, ages: Iterable[int], since: date, as_of: date) -> exp.Expr:
    """Return the condition that a record reaches one of these ages after one date and by another."""
    return _between(AGE_COUNTS_FROM[records], ages, since, as_of)


def _between(day: str, ages: Iterable[int], since: date, as_of: date) -> exp.Expr:
    """Return the condition that a day reaches one of these ages after one date and by another."""
    reached = ((_earlier(since, age - 1), _earlier(as_of, age)) for age in sorted(ages))
    return exp.or_(*(column(day).between(_literal(first), _literal(last)) for first, last in reached))


def _earlier(day: date, days: int) -> date:
    """Return the day so many days earlier, or the first or last there is."""
    return date.fromordinal(min(max(day.toordinal() - days, date.min.toordinal()), date.max.toordinal()))


def _literal(day: date) -> exp.Cast:
    return exp.cast(exp.Literal.string(day.isoformat()), "DATE")
