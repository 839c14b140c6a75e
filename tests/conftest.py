from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import egretscore as es

settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def engine() -> es.Engine:
    return es.load_engine()


@pytest.fixture(scope="session")
def sample() -> es.Records:
    return es.read_records(es.sample_records())
