"""The policy: dated, sourced, and unable to say what breaks a promise."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest
from whole_records import POLICY

import egretscore as es
from egretscore.policy import parse_policy, read_policy
from egretscore.scored import _grades


def test_every_entry_of_the_shipped_policy_names_a_source():
    assert "assumption" in POLICY.sources
    for section in (
        "grades",
        "indicators",
        "letters",
        "activities",
        "severities",
        "categories",
        "groups",
        "kinds",
        "benefits",
    ):
        assert all(entry.source in POLICY.sources for entry in getattr(POLICY, section))


def test_the_known_facts_are_as_published():
    thresholds = {benefit.id: (benefit.min_score, benefit.source) for benefit in POLICY.benefits}
    assert thresholds["library_no_deposit"] == (600, "port-xm-2023")
    assert thresholds["roadside_pay_later"] == (530, "port-xm-2023")
    assert thresholds["haicang_parking_discount"] == (680, "haicang-2018")
    assert thresholds["car_park_pay_later"] == (650, "port-xm-2023")
    assert thresholds["bike_no_deposit"] == (680, "qzcns-2019")
    assert [grade.zh for grade in POLICY.grades] == ["极好", "优秀", "良好", "一般", "不良"]
    assert (POLICY.scale.minimum, POLICY.scale.blank, POLICY.scale.maximum) == (0, 550, 1000)
    assert {s.id: s.retention_days for s in POLICY.severities} == {"minor": 0, "general": 365, "serious": 1095}


def test_what_no_source_states_is_marked_as_an_assumption():
    assert {grade.source for grade in POLICY.grades} == {"assumption"}
    assert POLICY.scale.source == POLICY.commitments.source == POLICY.weights_by_age.source == "assumption"


EMPTY_GROUP = (
    '[[groups]]\nid = "empty"\nindicator = "use"\nzh = "空"\nen = "empty"\nsource = "assumption"\n\n[[groups]]'
)
FERRY = '[[kinds]]\nid = "ferry_{}"\ngroup = "convenience"\nzh = "轮渡"\nen = "ferry"\nsource = "assumption"\n\n'
FERRIES = "".join(map(FERRY.format, range(63))) + "[[kinds]]"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "minor"\nretention_days = 0', 'id = "minor"\nretention_days = 30', "promise 4"),
        ("retention_days = 1095", "retention_days = 2000", "1825"),
        ("unkept_retention_days = 730", "unkept_retention_days = 2000", "1825"),
        ('id = "general"\nretention_days = 365', 'id = "general"\nretention_days = 0', "it may be 1 to 1825"),
        ("unkept_retention_days = 730", "unkept_retention_days = 100", "shorter for the worse"),
        ("late_retention_days = 365", "late_retention_days = 400", "shorter for the worse"),
        ("late_retention_days = 365", "late_retention_days = 0", "shorter for the worse"),
        ("prior_weight = 12", "prior_weight = 0", "blank file"),
        ("prior_weight = 12", "prior_weight = 1000001", "whole number from 0 to 1000000"),
        ("prior_permille = 850", "prior_permille = 1001", "at most 1000"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 1], [730, 2]]", "never grow with age"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[90, 1], [180, 3], [365, 1]]", "never grow with age"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[730, 2], [365, 1]]", "ages must grow"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 2], [3650, 1]]", "1825"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 2.5]]", "steps such as"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = []", "steps such as"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 101], [730, 1]]", "must be 1 to 100"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 2], [730, 0]]", "must be 1 to 100"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[0, 2], [730, 1]]", "ages must grow, from 1"),
        ("unkept = [[365, 2], [730, 1]]", "unkept = [[365, 2], [365, 1]]", "ages must grow"),
        ("blank = 550", "blank = 1000", "between minimum and maximum"),
        ("blank = 550", 'blank = "550"', "whole number"),
        ("blank = 550", "blank = true", "whole number"),
        ("blank = 550", "blank = -1", "whole number from 0"),
        ("blank = 550", "blanc = 550", "Did you mean 'blank'"),
        ("min_score = 0\n", "min_score = 10\n", "every score has one grade"),
        ("min_score = 600\n", "min_score = 500\n", "different minima"),
        ("points_to_double_odds = 100", "points_to_double_odds = 0", "at least 1"),
        ("min_score = 530", "min_score = 1001", "outside the scale"),
        ("min_score = 800", "min_score = 1001", "outside the scale"),
        ('source = "port-xm-2023"', 'source = "hearsay"', "hearsay"),
        ("[sources]\n", '[sources]\nempty = ""\n', "each source as a key and a text"),
        ('en = "excellent"', 'en = "\\u200b"', "a text"),
        ('severity = "general"', 'severity = "grave"', "grave"),
        ('group = "repair"', 'group = "mending"', "mending"),
        ('indicator = "use"', 'indicator = "usage"', "usage"),
        ("[[groups]]", EMPTY_GROUP, "no group with a kind 'empty'"),
        pytest.param("[[kinds]]", FERRIES, "more than 62 entries", id="more kinds than there may be"),
        ('purposes = ["scoring"]', 'purposes = ["ranking"]', "ranking"),
        ('id = "waste_sorting"', 'id = "volunteering"', "more than once"),
        ('id = "waste_sorting"', 'id = "Waste\'; DROP"', "lower-case"),
        ("valid_from = 2026-04-01", 'valid_from = "soon"', "a date"),
        ("[scale]", "[scale", "not valid TOML"),
        pytest.param("blank = 550", f"blank = {'9' * 5000}", "not valid TOML", id="a number too long for Python"),
        pytest.param("[[365, 2], [730, 1]]", "[" * 5000 + "]" * 5000, "not valid TOML", id="lists too deep for it"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused_by_name(old, new, says):
    assert old in POLICY.text
    with pytest.raises(es.PolicyError, match=says):
        parse_policy(POLICY.text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("section", "gone", "instead", "says"),
    [
        ("severities", "minor", "general", "must be exactly"),
        ("indicators", "breach", "positive", "no indicator that features stand under 'breach'"),
    ],
)
def test_a_policy_lacks_nothing_that_is_counted_by_though_it_names_it_nowhere_else(section, gone, instead, says):
    without = re.sub(rf'\[\[{section}\]\]\nid = "{gone}"\n(\w.*\n)*', "", POLICY.text)
    assert len(without) < len(POLICY.text)
    with pytest.raises(es.PolicyError, match=says):
        parse_policy(re.sub(rf'(?m)^(severity|indicator) = "{gone}"', rf'\1 = "{instead}"', without))


def test_a_policy_file_that_cannot_be_read_is_a_clear_error(tmp_path):
    with pytest.raises(es.PolicyError, match=r"gone\.toml"):
        read_policy(tmp_path / "gone.toml")
    (tmp_path / "odd.toml").write_bytes("名 = 1".encode("gb18030"))
    with pytest.raises(es.PolicyError, match="UTF-8"):
        read_policy(tmp_path / "odd.toml")


def test_the_mark_that_some_editors_put_first_is_no_part_of_a_policy(tmp_path):
    (tmp_path / "marked.toml").write_text(POLICY.text, encoding="utf-8-sig", newline="")
    assert read_policy(tmp_path / "marked.toml") == POLICY


def test_a_date_before_a_policy_is_in_force_is_scored_under_its_rules(engine, sample):
    """As docs/policy.md says."""
    subject = sample.invented["subject_id"]
    assert engine.explain(sample, subject, POLICY.valid_from - timedelta(days=1)).status is es.Status.SCORED


def test_of_everyone_at_once_grades_are_those_of_each():
    scores = np.ma.MaskedArray(np.arange(1001), mask=np.arange(1001) % 7 == 0)
    expected = [None if score is np.ma.masked else POLICY.grade_of(int(score)).id for score in scores]
    assert _grades(scores, POLICY).to_pylist() == expected


def test_every_score_has_one_grade():
    assert [POLICY.grade_of(score).id for score in (0, 499, 500, 599, 600, 679, 680, 799, 800, 1000)] == [
        *("poor", "poor", "fair", "fair", "good", "good", "very_good", "very_good", "excellent", "excellent"),
    ]


def test_records_of_another_policy_are_not_scored_in_silence(engine):
    from whole_records import Person, frames, plain_consent

    other = parse_policy(POLICY.text.replace('id = "volunteering"', 'id = "gardening"'))
    records = es.read_records(frames([Person("p0", (plain_consent("p0"),))]), policy=other)
    with pytest.raises(es.RecordsError, match="gardening"):
        engine.explain(records, "p0", "2026-10-31")
