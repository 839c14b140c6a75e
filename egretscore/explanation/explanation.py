"""An explanation: a person's score on a date, every point of it, and what it opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from egretscore.benefits import Decision
from egretscore.errors import ArgumentError
from egretscore.explanation.reasons import Reason, main_reasons
from egretscore.explanation.texts import texts
from egretscore.features import Feature
from egretscore.policy import Policy
from egretscore.status import Status

if TYPE_CHECKING:
    import shap

_DIGITS_OF_HASH = 12


@dataclass(frozen=True)
class Explanation:
    """A person's score on a date, every point of it, and what it opens.

    Attributes
    ----------
    subject_id : str
    status : Status
        Whether the person is scored, and if not, why.
    as_of : date
    score : int or None
        0 to 1000; None when the person is not scored.
    grade : str or None
        The grade's id in the policy.
    blank_score : int
        The score of an empty file; with the points of all reasons it adds up to the score.
    reasons : tuple of Reason
        All that are not zero, the weightiest first.
    benefits : tuple of Decision
    model_name, model_sha256 : str
    invented : bool
        Whether the model or the records are invented.
    policy : Policy
    features : tuple of Feature
        Those of the model.
    vector : tuple of int
        The value of each feature; empty where there is no score.
    """

    subject_id: str
    status: Status
    as_of: date
    score: int | None
    grade: str | None
    blank_score: int
    reasons: tuple[Reason, ...]
    benefits: tuple[Decision, ...]
    model_name: str
    model_sha256: str
    invented: bool
    policy: Policy
    features: tuple[Feature, ...]
    vector: tuple[int, ...]

    def __hash__(self) -> int:
        return hash((self.subject_id, self.as_of, self.model_sha256, self.score))  # a policy has no hash of its own

    def __repr__(self) -> str:
        found = self.status.value if self.score is None else f"{self.score} ({self.grade})"
        return f"<Explanation: {self.subject_id!r} as of {self.as_of}, {found}>"

    def __str__(self) -> str:
        return self.text()

    def to_dict(self, lang: str = "en") -> dict[str, Any]:
        """Return the explanation as plain JSON data, its texts in the language asked for.

        Who is not scored has no grade, and no points to object to: these are None.

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
        words = texts(lang)
        of_score = None if self.score is None else self.policy.grade_of(self.score)
        headings = {indicator.id: getattr(indicator, lang) for indicator in self.policy.indicators}
        return {
            "subject_id": self.subject_id,
            "status": self.status.value,
            "status_text": words["status"][self.status.value],
            "as_of": self.as_of.isoformat(),
            "score": self.score,
            "grade": self.grade,
            "grade_text": of_score and getattr(of_score, lang),
            "blank_score": self.blank_score,
            "model": {"name": self.model_name, "sha256": self.model_sha256, "invented": self.invented},
            "reasons": [
                {
                    "feature": reason.feature.name,
                    "code": reason.feature.code,
                    "indicator": reason.feature.indicator,
                    "indicator_text": headings[reason.feature.indicator],
                    "value": reason.value,
                    "points": reason.points,
                    "text": reason.text(lang),
                }
                for reason in self.reasons
            ],
            "benefits": [
                {
                    "id": decision.benefit.id,
                    "name": getattr(decision.benefit, lang),
                    "min_score": decision.benefit.min_score,
                    "eligible": decision.eligible,
                    "ordinary_route": getattr(decision.benefit, f"route_{lang}"),
                }
                for decision in self.benefits
            ],
            "objection": of_score and words["objection"],
        }

    def text(self, lang: str = "en") -> str:
        """Return the explanation for the person to read, in Chinese or English.

        Parameters
        ----------
        lang : "en" or "zh"

        Returns
        -------
        str
            Several lines.

        Raises
        ------
        ArgumentError
            If there are no texts in this language.
        """
        lines = [*_head(self, lang)]
        if self.score is None:
            lines += _why_not_scored(self, lang)
        else:
            lines += [*_main_reasons(self, lang), *_sum(self, lang), *_benefits(self, lang)]
            lines += ["", str(texts(lang)["objection"])]
        return "\n".join(lines) + "\n"

    def to_shap(self, lang: str = "en") -> shap.Explanation:
        """Return the reasons as a ``shap.Explanation`` of one row, for shap's own plots.

        Its values are whole points, its base value the blank score.

        Parameters
        ----------
        lang : "en" or "zh"

        Returns
        -------
        shap.Explanation
            Values and data of shape (n_features,).

        Raises
        ------
        ArgumentError
            If the person is not scored: there is nothing to plot. Or if there are no texts in this language.
        """
        if self.status is not Status.SCORED:
            raise ArgumentError(
                "a person who is not scored has no reasons to plot",
                value=self.status.value,
                remedy="text() says why there is no score.",
            )
        texts(lang)  # raises for a language there is none in
        import numpy as np
        import shap

        points = {reason.feature.name: reason.points for reason in self.reasons}
        return shap.Explanation(
            values=np.array([points.get(feature.name, 0) for feature in self.features], dtype=np.float64),
            base_values=float(self.blank_score),
            data=np.array(self.vector, dtype=np.float64),
            feature_names=[getattr(feature, lang) for feature in self.features],
        )


