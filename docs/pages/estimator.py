"""What was measured of the estimator, as README.md has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from accuracy import auc_table
from explain_speed import (
    CHECKED,
    CONTRIBUTIONS,
    MIDDLE_FEATURES,
    MIDDLE_TREES,
    PREDICT,
    SHAP,
    WHOLE_POINTS_2,
    WOODELF,
    Size,
    Timing,
)
from explain_speed import WHOLE_POINTS as FAST
from heloc import DIRECTED, FREE, PATH_DEPENDENT, SAME_ROW, WHOLE_POINTS, Contradictions, Count

from pages.wording import fraction, listed, paragraph, percent, rate, table


def blocks(results: Path) -> dict[str, str]:
    """Return every measured block, by its mark."""
    accuracy, contradictions = pd.read_json(results / "accuracy.json"), read_contradictions(results / "heloc.json")
    return {
        "accuracy": auc_table(accuracy),
        "accuracy in words": _accuracy_in_words(accuracy),
        "speed": _speed(read_sizes(results / "explain_speed.json")),
        "HELOC": _heloc(contradictions),
        "contradictions": _contradictions(contradictions),
    }


# ------------------------------------------------------------------------------ accuracy


CLOSE = {"EBM": "EBM", "LightGBM tuned": "a tuned LightGBM", "CatBoost 600": "CatBoost"}


def _accuracy_in_words(results: pd.DataFrame) -> str:
    auc = results.pivot_table(index=["data", "fold"], columns="model", values="auc")
    ahead = auc[list(CLOSE)].rsub(auc["ours"], axis=0)
    # The data sets are given; by chance only their folds differ.
    of_data = ahead.groupby("data")
    errors = (of_data.var() / of_data.count()).sum() ** 0.5 / len(of_data)
    mean = results.groupby("model")[["log_loss", "fit_seconds"]].mean()
    least = str(mean["log_loss"].drop(["ours", "ours, whole points"]).idxmin())

    def beside(name: str, difference: float) -> str:
        if round(difference, 4) == 0:
            return f"that of {name} to four decimals"
        return f"{fraction(abs(difference), 4)} {'above' if difference > 0 else 'below'} that of {name}"

    others = [beside(name, ahead[model].mean()) for model, name in CLOSE.items()]
    return paragraph(f"""
        Before rounding, our mean AUC is {listed(others)}; the standard errors of these differences over the folds
        are {listed([fraction(errors[model], 4) for model in CLOSE])}. Our mean log loss is
        {fraction(mean["log_loss"]["ours"], 4)}; of the others, {least} has the least,
        {fraction(mean["log_loss"][least], 4)}. All our fits together took
        1/{mean["fit_seconds"]["EBM"] // mean["fit_seconds"]["ours"]:.0f} of EBM's time.
    """)


# ------------------------------------------------------------------------------ how fast it explains


def read_sizes(file: Path) -> list[Size]:
    """Read what ``explain_speed.py`` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Size(**{**raw, "timings": [Timing(**timing) for timing in raw["timings"]]}) for raw in found]


def _speed(sizes: Sequence[Size]) -> str:
    size = next(of for of in sizes if (of.trees_asked, of.features) == (MIDDLE_TREES, MIDDLE_FEATURES))
    rates = {timing.way: rate(timing.rows_per_second) for timing in size.timings}
    return paragraph(f"""
        `python benchmarks/explain_speed.py` measures how fast the tables explain and how much memory that takes,
        beside LightGBM, shap and woodelf, and compares their answers. With {size.trees} trees and {size.features}
        whole-number features, `tables.reasons` gives {rates[FAST]} exact explanations a second on one thread and
        {rates[WHOLE_POINTS_2]} on two. On two threads, LightGBM gives {rates[PREDICT]} plain predictions and
        {rates[CONTRIBUTIONS]} of its `pred_contrib`. For the same values as ours, shap gives {rates[SHAP]} and
        woodelf {rates[WOODELF]}, on one thread. One person takes {size.one_person_us:.0f} µs. `model.explain`, which
        checks and copies its input as scikit-learn's estimators do, explains {rates[CHECKED]} a second.
    """)


# ------------------------------------------------------------------------------ reasons that contradict directions


REASONS = {
    WHOLE_POINTS: "ours, in whole points, against the median row",
    f"{DIRECTED}, {SAME_ROW}": "LightGBM with the same directions, SHAP values against the same row",
    f"{DIRECTED}, {PATH_DEPENDENT}": "..., path-dependent SHAP values (`pred_contrib`)",
    f"{FREE}, {SAME_ROW}": "LightGBM without directions, SHAP values against the same row",
    f"{FREE}, {PATH_DEPENDENT}": "..., path-dependent SHAP values",
}


def read_contradictions(file: Path) -> list[Contradictions]:
    """Read what ``heloc.py`` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return [
        Contradictions(raw["fold"], raw["reasons"], Count(**raw["got_worse"]), Count(**raw["wrong_sign"]))
        for raw in found
    ]


def _heloc(contradictions: Sequence[Contradictions]) -> str:
    ours = [of for of in contradictions if of.reasons == WHOLE_POINTS]
    moves, ends = sum(of.got_worse.of for of in ours), sum(of.wrong_sign.of for of in ours)
    return paragraph(f"""
        `python benchmarks/heloc.py --data FOLDER` proves FICO's own directions on FICO's data, before and after
        rounding, and counts the reasons that contradict them: where a value got better, those that got worse, of
        {moves:,}; and at the best and the worst value, those of the wrong sign, of {ends:,}.
    """)


def _contradictions(contradictions: Sequence[Contradictions]) -> str:
    def share(counts: list[Count]) -> str:
        wrong = sum(of.wrong for of in counts)
        return percent(wrong / sum(of.of for of in counts), 1) if wrong else "0"

    rows = []
    for reasons, label in REASONS.items():
        folds = [of for of in contradictions if of.reasons == reasons]
        rows.append((label, share([of.got_worse for of in folds]), share([of.wrong_sign for of in folds])))
    return table(("reasons that contradict FICO's directions", "got worse", "wrong sign"), *rows)
