"""Files are written whole, by any number of threads at once, and are as open to others as any new file."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import product
from pathlib import Path

import pytest

import egretscore as es
from egretscore import writing
from egretscore.errors import ArgumentError
from egretscore.writing import alone_in, earlier_of, permissions_of_new_folders, put_in_place, whole_file, whole_folder


def test_threads_that_write_at_once_leave_the_permissions_of_new_files_as_they_were(tmp_path):
    before, often = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns wherever they can
    try:

        def write(number: int) -> None:
            with whole_file(tmp_path / str(number)) as scratch:
                scratch.write_text(oct(permissions_of_new_folders(tmp_path)), encoding="utf-8")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(400)))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
        sys.setswitchinterval(often)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {
        str(number): oct(0o750) for number in range(400)
    }


def test_nothing_is_written_into_kept_records_scores_or_a_model(tmp_path, engine):
    """They would be refused ever after, or read with rows that are not theirs."""
    town, ours = tmp_path / "town", tmp_path / "ours"
    es.simulate_town(20, town, seed=1)
    es.keep_records(town, ours / "kept")
    es.score_everyone(engine, ours / "kept", "2026-01-01", ours / "scores")
    engine.model.save(ours / "model")
    (tmp_path / "link").symlink_to(ours)
    writers: list[Callable[[Path], object]] = [
        lambda out: es.simulate_town(5, out, seed=1),
        lambda out: es.keep_records(town, out),
        lambda out: es.score_everyone(engine, town, "2026-01-01", out),
        lambda out: es.score_everyone(engine, town, "2026-01-01", out.with_suffix(".parquet")),
        engine.model.save,
        es.read_records(town).write_quarantine,
    ]
    before = sorted(ours.rglob("*"))
    for write, place, what in product(writers, (ours, tmp_path / "link"), ("kept", "scores", "model")):
        for out in (place / what / "new", place / what / "new" / "new"):
            with pytest.raises(es.ArgumentError, match="the output would lie among"):
                write(out)
    assert sorted(ours.rglob("*")) == before


def test_where_replacing_is_stopped_twice_the_old_folder_is_still_there(tmp_path, monkeypatch):
    """The first left it under its other name alone."""
    folder, fresh = tmp_path / "scores", tmp_path / "fresh"
    earlier = earlier_of(folder)
    for place in (earlier, fresh):
        place.mkdir()
    (earlier / "old").touch()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            put_in_place(fresh, folder)
    assert [entry.name for entry in earlier.iterdir()] == ["old"]


def test_a_file_that_was_not_finished_leaves_what_was_there(tmp_path):
    file = tmp_path / "scores"
    file.write_text("earlier", encoding="utf-8")

    def stopped() -> None:
        with whole_file(file) as scratch:
            scratch.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [(entry.name, entry.read_text(encoding="utf-8")) for entry in tmp_path.iterdir()] == [("scores", "earlier")]


def test_a_file_keeps_its_permissions_when_another_takes_its_place(tmp_path):
    file, other = tmp_path / "scores", tmp_path / "elsewhere"
    other.mkdir()
    for within, permissions in product((None, other), (0o600, 0o440)):
        file.touch()
        file.chmod(permissions)
        with whole_file(file, within=within) as scratch:
            assert scratch.stat().st_mode & 0o777 == permissions | 0o600
            scratch.write_text("new", encoding="utf-8")
            assert scratch.parent == (within or tmp_path)
        assert file.read_text(encoding="utf-8") == "new"
        assert file.stat().st_mode & 0o777 == permissions
        file.unlink()
    assert list(tmp_path.iterdir()) == [other]
    assert not list(other.iterdir())


def test_a_file_has_reached_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a power cut in between would leave the name without the content."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        done.append("on the disk")
        fsync(handle)

    def noted_rename(file: Path, target: Path) -> Path:
        done.append("named")
        return rename(file, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    with whole_file(tmp_path / "scores") as scratch:
        scratch.write_text("new", encoding="utf-8")
    assert done == ["on the disk", "named"]


def test_until_it_is_whole_a_folder_is_open_to_nobody_else(tmp_path):
    with whole_folder(tmp_path / "town") as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o700


def test_who_changes_a_folder_is_waited_for_by_who_replaces_it(tmp_path):
    folder, fresh = tmp_path / "kept", tmp_path / "fresh"
    for place in (folder, fresh):
        place.mkdir()
    (fresh / "new").touch()
    with ThreadPoolExecutor(1) as pool:
        with alone_in(folder):
            replacing = pool.submit(put_in_place, fresh, folder)
            assert not wait([replacing], timeout=0.3).done
            assert list(folder.iterdir()) == []
        replacing.result()
    assert list(folder.iterdir()) == [folder / "new"]


def test_who_waited_for_a_folder_that_was_replaced_meanwhile_does_not_change_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    folder.mkdir()
    flock = fcntl.flock

    def replaced_while_it_waits(handle: int, how: int) -> None:
        folder.rename(tmp_path / "old")
        folder.mkdir()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", replaced_while_it_waits)
    with pytest.raises(ArgumentError, match="replaced meanwhile"), alone_in(folder, wait=True):
        pytest.fail("it is not alone in the folder of this name")


def test_what_a_killed_process_left_of_a_folder_is_removed_by_the_next(tmp_path):
    left = tmp_path / ".town.unfinished"
    left.mkdir()
    (left / "half.csv").touch()
    with whole_folder(tmp_path / "town") as scratch:
        (scratch / "whole.csv").touch()
        assert scratch == left
        with pytest.raises(ArgumentError, match="another run"), whole_folder(tmp_path / "town"):
            pass
    assert [str(entry.relative_to(tmp_path)) for entry in sorted(tmp_path.rglob("*"))] == ["town", "town/whole.csv"]


def test_a_folder_is_back_with_its_permissions_after_whoever_replaced_it_was_killed_in_between(tmp_path):
    old = tmp_path / ".model.earlier"
    old.mkdir()
    (old / "manifest").touch()
    old.chmod(0o700)

    def stopped() -> None:
        with whole_folder(tmp_path / "model", replaces=["manifest"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [str(entry.relative_to(tmp_path)) for entry in sorted(tmp_path.rglob("*"))] == ["model", "model/manifest"]
    with whole_folder(tmp_path / "model", replaces=["manifest"]) as scratch:
        (scratch / "manifest").touch()
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest").write_text("earlier", encoding="utf-8")
    rename = Path.rename

    def refuse(place: Path, target: Path) -> Path:
        if place.name == ".model.unfinished":
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return rename(place, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), whole_folder(tmp_path / "model", replaces=["manifest"]) as scratch:
        (scratch / "manifest").write_text("later", encoding="utf-8")
    assert (tmp_path / "model" / "manifest").read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_place_that_cannot_be_written_is_named_as_it_was_asked_for(tmp_path: Path):
    file = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="x" * 300) as raised, whole_file(file):
        pass
    assert raised.value.filename == str(file)


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_disk_that_is_full_is_named(tmp_path, whole):
    with pytest.raises(OSError, match="No space left") as raised, whole(tmp_path / "scores"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "scores")
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_stopped_once_a_folder_is_in_its_place_is_told_so(tmp_path, monkeypatch):
    def stopped(fresh: Path, folder: Path) -> None:
        put_in_place(fresh, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "put_in_place", stopped)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "model") as scratch:
        (scratch / "manifest").touch()
    assert [entry.name for entry in (tmp_path / "model").iterdir()] == ["manifest"]
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_what_keeps_a_folder_from_being_replaced_is_named(tmp_path):
    (tmp_path / "manifest").touch()
    (tmp_path / "thesis.txt").touch()
    (tmp_path / "weather").mkdir()
    with pytest.raises(ArgumentError, match="something else") as raised, whole_folder(tmp_path, replaces=["manifest"]):
        pass
    assert raised.value.file == str(tmp_path / "thesis.txt")
    file = tmp_path / "thesis.txt"
    with pytest.raises(ArgumentError, match="a file where the folder should go") as raised, whole_folder(file):
        pass
    assert raised.value.file == str(file)


@pytest.mark.parametrize(
    "write",
    [
        es.load_engine().model.save,
        lambda out: es.simulate_town(1, out),
        lambda out: es.keep_records(es.sample_records(), out, progress=pytest.fail),
        lambda out: es.score_everyone(es.load_engine(), es.sample_records(), "2026-10-31", out, progress=pytest.fail),
    ],
)
def test_a_read_only_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch, write):
    """What took its place, with its permissions, could not be tidied up: nor could the folder itself be removed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != folder)
    with pytest.raises(ArgumentError, match="read-only") as raised:
        write(folder)
    assert raised.value.file == str(folder)
    assert list(tmp_path.rglob("*")) == [folder]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_is_not_taken_for_another_run(tmp_path, monkeypatch, error):
    """Nobody would know what to wait for."""

    def has_none(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", has_none)
    with pytest.raises(ArgumentError, match="cannot be locked") as raised, alone_in(tmp_path):
        pass
    assert os.strerror(error) in str(raised.value)


def test_a_folder_reaches_the_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    """After a power cut there could be neither."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    with whole_folder(tmp_path / "model", replaces=()) as scratch:
        (scratch / "table").mkdir()
        for name in ("manifest", "table/part"):
            (scratch / name).write_text(name)
    written = [tmp_path / "model" / "manifest", tmp_path / "model" / "table" / "part"]
    assert sorted(synced) == sorted(file.stat().st_ino for file in written)


@pytest.mark.parametrize(
    "write",
    [
        es.load_engine().model.save,
        lambda out: es.simulate_town(1, out),
        lambda out: es.keep_records(es.sample_records(), out),
        lambda out: es.score_everyone(es.load_engine(), es.sample_records(), "2026-10-31", out),
    ],
)
def test_the_current_folder_is_not_pulled_from_under_anybody(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="current one"):
        write(".")
    assert list(tmp_path.iterdir()) == []
