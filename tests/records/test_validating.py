"""Validating in as many passes as the memory asks for says what reading all at once says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stopping import run
from whole_records import towns, write_with_broken_rows

import egretscore as es
from egretscore.records import validating
from egretscore.records.intake import in_place
from egretscore.records.parts import PARTS
from egretscore.records.validating import validate_records


@given(towns(consented=False), st.sampled_from([1, 7, PARTS]), st.sampled_from([0, 8_000]), st.data())
@settings(max_examples=25)
def test_what_is_found_is_what_reading_all_at_once_finds(town, at_once, fewest_in_place, data):
    """Also of rows that do not say whose they are, which every pass looks at."""
    with tempfile.TemporaryDirectory() as scratch, mock.patch.object(in_place, "FEWEST_TYPED_ROWS", fewest_in_place):
        folder = Path(scratch)
        write_with_broken_rows(data.draw, town, folder)
        records = es.read_records(folder, threads=1)
        with mock.patch.object(validating, "parts_at_once", return_value=at_once):
            found = validate_records(folder, threads=1)
        assert found.counts == records.counts
        assert found.problems == records.problems
        assert found.unmatched_objections == records.unmatched_objections
        assert found.set_aside == records.set_aside


def test_kept_records_are_validated_as_they_are(tmp_path):
    es.keep_records(es.sample_records(), tmp_path / "kept")
    with mock.patch.object(validating, "parts_at_once", return_value=5):
        found = validate_records(tmp_path / "kept")
    assert found.counts == es.read_records(tmp_path / "kept").counts
    assert found.set_aside_before == 0


def test_records_that_change_meanwhile_are_refused(tmp_path):
    es.simulate_town(50, tmp_path / "town")
    read = validating.read_parts

    def then_it_changes(*arguments: object) -> es.Records:
        found = read(*arguments)
        with (tmp_path / "town" / "consents.csv").open("a") as stream:
            stream.write("broken\n")
        return found

    with mock.patch.object(validating, "read_parts", then_it_changes), pytest.raises(es.RecordsError, match="changed"):
        validate_records(tmp_path / "town")


def test_the_command_takes_memory_and_threads_and_says_how_far_it_is():
    done = run(["validate", "--records", str(es.sample_records()), "--memory", "300MB", "--threads", "1"])
    assert done.returncode == 0
    assert "64 of 64 parts, 57,328 rows" in done.stderr
