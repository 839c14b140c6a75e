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

A forest has at most the trees asked for: fewer where rows held out say so, and the figures name
their number. Every rate is the best of three runs of all the rows, whoever explains, after one of a
hundred rows; a single row is the median of many. LightGBM is the only peer that uses more than one
thread. Each way is given its rows in the form it works on (ours small whole numbers, shap and LightGBM
float64, woodelf a data frame), so that none has to copy them; how fast ours is with float64 stands
beside. Ours alone is measured at every number of rows as well, for a rate depends on it. Peak memory is how much
the resident memory of a process of its own grew, at its highest, while it explained its rows once,
less the answer it gave back: a lower bound, as room that was freed before is used again unseen. Ours
is measured on a tenth of the rows as well, as it shall not grow. It is read from /proc, so only on
Linux. All values are small whole numbers, as the engine's are: others are sought among the cuts, which
is slower, and not measured here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from egretscore.policy import Scale
from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.tables import ScoreTables
from egretscore.training.estimator import ScoreTableClassifier

LEARNT_FROM = 20_000
LARGEST_VALUE = 60
SHARE_OF_BLANKS = 0.5
RUNS = 3
"""Of every way: more of one than of another would favour it."""
ONE_THREAD_UP_TO = 10_000
MIDDLE_TREES, MIDDLE_FEATURES = 400, 28
SCALE = Scale(minimum=0, maximum=1000, blank=550, points_to_double_odds=50, source="benchmark")

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Timing:
    """How fast one way is, and how much memory it takes."""

    way: str
    rows: int
    rows_per_second: float
    mib_beyond_output: float | None


@dataclass(frozen=True)
class Size:
    """How every way did on one size of model.

    Attributes
    ----------
    trees_asked, trees, features : int
        The most trees the forest could have, those it has, and the features.
    timings : list of Timing
    one_person_us : float
        The median microseconds of ours for one row, in whole points.
    rows_at_once : dict
        The microseconds of ours for so many rows at once, in whole points.
    """

    trees_asked: int
    trees: int
    features: int
    timings: list[Timing]
    one_person_us: float
    rows_at_once: dict[int, float]


@dataclass(frozen=True)
class Subject:
    """What is explained: one forest, as LightGBM and as tables, and the rows."""

    model: ScoreTableClassifier
    booster: lgb.Booster
    points: ScoreTables
    rows: Rows

    @property
    def floats(self) -> NDArray[np.float64]:
        """The rows as LightGBM and shap take them."""
        return self.rows.astype(np.float64)


Explain = Callable[[int], Any]


@dataclass(frozen=True)
class Way:
    """A way to explain: the most rows it is given, and what makes it ready to explain the first so many of them."""

    most_rows: int
    ready: Callable[[Subject], Explain]


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
        ridge=None,
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


