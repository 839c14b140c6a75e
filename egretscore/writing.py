"""Files and folders written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from egretscore.errors import ArgumentError

KEPT_MARK: Final = "kept.json"
"""The file that marks a folder as kept records."""

SCORES_MARK: Final = "_scores.json"
"""The file that marks a folder as scores."""

MODEL_MARK: Final = "manifest.sha256"
"""The file that marks a folder as a model."""

_OURS: Final[Mapping[str, str]] = {
    KEPT_MARK: "kept records",
    SCORES_MARK: "scores",
    MODEL_MARK: "the files of a model",
}


@contextmanager
def whole_file(file: Path, *, within: Path | None = None, permissions_like: Path | None = None) -> Iterator[Path]:
    """Give a scratch file to write; when all went well it replaces ``file`` and keeps its permissions.

    Parameters
    ----------
    file : Path
    within : Path, optional
        The folder for the scratch file, on the same disk, where the leftovers of a killed process
        are found and removed; beside ``file`` when not given. Without this folder nothing is written.
    permissions_like : Path, optional
        A file whose permissions to copy where ``file`` does not exist yet.
    """
    if within is None:
        make_folder(file.parent)
    check_no_folder(file)
    scratch = _new_file(within or file.parent, file)
    try:
        like = next((place for place in (file, permissions_like) if place is not None and place.exists()), scratch)
        permissions = permissions_of(like)
        scratch.chmod(permissions | stat.S_IRUSR | stat.S_IWUSR)  # before anything is in it
        with errors_that_name(file):
            yield scratch
            _reach_the_disk(scratch)
        scratch.chmod(permissions)
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, replaces: Collection[str] = ()) -> Iterator[Path]:
    """Give a scratch folder to fill; it becomes ``folder`` when all went well.

    Parameters
    ----------
    folder : Path
        Must not exist, be empty, or hold files of the names ``replaces`` and nothing else:
        then it is replaced.
    replaces : names of files

    Raises
    ------
    ArgumentError
        If the folder holds something else, or is being written.
    """
    check_replaceable(folder, replaces)
    folder = folder.resolve()
    scratch = make_unfinished(folder)
    with alone_in(scratch):
        ours = scratch.stat()
        try:
            if earlier_of(folder).is_dir() and not folder.exists():
                earlier_of(folder).rename(folder)  # a run that was replacing it was killed in between
            shutil.rmtree(earlier_of(folder), ignore_errors=True)
            clear(scratch)  # what a killed process left
            with errors_that_name(folder):
                yield scratch
                for file in filter(Path.is_file, scratch.rglob("*")):
                    _reach_the_disk(file)
            put_in_place(scratch, folder)
        except BaseException:
            if is_still(scratch, ours):  # else it is in place already
                shutil.rmtree(scratch)
            raise
        shutil.rmtree(earlier_of(folder), ignore_errors=True)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Replace ``folder`` by a finished one, which gets its permissions; the old one is moved to :func:`earlier_of`.

    If this is stopped in between, only the old one exists, under its new name.
    """
    earlier = earlier_of(folder)
    with alone_in(folder, wait=True) if folder.is_dir() else nullcontext():
        stood = next((place for place in (folder, earlier) if place.exists()), None)
        if stood is None:
            fresh.chmod(permissions_of_new_folders(fresh))
        else:
            _copy_permissions(fresh, stood)
        if stood == folder:
            shutil.rmtree(earlier, ignore_errors=True)
            folder.rename(earlier)
        try:
            fresh.rename(folder)
        except BaseException:
            if stood == folder and not folder.exists():
                earlier.rename(folder)
            raise


@contextmanager
def errors_that_name(place: Path) -> Iterator[None]:
    """Let an operating system error without a file name say this one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(place)) from error


@contextmanager
def _errors_about(place: Path) -> Iterator[None]:
    """Let an operating system error name the place that was asked for, not the hidden one beside it."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(place)) from error


