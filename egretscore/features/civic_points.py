"""Features from civic points: taking part only adds, and each activity is capped."""

from __future__ import annotations

from functools import partial

from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy import Policy


def civic_point_features(policy: Policy) -> tuple[Feature, ...]:
    """Declare the features made from the civic points that stand."""
    weights = policy.weights_by_age
    civic = partial(Feature, source="civic_points", direction=+1)
    activities = tuple(activity.id for activity in policy.activities)
    by_activity = tuple(
        civic(
            name=f"civic_{activity.id}",
            code=f"CP-{activity.id.upper()}",
            aggregate=Aggregate.SUM,
            column="points",
            where={"activity": (activity.id,)},
            weights=weights.points,
            cap=activity.cap,
            indicator="positive",
            zh=f"公益积分：{activity.zh}",
            en=f"civic points: {activity.en}",
            unit_zh="分",
            unit_en="points",
        )
        for activity in policy.activities
    )
    return (
        *by_activity,
        civic(
            name="civic_recent",
            code="CP-RECENT",
            aggregate=Aggregate.SUM,
            column="points",
            where={},
            weights=weights.recent_points,
            cap=200,
            indicator="positive",
            zh="近期公益积分",
            en="civic points earned lately",
            unit_zh="分",
            unit_en="points",
        ),
        civic(
            name="civic_months",
            code="CP-MONTHS",
            aggregate=Aggregate.MONTHS,
            where={},
            weights=weights.active_months,
            cap=24,
            indicator="basic",
            zh="参与公益活动的月数",
            en="months with civic activity",
            unit_zh="个月",
            unit_en="months",
        ),
        civic(
            name="civic_variety",
            code="CP-VARIETY",
            aggregate=Aggregate.VARIETY,
            column="activity",
            words=activities,
            where={},
            weights=weights.active_months,
            cap=len(activities),
            indicator="basic",
            zh="参与公益活动的种类",
            en="kinds of civic activity",
            unit_zh="种",
            unit_en="",
        ),
    )
