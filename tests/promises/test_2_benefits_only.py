"""Promise 2: benefits only. Granted, or not yet and the ordinary route that stays open."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import AS_OF, POLICY, engines, read, towns

import egretscore as es
from egretscore.benefits import decide, opened_by
from egretscore.policy import Benefit, parse_policy


@given(st.integers(0, 999), st.integers(0, 1000))
def test_a_higher_score_never_closes_a_convenience(score, more):
    lower = decide(POLICY.benefits, score)
    higher = decide(POLICY.benefits, min(1000, score + more))
    assert all(not a.eligible or b.eligible for a, b in zip(lower, higher, strict=True))


@pytest.mark.parametrize("benefit", POLICY.benefits, ids=lambda benefit: benefit.id)
def test_a_convenience_opens_at_its_very_score(benefit):
    scores = [benefit.min_score - 1, benefit.min_score]
    assert [decision.eligible for score in scores for decision in decide([benefit], score)] == [False, True]
    assert opened_by(benefit, np.array(scores)).tolist() == [False, True]


@given(engines(), towns())
def test_every_convenience_is_granted_or_names_its_ordinary_route(engine, town):
    records = read(town)
    for person in town:
        explanation = engine.explain(records, person.subject_id, AS_OF)
        shown = explanation.to_dict("zh")["benefits"]
        assert [entry["id"] for entry in shown] == [benefit.id for benefit in POLICY.benefits]
        for entry in shown:
            assert set(entry) == {"id", "name", "min_score", "eligible", "ordinary_route"}
            assert entry["eligible"] == (explanation.score >= entry["min_score"])
            state = "可享" if entry["eligible"] else "暂未达到"
            assert f"  {state}：{entry['name']}（{entry['min_score']}分起）\n" in explanation.text("zh")
            assert entry["eligible"] or entry["ordinary_route"] in explanation.text("zh")


@pytest.mark.parametrize("rule", ["max_score = 400", 'blocks = "bus"', 'punishes = "fine"', "publish = true"])
def test_the_catalogue_has_no_way_to_write_a_restriction(rule):
    restricted = POLICY.text.replace("[[benefits]]\n", f"[[benefits]]\n{rule}\n", 1)
    with pytest.raises(es.PolicyError, match="unknown key"):
        parse_policy(restricted)


@pytest.mark.parametrize("route", ["route_zh", "route_en"])
def test_the_catalogue_demands_an_ordinary_route(route):
    lines = POLICY.text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(route))
    with pytest.raises(es.PolicyError, match=route):
        parse_policy("\n".join(lines[:first] + lines[first + 1 :]))
    with pytest.raises(es.PolicyError, match=route):
        parse_policy("\n".join([*lines[:first], f'{route} = " "', *lines[first + 1 :]]))


def test_nothing_ranks_people_or_lists_low_scores(engine, sample):
    scores = engine.score(sample, AS_OF)
    assert list(scores["subject_id"]) == sorted(scores["subject_id"])
    assert {field.name for field in fields(Benefit)} == {
        *("id", "min_score", "zh", "en", "route_zh", "route_en", "source"),
    }
    assert not {"rank", "percentile"} & set(engine.explain(sample, scores["subject_id"][0], AS_OF).to_dict())
