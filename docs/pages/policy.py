"""``docs/policy.md``, from the reader of policy files."""

from __future__ import annotations

import argparse
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_type_hints

import egretscore as es
from egretscore.cli.arguments import parser
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


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


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


def lines() -> Iterator[str]:
    """Yield the lines of the page on policies."""
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
