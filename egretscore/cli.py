"""The command line: ``egretscore explain``, ``score``, ``train``, ``validate``, ``keep`` and others.

Exit status: 0 done; 1 bad input, with a message on stderr; 2 wrong usage; 3 from
``explain`` when the person is not scored; 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egretscore import __version__
from egretscore.dates import as_day
from egretscore.errors import ArgumentError, EgretError
from egretscore.terminal import (
    amount_done,
    interrupts_noted,
    never_fail_to_print,
    parts_done,
    print_result,
    say,
    working,
)

if TYPE_CHECKING:
    from egretscore.records import Records

DONE, BAD_INPUT, WRONG_USAGE, NOT_SCORED, INTERRUPTED = 0, 1, 2, 3, 130
_MOST_PROBLEMS_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    never_fail_to_print()
    options = _parser().parse_args(arguments)
    with interrupts_noted() as interrupts:
        try:
            return int(options.command(options))
        # A library may make another error of an interrupt.
        except (Exception, KeyboardInterrupt) as error:
            if interrupts or isinstance(error, KeyboardInterrupt):
                return _complain("interrupted; give the same command again to finish", INTERRUPTED)
            if isinstance(error, EgretError):
                return _complain(error, WRONG_USAGE if isinstance(error, ArgumentError) else BAD_INPUT)
            if isinstance(error, OSError):
                return _complain(_what_failed(error), BAD_INPUT)
            raise


def _what_failed(error: OSError) -> str:
    what = f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return f"{what}. Make room, and give the same command again." if full else what


# ------------------------------------------------------------------------------- the commands


def _explain(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine
    from egretscore.records import read_records
    from egretscore.shipped import sample_records

    engine = load_engine(options.model)
    records = read_records(options.records or sample_records(), policy=engine.policy)
    _mention_quarantine(records)
    example = records.invented or {}
    subject_id = example.get("subject_id") if options.subject is None and not options.records else options.subject
    if not subject_id or not subject_id.isprintable():
        raise ArgumentError(
            "name the person to explain", value=subject_id, expected="egretscore explain SUBJECT --records DIR"
        )
    day = options.as_of or (_today() if options.records else example["as_of"])
    explanation = engine.explain(records, subject_id, day)
    if options.format == "json":
        print_result(json.dumps(explanation.to_dict(options.lang), ensure_ascii=False, indent=2))
    else:
        print_result(explanation.text(options.lang), end="")
    return DONE if explanation.score is not None else NOT_SCORED


def _score(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine

    engine = load_engine(options.model)
    columns = {name: getattr(options, name) for name in ("vectors", "reasons", "benefits")}
    machine = {"threads": options.threads, "memory": options.memory}
    if options.engine == "spark":
        from egretscore.on_spark import score_on_spark

        if options.since is not None or options.previous is not None:
            raise ArgumentError("Spark scores everyone", remedy="Leave out --since and --previous, or --engine spark.")

        with working("Scoring on Spark"):
            outcome = score_on_spark(
                engine, options.records, options.as_of, options.out, master=options.master, **columns, **machine
            )
    elif options.master is not None:
        raise ArgumentError("--master names a Spark cluster", remedy="Add --engine spark.")
    else:
        from egretscore.everyone import score_everyone

        with parts_done("Scoring", "people") as progress:
            outcome = score_everyone(
                engine,
                options.records,
                options.as_of,
                options.out,
                since=options.since,
                previous=options.previous,
                progress=progress,
                **columns,
                **machine,
            )
    if outcome.set_aside:
        _mention(outcome.set_aside)
    if outcome.read_again is not None:
        say(f"egretscore: {outcome.read_again:,} people's records were read again; all others have the score they had")
    say(f"{outcome.scored:,} of {outcome.people:,} people scored as of {options.as_of}: {options.out}")
    return DONE


def _train(options: argparse.Namespace) -> int:
    from egretscore.policy import read_policy, shipped_policy
    from egretscore.records import read_records
    from egretscore.scoring.training import train

    policy = read_policy(options.policy) if options.policy else shipped_policy()
    with working("Reading the records"):
        records = read_records(options.records, policy=policy)
    _mention_quarantine(records)
    with working("Training"):
        model = train(records, options.as_of, policy=policy, horizon_days=options.horizon_days, seed=options.seed)
    replaced = options.out.is_dir() and any(options.out.iterdir())
    model.save(options.out)
    print_result(f"{model.name}\nsha256 {model.sha256}\n\n{model.report}")
    say(f"Written to {options.out}{', in place of the model that was there' if replaced else ''}")
    return DONE


def _validate(options: argparse.Namespace) -> int:
    from egretscore.policy import read_policy, shipped_policy
    from egretscore.records import read_records

    policy = read_policy(options.policy) if options.policy else shipped_policy()
    with working("Reading and checking the records"):
        records = read_records(options.records, policy=policy)
    unmatched = records.unmatched_objections
    _print_first(records.problems)
    _print_first(unmatched)
    if options.quarantine is not None:
        for file in records.write_quarantine(options.quarantine):
            say(f"Written: {file}")
    print_result(_counts_table(records))
    if unmatched:
        say(
            f"egretscore: {len(unmatched):,} objections name no record on file and dispute nothing: "
            "are their ids right, or do the records come later?"
        )
    set_aside = sum(count.quarantined for count in records.counts)
    if set_aside:
        hint = "" if options.quarantine else "; --quarantine DIR writes them to files with their reasons"
        return _complain(f"{set_aside:,} rows are set aside{hint}", BAD_INPUT)
    return DONE


def _keep(options: argparse.Namespace) -> int:
    from egretscore.policy import read_policy, shipped_policy
    from egretscore.records.keeping import keep_records

    policy = read_policy(options.policy) if options.policy else shipped_policy()
    with parts_done("Keeping", "rows") as progress:
        kept = keep_records(
            options.records,
            options.out,
            policy=policy,
            threads=options.threads,
            memory=options.memory,
            progress=progress,
        )
    if kept.set_aside:
        _mention(kept.set_aside)
    say(f"{kept.rows:,} rows kept: {options.out}")
    return DONE


def _add(options: argparse.Namespace) -> int:
    from egretscore.records.adding import add_records
    from egretscore.records.quarantine import check_holds_no_records

    if options.quarantine is not None:
        check_holds_no_records(options.quarantine)  # before anything is added
    with parts_done("Adding", "rows") as progress:
        added = add_records(
            options.records, options.kept, threads=options.threads, memory=options.memory, progress=progress
        )
    _print_first([*added.problems, *added.contradictions])
    if options.quarantine is not None:
        for file in added.write_quarantine(options.quarantine):
            say(f"Written: {file}")
    if added.set_aside:
        hint = "" if options.quarantine else "; --quarantine DIR writes them to files"
        say(f"egretscore: {added.set_aside:,} rows are set aside{hint}")
    say(f"{added.new:,} rows new, {added.completed:,} completed, {added.known:,} known before: {options.kept}")
    return DONE


def _erase(options: argparse.Namespace) -> int:
    from egretscore.records import kept

    if not kept.is_kept(options.kept):
        raise ArgumentError(
            "these are no kept records", file=options.kept, expected="a folder that egretscore keep wrote"
        )
    rows = kept.erase(options.kept, options.subject)
    say(f"{rows:,} rows erased: {options.kept}; the records that were kept from or added are as they were")
    return DONE


def _simulate(options: argparse.Namespace) -> int:
    from egretscore.simulate import simulate_town

    with amount_done("Inventing residents", options.residents) as advance_to:
        town = simulate_town(
            options.residents, options.out, seed=options.seed, file_format=options.format, progress=advance_to
        )
    say(f"{options.residents:,} invented residents: {town}")
    return DONE


def _publish(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine
    from egretscore.scoring.publication import publication

    print_result(publication(load_engine(options.model).model), end="")
    return DONE


# ------------------------------------------------------------------------------- what is typed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="egretscore",
        description="A consent-based personal credit score that is the sum of its reasons.",
        epilog="egretscore COMMAND --help says more, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"egretscore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

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
    return parser


def _explain_options(commands: Any) -> None:
    explain = _command(
        commands,
        "explain",
        "explain one person's score to the last point",
        """
        examples:
          egretscore explain                        someone of the sample town, by the shipped model
          egretscore explain --lang zh
          egretscore explain r0123456789 --records records --model model --as-of 2026-10-31 --format json
        """,
        _explain,
    )
    explain.add_argument(
        "subject", nargs="?", metavar="SUBJECT", help="whose score (default: someone of the sample town)"
    )
    _records_option(explain, required=False)
    explain.add_argument("--model", type=Path, metavar="DIR", help="a trained model (default: the shipped one)")
    explain.add_argument(
        "--as-of",
        type=_day,
        metavar="DATE",
        help="the date of the question (default: today; for the sample town, its own)",
    )
    explain.add_argument(
        "--lang", choices=("en", "zh"), default=_language(), help="English or Chinese (default: that of the locale)"
    )
    explain.add_argument("--format", choices=("text", "json"), default="text", help="for people or for machines")


def _score_options(commands: Any) -> None:
    score = _command(
        commands,
        "score",
        "score everyone on file into Parquet",
        """
        People are scored in 64 parts, as many at once as fit into the memory. A run that was
        stopped goes on where it was when it is started again with the same options.

        examples:
          egretscore score --records records --model model --as-of 2026-10-31 --out scores.parquet --reasons
          egretscore score --records records --model model --as-of 2026-10-31 --out scores --benefits --memory 4GB
          egretscore score --records kept --model model --as-of 2026-10-31 --out scores --engine spark
          egretscore score --records kept --model model --as-of 2026-11-01 --out scores --reasons \\
            --since 2026-10-31 --previous scores
        """,
        _score,
    )
    _records_option(score)
    score.add_argument("--model", type=Path, metavar="DIR", required=True, help="a trained model")
    score.add_argument("--as-of", type=_day, metavar="DATE", required=True, help="the date of the question")
    score.add_argument(
        "--out",
        type=Path,
        metavar="PLACE",
        required=True,
        help="a file to write, if its name ends in .parquet, else a folder of 64 parts",
    )
    score.add_argument(
        "--previous",
        type=Path,
        metavar="DIR",
        help="scores of the same kept records on an earlier day: only who changed since is scored again",
    )
    score.add_argument("--since", type=_day, metavar="DATE", help="the day of the previous scores")
    score.add_argument("--vectors", action="store_true", help="with the vectors: one column for each feature")
    score.add_argument("--reasons", action="store_true", help="with one column of points for each feature")
    score.add_argument("--benefits", action="store_true", help="with one column of true and false for each convenience")
    _machine_options(score)
    score.add_argument(
        "--engine",
        choices=("duckdb", "spark"),
        default="duckdb",
        help="what groups the records: on this machine (default), or Spark, which takes kept ones",
    )
    score.add_argument("--master", metavar="URL", help="the Spark cluster (default: this machine)")


def _train_options(commands: Any) -> None:
    train = _command(
        commands,
        "train",
        "train a model on the records of people whose consent covers it",
        """
        Give --as-of several times: the model learns from the snapshots of all dates but the last,
        and is validated on the last.

        example:
          egretscore train --records records --as-of 2024-09-01 --as-of 2025-10-01 --out model
        """,
        _train,
    )
    _records_option(train)
    train.add_argument(
        "--as-of", type=_day, metavar="DATE", required=True, action="append", help="the date of a snapshot; repeatable"
    )
    train.add_argument("--out", type=Path, metavar="DIR", required=True, help="the folder to write the model into")
    _policy_option(train)
    train.add_argument(
        "--horizon-days",
        type=_not_negative,
        default=365,
        metavar="DAYS",
        help="how far ahead outcomes lie (default: 365)",
    )
    train.add_argument("--seed", type=_not_negative, default=0, help="the same seed gives the same bytes (default: 0)")


def _validate_options(commands: Any) -> None:
    validate = _command(
        commands,
        "validate",
        "check records and say what is wrong with them",
        """
        examples:
          egretscore validate --records records
          egretscore validate --records records --quarantine set-aside
        """,
        _validate,
    )
    _records_option(validate)
    _policy_option(validate)
    validate.add_argument("--quarantine", type=Path, metavar="DIR", help="write the rows set aside, with their reasons")


def _keep_options(commands: Any) -> None:
    keep = _command(
        commands,
        "keep",
        "check records once and keep them, ready to be scored and explained",
        """
        Every command reads the folder as it reads any records. What is set aside is not kept:
        `egretscore validate` says what and why. Like score, a run that was stopped goes on
        where it was.

        example:
          egretscore keep --records records --out kept
        """,
        _keep,
    )
    keep.add_argument("--records", type=Path, metavar="DIR", required=True, help="a folder of CSV or Parquet records")
    keep.add_argument("--out", type=Path, metavar="DIR", required=True, help="the folder to write")
    _policy_option(keep)
    _machine_options(keep)


def _add_options(commands: Any) -> None:
    add = _command(
        commands,
        "add",
        "add new records to kept ones",
        """
        Give the rows that are new, and those of which more is known now, such as a commitment
        that was kept: a row that fills empty cells stands in place of the one that is kept. What
        contradicts a kept row is set aside, and the record is in doubt from that day. What was
        stopped is finished by adding again.

        examples:
          egretscore add --records 2026-10-31 --kept kept
          egretscore score --records kept --model model --as-of 2026-10-31 --out scores \\
            --since 2026-10-30 --previous scores
        """,
        _add,
    )
    add.add_argument("--records", type=Path, metavar="DIR", required=True, help="a folder of CSV or Parquet records")
    add.add_argument("--kept", type=Path, metavar="DIR", required=True, help="a folder that keep wrote")
    add.add_argument("--quarantine", type=Path, metavar="DIR", help="write the rows set aside, with their reasons")
    _machine_options(add)


def _erase_options(commands: Any) -> None:
    erase = _command(
        commands,
        "erase",
        "erase a person from kept records",
        """
        What was stopped while erasing is finished by erasing again. The records that were kept
        from or added, and scores written earlier, are yours to erase: who is still in records
        that are added once more comes back with them.

        example:
          egretscore erase r0123456789 --kept kept
        """,
        _erase,
    )
    erase.add_argument("subject", metavar="SUBJECT", help="whom")
    erase.add_argument("--kept", type=Path, metavar="DIR", required=True, help="a folder that keep wrote")


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
        _simulate,
    )
    simulate.add_argument("--residents", type=int, metavar="N", required=True, help="how many")
    simulate.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new folder to write")
    simulate.add_argument(
        "--seed", type=_not_negative, default=0, help="the same seed gives the same bytes (default: 0)"
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
        _publish,
    )
    publish.add_argument("--model", type=Path, metavar="DIR", required=True, help="a trained model")


def _command(commands: Any, name: str, summary: str, more: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join(line.removeprefix("        ") for line in more.strip("\n").rstrip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _records_option(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    default = "" if required else " (default: the sample town)"
    parser.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        required=required,
        help=f"a folder of CSV or Parquet records, or of kept ones{default}",
    )


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", type=memory_size, metavar="SIZE", help="such as 4GB or 800MB (default: half of the machine's)"
    )
    parser.add_argument("--threads", type=_not_negative, metavar="N", help="(default: as many as there are cores)")


def _policy_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, metavar="FILE", help="a policy in TOML (default: the shipped one)")


def _day(text: str) -> str:
    try:
        return as_day(text).isoformat()
    except ArgumentError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; expected one such as 2026-10-31") from None


def _not_negative(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def memory_size(text: str) -> int:
    """Return how many bytes a size such as 4GB, 800MB or 2.5GiB is."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])(i?)B", text, re.IGNORECASE | re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected one such as 4GB or 800MB")
    number, unit, binary = match.groups()
    return int(Decimal(number) * (1024 if binary else 1000) ** ("KMGT".index(unit.upper()) + 1))


