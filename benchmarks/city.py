"""Scoring a whole invented city, beside the least that reading and grouping its records takes.

    python benchmarks/city.py [--residents 43000 430000] [--memory 12GB] [--town DIR] [--json FILE]

For each size a town is invented (or taken from DIR/N, where an earlier run with ``--town DIR`` left
it), and two processes of their own measure themselves, one after the other, on all cores:

- ``bare aggregation``: DuckDB runs the query for the vectors straight on the Parquet files, checks
  nothing and scores nobody. This bounds what any pipeline on DuckDB can reach.
- ``egretscore score``: everything: every cell checked, standing, vectors, scores, reasons and
  benefits, written to parts. Its seconds are split into reading and checking, grouping (standing and
  vectors), scoring and writing; what is left is loading the model, dealing people out and counting.

Wall and CPU seconds are those of the work, without starting Python; peak resident memory is that of
the process. All files are read through before, so that neither waits for the disk. The town is
invented: the figures are of speed and of nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb

from egretscore import everyone, load_engine, simulate_town
from egretscore.cli import memory_size
from egretscore.engine import Engine
from egretscore.features import vectors_sql
from egretscore.records.folder import files_by_table
from egretscore.records.store import read_parts

AS_OF = date(2026, 1, 1)
SEED = 3


@dataclass(frozen=True)
class Measured:
    """What a process took to do its work."""

    what: str
    residents: int
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    stages: dict[str, float] = field(default_factory=dict)


def bare_aggregation(town: Path, _: Path, __: int | None) -> dict[str, float]:
    """Run the query for the vectors on the files as they are, and hold the answer as Arrow."""
    engine = load_engine()
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    for table, files in files_by_table(town).items():
        connection.read_parquet([str(file) for file in files]).create_view(table)
    connection.execute('CREATE TABLE doubts ("table" VARCHAR, record_id VARCHAR, subject_id VARCHAR, since DATE)')
    connection.sql(
        vectors_sql(engine.model.scorecard.features, engine.policy), params={"as_of": AS_OF}
    ).to_arrow_table()
    return {}


def egretscore_score(town: Path, out: Path, memory: int | None) -> dict[str, float]:
    """Score the town into parts, and return the seconds of each stage."""
    stages: dict[str, float] = {}

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start

        return run

    vars(everyone)["read_parts"] = timed("read and check", read_parts)
    Engine._people = timed("group", Engine._people)  # type: ignore[method-assign]  # noqa: SLF001 - to time it
    Engine._columns_of = timed("score", Engine._columns_of)  # type: ignore[method-assign]  # noqa: SLF001
    vars(everyone)["_write_part"] = timed("write", vars(everyone)["_write_part"])
    everyone.score_everyone(load_engine(), town, AS_OF, out, reasons=True, benefits=True, memory=memory)
    return stages


WAYS: dict[str, Callable[[Path, Path, int | None], dict[str, float]]] = {
    "bare aggregation": bare_aggregation,
    "egretscore score": egretscore_score,
}


def measure(what: str, residents: int, rows: int, town: Path, out: Path, memory: int | None) -> Measured:
    """Do the work in this process, which has done nothing before."""
    start, cpu = time.perf_counter(), time.process_time()
    stages = WAYS[what](town, out, memory)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    rounded = {stage: round(seconds, 2) for stage, seconds in stages.items()}
    return Measured(what, residents, rows, round(wall, 2), round(cpu, 2), round(peak), rounded)


def alone(*arguments: Any) -> Measured:
    """Measure in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


@contextmanager
def towns(folder: Path | None) -> Iterator[Path]:
    """Give the folder that keeps the towns, or one that is gone afterwards."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="egretscore-city-") as scratch:
        yield Path(scratch)


def line(result: Measured) -> str:
    """Return a result as a line of the table."""
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.stages.items())
    return (
        f"{result.residents:>10,}{result.rows:>13,}  {result.what:18}{result.wall_seconds:>9.1f}"
        f"{result.cpu_seconds:>9.1f}{result.peak_mib:>10,.0f}  {stages}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", nargs="+", type=int, default=[43_000, 430_000], metavar="N")
    parser.add_argument("--memory", type=memory_size, metavar="SIZE", help="for score (default: half of the machine's)")
    parser.add_argument("--town", type=Path, metavar="DIR", help="keep the towns there, or take them from there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    results = []
    print(f"{'residents':>10}{'rows':>13}  {'':18}{'wall, s':>9}{'CPU, s':>9}{'peak, MiB':>10}  of which, s")
    with towns(options.town) as folder, tempfile.TemporaryDirectory(prefix="egretscore-scores-") as scratch:
        for residents in options.residents:
            town = folder / str(residents)
            if not town.is_dir():
                simulate_town(residents, town, seed=SEED, file_format="parquet")
            for file in (file for files in files_by_table(town).values() for file in files):
                file.read_bytes()
            rows = sum(
                duckdb.read_parquet([str(file) for file in files]).count("*").fetchall()[0][0]
                for files in files_by_table(town).values()
            )
            for what in WAYS:
                results.append(alone(what, residents, rows, town, Path(scratch) / str(residents), options.memory))
                print(line(results[-1]), flush=True)
            bare, ours = results[-2:]
            print(f"{'':25}{ours.wall_seconds / bare.wall_seconds:.1f} times the bare aggregation", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
