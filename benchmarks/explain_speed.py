"""How fast the tables explain, beside the ways there are to explain the same forest.

    python benchmarks/explain_speed.py [--rows 1000000] [--trees 100 400 1000] [--features 10 28 100] [--json FILE]

For each size one forest of trees within pairs is grown on invented whole numbers, compiled
into tables, and asked for the exact reasons of the same rows: ours in log-odds and in whole
points, on one thread and two; LightGBM's plain prediction and its ``pred_contrib``; shap's
TreeExplainer, path-dependent and against one blank row; woodelf's against the blank row. Slow
ones get fewer rows, the first of the same, as the line says; rows a second are of what they
were given. The answers are compared with one another: ours with shap's and woodelf's against
the blank row, and their sums with LightGBM's prediction. (``pred_contrib`` and path-dependent
shap answer another question, against the average of the training rows.)

Every figure is the best of three runs, a single row the median of many. Peak memory is what
was allocated beyond input and model while the largest batch was explained (numpy reports its
buffers to ``tracemalloc``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from egretscore.policy import Scale
from egretscore.scoring.estimator import ScoreTableClassifier
from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.tables import ScoreTables

LEARNT_FROM = 20_000
LARGEST_VALUE = 60
SHARE_OF_BLANKS = 0.5
ONE_THREAD_UP_TO = 10_000
MIDDLE_TREES, MIDDLE_FEATURES = 400, 28
SCALE = Scale(minimum=0, maximum=1000, blank=550, points_to_double_odds=50, source="benchmark")

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Timing:
    """How one way did on one size of model."""

    trees: int
    features: int
    way: str
    rows: int
    rows_per_second: float


def invented(count: int, features: int, seed: int) -> Rows:
    """Return vectors of small whole numbers, half of them 0, as the engine's are."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, LARGEST_VALUE, (count, features), dtype=np.int32)
    values[rng.random(values.shape, dtype=np.float32) < SHARE_OF_BLANKS] = 0
    return values


