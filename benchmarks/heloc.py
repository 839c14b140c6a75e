"""FICO's HELOC data under FICO's own directions: the proof, and whose reasons contradict them.

    python benchmarks/heloc.py --data FOLDER

FOLDER holds the data sets. The directions are those of ``heloc_monotonicity.csv``; the codes
-7, -8 and -9, and those that its two conditional rows except, are special codes outside the
order. Over five folds (seed 0): AUC with and without directions, and in whole points; the
steps between neighbouring cells of all tables, and how many go the wrong way.

Then reasons, in two tests, both put to ours and to the SHAP values of LightGBM with its
defaults, once with the same directions as its constraints and once without any. Its SHAP
values are of two kinds: path-dependent, as ``pred_contrib`` gives them, and against the row
that ours are against, as shap's TreeExplainer gives them when asked:

- moves: a row of the test fold and one of its directed features are drawn by lot, and the
  feature is given a better value (one that raises the log-odds), as another row has it. The
  reason contradicts the direction if it gets less by that.
- ends: the feature is given the worst and the best value that any row has. The reason
  contradicts the direction if the worst value gets a positive one or the best a negative one.

Ours are against the median row (of the values that are no codes), as FICO's file has no blank one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import shap
from accuracy import DATA_SETS, HELOC_CODES, filling_the_scale
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from egretscore.scoring.tables import steps_compared, violations
from egretscore.training.estimator import ScoreTableClassifier

CODES_OF = {"MaxDelq2PublicRecLast12M": (8, 9), "MaxDelqEver": (1, 9)}
"""FICO's two conditional rows: decreasing over 0 to 7, and over 2 to 8."""
MOVES = 20_000
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Moves:
    """Rows before and after one directed feature of each was given a better value."""

    before: pd.DataFrame
    after: pd.DataFrame
    feature: NDArray[np.intp]

    def contradicted(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
        """Say how many reasons of the moved features got less."""
        row = np.arange(len(self.feature))
        return _negative((after - before)[row, self.feature])

    def wrong_signs(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
        """Say how many reasons are positive at the worse value, or negative at the better one."""
        row = np.arange(len(self.feature))
        return _negative(np.concatenate([-before[row, self.feature], after[row, self.feature]]))


def _negative(numbers: NDArray[np.float64]) -> str:
    wrong = numbers < -TOLERANCE
    worst = max(0.0, -float(numbers.min()))
    return f"{int(wrong.sum()):,} of {len(wrong):,} ({wrong.mean():.2%}, worst {worst:.3f})"


def read(data: Path) -> tuple[pd.DataFrame, NDArray[np.int64], dict[str, int]]:
    """Return features, outcome and directions."""
    X, y = DATA_SETS["heloc"](data)
    directions = pd.read_csv(data / "heloc" / "heloc_monotonicity.csv").set_index("feature")["constraint"]
    return X, y, {str(name): int(way) for name, way in directions.items() if way}


def codes(name: str) -> tuple[int, ...]:
    """Return a feature's special codes."""
    return (*HELOC_CODES, *CODES_OF.get(name, ()))


def draw_moves(X: pd.DataFrame, directions: Mapping[str, int], seed: int) -> Moves:
    """Draw rows, a directed feature of each, and a value that raises the log-odds, as another row has it."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(X), MOVES)
    names = rng.choice(list(directions), MOVES)
    other = rng.integers(0, len(X), MOVES)
    values = X.to_numpy()
    feature = X.columns.get_indexer(pd.Index(names))
    here, there = values[rows, feature], values[other, feature]
    ordered = np.array([not {a, b} & set(codes(n)) for n, a, b in zip(names, here, there, strict=True)])
    way = np.array([directions[name] for name in names])
    keep = ordered & (here != there)
    rows, feature, way, here, there = rows[keep], feature[keep], way[keep], here[keep], there[keep]
    before, after = values[rows], values[rows]
    at = np.arange(len(rows))
    before[at, feature] = np.where(way > 0, np.minimum(here, there), np.maximum(here, there))
    after[at, feature] = np.where(way > 0, np.maximum(here, there), np.minimum(here, there))
    return Moves(
        pd.DataFrame(before, columns=X.columns),
        pd.DataFrame(after, columns=X.columns),
        feature,
    )


def draw_ends(X: pd.DataFrame, directions: Mapping[str, int], seed: int) -> Moves:
    """Draw rows and a directed feature of each, from the worst value that any row has to the best."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(X), MOVES // 4)
    names = rng.choice(list(directions), len(rows))
    feature = X.columns.get_indexer(pd.Index(names))
    ends = {}
    for name, way in directions.items():
        ordered = X.loc[~X[name].isin(codes(name)), name]
        ends[name] = (ordered.min(), ordered.max())[:: 1 if way > 0 else -1]
    before, after, at = X.to_numpy()[rows], X.to_numpy()[rows], np.arange(len(rows))
    before[at, feature] = [ends[name][0] for name in names]
    after[at, feature] = [ends[name][1] for name in names]
    return Moves(pd.DataFrame(before, columns=X.columns), pd.DataFrame(after, columns=X.columns), feature)


def path_dependent(model: lgb.LGBMClassifier, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return LightGBM's own SHAP values, without the one of no feature."""
    return np.asarray(model.booster_.predict(rows, pred_contrib=True))[:, :-1]


def against(row: list[float]) -> Callable[[lgb.LGBMClassifier, pd.DataFrame], NDArray[np.float64]]:
    """Return the function for the SHAP values against one row."""

    def values(model: lgb.LGBMClassifier, rows: pd.DataFrame) -> NDArray[np.float64]:
        explainer = shap.TreeExplainer(model.booster_, np.array([row]), feature_perturbation="interventional")
        return np.asarray(explainer.shap_values(rows))

    return values


def main() -> None:
    """Fit, prove and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    options = parser.parse_args()
    X, y, directions = read(options.data)
    order = [directions.get(name, 0) for name in X.columns]
    special = {name: codes(name) for name in X.columns}
    aucs: dict[str, list[float]] = {}
    for fold, (learn, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)):
        free = ScoreTableClassifier(special=special).fit(X.iloc[learn], y[learn])
        median = [float(X.iloc[learn].loc[~X.iloc[learn][name].isin(codes(name)), name].median()) for name in X.columns]
        ours = ScoreTableClassifier(special=special, monotone=directions, baseline=median).fit(X.iloc[learn], y[learn])
        (points, _), numbers = filling_the_scale(ours.tables_), ours.numbers(X.iloc[test])
        scores = {
            "ours, without directions": free.decision_function(X.iloc[test]),
            "ours, FICO's directions": ours.decision_function(X.iloc[test]),
            "the same in whole points": points.totals(numbers),
        }
        tests = draw_moves(X.iloc[test], directions, fold), draw_ends(X.iloc[test], directions, fold)
        print(f"\nfold {fold + 1}: {len(directions)} features with a direction, {len(ours.tables_.tables)} tables")
        for name, tables in (("log-odds", ours.tables_), ("whole points", points)):
            wrong = sum(1 for _ in violations(tables, order))
            print(f"  proof, {name}: {steps_compared(tables, order):,} steps from cell to cell, {wrong} the wrong way")
        print("  reasons that contradict their direction, moves; ends")
        for name, tables in (("ours", ours.tables_), ("ours, whole points", points)):
            found = [[tables.reasons(ours.numbers(rows)).astype(float) for rows in (t.before, t.after)] for t in tests]
            print(f"    {name}: {tests[0].contradicted(*found[0])}; {tests[1].wrong_signs(*found[1])}")
        for name, constraints in (("LightGBM, the same directions", order), ("LightGBM without directions", None)):
            model = lgb.LGBMClassifier(monotone_constraints=constraints, verbosity=-1, random_state=0, n_jobs=1)
            model.fit(X.iloc[learn], y[learn])
            scores[name] = np.asarray(model.predict_proba(X.iloc[test]))[:, 1]
            for kind, explain in (("path-dependent", path_dependent), ("against the median row", against(median))):
                found = [[explain(model, rows) for rows in (t.before, t.after)] for t in tests]
                contradicted, wrong_signs = tests[0].contradicted(*found[0]), tests[1].wrong_signs(*found[1])
                print(f"    {name}, SHAP {kind}: {contradicted}; {wrong_signs}")
        for name, score in scores.items():
            aucs.setdefault(name, []).append(float(roc_auc_score(y[test], score)))
    print("\nAUC, mean of five folds")
    for name, values in aucs.items():
        print(f"  {name:36}{np.mean(values):.4f}")


if __name__ == "__main__":
    main()
