"""What each single record does to a person's score, so that they know what to check and what to contest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from egretscore.explanation.texts import texts
from egretscore.features import Feature


@dataclass(frozen=True)
class RecordEffect:
    """What one record does to a person's score, everything else on file being as it is.

    All penalties that one decision imposed are one record, to which one can object.

    Attributes
    ----------
    table, record_id : str
    recorded_on : date
        The first day on which it was on file.
    points : int
        The score less what it would be without this record; while an objection to one that takes points is open, it
        is just that. Records count together, so the points of all do not add up to the score.
    features : tuple of Feature
        Those that would have another value without it; none if it does not count, or others reach the most that does.
    """

    table: str
    record_id: str
    recorded_on: date
    points: int
    features: tuple[Feature, ...]

    def text(self, lang: str = "en") -> str:
        """Return in words which record it is, and what it bears on.

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
        words = texts(lang)["records"]
        record = words["record"].format(kind=words[self.table], record_id=self.record_id, day=self.recorded_on)
        labels = words["between"].join(getattr(feature, lang) for feature in self.features)
        return str(words["bears_on"].format(record=record, features=labels) if labels else record)

    def to_dict(self, lang: str = "en") -> dict[str, Any]:
        """Return the effect as plain JSON data, its text in the language asked for.

        Parameters
        ----------
        lang : "en" or "zh"

        Returns
        -------
        dict

        Raises
        ------
        ArgumentError
            If there are no texts in this language.
        """
        return {
            "table": self.table,
            "record_id": self.record_id,
            "recorded_on": self.recorded_on.isoformat(),
            "points": self.points,
            "features": [feature.name for feature in self.features],
            "text": self.text(lang),
        }


def text_of_each(effects: Sequence[RecordEffect], lang: str) -> str:
    """Return in lines what each record does that does anything, and how many others there are."""
    words = texts(lang)["records"]
    weighty = [f"{effect.points:+6d}  {effect.text(lang)}" for effect in effects if effect.points]
    without_points = len(effects) - len(weighty)
    others = [f"{'':8}{words['others'].format(count=without_points)}"] if without_points else []
    return "\n".join(["", words["each"], *weighty, *others, words["together"]]) + "\n"
