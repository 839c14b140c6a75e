"""The estimator beside its peers on real credit data: the same folds for all.

    python benchmarks/accuracy.py --data FOLDER [--only NAME ...] [--models NAME ...] [--json FILE]

FOLDER holds the data sets (see the README of each for its source and licence). Each is cut
into five stratified folds (seed 0). Every model learns from four and is measured on the
fifth: AUC, log loss, calibration error (ten bins of equal size) and the seconds its fit took,
one model at a time, each free to use all cores.

No setting is searched for on the folds. Our defaults were chosen on other data (see
``benchmarks/choose_defaults.py``; the README says what was known of these folds then); early
stopping, and the choice among settings of the tuned LightGBM, see only rows held out within the
training part. The peers run with their own defaults, but for CatBoost's 600 rounds. On HELOC ours
and the scorecard are told which values are codes; the others have no way to be told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from egretscore.audit import calibration_error
from egretscore.policy import Scale
from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.tables import ScoreTables
from egretscore.training.estimator import ScoreTableClassifier

FOLDS = 5
GMSC_ROWS = 60_000
HELOC_CODES = (-7, -8, -9)

Table = tuple[pd.DataFrame, NDArray[np.int64]]
Fitted = Callable[[pd.DataFrame], NDArray[np.float64]]


# ------------------------------------------------------------------------------- the data


def _from(file: str, target: str, *drop: str) -> Callable[[Path], Table]:
    def read(data: Path) -> Table:
        path = data / file
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        if file.startswith("gmsc"):
            frame = frame.iloc[:GMSC_ROWS]
        X = frame.drop(columns=[target, *drop])
        for name in X.columns:
            X[name] = X[name].astype(float) if pd.api.types.is_numeric_dtype(X[name]) else X[name].astype("category")
        return X, frame[target].to_numpy(dtype=np.int64)

    return read


DATA_SETS: Mapping[str, Callable[[Path], Table]] = {
    "german": _from("german_credit/german.csv", "bad", "class"),
    "australian": _from("australian_credit/australian.csv", "approved"),
    "sanchez": _from("credit_data_sanchez/credit_data.csv", "bad", "Status"),
    "hmeq": _from("hmeq/hmeq.csv", "BAD"),
    "polish1": _from("polish_bankruptcy/1year.csv", "class"),
    "polish5": _from("polish_bankruptcy/5year.csv", "class"),
    "heloc": _from("heloc/heloc.csv", "bad", "RiskPerformance"),
    "taiwan": _from("taiwan_credit_card/taiwan.csv", "default_next_month"),
    "gmsc": _from("gmsc/gmsc.parquet", "SeriousDlqin2yrs", "id"),
}


# ------------------------------------------------------------------------------- the models


def fit_ours(X: pd.DataFrame, y: NDArray[np.int64]) -> tuple[Fitted, Fitted]:
    """Fit ours with its defaults: the chance before rounding, and that of the score in whole points."""
    special = dict.fromkeys(X.columns, HELOC_CODES) if _is_heloc(X) else None
    model = ScoreTableClassifier(special=special).fit(X, y)
    points, factor = filling_the_scale(model.tables_)

    def rounded(Z: pd.DataFrame) -> NDArray[np.float64]:
        above_blank = points.totals(model.numbers(Z)) - points.base
        return 1.0 / (1.0 + np.exp(-(model.tables_.base + above_blank / factor)))

    return _second_class(model), rounded


def filling_the_scale(tables: ScoreTables) -> tuple[ScoreTables, float]:
    """Return tables in whole points on a scale of 0 to 1000 that they fill, and the points of a unit of log-odds."""
    least, greatest = tables.bounds()
    # The baseline stands where the tables put it.
    blank = int(np.clip(round(1000 * (tables.base - least) / (greatest - least)), 1, 999))
    scale = Scale(minimum=0, maximum=1000, blank=blank, points_to_double_odds=50, source="benchmark")
    factor = points_per_log_odds(tables, scale)
    return in_whole_points(tables, factor, scale), factor


def fit_lightgbm(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit LightGBM with its defaults."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(verbosity=-1, random_state=0).fit(X, y)
    return _second_class(model)


def fit_lightgbm_tuned(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit LightGBM with the best of six settings, chosen with early stopping on a fifth of the training rows."""
    import lightgbm as lgb

    learn, held_out, y_learn, y_held_out = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    best: tuple[float, dict[str, Any]] = (np.inf, {})
    for leaves, smallest in product((4, 8, 31), (5, 30)):
        settings: dict[str, Any] = {
            "num_leaves": leaves,
            "min_child_samples": smallest,
            "learning_rate": 0.03,
            "colsample_bytree": 0.5,
            "reg_lambda": 5.0,
            "verbosity": -1,
            "random_state": 0,
        }
        trial = lgb.LGBMClassifier(n_estimators=3000, **settings).fit(
            learn,
            y_learn,
            eval_set=[(held_out, y_held_out)],
            callbacks=[lgb.early_stopping(100, verbose=False)],
        )
        loss = trial.best_score_["valid_0"]["binary_logloss"]
        if loss < best[0]:
            best = (loss, {**settings, "n_estimators": trial.best_iteration_})
    model = lgb.LGBMClassifier(**best[1]).fit(X, y)
    return _second_class(model)


