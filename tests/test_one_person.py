"""One person is explained as they are scored among all: the same query, asked of two databases."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_records import AS_OF, Person, engines, frames, plain_consent, read, towns, write_with_broken_rows

import egretscore as es
from egretscore.explanation import Reason, reasons
from egretscore.features import Aggregate
from egretscore.records.database import asking
from egretscore.records.one_person import small_database


def assert_each_is_explained_as_scored(engine: es.Engine, records: es.Records, day) -> None:
    columns = engine.score_columns(records, day, vectors=True, reasons=True)
    for position, subject in enumerate(columns["subject_id"].tolist()):
        explained = engine.explain(records, subject, day)
        assert explained.status.value == columns["status"][position]
        assert explained.score == columns["score"].tolist()[position]
        assert list(explained.vector) == [
            columns[name].tolist()[position] for name in engine.feature_names if explained.score is not None
        ]
        points = {reason.feature.name: reason.points for reason in explained.reasons}
        for name in engine.feature_names:
            if explained.score is not None:
                assert points.get(name, 0) == columns[f"reason_{name}"][position]


@given(towns(consented=False), engines(), st.integers(-100, 900))
def test_one_person_is_explained_as_among_all(town, engine, days):
    assert_each_is_explained_as_scored(engine, read(town), AS_OF - timedelta(days=days))


@given(towns(), engines(), st.data())
@settings(max_examples=20)
def test_so_are_those_whose_records_are_in_doubt(town, engine, data):
    with tempfile.TemporaryDirectory() as scratch:
        write_with_broken_rows(data.draw, town, Path(scratch))
        assert_each_is_explained_as_scored(engine, es.read_records(scratch, policy=engine.policy, threads=1), AS_OF)


def test_all_of_the_sample_town_are_explained_as_scored(engine, sample):
    columns = engine.score_columns(sample, "2026-10-31")
    scores = [engine.explain(sample, subject, "2026-10-31").score for subject in columns["subject_id"].tolist()]
    assert scores == columns["score"].tolist()


def test_of_nobody_on_file_is_nothing_known(engine, sample):
    for nobody in ("nobody", "zzz", "!", "白鹭", "\ud800"):
        assert engine.explain(sample, nobody, "2026-10-31").status is es.Status.NOT_CONSENTED


def test_many_threads_at_once_hear_what_one_hears(engine, tmp_path):
    es.keep_records(es.sample_records(), tmp_path / "kept")
    for source in (es.sample_records(), tmp_path / "kept"):
        records = es.read_records(source)
        subjects = engine.score_columns(records, "2026-10-31")["subject_id"].tolist()[::9]
        asked = subjects * 4
        fresh = repeat(es.read_records(source))  # so that the threads meet where everyone's rows are laid out
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(engine.explain, fresh, asked, repeat("2026-10-31")))
        assert together == [engine.explain(records, subject, "2026-10-31") for subject in subjects] * 4


def test_who_is_erased_is_unknown_to_every_thread(engine):
    records = es.read_records(es.sample_records())
    subject = records.invented["subject_id"]
    assert engine.explain(records, subject, "2026-10-31").score is not None
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(engine.explain, records, subject, "2026-10-31") for _ in range(200)]
        assert records.erase(subject) > 0
        statuses = {explained.result().status for explained in asking}
    assert statuses <= {es.Status.SCORED, es.Status.NOT_CONSENTED}
    assert engine.explain(records, subject, "2026-10-31").status is es.Status.NOT_CONSENTED


def test_the_database_of_a_thread_is_closed_with_it(engine, sample, monkeypatch):
    """From Python 3.13 on, a warning tells of one that is not."""
    closed = []

    class Told(small_database._ClosedAtTheEnd):
        def close(self) -> None:
            closed.append(id(self))
            super().close()

    monkeypatch.setattr(small_database, "_ClosedAtTheEnd", Told)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(engine.explain, sample, sample.invented["subject_id"], "2026-10-31").result()
    gc.collect()
    assert len(closed) == 1


def test_nothing_of_a_person_stays_in_the_small_database(engine, sample):
    engine.explain(sample, sample.invented["subject_id"], "2026-10-31")
    database = small_database._connection()
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        assert database.execute(f'SELECT count(*) FROM "{table}"').fetchone() == (0,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_a_small_database_of_its_own(engine, sample):
    rows = sample.rows_of(sample.invented["subject_id"])
    before = small_database.ask(rows, engine._person_sql, AS_OF)
    parents = small_database._connection()
    child = os.fork()
    if not child:
        same = small_database.ask(rows, engine._person_sql, AS_OF) == before
        os._exit(0 if same and small_database._connection() is not parents else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_of_invented_records_or_an_invented_model_says_so(engine, sample):
    real = es.Engine(replace(engine.model, invented=False))
    somebody = es.read_records(frames([Person("p0", (plain_consent("p0"),))]))
    for one, records, invented in (
        (engine, somebody, True),
        (real, sample, True),
        (real, somebody, False),
    ):
        explanation = one.explain(records, "p0", AS_OF)
        assert explanation.invented is invented
        assert explanation.to_dict()["model"]["invented"] is invented
        assert ("Note: " in explanation.text()) is invented


def test_an_explanation_in_a_language_without_texts_is_an_error(engine, sample):
    scored = engine.explain(sample, sample.invented["subject_id"], AS_OF)
    for ask in (scored.to_dict, scored.text, scored.to_shap, engine.explain(sample, "nobody", AS_OF).to_dict):
        for lang in ("fr", "id"):
            with pytest.raises(es.ArgumentError, match="no texts in this language"):
                ask(lang)


def test_equal_explanations_are_one_in_a_set(engine, sample):
    asked = [sample.invented["subject_id"], sample.invented["subject_id"], "nobody"]
    assert len({engine.explain(sample, subject, AS_OF) for subject in asked}) == 2


def test_who_is_scored_reads_how_to_object(engine, sample):
    explained = engine.explain(sample, sample.invented["subject_id"], AS_OF)
    assert explained.text("en").endswith(" while an objection is open the record does not count against you.\n")
    assert "异议" in explained.text("zh").splitlines()[-1]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_values_for_shap_are_the_points_of_each_feature(engine, sample, lang):
    explained = engine.explain(sample, sample.invented["subject_id"], AS_OF)
    shown = explained.to_shap(lang)
    assert shown.base_values == explained.blank_score == 550
    assert shown.base_values + shown.values.sum() == explained.score
    points = {getattr(reason.feature, lang): reason.points for reason in explained.reasons}
    assert {name: value for name, value in zip(shown.feature_names, shown.values, strict=True) if value} == points
    assert tuple(shown.data) == explained.vector
    with pytest.raises(es.ArgumentError, match="'not_consented': a person who is not scored has no reasons to plot"):
        engine.explain(sample, "nobody", AS_OF).to_shap(lang)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_json_says_what_the_explanation_says(engine, sample, lang):
    explained = engine.explain(sample, sample.invented["subject_id"], AS_OF)
    made = explained.to_dict(lang)
    assert (made["subject_id"], made["as_of"]) == (explained.subject_id, AS_OF.isoformat())
    assert made["model"] == {"name": engine.name, "sha256": engine.sha256, "invented": True}
    vector = dict(zip(engine.feature_names, explained.vector, strict=True))
    for told, reason in zip(made["reasons"], explained.reasons, strict=True):
        assert (told["feature"], told["code"]) == (reason.feature.name, reason.feature.code)
        assert (told["value"], told["points"]) == (vector[reason.feature.name], reason.points)
        assert told["text"] == reason.text(lang)
    for told, benefit in zip(made["benefits"], engine.policy.benefits, strict=True):
        assert told["name"] == getattr(benefit, lang)
        assert told["ordinary_route"] == getattr(benefit, f"route_{lang}")


def test_a_reason_in_words_says_its_value_and_how_it_is_weighted(engine):
    """A weighted sum is no number of records, and one that reached its cap is no sum either."""
    weighted = "weighted by age: 2 times while under 90 days old"
    for aggregate, weights, said in (
        (Aggregate.RATE, ((90, 1),), ": +7 in a thousand, in the last 90 days"),
        (Aggregate.COUNT, ((90, 1),), ": 7, in the last 90 days"),
        (Aggregate.COUNT, ((90, 2),), f": 7, {weighted}"),
        (Aggregate.COUNT, ((90, 2), (365, 3)), f": 7, {weighted}, 3 times while under 365"),
        (Aggregate.COUNT, ((90, 2), (365, 1)), f": 7, {weighted}, once while under 365"),
        (Aggregate.COUNT, ((90, 2), (365, 1)), f": 12 (the most that counts), {weighted}, once while under 365"),
        (Aggregate.COUNT, ((90, 1), (365, 1)), ": 7, in the last 365 days"),
        (Aggregate.MONTHS, ((90, 2), (365, 1)), ": 7 months, in the last 365 days"),
        (Aggregate.VARIETY, ((90, 2), (365, 1)), ": 7, in the last 365 days"),
        (Aggregate.RATE, ((90, 1),), ": -40 in a thousand, in the last 90 days"),
        (Aggregate.RATE, ((90, 2),), f": -40 in a thousand, {weighted}"),
    ):
        feature = next(of for of in engine.model.scorecard.features if of.aggregate is aggregate)
        prior = feature.prior and replace(feature.prior, against=weights)
        value = int(said.split()[1].rstrip(","))
        assert Reason(replace(feature, weights=weights, prior=prior, cap=12), value, -5).text() == feature.en + said


def test_a_rate_says_what_weighs_for_it_and_what_against(engine):
    feature = next(of for of in engine.model.scorecard.features if of.aggregate is Aggregate.RATE)
    for against, said in (
        (((90, 3), (365, 1)), "3 times while under 90 days old, once while under 365"),
        (((365, 1),), "once while under 365 days old"),
    ):
        apart = replace(feature, weights=((90, 1),), prior=replace(feature.prior, against=against))
        both = f"once while under 90 days old; and for what was not kept in time: {said}"
        assert Reason(apart, 7, 5).text().endswith(f": +7 in a thousand, weighted by age: {both}")


def test_reasons_of_equal_weight_stand_in_the_order_of_their_codes(engine):
    features = sorted(engine.model.scorecard.features, key=lambda feature: feature.code, reverse=True)
    found = reasons(features, [1] * len(features), [feature.direction * 5 for feature in features])
    assert [reason.feature for reason in found] == features[::-1]


def test_chinese_is_written_with_chinese_signs(engine, sample):
    columns = engine.score_columns(sample, AS_OF)
    someone_of_each = dict(zip(columns["status"].tolist(), columns["subject_id"].tolist(), strict=True))
    assert set(someone_of_each) == {status.value for status in es.Status}
    for subject in someone_of_each.values():
        text = engine.explain(sample, subject, AS_OF).text("zh")
        assert not set("(),:;") & set(text)
        assert "。 " not in text


FORKED = """
import os, sys
import egretscore as es
engine, records = es.load_engine(), es.read_records(sys.argv[1])
if "everyone" in sys.argv:
    engine.score(records, "2026-10-31")
