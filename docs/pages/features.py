"""``docs/features.md``, from the declarations."""

from __future__ import annotations

from collections.abc import Iterator

import egretscore as es
from egretscore.features import declare_features
from egretscore.scoring.publication import counting_rule


def lines() -> Iterator[str]:
    """Yield the lines of the page on features."""
    policy = es.shipped_policy()
    indicators = {indicator.id: indicator for indicator in policy.indicators}
    yield "# Features"
    yield ""
    yield f"Under the policy {policy.name} {policy.version}. All are whole numbers, and 0 for an empty file."
    for indicator in policy.indicators:
        declared = [f for f in declare_features(policy) if f.indicator == indicator.id]
        if declared:
            yield ""
            yield f"## {indicators[indicator.id].zh} ({indicators[indicator.id].en})"
            yield ""
            yield "| feature | reason code | 说明 | in words | how it is counted | from | at most | can only |"
            yield "| --- | --- | --- | --- | --- | ---: | ---: | --- |"
        for f in declared:
            way = "lift" if f.direction > 0 else "hold back"
            yield f"| `{f.name}` | {f.code} | {f.zh} | {f.en} | {counting_rule(f)} | {f.lowest} | {f.cap} | {way} |"
