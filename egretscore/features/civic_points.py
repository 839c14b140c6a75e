"""Features from civic points: taking part only adds, and each activity is capped."""

from __future__ import annotations

from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy import Policy


def civic_point_features(policy: Policy) -> tuple[Feature, ...]:
    """Declare the features made from the civic points that stand."""
    weights = policy.weights_by_age
    activities = tuple(activity.id for activity in policy.activities)
    by_activity = tuple(
        Feature(
            name=f"civic_{activity.id}",
            code=f"CP-{activity.id.upper()}",
            source="civic_points",
            aggregate=Aggregate.SUM,
            column="points",
            where={"activity": (activity.id,)},
            weights=weights.points,
            cap=activity.cap,
            direction=+1,
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
        Feature(
            name="civic_recent",
            code="CP-RECENT",
            source="civic_points",
            aggregate=Aggregate.SUM,
            column="points",
            where={},
            weights=weights.recent_points,
            cap=200,
            direction=+1,
            indicator="positive",
            zh="近期公益积分",
            en="civic points earned lately",
            unit_zh="分",
            unit_en="points",
        ),
        Feature(
            name="civic_months",
            code="CP-MONTHS",
            source="civic_points",
            aggregate=Aggregate.MONTHS,
            where={},
            weights=weights.active_months,
            cap=24,
            direction=+1,
            indicator="basic",
            zh="参与公益活动的月数",
            en="months with civic activity",
            unit_zh="个月",
            unit_en="months",
        ),
        Feature(
            name="civic_variety",
            code="CP-VARIETY",
            source="civic_points",
            aggregate=Aggregate.VARIETY,
            column="activity",
            words=activities,
            where={},
            weights=weights.active_months,
            cap=len(activities),
            direction=+1,
            indicator="basic",
            zh="参与公益活动的种类",
            en="kinds of civic activity",
            unit_zh="种",
            unit_en="",
        ),
    )