def forest(trees: int, features: int) -> tuple[ScoreTableClassifier, lgb.Booster]:
    """Grow a monotone forest of so many trees within disjoint pairs, and compile it."""
    X = invented(LEARNT_FROM, features, 0)
    rng = np.random.default_rng(1)
    signs = rng.choice([-1, 1], features)
    signal = np.sqrt(X) @ (signs * rng.random(features)) + 0.02 * X[:, 0] * X[:, 1]
    y = (signal + rng.logistic(0, 3, len(X)) > np.median(signal)).astype(int)
    model = ScoreTableClassifier(
        monotone=list(signs),
        bags=1,
        max_bins=32,
        max_leaves=6,
        max_pairs=max(4, features // 3),
        learning_rate=0.05,
        random_cuts=False,
        max_rounds=trees,
        patience=trees,
        rounds_per_stage=max(10, trees // 10),
    ).fit(X, y)
    return model, model.boosters_[0]


def best_of(runs: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least seconds of several runs, and what the last returned."""
    least = np.inf
    for _ in range(runs):
        start = time.perf_counter()
        found = work()
        least = min(least, time.perf_counter() - start)
    return least, found


def close(name: str, a: NDArray[Any], b: NDArray[Any], within: float) -> str:
    """Say how far two answers lie apart, and stop if they do not agree."""
    apart = float(np.abs(a - b).max())
    if apart > within:
        raise SystemExit(f"{name}: {apart:g} apart, more than {within:g}")
    return f"{name}: {apart:.1g} apart"


def measure(trees: int, features: int, count: int) -> list[Timing]:
    """Time every way on one size of model, and compare the exact answers."""
    import shap
    from woodelf import WoodelfExplainer

    model, booster = forest(trees, features)
    tables = model.tables_
    points = in_whole_points(tables, points_per_log_odds(tables, SCALE), SCALE)
    rows = invented(count, features, 2)
    floats = rows.astype(np.float64)
    pairs = sum(len(table.features) == 2 for table in tables.tables)  # noqa: PLR2004 - a pair
    print(f"\n{booster.num_trees()} trees, {features} features, {len(tables.tables)} tables of which {pairs} of pairs")
    timings, answers = [], {}

    def timed(way: str, given: int, work: Callable[[int], Any], runs: int = 3) -> None:
        given = min(given, count)
        work(min(given, 100))  # compilers, caches
        seconds, answers[way] = best_of(runs, lambda: work(given))
        timings.append(Timing(booster.num_trees(), features, way, given, given / seconds))
        print(f"  {way:44}{given:>10,} rows{given / seconds:>14,.0f} rows/s", flush=True)

    blank = np.zeros((1, features))
    timed("ours, whole points, 1 thread", count, lambda n: points.reasons(rows[:n]))
    timed("ours, whole points, 2 threads", count, lambda n: points.reasons(rows[:n], threads=2))
    timed("ours, whole points of float64, 1 thread", count, lambda n: points.reasons(floats[:n]))
    timed("ours, model.explain (log-odds)", count // 4, lambda n: model.explain(floats[:n]))
    timed("ours, log-odds, 1 thread", count, lambda n: tables.reasons(rows[:n]))
    timed("ours, log-odds, 2 threads", count, lambda n: tables.reasons(rows[:n], threads=2))
    timed("LightGBM predict, 2 threads", 200_000, lambda n: booster.predict(floats[:n], raw_score=True, num_threads=2))
    timed(
        "LightGBM pred_contrib, 2 threads",
        20_000,
        lambda n: booster.predict(floats[:n], pred_contrib=True, num_threads=2),
    )
    against_blank = shap.TreeExplainer(booster, data=blank, feature_perturbation="interventional")
    path_dependent = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    timed("shap, path-dependent", 5_000, lambda n: path_dependent.shap_values(floats[:n]), runs=1)
    timed("shap, against the blank row", 5_000, lambda n: against_blank.shap_values(floats[:n]), runs=1)
    named = pd.DataFrame(floats[:100_000], columns=booster.feature_name())
    woodelf = WoodelfExplainer(booster, pd.DataFrame(blank, columns=booster.feature_name()))
    timed("woodelf, blank row", 100_000, lambda n: woodelf.shap_values(named.iloc[:n], verbose=False), runs=1)
    _one_person(points, rows)
    _every_size(points, rows)
    _memory(points, rows)
    few = len(answers["shap, against the blank row"])
    ours = answers["ours, log-odds, 1 thread"]
    print("  " + close("ours and shap", ours[:few], _of_second_class(answers["shap, against the blank row"]), 1e-5))
    of_woodelf = _of_second_class(answers["woodelf, blank row"])
    print("  " + close("ours and woodelf", ours[: len(of_woodelf)], of_woodelf, 1e-5))
    predicted = answers["LightGBM predict, 2 threads"]
    print("  " + close("our sum and LightGBM", tables.base + ours[: len(predicted)].sum(axis=1), predicted, 1e-9))
    whole = answers["ours, whole points, 1 thread"]
    print("  " + close("whole points and the score", points.base + whole.sum(axis=1), points.totals(rows), 0))
    return timings


def _of_second_class(values: Any) -> NDArray[Any]:
    found = np.asarray(values)
    return found[..., 1] if found.ndim == 3 else found  # noqa: PLR2004 - rows, features, classes


def _one_person(points: ScoreTables, rows: Rows) -> None:
    took = []
    for number in range(10_000):
        row = rows[number : number + 1]
        start = time.perf_counter()
        points.reasons(row)
        took.append(time.perf_counter() - start)
    cuts = statistics.quantiles(took, n=100)
    print(f"  one person: median {1e6 * statistics.median(took):.1f} µs, 99 of 100 within {1e6 * cuts[98]:.1f} µs")


def _every_size(points: ScoreTables, rows: Rows) -> None:
    for size in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 4_000_000):
        if size <= len(rows):
            seconds, _ = best_of(5, partial(points.reasons, rows[:size], threads=1 if size <= ONE_THREAD_UP_TO else 2))
            print(f"    {size:>9,} rows at once: {1e6 * seconds:12,.0f} µs, {size / seconds:12,.0f} rows/s")


def _memory(points: ScoreTables, rows: Rows) -> None:
    sizes = []
    for count in (len(rows) // 10, len(rows)):
        tracemalloc.start()
        output = points.reasons(rows[:count], threads=1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        sizes.append((count, (peak - output.nbytes) / 2**20))
    said = ", ".join(f"{extra:.1f} MiB for {count:,} rows" for count, extra in sizes)
    print(f"  memory beyond input and output: {said}")


def main() -> None:
    """Measure every size of model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--trees", type=int, nargs="+", default=[100, 400, 1000])
    parser.add_argument("--features", type=int, nargs="+", default=[10, 28, 100])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    sizes = [(trees, MIDDLE_FEATURES) for trees in options.trees]
    sizes += [(MIDDLE_TREES, features) for features in options.features if features != MIDDLE_FEATURES]
    warnings.filterwarnings("ignore")  # the peers' own
    timings = [timing for trees, features in sizes for timing in measure(trees, features, options.rows)]
    if options.json:
        options.json.write_text(json.dumps([asdict(timing) for timing in timings], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
