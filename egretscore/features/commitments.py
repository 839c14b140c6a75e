"""Features from commitments: kept ones lift, breaches hold back.

Breaches are counted in nested steps (late or worse, in part or worse, not kept, failed for
good), so that settling one, however late, takes it out of the steps above and adds it to
none: to fulfil an overdue commitment can only help.
"""

from __future__ import annotations

from functools import partial

from egretscore.features.declaration import Aggregate, Feature, Prior
from egretscore.policy import Policy
from egretscore.status import Settlement

KEPT = (Settlement.KEPT.value,)
UNFULFILLED = (Settlement.UNFULFILLED.value,)
UNKEPT = (Settlement.OVERDUE.value, *UNFULFILLED)
PARTLY_OR_WORSE = (Settlement.PARTLY.value, *UNKEPT)
LATE_OR_WORSE = (Settlement.LATE.value, *PARTLY_OR_WORSE)


def commitment_features(policy: Policy) -> tuple[Feature, ...]:
    """Declare the features made from the commitments that stand."""
    return (*_kept(policy), *_breached(policy), _keeping_rate(policy))


def _kept(policy: Policy) -> tuple[Feature, ...]:
    weights = policy.weights_by_age
    kept = partial(Feature, source="commitments", direction=+1)
    kinds = tuple(kind.id for kind in policy.kinds)
    by_group = tuple(
        kept(
            name=f"kept_{group.id}",
            code=f"CM-KEPT-{group.id.upper()}",
            aggregate=Aggregate.COUNT,
            where={"settlement": KEPT, "kind": policy.kinds_of(group.id)},
            weights=weights.kept,
            cap=60,
            indicator=group.indicator,
            zh=f"按时履行：{group.zh}",
            en=f"kept in time: {group.en}",
            unit_zh="次",
            unit_en="",
        )
        for group in policy.groups
    )
    return (
        *by_group,
        kept(
            name="kept_recent",
            code="CM-KEPT-RECENT",
            aggregate=Aggregate.COUNT,
            where={"settlement": KEPT},
            weights=weights.recent_kept,
            cap=20,
            indicator="positive",
            zh="近期按时履行的承诺",
            en="commitments kept in time lately",
            unit_zh="次",
            unit_en="",
        ),
        kept(
            name="kept_months",
            code="CM-KEPT-MONTHS",
            aggregate=Aggregate.MONTHS,
            where={"settlement": KEPT},
            weights=weights.active_months,
            cap=24,
            indicator="basic",
            zh="有按时履约记录的月数",
            en="months with a commitment kept in time",
            unit_zh="个月",
            unit_en="months",
        ),
        kept(
            name="kept_variety",
            code="CM-KEPT-VARIETY",
            aggregate=Aggregate.VARIETY,
            column="kind",
            words=kinds,
            where={"settlement": KEPT},
            weights=weights.active_months,
            cap=len(kinds),
            indicator="basic",
            zh="按时履行的承诺种类",
            en="kinds of commitment kept in time",
            unit_zh="种",
            unit_en="",
        ),
        kept(
            name="kept_days_ahead",
            code="CM-KEPT-AHEAD",
            aggregate=Aggregate.SUM,
            column="days_ahead",
            where={"settlement": KEPT},
            weights=weights.kept,
            cap=600,
            indicator="positive",
            zh="提前履行的天数",
            en="days by which commitments were kept ahead of time",
            unit_zh="天",
            unit_en="days",
        ),
    )


def _breached(policy: Policy) -> tuple[Feature, ...]:
    weights = policy.weights_by_age
    breach = partial(
        Feature,
        source="commitments",
        aggregate=Aggregate.COUNT,
        direction=-1,
        indicator="breach",
        unit_zh="次",
        unit_en="",
    )
    by_group = tuple(
        breach(
            name=f"late_or_worse_{group.id}",
            code=f"CM-LATE-{group.id.upper()}",
            where={"settlement": LATE_OR_WORSE, "kind": policy.kinds_of(group.id)},
            weights=weights.unkept,
            cap=20,
            zh=f"未按时履行：{group.zh}",
            en=f"late or worse: {group.en}",
        )
        for group in policy.groups
    )
    return (
        *by_group,
        breach(
            name="partly_or_worse",
            code="CM-PARTLY",
            where={"settlement": PARTLY_OR_WORSE},
            weights=weights.unkept,
            cap=20,
            zh="仅部分履行或未履行的承诺",
            en="commitments kept in part or not at all",
        ),
        breach(
            name="unkept",
            code="CM-UNKEPT",
            where={"settlement": UNKEPT},
            weights=weights.unkept,
            cap=20,
            zh="逾期未履行的承诺",
            en="commitments not kept",
        ),
        breach(
            name="unkept_recent",
            code="CM-UNKEPT-RECENT",
            where={"settlement": UNKEPT},
            weights=weights.recent_unkept,
            cap=10,
            zh="近期逾期未履行的承诺",
            en="commitments not kept lately",
        ),
        breach(
            name="unfulfilled",
            code="CM-UNFULFILLED",
            where={"settlement": UNFULFILLED},
            weights=weights.unkept,
            cap=12,
            zh="已认定未履行的承诺",
            en="commitments found unfulfilled",
        ),
    )


def _keeping_rate(policy: Policy) -> Feature:
    rules, weights = policy.commitments, policy.weights_by_age
    return Feature(
        name="keeping_rate",
        code="CM-RATE",
        source="commitments",
        aggregate=Aggregate.RATE,
        where={"settlement": KEPT},
        weights=weights.kept,
        cap=1000 - rules.prior_permille,
        direction=+1,
        indicator="positive",
        zh="按时履约率（与起始值相比）",
        en="share of commitments kept in time, against the starting value",
        unit_zh="‰",
        unit_en="in a thousand",
        prior=Prior(rules.prior_permille, rules.prior_weight, weights.unkept),
    )
