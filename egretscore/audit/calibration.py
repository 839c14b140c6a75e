"""Whether what a score states came true: the chance it states beside what was seen on later data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from egretscore.audit.measures import as_stated, calibration_error

Floats = NDArray[np.float64]

BAND_POINTS = 50
_FEWEST_IN_A_BAND = 20


@dataclass(frozen=True)
class Band:
    """Scores from ``lowest`` to ``highest``: what they state, and what was seen.

    Attributes
    ----------
    lowest, highest : int
        Both included.
    snapshots : int
        How many there were on the data held out.
    stated, observed : float
        The mean chance stated, and the share of commitments kept in time.
    """

    lowest: int
    highest: int
    snapshots: int
    stated: float
    observed: float


@dataclass(frozen=True)
class ChanceCheck:
    """The chances a score states, against outcomes it was not trained on.

    Attributes
    ----------
    bands : tuple of Band
        Bands of fewer than 20 snapshots are left out.
    stated_error : float
        The calibration error of the chances as stated, over the two halves of the data.
    isotonic_error : float
        That of an isotonic regression on the score, each half measured with the regression
        fitted on the other: what could be reached by fitting the chances to such data.
    """

    bands: tuple[Band, ...]
    stated_error: float
    isotonic_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ChanceCheck:
        """Return the check that :meth:`to_dict` wrote."""
        return cls(tuple(Band(**band) for band in raw["bands"]), raw["stated_error"], raw["isotonic_error"])


def check_chances(score: NDArray[np.int64], stated: Floats, kept: Floats, seed: int) -> ChanceCheck:
    """Hold the chances that scores state against the shares of commitments kept.

    Parameters
    ----------
    score : ndarray of int, shape (n,)
    stated : ndarray of shape (n,)
        The chance each score states.
    kept : ndarray of shape (n,)
    seed : int
        Draws the two halves.
    """
    half = np.random.default_rng(seed).random(len(score)) < 1 / 2
    errors = [_errors(score, stated, kept, learn=side) for side in (half, ~half)]
    return ChanceCheck(
        bands=tuple(_bands(score, stated, kept)),
        stated_error=as_stated(np.mean([error for error, _ in errors])),
        isotonic_error=as_stated(np.mean([error for _, error in errors])),
    )


def _errors(score: NDArray[np.int64], stated: Floats, kept: Floats, learn: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the calibration errors, as stated and of an isotonic fit, on the rows not learnt from."""
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score[learn], kept[learn])
    chances = stated[~learn], fit.predict(score[~learn])
    of_stated, of_isotonic = (calibration_error(kept[~learn], chance) for chance in chances)
    return of_stated, of_isotonic


def _bands(score: NDArray[np.int64], stated: Floats, kept: Floats) -> list[Band]:
    number = score // BAND_POINTS
    return [
        Band(
            lowest=int(band * BAND_POINTS),
            highest=int((band + 1) * BAND_POINTS - 1),
            snapshots=int(inside.sum()),
            stated=as_stated(stated[inside].mean()),
            observed=as_stated(kept[inside].mean()),
        )
        for band in np.unique(number)
        if (inside := number == band).sum() >= _FEWEST_IN_A_BAND
    ]
