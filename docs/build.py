"""Write the documentation that follows from the code: ``make docs``.

``docs/records.md`` comes from the schema, ``docs/features.md`` from the declarations,
``docs/policy.md`` from the reader of policy files and ``docs/scorecard.md`` from the shipped model.
In both READMEs the output of every command and Python line shown is written anew, and so is the
table of the accuracy benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import inspect
import io
import itertools
import re
import runpy
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd

import egretscore as es
from egretscore.cli import main as egretscore
from egretscore.cli.arguments import parser
from egretscore.features import declare_features
from egretscore.policy import SeverityLevel
from egretscore.policy.reading import (
    HEADER,
    LARGEST_WEIGHT,
    LISTS,
    LONGEST_RETENTION_DAYS,
    MOST_WORDS,
    OLDEST_WEIGHTED_DAYS,
    PURPOSES,
    SINGLES,
    TAKEN_IN,
    TYPES,
    USED_INDICATORS,
)
from egretscore.records import TABLES
from egretscore.records.schema import FIXED_WORDS
from egretscore.scoring.publication import counting_rule, publication

ROOT = Path(__file__).parent.parent
_GENERATED = "<!-- Written by docs/build.py; change what it is written from, then run `make docs`. -->"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def documents() -> Mapping[Path, str]:
    """Return every generated document: its path and its text."""
    return {
        ROOT / "docs" / "records.md": "\n".join(_records()) + "\n",
        ROOT / "docs" / "features.md": "\n".join(_features()) + "\n",
        ROOT / "docs" / "policy.md": "\n".join(_policy()) + "\n",
        ROOT / "docs" / "scorecard.md": f"{_GENERATED}\n\n{publication(es.load_engine().model)}",
        **{
            ROOT / name: _with_outputs((ROOT / name).read_text(encoding="utf-8"))
            for name in ("README.md", "README.zh.md")
        },
    }


_HOW_RECORDS_ARE_GIVEN = """\
## How they are given

- In a folder, as `TABLE.csv` or `TABLE.parquet`; or as several files whose names continue after a dot, a hyphen or
  an underscore (`civic_points-2026.csv`); or as a folder of files with such a name (`penalties.parquet/`).
- In Python also as a mapping of table names to pandas, polars or Arrow frames, or to lists of them.
- `consents` must be there. Any other table that is missing is taken to be empty.
- A table has exactly these columns: a missing or unknown column is an error. Cells may be empty where the column is
  marked optional.
- CSV is UTF-8, with a header and commas. Each record is one line: a cell cannot contain a line break, not even in
  quotes.
- Rows are counted from 1, starting below the header: in a CSV file row 1 is line 2. Blank lines are skipped but
  counted.
- A timestamp counts as a date if it is midnight, in UTC where it has a time zone. Convert local times to dates first.
- Ids of records and names of authorities are taken in Unicode's normal form C: é is one letter, however it was
  composed. Letters of full width, and brackets of other kinds, stay different.
- Whoever a letter says is not an adult is not, until a later letter confirms that they are. The letter that confirms
  it must cover what is asked for, scoring or training; the one that denies it need not.

## When more becomes known about a record

