"""Promise 6: the score is the sum of its reasons, and anyone can check theirs with a pencil."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from whole_records import (
    AS_OF,
    POLICY,
    RECORDS,
    Person,
    decided_together,
    engines,
    plain_consent,
    random_engine,
    read,
    towns,
)

import egretscore as es
from egretscore.explanation import reasons
from egretscore.scoring.publication import publication
from egretscore.scoring.scorecard import write_scorecard


@given(engines(), towns())
def test_blank_score_and_reasons_add_up_to_the_score(engine, town):
    records = read(town)
    columns = engine.score_columns(records, AS_OF, reasons=True)
    by_subject = dict(zip(columns["subject_id"], columns["score"].tolist(), strict=True))
    points = sum(columns[f"reason_{name}"] for name in engine.feature_names)
    assert (POLICY.scale.blank + points == columns["score"]).all()
    for person in town:
        explanation = engine.explain(records, person.subject_id, AS_OF)
        assert explanation.blank_score == POLICY.scale.blank
        assert explanation.score == by_subject[person.subject_id]
        assert explanation.score == explanation.blank_score + sum(reason.points for reason in explanation.reasons)
        assert all(reason.points for reason in explanation.reasons)
        *terms, total = printed_sum(explanation.text())
        assert sum(terms) == total == explanation.score


@given(engines(), towns())
def test_at_most_four_reasons_of_each_sign_are_named_the_weightiest(engine, town):
    records = read(town)
    for person in town:
        explanation = engine.explain(records, person.subject_id, AS_OF)
        before_the_sum = explanation.text().split("point by point\n")[0]
        _, *named = re.split("What holds it back most\n|What lifts it most\n", before_the_sum)
        for sign, of_these in zip((-1, +1), named, strict=True):
            of_sign = sorted((r.points for r in explanation.reasons if r.points * sign > 0), key=abs, reverse=True)
            told = [int(points) for points in re.findall(r"^ *([+-]\d+)  ", of_these, re.MULTILINE)]
            assert told == of_sign[:4]
            assert ("  nothing\n" in of_these) is (told == [])


@given(engines(), towns(), st.data())
def test_what_a_record_does_is_seen_by_leaving_it_out(engine, town, data):
    number = data.draw(st.integers(0, len(town) - 1))
    person = data.draw(decided_together(town[number]))
    records = read([*town[:number], person, *town[number + 1 :]])
    explained = engine.explain(records, person.subject_id, AS_OF)
    effects = engine.explain_each_record(records, person.subject_id, AS_OF)
    on_file: dict[tuple[str, str], date] = {}
    for table, named in RECORDS.items():
        for row in sorted(getattr(person, table), key=lambda row: row["recorded_on"]):
            if row["recorded_on"] <= AS_OF:
                on_file.setdefault((table, row[named]), row["recorded_on"])
    assert {(effect.table, effect.record_id): effect.recorded_on for effect in effects} == on_file
    assert len(effects) == len(on_file)
    weights = [abs(effect.points) for effect in effects]
    assert weights == sorted(weights, reverse=True)
    if effects:
        effect = data.draw(st.sampled_from(effects))
        others = person.without_record(effect.table, effect.record_id)
        without = engine.explain(read([*town[:number], others, *town[number + 1 :]]), person.subject_id, AS_OF)
        assert explained.score == without.score + effect.points
        vectors = zip(engine.feature_names, explained.vector, without.vector, strict=True)
        assert [feature.name for feature in effect.features] == [name for name, have, lack in vectors if have != lack]


def printed_sum(text: str) -> list[int]:
    """Read the numbers of the printed sum, the total last."""
    section = text.split("point by point\n")[1].split("= the score", maxsplit=1)[0]
    return [int(number) for number in re.findall(r"^ *([+-]?\d+)  ", section, re.MULTILINE)]


@given(engines())
def test_a_blank_file_has_the_blank_score_and_no_reasons(engine):
    blank = Person("p0", (plain_consent("p0"),))
    explanation = engine.explain(read([blank]), "p0", AS_OF)
    assert explanation.score == POLICY.scale.blank
    assert explanation.reasons == ()
    assert set(explanation.vector) == {0}


def by_pencil(scorecard: str, vector: dict[str, int]) -> int:
    """Work out a score from the published lines alone."""
    total = POLICY.scale.blank
    for line in csv.DictReader(io.StringIO(scorecard)):
        sides = [side for side in "ab" if line[f"feature_{side}"]]
        if all(
            int(line[f"from_{side}"]) <= vector[line[f"feature_{side}"]] <= int(line[f"to_{side}"]) for side in sides
        ):
            total += int(line["points"])
    return total


@given(engines(), towns())
def test_the_published_lines_give_the_score(engine, town):
    records = read(town)
    scorecard = write_scorecard(engine.model.scorecard)
    for person in town:
        explanation = engine.explain(records, person.subject_id, AS_OF)
        vector = dict(zip(engine.feature_names, explanation.vector, strict=True))
        assert by_pencil(scorecard, vector) == explanation.score


def vectors_of(engine: es.Engine, seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    features = engine.model.scorecard.features
    return np.column_stack([rng.integers(f.lowest, f.cap + 1, count) for f in features])


@given(st.integers(0, 12), st.integers(0, 1000))
def test_reasons_are_the_shapley_values_against_the_blank_file(seed, draw):
    """Compare with the definition: the mean over all orders, here for pairs of features at a time."""
    card = random_engine(seed).model.scorecard
    vectors = vectors_of(random_engine(seed), draw, 20)
    expected = np.zeros(vectors.shape)
    for table in card.log_odds.tables:
        f = table.features
        for row, vector in enumerate(vectors):
            for order in (f, f[::-1]) if len(f) == 2 else (f,):
                revealed = np.zeros(vectors.shape[1])
                before = 0.0
                for feature in order:
                    revealed[feature] = vector[feature]
                    cells = card.log_odds.cells(revealed[None, :])[:, 0]
                    now = table.values[tuple(cells[g] for g in f)]
                    expected[row, feature] += (now - before) / len(f)
                    before = now
    assert np.allclose(card.log_odds.reasons(vectors), expected, atol=1e-12)
    rounded = card.points.reasons(vectors)
    assert (card.points.totals(vectors) == POLICY.scale.blank + rounded.sum(axis=1)).all()


@given(engines())
def test_whole_points_of_two_features_are_shared_as_the_publication_says(engine):
    """For the row half, rounded down, of what it adds alone and beside the column; for the column the rest."""
    points = engine.model.scorecard.points
    for table in points.tables:
        if len(table.features) == 2:
            row, column = (points.baseline_cells[feature] for feature in table.features)
            g = table.values
            of_row = np.floor((g[:, [column]] + g - g[[row], :]) / 2)
            for found, expected in zip(points.shares(table), (of_row, g - of_row), strict=True):
                assert found.tolist() == expected.tolist()


@given(engines(), st.integers(0, 1000))
def test_a_sum_of_many_reasons_is_printed_whole(engine, draw):
    card, vectors = engine.model.scorecard, vectors_of(engine, draw, 1)
    found = reasons(card.features, vectors[0], card.reasons(vectors)[0])
    explanation = engine.explain(read([Person("p0", (plain_consent("p0"),))]), "p0", AS_OF)
    score = int(card.scores(vectors)[0])
    blank, *terms, total = printed_sum(replace(explanation, score=score, reasons=found).text())
    assert sorted(terms) == sorted(reason.points for reason in found)
    assert blank + sum(terms) == total == score


def by_printout(printed: str, vector: dict[str, int]) -> int:
    """Work out a score from the tables of the publication alone."""

    def holds(step: str, value: int) -> bool:
        first, _, last = step.partition(" to ")
        return int(first) <= value <= int(last or first)

    total = int(re.search(r"The score is (\d+) for an empty file", printed)[1])
    for heading, table in re.findall(r"^((?:Down: )?`.*)\n\n((?:\|.*\n)+)", printed, re.MULTILINE):
        *down, across = re.findall(r"(?:^|Down: |Across: )`(\w+)`", heading)
        steps, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        (column,) = (at for at, step in enumerate(steps) if step and holds(step, vector[across]))
        (row,) = (cells for cells in rows if not down or holds(cells[0], vector[down[0]]))
        total += int(row[column])
    return total


@given(engines(), st.integers(0, 1000))
def test_the_printed_tables_give_the_score(engine, draw):
    printed = publication(engine.model)
    vectors = vectors_of(engine, draw, 20)
    for vector, score in zip(vectors.tolist(), engine.model.scorecard.scores(vectors).tolist(), strict=True):
        assert by_printout(printed, dict(zip(engine.feature_names, vector, strict=True))) == score


@given(engines(), st.integers(0, 1000))
def test_no_score_is_ever_clipped(engine, draw):
    scores = engine.model.scorecard.scores(vectors_of(engine, draw, 500))
    least, greatest = engine.model.scorecard.points.bounds()
    assert POLICY.scale.minimum <= least <= scores.min()
    assert scores.max() <= greatest <= POLICY.scale.maximum
