"""Write the documentation that follows from the code and from what was measured: ``make docs``.

What a page says is in ``docs/pages``. In ``docs/city.md`` and README.md that is each block under a mark,
from what the benchmarks wrote into ``benchmarks/results``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pages import ROOT, city, estimator, features, policy, readme, records
from pages.wording import RESULTS, filled

import egretscore as es
from egretscore.scoring.publication import publication

GENERATED = "<!-- Written by docs/build.py; change what it is written from, then run `make docs`. -->"


def documents() -> Mapping[Path, str]:
    """Return every generated document: its path and its text."""
    pages = {
        "records.md": "\n".join(records.lines()) + "\n",
        "features.md": "\n".join(features.lines()) + "\n",
        "policy.md": "\n".join(policy.lines()) + "\n",
        "scorecard.md": publication(es.load_engine().model),
    }
    with_figures: Mapping[Path, Mapping[str, str]] = {
        ROOT / "docs" / "city.md": city.blocks(RESULTS),
        ROOT / "README.md": estimator.blocks(RESULTS),
        ROOT / "README.zh.md": {},
    }
    return {
        **{ROOT / "docs" / name: f"{GENERATED}\n\n{text}" for name, text in pages.items()},
        **{
            path: readme.with_outputs(filled(path.read_text(encoding="utf-8"), blocks))
            for path, blocks in with_figures.items()
        },
    }


def main() -> None:
    """Write every generated document."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