Write an outcome, a repair, a revocation, an exclusion, a withdrawal or the decision on an objection into the record's
own row, and leave its other cells as they are, `recorded_on` among them. The row as it was before may be there as well,
in the same file or that of an earlier day: of several rows of one record, one that says all that the others do is used,
and the others count as repeated. So a folder of the deliveries of many days is read as the last state of each record.
[city.md](city.md#day-by-day) says how to add new rows to kept records.

## What is unclear counts against nobody

- **Two rows of one record contradict each other:** neither says all that the other does. The one recorded first is
  used until the day on which the other was recorded; from then on the record counts against nobody. If both were
  recorded on the same day, neither is used.
- **A record has a row that cannot be read.** The record counts against nobody from the `recorded_on` of that row.
- **A row that cannot be read does not say which record it is about.** If it names only a person, it may be about any
  record of theirs; if it names only a record id, about any record with that id. A line that cannot be cut into cells
  may be about any record of any person or id that occurs in it. A row with a date, an amount or a word of a vocabulary
  and nothing else may be the end of the row before it, which a line break cut off, and so about the record of that row.
- **A row of `consents` cannot be read.** It may be a withdrawal, so nobody it names is scored, nor, if it may
  be the end of the row before it, the person of that row.
- **A row of `objections` cannot be read.** It is taken to be an objection that is still open, against every record
  that it may be about.

`egretscore validate` lists each such row and what is wrong with it."""


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


_WHAT_A_POLICY_IS = """\
# A policy of your own

A policy says everything a score depends on that is not learned from data: which words records may use, what counts
and for how long, grades and benefits. It is one TOML file. Begin with a copy of the shipped one, which travels with
the package:

```console
$ python -c "import egretscore as es; open('policy.toml', 'w', encoding='utf-8').write(es.shipped_policy().text)"
```

Change it, give it another `name` or `version`, and check that it can be read:

```console
$ python -c "import egretscore as es; print(es.read_policy('policy.toml'))"
```

A value that is not allowed, an unknown key and a missing key are errors that name the file and the entry.

## What it says"""


_WHAT_A_POLICY_KEEPS = f"""\
`[[...]]` is a list of at least one entry, each under such a heading. A text is never empty; `zh` and `en` are what
people read, in either language. The file is UTF-8.

**An assumption is marked by its source.** Every entry names its `source`, a key of `[sources]`. An entry that no
public source supports names `assumption`, which `[sources]` describes as its authors' own choice. No check can tell
whether the source that you name really says so: that is up to you.

## What it must keep

| for | the limit | why |
| --- | --- | --- |
| every id | begins with a lower-case letter; lower-case letters, digits and `_`; at most 40; once in its section | it names columns and reasons |
| {_listed(TAKEN_IN)} | no id and no text mentions what is never taken in, such as religion or income | promise 5 |
| `activities`, `kinds` | at most {MOST_WORDS} each | each is one bit of a whole number |
| `activities`, `groups` | no id gives two features the same name, or two reasons the same code (`train` checks this; reading the policy does not) | a reason is known by its code |
| `scale` | `minimum` < `blank` < `maximum`; `points_to_double_odds` 1 or more | training needs room on both sides of `blank` |
| `grades` | different minima, the lowest that of the scale, none above its maximum | every score has one grade |
| `indicators` | {_listed(USED_INDICATORS)} are there | features stand under them |
| `letters` | purposes are {_listed(PURPOSES)} | consent is for these |
| `severities` | exactly {_listed(SeverityLevel)} | what counts depends on them |
| `minor` | `retention_days` 0 | promise 4 |
| `general`, `serious` | `retention_days` from 1 to {LONGEST_RETENTION_DAYS} | no negative record stands over 5 years |
| `categories`, `kinds`, `groups` | name a severity, a group, an indicator of the file; each group has a kind | |
| `commitments` | 1 <= `late_` <= `partly_` <= `unkept_retention_days` <= {LONGEST_RETENTION_DAYS} | what is settled better never stands longer |
| | `prior_permille` at most 1000, `prior_weight` 1 or more | a blank file has a keeping rate |
| `weights_by_age` | ages grow, from 1 to at most {OLDEST_WEIGHTED_DAYS} days; weights are 1 to {LARGEST_WEIGHT} and never grow with age | ageing makes nothing worse |
| `benefits` | `min_score` within the scale | no key can state a restriction (promise 2) |

What a feature counts, and the most it can reach, is not part of the policy: see [features.md](features.md).

## What takes a policy"""  # noqa: E501 - a row of a table is one line


_WHAT_FOLLOWS_FROM_A_POLICY = """\
When none is given, the shipped policy is used; for kept records, and in `es.train`, the policy of the records.

**A model carries the policy that it was trained under.** Scoring, explaining and publishing take a model and follow
its policy. So train again after any change, even of the score at which a benefit opens: the same records and seed
give the same tables unless the change affects them. In Python, read records with `policy=engine.policy`.

**Records are read, and kept, with the words of a policy.** A model refuses them if its own policy lacks one of these
words, or if a letter covers more purposes in it. It also refuses them if its policy has a further word and rows with
that word may have been set aside, which is never ruled out for kept records. So keep records under the same policy
as the model, and keep them again when its words change.

**`valid_from` is only printed**, by `publish`. A date before it is scored under the same rules: to know what someone's
score was while other rules were in force, use the model of that time."""


def _policy() -> Iterator[str]:
    yield _GENERATED
    yield ""
    yield _WHAT_A_POLICY_IS
    yield ""
    yield "| section | what it says | its keys |"
    yield "| --- | --- | --- |"
    yield f"| `[policy]` | What the policy is called, and from when it is in force. | {_keys(HEADER)} |"
    yield "| `[sources]` | Where the figures come from. | any, each a text |"
    for heading, sections in (("[{}]", SINGLES), ("[[{}]]", LISTS)):
        for name, of in sections.items():
            says = str(of.__doc__).splitlines()[0].replace("``", "`")
            yield f"| `{heading.format(name)}` | {says} | {_keys(get_type_hints(of))} |"
    yield ""
    yield _WHAT_A_POLICY_KEEPS
    yield ""
    yield "| at the command line | in Python |"
    yield "| --- | --- |"
    commands = _subparsers().items()
    typed = [f"`egretscore {name} --policy`" for name, command in commands if "--policy" in command.format_help()]
    called = [
        f"`es.{name}(policy=...)`"
        for name in es.__all__
        if inspect.isfunction(getattr(es, name)) and "policy" in inspect.signature(getattr(es, name)).parameters
    ]
    yield from (
        f"| {command} | {function} |" for command, function in itertools.zip_longest(typed, called, fillvalue="")
    )
    yield ""
    yield _WHAT_FOLLOWS_FROM_A_POLICY


def _keys(types: Mapping[str, Any]) -> str:
    """Return the keys of a section, those of one kind together, with what each must be."""
    kinds: dict[str, list[str]] = {}
    for key, of in types.items():
        kinds.setdefault(TYPES[of][1], []).append(key)
    return "; ".join(f"{_listed(keys)}: {expected}" for expected, keys in kinds.items())


def _subparsers() -> Mapping[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    actions = parser()._actions  # noqa: SLF001 - argparse has no other way to ask
    return next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001


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
