"""Benefits: which conveniences a score opens, and the ordinary route for everyone else.

The catalogue is part of the policy. An entry can say from which score a convenience opens
and what the ordinary route is, and nothing else: a rule that takes something away cannot
be written (promise 2 of the design).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from egretscore.policy import Benefit

__all__ = ["Decision", "decide", "opened_by"]


@dataclass(frozen=True)
class Decision:
    """Whether a convenience is granted; if not yet, its ordinary route stays open.

    Attributes
    ----------
    benefit : Benefit
        The entry of the policy's catalogue.
    eligible : bool
    """

    benefit: Benefit
    eligible: bool


def decide(catalogue: Iterable[Benefit], score: int | None) -> tuple[Decision, ...]:
    """Decide each convenience for a score, or for someone who has none."""
    return tuple(Decision(benefit, score is not None and bool(opened_by(benefit, score))) for benefit in catalogue)


def opened_by(benefit: Benefit, score: Any) -> Any:
    """Return whether a score opens a convenience; of an array of scores, an array."""
    return score >= benefit.min_score
