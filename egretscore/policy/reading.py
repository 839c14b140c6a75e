"""Reading a policy file: strict about its form and about what the promises demand."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from egretscore.errors import PolicyError, did_you_mean
from egretscore.paths import as_path
from egretscore.policy.forbidden import forbidden_matter, forbidden_matter_of_text
from egretscore.policy.model import (
    Activity,
    Benefit,
    Category,
    CommitmentRules,
    Grade,
    Group,
    Indicator,
    Kind,
    Letter,
    Policy,
    Scale,
    Severity,
    SeverityLevel,
    WeightsByAge,
    WeightSteps,
)

PURPOSES = ("scoring", "training")
USED_INDICATORS = ("basic", "positive", "breach")
LONGEST_RETENTION_DAYS = 5 * 365
"""Negative records stand at most 5 years (征信业管理条例 art. 16)."""
OLDEST_WEIGHTED_DAYS = 5 * 365
"""Months are counted as the bits of one 64-bit integer: five years fit, six would not."""
LARGEST_NUMBER = 1_000_000
LARGEST_WEIGHT = 100
"""Points times their weight must fit a 32-bit integer."""
MOST_WORDS = 62
"""Each kind, and each activity, is one bit of a 64-bit integer."""

TAKEN_IN = ("indicators", "activities", "categories", "groups", "kinds")
"""The lists whose words occur in records, name features or head reasons, unlike grades and benefits."""
_ID = re.compile(r"[a-z][a-z0-9_]{0,39}")
LISTS: Mapping[str, type] = {
    "grades": Grade,
    "indicators": Indicator,
    "letters": Letter,
    "activities": Activity,
    "severities": Severity,
    "categories": Category,
    "groups": Group,
    "kinds": Kind,
    "benefits": Benefit,
}
SINGLES: Mapping[str, type] = {
    "scale": Scale,
    "commitments": CommitmentRules,
    "weights_by_age": WeightsByAge,
}
_CORRECT_IT = "Correct it in that file."
HEADER = {"name": str, "version": str, "valid_from": date, "zh": str, "en": str}


def read_policy(path: str | Path) -> Policy:
    """Read a policy file.

    Parameters
    ----------
    path : path of a TOML file

    Returns
    -------
    Policy

    Raises
    ------
    PolicyError
        If the file cannot be read or does not say what a policy must say.
    ArgumentError
        If ``path`` is not a path.
    """
    file = as_path(path, "a policy comes from a file")
    try:
        text = file.read_bytes().decode("utf-8-sig")  # some editors write a byte order mark
    except OSError as error:
        raise PolicyError(
            f"the policy file cannot be read ({error.strerror})", file=path, expected="the path of a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise PolicyError("the policy file is not UTF-8 text", file=path, remedy="Save it again in UTF-8.") from error
    return parse_policy(text, origin=str(path))


@cache
def shipped_policy() -> Policy:
    """Return the policy that travels with the package.

    Returns
    -------
    Policy
    """
    file = resources.files("egretscore.policy") / "xiamen.toml"
    return parse_policy(file.read_bytes().decode("utf-8"), origin="xiamen.toml")


def as_policy(policy: Policy | str | Path | None) -> Policy:
    """Return a policy, that of a file, or the shipped one when none is given."""
    if policy is None:
        return shipped_policy()
    return policy if isinstance(policy, Policy) else read_policy(policy)


def parse_policy(text: str, origin: str = "policy") -> Policy:
    """Build a policy from the text of a policy file; ``origin`` names it in errors."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers that are too long, and of lists too deep
        raise PolicyError(f"the policy file is not valid TOML ({error})", file=origin, remedy=_CORRECT_IT) from error
    reader = _Reader(origin)
    reader.keys("the file", document, ("policy", "sources", *SINGLES, *LISTS))
    parts: dict[str, Any] = {
        **reader.typed("policy", document["policy"], HEADER),
        "sources": reader.sources(document["sources"]),
        **{name: reader.entry(name, document[name], of) for name, of in SINGLES.items()},
        **{name: reader.entries(name, document[name], of) for name, of in LISTS.items()},
    }
    policy = Policy(**parts, text=text)
    for problem in _problems(policy):
        raise PolicyError(problem, file=origin, remedy=_CORRECT_IT)
    return policy


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Turns raw TOML into the records of a policy, naming the entry in every error."""

    origin: str

    def fail(self, entry: str, problem: str, expected: str, remedy: str | None = None) -> PolicyError:
        return PolicyError(f"[{entry}] {problem}", file=self.origin, expected=expected, remedy=remedy)

    def keys(self, entry: str, raw: object, expected: Iterable[str]) -> None:
        if not isinstance(raw, dict):
            raise self.fail(entry, "is no table", expected="a table of keys and values")
        expected = tuple(expected)
        for key in raw:
            if key not in expected:
                raise self.fail(
                    entry,
                    f"has the unknown key {key!r}",
                    expected=f"only {', '.join(expected)}",
                    remedy=did_you_mean(key, expected),
                )
        for key in expected:
            if key not in raw:
                raise self.fail(entry, f"lacks the key {key!r}", expected=f"all of {', '.join(expected)}")

    def typed(self, entry: str, raw: Any, types: Mapping[str, Any]) -> dict[str, Any]:
        self.keys(entry, raw, types)
        return {key: self.value(f"{entry}.{key}", raw[key], of) for key, of in types.items()}

    def value(self, entry: str, raw: Any, of: Any) -> Any:
        holds, expected, convert = TYPES[of]
        if not holds(raw):
            raise self.fail(entry, f"cannot be {raw!r}", expected=expected)
        return convert(raw)

    def entry(self, name: str, raw: object, of: type) -> Any:
        return of(**self.typed(name, raw, get_type_hints(of)))

    def entries(self, name: str, raw: object, of: type) -> tuple[Any, ...]:
        if not isinstance(raw, list) or not raw:
            raise self.fail(name, "is empty or no list", expected="a list of at least one entry")
        return tuple(self.entry(f"{name} {number}", item, of) for number, item in enumerate(raw, start=1))

    def sources(self, raw: object) -> Mapping[str, str]:
        if not isinstance(raw, dict) or not all(isinstance(v, str) and v for v in raw.values()):
            raise self.fail("sources", "is no list of sources", expected="each source as a key and a text")
        return raw


def _is_steps(raw: Any) -> bool:
    return (
        isinstance(raw, list)
        and bool(raw)
        and all(isinstance(step, list) and len(step) == 2 and all(_is_int(n) for n in step) for step in raw)  # noqa: PLR2004 - a step is a pair
    )


def _is_int(raw: Any) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool)


def is_line_of_text(raw: Any) -> bool:
    """Return whether this is a text for people: not empty, on one line and without signs that cannot be seen."""
    return isinstance(raw, str) and bool(raw.strip()) and raw.isprintable()


TYPES: Mapping[Any, tuple[Callable[[Any], bool], str, Callable[[Any], Any]]] = {
    str: (is_line_of_text, "a text of one line", str),
    int: (lambda raw: _is_int(raw) and 0 <= raw <= LARGEST_NUMBER, f"a whole number from 0 to {LARGEST_NUMBER}", int),
    date: (lambda raw: type(raw) is date, "a date without quotes, such as 2026-04-01", lambda raw: raw),
    tuple[str, ...]: (
        lambda raw: isinstance(raw, list) and all(is_line_of_text(item) for item in raw),
        "a list of texts",
        tuple,
    ),
    WeightSteps: (
        _is_steps,
        "steps such as [[365, 2], [730, 1]]",
        lambda raw: tuple((days, weight) for days, weight in raw),
    ),
}


def _problems(policy: Policy) -> Iterable[str]:
    """Yield, in words, every rule between entries that is broken."""
    yield from _problems_of_names(policy)
    yield from _problems_of_references(policy)
    yield from _problems_of_score(policy)
    yield from _problems_of_retention(policy)
    yield from _problems_of_weights(policy.weights_by_age)


def _problems_of_names(policy: Policy) -> Iterable[str]:
    for section in LISTS:
        entries = getattr(policy, section)
        names = [entry.version if section == "letters" else entry.id for entry in entries]
        for name in names:
            if names.count(name) > 1:
                yield f"[{section}] names {name!r} more than once"
            if section != "letters" and not _ID.fullmatch(name):
                yield f"[{section}] the id {name!r} must be lower-case letters, digits and _ (at most 40)"
        if section in TAKEN_IN:
            yield from _forbidden_words(section, entries)


def _forbidden_words(section: str, entries: Iterable[Any]) -> Iterable[str]:
    """Yield the ids and texts, in either language, that mention a forbidden matter."""
    for entry in entries:
        for said, matter in (
            (entry.id, forbidden_matter(entry.id)),
            (entry.zh, forbidden_matter_of_text(entry.zh)),
            (entry.en, forbidden_matter_of_text(entry.en)),
        ):
            if matter is not None:
                yield f"[{section}] {said!r} names {matter}, which this library never takes in (promise 5)"


def _problems_of_references(policy: Policy) -> Iterable[str]:
    for section in (*LISTS, *SINGLES):
        part = getattr(policy, section)
        for entry in part if isinstance(part, tuple) else (part,):
            yield from _unknown(section, "source", [entry.source], policy.sources)
    indicators = [indicator.id for indicator in policy.indicators]
    yield from _unknown("groups", "indicator", [group.indicator for group in policy.groups], indicators)
    yield from _unknown("indicators", "indicator that features stand under", USED_INDICATORS, indicators)
    yield from _unknown("kinds", "group", [kind.group for kind in policy.kinds], [group.id for group in policy.groups])
    yield from _unknown("groups", "group with a kind", [g.id for g in policy.groups], [k.group for k in policy.kinds])
    severities = [severity.id for severity in policy.severities]
    yield from _unknown("categories", "severity", [category.severity for category in policy.categories], severities)
    for letter in policy.letters:
        yield from _unknown("letters", "purpose", letter.purposes, PURPOSES)
    for section in ("activities", "kinds"):
        if len(getattr(policy, section)) > MOST_WORDS:
            yield f"[{section}] has more than {MOST_WORDS} entries"


def _unknown(section: str, what: str, named: Iterable[str], known: Iterable[str]) -> Iterable[str]:
    known = list(known)
    for name in named:
        if name not in known:
            yield f"[{section}] there is no {what} {name!r} (known: {', '.join(dict.fromkeys(known))})"


def _problems_of_score(policy: Policy) -> Iterable[str]:
    scale = policy.scale
    if not scale.minimum < scale.blank < scale.maximum:
        yield "[scale] the blank score must lie between minimum and maximum"
    if scale.points_to_double_odds < 1:
        yield "[scale] points_to_double_odds must be at least 1"
    minima = [grade.min_score for grade in policy.grades]
    if min(minima) != scale.minimum or len(set(minima)) != len(minima):
        yield "[grades] must have different minima, the lowest that of the scale, so that every score has one grade"
    for grade in policy.grades:
        if grade.min_score > scale.maximum:
            yield f"[grades] {grade.id!r} begins at {grade.min_score}, outside the scale"
    for benefit in policy.benefits:
        if not scale.minimum <= benefit.min_score <= scale.maximum:
            yield f"[benefits] {benefit.id!r} opens at {benefit.min_score}, outside the scale"


def _problems_of_retention(policy: Policy) -> Iterable[str]:
    retention = {severity.id: severity.retention_days for severity in policy.severities}
    if set(retention) != set(SeverityLevel):
        yield f"[severities] must be exactly {', '.join(SeverityLevel)}"
        return
    if retention[SeverityLevel.MINOR] != 0:
        yield "[severities] minor penalties are never used (promise 4): their retention_days must be 0"
    rules = policy.commitments
    for name, days in {
        SeverityLevel.GENERAL: retention[SeverityLevel.GENERAL],
        SeverityLevel.SERIOUS: retention[SeverityLevel.SERIOUS],
        "unkept": rules.unkept_retention_days,
    }.items():
        if not 1 <= days <= LONGEST_RETENTION_DAYS:
            yield f"the retention of {str(name)!r} is {days} days; it may be 1 to {LONGEST_RETENTION_DAYS} (5 years)"
    if not 1 <= rules.late_retention_days <= rules.partly_retention_days <= rules.unkept_retention_days:
        yield (
            "[commitments] retention must not be shorter for the worse outcome (late <= partly <= unkept), "
            "or settling a breach could make it stand longer"
        )
    if rules.prior_permille > 1000:  # noqa: PLR2004 - a thousand in a thousand
        yield "[commitments] prior_permille must be at most 1000"
    if rules.prior_weight < 1:
        yield "[commitments] prior_weight must be at least 1, or the keeping rate of a blank file is undefined"


def _problems_of_weights(weights: WeightsByAge) -> Iterable[str]:
    for field in dataclasses.fields(weights):
        if field.name == "source":
            continue
        steps: WeightSteps = getattr(weights, field.name)
        ages = [days for days, _ in steps]
        counts = [weight for _, weight in steps]
        if ages != sorted(set(ages)) or ages[0] < 1 or ages[-1] > OLDEST_WEIGHTED_DAYS:
            yield f"[weights_by_age] {field.name}: ages must grow, from 1 to at most {OLDEST_WEIGHTED_DAYS} days"
        if counts != sorted(counts, reverse=True) or not 1 <= counts[-1] <= counts[0] <= LARGEST_WEIGHT:
            yield f"[weights_by_age] {field.name}: weights must be 1 to {LARGEST_WEIGHT} and never grow with age"
