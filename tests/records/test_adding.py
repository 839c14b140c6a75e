"""What is kept after an addition is what would be kept of all deliveries, and no addition is half done for good."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from stopping import run
from whole_records import (
    AS_OF,
    OF_SEVERAL_FORMS,
    Person,
    as_known,
    consents,
    frame,
    in_any_form,
    plain_consent,
    settled_commitment,
    shipped_engine,
    standing_penalty,
    towns,
    with_letters,
    write,
)

import egretscore as es
from egretscore.cli import main
from egretscore.records.kept import folder as kept
from egretscore.records.kept.erasing import erase
from egretscore.records.kept.touched import knows_since, touched_since
from egretscore.records.parts import PARTS, part_of
from egretscore.records.schema import TABLES
from egretscore.records.upkeep import adding


def states(folder: Path) -> list[str]:
    return [kept.about_part(folder, part).state for part in range(PARTS)]


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def news(before: list[Person], after: list[Person]) -> list[Person]:
    """Return the rows that people have after and did not have before."""
    return [
        Person(
            now.subject_id, **{t: tuple(row for row in getattr(now, t) if row not in getattr(was, t)) for t in TABLES}
        )
        for was, now in zip(before, after, strict=True)
    ]


@given(towns(consented=False), st.integers(0, 300), st.data())
@settings(max_examples=12)
def test_what_is_kept_then_is_what_would_be_kept_of_all(town, days, data):
    """The same bytes: with rows that come late, rows that fill cells, rows delivered again, and ids of any form."""
    town = with_letters(town, lambda: data.draw(OF_SEVERAL_FORMS))
    after = as_known(town, AS_OF)
    before = [
        Person(p.subject_id, **{t: tuple(row for row in getattr(p, t) if data.draw(st.integers(0, 5))) for t in TABLES})
        for p in as_known(town, AS_OF - timedelta(days=days))
    ]
    delivered = in_any_form(data.draw, [*news(before, after), data.draw(st.sampled_from(after))])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        es.keep_records(write(before, folder / "before"), folder / "kept", threads=1)
        es.keep_records(write(after, folder / "after"), folder / "all", threads=1)
        stood = everything_in(folder / "kept")
        tried = es.add_records(write(delivered, folder / "new"), folder / "kept", dry_run=True, threads=2)
        assert everything_in(folder / "kept") == stood
        added = es.add_records(folder / "new", folder / "kept", threads=2)
        assert tried == added
        assert (added.problems, added.contradictions) == ((), ())
        assert states(folder / "kept") == states(folder / "all")
        together = data.draw(st.permutations([*before, *delivered]))
        es.keep_records(write(together, folder / "together"), folder / "all deliveries", threads=1)
        assert states(folder / "all deliveries") == states(folder / "all")
        repeated = es.add_records(folder / "new", folder / "kept", threads=1)
        assert (repeated.new, repeated.completed) == (0, 0)
        assert repeated.known == added.new + added.completed + added.known
        assert states(folder / "kept") == states(folder / "all")


# ------------------------------------------------------------------------------- one row

P0 = Person("p0", consents=(plain_consent("p0"),))
OLD = settled_commitment("p0", "voluntary", AS_OF - timedelta(days=50), None, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    town = P0.with_row("commitments", OLD).with_row(
        "penalties", standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    )
    es.keep_records(write([town], tmp_path / "records"), tmp_path / "kept")
    return tmp_path


def add(folder: Path, *rows: tuple[str, dict]) -> es.Added:
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for table in {table for table, _ in rows}:
        parquet.write_table(frame(table, [row for of, row in rows if of == table]), new / f"{table}.parquet")
    return es.add_records(new, folder / "kept")


def value(folder: Path, name: str) -> int:
    engine = shipped_engine()
    explanation = engine.explain(es.read_records(folder / "kept"), "p0", AS_OF)
    return explanation.vector[engine.feature_names.index(name)]


def test_an_outcome_is_filled_in(folder):
    assert value(folder, "unkept") == 2
    kept_late = {**OLD, "outcome": "fulfilled", "outcome_on": AS_OF - timedelta(days=1)}
    added = add(folder, ("commitments", kept_late))
    assert (added.new, added.completed, added.known) == (0, 1, 0)
    assert (value(folder, "unkept"), value(folder, "late_or_worse_public")) == (0, 2)
    added = add(folder, ("commitments", OLD))
    assert (added.new, added.completed, added.known) == (0, 0, 1), "an earlier state of a row says nothing new"


def test_what_contradicts_a_kept_row_counts_against_nobody(folder, tmp_path, capsys):
    """The kept row stays, in doubt from the day the other came on file; adding again changes nothing."""
    other = standing_penalty("p0", "huge_fine", AS_OF - timedelta(days=200), 100)
    later = {**other, "category": "licence_revoked", "fine_yuan": 9_000, "recorded_on": AS_OF - timedelta(days=3)}
    assert value(folder, "penalties_serious") == 3
    added = add(folder, ("penalties", later))
    assert added.new == added.completed == 0
    assert str(added.contradictions[0]).startswith("penalties, record 'pn-p0-new' of 'p0': what is kept says something")
    assert added.contradictions[0].since == AS_OF - timedelta(days=3)
    assert value(folder, "penalties_serious") == 0
    day_before = shipped_engine().explain(es.read_records(folder / "kept"), "p0", AS_OF - timedelta(days=4))
    assert day_before.vector[shipped_engine().feature_names.index("penalties_serious")] == 3
    that_day = shipped_engine().explain(es.read_records(folder / "kept"), "p0", AS_OF - timedelta(days=3))
    assert that_day.vector[shipped_engine().feature_names.index("penalties_serious")] == 0
    before = states(folder / "kept")
    assert es.add_records(folder / "new", folder / "kept", dry_run=True) == added
    arguments = ["add", "--records", str(folder / "new"), "--kept", str(folder / "kept")]
    assert main([*arguments, "--quarantine", str(tmp_path / "aside")]) == 0
    said = capsys.readouterr()
    assert (
        "what is kept says something else "
        "(fine_yuan '9000.00', kept '100.00'; recorded_on '2026-10-28', kept '2026-04-14'); "
        "it stays, in doubt from 2026-10-28"
    ) in said.out
    assert "1 row set aside" in said.err
    assert "0 rows new, 0 completed, 0 repeated or known before" in said.err
    assert (tmp_path / "aside" / "contradictions.csv").read_text(encoding="utf-8").splitlines() == [
        "table,record_id,subject_id,since,column,kept,given",
        "penalties,pn-p0-new,p0,2026-10-28,fine_yuan,100.00,9000.00",
        "penalties,pn-p0-new,p0,2026-10-28,recorded_on,2026-04-14,2026-10-28",
    ]
    assert states(folder / "kept") == before


def test_what_was_on_file_before_the_kept_row_leaves_it_in_doubt_from_its_own_first_day(folder):
    """A row that comes late: nothing was known of the record before the kept one came on file."""
    kept_row = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    earlier = {**kept_row, "decided_on": AS_OF - timedelta(days=260), "recorded_on": AS_OF - timedelta(days=250)}
    (contradiction,) = add(folder, ("penalties", earlier)).contradictions
    assert contradiction.since == kept_row["recorded_on"]
    assert value(folder, "penalties_serious") == 0


def test_a_contradiction_delivered_again_changes_nothing(folder):
    """Nor does one of a later day: what is in doubt is in doubt from the first."""
    later = {**standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 9_000)}
    later["recorded_on"] = AS_OF - timedelta(days=9)
    add(folder, ("penalties", later))
    part = kept.about_part(folder / "kept", part_of("p0"))
    for days in (9, 3):
        add(folder, ("penalties", {**later, "recorded_on": AS_OF - timedelta(days=days)}))
        assert kept.about_part(folder / "kept", part_of("p0")) == part


def test_what_may_be_filled_later_is_not_said_to_contradict(folder):
    kept_late = {**OLD, "outcome": "fulfilled", "outcome_on": AS_OF - timedelta(days=1), "amount_yuan": 78.0}
    (contradiction,) = add(folder, ("commitments", kept_late)).contradictions
    assert [str(cell) for cell in contradiction.differences] == ["amount_yuan '78.00', kept nothing"]
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    day = AS_OF - timedelta(days=5)
    assert add(folder, ("penalties", {**penalty, "repaired_on": day})).completed == 1
    (contradiction,) = add(folder, ("penalties", {**penalty, "revoked_on": day})).contradictions
    assert {cell.column for cell in contradiction.differences} == {"repaired_on", "revoked_on"}


def test_a_row_without_the_amount_that_is_kept_contradicts_it(folder):
    """An earlier state of a row lacks what became of the record, and nothing else."""
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    (contradiction,) = add(folder, ("penalties", {**penalty, "fine_yuan": None})).contradictions
    assert [str(cell) for cell in contradiction.differences] == ["fine_yuan nothing, kept '100.00'"]
    assert value(folder, "penalties_serious") == 0


def test_what_is_set_aside_can_be_written_or_nothing_is_added(folder, capsys):
    penalty = standing_penalty("p0", "huge_fine", AS_OF - timedelta(days=20), 100)
    before = states(folder / "kept")
    (folder / "new").mkdir()
    parquet.write_table(
        frame("penalties", [{**penalty, "decision_no": "another"}]), folder / "new" / "penalties.parquet"
    )
    (folder / "a file").write_text("", encoding="utf-8")
    arguments = ["add", "--records", str(folder / "new"), "--kept", str(folder / "kept")]
    assert main([*arguments, "--quarantine", str(folder / "a file" / "aside")]) == 2
    assert main([*arguments, "--threads", "257"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert states(folder / "kept") == before


def test_files_that_are_written_again_keep_their_permissions(folder):
    for file in (folder / "kept").rglob("*.*"):
        if file.is_file():
            file.chmod(0o600)
    penalty = standing_penalty("p0", "huge_fine", AS_OF - timedelta(days=20), 100)
    assert add(folder, ("penalties", {**penalty, "decision_no": "another"})).new == 1
    assert permissions(folder / "kept") == {0o600}
    assert erase(folder / "kept", "p0")
    assert permissions(folder / "kept") == {0o600}
    theirs = folder / "kept" / kept.part_folder(part_of("p0"))
    (theirs / ".people.parquet-12345678").touch(0o666)  # as a killed process leaves it
    es.keep_records(folder / "records", folder / "kept")
    assert permissions(folder / "kept") == {0o600}
    es.score_everyone(shipped_engine(), folder / "kept", AS_OF, folder / "scores")
    for file in (folder / "scores").iterdir():
        file.chmod(0o640)
    es.score_everyone(shipped_engine(), folder / "kept", AS_OF, folder / "scores")
    assert permissions(folder / "scores") == {0o640}


def permissions(folder: Path) -> set[int]:
    return {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()}


def test_what_does_not_fit_into_memory_is_open_to_nobody_else(folder):
    write([P0], folder / "new")
    seen: list[int] = []

    def look(_: object) -> None:
        seen.append(kept.spill_of(folder / "kept").stat().st_mode & 0o777)

    es.add_records(folder / "new", folder / "kept", progress=look)
    assert set(seen) == {0o700}


def test_news_that_was_set_aside_leaves_the_record_in_doubt(folder):
    """Two rows of the day say different things of a record that is kept: neither is used, nor what they are about."""
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    repaired = [{**penalty, "repaired_on": AS_OF - timedelta(days=age)} for age in (5, 6)]
    added = add(folder, *(("penalties", row) for row in repaired))
    assert (added.new, added.completed, added.set_aside) == (0, 0, 2)
    assert value(folder, "penalties_serious") == 0
    ends = [{**OLD, "outcome": how, "outcome_on": AS_OF - timedelta(days=1)} for how in ("fulfilled", "unfulfilled")]
    assert value(folder, "unkept") == 2
    add(folder, *(("commitments", row) for row in ends))
    assert value(folder, "unkept") == 0


def test_news_may_repeat_the_earlier_state_of_a_record(folder):
    kept_late = {**OLD, "outcome": "fulfilled", "outcome_on": AS_OF - timedelta(days=1)}
    added = add(folder, ("commitments", kept_late), ("commitments", OLD))
    assert (added.new, added.completed, added.known, added.set_aside) == (0, 1, 1, 0)
    assert (value(folder, "unkept"), value(folder, "late_or_worse_public")) == (0, 2)


def test_rows_of_one_day_that_contradict_each_other_leave_the_record_in_doubt_from_that_day(folder):
    penalty = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    day = AS_OF - timedelta(days=5)
    rows = [("penalties", {**penalty, "recorded_on": day, "fine_yuan": fine}) for fine in (1.0, 2.0)]
    assert add(folder, *rows).set_aside == 2
    engine, records = shipped_engine(), es.read_records(folder / "kept")
    counted = engine.feature_names.index("penalties_serious")
    for asked, counts in ((day - timedelta(days=1), 3), (day, 0)):
        assert engine.explain(records, "p0", asked).vector[counted] == counts


def test_a_record_once_set_aside_counts_against_nobody_when_it_comes_again(folder):
    bad = standing_penalty("p0", "huge_fine", AS_OF - timedelta(days=90), 100)
    more = folder / "records" / "penalties-2.parquet"
    parquet.write_table(frame("penalties", [bad, {**bad, "fine_yuan": 7.0}]), more)
    assert es.keep_records(folder / "records", folder / "kept").set_aside == 2
    before = value(folder, "penalties_fines")
    assert add(folder, ("penalties", bad)).new == 1
    assert value(folder, "penalties_fines") == before


def test_what_a_killed_addition_left_beside_is_removed_by_the_next_and_by_who_erases(folder):
    write([P0], folder / "new")
    for change in (lambda: es.add_records(folder / "new", folder / "kept"), lambda: erase(folder / "kept", "x")):
        left = kept.spill_of(folder / "kept")
        (left / "new").mkdir(parents=True)
        (left / "new" / "duckdb_temp_storage.tmp").write_bytes(b"rows of people")
        change()
        assert not left.exists()


def test_whole_parts_do_not_pile_up_in_memory(days, tmp_path):
    import pyarrow as pa

    shutil.copytree(days / "kept", tmp_path / "kept")
    held: list[int] = []
    add = partial(es.add_records, days / "new", tmp_path / "kept", threads=1)
    add(progress=lambda _: held.append(pa.total_allocated_bytes()))
    files = [file for part in range(PARTS) for file in kept.files_of_part(tmp_path / "kept", part).values()]
    rewritten = sum(parquet.read_table(file).nbytes for file in files)
    assert max(held) - held[0] < rewritten / 4


def test_more_than_fits_at_once_is_added_in_groups(days, tmp_path, monkeypatch):
    shutil.copytree(days / "kept", tmp_path / "kept")
    monkeypatch.setattr("egretscore.records.upkeep.adding.parts_at_once", lambda *_: 10)
    added = es.add_records(days / "new", tmp_path / "kept")
    assert states(tmp_path / "kept") == states(days / "all")
    again = es.add_records(days / "new", tmp_path / "kept")
    assert (again.new, again.completed, again.known) == (0, 0, added.new + added.completed + added.known)


def test_an_objection_decided_twice_is_read_as_open(folder):
    filed = AS_OF - timedelta(days=20)
    objection = {"table": "penalties", "record_id": "pn-p0-new", "subject_id": "p0", "filed_on": filed}
    open_one = {**objection, "resolved_on": None, "outcome": None}
    rejected = {**objection, "resolved_on": AS_OF - timedelta(days=9), "outcome": "rejected"}
    assert add(folder, ("objections", open_one)).new == 1
    assert value(folder, "penalties_serious") == 0
    assert add(folder, ("objections", rejected)).completed == 1
    assert value(folder, "penalties_serious") == 3
    added = add(folder, ("objections", {**rejected, "outcome": "upheld"}))
    assert [(one.table, one.record_id, one.since) for one in added.contradictions] == [
        ("penalties", "pn-p0-new", filed)
    ]
    assert value(folder, "penalties_serious") == 0


def test_a_withdrawal_comes_in(folder):
    withdrawn = {**P0.consents[0], "withdrawn_on": AS_OF}
    assert add(folder, ("consents", withdrawn)).completed == 1
    assert shipped_engine().explain(es.read_records(folder / "kept"), "p0", AS_OF).status == es.Status.WITHDRAWN


# ------------------------------------------------------------------------------- what is refused


def refused(folder: Path, says: str) -> None:
    before = states(folder / "kept")
    with pytest.raises(es.EgretError, match=says):
        es.add_records(folder / "new", folder / "kept")
    assert states(folder / "kept") == before


def test_consents_that_cannot_be_used_stop_an_addition(folder):
    """They may be a withdrawal: then to go on with the others would score someone who withdrew."""
    new = folder / "new"
    new.mkdir()
    (new / "commitments.csv").write_text(
        "commitment_id,subject_id,kind,made_on,due_on,outcome,outcome_on,amount_yuan,recorded_on\n"
        "x,p0,voluntary,2026-01-01,2026-02-01,,,,2026-01-01\n",
        encoding="utf-8",
    )
    head = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
    (new / "consents.csv").write_text(f"{head}p0,2023-B,true,2022-06-14,2026-13-01\n", encoding="utf-8")
    refused(folder, r"consents.csv, row 1, column 'withdrawn_on', value '2026-13-01'.*nothing was added")
    granted = P0.consents[0]["granted_on"]
    (new / "consents.csv").write_text(f"{head}p0,2023-B,false,{granted},2026-10-01\n", encoding="utf-8")
    refused(folder, "of 'p0' to 2023-B contradicts the one that is kept, so nothing was added")


def test_every_row_that_stops_an_addition_is_named_at_once(folder):
    """Each once, with the wrong one first, and without those of which nothing is wrong but that it stands beside."""
    cells = ["p0,2023-A,true,2022-01-01,", *[f"p{number},2023-B,true,2022-06-14,2026-13-01" for number in range(23)]]
    with pytest.raises(es.RecordsError, match="may be a withdrawal") as raised:
        add_line(folder, "consents", "\n".join(cells))
    file = folder / "new" / "consents.csv"
    assert (raised.value.file, raised.value.row, raised.value.value) == (str(file), 2, "2026-13-01")
    named = "; ".join(f"{file}, row {row}" for row in range(3, 23))
    assert str(raised.value).endswith(f"Correct it, and add again. Likewise: {named}; and 2 more.")
    with pytest.raises(es.RecordsError) as raised:
        add_line(folder, "consents", "p0,2023-B,true,2022-06-14,2026-13-01")
    assert str(raised.value).endswith("Correct it, and add again.")


def test_every_consent_that_contradicts_a_kept_one_is_named(folder):
    """Also two of one person, and those of people whose ids begin alike, in the order of their ids."""
    people = ["p0", *(f"{'x' * 62}{end}" for end in "ab")]
    letters = [{**plain_consent(who), "letter_version": letter} for who in people for letter in ("2023-B", "2023-A")]
    add(folder, *(("consents", row) for row in letters))
    with pytest.raises(es.RecordsError, match="contradicts the one that is kept, so nothing was added") as raised:
        add(folder, *(("consents", {**row, "adult_confirmed": False}) for row in letters))
    named = [f"of {who!r} to {letter}" for who in people for letter in ("2023-A", "2023-B")]
    assert raised.value.problem.startswith(f"the consent {named[0]} contradicts")
    assert str(raised.value).endswith(f"Likewise: {'; '.join(named[1:])}.")


def test_rows_that_cannot_be_used_do_not_hide_consents_that_contradict_kept_ones(folder):
    """So all that stops an addition is known at the first try."""
    people = ("p0", "p1")
    add(folder, *(("consents", plain_consent(who)) for who in people))
    cells = [f"{who},2023-B,false,{plain_consent(who)['granted_on']}," for who in people]
    with pytest.raises(es.RecordsError, match=r"row 1.*may be a withdrawal") as raised:
        add_line(folder, "consents", "\n".join(["p9,2023-B,true,2022-06-14,2026-13-01", *cells]))
    named = "of 'p0' to 2023-B; of 'p1' to 2023-B"
    assert str(raised.value).endswith(f"Correct it, and add again. Consents that contradict the kept ones: {named}.")


def test_what_may_be_a_withdrawal_and_what_an_objection_is_said_of_both(folder):
    new = folder / "new"
    new.mkdir()
    for table, line in (
        ("consents", "p0,2023-B,true,2022-06-14,2026-13-01"),
        ("objections", "penalties,,p0,2026-03-01,,"),
    ):
        (new / f"{table}.csv").write_text(f"{','.join(TABLES[table].column_names)}\n{line}\n", encoding="utf-8")
    refused(
        folder, "the row may be a withdrawal or an objection to a record that is kept and cannot be used, so nothing"
    )


def test_nothing_is_added_where_consents_were_set_aside(folder):
    """A row that was set aside may be a withdrawal by someone who consents again in the rows that are added."""
    bad = folder / "records" / "consents-2.csv"
    head = "subject_id,letter_version,adult_confirmed,granted_on,withdrawn_on\n"
    bad.write_text(f"{head}p7,2023-B,true,2022-06-14,yesterday\n", encoding="utf-8")
    es.keep_records(folder / "records", folder / "kept")
    shutil.copytree(folder / "records", folder / "new")
    (folder / "new" / "consents-2.csv").unlink()
    refused(folder, "1 row was set aside when these records were kept")


def test_invented_records_and_others_are_not_mixed(folder):
    new = write([P0], folder / "new")
    (new / "invented.json").write_text("{}", encoding="utf-8")
    refused(folder, "say that they are invented, and the kept ones do not")


def test_other_places_are_refused(folder, capsys):
    arguments = ["add", "--records", str(folder / "records"), "--kept", str(folder / "records")]
    assert main(arguments) == 2
    assert "these are no kept records" in capsys.readouterr().err
    assert main([*arguments[:-1], str(folder / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["add", "--records", str(folder / "kept"), "--kept", str(folder / "kept")]) == 2
    assert "kept already" in capsys.readouterr().err
    assert main(["add", "--records", str(folder), "--kept", str(folder / "kept")]) == 2
    assert "would lie among the records" in capsys.readouterr().err
    write([P0], folder / "new")
    for quarantine in (folder / "kept", folder / "kept" / "part-00" / "aside"):
        arguments = ["add", "--records", str(folder / "new"), "--kept", str(folder / "kept")]
        assert main([*arguments, "--quarantine", str(quarantine)]) == 2
        assert "among kept records" in capsys.readouterr().err
        es.read_records(folder / "kept")
    write([P0], folder / "town").joinpath("invented.json").write_text("{}", encoding="utf-8")
    es.keep_records(folder / "town", folder / "invented")
    for to in ("kept", "invented"):
        assert main(["add", "--records", str(folder / "nowhere"), "--kept", str(folder / to)]) == 1
        assert "cannot be read" in capsys.readouterr().err


def test_damaged_consents_are_refused_before_they_are_looked_at(folder):
    write([P0], folder / "new")
    file = kept.files_of_part(folder / "kept", part_of("p0"))["consents"]
    file.write_bytes(b"PAR1")
    with pytest.raises(es.RecordsError, match="not as it was kept"):
        es.add_records(folder / "new", folder / "kept")


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt, RuntimeError("Query interrupted"), es.RecordsError("interrupt", remedy="Go on.")]
)
def test_who_interrupts_is_told_to_add_again_whatever_the_database_made_of_it(folder, monkeypatch, capsys, raised):
    write([P0], folder / "new")

    def interrupted(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise raised from None

    def other(*_: object) -> None:  # as that of a library
        raise KeyboardInterrupt

    monkeypatch.setattr("egretscore.records.upkeep.adding.add_records", interrupted)
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.default_int_handler, other):
            signal.signal(signal.SIGINT, handler)
            assert main(["add", "--records", str(folder / "new"), "--kept", str(folder / "kept")]) == 130
            assert "interrupted; give the same command again to finish" in capsys.readouterr().err
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_damaged_part_is_refused(folder):
    write([P0.with_row("commitments", {**OLD, "commitment_id": "another"})], folder / "new")
    file = kept.files_of_part(folder / "kept", part_of("p0"))["penalties"]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(es.RecordsError, match="not as it was kept") as raised:
        es.add_records(folder / "new", folder / "kept")
    assert raised.value.file == str(file)


# ------------------------------------------------------------------------------- stopped, and seen


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of a town before some days, those of the days, and what is kept of both."""
    town, folder = es.sample_records(), tmp_path_factory.mktemp("days")
    for name in ("before", "new"):
        (folder / name).mkdir()
        shutil.copy(town / "invented.json", folder / name)
    for table in TABLES:
        head, *lines = (town / f"{table}.csv").read_text(encoding="utf-8").splitlines()
        for name, rows in (("before", lines[: len(lines) * 9 // 10]), ("new", lines[len(lines) * 9 // 10 :])):
            (folder / name / f"{table}.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    es.keep_records(folder / "before", folder / "kept")
    es.keep_records(town, folder / "all")
    return folder


def test_killed_at_any_moment_it_is_finished_by_adding_again(days, tmp_path):
    shutil.copytree(days / "kept", tmp_path / "kept")
    arguments = ["add", "--records", str(days / "new"), "--kept", str(tmp_path / "kept")]
    for death in (
        "die_at(folder, 'write_table', 1, True)",
        "die_at(folder, 'write_about_part', 1, False)",
        "die_at(folder, 'write_table', 9, False)",
        "die_at(folder, 'write_about_part', 5, True)",
        "die_at(folder, '_remove_all_others', 40, False)",
    ):
        assert run(arguments, death).returncode == -signal.SIGKILL
        kept.verify(tmp_path / "kept", range(PARTS))  # every part is whole, as it was or as it is to be
        with pytest.raises(es.RecordsError, match="stopped half-way"):
            es.score_everyone(shipped_engine(), tmp_path / "kept", "2026-10-31", tmp_path / "scores")
    finished = run(arguments)
    assert finished.returncode == 0, finished.stderr
    assert "64 of 64 parts" in finished.stderr
    assert states(tmp_path / "kept") == states(days / "all")
    for part in range(PARTS):
        own = tmp_path / "kept" / kept.part_folder(part)
        about = kept.about_part(tmp_path / "kept", part)
        touched = [] if about.touched is None else [own / f"touched-{about.touched[:16]}.parquet"]
        assert {*own.iterdir()} == {own / "part.json", *kept.files_of_part(tmp_path / "kept", part).values(), *touched}
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_what_was_stopped_is_finished_before_anything_else_is_added(days, tmp_path):
    """Else half of its rows, withdrawals among them, would never come in, and nothing would tell.

    Nor are other files added with it: what is kept would depend on when it was stopped.
    """
    shutil.copytree(days / "kept", tmp_path / "kept")
    write([Person("another", consents=(plain_consent("another"),))], tmp_path / "next")
    shutil.copy(days / "new" / "invented.json", tmp_path / "next")
    stopped = ["add", "--records", str(days / "new"), "--kept", str(tmp_path / "kept")]
    assert run(stopped, "die_at(folder, 'write_about_part', 5, True)").returncode == -signal.SIGKILL
    half = states(tmp_path / "kept")
    with pytest.raises(es.RecordsError, match="stopped half-way"):
        shipped_engine().score(es.read_records(tmp_path / "kept"), AS_OF)
    shutil.copytree(days / "new", tmp_path / "both")
    shutil.copy(tmp_path / "next" / "consents.parquet", tmp_path / "both" / "consents-next.parquet")
    for other in ("next", "both"):
        with pytest.raises(es.RecordsError, match="these are other files than those it is of"):
            es.add_records(tmp_path / other, tmp_path / "kept")
    with pytest.raises(es.RecordsError, match="stopped half-way"):  # what is still to come in may name them
        es.read_records(tmp_path / "kept").erase("another")
    assert states(tmp_path / "kept") == half
    shutil.copytree(days / "new", tmp_path / "moved")
    es.add_records(tmp_path / "moved", tmp_path / "kept")
    es.add_records(tmp_path / "next", tmp_path / "kept")
    erased = es.read_records(tmp_path / "kept").erase("another")
    assert erased == 1
    assert states(tmp_path / "kept") == states(days / "all")


def test_an_addition_stopped_before_its_first_part_holds_nothing_up(days, tmp_path):
    shutil.copytree(days / "kept", tmp_path / "kept")
    (tmp_path / "kept" / kept.ADDING).touch()
    es.add_records(days / "new", tmp_path / "kept")
    assert states(tmp_path / "kept") == states(days / "all")


def test_who_has_the_folder_open_sees_the_new_rows(days, tmp_path):
    shutil.copytree(days / "kept", tmp_path / "kept")
    records = es.read_records(tmp_path / "kept")
    engine = shipped_engine()
    before = engine.score(records, "2026-10-31")
    es.add_records(days / "new", tmp_path / "kept")
    after = engine.score(records, "2026-10-31")
    assert len(after) > len(before)
    everyone = engine.score(es.read_records(days / "all"), "2026-10-31")
    assert after.equals(everyone)


def test_who_was_touched_is_remembered_for_some_additions_and_not_once_someone_is_erased(folder):
    part = part_of("p0")
    seen = [kept.about_part(folder / "kept", part).state]
    for number in range(34):
        add(folder, ("commitments", {**OLD, "commitment_id": f"cm-{number}"}))
        seen.append(kept.about_part(folder / "kept", part).state)
    assert [knows_since(folder / "kept", part, state) for state in seen] == [False] * 3 + [True] * 32
    touched = [touched_since(folder / "kept", part, state).to_pylist() for state in seen[3:]]
    assert touched == [["p0"]] * 31 + [[]]
    other = next(f"q{n}" for n in range(10_000) if part_of(f"q{n}") == part)
    add(folder, ("consents", plain_consent(other)), ("consents", plain_consent("p0")))
    assert touched_since(folder / "kept", part, seen[-1]).to_pylist() == [other], "of p0 it says nothing new"
    assert touched_since(folder / "kept", part, seen[-2]).to_pylist() == ["p0", other]
    erase(folder / "kept", other)
    assert not any(knows_since(folder / "kept", part, state) for state in seen[:-1])
    assert not list((folder / "kept").rglob("touched-*"))
    about = json.loads((folder / "kept" / kept.part_folder(part) / "part.json").read_text(encoding="utf-8"))
    assert about["added_to"] == []


@given(consents("p0"), st.data())
@settings(max_examples=8)
def test_consents_that_contradict_never_let_anyone_be_scored(consent, data):
    """Either the two rows agree, and the consent is what they say together, or the addition is refused."""
    other = {**consent, "adult_confirmed": data.draw(st.booleans())}
    other["withdrawn_on"] = data.draw(st.sampled_from([consent["withdrawn_on"], None, date(2199, 1, 1)]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        es.keep_records(write([Person("p0", consents=(consent,))], folder / "records"), folder / "kept", threads=1)
        write([Person("p0", consents=(other,))], folder / "new")
        withdrawn = {row["withdrawn_on"] for row in (consent, other)} - {None}
        if other["adult_confirmed"] != consent["adult_confirmed"] or len(withdrawn) > 1:
            refused(folder, "contradicts the one that is kept")
            return
        es.add_records(folder / "new", folder / "kept", threads=1)
        after = es.read_records(folder / "kept")
        (found,) = after.connect().execute("SELECT withdrawn_on FROM consents").fetchall()
        assert set(found) - {None} == withdrawn


def add_line(folder: Path, table: str, line: str) -> es.Added:
    """Add one row of a table, as it stands in a CSV file."""
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    (new / f"{table}.csv").write_text(f"{','.join(TABLES[table].column_names)}\n{line}\n", encoding="utf-8")
    return es.add_records(new, folder / "kept")


@pytest.mark.parametrize("cell", ["effective_on", "revoked_on", "repaired_on", "category", "authority_code"])
def test_a_row_of_a_kept_record_that_cannot_be_read_leaves_it_in_doubt(folder, cell):
    row = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    line = ",".join("" if value is None else str(value) for value in {**row, cell: "2026-13-01"}.values())
    assert value(folder, "penalties_serious") == 3
    added = add_line(folder, "penalties", line)
    assert (added.new, added.completed, added.set_aside) == (0, 0, 1)
    assert value(folder, "penalties_serious") == 0


def test_a_record_is_in_doubt_from_the_first_of_the_rows_that_put_it_in_doubt(folder):
    """One contradicts the kept row, and one, of an earlier day, cannot be read."""
    row = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 9_000)
    days = AS_OF - timedelta(days=3), AS_OF - timedelta(days=9)
    rows = ({**row, "recorded_on": days[0]}, {**row, "recorded_on": days[1], "repaired_on": "2026-13-01"})
    added = add_line(folder, "penalties", "\n".join(",".join(str(c or "") for c in r.values()) for r in rows))
    assert [contradiction.since for contradiction in added.contradictions] == [days[0]]
    engine, records = shipped_engine(), es.read_records(folder / "kept")
    counted = engine.feature_names.index("penalties_serious")
    for day, counts in ((days[1] - timedelta(days=1), 3), (days[1], 0), (AS_OF, 0)):
        assert engine.explain(records, "p0", day).vector[counted] == counts


def test_a_row_of_no_kept_record_that_cannot_be_read_leaves_nothing(folder):
    before = states(folder / "kept")
    row = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=200), 100)
    cells = {**row, "decision_no": "pn-p0-mistyped", "repaired_on": "2026-13-01"}
    assert add_line(folder, "penalties", ",".join(str(cell or "") for cell in cells.values())).set_aside == 1
    assert states(folder / "kept") == before


def test_nothing_is_added_where_it_is_unclear_to_what_someone_objects(folder):
    before = states(folder / "kept")
    with pytest.raises(es.RecordsError, match="may be an objection") as raised:
        add_line(folder, "objections", "penalties,pn-p0,new,p0,2026-03-01,,")
    assert raised.value.row == 1
    assert states(folder / "kept") == before
    with pytest.raises(es.RecordsError, match="may be an objection"):
        add_line(folder, "objections", "penalties,,p0,2026-03-01,,")
    with pytest.raises(es.RecordsError, match="may be an objection"):
        add_line(folder, "objections", "penalties,pn-p0-new,,2026-03-01,,")
    assert add_line(folder, "objections", "penalties,pn-p0-new,p0,2026-13-01,,").set_aside == 1
    assert value(folder, "penalties_serious") == 0


@pytest.mark.parametrize("objection", ["kept", "added"])
def test_a_record_that_comes_on_file_after_an_objection_to_it_that_cannot_be_read_is_disputed(folder, objection):
    line = "penalties,pn-p0-later,p0,2026-13-01,,"
    if objection == "added":
        assert add_line(folder, "objections", line).set_aside == 1
    else:
        (folder / "records" / "objections.parquet").unlink()
        text = f"{','.join(TABLES['objections'].column_names)}\n{line}\n"
        (folder / "records" / "objections.csv").write_text(text, encoding="utf-8")
        assert es.keep_records(folder / "records", folder / "kept").set_aside == 1
    before = value(folder, "penalties_serious")
    later = standing_penalty("p0", "licence_revoked", AS_OF - timedelta(days=100), 100)
    assert add(folder, ("penalties", {**later, "decision_no": "pn-p0-later"})).new == 1
    assert value(folder, "penalties_serious") == before > 0


def test_objections_decided_in_two_ways_are_no_obstacle(folder):
    """Their cells say which record they are about: it stays in doubt."""
    decided = [f"penalties,pn-p0-new,p0,2026-03-01,2026-03-05,{how}" for how in ("upheld", "rejected")]
    assert add_line(folder, "objections", "\n".join(decided)).set_aside == 2
    assert value(folder, "penalties_serious") == 0
    shutil.copytree(folder / "new", folder / "records", dirs_exist_ok=True)
    (folder / "records" / "objections.parquet").unlink()
    es.keep_records(folder / "records", folder / "kept")
    add(folder, ("consents", plain_consent("p1")))


@pytest.mark.parametrize("table", ["consents", "objections"])
def test_a_row_of_empty_cells_is_set_aside_and_no_obstacle(folder, table):
    """Spreadsheets write them: they say nothing, so they are nobody's withdrawal and no objection."""
    (folder / "records" / f"{table}.parquet").rename(folder / "consents or objections")
    rows = parquet.read_table(folder / "consents or objections")
    csv.write_csv(rows, folder / "records" / f"{table}.csv")
    with (folder / "records" / f"{table}.csv").open("a", encoding="utf-8") as stream:
        stream.write("," * (rows.num_columns - 1) + "\n" + ",".join(['" "'] * rows.num_columns) + "\n")
    kept = es.keep_records(folder / "records", folder / "kept")
    assert (kept.set_aside, kept.unclear) == (2, 0)
    assert value(folder, "penalties_serious") == 3
    add(folder, ("consents", plain_consent("p1")))


def test_nothing_is_added_where_it_was_unclear_to_what_someone_objects(folder, capsys):
    (folder / "records" / "objections.parquet").unlink()
    text = f"{','.join(TABLES['objections'].column_names)}\npenalties,,p0,2026-03-01,,\n"
    (folder / "records" / "objections.csv").write_text(text, encoding="utf-8")
    assert main(["keep", "--records", str(folder / "records"), "--out", str(folder / "kept")]) == 0
    assert "1 row of these may be a withdrawal, or an objection to any record: nothing can" in capsys.readouterr().err
    with pytest.raises(es.RecordsError, match="1 row was set aside when these records were kept"):
        add(folder, ("consents", plain_consent("p1")))


def test_records_that_change_while_they_are_added_are_not_added(folder, monkeypatch):
    """Else a withdrawal that comes while they are read, and cannot be read itself, would be passed over."""
    new = folder / "new"
    new.mkdir()
    parquet.write_table(frame("consents", [plain_consent("p1")]), new / "consents.parquet")
    read = adding.read_addition
    calls: list[object] = []

    def then_it_changes(*arguments: object) -> es.Records:
        found = read(*arguments)
        if not calls:
            withdrawn = f"p0,2023-B,true,{plain_consent('p0')['granted_on']},2026-13-01"
            header = ",".join(TABLES["consents"].column_names)
            (new / "consents.csv").write_text(f"{header}\n{withdrawn}\n", encoding="utf-8")
        calls.append(arguments)
        return found

    before = states(folder / "kept")
    monkeypatch.setattr(adding, "read_addition", then_it_changes)
    with pytest.raises(es.RecordsError, match="changed while they were being added"):
        es.add_records(new, folder / "kept")
    assert states(folder / "kept") == before


def test_a_folder_without_a_file_of_records_is_no_quiet_day(folder):
    (folder / "mistyped").mkdir()
    with pytest.raises(es.RecordsError, match="no file of records"):
        es.add_records(folder / "mistyped", folder / "kept")
