"""Training: the same bytes for the same records and seed, honest splits, and people who may be learnt from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole_records import AS_OF, POLICY, Person, frames, plain_consent, read, settled_commitment

import egretscore as es
from egretscore.audit import calibration_error, check_chances, measure, two_weighted_rows
from egretscore.dates import as_day
from egretscore.policy import parse_policy
from egretscore.scoring.bundle import bundle_files
from egretscore.training.snapshots import Snapshots, take_snapshots
from egretscore.training.train import FEWEST_PEOPLE_IN_A_LEAF, _check_dates, _split

DATES = ("2024-09-01", "2025-10-01")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("town") / "town"
    es.simulate_town(4000, folder, seed=3, file_format="parquet")
    return folder


@pytest.fixture(scope="module")
def town(folder) -> es.Records:
    return es.read_records(folder)


@pytest.fixture(scope="module")
def model(town) -> es.Model:
    return es.train(town, DATES, seed=1)


def test_the_same_records_and_seed_give_the_same_bytes(town, model):
    again = es.train(town, reversed(DATES), seed=1)
    assert bundle_files(again) == bundle_files(model)
    assert again.sha256 == model.sha256
    assert es.train(town, DATES, seed=2).sha256 != model.sha256


def test_an_older_processor_gives_the_same_bytes(folder, model):
    """numpy and OpenBLAS sum in other orders on other processors: here, where it is an x86, as on one of 2008."""
    faster_ways = np._core._multiarray_umath.__cpu_dispatch__  # type: ignore[attr-defined]  # says so nowhere else
    older = {"NPY_DISABLE_CPU_FEATURES": " ".join(faster_ways), "OPENBLAS_CORETYPE": "Nehalem"}
    train = "import sys, egretscore as es; print(es.train(es.read_records(sys.argv[1]), sys.argv[2:], seed=1).sha256)"
    command = [sys.executable, "-c", train, str(folder), *DATES]
    there = subprocess.run(command, env=os.environ | older, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == model.sha256


def test_no_leaf_rests_on_fewer_than_twenty_people(town, model):
    """Count again, from the snapshots and the forest, apart from the code that promises it."""
    features = model.scorecard.features
    dates = [as_day(day) for day in DATES]
    snapshots = take_snapshots(town, features, model.policy, dates, 365)
    learn, _, _ = _split(snapshots, dates, 1)
    people = snapshots.subject_ids[learn]
    leaves = lgb.Booster(model_str=model.forest).predict(snapshots.vectors[learn].astype(float), pred_leaf=True)
    fewest = min(len(set(people[tree == leaf])) for tree in np.asarray(leaves, dtype=int).T for leaf in np.unique(tree))
    assert fewest == model.training["smallest_leaf_people"] >= FEWEST_PEOPLE_IN_A_LEAF


def test_validation_is_on_later_dates_and_other_people(town, model):
    dates = [as_day(day) for day in DATES]
    snapshots = take_snapshots(town, model.scorecard.features, model.policy, dates, 365)
    learn, hold_out, later = _split(snapshots, dates, 1)
    assert later
    assert not (learn & hold_out).any()
    assert not set(snapshots.subject_ids[learn]) & set(snapshots.subject_ids[hold_out])
    assert snapshots.as_of[learn].max() < snapshots.as_of[hold_out].min()
    assert model.report.later
    assert model.report.held_out["as_of"] == [DATES[-1]]
    assert model.report.overlap_days == 0


def test_the_report_says_when_outcomes_overlap_the_date_held_out(town):
    report = es.train(town, ["2025-07-01", DATES[-1]]).report
    grace = es.shipped_policy().commitments.grace_days
    assert report.overlap_days == 365 - 92 + grace + 1
    assert f"became known {report.overlap_days} days after" in str(report)


def test_with_one_date_the_report_says_so(town):
    report = es.train(town, [DATES[0]]).report
    assert not report.later
    assert "no later date was given" in str(report)


def test_the_report_says_what_the_issue_asks(model):
    text = str(model.report)
    for name in ("score", "unrounded", "logistic_regression", "lightgbm_unconstrained"):
        assert re.search(rf"^{name} +0\.\d{{4}} +0\.\d{{4}} +0\.\d{{4}} +0\.\d{{4}}$", text, re.MULTILINE)
    assert len(model.report.measures["score"].calibration) == 10
    assert len(re.findall(r"^[\d,]+ snapshots  ", text, re.MULTILINE)) == 10


def test_a_model_fresh_from_training_is_the_one_that_is_read_back(model, tmp_path):
    model.save(tmp_path / "model")
    again = es.load_engine(tmp_path / "model").model
    names = tuple(feature.name for feature in model.scorecard.features)
    for card in (model.scorecard, again.scorecard):
        assert card.points.feature_names == card.log_odds.feature_names == names
    assert f"feature_names={' '.join(names)}" in model.forest
    assert again.sha256 == model.sha256
    assert again.report == model.report
    assert again == model != es.load_engine().model
    assert len({again, model}) == 1


def test_every_tree_lives_in_one_pair_of_features(model):
    forest = lgb.Booster(model_str=model.forest).dump_model()

    def features(node: dict) -> set[int]:
        if "split_feature" not in node:
            return set()
        return {node["split_feature"]} | features(node["left_child"]) | features(node["right_child"])

    used = [frozenset(features(tree["tree_structure"])) for tree in forest["tree_info"]]
    names = [feature.name for feature in model.scorecard.features]
    chosen = {frozenset(names.index(name) for name in pair) for pair in model.training["pairs"]}
    assert all(len(pair) < 2 or pair in chosen for pair in used)


def test_rounding_to_whole_points_costs_nothing_to_speak_of(model):
    measures = model.report.measures
    assert abs(measures["score"].auc - measures["unrounded"].auc) < 0.002


def test_outcomes_are_shares_kept_in_time_of_what_was_open(town, model):
    """Work the outcomes of some people out again, row by row."""
    day, horizon, grace = as_day(DATES[0]), 365, model.policy.commitments.grace_days
    snapshots = take_snapshots(town, model.scorecard.features, model.policy, [day], horizon)
    database = town.connect()
    known_on = day + timedelta(days=horizon + grace + 1)
    for subject, kept in list(zip(snapshots.subject_ids, snapshots.kept, strict=True))[:150]:
        rows = database.execute(
            "SELECT commitment_id, due_on, outcome, outcome_on, recorded_on FROM commitments WHERE subject_id = ?",
            [subject],
        ).fetchall()
        objections = database.execute(
            "SELECT record_id, filed_on, resolved_on, outcome FROM objections "
            "WHERE \"table\" = 'commitments' AND subject_id = ?",
            [subject],
        ).fetchall()
        disputed = {
            record
            for record, filed, resolved, outcome in objections
            if filed <= known_on and (resolved is None or resolved > known_on or outcome == "upheld")
        }
        ends = []
        for record, due, outcome, outcome_on, recorded in rows:
            if not day < due <= day + timedelta(days=horizon) or recorded > known_on:
                continue
            if outcome_on is not None and outcome_on <= day:
                continue
            in_time = outcome == "fulfilled" and outcome_on <= min(known_on, due + timedelta(days=grace))
            if in_time or record not in disputed:
                ends.append(in_time)
        assert kept == pytest.approx(sum(ends) / len(ends))


@pytest.mark.parametrize(
    ("due", "outcome", "kept"),
    [
        (0, 1, None),
        (1, 1, 1),
        (365, 365, 1),
        (366, 366, None),
        (9, 0, None),
        (9, 1, 1),
        (365, 365 + POLICY.commitments.grace_days, 1),
        (365, 365 + POLICY.commitments.grace_days + 1, 0),
    ],
)
def test_a_snapshot_is_of_what_was_open_on_its_day_and_falls_due_in_its_horizon(engine, due, outcome, kept):
    """So many days after it; what is kept in the last day of grace is kept in time."""
    row = settled_commitment(
        "p0", "library_loan", AS_OF + timedelta(days=due), "fulfilled", AS_OF + timedelta(days=outcome)
    )
    made = AS_OF - timedelta(days=300)
    person = Person("p0", (plain_consent("p0"),), commitments=({**row, "made_on": made, "recorded_on": made},))
    found = take_snapshots(read([person]), engine.model.scorecard.features, POLICY, [AS_OF], 365)
    assert list(found.kept) == ([] if kept is None else [kept])


def test_snapshots_are_known_by_their_dates_vectors_and_outcomes():
    one = Snapshots(
        np.array(["p0"], dtype=object),
        np.array(["2025-01-01"], dtype="datetime64[D]"),
        np.array([[1]], dtype=np.int32),
        np.array([0.5]),
    )
    others = (
        replace(one, as_of=one.as_of + 1),
        replace(one, vectors=one.vectors + 1),
        replace(one, kept=one.kept + 0.1),
    )
    assert len({each.fingerprint for each in (one, *others)}) == 4
    assert replace(one, subject_ids=np.array(["p1"], dtype=object)).fingerprint == one.fingerprint


def test_whole_numbers_of_numpy_are_whole_numbers(town, model):
    again = es.train(town, DATES, horizon_days=np.int64(365), seed=np.int64(1))
    assert bundle_files(again) == bundle_files(model)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"as_of": []}, es.ArgumentError, "as-of date"),
        ({"as_of": ["yesterday"]}, es.ArgumentError, "yesterday"),
        ({"as_of": 2025}, es.ArgumentError, "'2025': as_of is not a date"),
        ({"as_of": None}, es.ArgumentError, "as_of is not a date"),
        ({"as_of": DATES, "horizon_days": 0}, es.ArgumentError, "horizon_days"),
        ({"as_of": DATES, "horizon_days": 365.0}, es.ArgumentError, "horizon_days"),
        ({"as_of": DATES, "horizon_days": 3654}, es.ArgumentError, "horizon_days"),
        ({"as_of": DATES, "seed": -1}, es.ArgumentError, "seed"),
        ({"as_of": DATES, "seed": 2**31}, es.ArgumentError, "seed"),
        ({"as_of": DATES, "seed": True}, es.ArgumentError, "seed"),
        ({"as_of": DATES, "seed": np.float64(1)}, es.ArgumentError, "seed"),
        ({"as_of": ["2031-01-01"]}, es.TrainingError, "records end before"),
        ({"as_of": ["2025-11-15"]}, es.TrainingError, "records end before"),
        ({"as_of": ["2021-01-01"]}, es.TrainingError, "only 0 people"),
    ],
)
def test_what_cannot_train_is_a_clear_error(town, arguments, error, says):
    with pytest.raises(error, match=says):
        es.train(town, **arguments)


def test_the_last_date_of_a_snapshot_is_the_one_whose_outcomes_are_known_as_the_records_end(town):
    last = town.last_day - timedelta(days=365 + POLICY.commitments.grace_days + 1)
    _check_dates(town, [last], 365, POLICY)
    with pytest.raises(es.TrainingError, match=f"as-of dates up to {last} "):
        _check_dates(town, [last + timedelta(days=1)], 365, POLICY)


def town_whose_commitments_end(count: int, *outcomes: str) -> es.Records:
    """Invent people with one commitment each, whose outcomes take turns, and one later record."""
    due = date(2025, 3, 1)
    people = [
        Person(
            f"p{number}",
            (plain_consent(f"p{number}"),),
            commitments=(settled_commitment(f"p{number}", "library_loan", due, outcomes[number % len(outcomes)], due),),
        )
        for number in range(count)
    ]
    day = date(2026, 3, 1)
    later = {**settled_commitment("p0", "library_loan", day, "fulfilled", day), "commitment_id": "later"}
    return read([people[0].with_row("commitments", later), *people[1:]])


@pytest.mark.parametrize(
    ("count", "outcomes", "says"),
    [
        (900, ["fulfilled"], "of the people to learn from ended alike"),
        (900, ["unfulfilled"], "of the people to learn from ended alike"),
        (400, ["fulfilled", "unfulfilled"], "people to hold out consented"),
    ],
)
def test_people_who_are_too_few_or_too_much_alike_cannot_train(count, outcomes, says):
    with pytest.raises(es.TrainingError, match=says):
        es.train(town_whose_commitments_end(count, *outcomes), "2025-01-01")


def test_commitments_that_nearly_all_ended_alike_train_without_a_warning():
    """Of the people held out one did not keep theirs: half of them, over which chances are checked, ended alike."""
    report = es.train(town_whose_commitments_end(900, *["fulfilled"] * 299, "unfulfilled"), "2025-01-01", seed=1).report
    assert report.held_out["people"] * (1 - report.held_out["kept"]) == pytest.approx(1, abs=1e-3)
    assert 0 < report.chances.stated_error < 0.01


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_of_outcomes_that_are_all_alike_it_is_not_measured_how_well_they_are_told_apart(engine, outcome):
    chance = np.linspace(0.2, 0.8, 10)
    found = measure(np.full(10, outcome), chance)
    assert (found.auc, found.ks) == (None, None)
    assert found.calibration_error == calibration_error(np.full(10, outcome), chance) == 0.5
    report = replace(engine.model.report, measures={"score": found})
    assert re.search(r"^score +none +none +0\.\d{4} +0\.5000$", str(report), re.MULTILINE)
    assert "AUC none" in repr(report)


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)), st.integers(0, 9))
def test_the_calibration_error_is_the_same_measured_alone(kept, seed):
    chance = np.random.default_rng(seed).random(len(kept)).round(1)
    assert calibration_error(kept, chance) == measure(kept, chance).calibration_error


@given(st.integers(2, 200), st.integers(0, 9))
def test_an_isotonic_fit_is_measured_on_the_half_it_did_not_learn_from(count, seed):
    """Here the halves are each other's opposite, so that what fits one is all wrong for the other."""
    kept = (np.random.default_rng(seed).random(count) < 1 / 2).astype(float)
    assume(0 < kept.sum() < count)
    alike = np.full(count, 550)
    assert check_chances(alike, kept, kept, seed).isotonic_error == 1
    assert check_chances(alike, kept, kept, seed).stated_error == 0