def _today() -> str:
    return datetime.now().astimezone().date().isoformat()


def _language() -> str:
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"


# ------------------------------------------------------------------------------- what is printed


def _complain(what: object, status: int) -> int:
    say(f"egretscore: {what}")
    return status


def _print_first(problems: Sequence[object]) -> None:
    for problem in problems[:_MOST_PROBLEMS_SHOWN]:
        print_result(f"{problem}\n")
    if len(problems) > _MOST_PROBLEMS_SHOWN:
        print_result(f"… and {len(problems) - _MOST_PROBLEMS_SHOWN:,} more\n")


def _mention_quarantine(records: Records) -> None:
    set_aside = sum(count.quarantined for count in records.counts)
    if set_aside:
        _mention(set_aside)


def _mention(set_aside: int) -> None:
    say(f"egretscore: {set_aside:,} rows are set aside; `egretscore validate` says why")


def _counts_table(records: Records) -> str:
    names = ("rows", "good", "quarantined", "repeated")
    rows = [(count.file, *(getattr(count, name) for name in names)) for count in records.counts]
    rows.append(("in all", *(sum(getattr(count, name) for count in records.counts) for name in names)))
    width = max(len(str(row[0])) for row in rows)
    lines = [f"{'file':{width}}{'rows':>12}{'good':>12}{'set aside':>12}{'repeated':>12}"]
    lines += [f"{file:{width}}" + "".join(f"{number:12,}" for number in numbers) for file, *numbers in rows]
    return "\n".join(lines)
