"""Files and folders written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from egretscore.errors import ArgumentError


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Give a scratch file to write; it takes the place of ``file`` when all went well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir():
        raise ArgumentError("there is a folder where the file should go", file=file)
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    except OSError as error:  # name the file that was asked for, not the scratch file
        raise type(error)(error.errno, error.strerror, str(file)) from error
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o666 & ~umask())
        _reach_the_disk(scratch)
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
        If the folder holds something else.
    """
    if folder.exists() and not holds_only(folder, replaces):
        raise ArgumentError("the folder to write holds something else", file=folder, remedy="Name a new folder.")
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        shutil.move(fresh, folder)


def holds_only(folder: Path, names: Collection[str]) -> bool:
    """Return whether this is a folder with files of these names and nothing else in it."""
    return folder.is_dir() and all(entry.name in names and entry.is_file() for entry in folder.iterdir())


def _reach_the_disk(file: Path) -> None:
    # Else a power cut after the renaming could leave the name without the content.
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """Return the permissions that new files and folders go without."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
