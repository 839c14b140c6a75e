"""Which way a feature may move a score, derived from what it counts (promises 3 and 7 of the design).

Its name proves nothing: a model read from a folder may give its features any names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egretscore.features.commitments import KEPT, LATE_OR_WORSE, PARTLY_OR_WORSE, UNFULFILLED, UNKEPT
from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy import WeightSteps

_OF_SOURCE: Final[Mapping[str, int]] = {"civic_points": +1, "penalties": -1}
# A breach must be counted together with all worse ones, or settling one could count against its holder.
_OF_SETTLEMENTS: Final[Mapping[frozenset[str], int]] = {
    frozenset(KEPT): +1,
    **dict.fromkeys(map(frozenset, (LATE_OR_WORSE, PARTLY_OR_WORSE, UNKEPT, UNFULFILLED)), -1),
}
_TOLD_APART_BY: Final[Mapping[str, set[str]]] = {
    "civic_points": {"activity"},
    "penalties": {"severity"},
    "commitments": {"settlement", "kind"},
}
# These columns grow with more records, and never by a record ageing or a breach being settled.
_COLUMNS_OF: Final[Mapping[Aggregate, Mapping[str, set[str]]]] = {
    Aggregate.SUM: {"civic_points": {"points"}, "penalties": {"fine_yuan"}, "commitments": {"days_ahead"}},
    Aggregate.VARIETY: {"civic_points": {"activity"}, "penalties": {"severity"}, "commitments": {"kind"}},
}


def promised_direction(feature: Feature) -> int | None:
    """Return the one way a feature may move a score, +1 or -1, or None if what it counts cannot go one way."""
    if not set(feature.where) <= _TOLD_APART_BY.get(feature.source, set()):
        return None
    if not all(map(_goes_down, (feature.weights, feature.prior.against) if feature.prior else (feature.weights,))):
        return None
    of_column = _COLUMNS_OF.get(feature.aggregate)
    if of_column is not None and feature.column not in of_column.get(feature.source, set()):
        return None
    if feature.prior is not None:
        # Everything that a rate does not count lowers it, so it must count all that was kept.
        every_one_kept = feature.source == "commitments" and feature.where == {"settlement": KEPT}
        starts_from_a_share = feature.prior.weight > 0 and 0 <= feature.prior.permille <= 1000  # noqa: PLR2004 - a thousand in a thousand
        return +1 if every_one_kept and starts_from_a_share else None
    if feature.source == "commitments":
        return _OF_SETTLEMENTS.get(frozenset(feature.where.get("settlement", ())))
    return _OF_SOURCE.get(feature.source)


def _goes_down(steps: WeightSteps) -> bool:
    """Return whether records weigh 0 or more, and never more for being older."""
    ages, counts = [days for days, _ in steps], [weight for _, weight in steps]
    return bool(steps) and ages == sorted(set(ages)) and counts == sorted(counts, reverse=True) and counts[-1] >= 0
