"""From log-odds to whole points.

``points = 550 + factor * (log-odds - log-odds of the blank file)``, rounded table by table,
so that the published whole numbers are the score and not a picture of it. The factor comes
from the policy's points to double the odds, and is made smaller where it must be so that
the sum of the tables' least and greatest stays on the scale: nothing is ever clipped.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from egretscore.policy import Scale
from egretscore.scoring.tables import ScoreTable, ScoreTables

_SIGNIFICANT_DIGITS = 6


def points_per_log_odds(log_odds: ScoreTables, scale: Scale) -> float:
    """Return how many points a unit of log-odds is worth.

    The less steep of the policy's own steepness and what the scale has room for, allowing half
    a point of rounding for each table. Rounded to 6 digits, so that it can be written down.
    """
    wanted = scale.points_to_double_odds / math.log(2)
    least, greatest = log_odds.bounds()
    rounding = len(log_odds.tables) / 2
    room = [
        (points - rounding) / reach
        for points, reach in (
            (scale.maximum - scale.blank, greatest - log_odds.base),
            (scale.blank - scale.minimum, log_odds.base - least),
        )
        if reach > 0
    ]
    factor = min([wanted, *room])
    if factor <= 0:
        raise ValueError(
            f"{len(log_odds.tables)} tables cannot be rounded to whole points on a scale from {scale.minimum} to "
            f"{scale.maximum} with the blank file at {scale.blank}: each may take half a point"
        )
    digits = _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(factor))
    return math.floor(factor * 10.0**digits) / 10.0**digits


def in_whole_points(log_odds: ScoreTables, factor: float, scale: Scale) -> ScoreTables:
    """Return the tables in whole points, with the blank file at the policy's blank score.

    Rounding a number is monotone, so a table that goes one way still does.
    """
    return replace(
        log_odds,
        base=scale.blank,
        tables=tuple(
            ScoreTable(table.features, np.rint(table.values * factor).astype(np.int64)) for table in log_odds.tables
        ),
    )
