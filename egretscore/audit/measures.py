"""Discrimination and calibration of predicted chances, on outcomes that may be shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BINS = 10
_DECIMALS = 6
_DECIMALS_THAT_TELL_APART = 12


@dataclass(frozen=True)
class CalibrationBin:
    """A tenth of the snapshots in order of their predicted chance, but that equal chances are never divided."""

    weight: float
    predicted: float
    observed: float


@dataclass(frozen=True)
class Measures:
    """How good predicted chances are.

    Attributes
    ----------
    auc : float or None
        The area under the ROC curve; None where all outcomes are alike, for then there is nothing to tell apart.
    ks : float or None
        The Kolmogorov-Smirnov distance: the greatest difference between the shares of kept
        and of unkept commitments below a score; None where the AUC is.
    brier : float
        The mean squared difference between chance and outcome (0 or 1).
    calibration_error : float
        The mean absolute difference between predicted and observed, over the bins.
    calibration : tuple of CalibrationBin
    """

    auc: float | None
    ks: float | None
    brier: float
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as plain JSON data.

        Returns
        -------
        dict
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Measures:
        """Return the measures that :meth:`to_dict` wrote.

        Parameters
        ----------
        raw : mapping

        Returns
        -------
        Measures
        """
        return cls(**{**raw, "calibration": tuple(CalibrationBin(**b) for b in raw["calibration"])})


def as_stated(figure: SupportsFloat) -> float:
    """Return a figure to six decimals: the rest differs with the order in which a processor adds up."""
    return round(float(figure), _DECIMALS)


def two_weighted_rows(kept: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return shares of commitments kept as outcomes with weights: each share is a row kept and a row not kept.

    Rows of no weight are left out.

    Parameters
    ----------
    kept : ndarray of shape (n,)
        Shares from 0 to 1.

    Returns
    -------
    of : ndarray of int, shape (m,)
        Of which share each row is.
    outcome : ndarray of shape (m,)
        1 or 0.
    weight : ndarray of shape (m,)
        Those of a share's rows sum to one.
    """
    of = np.tile(np.arange(len(kept)), 2)
    outcome = np.repeat([1.0, 0.0], len(kept))
    weight = np.concatenate([kept, 1.0 - kept])
    counts = weight > 0
    return of[counts], outcome[counts], weight[counts]


def measure(outcome: Floats, chance: Floats) -> Measures:
    """Measure predicted chances against outcomes.

    Parameters
    ----------
    outcome : ndarray of shape (n,)
        0 or 1, or a share between them, which counts as that much of a 1 and the rest of a 0.
    chance : ndarray of shape (n,)
        The predicted chance of a 1.

    Returns
    -------
    Measures
        To six decimals, so that a report is the same in whatever order a processor adds up.
    """
    chance = _that_tell_apart(chance)
    of, happened, weight = two_weighted_rows(outcome)
    foreseen = chance[of]
    auc, ks = _discrimination(happened, foreseen, weight)
    bins = tuple(_calibration_bins(outcome, chance))
    return Measures(
        auc=auc,
        ks=ks,
        brier=as_stated(np.average((happened - foreseen) ** 2, weights=weight)),
        calibration_error=_error_over(bins),
        calibration=bins,
    )


def calibration_error(outcome: Floats, chance: Floats) -> float:
    """Return the calibration error that :func:`measure` finds: it needs no outcomes that differ."""
    return _error_over(tuple(_calibration_bins(outcome, _that_tell_apart(chance))))


def _that_tell_apart(chance: Floats) -> Floats:
    """Return chances without their last bits, in which a peer's sums of equal rows may differ."""
    return np.round(chance, _DECIMALS_THAT_TELL_APART)


def _discrimination(happened: Floats, foreseen: Floats, weight: Floats) -> tuple[float, float] | tuple[None, None]:
    """Return the AUC and the Kolmogorov-Smirnov distance, if there is anything to tell apart."""
    from sklearn.metrics import roc_auc_score, roc_curve

    if len(np.unique(happened)) == 1:
        return None, None
    false_positive, true_positive, _ = roc_curve(happened, foreseen, sample_weight=weight, drop_intermediate=False)
    ks = np.max(np.abs(true_positive - false_positive))
    return as_stated(roc_auc_score(happened, foreseen, sample_weight=weight)), as_stated(ks)


def _error_over(bins: Sequence[CalibrationBin]) -> float:
    differences = [abs(b.predicted - b.observed) for b in bins]
    return as_stated(np.average(differences, weights=[b.weight for b in bins]))


def _calibration_bins(outcome: Floats, chance: Floats) -> Iterator[CalibrationBin]:
    """Yield tenths, as far as there are: equal chances are never divided."""
    order = np.argsort(chance, kind="stable")
    tenth = ((np.arange(len(chance)) + 0.5) / len(chance) * _BINS).astype(int)
    _, first, same = np.unique(chance[order], return_index=True, return_inverse=True)
    tenth = tenth[first][same]
    for number in np.unique(tenth):
        members = order[tenth == number]
        yield CalibrationBin(
            weight=float(len(members)),
            predicted=as_stated(chance[members].mean()),
            observed=as_stated(outcome[members].mean()),
        )
