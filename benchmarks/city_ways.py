"""The ways of going through a town that ``city.py`` measures: ours, the bounds, and the peers'.

Each is run in a process of its own, on a task, and returns its stages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from measuring import Stages
from numpy.typing import NDArray
from pyarrow import parquet

from egretscore import keep_records, load_engine
from egretscore.engine import Engine
from egretscore.everyone import on_one_machine
from egretscore.everyone.part_scores import AS_WRITTEN, PartScorer
from egretscore.features.query import vectors_query
from egretscore.records.database import create_table, threads_to_use
from egretscore.records.files import files_by_table
from egretscore.records.kept.folder import files_of_part
from egretscore.records.parts import PARTS
from egretscore.records.reading import read_parts
from egretscore.records.schema import DOUBTS
from egretscore.records.upkeep import keeping
from egretscore.scored import ColumnsAsked
from egretscore.status import Status
from egretscore.writing import sha256_of

if TYPE_CHECKING:
    import lightgbm
    import pyarrow as pa

AS_OF = date(2026, 1, 1)


@dataclass(frozen=True)
class Task:
    """What a process works on.

    Attributes
    ----------
    model : Path
        The model's bundle.
    town, kept : Path
        The records as they were invented, and as ``keep`` kept them.
    out : Path
        A folder for what the process writes.
    memory : int or None
    plain : Path
        The plain LightGBM.
    explained : int
        The most people for whom the plain LightGBM computes contributions.
    """

    model: Path
    town: Path
    kept: Path
    out: Path
    memory: int | None
    plain: Path
    explained: int


def bare_aggregation(task: Task) -> Stages:
    """Run the query for the vectors on the files as they are, and hold the answer as Arrow."""
    connection = _sees(files_by_table(task.town))
    create_table(connection, DOUBTS.name, DOUBTS.types)
    _vectors(connection, task)
    return Stages()


def bare_aggregation_kept(task: Task) -> Stages:
    """Run the query for the vectors on the files of the kept records, and hold the answer as Arrow."""
    _vectors(_sees(_kept_files(task)), task)
    return Stages()


def _sees(files: Mapping[str, Sequence[Path]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    for table, of_table in files.items():
        connection.read_parquet([str(file) for file in of_table]).create_view(table)
    return connection


def _kept_files(task: Task) -> dict[str, list[Path]]:
    of_parts = [files_of_part(task.kept, part) for part in range(PARTS)]
    return {table: [files[table] for files in of_parts] for table in of_parts[0]}


def _vectors(connection: duckdb.DuckDBPyConnection, task: Task, sql: str = "{vectors}") -> pa.Table:
    engine = load_engine(task.model)
    query = vectors_query(engine.model.scorecard.features, engine.policy).sql("duckdb")
    return connection.sql(sql.format(vectors=query), params={"as_of": AS_OF}).to_arrow_table()


def stages_alone(task: Task) -> Stages:
    """Run each stage with nothing else to do."""
    stages, cores = Stages(), threads_to_use(None)
    for what, files in (("read every cell", files_by_table(task.town)), ("... of the kept", _kept_files(task))):
        stages.timed(what, _read_every_cell)(_sees(files), files)
    with ThreadPoolExecutor(cores) as pool:

        def on_all_cores(work: Callable[[Any], Any], shares: Iterable[Any]) -> list[Any]:
            return list(pool.map(work, shares))

        stages.timed("hash the kept", on_all_cores)(sha256_of, chain.from_iterable(_kept_files(task).values()))
        query = f"SELECT *, '{Status.SCORED.value}' AS status FROM ({{vectors}})"
        people = _vectors(_sees(_kept_files(task)), task, query).combine_chunks()
        engine, asked = load_engine(task.model), ColumnsAsked(reasons=True, benefits=True)
        scorer = PartScorer(engine.model.scorecard, engine.policy, asked, {})
        share = max(on_one_machine._PEOPLE_AT_ONCE, -(-len(people) // PARTS))  # noqa: SLF001 - as a run has it
        shares = [people[first : first + share] for first in range(0, len(people), share)]
        scored = stages.timed("score", on_all_cores)(scorer.table, shares)

        def write(number: int) -> None:
            parquet.write_table(scored[number], task.out / f"alone-{number}.parquet", **AS_WRITTEN)

        stages.timed("write", on_all_cores)(write, range(len(scored)))
    return stages


def _read_every_cell(connection: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    for table in tables:
        connection.sql(f"SELECT bit_xor(hash(COLUMNS(*))) FROM {table}").fetchall()


def score(task: Task) -> Stages:
    """Score the town into parts."""
    return _score(task, task.town, task.out / "scores")


def score_kept(task: Task) -> Stages:
    """Score the kept records of the town into parts."""
    return _score(task, task.kept, task.out / "scores of kept")


def _score(task: Task, records: Path, out: Path) -> Stages:
    stages = Stages()
    vars(on_one_machine)["read_parts"] = stages.timed("read and check", read_parts)
    Engine._ask = stages.timed("group", Engine._ask)  # type: ignore[method-assign]  # noqa: SLF001 - to time it
    PartScorer.table = stages.timed("score", PartScorer.table)  # type: ignore[method-assign]
    parquet.write_table = stages.timed("write", parquet.write_table)
    engine = load_engine(task.model)
    on_one_machine.score_everyone(engine, records, AS_OF, out, reasons=True, benefits=True, memory=task.memory)
    return stages


def score_on_spark(task: Task) -> Stages:
    """Score the kept records of the town into parts, on Spark."""
    from egretscore.everyone import on_spark

    out = task.out / "scores on Spark"
    engine = load_engine(task.model)
    on_spark.score_on_spark(engine, task.kept, AS_OF, out, reasons=True, benefits=True, memory=task.memory)
    return Stages()


def keep(task: Task) -> Stages:
    """Keep the town's records."""
    stages = Stages()
    vars(keeping)["read_parts"] = stages.timed("read and check", read_parts)
    vars(keeping)["_write_table"] = stages.timed("sort and write", vars(keeping)["_write_table"])
    keep_records(task.town, task.kept, memory=task.memory)
    return stages


