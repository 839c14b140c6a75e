"""The arguments of ``egretscore``: the commands, their options and their help."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from egretscore import __version__
from egretscore.dates import as_day
from egretscore.errors import ArgumentError


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``command`` is the name of the one that was given."""
    whole = argparse.ArgumentParser(
        prog="egretscore",
        description="A consent-based personal credit score that is the sum of its reasons.",
        epilog="egretscore COMMAND --help says more, with examples.",
    )
    whole.add_argument("--version", action="version", version=f"egretscore {__version__}")
    commands = whole.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=_CommandParser
    )

    for add_command in (
        _explain_options,
        _score_options,
        _train_options,
        _validate_options,
        _keep_options,
        _add_options,
        _erase_options,
        _simulate_options,
        _publish_options,
    ):
        add_command(commands)
    return whole


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command: an unknown argument is reported with the usage of that command."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", None, _GivenOnce)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the options; an unknown argument is an error."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


class _GivenOnce(argparse.Action):
    """Store the value of an option, and refuse a second one: argparse would silently keep the last."""

    _given = False

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, _option: str | None = None
    ) -> None:
        if self._given:
            raise argparse.ArgumentError(self, "given more than once")
        self._given = True
        setattr(namespace, self.dest, value)


def _explain_options(commands: Any) -> None:
    explain = _command(
        commands,
        "explain",
        "explain one person's score to the last point",
        """
        examples:
          egretscore explain                        someone of the sample town, by the shipped model
          egretscore explain --lang zh
          egretscore explain --each-record          also what each record on file does
          egretscore explain r0123456789 --records records --model model --as-of 2026-10-31 --format json
        """,
    )
    explain.add_argument(
        "subject", nargs="?", metavar="SUBJECT", help="whose score (default: someone of the sample town)"
    )
    _records_option(explain, required=False)
    explain.add_argument("--model", type=_place, metavar="DIR", help="a trained model (default: the shipped one)")
    explain.add_argument(
        "--as-of",
        type=_day,
        metavar="DATE",
        help="the date of the question (default: today; for the sample town, its own)",
    )
    explain.add_argument(
        "--lang", choices=("en", "zh"), default=_language(), help="English or Chinese (default: that of the locale)"
    )
    explain.add_argument(
        "--each-record", action="store_true", help="add what each record on file does: the score with and without it"
    )
    _format_option(explain)


def _score_options(commands: Any) -> None:
    score = _command(
        commands,
        "score",
        "score everyone on file into Parquet",
        """
        People are scored in 64 parts, as many at once as fit into memory. A run that was
        stopped continues where it was when started again with the same options.

        examples:
          egretscore score --out scores.parquet     everyone of the sample town, by the shipped model
          egretscore score --records records --model model --as-of 2026-10-31 --out scores.parquet --reasons
          egretscore score --records records --model model --as-of 2026-10-31 --out scores --benefits --memory 4GB
          egretscore score --records kept --model model --as-of 2026-10-31 --out scores --engine spark
          egretscore score --records kept --model model --as-of 2026-11-01 --out scores --reasons \\
            --since 2026-10-31 --previous scores
        """,
    )
    _records_option(score, required=False)
    score.add_argument(
        "--model", type=_place, metavar="DIR", help="a trained model (default: of the sample town, the shipped one)"
    )
    score.add_argument(
        "--as-of", type=_day, metavar="DATE", help="the date of the question (default: of the sample town, its own)"
    )
    score.add_argument(
        "--out",
        type=_place,
        metavar="PLACE",
        required=True,
        help="a file to write, if its name ends in .parquet, else a folder of 64 parts",
    )
    score.add_argument(
        "--since",
        type=_day,
        metavar="DATE",
        help="with --previous: the date that those scores must be of",
    )
    score.add_argument(
        "--previous",
        type=_place,
        metavar="DIR",
        help="earlier scores of the same kept records, a folder: only people who changed since are scored again",
    )
    score.add_argument("--vectors", action="store_true", help="add the vectors: one column for each feature")
    score.add_argument("--reasons", action="store_true", help="add one column of points for each feature")
    score.add_argument("--benefits", action="store_true", help="add one column of true and false for each convenience")
    _machine_options(score)
    score.add_argument(
        "--engine",
        choices=("duckdb", "spark"),
        default="duckdb",
        help="where to score: on this machine (default) or on Spark, which needs kept records",
    )
    score.add_argument("--master", metavar="URL", help="the Spark cluster (default: this machine)")
    _format_option(score)