def test_days_of_grace_beyond_the_calendar_are_a_clear_error(town):
    policy = parse_policy(town.policy.text.replace("grace_days = 3", "grace_days = 1000000"))
    with pytest.raises(es.TrainingError, match=r"less than 1,000,366 days of horizon and grace.*fewer grace_days"):
        es.train(town, DATES, policy=policy)


def test_records_without_commitments_are_told_to_have_none():
    consents_alone = [Person("p0", (plain_consent("p0"),))]
    for people in ([], consents_alone):
        with pytest.raises(es.TrainingError, match="no commitments to learn from"):
            es.train(es.read_records(frames(people)), DATES)


def test_a_scale_without_room_for_the_tables_is_a_clear_error(town):
    policy = parse_policy(town.policy.text.replace("blank = 550", "blank = 2"))
    with pytest.raises(es.TrainingError, match="each may take half a point"):
        es.train(town, DATES, policy=policy)


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1)))
def test_two_weighted_rows_say_what_the_share_said(kept):
    of, outcome, weight = two_weighted_rows(kept)
    assert (weight > 0).all()
    assert np.bincount(of, weight) == pytest.approx(np.ones(len(kept)))
    assert np.bincount(of, weight * outcome) == pytest.approx(kept)


def test_chances_that_differ_in_their_last_bits_are_equal():
    """A peer's sums of equal rows may do so."""
    kept = np.tile([0.0, 1.0], 50)
    chance = np.where(kept > 0, np.nextafter(0.7, 1.0), 0.7)
    found = measure(kept, chance)
    assert (found.auc, found.ks, len(found.calibration)) == (0.5, 0.0, 1)
