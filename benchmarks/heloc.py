"""FICO's HELOC data under FICO's own directions: the proof, and whose reasons contradict them.

    python benchmarks/heloc.py --data FOLDER [--json FILE]

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
LightGBM cannot be told of the codes, which stand in its order as the least values: its AUC may suffer
from that. The tests change no value from or into a code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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

Table = tuple[pd.DataFrame, NDArray[np.int64]]
Explain = Callable[[pd.DataFrame], NDArray[Any]]


@dataclass(frozen=True)
class Moves:
    """Rows before and after one directed feature of each was given a better value."""

    before: pd.DataFrame
    after: pd.DataFrame
    feature: NDArray[np.intp]

    def reasons(self, explain: Explain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the reasons of the features that were moved, before and after."""
        row = np.arange(len(self.feature))
        before, after = (explain(rows)[row, self.feature].astype(float) for rows in (self.before, self.after))
        return before, after


@dataclass(frozen=True)
class Count:
    """How many reasons contradict their direction, of how many, and by how much the worst does."""

    wrong: int
    of: int
    worst: float

    @classmethod
    def of_negative(cls, numbers: NDArray[np.float64]) -> Count:
        """Count what should not be below 0."""
        return cls(int((numbers < -TOLERANCE).sum()), len(numbers), round(max(0.0, -float(numbers.min())), 3))

    def __str__(self) -> str:
        return f"{self.wrong:,} of {self.of:,} ({self.wrong / self.of:.2%}, worst {self.worst:.3f})"


@dataclass(frozen=True)
class Contradictions:
    """How many reasons of one kind contradict FICO's directions on one fold."""

    fold: int
    reasons: str
    got_worse: Count
    wrong_sign: Count


def contradictions(fold: int, reasons: str, moves: Moves, ends: Moves, explain: Explain) -> Contradictions:
    """Put both tests to an explanation."""
    before, after = moves.reasons(explain)
    at_worst, at_best = ends.reasons(explain)
    wrong_sign = Count.of_negative(np.concatenate([-at_worst, at_best]))
    return Contradictions(fold, reasons, Count.of_negative(after - before), wrong_sign)


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


def path_dependent(model: lgb.LGBMClassifier) -> Explain:
    """Return the function for LightGBM's own SHAP values, without the one of no feature."""
    return lambda rows: np.asarray(model.booster_.predict(rows, pred_contrib=True))[:, :-1]


def against(row: list[float], model: lgb.LGBMClassifier) -> Explain:
    """Return the function for the SHAP values against one row."""
    explainer = shap.TreeExplainer(model.booster_, np.array([row]), feature_perturbation="interventional")
    return lambda rows: np.asarray(explainer.shap_values(rows))


OURS, WHOLE_POINTS = "ours", "ours, whole points"
DIRECTED, FREE = "LightGBM, the same directions", "LightGBM without directions"
PATH_DEPENDENT, SAME_ROW = "SHAP path-dependent", "SHAP against the median row"


def measure_fold(
    fold: int, learn: Table, test: Table, directions: Mapping[str, int]
) -> tuple[list[Contradictions], dict[str, float]]:
    """Fit, prove and compare on one fold."""
    (X, y), (X_test, y_test) = learn, test
    order = [directions.get(name, 0) for name in X.columns]
    special = {name: codes(name) for name in X.columns}
    median = [float(X.loc[~X[name].isin(codes(name)), name].median()) for name in X.columns]
    free = ScoreTableClassifier(special=special).fit(X, y)
    ours = ScoreTableClassifier(special=special, monotone=directions, baseline=median).fit(X, y)
    points, _ = filling_the_scale(ours.tables_)
    scores = {
        "ours, without directions": free.decision_function(X_test),
        "ours, FICO's directions": ours.decision_function(X_test),
        "the same in whole points": points.totals(ours.numbers(X_test)),
    }
    print(f"\nfold {fold + 1}: {len(directions)} features with a direction, {len(ours.tables_.tables)} tables")
    for name, tables in (("log-odds", ours.tables_), ("whole points", points)):
        wrong = sum(1 for _ in violations(tables, order))
        print(f"  proof, {name}: {steps_compared(tables, order):,} steps from cell to cell, {wrong} the wrong way")
    explained: dict[str, Explain] = {
        OURS: ours.explain,
        WHOLE_POINTS: lambda rows: points.reasons(ours.numbers(rows)),
    }
    for name, constraints in ((DIRECTED, order), (FREE, None)):
        model = lgb.LGBMClassifier(monotone_constraints=constraints, verbosity=-1, random_state=0, n_jobs=1).fit(X, y)
        scores[name] = np.asarray(model.predict_proba(X_test))[:, 1]
        explained[f"{name}, {PATH_DEPENDENT}"] = path_dependent(model)
        explained[f"{name}, {SAME_ROW}"] = against(median, model)
    moves, ends = draw_moves(X_test, directions, fold), draw_ends(X_test, directions, fold)
    found = [contradictions(fold, name, moves, ends, explain) for name, explain in explained.items()]
    print("  reasons that contradict their direction, moves; ends")
    for of in found:
        print(f"    {of.reasons}: {of.got_worse}; {of.wrong_sign}")
    return found, {name: float(roc_auc_score(y_test, score)) for name, score in scores.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every count")
    options = parser.parse_args()
    X, y, directions = read(options.data)
    folds = [
        measure_fold(fold, (X.iloc[learn], y[learn]), (X.iloc[test], y[test]), directions)
        for fold, (learn, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    ]
    print("\nAUC, mean of five folds")
    for name, mean in pd.DataFrame([aucs for _, aucs in folds]).mean().items():
        print(f"  {name:36}{mean:.4f}")
    if options.json is not None:
        counts = [asdict(of) for found, _ in folds for of in found]
        options.json.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
