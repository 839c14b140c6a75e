"""Consent and standing: who may be scored on a date, and what of their records stands.

Each function returns a query, built with sqlglot, over the tables of
``egretscore.records.schema``. Its one parameter is ``:as_of``, the date of the question.
Nothing recorded after that date is seen, and of a row recorded by then no date that lies
after it: next week's repair does not exist today.

What the queries hold (the promises of the design):

- consent in force, for the purpose, of a confirmed adult, or nothing is used;
- civic points that their holder has not excluded;
- penalties with final effect, inside the retention of their severity, not revoked, not
  repaired, not disputed, and with no objection upheld; minor ones never;
- breaches of commitments inside their retention and neither disputed nor objected to with
  success. An objection takes away what counts against its holder, never what counts for
  them, so that to win one can only help. A record that other rows put in doubt (see
  ``egretscore.records.intake.checking``) reads as disputed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp
from sqlglot.expressions import Select, case, column, condition, select

from egretscore.policy import Policy
from egretscore.status import Settlement, Status

AGE_COUNTS_FROM: Final[Mapping[str, str]] = {
    "civic_points": "earned_on",
    "penalties": "decided_on",
    "kept commitments": "outcome_on",
    "breaches": "due_on",
}
"""The day of a record from which its age counts: for what it weighs, and for how long it stands."""


def status_by_consent(policy: Policy, purpose: str = "scoring") -> Select:
    """Return the query for the status of everyone whose consent is on file.

    A consent is in force from ``granted_on`` until the person withdraws: a withdrawal ends
    every consent granted up to that day. The latest letter that covers the purpose decides
    whether the person is a confirmed adult; where letters of one day disagree, they are not.
    A letter of no earlier day that says they are not adult is believed, whatever it covers.

    Columns: subject_id, status.
    """
    covers = _one_of("letter_version", policy.letters_for(purpose))
    latest = {
        "granted_on": covers,
        "adult_on": exp.and_(covers, "adult_confirmed"),
        "minor_on": condition("NOT adult_confirmed"),
    }
    dates = (
        select("subject_id", "MAX(CASE WHEN withdrawn_on <= :as_of THEN withdrawn_on END) AS withdrawn_on")
        .select(*(exp.Max(this=case().when(holds, "granted_on")).as_(name) for name, holds in latest.items()))
        .from_("consents")
        .where("granted_on <= :as_of")
        .group_by("subject_id")
    )
    status = (
        case()
        .when("withdrawn_on >= COALESCE(granted_on, withdrawn_on)", _text(Status.WITHDRAWN))
        .when("granted_on IS NULL", _text(Status.NOT_CONSENTED))
        .when("adult_on IS NULL OR minor_on >= adult_on", _text(Status.NOT_ADULT))
        .else_(_text(Status.SCORED))
    )
    return select("subject_id", status.as_("status")).from_(dates.subquery("dates", copy=False))


def everyone_on_file() -> Select:
    """Return the query for everyone named in a row known by the as-of date.

    Columns: subject_id.
    """
    return select("subject_id").from_("people").where("since <= :as_of")


def standing_civic_points(younger_than: int) -> Select:
    """Return the query for the civic points that stand and are younger than so many days.

    Columns: subject_id, activity, points, age_days, age_months.
    """
    return (
        select("subject_id", "activity", "points", *_ages(AGE_COUNTS_FROM["civic_points"]))
        .from_("civic_points")
        .where("recorded_on <= :as_of", "excluded_on IS NULL OR excluded_on > :as_of")
        .where(_age_days(AGE_COUNTS_FROM["civic_points"]) < younger_than)
    )


def retention_of_penalties(policy: Policy) -> Mapping[str, int]:
    """Return for how many days penalties stand, by severity: those of no retention never do."""
    return {level.id: level.retention_days for level in policy.severities if level.retention_days}


def standing_penalties(policy: Policy, younger_than: int) -> Select:
    """Return the query for the penalties that stand and are younger than so many days.

    Columns: subject_id, severity, fine_yuan (whole yuan), age_days, age_months.
    """
    decided_on = AGE_COUNTS_FROM["penalties"]
    severity, stands = case(), []
    for level, retention_days in retention_of_penalties(policy).items():
        of_this_level = _one_of("category", policy.categories_of(level))
        severity = severity.when(of_this_level, _text(level))
        stands.append(exp.and_(of_this_level, _age_days(decided_on) < retention_days))
    return (
        select("penalties.subject_id", severity.as_("severity"))
        .select("CAST(FLOOR(COALESCE(fine_yuan, 0)) AS BIGINT) AS fine_yuan", *_ages(decided_on))
        .from_("penalties")
        .join(_disputed("penalties"), on=_same_record("penalties", "decision_no"), join_type="left")
        .where(
            "recorded_on <= :as_of",
            "effective_on <= :as_of",
            "revoked_on IS NULL OR revoked_on > :as_of",
            "repaired_on IS NULL OR repaired_on > :as_of",
            "disputed.record_id IS NULL",
            exp.or_(*stands),
            _age_days(decided_on) < younger_than,
        )
    )


def settled_commitments(policy: Policy, due_within: int | None = None) -> Select:
    """Return the query for how every commitment on file was settled by the as-of date.

    Of all of them, or of those alone that were due within so many days before it, or later.

    Being late or past due begins after the policy's days of grace. Commitments that are
    open, and breaches under dispute, have no settlement (NULL). A commitment kept is as old
    as the day it was kept; a breach is as old as its due date.

    Columns: subject_id, kind, due_on, outcome_on, settlement, settled_on.
    """
    grace = policy.commitments.grace_days
    settlement = (
        case()
        .when(kept_in_time(policy), _text(Settlement.KEPT))
        .when(f"DATEDIFF(:as_of, due_on) <= {grace} OR disputed", exp.null())
        .when("outcome = 'fulfilled'", _text(Settlement.LATE))
        .when("outcome = 'partly'", _text(Settlement.PARTLY))
        .when("outcome = 'unfulfilled'", _text(Settlement.UNFULFILLED))
        .else_(_text(Settlement.OVERDUE))
    )
    known = (
        select("commitments.subject_id", "kind", "due_on")
        .select("CASE WHEN outcome_on <= :as_of THEN outcome END AS outcome")
        .select("CASE WHEN outcome_on <= :as_of THEN outcome_on END AS outcome_on")
        .select("disputed.record_id IS NOT NULL AS disputed")
        .from_("commitments")
        .join(_disputed("commitments"), on=_same_record("commitments", "commitment_id"), join_type="left")
        .where("recorded_on <= :as_of")
    )
    if due_within is not None:
        known = known.where(_age_days("due_on") < due_within)
    kept_on, broken_on = AGE_COUNTS_FROM["kept commitments"], AGE_COUNTS_FROM["breaches"]
    return (
        select("subject_id", "kind", "due_on", "outcome_on", settlement.as_("settlement"))
        .select(case().when(kept_in_time(policy), kept_on).else_(broken_on).as_("settled_on"))
        .from_(known.subquery("known", copy=False))
    )


def kept_in_time(policy: Policy) -> str:
    """Return the condition that a commitment with a known outcome was kept, by the policy's days of grace."""
    return f"outcome = 'fulfilled' AND DATEDIFF(outcome_on, due_on) <= {policy.commitments.grace_days}"