def _is_heloc(X: pd.DataFrame) -> bool:
    return "ExternalRiskEstimate" in X.columns


def _second_class(model: Any) -> Fitted:
    return lambda Z: model.predict_proba(Z)[:, 1]


def fit_scorecard(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit logistic regression on weight-of-evidence bins (optbinning)."""
    from optbinning import BinningProcess
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    plain = _plain(X)
    categories = [name for name in plain if plain[name].dtype == object]
    codes = {name: {"special_codes": list(HELOC_CODES)} for name in plain.columns} if _is_heloc(X) else None
    binning = BinningProcess(list(plain.columns), categorical_variables=categories, binning_fit_params=codes)
    model = make_pipeline(binning, LogisticRegression(max_iter=2000)).fit(plain, y)
    return lambda Z: model.predict_proba(_plain(Z))[:, 1]


def fit_ebm(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit interpret's explainable boosting machine with its defaults, on all cores."""
    from interpret.glassbox import ExplainableBoostingClassifier

    plain = _plain(X)
    model = ExplainableBoostingClassifier(random_state=0, n_jobs=-1).fit(plain, y)
    return lambda Z: model.predict_proba(_plain(Z))[:, 1]


def fit_catboost(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit CatBoost, 600 rounds."""
    from catboost import CatBoostClassifier

    plain = _plain(X)
    categories = [name for name in plain if plain[name].dtype == object]
    model = CatBoostClassifier(
        iterations=600, cat_features=categories, random_seed=0, verbose=0, allow_writing_files=False
    ).fit(plain, y)
    return lambda Z: model.predict_proba(_plain(Z))[:, 1]


def fit_hist(X: pd.DataFrame, y: NDArray[np.int64]) -> Fitted:
    """Fit scikit-learn's HistGradientBoosting with its defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0).fit(X, y)
    return _second_class(model)


def _plain(X: pd.DataFrame) -> pd.DataFrame:
    """Return categories as texts, a missing one as a level of its own."""
    return X.assign(
        **{
            name: X[name].astype(object).where(X[name].notna(), "missing").astype(str).astype(object)
            for name in X.columns
            if isinstance(X[name].dtype, pd.CategoricalDtype)
        }
    )


OURS, WHOLE_POINTS = "ours", "ours, whole points"
PEERS: Mapping[str, Callable[[pd.DataFrame, NDArray[np.int64]], Fitted]] = {
    "LightGBM default": fit_lightgbm,
    "LightGBM tuned": fit_lightgbm_tuned,
    "CatBoost 600": fit_catboost,
    "HistGradientBoosting": fit_hist,
    "EBM": fit_ebm,
    "optbinning scorecard": fit_scorecard,
}


def import_peers(models: list[str]) -> None:
    """Import what the peers' functions import, so that no fit is timed with it."""
    for model, library in {
        "CatBoost 600": "catboost",
        "EBM": "interpret.glassbox",
        "optbinning scorecard": "optbinning",
    }.items():
        if model in models:
            import_module(library)


# ------------------------------------------------------------------------------- the measuring


@dataclass(frozen=True)
class Result:
    """A model on a fold of a data set."""

    data: str
    model: str
    fold: int
    auc: float
    log_loss: float
    calibration_error: float
    fit_seconds: float


def measured(
    data: str, model: str, fold: int, y: NDArray[np.int64], chance: NDArray[np.float64], took: float
) -> Result:
    """Measure the chances a model gave the rows of a fold."""
    calibration = calibration_error(y.astype(float), chance)
    return Result(
        data,
        model,
        fold,
        float(roc_auc_score(y, chance)),
        float(log_loss(y, np.clip(chance, 1e-6, 1 - 1e-6))),
        calibration,
        took,
    )


def run(data: Path, names: list[str], models: list[str], file: Path | None, *, go_on: bool) -> list[Result]:
    """Measure the models on the data sets, saying what is being done.

    Figures in the file of other data sets and models stay. To go on means to keep also those
    that would be measured, which a machine that may be stopped needs; whoever does so answers for
    code and machine being the same.
    """
    measured_now = {*models, *((WHOLE_POINTS,) if OURS in models else ())}
    results = [r for r in read_results(file) if go_on or r.data not in names or r.model not in measured_now]
    import_peers(models)
    for name in names:
        X, y = DATA_SETS[name](data)
        folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y))
        for model in models:
            if any(result.data == name and result.model == model for result in results):
                continue
            for fold, (learn, test) in enumerate(folds):
                progress(f"{name}: {model}, fold {fold + 1} of {FOLDS}")
                start = time.perf_counter()
                if model == OURS:
                    unrounded, rounded = fit_ours(X.iloc[learn], y[learn])
                    fitted = {OURS: unrounded, WHOLE_POINTS: rounded}
                else:
                    fitted = {model: PEERS[model](X.iloc[learn], y[learn])}
                took = time.perf_counter() - start
                results += [
                    measured(name, label, fold, y[test], predict(X.iloc[test]), took)
                    for label, predict in fitted.items()
                ]
            write_results(results, file)
        progress("")
        print(table(pd.DataFrame(results).query("data == @name")), flush=True)
    return results


