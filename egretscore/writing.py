"""Files and folders written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from egretscore.errors import ArgumentError


@contextmanager
def whole_file(file: Path, *, within: Path | None = None, rights_like: Path | None = None) -> Iterator[Path]:
    """Give a scratch file to write; it takes the place of ``file``, and its rights, when all went well.

    Parameters
    ----------
    file : Path
    within : Path, optional
        The folder for the scratch file, on the same disk, where what a killed process leaves is found
        and removed; beside ``file`` when not given.
    rights_like : Path, optional
        A file whose rights it gets, where there is one, and no ``file`` whose place it takes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    check_no_folder(file)
    scratch = _new_file(within or file.parent, file)
    try:
        rights = rights_of(next((like for like in (file, rights_like) if like is not None and like.exists()), scratch))
        scratch.chmod(rights | stat.S_IRUSR | stat.S_IWUSR)  # before anything is in it
        with errors_that_name(file):
            yield scratch
            _reach_the_disk(scratch)
        scratch.chmod(rights)
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
    scratch = unfinished_of(folder)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone_in(scratch):
        ours = scratch.stat()
        try:
            if earlier_of(folder).is_dir() and not folder.exists():
                earlier_of(folder).rename(folder)  # for whoever was to replace it was killed in between
            shutil.rmtree(earlier_of(folder), ignore_errors=True)
            clear(scratch)  # what a killed process left
            with errors_that_name(folder):
                yield scratch
            put_in_place(scratch, folder)
        except BaseException:
            if is_still(scratch, ours):  # else it is in its place
                shutil.rmtree(scratch)
            raise
        shutil.rmtree(earlier_of(folder), ignore_errors=True)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Make a finished folder the one of this name, with its rights; what has stood there becomes the earlier one.

    Stopped in between, the earlier one is there (:func:`earlier_of`), and none of this name.
    """
    earlier = earlier_of(folder)
    with alone_in(folder, wait=True) if folder.is_dir() else nullcontext():
        stood = next((place for place in (folder, earlier) if place.exists()), None)
        if stood is None:
            fresh.chmod(rights_of_new_folders(fresh))
        else:
            _take_over_rights(fresh, stood)
        shutil.rmtree(earlier, ignore_errors=True)
        if stood == folder:
            folder.rename(earlier)
        try:
            fresh.rename(folder)
        except BaseException:
            if stood == folder and not folder.exists():
                earlier.rename(folder)
            raise


@contextmanager
def errors_that_name(place: Path) -> Iterator[None]:
    """Let an error of the system that names no file name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(place)) from error


@contextmanager
def alone_in(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Let nobody else who asks work in a folder; however this one ends, the system lets go of it.

    Parameters
    ----------
    folder : Path
    wait : bool
        Wait for who is at work there, instead of raising.

    Raises
    ------
    ArgumentError
        If somebody is.
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
        except OSError as error:
            raise ArgumentError(
                "another run is writing this", file=folder, remedy="Wait for it, or let it write elsewhere."
            ) from error
        with suppress(FileNotFoundError):
            replaced = not os.path.samestat(os.fstat(handle), folder.stat())
        if replaced:
            raise ArgumentError("the folder was replaced meanwhile", file=folder, remedy="Do it again.")
        yield
    finally:
        os.close(handle)


def is_still(folder: Path, one: os.stat_result) -> bool:
    """Return whether a folder of this name is the one that it was."""
    try:
        return os.path.samestat(folder.stat(), one)
    except OSError:
        return False


def sha256_of(file: Path) -> str:
    """Return the hash of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def note_beside(name: str) -> str:
    """Return the name of the file in which is noted what a file is."""
    return f"{name}.note"


def rights_of(place: Path) -> int:
    """Return who may do what with a file or a folder."""
    return stat.S_IMODE(place.stat().st_mode)


def unfinished_of(place: Path) -> Path:
    """Return where lies what is to become a file or a folder, until all of it is there."""
    return place.with_name(f".{place.name}.unfinished")


def earlier_of(folder: Path) -> Path:
    """Return where a folder lies that another is taking the place of, until it is removed."""
    return folder.with_name(f".{folder.name}.earlier")


def _take_over_rights(fresh: Path, stood: Path) -> None:
    """Give a folder, and what is in it, the rights of the one whose place it takes, and of what is in that.

    A file of a name of its own gets those of the first file there; what a killed process left is none.
    """
    fresh.chmod(rights_of(stood))
    files = (entry for entry in sorted(stood.iterdir()) if entry.is_file() and not entry.name.startswith("."))
    first = next(files, None)
    for entry in fresh.iterdir():
        like = stood / entry.name
        if entry.is_dir() and like.is_dir():
            _take_over_rights(entry, like)
        elif entry.is_file() and (one := like if like.is_file() else first):
            entry.chmod(rights_of(one))


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove everything from a folder but what has one of these names."""
    for entry in folder.iterdir():
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def check_no_folder(file: Path) -> None:
    """Raise if a folder stands where a file is to be written."""
    if file.is_dir():
        raise ArgumentError("there is a folder where the file should go", file=file)


def check_replaceable(folder: Path, names: Collection[str]) -> None:
    """Raise if there is something, and it is not a folder of files of these names and nothing else."""
    check_no_mount(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArgumentError("there is a file where the folder should go", file=folder, remedy="Name a new folder.")
    for entry in sorted(folder.iterdir()):
        if entry.name not in names or not entry.is_file():
            raise ArgumentError("something else lies in the folder to write", file=entry, remedy="Name a new folder.")


def check_no_mount(folder: Path) -> None:
    """Raise if another disk begins at a folder: no other can take its place."""
    if os.path.ismount(folder):
        raise ArgumentError(
            "the folder to write is where a disk is mounted, and nothing can take its place",
            file=folder,
            remedy="Name a folder inside it.",
        )


def _new_file(folder: Path, file: Path) -> Path:
    """Create a file of a name of its own, as open to others as any new file is."""
    while True:
        scratch = folder / f".{file.name}-{secrets.token_hex(4)}"
        try:
            os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        except OSError as error:  # name the file that was asked for, not the scratch file
            raise type(error)(error.errno, error.strerror, str(file)) from error
        return scratch


def _reach_the_disk(file: Path) -> None:
    # Else a power cut after the renaming could leave the name without the content.
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rights_of_new_folders(place: Path) -> int:
    """Return the rights that a new folder gets in a place.

    One is made to see: to ask the process for its mask is to change it, for the other threads' new files as well.
    """
    with tempfile.TemporaryDirectory(dir=place, prefix=".rights-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        return rights_of(fresh)