def _train_options(commands: Any) -> None:
    train = _command(
        commands,
        "train",
        "train a model on the records of people whose consent covers it",
        """
        Give --as-of several times: the model learns from the snapshots of all dates but the last
        and is validated on the last. Given once, it learns from some people on that date and is
        validated on others on the same date, which does not show how it does later.

        example:
          egretscore train --records records --as-of 2024-09-01 --as-of 2025-10-01 --out model
        """,
    )
    _records_option(train)
    train.add_argument(
        "--as-of", type=_day, metavar="DATE", required=True, action="append", help="the date of a snapshot; repeatable"
    )
    train.add_argument("--out", type=_place, metavar="DIR", required=True, help="the folder to write the model into")
    _policy_option(train)
    train.add_argument(
        "--horizon-days",
        type=_whole_number(1),
        default=365,
        metavar="DAYS",
        help="how far ahead outcomes lie (default: 365)",
    )
    train.add_argument(
        "--seed", type=_whole_number(0), default=0, help="the same seed gives the same bytes (default: 0)"
    )


def _validate_options(commands: Any) -> None:
    validate = _command(
        commands,
        "validate",
        "check records and say what is wrong with them",
        """
        examples:
          egretscore validate                       the sample town
          egretscore validate --records records
          egretscore validate --records records --quarantine set-aside
          egretscore validate --records records --format json > found.json
        """,
    )
    _records_option(validate, required=False)
    _policy_option(validate)
    _quarantine_option(validate)
    _machine_options(validate)
    _format_option(validate)


def _keep_options(commands: Any) -> None:
    keep = _command(
        commands,
        "keep",
        "check records once and keep them, ready to be scored and explained",
        """
        Every command reads the folder like any other records. Rows set aside are not kept:
        `egretscore validate` lists them with the reasons. A run that was stopped continues
        where it was, as with score. Records kept in the folder earlier are replaced, with all
        that was added to them and erased from them since.

        example:
          egretscore keep --records records --out kept
        """,
    )
    keep.add_argument("--records", type=_place, metavar="DIR", required=True, help="a folder of CSV or Parquet records")
    keep.add_argument("--out", type=_place, metavar="DIR", required=True, help="the folder to write")
    _policy_option(keep, takes_kept=False)
    _machine_options(keep)
    _format_option(keep)


def _add_options(commands: Any) -> None:
    add = _command(
        commands,
        "add",
        "add new records to kept ones",
        """
        Give the new rows, and the rows that now say more, such as a commitment with its
        outcome: a row that fills empty cells replaces the kept one. A row that contradicts the
        kept one, or cannot be read, is set aside, and the kept record is in doubt: it counts
        against nobody. A consent of which that is so stops the addition. If adding was stopped,
        add the same again before anything else.

        examples:
          egretscore add --records 2026-10-31 --kept kept --dry-run
          egretscore add --records 2026-10-31 --kept kept
          egretscore score --records kept --model model --as-of 2026-10-31 --out scores \\
            --since 2026-10-30 --previous scores
        """,
    )
    add.add_argument("--records", type=_place, metavar="DIR", required=True, help="a folder of CSV or Parquet records")
    add.add_argument("--kept", type=_place, metavar="DIR", required=True, help="a folder that keep wrote")
    add.add_argument("--dry-run", action="store_true", help="report what would happen, and add nothing")
    _quarantine_option(add)
    _machine_options(add)
    _format_option(add)


