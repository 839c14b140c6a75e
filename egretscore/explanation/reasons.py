"""Reasons: what each feature adds to or takes from the blank file's score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from egretscore.explanation.texts import texts
from egretscore.features import Aggregate, Feature
from egretscore.policy import WeightSteps

MOST_MAIN_REASONS: Final = 4
"""At most four key factors are named (US Reg B 1002.9 and FCRA, as a yardstick for clarity)."""
_UNWEIGHTED: Final = (Aggregate.MONTHS, Aggregate.VARIETY)


@dataclass(frozen=True)
class Reason:
    """The points of one feature.

    Attributes
    ----------
    feature : Feature
    value : int
        What was counted, weighted by age.
    points : int
        Whole, signed and never 0.
    """

    feature: Feature
    value: int
    points: int

    def text(self, lang: str = "en") -> str:
        """Return the reason in words: what was counted, how much of it, over which time, and how it is weighted.

        Parameters
        ----------
        lang : "en" or "zh"

        Returns
        -------
        str

        Raises
        ------
        ArgumentError
            If there are no texts in this language.
        """
        words = texts(lang)
        label, unit = getattr(self.feature, lang), getattr(self.feature, f"unit_{lang}")
        kind = "reason_rate" if self.feature.aggregate is Aggregate.RATE else "reason" if unit else "reason_count"
        capped = words["capped"] if self.value == self.feature.cap else ""
        ages = _ages(self.feature, lang)
        return str(words[kind].format(label=label, value=self.value, unit=unit, capped=capped, ages=ages))


def _ages(feature: Feature, lang: str) -> str:
    """Return in words how old the records may be, and what they weigh at which age where they do not all weigh 1."""
    words = texts(lang)
    oldest = feature.weights[-1][0]
    both_alike = feature.prior is None or feature.prior.against[-1][0] == oldest
    all_weigh_1 = both_alike and all(weight == 1 for _, weight in feature.every_step)
    if feature.aggregate in _UNWEIGHTED or all_weigh_1:
        return str(words["ages_one"].format(days=oldest))
    weights = _weights(feature.weights, lang)
    if feature.prior is not None and feature.prior.against != feature.weights:
        weights = words["weights_of_both"].format(kept=weights, not_kept=_weights(feature.prior.against, lang))
    return str(words["ages_weighted"].format(weights=weights))


def _weights(steps: WeightSteps, lang: str) -> str:
    words = texts(lang)
    return str(words["weights_between"]).join(
        words["weight_next" if number else "weight_first"].format(
            days=days, times=words["weight_one" if weight == 1 else "weight_many"].format(weight=weight)
        )
        for number, (days, weight) in enumerate(steps)
    )


def reasons(features: Sequence[Feature], vector: Iterable[int], points: Iterable[int]) -> tuple[Reason, ...]:
    """Return the reasons that are not zero, the weightiest first."""
    every = (Reason(f, int(value), int(worth)) for f, value, worth in zip(features, vector, points, strict=True))
    return tuple(sorted((reason for reason in every if reason.points), key=lambda r: (-abs(r.points), r.feature.code)))


def main_reasons(every: Iterable[Reason], sign: int) -> tuple[Reason, ...]:
    """Return the weightiest reasons of one sign, at most four."""
    return tuple(reason for reason in every if reason.points * sign > 0)[:MOST_MAIN_REASONS]
