"""The training report: how a model does on people it has not seen, beside its peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.audit.calibration import ChanceCheck
from egretscore.audit.measures import Measures, measure, two_weighted_rows

Floats = NDArray[np.float64]

OURS = "score"
UNROUNDED = "unrounded"
LOGISTIC_REGRESSION = "logistic_regression"
LIGHTGBM = "lightgbm_unconstrained"


@dataclass(frozen=True)
class Report:
    """How a model does on snapshots of people it has not learnt from.

    Attributes
    ----------
    learnt, held_out : Mapping
        People, snapshots and dates of each side.
    later : bool
        Whether the snapshots held out are of later dates than those learnt from.
    overlap_days : int or None
        How many days after the date held out the last outcome learnt from became known: 0
        when all were known by then. None when no later date was held out.
    chances : ChanceCheck or None
        What the scores state beside what was seen on the snapshots held out; None in models
        written before it was checked.
    measures : Mapping of model name to Measures
        ``score`` is the model in whole points, ``unrounded`` before rounding, then
        logistic regression and LightGBM without constraints on the same vectors.
    """

    learnt: Mapping[str, Any]
    held_out: Mapping[str, Any]
    later: bool
    overlap_days: int | None
    chances: ChanceCheck | None
    measures: Mapping[str, Measures]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data.

        Returns
        -------
        dict
        """
        return {
            "learnt": dict(self.learnt),
            "held_out": dict(self.held_out),
            "later": self.later,
            "overlap_days": self.overlap_days,
            "chances": self.chances and self.chances.to_dict(),
            "measures": {name: measures.to_dict() for name, measures in self.measures.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Report:
        """Return the report that :meth:`to_dict` wrote.

        Parameters
        ----------
        raw : Mapping

        Returns
        -------
        Report
        """
        measures = {name: Measures.from_dict(measured) for name, measured in raw["measures"].items()}
        chances = raw.get("chances") and ChanceCheck.from_dict(raw["chances"])
        return cls(raw["learnt"], raw["held_out"], raw["later"], raw.get("overlap_days"), chances, measures)

    def __repr__(self) -> str:
        return f"<Report: AUC {_figure(self.measures[OURS].auc)} on {self.held_out['people']:,} people held out>"

    def __str__(self) -> str:
        when = "later dates than training" if self.later else "the training dates (no later date was given)"
        if self.overlap_days:
            when += f"; the last outcomes learnt from became known {self.overlap_days} days after"
        lines = [
            f"Learnt from {_side(self.learnt)}",
            f"Held out    {_side(self.held_out)}, {when}",
            "",
            f"{'':24}{'AUC':>8}{'KS':>8}{'Brier':>8}{'calibration error':>20}",
        ]
        lines += [
            f"{name:24}{_figure(m.auc):>8}{_figure(m.ks):>8}{m.brier:8.4f}{m.calibration_error:20.4f}"
            for name, m in self.measures.items()
        ]
        lines += ["", f"{'calibration of the score':24}{'predicted':>12}{'observed':>12}"]
        lines += [
            f"{f'{b.weight:,.0f} snapshots':24}{b.predicted:12.4f}{b.observed:12.4f}"
            for b in self.measures[OURS].calibration
        ]
        if self.chances:
            stated, isotonic = self.chances.stated_error, self.chances.isotonic_error
            beside = f"beside {isotonic:.4f} of an isotonic fit on half of the data held out"
            lines += ["", f"calibration error of what the score states {stated:.4f}, {beside}"]
        return "\n".join(lines)


def _figure(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.4f}"


def _side(part: Mapping[str, Any]) -> str:
    return f"{part['people']:,} people, {part['snapshots']:,} snapshots ({', '.join(part['as_of'])})"


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors with the share of commitments kept: what the peers learn from, or are measured on."""

    vectors: NDArray[np.int32]
    kept: Floats


def measured_beside_peers(
    learnt: Rows, held_out: Rows, chances: Mapping[str, Floats], seed: int
) -> dict[str, Measures]:
    """Measure given chances, and those of peers trained on the same vectors, on the rows held out."""
    every = {**chances, **_chances_of_peers(learnt, held_out, seed)}
    return {name: measure(held_out.kept, chance) for name, chance in every.items()}


def _chances_of_peers(learnt: Rows, held_out: Rows, seed: int) -> dict[str, Floats]:
    from lightgbm import LGBMClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    of, outcome, weight = two_weighted_rows(learnt.kept)
    features = learnt.vectors[of].astype(np.float64)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    logistic.fit(features, outcome, logisticregression__sample_weight=weight)
    free = LGBMClassifier(random_state=seed, n_jobs=1, deterministic=True, force_col_wise=True, verbosity=-1)
    free.fit(features, outcome, sample_weight=weight)
    unseen = held_out.vectors.astype(np.float64)
    return {
        LOGISTIC_REGRESSION: logistic.predict_proba(unseen)[:, 1],
        LIGHTGBM: free.booster_.predict(unseen, num_threads=1),
    }
