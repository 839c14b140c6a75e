"""A model as it is published: the tables, the proof, the chances and the queries, to read and to check.

With a printout of this and a person's records, their score can be worked out with a pencil.
"""

from __future__ import annotations

from collections.abc import Iterator

from egretscore.audit.calibration import BAND_POINTS
from egretscore.features import Aggregate, Feature
from egretscore.features.query import source_query, sources_of
from egretscore.policy import WeightSteps
from egretscore.scoring.bundle import Model
from egretscore.scoring.scorecard import steps
from egretscore.scoring.tables import steps_compared, violations


def publication(model: Model) -> str:
    """Return a model as a Markdown document."""
    parts = (_head, _features, _single_tables, _pair_tables, _proof, _chances, _report, _queries)
    return "\n".join(line for part in parts for line in (*part(model), ""))


def _head(model: Model) -> Iterator[str]:
    card = model.scorecard
    least, greatest = card.points.bounds()
    yield f"# {model.name}"
    yield ""
    if model.invented:
        yield "**Trained on invented records: it says nothing about real people.**"
        yield ""
    yield f"- SHA-256 of the model: `{model.sha256}`"
    yield f"- Policy: {model.policy.name} {model.policy.version}, in force from {model.policy.valid_from}"
    yield f"- Snapshots: {', '.join(model.training['as_of'])}; outcome: the {model.training['horizon_days']} days after"
    yield f"- No leaf rests on fewer than {model.training['smallest_leaf_people']} people"
    yield f"- One unit of log-odds is {card.points_per_log_odds:g} points"
    yield ""
    yield (
        f"The score is {card.scale.blank} for an empty file plus the points of every table below. It lies between "
        f"{least:g} and {greatest:g}, whatever the records, so nothing is ever cut off."
    )


def _features(model: Model) -> Iterator[str]:
    yield "## What is counted"
    yield ""
    yield "| feature | in words | how it is counted | at most | can only |"
    yield "| --- | --- | --- | ---: | --- |"
    for feature in model.scorecard.features:
        way = "lift" if feature.direction > 0 else "hold back"
        words = f"{feature.en}; {feature.zh}".replace("|", r"\|")  # a policy's own texts must not end the cell
        yield f"| `{feature.name}` | {words} | {counting_rule(feature)} | {feature.cap} | {way} |"


def counting_rule(feature: Feature) -> str:
    """Return in words how a feature is counted, so that it can be counted by hand."""
    standing = f"standing {feature.source.replace('_', ' ')}"
    which = "".join(f", {column} {' or '.join(words)}" for column, words in feature.where.items())
    records = f"{standing}{which}"
    weights = _weights(feature.weights)
    match feature.aggregate:
        case Aggregate.COUNT:
            return f"{records}: {weights}"
        case Aggregate.SUM:
            return f"{feature.column} of {records}: {weights}"
        case Aggregate.REPEATS:
            return f"{records}: {weights}; less 1"
        case Aggregate.MONTHS:
            return f"calendar months with {records}, under {feature.weights[-1][0]} days old"
        case Aggregate.VARIETY:
            return f"different words for {feature.column} in {records}, under {feature.weights[-1][0]} days old"
        case Aggregate.RATE:
            return _rate_rule(feature, records, weights)


def _rate_rule(feature: Feature, records: str, weights: str) -> str:
    prior = feature.prior
    assert prior is not None  # noqa: S101 - a rate declares one
    return (
        f"K: {records}: {weights}. B: the other standing {feature.source}: {_weights(prior.against)}. "
        f"(1000 K + {prior.permille * prior.weight}) / (K + B + {prior.weight}), rounded down, less {prior.permille}"
    )


def _weights(steps: WeightSteps) -> str:
    return ", ".join(f"{weight} each under {days} days old" for days, weight in steps)


def _single_tables(model: Model) -> Iterator[str]:
    card = model.scorecard
    yield "## Points of one feature"
    for table in card.points.tables:
        if len(table.features) == 1:
            feature = card.features[table.features[0]]
            columns = steps(card.points, table, 0, feature)
            yield ""
            yield f"`{feature.name}`: {feature.en}; {feature.zh}"
            yield ""
            yield "| " + " | ".join(map(str, columns)) + " |"
            yield "|" + " ---: |" * len(columns)
            yield "| " + " | ".join(f"{table.values[step.cell]:+d}" for step in columns) + " |"


def _pair_tables(model: Model) -> Iterator[str]:
    card = model.scorecard
    yield "## Points of two features together"
    yield ""
    yield (
        "Shared between the two as reasons: for the row, half of (its cell in the column of 0, plus the cell, less the "
        "column's cell in the row of 0), rounded down; for the column the rest."
    )
    for table in card.points.tables:
        if len(table.features) > 1:
            row, column = (card.features[f] for f in table.features)
            rows, columns = steps(card.points, table, 0, row), steps(card.points, table, 1, column)
            yield ""
            yield f"Down: `{row.name}`, {row.en}. Across: `{column.name}`, {column.en}."
            yield ""
            yield "| | " + " | ".join(map(str, columns)) + " |"
            yield "| ---: |" + " ---: |" * len(columns)
            for down in rows:
                points = [f"{table.values[down.cell, across.cell]:+d}" for across in columns]
                yield f"| {down} | " + " | ".join(points) + " |"


def _proof(model: Model) -> Iterator[str]:
    card = model.scorecard
    directions = [feature.direction for feature in card.features]
    yield "## Proof that it goes one way"
    yield ""
    yield (
        "A sum of tables that each go one way goes that way. Each table was checked here, now, from every cell to the "
        "next, in whole points and before rounding."
    )
    yield ""
    for unit, tables in (("whole points", card.points), ("log-odds", card.log_odds)):
        wrong = list(violations(tables, directions))
        compared = steps_compared(tables, directions)
        yield f"- {unit}: {len(tables.tables)} tables, {compared:,} steps from cell to cell, {len(wrong)} the wrong way"


def _chances(model: Model) -> Iterator[str]:
    card = model.scorecard
    yield "## What a score states"
    yield ""
    yield "The chance that a commitment falling due in the horizon is kept in time."
    yield ""
    yield "| score | chance |"
    yield "| ---: | ---: |"
    for score in card.stated_scores:
        if score % BAND_POINTS == 0:
            yield f"| {score} | {float(card.chance(score)):.1%} |"
    check = model.report.chances
    if check is None:
        return
    when = "on later dates than training" if model.report.later else "on the training dates"
    yield ""
    yield f"Whether it came true, for people not learnt from, {when}:"
    yield ""
    yield "| score | people | stated | kept |"
    yield "| ---: | ---: | ---: | ---: |"
    for band in check.bands:
        yield f"| {band.lowest} to {band.highest} | {band.snapshots:,} | {band.stated:.1%} | {band.observed:.1%} |"
    yield ""
    yield (
        f"Calibration error {check.stated_error:.4f}; an isotonic fit on half of these people, measured on the other "
        f"half, has {check.isotonic_error:.4f}."
    )


def _report(model: Model) -> Iterator[str]:
    yield "## Report"
    yield ""
    yield "```"
    yield str(model.report)
    yield "```"


def _queries(model: Model) -> Iterator[str]:
    yield "## The queries"
    yield ""
    yield "One for each source. `$as_of` is the date of the question, `scored` the people with consent in force."
    for source in sources_of(model.scorecard.features):
        yield ""
        yield "```sql"
        yield source_query(source, model.scorecard.features, model.policy).sql("duckdb", pretty=True)
        yield "```"
