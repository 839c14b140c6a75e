"""An explanation as text that a person reads, and checks with a pencil."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from egretscore.explanation.reasons import Reason, main_reasons
from egretscore.explanation.texts import texts

if TYPE_CHECKING:
    from egretscore.explanation.explanation import Explanation

_DIGITS_OF_HASH = 12


def as_text(explanation: Explanation, lang: str) -> str:
    """Return an explanation as text, in the language asked for."""
    lines = [*_head(explanation, lang)]
    if explanation.score is None:
        lines += _why_not_scored(explanation, lang)
    else:
        lines += _main_reasons(explanation, lang)
        lines += _sum(explanation, lang)
        lines += _benefits(explanation, lang)
        lines += ["", str(texts(lang)["objection"])]
    return "\n".join(lines) + "\n"


def _head(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield words["title"]
    yield f"{words['person']}: {explanation.subject_id}"
    yield f"{words['as_of']}: {explanation.as_of.isoformat()}"
    if explanation.score is not None:
        grade = explanation.policy.grade_of(explanation.score)
        yield f"{words['score']}: {explanation.score} ({grade.zh if lang == 'zh' else f'{grade.en}, {grade.zh}'})"
    yield f"{words['model']}: {explanation.model_name}, sha256 {explanation.model_sha256[:_DIGITS_OF_HASH]}…"
    if explanation.invented:
        yield f"{words['note']}: {words['invented']}"


def _why_not_scored(explanation: Explanation, lang: str) -> Iterator[str]:
    words = texts(lang)
    yield ""
    yield f"{words['status'][explanation.status.value]} {words['no_score']}"
    yield words["ordinary_routes"]
    for decision in explanation.benefits:
        benefit = decision.benefit
        yield f"  {getattr(benefit, lang)}: {getattr(benefit, f'route_{lang}')}"


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
        yield f"  {state}: {getattr(benefit, lang)} ({words['opens_at'].format(min_score=benefit.min_score)})"
        if not decision.eligible:
            yield f"      {words['ordinary_route'].format(route=getattr(benefit, f'route_{lang}'))}"
