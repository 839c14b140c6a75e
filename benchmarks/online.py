"""One person at a time: how long an explanation takes, beside pandas and LightGBM's own contributions.

    python benchmarks/online.py [--residents 43000] [--calls 10000] [--peer-calls 1000] [--json FILE]

A town is invented, read into memory, and kept in a folder (``keep_records``). Then, in one process and
one after the other, people on file drawn at random are asked about:

- ``records in memory``, ``kept records``: ``engine.explain`` from raw records to the finished explanation;
- the same with N threads: each thread its own calls, the time of a call as the caller waits for it;
- ``from a vector``: the score and the reasons of a vector that is there already;
- ``pandas + pred_contrib``: the person's rows taken from sorted data frames, the vector made in pandas
  (``peers.py``), and LightGBM's prediction and contributions from the same model's own trees. Fewer calls,
  for they are slow.

The first call of each way, which lays out or verifies what later ones use, is given apart. Vectors are
held against one another, and so are the sums of what each explains. The town is invented: the figures
are of speed and of nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import in_pandas
import lightgbm
import numpy as np
import pandas as pd
from peers import COLUMNS

from egretscore import keep_records, load_engine, read_records, simulate_town
from egretscore.records.files import files_by_table
from egretscore.shipped import shipped_model

AS_OF = date(2026, 1, 1)
SEED = 3
THREADS = 4


@dataclass(frozen=True)
class Latency:
    """How long calls took, in milliseconds."""

    way: str
    calls: int
    first: float
    p50: float
    p99: float
    worst: float


def measure(way: str, ask: Callable[[Any], Any], of: Sequence[Any], threads: int = 1) -> Latency:
    """Time each call after a first one; with threads, as each caller waits for it."""

    def timed(what: Any) -> float:
        start = time.perf_counter()
        ask(what)
        return (time.perf_counter() - start) * 1000

    first, rest = timed(of[0]), of[1:]
    if threads == 1:
        took = [timed(what) for what in rest]
    else:
        with ThreadPoolExecutor(threads) as pool:
            took = list(pool.map(timed, rest))
    p50, p99, worst = np.percentile(took, [50, 99, 100])
    result = Latency(way, len(took), *(round(float(value), 4) for value in (first, p50, p99, worst)))
    print(f"{way:32}{result.calls:>8,}{first:>11.3f}{p50:>9.3f}{p99:>9.3f}{worst:>9.3f}", flush=True)
    return result


class InPandas:
    """One person after the other in pandas and LightGBM, as an analyst would serve them."""

    def __init__(self, town: Path, engine: Any) -> None:
        self.features, self.policy = engine.model.scorecard.features, engine.policy
        self.booster = lightgbm.Booster(model_file=str(shipped_model() / "model.txt"))
        self.frames = {
            table: in_pandas.ready(pd.concat([pd.read_parquet(file, columns=COLUMNS[table]) for file in files]))
            .set_index("subject_id", drop=False)
            .sort_index()
            .rename_axis(None)
            for table, files in files_by_table(town).items()
        }

    def vector(self, subject: str) -> pd.DataFrame:
        """Return the vector of one person, or none of who may not be scored."""
        theirs = {}
        for table, frame in self.frames.items():
            first, end = frame.index.searchsorted([subject, subject + "\0"])
            theirs[table] = frame.iloc[first:end]
        return in_pandas.vectors(theirs, self.features, self.policy, AS_OF)

    def explain(self, subject: str) -> tuple[float, Any]:
        """Return the raw score and the contributions."""
        vector = self.vector(subject).to_numpy()
        raw = self.booster.predict(vector, raw_score=True, num_threads=1)
        return float(raw[0]), self.booster.predict(vector, pred_contrib=True, num_threads=1)[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", type=int, default=43_000, metavar="N")
    parser.add_argument("--calls", type=int, default=10_000, metavar="N")
    parser.add_argument("--peer-calls", type=int, default=1_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="egretscore-online-") as scratch:
        town, kept = Path(scratch) / "town", Path(scratch) / "kept"
        simulate_town(options.residents, town, seed=SEED, file_format="parquet")
        keep_records(town, kept)
        results = measure_all(town, kept, options.calls, options.peer_calls)
    if options.json is not None:
        about = {"residents": options.residents, "latencies": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def measure_all(town: Path, kept: Path, calls: int, peer_calls: int) -> list[Latency]:
    """Measure every way on the same people."""
    engine, peer = load_engine(), None
    in_memory, on_disk = read_records(town), read_records(kept)
    vectors = engine.vectors(in_memory, AS_OF)
    drawn = np.random.default_rng(SEED).integers(0, len(vectors), calls + 1)
    people = [str(vectors.index[position]) for position in drawn]
    rows = [vectors.to_numpy()[[position]] for position in drawn]
    card = engine.model.scorecard
    print(f"{'milliseconds':32}{'calls':>8}{'first':>11}{'p50':>9}{'p99':>9}{'worst':>9}")
    results = []
    for way, records in (("records in memory", in_memory), ("kept records", on_disk)):
        explain: Callable[[str], Any] = lambda subject, records=records: engine.explain(records, subject, AS_OF)  # type: ignore[misc]  # noqa: E731 - it differs in the records alone
        results.append(measure(way, explain, people))
        results.append(measure(f"{way}, {THREADS} threads", explain, people, THREADS))
    results.append(measure("from a vector", lambda vector: (card.scores(vector), card.reasons(vector)), rows))
    peer = InPandas(town, engine)
    results.append(measure("pandas + pred_contrib", peer.explain, people[: peer_calls + 1]))
    check(engine, in_memory, on_disk, peer, people[:200])
    return results


def check(engine: Any, in_memory: Any, on_disk: Any, peer: InPandas, people: Sequence[str]) -> None:
    """Hold the ways against one another."""
    for subject in people:
        ours = engine.explain(in_memory, subject, AS_OF)
        raw, contributions = peer.explain(subject)
        agree = (
            engine.explain(on_disk, subject, AS_OF) == ours
            and tuple(peer.vector(subject).iloc[0]) == ours.vector
            and np.isclose(contributions.sum(), raw)
            and np.isclose(engine.model.scorecard.log_odds.totals(np.array([ours.vector]))[0], raw)
        )
        if not agree:
            raise SystemExit(f"the ways differ about {subject}")
    print(f"{len(people)} people: the same vectors, scores and sums in every way")


if __name__ == "__main__":
    main()