def best_run(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least seconds of all runs, and what the last returned."""
    least = np.inf
    for _ in range(RUNS):
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


def _ours(subject: Subject, *, whole: bool, threads: int) -> Explain:
    tables = subject.points if whole else subject.model.tables_
    return lambda n: tables.reasons(subject.rows[:n], threads=threads)


def _ours_of_floats(subject: Subject) -> Explain:
    floats = subject.floats
    return lambda n: subject.points.reasons(floats[:n])


def _ours_checked(subject: Subject) -> Explain:
    floats = subject.floats
    return lambda n: subject.model.explain(floats[:n])


def _lightgbm(subject: Subject, **asked: bool) -> Explain:
    floats = subject.floats
    return lambda n: subject.booster.predict(floats[:n], num_threads=2, **asked)


def _shap(subject: Subject, *, blank: bool) -> Explain:
    import shap

    floats = subject.floats
    if blank:
        explainer = shap.TreeExplainer(
            subject.booster, data=np.zeros((1, floats.shape[1])), feature_perturbation="interventional"
        )
    else:
        explainer = shap.TreeExplainer(subject.booster, feature_perturbation="tree_path_dependent")
    return lambda n: _of_second_class(explainer.shap_values(floats[:n]))


def _woodelf(subject: Subject) -> Explain:
    from woodelf import WoodelfExplainer

    names = subject.booster.feature_name()
    frame = pd.DataFrame(subject.floats, columns=names)
    explainer = WoodelfExplainer(subject.booster, pd.DataFrame(np.zeros((1, len(names))), columns=names))
    return lambda n: _of_second_class(explainer.shap_values(frame.iloc[:n], verbose=False))


EVERY_ROW = sys.maxsize
WHOLE_POINTS, WHOLE_POINTS_2 = "ours, whole points, 1 thread", "ours, whole points, 2 threads"
CHECKED, LOG_ODDS = "ours, model.explain (log-odds), 1 thread", "ours, log-odds, 1 thread"
PREDICT, CONTRIBUTIONS = "LightGBM predict, 2 threads", "LightGBM pred_contrib, 2 threads"
SHAP, WOODELF = "shap, against the blank row", "woodelf, blank row"
WAYS: Mapping[str, Way] = {
    WHOLE_POINTS: Way(EVERY_ROW, partial(_ours, whole=True, threads=1)),
    WHOLE_POINTS_2: Way(EVERY_ROW, partial(_ours, whole=True, threads=2)),
    "ours, whole points of float64, 1 thread": Way(EVERY_ROW, _ours_of_floats),
    CHECKED: Way(1_000_000, _ours_checked),
    LOG_ODDS: Way(EVERY_ROW, partial(_ours, whole=False, threads=1)),
    "ours, log-odds, 2 threads": Way(EVERY_ROW, partial(_ours, whole=False, threads=2)),
    PREDICT: Way(200_000, partial(_lightgbm, raw_score=True)),
    CONTRIBUTIONS: Way(20_000, partial(_lightgbm, pred_contrib=True)),
    "shap, path-dependent": Way(5_000, partial(_shap, blank=False)),
    SHAP: Way(5_000, partial(_shap, blank=True)),
    WOODELF: Way(100_000, _woodelf),
}


def measure(trees: int, features: int, count: int) -> Size:
    """Time every way on one size of model, and compare the exact answers."""
    model, booster = forest(trees, features)
    tables = model.tables_
    points = in_whole_points(tables, points_per_log_odds(tables, SCALE), SCALE)
    subject = Subject(model, booster, points, invented(count, features, 2))
    pairs = sum(len(table.features) == 2 for table in tables.tables)  # noqa: PLR2004 - a pair
    print(f"\n{booster.num_trees()} trees, {features} features, {len(tables.tables)} tables of which {pairs} of pairs")
    timings, answers = [], {}
    for name, way in WAYS.items():
        given = min(way.most_rows, count)
        explain = way.ready(subject)
        explain(min(given, 100))  # compilers, caches
        seconds, answers[name] = best_run(partial(explain, given))
        extra = memory_of(name, subject, given)
        timings.append(Timing(name, given, given / seconds, extra))
        said = "" if extra is None else f"{extra:>12,.1f} MiB beyond the answer"
        print(f"  {name:44}{given:>10,} rows{given / seconds:>14,.0f} rows/s{said}", flush=True)
    fewer = memory_of(WHOLE_POINTS, subject, count // 10)
    if fewer is not None:
        print(f"  {WHOLE_POINTS:44}{count // 10:>10,} rows{'':>21}{fewer:>12,.1f} MiB beyond the answer")
    one_person_us, rows_at_once = one_person(points, subject.rows), at_once(points, subject.rows)
    ours = answers[LOG_ODDS]
    print("  " + close("ours and shap", ours[: len(answers[SHAP])], answers[SHAP], 1e-5))
    print("  " + close("ours and woodelf", ours[: len(answers[WOODELF])], answers[WOODELF], 1e-5))
    predicted = answers[PREDICT]
    print("  " + close("our sum and LightGBM", tables.base + ours[: len(predicted)].sum(axis=1), predicted, 1e-9))
    whole = answers[WHOLE_POINTS]
    print("  " + close("whole points and the score", points.base + whole.sum(axis=1), points.totals(subject.rows), 0))
    return Size(trees, booster.num_trees(), features, timings, one_person_us, rows_at_once)


def memory_of(name: str, subject: Subject, given: int) -> float | None:
    """Return by how many MiB explaining so many rows makes a process of its own grow, less the answer's own."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(
            _growth, name, Subject(subject.model, subject.booster, subject.points, subject.rows[:given])
        ).result()


def _growth(name: str, subject: Subject) -> float:
    explain = WAYS[name].ready(subject)
    explain(min(len(subject.rows), 100))
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
    answer = np.asarray(explain(len(subject.rows)))
    return (_resident("VmHWM") - before) / 1024 - answer.nbytes / 2**20


def _resident(which: str) -> int:
    """Return a line of this process's status, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def _of_second_class(values: Any) -> NDArray[Any]:
    found = np.asarray(values)
    return found[..., 1] if found.ndim == 3 else found  # noqa: PLR2004 - rows, features, classes


def one_person(points: ScoreTables, rows: Rows) -> float:
    """Return the median microseconds that one row takes."""
    took = []
    for number in range(min(10_000, len(rows))):
        row = rows[number : number + 1]
        start = time.perf_counter()
        points.reasons(row)
        took.append(1e6 * (time.perf_counter() - start))
    median, most = statistics.median(took), statistics.quantiles(took, n=100)[98]
    print(f"  one person: median {median:.1f} µs, 99 of 100 within {most:.1f} µs")
    return median


def at_once(points: ScoreTables, rows: Rows) -> dict[int, float]:
    """Return the microseconds that so many rows at once take."""
    took = {}
    for size in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 4_000_000):
        if size <= len(rows):
            seconds, _ = best_run(partial(points.reasons, rows[:size], threads=1 if size <= ONE_THREAD_UP_TO else 2))
            took[size] = 1e6 * seconds
            print(f"    {size:>9,} rows at once: {took[size]:12,.0f} µs, {size / seconds:12,.0f} rows/s")
    return took


def main() -> None:
    """Measure every size of model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--trees", type=int, nargs="+", default=[100, 400, 1000])
    parser.add_argument("--features", type=int, nargs="+", default=[10, 28, 100])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    sizes = [(trees, MIDDLE_FEATURES) for trees in options.trees]
    sizes += [(MIDDLE_TREES, features) for features in options.features if features != MIDDLE_FEATURES]
    warnings.filterwarnings("ignore")  # the peers' own
    measured = [measure(trees, features, options.rows) for trees, features in sizes]
    if options.json:
        options.json.write_text(json.dumps([asdict(size) for size in measured], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
