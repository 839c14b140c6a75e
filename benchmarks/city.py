"""Scoring a whole invented city, beside the least that reading and grouping take, and beside pandas and polars.

    python benchmarks/city.py [--residents 43000 430000] [--memory 12GB] [--trees N] [--spark]
                              [--town DIR] [--json FILE]

For each size a town is invented (or taken from DIR/N, where an earlier run with ``--town DIR`` left
it). Then processes of their own measure themselves, one after the other, on all cores:

- ``bare aggregation``: DuckDB runs the query for the vectors straight on the Parquet files, checks
  nothing and scores nobody. This bounds what any pipeline on DuckDB can reach.
- ``score``: everything: every cell checked, standing, vectors, scores, reasons and benefits, written
  to parts.
- ``keep``: every cell checked, and the good rows kept; done once, whatever is asked of them later.
- ``score kept``: the same as ``score``, of the records that were kept: the same bytes, held against it.
- ``bare, kept``: the bare aggregation of the files of the kept records.
- ``stages alone``: what each stage takes where nothing else is done, on all cores: every cell of the records
  and of the kept records read and hashed, and nothing told of it; the bytes of the kept files hashed (SHA-256);
  the vectors of everyone, in memory, made into the tables that are written, a part at a time; these written as they
  are. What it takes as a whole says nothing: between its stages it makes what the next is given.
- ``pandas``, ``polars``: the same vectors as a good analyst would make them (``peers.py``), held
  against ours, LightGBM's prediction and contributions from the same model's own trees (``pandas``:
  ``pred_contrib``; ``polars``: ``shap.TreeExplainer``), written to Parquet. They check nothing.
- ``pandas, plain``: likewise with a plain LightGBM of 400 trees of 31 leaves, trained on the smallest
  town: what an analyst has today. Its AUC and ours, on a later date, are printed.
- ``score on Spark``, with ``--spark``: the kept records on all cores of this machine, the same bytes, held
  against them. Its seconds begin before Java starts; its CPU and memory are Java's, which is not measured.

With ``--trees N`` the model of all ways but the plain one is not the shipped one, whose 120 trees LightGBM explains
fast, but one of N trees, grown likewise, by smaller steps, on the smallest town.

The contributions of the plain LightGBM take so long that they are measured on at most ``--explained`` people,
and the seconds for all are in proportion; they are marked ``~``. The seconds of a run are split into its stages.
Peers are left out above ``--peers-up-to`` residents, where pandas no longer fits into the memory.

Every way runs once, ours and the peers'. Wall and CPU seconds are those of the work, without starting Python and
importing libraries, whoever imports them; peak resident memory is that of the process, which imports what it uses
and nothing else. All files are read through before, so that nobody waits for the disk. All cores are there for all,
and pandas, where it groups, uses one of them. The town is invented: the figures are of speed and of nothing else.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from city_ways import AS_OF, PEERS, WAYS, Task
from measuring import HEAD, OURS, Measured, alone, line, towns
from numpy.typing import NDArray

from egretscore import load_engine, read_records, simulate_town
from egretscore.cli.arguments import memory_size
from egretscore.everyone.part_scores import part_file
from egretscore.records.files import files_by_table
from egretscore.records.parts import PARTS
from egretscore.shipped import shipped_model

if TYPE_CHECKING:
    import pandas as pd

SEED = 3
PLAIN, OURS_IN_POINTS = "plain LightGBM", "ours in whole points"


def check_peer(task: Task, vectors: pd.DataFrame, *, same_model: bool) -> None:
    """Hold a peer's vectors, and what the model's own trees say of them, against ours."""
    with np.load(task.out / "peer.npz", allow_pickle=True) as peer:  # written by this run's own process
        same = np.array_equal(peer["subject_ids"], vectors.index.to_numpy())
        same = same and np.array_equal(peer["vectors"], vectors.to_numpy())
        if same_model:
            raw = load_engine(task.model).model.scorecard.log_odds.totals(vectors.to_numpy())
            same = same and np.allclose(peer["raw"], raw)
    if not same:
        raise SystemExit("the peer's vectors or raw scores are not ours")


def model_of_so_many_trees(town: Path, trees: int, folder: Path) -> None:
    """Train a model as the shipped one was, with this many trees, by smaller steps."""
    from unittest.mock import patch

    from egretscore.training.train import SETTINGS, train

    usual = load_engine().model.training
    rate = SETTINGS["learning_rate"] * usual["rounds"] / trees / 2  # half of it: so that it goes on getting better
    settings = {"learning_rate": rate, "max_rounds": trees, "patience": trees}
    with patch.dict(SETTINGS, settings):
        model = train(read_records(town), usual["as_of"])
    model.save(folder)
    print(f"a model of {model.training['rounds']} trees in place of the shipped one, of {usual['rounds']}")


def plain_lightgbm(town: Path, file: Path) -> dict[str, float]:
    """Train what an analyst has today, and return how well it and our model order people of a later date."""
    import lightgbm
    from sklearn.metrics import roc_auc_score

    from egretscore.training.snapshots import take_snapshots

    engine, records = load_engine(), read_records(town)
    learnt, later = (
        take_snapshots(records, engine.model.scorecard.features, engine.policy, [day], 365)
        for day in (date(2024, 9, 1), date(2025, 10, 1))
    )

    def rows(of: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        outcome = np.repeat([1, 0], len(of))
        return np.tile(of.vectors, (2, 1)), outcome, np.concatenate([of.kept, 1 - of.kept])

    vectors, outcome, weight = rows(learnt)
    options = {"objective": "binary", "num_leaves": 31, "learning_rate": 0.02, "verbose": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(vectors, outcome, weight=weight), 400)
    booster.save_model(str(file))
    vectors, outcome, weight = rows(later)
    plain = roc_auc_score(outcome, booster.predict(vectors), sample_weight=weight)
    ours = roc_auc_score(outcome, engine.model.scorecard.scores(vectors), sample_weight=weight)
    return {PLAIN: round(float(plain), 4), OURS_IN_POINTS: round(float(ours), 4)}


def compared(of: dict[str, Measured]) -> Iterator[str]:
    """Yield how the ways compare."""
    for way in ("score", "score kept"):
        ours = of[way]
        yield f"{way}: {ours.wall_seconds / of['bare aggregation'].wall_seconds:.1f} times the bare aggregation"
        if way == "score kept":
            of_its_own = ours.wall_seconds / of["bare, kept"].wall_seconds
            yield f"    {of_its_own:.1f} times the bare aggregation of the same files"
        for peer in PEERS:
            if peer in of:
                slower, larger = of[peer].wall_seconds / ours.wall_seconds, of[peer].peak_mib / ours.peak_mib
                yield f"    {peer}: {slower:.1f} times its seconds and {larger:.1f} times its memory"


def measure_town(residents: int, town: Path, scratch: Path, options: argparse.Namespace) -> list[Measured]:
    """Measure every way on one town, and hold what they say against one another."""
    for file in (file for files in files_by_table(town).values() for file in files):
        file.read_bytes()
    rows = sum(
        duckdb.read_parquet([str(file) for file in files]).count("*").fetchall()[0][0]
        for files in files_by_table(town).values()
    )
    out = scratch / str(residents)
    out.mkdir()
    model = scratch / "model" if options.trees else shipped_model()
    task = Task(model, town, out / "kept", out, options.memory, scratch / "plain.txt", options.explained)
    of: dict[str, Measured] = {}
    vectors = None
    for what, work in WAYS.items():
        if (what in PEERS and residents > options.peers_up_to) or (what == "score on Spark" and not options.spark):
            continue
        of[what] = alone(what, work, task, residents, rows, PEERS.get(what, OURS))
        print(line(of[what]), flush=True)
        if what in PEERS:
            vectors = load_engine(model).vectors(read_records(task.kept), AS_OF) if vectors is None else vectors
            check_peer(task, vectors, same_model=what != "pandas, plain")
    files = [part_file(part) for part in range(PARTS)]
    for others in ("scores of kept", *(["scores on Spark"] if options.spark else [])):
        if filecmp.cmpfiles(out / "scores", out / others, files, shallow=False)[0] != files:
            raise SystemExit(f"the scores of the records and the {others} differ")
    for said in compared(of):
        print(f"{'':25}{said}", flush=True)
    return list(of.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", nargs="+", type=int, default=[43_000, 430_000], metavar="N")
    parser.add_argument("--memory", type=memory_size, metavar="SIZE", help="for score (default: half of the machine's)")
    parser.add_argument("--explained", type=int, default=10_000, metavar="N", help="for the plain LightGBM, at most")
    parser.add_argument("--peers-up-to", type=int, default=430_000, metavar="N", help="no peers of larger towns")
    parser.add_argument("--trees", type=int, metavar="N", help="another model, of so many trees")
    parser.add_argument("--spark", action="store_true", help="score on Spark as well, which takes Java")
    parser.add_argument("--town", type=Path, metavar="DIR", help="keep the towns there, or take them from there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    results: list[Measured] = []
    auc: dict[str, float] = {}
    with towns(options.town) as folder, tempfile.TemporaryDirectory(prefix="egretscore-scores-") as scratch:
        for residents in options.residents:
            town = folder / str(residents)
            if not town.is_dir():
                simulate_town(residents, town, seed=SEED, file_format="parquet")
            if not results:
                if residents <= options.peers_up_to:
                    auc = plain_lightgbm(town, Path(scratch) / "plain.txt")
                    said = ", ".join(f"{model} {value:.4f}" for model, value in auc.items())
                    print(f"AUC on a later date of this invented town: {said}", flush=True)
                if options.trees:
                    model_of_so_many_trees(town, options.trees, Path(scratch) / "model")
                print(HEAD)
            results += measure_town(residents, town, Path(scratch), options)
    if options.json is not None:
        ways = [asdict(result) for result in results]
        about = {"auc": auc, "explained": options.explained, "ways": ways}
        options.json.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
