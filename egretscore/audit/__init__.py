"""Auditing a model: how well it tells apart, and whether its chances come true."""

from egretscore.audit.calibration import Band, ChanceCheck, check_chances
from egretscore.audit.measures import CalibrationBin, Measures, as_stated, calibration_error, measure, two_weighted_rows
from egretscore.audit.report import LIGHTGBM, LOGISTIC_REGRESSION, OURS, UNROUNDED, Report, Rows, measured_beside_peers

__all__ = [
    "LIGHTGBM",
    "LOGISTIC_REGRESSION",
    "OURS",
    "UNROUNDED",
    "Band",
    "CalibrationBin",
    "ChanceCheck",
    "Measures",
    "Report",
    "Rows",
    "as_stated",
    "calibration_error",
    "check_chances",
    "measure",
    "measured_beside_peers",
    "two_weighted_rows",
]
