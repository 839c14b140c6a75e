"""What a declaration may say, wherever it comes from: a policy's are so by its own limits, a model's might not be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from egretscore.features.declaration import Aggregate, Feature
from egretscore.policy.forbidden import forbidden_matter, forbidden_matter_of_text
from egretscore.policy.reading import LARGEST_NUMBER, LARGEST_WEIGHT, MOST_WORDS, OLDEST_WEIGHTED_DAYS, is_line_of_text

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_-]*")
REASON_COLUMN, BENEFIT_COLUMN = "reason_", "benefit_"
"""How the columns of reasons and of benefits begin: no feature's own column may."""
_NAMES_TAKEN: Final = frozenset({"subject_id", "status", "score", "grade", "part"})
_LARGEST_CAP: Final = 2**31 - 1


def problems_of(feature: Feature) -> Iterator[str]:
    """Yield, in words, whatever no declaration may say."""
    named = f"the feature {feature.name!r}"
    for problem in (*_problems_of_names(feature), *_problems_of_numbers(feature)):
        yield f"{named} {problem}"


def _problems_of_names(feature: Feature) -> Iterator[str]:
    is_taken = feature.name in _NAMES_TAKEN or feature.name.startswith((REASON_COLUMN, BENEFIT_COLUMN))
    if is_taken or not _NAME.fullmatch(feature.name):
        yield "cannot be called so"
    if not _CODE.fullmatch(feature.code):
        yield f"cannot have the code {feature.code!r}"
    labels, units = (feature.zh, feature.en), (feature.unit_zh, feature.unit_en)
    for text in (*labels, *filter(None, units)):
        if not is_line_of_text(text):
            yield f"cannot have the label or unit {text!r}"
    for matter in filter(None, (forbidden_matter(feature.name), *map(forbidden_matter_of_text, (*labels, *units)))):
        yield f"names {matter}, which is never taken in (promise 5)"


def _problems_of_numbers(feature: Feature) -> Iterator[str]:
    """Yield what would not fit the whole numbers of the queries."""
    if not 0 <= feature.cap <= _LARGEST_CAP:
        yield f"cannot be {feature.cap!r} at most"
    if any(not 1 <= days <= OLDEST_WEIGHTED_DAYS for days, _ in feature.every_step):
        yield f"weighs records by an age that is not 1 to {OLDEST_WEIGHTED_DAYS} days"
    if any(not 1 <= weight <= LARGEST_WEIGHT for _, weight in feature.every_step):
        yield f"gives records a weight that is not 1 to {LARGEST_WEIGHT}"
    if feature.prior is not None and feature.prior.weight > LARGEST_NUMBER:
        yield f"gives its starting value a weight of more than {LARGEST_NUMBER}"
    told_apart = [feature.words] if feature.aggregate is Aggregate.VARIETY else []
    for words in (*told_apart, *feature.where.values()):
        if not 1 <= len(set(words)) == len(words) <= MOST_WORDS:
            yield f"does not tell 1 to {MOST_WORDS} different words apart"