def retention_of_breaches(policy: Policy) -> Mapping[Settlement, int]:
    """Return for how many days breaches of commitments stand, by how they were settled."""
    rules = policy.commitments
    return {
        Settlement.LATE: rules.late_retention_days,
        Settlement.PARTLY: rules.partly_retention_days,
        Settlement.OVERDUE: rules.unkept_retention_days,
        Settlement.UNFULFILLED: rules.unkept_retention_days,
    }


def standing_commitments(policy: Policy, younger_than: int) -> Select:
    """Return the query for the settled commitments that stand and are younger than so many days.

    Those that were kept stand for good, breaches within retention.

    Columns: subject_id, kind, settlement, days_ahead, age_days, age_months.
    """
    retention = retention_of_breaches(policy).items()
    stands = [exp.and_(_is(how), _age_days("settled_on") < days) for how, days in retention]
    # One that was kept is younger than its due date by the days of grace at most.
    due_within = younger_than + policy.commitments.grace_days
    return (
        select("subject_id", "kind", "settlement")
        .select("GREATEST(DATEDIFF(due_on, settled_on), 0) AS days_ahead", *_ages("settled_on"))
        .from_(settled_commitments(policy, due_within).subquery("settled", copy=False))
        .where(exp.or_(_is(Settlement.KEPT), *stands), _age_days("settled_on") < younger_than)
    )


def _is(how: Settlement) -> exp.Expr:
    return column("settlement").eq(how.value)


def _disputed(table: str) -> exp.Subquery:
    """Return the records of a table to which an objection is open or was upheld, or which are in doubt."""
    of_table = column("table", quoted=True).eq(table)
    objected_to = (
        select("record_id", "subject_id")
        .from_("objections")
        .where(
            of_table,
            "filed_on <= :as_of",
            "resolved_on IS NULL OR resolved_on > :as_of OR outcome = 'upheld'",
        )
    )
    doubted = select("record_id", "subject_id").from_("doubts").where(of_table, "since <= :as_of")
    return exp.union(objected_to, doubted).subquery("disputed")


def _same_record(table: str, record: str) -> exp.Expr:
    return condition(f"{table}.{record} = disputed.record_id AND {table}.subject_id = disputed.subject_id")


def _age_days(day: str) -> exp.Expr:
    return condition(f"DATEDIFF(:as_of, {day})")


def _ages(day: str) -> tuple[exp.Expr, exp.Expr]:
    """Return the age of a day in days, and in calendar months (0 in the month of the as-of date)."""
    months = condition(f"(YEAR(:as_of) * 12 + MONTH(:as_of)) - (YEAR({day}) * 12 + MONTH({day}))")
    return _age_days(day).as_("age_days"), months.as_("age_months")


def _one_of(name: str, words: tuple[str, ...]) -> exp.Expr:
    return column(name).isin(*words) if words else exp.false()


def _text(word: str) -> exp.Literal:
    return exp.Literal.string(str(word))