@contextmanager
def alone_in(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder against every other caller; the system releases the lock however this process ends.

    Parameters
    ----------
    folder : Path
    wait : bool
        Wait for the lock instead of raising.

    Raises
    ------
    ArgumentError
        If another process holds it, or the disk has no locks.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - not on Windows
        yield
        return
    handle, replaced = os.open(folder, os.O_RDONLY), True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ArgumentError(
                "another run is writing this", file=folder, remedy="Wait for it, or let it write elsewhere."
            ) from error
        except OSError as error:
            raise ArgumentError(
                f"this folder cannot be locked against other runs ({error.strerror})",
                file=folder,
                remedy="Let its disk be mounted with locks (Lustre: flock), or write elsewhere.",
            ) from error
        with suppress(FileNotFoundError):
            replaced = not os.path.samestat(os.fstat(handle), folder.stat())
        if replaced:
            raise ArgumentError("the folder was replaced meanwhile", file=folder, remedy="Do it again.")
        yield
    finally:
        os.close(handle)


def is_still(folder: Path, one: os.stat_result) -> bool:
    """Return whether the folder of this name is still the same one."""
    try:
        return os.path.samestat(folder.stat(), one)
    except OSError:
        return False


def sha256_of(file: Path) -> str:
    """Return the hash of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def note_beside(name: str) -> str:
    """Return the name of the note beside a file."""
    return f"{name}.note"


def permissions_of(place: Path) -> int:
    """Return the permission bits of a file or a folder."""
    return stat.S_IMODE(place.stat().st_mode)


def unfinished_of(place: Path) -> Path:
    """Return the hidden place of a file or folder until it is complete."""
    return place.with_name(f".{place.name}.unfinished")


def make_unfinished(place: Path) -> Path:
    """Make the hidden folder of :func:`unfinished_of`, open to nobody else, where it is not there, and return it."""
    folder = unfinished_of(place)
    make_folder(folder.parent)
    with _errors_about(place):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def earlier_of(folder: Path) -> Path:
    """Return the hidden place of a folder that was replaced, until it is removed."""
    return folder.with_name(f".{folder.name}.earlier")


def _copy_permissions(fresh: Path, stood: Path) -> None:
    """Give a folder and its contents the permissions of the one it replaces and of its contents.

    A file that was not there before gets the permissions of the first file there. Hidden files, which a killed
    process may have left, do not count.
    """
    fresh.chmod(permissions_of(stood))
    files = (entry for entry in sorted(stood.iterdir()) if entry.is_file() and not entry.name.startswith("."))
    first = next(files, None)
    for entry in fresh.iterdir():
        like = stood / entry.name
        if entry.is_dir() and like.is_dir():
            _copy_permissions(entry, like)
        elif entry.is_file() and (one := like if like.is_file() else first):
            entry.chmod(permissions_of(one))


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove everything from a folder but what has one of these names.

    Folders first, and each under another name: a process of another machine that wrote its scratch files there, and
    outlived its run, can put no file into place any more once its folder is gone.
    """
    for entry in folder.iterdir():
        if entry.name not in keep and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry.rename(folder / f".{secrets.token_hex(8)}"))
    for entry in folder.iterdir():
        if entry.name not in keep:
            entry.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, where they are not there; raise if a file stands in the way."""
    _check_nothing_in_the_way(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _check_nothing_in_the_way(folder: Path) -> None:
    for place in (folder, *folder.parents):
        try:
            there = stat.S_ISDIR(place.lstat().st_mode) or place.is_dir()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not there:
            raise ArgumentError("there is a file where the folder should go", file=place, remedy="Name another folder.")
        return


def check_no_folder(file: Path) -> None:
    """Raise if a folder stands where a file is to be written."""
    if file.is_dir():
        raise ArgumentError("there is a folder where the file should go", file=file, remedy="Name another file.")


def check_lies_in_nothing_of_ours(place: Path) -> None:
    """Raise if a file or folder would lie in one that this library wrote and that must hold nothing else."""
    for folder in Path(os.path.realpath(place)).parents:
        for mark, what in _OURS.items():
            if os.path.isfile(folder / mark):  # noqa: PTH113 - Path.is_file raises where it may not look
                raise ArgumentError(f"the output would lie among {what}", file=folder, remedy="Name a place elsewhere.")


def check_replaceable(folder: Path, names: Collection[str]) -> None:
    """Raise unless there is nothing there yet, or a folder that holds only files of these names."""
    _check_nothing_in_the_way(folder)
    check_lies_in_nothing_of_ours(folder)
    check_can_give_way(folder)
    if not folder.exists():
        return
    for entry in sorted(folder.iterdir()):
        if entry.name not in names or not entry.is_file():
            raise ArgumentError("something else lies in the folder to write", file=entry, remedy="Name a new folder.")


def check_can_be_made(folder: Path) -> None:
    """Raise unless something can be written where a folder should go: by trying, for permissions do not say it all."""
    with _errors_about(folder):
        tempfile.TemporaryDirectory(dir=_nearest(folder.resolve().parent), prefix=".to-be-made-").cleanup()


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest that is there of those it lies in."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def check_can_give_way(folder: Path) -> None:
    """Raise if a folder that is there cannot be replaced: the current one, a mount point, or a read-only one."""
    if folder.is_dir() and folder.samefile(os.curdir):
        raise ArgumentError(
            "the folder to write is the current one, and nothing can take its place while you are in it",
            file=folder,
            remedy="Name a folder inside it.",
        )
    if os.path.ismount(folder):
        raise ArgumentError(
            "the folder to write is where a disk is mounted, and nothing can take its place",
            file=folder,
            remedy="Name a folder inside it.",
        )
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise ArgumentError(
            "the folder to write is read-only", file=folder, remedy="Let it be written to, or name a new folder."
        )


def _new_file(folder: Path, file: Path) -> Path:
    """Create a file under an unused name, with the permissions of any new file."""
    while True:
        scratch = folder / f".{file.name}-{secrets.token_hex(4)}"
        try:
            with _errors_about(file):
                os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return scratch


def _reach_the_disk(file: Path) -> None:
    # Otherwise a power cut after the rename could leave the name without the content.
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def permissions_of_new_folders(place: Path) -> int:
    """Return the permissions that a new folder gets in a place.

    One is made to find out: reading the process's umask means changing it, for the other threads as well.
    """
    with tempfile.TemporaryDirectory(dir=place, prefix=".permissions-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        return permissions_of(fresh)