def in_pandas(task: Task) -> Stages:
    """Score the town with pandas and the model's own trees."""
    return _in_pandas(task, task.model / "model.txt")


def in_pandas_plain(task: Task) -> Stages:
    """Score the town with pandas and a plain LightGBM."""
    return _in_pandas(task, task.plain, task.explained)


def _in_pandas(task: Task, model: Path, explained: int | None = None) -> Stages:
    import in_pandas
    import lightgbm

    stages, engine = Stages(), load_engine(task.model)
    frames = stages.timed("read", in_pandas.read)(files_by_table(task.town))
    features = engine.model.scorecard.features
    vectors = stages.timed("group", in_pandas.vectors)(frames, features, engine.policy, AS_OF)
    booster = lightgbm.Booster(model_file=str(model))
    explain = lambda rows: booster.predict(rows, pred_contrib=True)  # noqa: E731 - named as the other peer's is
    _predict(task, stages, booster, explain, vectors.index.to_numpy(), vectors.to_numpy(), explained=explained)
    return stages


def in_polars(task: Task) -> Stages:
    """Score the town with polars, the model's own trees and shap."""
    import in_polars
    import lightgbm
    import shap

    stages, engine = Stages(), load_engine(task.model)
    features = engine.model.scorecard.features
    scan = in_polars.scan(files_by_table(task.town))
    vectors = stages.timed("read and group", in_polars.vectors)(scan, features, engine.policy, AS_OF)
    booster = lightgbm.Booster(model_file=str(task.model / "model.txt"))
    explainer = shap.TreeExplainer(booster)
    warnings.filterwarnings("ignore", "LightGBM binary classifier")  # shap's word on a change of its own
    _predict(
        task,
        stages,
        booster,
        explainer.shap_values,
        vectors["subject_id"].to_numpy(),
        vectors.drop("subject_id").to_numpy(),
    )
    return stages


def _predict(
    task: Task,
    stages: Stages,
    booster: lightgbm.Booster,
    explain: Callable[[Any], Any],
    subject_ids: NDArray[Any],
    vectors: NDArray[Any],
    *,
    explained: int | None = None,
) -> None:
    """Predict, explain everyone or so many, and write, as the peers do."""
    import pandas as pd

    raw = stages.timed("predict", booster.predict)(vectors, raw_score=True)
    some = vectors[:explained]
    names = load_engine(task.model).feature_names
    contributions = stages.timed("explain", explain)(some)[:, : len(names)]
    if len(some) < len(vectors):
        stages.reckon("explain", len(vectors) / len(some) - 1)
        # The same ones over and over take less to write than all would: that favours the peer a little.
        contributions = np.resize(contributions, (len(vectors), len(names)))
    table = pd.DataFrame({"subject_id": subject_ids, "raw": raw})
    table = pd.concat([table, pd.DataFrame(contributions, columns=[f"contribution_{name}" for name in names])], axis=1)
    stages.timed("write", table.to_parquet)(task.out / "peer.parquet")
    to_be_held_against_ours = {"subject_ids": subject_ids, "vectors": vectors, "raw": raw}
    stages.afterwards = lambda: np.savez(task.out / "peer.npz", **to_be_held_against_ours)


WAYS: dict[str, Callable[[Task], Stages]] = {
    "bare aggregation": bare_aggregation,
    "score": score,
    "keep": keep,
    "score kept": score_kept,
    "bare, kept": bare_aggregation_kept,
    "stages alone": stages_alone,
    "score on Spark": score_on_spark,
    "pandas": in_pandas,
    "polars": in_polars,
    "pandas, plain": in_pandas_plain,
}
_PARQUET_IN_PANDAS = ("pyarrow.dataset", "pyarrow.pandas_compat", "pandas.core.arrays.arrow.extension_types")
PEERS = {
    "pandas": ("in_pandas", "lightgbm", *_PARQUET_IN_PANDAS),
    "polars": ("in_polars", "pandas", "lightgbm", "shap", *_PARQUET_IN_PANDAS),
    "pandas, plain": ("in_pandas", "lightgbm", *_PARQUET_IN_PANDAS),
}
"""The ways that are not ours, and what they import before the clock starts, also where pandas would only then."""
