"""From declarations to queries: one per source, and one that joins them into vectors.

Every operation is on whole numbers, so the order of the rows, the number of threads and
the engine do not change a single vector. The queries are what is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp
from sqlglot.expressions import Select, case, column, select

from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy import Policy, WeightSteps
from egretscore.standing import (
    everyone_on_file,
    standing_civic_points,
    standing_commitments,
    standing_penalties,
    status_by_consent,
)
from egretscore.status import Status

ZERO, ONE = exp.Literal.number(0), exp.Literal.number(1)

SOURCES: Mapping[str, Callable[[Policy, int], Select]] = {
    "civic_points": lambda _, younger_than: standing_civic_points(younger_than),
    "penalties": standing_penalties,
    "commitments": standing_commitments,
}


def sources_of(features: Sequence[Feature]) -> list[str]:
    """Return the sources that features are made from, in the order of ``SOURCES``."""
    return [source for source in SOURCES if any(feature.source == source for feature in features)]


def source_query(source: str, features: Sequence[Feature], policy: Policy) -> Select:
    """Return the query that makes a source's features from its standing records.

    Columns: subject_id and one for each feature, for the people in ``scored`` who have
    standing records that are young enough to count in any. Parameter: ``:as_of``.
    """
    own = [feature for feature in features if feature.source == source]
    count_until = max(days for feature in own for days, _ in feature.every_step)
    return (
        select("subject_id")
        .from_(SOURCES[source](policy, count_until).subquery("standing", copy=False))
        .where("subject_id IN (SELECT subject_id FROM scored)", copy=False)
        .group_by("subject_id", copy=False)
        .select(*map(_aggregate, own), copy=False)
    )


def vectors_query(features: Sequence[Feature], policy: Policy) -> Select:
    """Return the query for the vectors of everyone scored on a date, in the order of subject_id.

    Columns: subject_id and one for each feature, 0 where a person has no standing record.
    Parameter: ``:as_of``.
    """
    return _vectors_of(status_by_consent(policy).subquery("statuses"), features, policy).order_by("scored.subject_id")


def _vectors_of(statuses: exp.Subquery | str, features: Sequence[Feature], policy: Policy) -> Select:
    scored = select("subject_id").from_(statuses).where(column("status").eq(Status.SCORED.value))
    query = select("scored.subject_id").from_("scored").with_("scored", as_=scored)
    for source in sources_of(features):
        made = source_query(source, features, policy)
        same_person = f"scored.subject_id = {source}.subject_id"
        query = query.join(made.subquery(source, copy=False), on=same_person, join_type="left", copy=False)
    of_a_blank_file = (exp.func("COALESCE", column(f.name, table=f.source), ZERO).as_(f.name) for f in features)
    return query.select(*of_a_blank_file, copy=False)


def everyone_query(features: Sequence[Feature], policy: Policy) -> Select:
    """Return the query for everyone on file on a date, with the vectors of those who are scored.

    Columns: subject_id, status and one for each feature, 0 where a person is not scored.
    Parameter: ``:as_of``.
    """
    status = exp.func("COALESCE", column("status", table="statuses"), exp.Literal.string(Status.NOT_CONSENTED.value))
    vectors = _vectors_of("statuses", features, policy)
    of_who_is_scored = (exp.func("COALESCE", column(f.name, table="vectors"), ZERO).as_(f.name) for f in features)
    same_person = "everyone.subject_id = {}.subject_id"
    return (
        select("everyone.subject_id", status.as_("status"), *of_who_is_scored)
        .from_(everyone_on_file().subquery("everyone"))
        .with_("statuses", as_=status_by_consent(policy))
        .join("statuses", on=same_person.format("statuses"), join_type="left")
        .join(vectors.subquery("vectors", copy=False), on=same_person.format("vectors"), join_type="left", copy=False)
    )


def _aggregate(feature: Feature) -> exp.Expr:
    of = column(feature.column) if feature.column else None
    value: exp.Expr
    match feature.aggregate:
        case Aggregate.COUNT | Aggregate.SUM:
            value = _total(feature, of)
        case Aggregate.REPEATS:
            value = exp.func("GREATEST", _total(feature) - 1, ZERO)
        case Aggregate.MONTHS:
            value = _different_bits(
                feature, exp.BitwiseLeftShift(this=exp.cast(ONE, "BIGINT"), expression=column("age_months"))
            )
        case Aggregate.VARIETY:
            bits = case(of)
            for bit, word in enumerate(feature.words):
                bits = bits.when(exp.Literal.string(word), exp.Literal.number(2**bit))
            value = _different_bits(feature, bits.else_(ZERO))
        case Aggregate.RATE:
            value = _rate(feature)
    return exp.cast(exp.func("LEAST", value, exp.Literal.number(feature.cap)), "INT").as_(feature.name)


def _total(feature: Feature, of: exp.Expr | None = None) -> exp.Expr:
    return exp.Sum(this=_where(_matches(feature), _by_age(feature.weights, of)))


def _different_bits(feature: Feature, bits: exp.Expr) -> exp.Expr:
    """Return how many different bits the records set that match and are young enough to count."""
    counts = [*_matches(feature), column("age_days") < feature.weights[-1][0]]
    return exp.func("BIT_COUNT", exp.BitwiseOrAgg(this=_where(counts, bits)))


def _rate(feature: Feature) -> exp.Expr:
    prior = feature.prior
    assert prior is not None  # noqa: S101 - a rate declares one
    kept = _total(feature)
    broken = exp.Sum(this=_where([exp.not_(exp.and_(*_matches(feature)))], _by_age(prior.against)))
    share = exp.IntDiv(
        this=exp.paren(kept * 1000 + prior.permille * prior.weight), expression=exp.paren(kept + broken + prior.weight)
    )
    return share - prior.permille


def _matches(feature: Feature) -> list[exp.Expr]:
    return [
        column(name).eq(words[0]) if len(words) == 1 else column(name).isin(*words)
        for name, words in feature.where.items()
    ]


def _by_age(weights: WeightSteps, of: exp.Expr | None = None) -> exp.Case:
    """Return the weight of a record at its age, times a column of it."""
    steps = case()
    for days, weight in weights:
        number = exp.Literal.number(weight)
        steps = steps.when(column("age_days") < days, number if of is None else of if weight == 1 else of * number)
    return steps.else_(ZERO)


def _where(conditions: list[exp.Expr], value: exp.Expr) -> exp.Expr:
    return case().when(exp.and_(*conditions), value).else_(ZERO) if conditions else value
