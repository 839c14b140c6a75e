"""The scorecard: the published tables, in whole points beside the log-odds they came from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from egretscore.features import Feature, promised_direction
from egretscore.policy import Scale
from egretscore.scoring.points import in_whole_points, points_per_log_odds
from egretscore.scoring.tables import ScoreTable, ScoreTables, violations

COLUMNS = ("table", "feature_a", "from_a", "to_a", "feature_b", "from_b", "to_b", "log_odds", "points")
"""The columns of the scorecard file: one line for each cell of each table, bounds included."""

STATED_EVERY = 10


@dataclass(frozen=True, eq=False)
class Scorecard:
    """The tables that are the score.

    Attributes
    ----------
    features : tuple of Feature
    scale : Scale
    log_odds : ScoreTables
        As trained, before rounding.
    """

    features: tuple[Feature, ...]
    scale: Scale
    log_odds: ScoreTables

    @cached_property
    def points_per_log_odds(self) -> float:
        """How many points a unit of log-odds is worth."""
        return points_per_log_odds(self.log_odds, self.scale)

    @cached_property
    def points(self) -> ScoreTables:
        """The tables in whole points: what is published, and all that scores anyone."""
        return in_whole_points(self.log_odds, self.points_per_log_odds, self.scale)

    def scores(self, vectors: ArrayLike) -> NDArray[np.int64]:
        """Return the score of each vector, shape (n,)."""
        return self.points.totals(vectors)

    def reasons(self, vectors: ArrayLike) -> NDArray[np.int64]:
        """Return the points of each feature, shape (n, n_features): a row and the blank score make the score."""
        return self.points.reasons(vectors)

    def chance(self, score: ArrayLike) -> NDArray[np.float64]:
        """Return the chance that a commitment falling due is kept, as the score states it."""
        log_odds = self.log_odds.base + (np.asarray(score) - self.scale.blank) / self.points_per_log_odds
        return 1.0 / (1.0 + np.exp(-log_odds))

    @property
    def stated_scores(self) -> range:
        """The scores whose chances are published: every tenth one that can be reached."""
        least, greatest = (int(bound) for bound in self.points.bounds())
        return range(-(-least // STATED_EVERY) * STATED_EVERY, greatest + 1, STATED_EVERY)

    def problems(self) -> Iterator[str]:
        """Yield, in words, whatever breaks a promise: nothing at all is the proof."""
        directions = [feature.direction for feature in self.features]
        for feature in self.features:
            promised = promised_direction(feature)
            if promised is None:
                yield f"the feature {feature.name} counts what cannot move a score one way"
            elif feature.direction != promised:
                yield f"the feature {feature.name} goes the wrong way: {feature.direction:+d}"
        for unit, tables in (("points", self.points), ("log-odds", self.log_odds)):
            for wrong in violations(tables, directions):
                yield (
                    f"the {unit} table of {' and '.join(wrong.features)} goes the wrong way along {wrong.along} "
                    f"after cell {wrong.cell}, by {wrong.change:g}"
                )
            yield from _unsound_cells(tables, unit)
        least, greatest = self.points.bounds()
        if least < self.scale.minimum or greatest > self.scale.maximum:
            yield f"the tables reach from {least:g} to {greatest:g}, off the scale"
        sources = [feature.source for feature in self.features]
        for table in self.log_odds.tables:
            if len(table.features) > 1 and len({sources[f] for f in table.features}) == 1:
                yield (
                    f"the table of {' and '.join(self.features[f].name for f in table.features)} joins two features "
                    "of one source, which one record can move together"
                )


def _unsound_cells(tables: ScoreTables, unit: str) -> Iterator[str]:
    for table in tables.tables:
        named = " and ".join(tables.feature_names[f] for f in table.features)
        if not np.isfinite(table.values).all():
            yield f"the {unit} table of {named} holds a number that is not finite"
        at_blank = table.values[tuple(tables.baseline_cells[f] for f in table.features)]
        if at_blank != 0:
            yield f"the {unit} table of {named} gives the blank file {at_blank:g}, not 0"


# ------------------------------------------------------------------------------- as a file


def write_scorecard(scorecard: Scorecard) -> str:
    """Return the scorecard as CSV: neighbouring cells of the same log-odds are one line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for number, (log_odds, points) in enumerate(
        zip(scorecard.log_odds.tables, scorecard.points.tables, strict=True), start=1
    ):
        features = [scorecard.features[f] for f in log_odds.features]
        axes = [steps(scorecard.log_odds, log_odds, axis, feature) for axis, feature in enumerate(features)]
        for chosen in product(*axes):
            cell = tuple(step.cell for step in chosen)
            line = {"table": number, "log_odds": repr(float(log_odds.values[cell])), "points": int(points.values[cell])}
            for side, feature, step in zip("ab", features, chosen, strict=False):
                line |= {f"feature_{side}": feature.name, f"from_{side}": step.first, f"to_{side}": step.last}
            writer.writerow(line)
    return out.getvalue()