def _erase_options(commands: Any) -> None:
    erase = _command(
        commands,
        "erase",
        "erase a person from kept records",
        """
        If erasing was stopped, erase again to finish it. The original records, records added
        later, and scores written earlier are not touched: erase the person from them yourself,
        or adding those records again brings the person back.

        example:
          egretscore erase r0123456789 --kept kept
        """,
    )
    erase.add_argument("subject", metavar="SUBJECT", help="whom to erase")
    erase.add_argument("--kept", type=_place, metavar="DIR", required=True, help="a folder that keep wrote")
    _format_option(erase)


def _simulate_options(commands: Any) -> None:
    simulate = _command(
        commands,
        "simulate",
        "invent a town",
        """
        The residents do not exist, and no figure of theirs says anything about real people.

        example:
          egretscore simulate --residents 2000 --out town
        """,
    )
    simulate.add_argument("--residents", type=_whole_number(1), metavar="N", required=True, help="how many")
    simulate.add_argument("--out", type=_place, metavar="DIR", required=True, help="a new folder to write")
    simulate.add_argument(
        "--seed", type=_whole_number(0), default=0, help="the same seed gives the same bytes (default: 0)"
    )
    simulate.add_argument("--format", choices=("csv", "parquet"), default="csv", help="the kind of files")


def _publish_options(commands: Any) -> None:
    publish = _command(
        commands,
        "publish",
        "print a model's score tables, their proof and the queries",
        """
        example:
          egretscore publish --model model > scorecard.md
        """,
    )
    publish.add_argument("--model", type=_place, metavar="DIR", help="a trained model (default: the shipped one)")


def _command(commands: Any, name: str, summary: str, more: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join(line.removeprefix("        ") for line in more.strip("\n").rstrip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _records_option(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    default = "" if required else " (default: the sample town)"
    parser.add_argument(
        "--records",
        type=_place,
        metavar="DIR",
        required=required,
        help=f"a folder of CSV or Parquet records, or of kept records{default}",
    )


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory",
        type=_memory_that_suffices,
        metavar="SIZE",
        help="memory to use, such as 4GB or 800MB (default: half of the machine's)",
    )
    parser.add_argument(
        "--threads", type=_whole_number(1), metavar="N", help="threads to use (default: as many as there are cores)"
    )


def _format_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people or for machines")


def _quarantine_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quarantine",
        type=_place,
        metavar="DIR",
        help="write the rows set aside, with their reasons, into this folder, in place of those of an earlier run",
    )


def _policy_option(parser: argparse.ArgumentParser, *, takes_kept: bool = True) -> None:
    of_kept = "; for kept records, their own" if takes_kept else ""
    parser.add_argument(
        "--policy", type=_place, metavar="FILE", help=f"a policy in TOML (default: the shipped one{of_kept})"
    )


def _place(text: str) -> Path:
    """Return the path of a place; an empty name, as of an unset variable, would be the current folder to pathlib."""
    if not text:
        raise argparse.ArgumentTypeError("'' names no place; '.' is the current folder")
    if text == "-":
        raise argparse.ArgumentTypeError("'-' is no place: files are read and written by name")
    return Path(text)


def _day(text: str) -> str:
    try:
        return as_day(text).isoformat()
    except ArgumentError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; expected one such as 2026-10-31") from None


def _whole_number(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that are at least so much."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return int(text)

    return read


def memory_size(text: str) -> int:
    """Return how many bytes a size such as 4GB, 800M or 2.5GiB is."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])(i?)B?", text, re.IGNORECASE | re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected one such as 4GB or 800MB")
    number, unit, binary = match.groups()
    return int(Decimal(number) * (1024 if binary else 1000) ** ("KMGT".index(unit.upper()) + 1))


def _memory_that_suffices(text: str) -> int:
    from egretscore.records.in_bulk.memory import memory_to_use

    try:
        return memory_to_use(memory_size(text))
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is too little; expected {error.expected}") from None


def _language() -> str:
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"
