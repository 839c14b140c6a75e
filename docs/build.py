"""Write the documentation that follows from the code: ``make docs``. What a page says is in ``docs/pages``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pages import ROOT, features, policy, readme, records

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
    readmes = (ROOT / "README.md", ROOT / "README.zh.md")
    return {
        **{ROOT / "docs" / name: f"{GENERATED}\n\n{text}" for name, text in pages.items()},
        **{path: readme.with_outputs(path.read_text(encoding="utf-8")) for path in readmes},
    }


def main() -> None:
    """Write every generated document."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