@dataclass(frozen=True)
class Step:
    """Neighbouring cells of a feature in which a table does not change.

    Attributes
    ----------
    cell : int
        One of them.
    first, last : int
        The values they hold, both included.
    """

    cell: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


def steps(tables: ScoreTables, table: ScoreTable, axis: int, feature: Feature) -> list[Step]:
    """Return the steps of a table along one of its features."""
    cuts = tables.cuts[table.features[axis]]
    changes = np.diff(table.values, axis=axis) != 0
    other = tuple(i for i in range(table.values.ndim) if i != axis)
    ends = [int(i) for i in np.flatnonzero(changes.any(axis=other) if other else changes)]
    lasts = [*(int(np.floor(cuts[end])) for end in ends), feature.cap]
    firsts = [feature.lowest, *(last + 1 for last in lasts[:-1])]
    cells = [*ends, table.values.shape[axis] - 1]
    return [Step(*step) for step in zip(cells, firsts, lasts, strict=True)]


def read_scorecard(text: str, features: Sequence[Feature], scale: Scale, blank_log_odds: float) -> Scorecard:
    """Return the scorecard that :func:`write_scorecard` wrote.

    Raises
    ------
    ValueError
        If the lines do not make whole tables of the features declared, or a line's points
        are not its log-odds in whole points.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    position = {feature.name: i for i, feature in enumerate(features)}
    by_table: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        by_table.setdefault(row["table"], []).append(row)
    lasts: list[set[int]] = [set() for _ in features]
    for row in rows:
        for side in _sides(row):
            f = position[row[f"feature_{side}"]]
            if int(row[f"to_{side}"]) < features[f].cap:
                lasts[f].add(int(row[f"to_{side}"]))
    cuts = tuple(np.array(sorted(found), dtype=np.float64) for found in lasts)
    card = Scorecard(
        tuple(features),
        scale,
        ScoreTables(
            feature_names=tuple(position),
            cuts=cuts,
            missing=(False,) * len(features),
            baseline=np.zeros(len(features)),
            base=blank_log_odds,
            tables=tuple(_table(lines, position, cuts, "log_odds", np.float64) for lines in by_table.values()),
        ),
    )
    for lines, made in zip(by_table.values(), card.points.tables, strict=True):
        if not np.array_equal(_table(lines, position, cuts, "points", np.int64).values, made.values):
            raise ValueError(f"the points of table {lines[0]['table']} are not its log-odds in whole points")
    # Whoever reads the lines by themselves, with a pencil, must come to the same: each cell in one line, each
    # feature or pair in one table, and nothing else.
    of = [table.features for table in card.points.tables]
    if len(set(of)) < len(of) or write_scorecard(card) != text:
        raise ValueError("the lines of the scorecard are not those that its tables are written as")
    return card


def _sides(row: Mapping[str, str]) -> tuple[str, ...]:
    return ("a", "b") if row["feature_b"] else ("a",)


def _table(
    lines: Sequence[Mapping[str, str]],
    position: Mapping[str, int],
    cuts: Sequence[NDArray[np.float64]],
    column: str,
    dtype: Any,
) -> ScoreTable:
    sides = _sides(lines[0])
    features = tuple(position[lines[0][f"feature_{side}"]] for side in sides)
    values = np.zeros([len(cuts[f]) + 1 for f in features], dtype=dtype)
    covered = np.zeros(values.shape, dtype=np.int64)
    for line in lines:
        cells = tuple(
            slice(
                int(np.searchsorted(cuts[f], int(line[f"from_{side}"]))),
                int(np.searchsorted(cuts[f], int(line[f"to_{side}"]))) + 1,
            )
            for f, side in zip(features, sides, strict=True)
        )
        values[cells] = dtype(line[column])
        covered[cells] += 1
    if (covered != 1).any():
        raise ValueError(f"table {lines[0]['table']} does not give each cell once")
    return ScoreTable(features, values)
