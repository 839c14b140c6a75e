"""Features from penalties: only those that stand, and minor ones never."""

from __future__ import annotations

from functools import partial

from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy import Policy, SeverityLevel


def penalty_features(policy: Policy) -> tuple[Feature, ...]:
    """Declare the features made from the penalties that stand."""
    weights = policy.weights_by_age
    penalty = partial(Feature, source="penalties", direction=-1, indicator="breach")
    as_long_as_it_stands = ((max(severity.retention_days for severity in policy.severities), 1),)
    return (
        penalty(
            name="penalties_general",
            code="PN-GENERAL",
            aggregate=Aggregate.COUNT,
            where={"severity": (SeverityLevel.GENERAL.value,)},
            weights=weights.general_penalties,
            cap=6,
            zh="有效的一般失信行政处罚",
            en="general penalties that stand",
            unit_zh="件",
            unit_en="",
        ),
        penalty(
            name="penalties_serious",
            code="PN-SERIOUS",
            aggregate=Aggregate.COUNT,
            where={"severity": (SeverityLevel.SERIOUS.value,)},
            weights=weights.serious_penalties,
            cap=9,
            zh="有效的严重失信行政处罚",
            en="serious penalties that stand",
            unit_zh="件",
            unit_en="",
        ),
        penalty(
            name="penalties_repeated",
            code="PN-REPEATED",
            aggregate=Aggregate.REPEATS,
            where={},
            weights=as_long_as_it_stands,
            cap=5,
            zh="有效行政处罚中重复的",
            en="penalties that stand beyond the first",
            unit_zh="件",
            unit_en="",
        ),
        penalty(
            name="penalties_fines",
            code="PN-FINES",
            aggregate=Aggregate.SUM,
            column="fine_yuan",
            where={},
            weights=as_long_as_it_stands,
            cap=20_000,
            zh="有效行政处罚的罚款总额（每笔角分不计）",
            en="fines of the penalties that stand, each rounded down to whole yuan",
            unit_zh="元",
            unit_en="yuan",
        ),
    )