# ------------------------------------------------------------------------------- as text


def _head(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield words["title"]
    yield _named(words["person"], explanation.subject_id, lang)
    yield _named(words["as_of"], explanation.as_of.isoformat(), lang)
    if explanation.score is not None:
        of_score = explanation.policy.grade_of(explanation.score)
        grade = of_score.zh if lang == "zh" else f"{of_score.en}, {of_score.zh}"
        yield _named(words["score"], words["score_and_grade"].format(score=explanation.score, grade=grade), lang)
    sha256 = explanation.model_sha256[:_DIGITS_OF_HASH]
    yield _named(words["model"], words["model_and_hash"].format(model=explanation.model_name, hash=sha256), lang)
    if explanation.invented:
        yield _named(words["note"], words["invented"], lang)


def _why_not_scored(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield ""
    yield words["no_score"].format(why=words["status"][explanation.status.value])
    yield words["ordinary_routes"]
    for decision in explanation.benefits:
        benefit = decision.benefit
        yield f"  {_named(getattr(benefit, lang), getattr(benefit, f'route_{lang}'), lang)}"


def _named(name: str, value: str, lang: str) -> str:
    return str(texts(lang)["line"].format(name=name, value=value))


def _main_reasons(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    for heading, sign in (("held_back", -1), ("lifted", +1)):
        yield ""
        yield words[heading]
        yield from [_line(reason, lang) for reason in main_reasons(explanation.reasons, sign)] or [words["nothing"]]


def _sum(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield ""
    yield words["sum"]
    yield f"{explanation.blank_score:6d}  {words['blank_file']}"
    for indicator in explanation.policy.indicators:
        of_this = [reason for reason in explanation.reasons if reason.feature.indicator == indicator.id]
        if of_this:
            yield f"        {getattr(indicator, lang)}"
            yield from (_line(reason, lang) for reason in of_this)
    yield f"{explanation.score:6d}  = {words['total']}"


def _line(reason: Reason, lang: str) -> str:
    return f"{reason.points:+6d}  {reason.text(lang)}"


def _benefits(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield ""
    yield words["benefits"]
    for decision in explanation.benefits:
        benefit = decision.benefit
        state = words["granted" if decision.eligible else "not_yet"]
        opens_at = words["opens_at"].format(benefit=getattr(benefit, lang), min_score=benefit.min_score)
        yield f"  {_named(state, opens_at, lang)}"
        if not decision.eligible:
            yield f"      {words['ordinary_route'].format(route=getattr(benefit, f'route_{lang}'))}"
