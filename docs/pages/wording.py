"""How measured figures are worded, and where they stand in a document."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"
WIDTH = 120


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with its measured blocks written anew: what stands from a mark to the next empty line."""
    marks = re.findall(r"<!-- measured: ([^\n]*) -->", text)
    if sorted(marks) != sorted(blocks):
        raise ValueError(f"the document has the marks {sorted(marks)}, and there are the blocks {sorted(blocks)}")
    return re.sub(
        r"(<!-- measured: ([^\n]*) -->\n).*?\n(?=\n|\Z)",
        lambda found: f"{found[1]}{blocks[found[2]]}\n",
        text,
        flags=re.DOTALL,
    )


def paragraph(text: str, *, hanging: str = "") -> str:
    """Return a text in lines of a document, its further ones indented."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def table(head: Sequence[str], *rows: Sequence[str], words: int = 0) -> str:
    """Return a table, whose columns after the first hold numbers, but for so many last ones."""
    numbers = len(head) - 1 - words
    rule = ["---", *["---:"] * numbers, *["---"] * words]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in (head, rule, *rows))


def count(number: int) -> str:
    """Return a count: all its digits, or of millions the first two or three."""
    if number < 1_000_000:  # noqa: PLR2004 - a million
        return f"{number:,}"
    millions = number / 1_000_000
    return f"{millions:.1f} million".replace(".0 ", " ") if millions < 20 else f"{millions:.0f} million"  # noqa: PLR2004 - two digits are there


def rate(a_second: float) -> str:
    """Return how many a second: millions, or thousands."""
    return f"{a_second / 1e6:.1f} million" if a_second >= 1e6 else f"{a_second / 1e3:.0f} thousand"  # noqa: PLR2004 - a million


def fraction(number: float, digits: int) -> str:
    """Return a number below 1 as it is usual of an AUC, without the 0 before the point."""
    return f"{number:.{digits}f}".removeprefix("0")


def percent(share: float, digits: int = 0) -> str:
    """Return a share of 1."""
    return f"{100 * share:.{digits}f} %"


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence lists them."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
