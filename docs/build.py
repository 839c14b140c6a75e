"""Write the documentation that follows from the code: ``make docs``.

``docs/records.md`` from the schema, ``docs/features.md`` from the declarations,
``docs/scorecard.md`` from the shipped model, and in both READMEs the output of every
command and every Python line shown, and the table of the accuracy benchmark.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import runpy
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

import egretscore as es
from egretscore.cli import main as egretscore
from egretscore.features import declare_features
from egretscore.records import TABLES
from egretscore.records.schema import FIXED_WORDS
from egretscore.scoring.publication import counting_rule, publication

ROOT = Path(__file__).parent.parent
_GENERATED = "<!-- Written by docs/build.py; change what it is written from, then run `make docs`. -->"


def documents() -> Mapping[Path, str]:
    """Return every generated document: its path and its text."""
    return {
        ROOT / "docs" / "records.md": "\n".join(_records()) + "\n",
        ROOT / "docs" / "features.md": "\n".join(_features()) + "\n",
        ROOT / "docs" / "scorecard.md": f"{_GENERATED}\n\n{publication(es.load_engine().model)}",
        **{
            ROOT / name: _with_outputs((ROOT / name).read_text(encoding="utf-8"))
            for name in ("README.md", "README.zh.md")
        },
    }


_HOW_RECORDS_ARE_GIVEN = """\
## How they are given

- In a folder, as `TABLE.csv` or `TABLE.parquet`; as several files, named on after a dot, a hyphen or an
  underscore (`civic_points-2026.csv`); or as a folder of files that is named so (`penalties.parquet/`).
- In Python also as a mapping of table names to pandas, polars or Arrow frames, or to lists of them.
- `consents` must be there. Another table that is not there is empty.
- Every column of a table must be there, and no other: an unknown column is an error. A cell may be empty where
  the column is marked optional.
- CSV is UTF-8, with a header and commas. Every record is one line: a cell cannot go on in the next, quoted or not.
- Rows are counted from 1, the first below the header: in a CSV file row 1 is line 2. Blank lines are passed over,
  and counted all the same.
- A timestamp is a day if it is midnight: in UTC, where it has a zone. Convert local ones to days first.

## What becomes of a record later

An outcome, a repair, a revocation, an exclusion, a withdrawal is written into the record's own row, which keeps
its `recorded_on`. An objection may be given again when it is decided. [city.md](city.md#day-by-day) tells how new
rows are added to kept records.

## What is unclear counts against nobody

- **Two rows of one record say different things.** The one recorded first is used until the day on which the other
  was recorded; from then on the record counts against nobody. If both were recorded on one day, neither is used.
- **A row cannot be read, and another of its record can.** The record counts against nobody from the `recorded_on`
  of the row that cannot.
- **A row that cannot be read does not say which record it is about.** It may be any of that person, or any of that
  id; a line that cannot be cut into cells may be about any record of whom or what it names.
- **A row of `consents` cannot be read.** It may be a withdrawal, so whom it names is not scored.
- **A row of `objections` cannot be read.** It is read as an objection that is still open, to every record that it
  may be about.

`egretscore validate` names each such row, and what is wrong with it."""


def _records() -> Iterator[str]:
    policy = es.shipped_policy()
    yield _GENERATED
    yield ""
    yield "# Records"
    yield ""
    yield f"There are five tables: {', '.join(f'[`{name}`](#{name})' for name in TABLES)}."
    yield ""
    yield _HOW_RECORDS_ARE_GIVEN
    for table in TABLES.values():
        yield ""
        yield f"## {table.name}"
        yield ""
        yield f"One row for each {', '.join(table.identity)}."
        yield ""
        yield "| column | what it says | a cell is | optional |"
        yield "| --- | --- | --- | --- |"
        for column in table.columns:
            expected = column.type.expected
            if column.type.vocabulary:
                words = {**policy.vocabulary, **FIXED_WORDS}[column.type.vocabulary]
                expected += ", ".join(f"`{word}`" for word in sorted(words))
            yield f"| `{column.name}` | {column.meaning} | {expected} | {'optional' if column.optional else ''} |"
        if table.rules:
            yield ""
        for rule in table.rules:
            yield f"- `{rule.column}`: {rule.expected}"


def _features() -> Iterator[str]:
    policy = es.shipped_policy()
    indicators = {indicator.id: indicator for indicator in policy.indicators}
    yield _GENERATED
    yield ""
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


def _with_outputs(text: str) -> str:
    """Return a README with the output of each command and Python line as it is now."""
    text = re.sub(
        r"(<!-- output of: (egretscore [^\n]*) -->\n```text\n).*?(```)",
        lambda found: found[1] + _output_of(found[2]) + found[3],
        text,
        flags=re.DOTALL,
    )
    text = re.sub(
        r"(<!-- accuracy -->\n).*?\n(\n)",
        lambda found: f"{found[1]}{_accuracy_table()}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )
    return re.sub(
        r"(<!-- python -->\n```python\n)(.*?)(```)",
        lambda found: found[1] + _python_session(found[2]) + found[3],
        text,
        flags=re.DOTALL,
    )


def _output_of(command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit), contextlib.chdir(ROOT):
        egretscore(shlex.split(command)[1:])
    return out.getvalue()


def _accuracy_table() -> str:
    """Return the table of ``benchmarks/accuracy.py`` from the figures that were kept."""
    results = pd.read_json(ROOT / "benchmarks" / "results" / "accuracy.json")
    return str(runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))["auc_table"](results))


def _python_session(session: str) -> str:
    """Run the lines of an interactive session and return them with their output."""
    names: dict[str, object] = {}
    lines = []
    for example in doctest.DocTestParser().get_examples(session):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(example.source, "<README>", "single"), names)  # noqa: S102 - the README's own lines
        lines += [f">>> {example.source}", out.getvalue()]
    return "".join(lines)


def main() -> None:
    """Write every generated document."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