def read_results(file: Path | None) -> list[Result]:
    """Return the results of an earlier run."""
    if file is None or not file.is_file():
        return []
    return [Result(**raw) for raw in json.loads(file.read_text(encoding="utf-8"))]


def write_results(results: list[Result], file: Path | None) -> None:
    """Write every figure of every fold, one line each."""
    if file is not None:
        order = list(DATA_SETS)
        rows = sorted(results, key=lambda result: order.index(result.data))
        lines = ",\n".join(json.dumps({**asdict(row), **_rounded(row)}) for row in rows)
        file.write_text(f"[{lines}]\n", encoding="utf-8")


def _rounded(row: Result) -> dict[str, float]:
    return {name: round(value, 5) for name, value in asdict(row).items() if isinstance(value, float)}


def progress(what: str) -> None:
    """Show on a terminal what is being done; say nothing into a pipe."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def table(results: pd.DataFrame) -> str:
    """Return the measures of each model, means over what else there is; none of a model that lacks some of it."""
    shown = ["auc", "log_loss", "calibration_error", "fit_seconds"]
    names = set(results["data"])
    models = results.groupby("model", sort=False)
    means = models[shown].mean().round(4).where(models["data"].nunique() == len(names))
    return f"\n{names.pop() if len(names) == 1 else 'mean of all'}\n{means.to_string(na_rep='–')}"


def auc_table(results: pd.DataFrame) -> str:
    """Return the AUC of each model on each data set as Markdown, with means and seconds where all were measured."""
    auc = results.pivot_table(index="model", columns="data", values="auc")
    auc = auc.reindex(index=[m for m in (OURS, WHOLE_POINTS, *PEERS) if m in auc.index])
    auc = auc.reindex(columns=[name for name in DATA_SETS if name in auc.columns])
    seconds = results.groupby("model")["fit_seconds"].sum().reindex(auc.index)
    seconds[auc.isna().any(axis=1)] = np.nan
    auc["mean"] = auc.mean(axis=1, skipna=False)
    lines = ["| AUC | " + " | ".join(map(str, auc.columns)) + " | fit, s |", "| --- |" + " ---: |" * (auc.shape[1] + 1)]
    for (model, row), took in zip(auc.iterrows(), seconds, strict=True):
        cells = [_cell(value, 4) for value in row] + [_cell(took, 1)]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, metavar="NAME", help=", ".join(DATA_SETS))
    parser.add_argument("--models", nargs="+", choices=[OURS, *PEERS], metavar="NAME", help=", ".join([OURS, *PEERS]))
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write every figure of every fold; those of others that FILE holds stay",
    )
    parser.add_argument("--go-on", action="store_true", help="measure only what FILE does not hold yet")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    names, models = options.only or list(DATA_SETS), options.models or [OURS, *PEERS]
    results = run(options.data, names, models, options.json, go_on=options.go_on)
    frame = pd.DataFrame(results)
    print(f"\n{auc_table(frame)}\n\n{os.cpu_count()} cores; fit: seconds of all fits together")
    print(table(frame))


if __name__ == "__main__":
    main()
