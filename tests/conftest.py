from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

import egretscore as es

settings.register_profile("base", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("base"), max_examples=25)
settings.register_profile("thorough", settings.get_profile("base"), max_examples=400)
# Whether a change is let in depends on the change alone; the other profiles draw other examples each time.
settings.register_profile("ci", settings.get_profile("base"), max_examples=60, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def engine() -> es.Engine:
    return es.load_engine()


@pytest.fixture(scope="session")
def sample() -> es.Records:
    return es.read_records(es.sample_records())
