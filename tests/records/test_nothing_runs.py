"""Nothing in a file can run: names and values are data, and the database is locked."""

from __future__ import annotations

import os

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from whole_records import AS_OF, Person, frames, plain_consent, shipped_engine

import egretscore as es
from egretscore.records.database import Resources, asking, open_locked
from egretscore.records.schema import TABLES

NASTY = [
    "'; DROP TABLE consents; --",
    '"; DROP TABLE consents; --',
    "p1' OR '1'='1",
    "line\nbreak",
    "nul\0byte",
    "right\u202eto left",
    "\ufeffbom",
    "${jndi}",
    "{} %s $1 ?",
    "🪿" * 100,
    "x" * 1_000_000,
    "' UNION SELECT * FROM read_csv('/etc/passwd') --",
]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(max_size=50))
TOWN = frames([Person("p0", (plain_consent("p0"),))])


@given(st.sampled_from([(t.name, c.name) for t in TABLES.values() for c in t.columns]), TEXTS)
def test_a_value_is_only_ever_data(where, text):
    """Put any text into any one cell: it is taken, or set aside, and everyone else is as before."""
    table, column = where
    row = {name: "2025-01-01" if name.endswith("_on") else "x" for name in TABLES[table].column_names}
    row.update({"subject_id": "p1"} if column != "subject_id" else {}, **{column: text})
    records = es.read_records({**TOWN, table: [TOWN[table], {name: [cell] for name, cell in row.items()}]})
    assert sum(c.rows for c in records.counts) == sum(c.good + c.set_aside + c.repeated for c in records.counts)
    assert records.connect().execute("SELECT count(*) FROM consents WHERE subject_id = 'p0'").fetchone() == (1,)
    assert shipped_engine().explain(records, "p0", AS_OF).score == 550


@given(TEXTS)
@example("subject_id\0")
def test_a_column_name_is_only_ever_data(name):
    import pyarrow as pa

    columns = [*TOWN["consents"].columns, pa.array(["x"])]
    if name in TOWN["consents"].column_names:
        return
    named = pa.Table.from_arrays(columns, [*TOWN["consents"].column_names, name])
    with pytest.raises(es.RecordsError):
        es.read_records({**TOWN, "consents": named})


@given(TEXTS)
def test_a_subject_is_only_ever_data(subject):
    records = es.read_records(TOWN)
    if subject not in ("", "p0"):
        assert shipped_engine().explain(records, subject, AS_OF).status.value == "not_consented"


@given(st.binary(max_size=400))
def test_any_bytes_below_the_header_are_counted_and_nothing_fails(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    header = ",".join(TABLES["consents"].column_names).encode()
    good = b"p0,2023-B,true,2025-01-01,"
    (folder / "consents.csv").write_bytes(b"\n".join([header, good, noise, good.replace(b"p0", b"p1"), b""]))
    records = es.read_records(folder)
    count = records.counts[0]
    assert count.rows == count.good + count.set_aside + count.repeated
    lines = [line.rstrip(b"\r") for line in noise.split(b"\n")]
    assert count.rows == 2 + sum(bool(line) for line in lines)
    assert len({p.row for p in records.problems}) == count.set_aside


@given(st.binary(max_size=300))
def test_any_bytes_as_a_file_are_an_error_of_ours_or_records(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    for suffix in ("csv", "parquet"):
        (folder / f"consents.{suffix}").write_bytes(noise)
        with pytest.raises(es.RecordsError):
            es.read_records(folder)
        (folder / f"consents.{suffix}").unlink()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{folder}/other.csv')",
        "SELECT * FROM '{folder}/other.csv'",
        "COPY (SELECT 1) TO '{folder}/written.csv'",
        "ATTACH '{folder}/written.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "SET lock_configuration = false",
        "EXPORT DATABASE '{folder}/exported'",
    ],
)
def test_the_database_reads_the_files_named_and_does_nothing_else(tmp_path, query):
    named, other = tmp_path / "named.csv", tmp_path / "other.csv"
    named.write_text("a\n1\n")
    other.write_text("a\n1\n")
    connection = open_locked([named])
    assert connection.execute("SELECT a FROM read_csv(?)", [str(named)]).fetchall() == [(1,)]
    with pytest.raises(duckdb.Error):
        connection.execute(query.format(folder=tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {"named.csv", "other.csv"}


def test_python_variables_are_out_of_reach():
    import pyarrow as pa

    secret = pa.table({"a": [1]})
    with pytest.raises(duckdb.Error):
        open_locked().execute("SELECT * FROM secret")
    assert secret.num_rows == 1


def test_odd_folder_and_file_names_are_only_names(tmp_path):
    from pyarrow import parquet

    folder = tmp_path / "it's; DROP [a-z]* {x} 表 \u202e"
    folder.mkdir()
    for name, table in TOWN.items():
        parquet.write_table(table, folder / f"{name}-'; --[0].parquet")
    records = es.read_records(folder)
    assert records.problems == ()
    assert shipped_engine().explain(records, "p0", AS_OF).score == 550


def test_reading_writes_nothing_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = es.read_records(es.sample_records())
    shipped_engine().score(records, AS_OF)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_into_memory_goes_nowhere_that_was_not_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with (
        open_locked((), Resources(memory=20_000_000)) as connection,
        pytest.raises(es.RecordsError, match="egretscore keep"),
        asking(),
    ):
        connection.execute("CREATE TABLE many AS SELECT random() AS one, random() AS other FROM range(5_000_000)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to cores")
def test_the_database_takes_the_cores_that_the_process_may_use():
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        with open_locked() as one, open_locked((), Resources(threads=3)) as three:
            threads = [of.execute("SELECT current_setting('threads')").fetchone() for of in (one, three)]
    finally:
        os.sched_setaffinity(0, every)
    assert threads == [(1,), (3,)]
