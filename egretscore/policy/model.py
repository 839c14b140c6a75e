"""What a policy says, as frozen records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

WeightSteps = tuple[tuple[int, int], ...]
"""Steps of (younger than so many days, whole-number weight); older records weigh 0."""


class SeverityLevel(StrEnum):
    """How grave a penalty is: the ids of the policy's severities."""

    MINOR = "minor"
    """Never counts (promise 4 of the design)."""
    GENERAL = "general"
    SERIOUS = "serious"


@dataclass(frozen=True)
class Scale:
    """The range of the score, the blank file's score and the steepness."""

    minimum: int
    maximum: int
    blank: int
    points_to_double_odds: int
    source: str


@dataclass(frozen=True)
class Grade:
    """A name for the scores from ``min_score`` up to the next grade."""

    id: str
    min_score: int
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class Indicator:
    """One of the public indicators under which reasons are grouped."""

    id: str
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class Letter:
    """A version of the consent letter and the purposes it covers."""

    version: str
    purposes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Activity:
    """A civic activity and the most it can count."""

    id: str
    cap: int
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class Severity:
    """How long penalties of a severity stand; 0 days means they are never used."""

    id: str
    retention_days: int
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class Category:
    """A kind of penalty and its severity."""

    id: str
    severity: str
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class CommitmentRules:
    """When a commitment counts as kept, how long a breach stands, and the prior of the keeping rate."""

    grace_days: int
    late_retention_days: int
    partly_retention_days: int
    unkept_retention_days: int
    prior_permille: int
    prior_weight: int
    source: str


@dataclass(frozen=True)
class Group:
    """A group of commitment kinds and the indicator its reasons stand under."""

    id: str
    indicator: str
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class Kind:
    """A kind of commitment and its group."""

    id: str
    group: str
    zh: str
    en: str
    source: str


@dataclass(frozen=True)
class WeightsByAge:
    """How much a record counts at each age, for each way in which features use age."""

    points: WeightSteps
    recent_points: WeightSteps
    active_months: WeightSteps
    kept: WeightSteps
    recent_kept: WeightSteps
    unkept: WeightSteps
    recent_unkept: WeightSteps
    general_penalties: WeightSteps
    serious_penalties: WeightSteps
    source: str


@dataclass(frozen=True)
class Benefit:
    """A convenience, the score from which it opens, and the route open to everyone else.

    Attributes
    ----------
    id : str
    min_score : int
    zh, en : str
        What it is.
    route_zh, route_en : str
        The ordinary route.
    source : str
        Where it is stated; see :attr:`Policy.sources`.
    """

    id: str
    min_score: int
    zh: str
    en: str
    route_zh: str
    route_en: str
    source: str


@dataclass(frozen=True)
class Policy:
    """Every figure a score depends on that is not learned from data.

    Attributes
    ----------
    name, version : str
    valid_from : date
    zh, en : str
        What people read, in either language.
    sources : Mapping
        The key of each source to what it is.
    scale : Scale
    grades, indicators, letters, activities, severities, categories, groups, kinds, benefits : tuple
        The entries of each list, in the order of the file.
    commitments : CommitmentRules
    weights_by_age : WeightsByAge
    text : str
        The policy file as written: what the model bundle keeps and hashes.
    """

    name: str
    version: str
    valid_from: date
    zh: str
    en: str
    sources: Mapping[str, str]
    scale: Scale
    grades: tuple[Grade, ...]
    indicators: tuple[Indicator, ...]
    letters: tuple[Letter, ...]
    activities: tuple[Activity, ...]
    severities: tuple[Severity, ...]
    categories: tuple[Category, ...]
    commitments: CommitmentRules
    groups: tuple[Group, ...]
    kinds: tuple[Kind, ...]
    weights_by_age: WeightsByAge
    benefits: tuple[Benefit, ...]
    text: str

    def __repr__(self) -> str:
        return f"<Policy: {self.name} {self.version}>"

    @property
    def sha256(self) -> str:
        """The SHA-256 of the policy file as written, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def vocabulary(self) -> Mapping[str, frozenset[str]]:
        """The words that records may use: letter versions, activities, categories, kinds."""
        return {
            "letter_version": frozenset(letter.version for letter in self.letters),
            "activity": frozenset(activity.id for activity in self.activities),
            "category": frozenset(category.id for category in self.categories),
            "kind": frozenset(kind.id for kind in self.kinds),
        }

    def letters_for(self, purpose: str) -> tuple[str, ...]:
        """Return the versions of the letters that cover a purpose.

        Parameters
        ----------
        purpose : "scoring" or "training"

        Returns
        -------
        tuple of str
        """
        return tuple(letter.version for letter in self.letters if purpose in letter.purposes)

    def categories_of(self, severity: str) -> tuple[str, ...]:
        """Return the ids of the penalty categories of a severity.

        Parameters
        ----------
        severity : "minor", "general" or "serious"

        Returns
        -------
        tuple of str
        """
        return tuple(category.id for category in self.categories if category.severity == severity)

    def kinds_of(self, group: str) -> tuple[str, ...]:
        """Return the ids of the commitment kinds of a group.

        Parameters
        ----------
        group : str
            The id of the group.

        Returns
        -------
        tuple of str
        """
        return tuple(kind.id for kind in self.kinds if kind.group == group)

    def grade_of(self, score: int) -> Grade:
        """Return the grade of a score: the highest whose minimum it reaches.

        Parameters
        ----------
        score : int
            Within the scale.

        Returns
        -------
        Grade
        """
        return max((g for g in self.grades if score >= g.min_score), key=lambda g: g.min_score)
