"""The commands: ``explain``, ``score``, ``train``, ``validate``, ``keep`` and others."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from egretscore.cli.arguments import parser
from egretscore.cli.terminal import (
    BAD_INPUT,
    DONE,
    NOT_SCORED,
    amount_done,
    can_be_printed,
    complain,
    number_of,
    parts_done,
    print_result,
    say,
    working,
)
from egretscore.dates import as_day, today
from egretscore.errors import ArgumentError, shown

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from egretscore.policy import Policy
    from egretscore.records import SourceCount
    from egretscore.records.upkeep.adding import Added
    from egretscore.records.validating import Validated

_MOST_PROBLEMS_SHOWN = 20


def run(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit status."""
    options = parser().parse_args(arguments)
    return _COMMANDS[options.command](options)


# ------------------------------------------------------------------------------- the commands


def _explain(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine
    from egretscore.explanation import text_of_each, texts
    from egretscore.records import read_records
    from egretscore.records.kept.folder import is_kept

    engine = load_engine(options.model)
    folder = _records_or_sample(options)
    kept = is_kept(folder)
    quick = kept or options.records is None
    with nullcontext() if quick else working(texts(options.lang)["notes"]["reading"]):
        records = read_records(folder, policy=None if kept else engine.policy)
    _mention(records.set_aside, options.records, _policy_of(options.model), options.lang)
    example = records.invented or {}
    subject_id = example.get("subject_id") if options.subject is None and not options.records else options.subject
    if not subject_id:
        raise ArgumentError("name the person to explain", expected="egretscore explain SUBJECT --records DIR")
    if not subject_id.isprintable():
        raise ArgumentError("no subject_id has such characters", value=subject_id, expected="the id as in the records")
    day = as_day(options.as_of or (today() if options.records else example["as_of"]))
    if options.subject is not None:
        _mention_the_sample_town(options, options.lang)
    _mention_the_end(records.last_day, day, engine.policy, options.lang)
    explanation = engine.explain(records, subject_id, day)
    if not any(records.rows_of(subject_id, {"subject_id"}).values()):
        _note("nobody", options.lang)
    if records.set_aside_before:
        _note("set_aside_before", options.lang, rows=records.set_aside_before)
    if about := list(dict.fromkeys(f"{of.file}, row {of.row}" for of in records.problems_about(subject_id))):
        more = [f"… {len(about):,}"] if len(about) > _MOST_PROBLEMS_SHOWN else []
        _note("set_aside_about", options.lang, rows="; ".join(about[:_MOST_PROBLEMS_SHOWN] + more))
    each = engine.explain_each_record(records, subject_id, day) if options.each_record else None
    if options.format == "json":
        of_each = {} if each is None else {"records": [effect.to_dict(options.lang) for effect in each]}
        _print_json({**explanation.to_dict(options.lang), **of_each})
    else:
        print_result(explanation.text(options.lang) + (text_of_each(each, options.lang) if each else ""), end="")
    return DONE if explanation.score is not None else NOT_SCORED


def _score(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine
    from egretscore.records.reading import invented_mark

    records, as_of = _records_or_sample(options), options.as_of
    if options.records is None:
        _mention_the_sample_town(options)
        as_of = as_of or (invented_mark(records) or {})["as_of"]
    elif lacking := [
        name for name, given in (("--model DIR", options.model), ("--as-of DATE", as_of)) if given is None
    ]:
        raise ArgumentError("records of your own need a model and a date", expected=" and ".join(lacking))
    engine = load_engine(options.model)
    columns = {name: getattr(options, name) for name in ("vectors", "reasons", "benefits")}
    machine = _machine(options)
    if options.engine == "spark":
        from egretscore.everyone.on_spark import score_on_spark

        if options.since is not None or options.previous is not None:
            raise ArgumentError("Spark scores everyone", remedy="Leave out --since and --previous, or --engine spark.")

        with working("Scoring on Spark"):
            outcome = score_on_spark(engine, records, as_of, options.out, master=options.master, **columns, **machine)
    elif options.master is not None:
        raise ArgumentError("--master names a Spark cluster", remedy="Add --engine spark.")
    else:
        from egretscore.everyone.on_one_machine import score_everyone

        with parts_done("Scoring", "person", "people") as progress:
            outcome = score_everyone(
                engine,
                records,
                as_of,
                options.out,
                since=options.since,
                previous=options.previous,
                progress=progress,
                **columns,
                **machine,
            )
    _mention(outcome.set_aside, options.records, _policy_of(options.model))
    _mention_the_end(outcome.last_day, as_day(as_of), engine.policy)
    if outcome.read_again is not None:
        read_again = number_of(outcome.read_again, "person", "people")
        say(f"egretscore: the records of {read_again} were read again; everyone else keeps the score they had")
    people = number_of(outcome.people, "person", "people")
    said = f"{outcome.scored:,} of {people} scored as of {as_of}: {options.out}"
    _tell(options, said, out=options.out, as_of=as_of, **asdict(outcome))
    return DONE


def _train(options: argparse.Namespace) -> int:
    from egretscore.policy import read_policy
    from egretscore.records import read_records
    from egretscore.records.in_bulk.runs import check_not_among
    from egretscore.scoring.bundle import check_takes_a_model
    from egretscore.training.train import train

    check_not_among(options.out, options.records)
    check_takes_a_model(options.out)
    policy = None if options.policy is None else read_policy(options.policy)  # once: it may come from a pipe
    with working("Reading the records"):
        records = read_records(options.records, policy=policy)
    _mention(records.set_aside, options.records, options.policy)
    with working("Training"):
        model = train(records, options.as_of, policy=policy, horizon_days=options.horizon_days, seed=options.seed)
    replaced = options.out.is_dir() and any(options.out.iterdir())
    model.save(options.out)
    print_result(f"{model.name}\nsha256 {model.sha256}\n\n{model.report}")
    say(f"Written to {options.out}{', in place of the model that was there' if replaced else ''}")
    return DONE


def _validate(options: argparse.Namespace) -> int:
    from egretscore.records.validating import validate_records

    _mention_the_sample_town(options)
    _check_quarantine(options.quarantine, options.records)
    with parts_done("Checking", "row") as progress:
        found = validate_records(
            _records_or_sample(options), policy=options.policy, progress=progress, **_machine(options)
        )
    unmatched = found.unmatched_objections
    _write_quarantine(found, options.quarantine)
    if options.format == "json":
        _print_json({**asdict(found), "set_aside": found.set_aside, "absent": found.absent})
    else:
        _print_first(found.problems)
        _print_first(unmatched)
        print_result(_counts_table(found.counts))
    if found.absent:
        say(f"egretscore: there is no file of {', '.join(found.absent)}: taken to be empty")
    if unmatched:
        say(
            f"egretscore: {number_of(len(unmatched), 'objection')} to records that are not on file, so they dispute "
            "nothing yet: are the ids right, were these records set aside, or do they come later?"
        )
    if found.set_aside_before:
        say(
            f"egretscore: {number_of(found.set_aside_before, 'row')} set aside when these were kept; validate the "
            "original records to see why"
        )
    if found.set_aside:
        hint = "" if options.quarantine else "; --quarantine DIR writes them to files with their reasons"
        return complain(f"{number_of(found.set_aside, 'row')} set aside{hint}", BAD_INPUT)
    return DONE


def _keep(options: argparse.Namespace) -> int:
    from egretscore.records.kept.folder import is_kept
    from egretscore.records.upkeep.keeping import keep_records

    replaced = is_kept(options.out)
    with parts_done("Keeping", "row") as progress:
        kept = keep_records(options.records, options.out, policy=options.policy, progress=progress, **_machine(options))
    _mention(kept.set_aside, options.records, options.policy)
    if kept.unclear:
        say(
            f"egretscore: {number_of(kept.unclear, 'row')} of these may be a withdrawal, or an objection to any "
            "record: nothing can be added until they are corrected and all records are kept again"
        )
    said = f"{number_of(kept.rows, 'row')} kept: {options.out}"
    said += ", in place of the records that were kept there" if replaced else ""
    _tell(options, said, out=options.out, replaced=replaced, **asdict(kept))
    return DONE


def _add(options: argparse.Namespace) -> int:
    from egretscore.records.upkeep.adding import add_records

    _check_quarantine(options.quarantine, options.records)
    with parts_done("Checking" if options.dry_run else "Adding", "row") as progress:
        added = add_records(
            options.records, options.kept, dry_run=options.dry_run, progress=progress, **_machine(options)
        )
    _write_quarantine(added, options.quarantine)
    if options.format == "text":
        _print_first([*added.problems, *added.contradictions])
    if added.set_aside:
        hint = "" if options.quarantine else "; --quarantine DIR writes them to files"
        say(f"egretscore: {number_of(added.set_aside, 'row')} set aside{hint}")
    said = f"{number_of(added.new, 'row')} new, {added.completed:,} completed, {added.known:,} repeated or known before"
    said += f"; nothing was added: {options.kept}" if options.dry_run else f": {options.kept}"
    _tell(options, said, kept=options.kept, dry_run=options.dry_run, set_aside=added.set_aside, **asdict(added))
    return DONE


def _erase(options: argparse.Namespace) -> int:
    from egretscore.records.database import check_is_no_personal_number
    from egretscore.records.kept.erasing import erase

    check_is_no_personal_number(options.subject)
    rows = erase(options.kept, options.subject)
    if rows:
        said = f"{number_of(rows, 'row')} erased: {options.kept}"
    else:
        said = f"no rows of {shown(options.subject)} in {options.kept} (is the id right?)"
    said += "; the original records, and scores written earlier, are unchanged"
    _tell(options, said, kept=options.kept, subject_id=options.subject, rows=rows)
    return DONE


def _simulate(options: argparse.Namespace) -> int:
    from egretscore.simulate import simulate_town

    with amount_done("Inventing residents", options.residents) as advance_to:
        town = simulate_town(
            options.residents, options.out, seed=options.seed, file_format=options.format, progress=advance_to
        )
    say(f"{number_of(options.residents, 'invented resident')}: {town}")
    return DONE


def _publish(options: argparse.Namespace) -> int:
    from egretscore.engine import load_engine
    from egretscore.scoring.publication import publication

    print_result(publication(load_engine(options.model).model), end="")
    return DONE


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "explain": _explain,
    "score": _score,
    "train": _train,
    "validate": _validate,
    "keep": _keep,
    "add": _add,
    "erase": _erase,
    "simulate": _simulate,
    "publish": _publish,
}


def _records_or_sample(options: argparse.Namespace) -> Path:
    """Return the folder of records that was named, or that of the sample town."""
    from egretscore.shipped import sample_records

    return options.records or sample_records()


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a command may use of the machine."""
    return {"threads": options.threads, "memory": options.memory}


# ------------------------------------------------------------------------------- what is printed


def _tell(options: argparse.Namespace, what: str, **outcome: object) -> None:
    """Report the result of a command, in words or as JSON."""
    if options.format == "json":
        _print_json(outcome)
    else:
        say(what)


def _print_json(what: Mapping[str, object]) -> None:
    text = json.dumps(what, ensure_ascii=False, indent=2, default=str)  # paths and dates
    # A machine must not read another id: what the encoding lacks is escaped, and not replaced.
    print_result(text if can_be_printed(text) else json.dumps(what, indent=2, default=str))


def _check_quarantine(folder: Path | None, records: Path | None) -> None:
    """Make the folder for the rows set aside, before anything is added, or all records of a city are read."""
    from egretscore.records.in_bulk.runs import check_not_among
    from egretscore.records.quarantine import check_holds_no_records
    from egretscore.writing import make_folder

    if folder is not None:
        if records is not None:
            check_not_among(folder, records)
        check_holds_no_records(folder)
        make_folder(folder)


def _write_quarantine(of: Validated | Added, folder: Path | None) -> None:
    """Write the rows set aside, if asked to, before anything is printed: printing may fail."""
    for file in of.write_quarantine(folder) if folder is not None else ():
        say(f"Written: {file}")


def _print_first(problems: Sequence[object]) -> None:
    for problem in problems[:_MOST_PROBLEMS_SHOWN]:
        print_result(f"{problem}\n")
    if len(problems) > _MOST_PROBLEMS_SHOWN:
        print_result(f"… and {len(problems) - _MOST_PROBLEMS_SHOWN:,} more\n")


def _note(name: str, lang: str, **facts: object) -> None:
    """Print a note beside the result, in the language asked for."""
    from egretscore.explanation import texts

    say(f"egretscore: {texts(lang)['notes'][name].format(**facts)}")


def _mention(set_aside: int | None, records: Path | None, policy: Path | None, lang: str = "en") -> None:
    """Say how many rows were set aside, and what says why: under another policy it would be other rows."""
    if set_aside:
        given = {"--records": records, "--policy": policy}
        options = (f" {option} {shlex.quote(str(path))}" for option, path in given.items() if path is not None)
        validate = f"egretscore validate{''.join(options)}"
        key = "one_row_set_aside" if set_aside == 1 else "rows_set_aside"
        _note(key, lang, rows=set_aside, validate=validate)


def _policy_of(model: Path | None) -> Path | None:
    from egretscore.scoring.bundle import POLICY

    return None if model is None else model / POLICY


def _mention_the_sample_town(options: argparse.Namespace, lang: str = "en") -> None:
    if options.records is None:
        _note("sample_town", lang)


def _mention_the_end(last_day: date | None, as_of: date, policy: Policy, lang: str = "en") -> None:
    """Say so if commitments count as not kept only because the records end too early."""
    if last_day is not None and (as_of - last_day).days > policy.commitments.grace_days:
        _note("records_end", lang, last_day=last_day, as_of=as_of)


def _counts_table(counts: Sequence[SourceCount]) -> str:
    from egretscore.records.checked.store import COUNTED

    rows = [(count.file, *(getattr(count, of) for of in COUNTED)) for count in counts]
    rows.append(("in all", *(sum(getattr(count, of) for count in counts) for of in COUNTED)))
    width = max(len(str(row[0])) for row in rows)
    lines = [f"{'file':{width}}{'rows':>12}{'good':>12}{'set aside':>12}{'repeated':>12}"]
    lines += [f"{file:{width}}" + "".join(f"{number:12,}" for number in numbers) for file, *numbers in rows]
    return "\n".join(lines)
