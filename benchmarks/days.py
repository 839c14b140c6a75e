"""Going on from yesterday's scores: what a day's new records cost, beside keeping and scoring everything again.

    python benchmarks/days.py [--residents 43000 430000] [--days 1 2] [--memory 12GB] [--town DIR] [--json FILE]

For each size a town is invented (or taken from DIR/N), and cut in two: its records as they were on file
some days before 2025-12-31, and what came on file, or became of a record, in those days. The former are kept
and scored. Then processes of their own measure themselves, one after the other, on all cores:

- ``keep all``, ``score all``: every record kept again, and everyone scored as of 2025-12-31.
- ``add``: the new records added to the kept ones. What is kept then is held against ``keep all``.
- ``score since``: those alone scored again whom the days changed; the bytes are held against ``score all``.

It is printed how many rows are new, and how many people are scored again: those with a new record, and
those with one that reached an age at which it counts otherwise. The town is invented: the figures are
of speed and of nothing else.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
from measuring import HEAD, OURS, Measured, Stages, alone, line, towns

from egretscore import add_records, keep_records, load_engine, simulate_town
from egretscore.cli.arguments import memory_size
from egretscore.engine import Engine
from egretscore.everyone import day_by_day, files, on_one_machine
from egretscore.everyone.part_scores import PartScorer, write_scores
from egretscore.features.turning import turned_query
from egretscore.records.checked.in_files import KeptRecords
from egretscore.records.files import INVENTED_MARK, files_by_table
from egretscore.records.kept import folder as kept
from egretscore.records.kept.touched import touched_since
from egretscore.records.parts import PARTS
from egretscore.records.reading import read_addition
from egretscore.records.schema import TABLES, Table
from egretscore.records.upkeep import adding

AS_OF = date(2025, 12, 31)
SEED = 3


@dataclass(frozen=True)
class Task:
    """What a process works on: a folder of ``before``, ``new`` and ``all`` records, and how many days lie between."""

    folder: Path
    days: int
    memory: int | None

    @property
    def since(self) -> date:
        """The day of the earlier scores."""
        return AS_OF - timedelta(days=self.days)


@dataclass(frozen=True)
class Days:
    """What going on by some days took in a town.

    Attributes
    ----------
    residents, days : int
    rows, new_rows : int
        How many records there are, and how many of them are new.
    people, people_changed : int
        How many people are on file, and how many of them are scored again.
    ways : list of Measured
    """

    residents: int
    days: int
    rows: int
    new_rows: int
    people: int
    people_changed: int
    ways: list[Measured]


def keep_all(task: Task) -> Stages:
    """Keep every record again."""
    keep_records(task.folder / "all", task.folder / "all kept", memory=task.memory)
    return Stages()


def score_all(task: Task) -> Stages:
    """Score everyone."""
    return _score(task, task.folder / "all kept", task.folder / "all scores", AS_OF)


def score_before(task: Task) -> Stages:
    """Score everyone as of the earlier day."""
    return _score(task, task.folder / "kept", task.folder / "scores", task.since)


def add(task: Task) -> Stages:
    """Add the new records."""
    stages = Stages()
    vars(adding)["read_addition"] = stages.timed("read and check", read_addition)
    add_records(task.folder / "new", task.folder / "kept", memory=task.memory)
    return stages


def score_since(task: Task) -> Stages:
    """Score those whom the days changed."""
    out = task.folder / "since scores"
    return _score(task, task.folder / "kept", out, AS_OF, since=task.since, previous=task.folder / "scores")


def _score(task: Task, records: Path, out: Path, day: date, **gone_on_from: date | Path) -> Stages:
    stages = Stages()
    previous = day_by_day.Previous
    previous.narrow = stages.timed("who changed", previous.narrow)  # type: ignore[method-assign]
    previous.with_changes = stages.timed("put in place", previous.with_changes)  # type: ignore[method-assign]
    Engine._ask = stages.timed("group", Engine._ask)  # type: ignore[method-assign]  # noqa: SLF001 - to time it
    PartScorer.table = stages.timed("score", PartScorer.table)  # type: ignore[method-assign]
    vars(on_one_machine)["write_scores"] = stages.timed("write", write_scores)
    options = {"reasons": True, "benefits": True, "memory": task.memory, **gone_on_from}
    on_one_machine.score_everyone(load_engine(), records, day, out, **options)  # type: ignore[arg-type]
    return stages


def cut(town: Path, task: Task) -> tuple[int, int]:
    """Cut a town into the records of before, those of the days and all of both; return how many are new, and all."""
    new_rows = rows = 0
    for name in ("before", "new", "all"):
        (task.folder / name).mkdir()
        shutil.copy(town / INVENTED_MARK, task.folder / name)
    for name, parquets in files_by_table(town).items():
        table, came = TABLES[name], TABLES[name].on_file
        rows_of = duckdb.read_parquet([str(file) for file in parquets])
        days = [came, *table.later_days]
        came_or_became = " OR ".join(f"\"{day}\" BETWEEN DATE '{task.since}' + 1 AND DATE '{AS_OF}'" for day in days)
        now = rows_of.filter(f"{came} <= DATE '{AS_OF}'")
        for folder, found in (
            ("before", rows_of.filter(f"{came} <= DATE '{task.since}'").project(_known(table, task.since))),
            ("new", now.project(_known(table, AS_OF)).filter(came_or_became)),
            ("all", now.project(_known(table, AS_OF))),
        ):
            found.write_parquet(str(task.folder / folder / f"{name}.parquet"))
        counted = (duckdb.read_parquet(str(task.folder / of / f"{name}.parquet")) for of in ("new", "all"))
        new, every = (of.count("*").fetchall()[0][0] for of in counted)
        new_rows, rows = new_rows + new, rows + every
    return new_rows, rows


def _known(table: Table, day: date) -> str:
    """Return the columns of a table as they were known on a day."""

    def cell(name: str) -> str:
        if name not in table.later_columns:
            return f'"{name}"'
        on = name if name.endswith("_on") else next(other for other in table.later_columns if other.endswith("_on"))
        return f'CASE WHEN "{on}" <= DATE \'{day}\' THEN "{name}" END AS "{name}"'

    return ", ".join(map(cell, table.column_names))


def people_changed(task: Task) -> int:
    """Return how many people ``score since`` scores again."""
    engine = load_engine()
    turned = turned_query(engine.model.scorecard.features, engine.policy, task.since, AS_OF).sql("duckdb")
    records = KeptRecords(task.folder / "kept")
    changed = {subject for (subject,) in records.connect().execute(turned).fetchall()}
    about = json.loads((task.folder / "scores" / files.ABOUT).read_text(encoding="utf-8"))
    for part, state in enumerate(about[files.ORIGIN]["states"]):
        changed |= set(touched_since(task.folder / "kept", part, state).to_pylist())
    return len(changed)


def measure_days(residents: int, town: Path, task: Task) -> Days:
    """Measure keeping and scoring everything, and going on, and hold what they give against one another."""
    new, rows = cut(town, task)
    keep_records(task.folder / "before", task.folder / "kept", memory=task.memory)
    alone("", score_before, task, residents, rows)
    print(f"{task.days} days: {new:,} of {rows:,} rows are new, {new / rows:.2%}")
    ways = []
    for what, work in (("keep all", keep_all), ("score all", score_all), ("add", add), ("score since", score_since)):
        ways.append(alone(what, work, task, residents, rows, OURS))
        print(line(ways[-1]), flush=True)
    folders = (task.folder / "kept", task.folder / "all kept")
    if any(len({kept.about_part(folder, part).state for folder in folders}) > 1 for part in range(PARTS)):
        raise SystemExit("what was kept and added to is not what is kept of all")
    everyones, gone_on = task.folder / "all scores", task.folder / "since scores"
    names = sorted(file.name for file in everyones.iterdir())
    if filecmp.cmpfiles(everyones, gone_on, names, shallow=False)[0] != names:
        raise SystemExit("the scores that were gone on to are not those of everyone")
    people = json.loads((everyones / files.ABOUT).read_text(encoding="utf-8"))["people"]
    changed = people_changed(task)
    print(f"{'':25}{changed:,} of {people:,} people scored again, {changed / people:.1%}; the same bytes", flush=True)
    return Days(residents, task.days, rows, new, people, changed, ways)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", nargs="+", type=int, default=[43_000, 430_000], metavar="N")
    parser.add_argument(
        "--days", nargs="+", type=int, default=[1, 2], metavar="N", help="how many days come in at once"
    )
    parser.add_argument("--memory", type=memory_size, metavar="SIZE", help="(default: half of the machine's)")
    parser.add_argument("--town", type=Path, metavar="DIR", help="keep the towns there, or take them from there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    results = []
    print(HEAD)
    with towns(options.town) as folder:
        for residents in options.residents:
            town = folder / str(residents)
            if not town.is_dir():
                simulate_town(residents, town, seed=SEED, file_format="parquet")
            for days in options.days:
                with tempfile.TemporaryDirectory(prefix="egretscore-scores-") as scratch:
                    measured = measure_days(residents, town, Task(Path(scratch), days, options.memory))
                    results.append(asdict(measured))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