child = os.fork()
if not child:
    engine.explain(records, sys.argv[2], "2026-10-31")
    sys.exit(0)  # not os._exit: everything is taken down, as a server does with its workers
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("are_kept", [False, True])
@pytest.mark.parametrize("asked", ["nobody", "everyone"])
def test_a_forked_process_ends_as_any_other(sample, are_kept, asked, tmp_path):
    folder = es.sample_records()
    if are_kept:
        es.keep_records(folder, tmp_path / "kept")
        folder = tmp_path / "kept"
    given = [str(folder), sample.invented["subject_id"], asked]
    ended = subprocess.run([sys.executable, "-c", FORKED, *given], check=False, timeout=120)
    assert ended.returncode == 0


def test_what_interrupts_a_question_is_an_interrupt(engine, sample, monkeypatch):
    """A loop that passes over errors could not be stopped otherwise."""

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    subject = sample.invented["subject_id"]
    with monkeypatch.context() as patched:
        connection = small_database._connection()
        patched.setattr(small_database, "_connection", lambda: connection)
        connection.create_function("bit_count", 1, interrupted, deterministic=True)
        try:
            with pytest.raises(KeyboardInterrupt):
                engine.explain(sample, subject, AS_OF)
        finally:
            connection.create_function("bit_count", 1, small_database._bit_count, deterministic=True)
    with pytest.raises(KeyboardInterrupt), asking():
        raise duckdb.InterruptException
    assert engine.explain(sample, subject, AS_OF).score is not None
