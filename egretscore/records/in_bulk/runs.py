"""Working through everyone's records part by part, in bounded memory, into a new file or folder.

People are dealt out into parts (``egretscore.records.parts``). A run reads as many parts at
once as fit into its memory (``memory.py``) and writes each part whole into a hidden folder beside
the output. When the last part is done, that folder becomes the output. A run may be stopped at any
moment: its finished parts stay, and the next run of the same question goes on with the others.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from egretscore.errors import ArgumentError, RecordsError
from egretscore.records.files import INVENTED_MARK, files_by_table, state_of_files
from egretscore.records.kept.folder import AGAIN, check_no_addition_is_left, is_kept, naming_files
from egretscore.records.parts import PARTS, QUESTION
from egretscore.writing import (
    alone_in,
    clear,
    earlier_of,
    is_still,
    make_unfinished,
    note_beside,
    put_in_place,
    whole_file,
)

SPILL: Final = "spill"
"""The folder beside the parts of a run for what does not fit into memory."""

_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    parts : int
        How many of the parts are done.
    read : int
        For how many of the parts the records have been read: most of the work.
    taken_up : int
        How many of the parts an earlier run had done: they do not count in this run's speed.
    written : int
        How many people, or rows, this run has written, or has checked where it writes nothing.
    """

    parts: int
    read: int
    taken_up: int
    written: int


def to_report(progress: Callable[[_Done], None] | None) -> Callable[[_Done], None]:
    """Return what to call with how far a run is; raise if it cannot be called, before the run and not after a part."""
    if progress is None:
        return lambda _: None
    if not callable(progress):
        raise ArgumentError("progress cannot be called", value=progress, expected="a function of one argument")
    return progress


def check_not_among(out: Path, folder: Path) -> None:
    """Raise if the output would lie among the records of a folder."""
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise ArgumentError("the output would lie among the records", file=out, remedy="Name a place elsewhere.")


def state_of_records(folder: Path) -> list[Any]:
    """Return what tells whether the records have changed since.

    Of kept records, only the state of the files that name all others by their hashes: those others are checked
    against the hashes when they are read.

    Raises
    ------
    RecordsError
        If records are being added to kept ones, or an addition was stopped half-way.
    """
    if is_kept(folder):
        check_no_addition_is_left(folder)
        return state_of_files(naming_files(folder), remedy=AGAIN)
    mark = folder / INVENTED_MARK
    files = [file for of_table in files_by_table(folder, consents_needed=False).values() for file in of_table]
    return state_of_files([*files, mark] if mark.is_file() else files)


def check_unchanged(folder: Path, state: list[Any], done: str) -> None:
    """Raise if the records are no longer in this state.

    Parameters
    ----------
    folder : Path
    state : what :func:`state_of_records` returned
    done : str
        What is being done with them, such as "scored".
    """
    if state_of_records(folder) != state:
        raise RecordsError(
            f"the records changed while they were being {done}",
            file=folder,
            remedy="Do it again, with them as they are now.",
        )


@contextmanager
def parts_beside(
    out: Path, question: str, part_name: Callable[[int], str], is_whole: Callable[[Path, int], bool]
) -> Iterator[tuple[Path, list[int]]]:
    """Give the hidden folder of the parts, and the parts that no earlier run of this question finished.

    The caller puts the folder in its place, or removes it, before leaving.

    Parameters
    ----------
    out : Path
        What is to be written.
    question : str
        What the parts answer; parts that answer another question are removed.
    part_name : function of a part
        Returns the name of its file or folder.
    is_whole : function of the hidden folder and a part
        Returns whether a part is as an earlier run wrote it: after a power cut it may not be.

    Raises
    ------
    ArgumentError
        If another run is at work there.
    """
    names = [part_name(part) for part in range(PARTS)]
    folder = make_unfinished(out.absolute())
    with alone_in(folder):
        asked, ours = folder / QUESTION, folder.stat()
        try:
            if not asked.is_file() or asked.read_bytes() != question.encode():
                clear(folder)
                with whole_file(asked) as scratch:
                    scratch.write_bytes(question.encode())
            there = {part: names[part] for part in range(PARTS) if (folder / names[part]).exists()}
            finished = {name for part, name in there.items() if is_whole(folder, part)}
            clear(folder, keep={QUESTION, *finished, *map(note_beside, finished)})
            yield folder, [part for part in range(PARTS) if names[part] not in finished]
        except BaseException:
            if is_still(folder, ours):  # else it is in its place already, and this one is another run's
                nothing_to_go_on_with = not any((folder / name).exists() for name in names)
                shutil.rmtree(folder if nothing_to_go_on_with else folder / SPILL, ignore_errors=True)
            raise


def make_fence(parts: Path) -> Path:
    """Make the folder within which processes write that may outlive this run, as Spark's outlive a killed driver.

    The next run removes it before it writes anything itself, and they can no longer put a part among its parts.
    """
    fence = parts / f".{secrets.token_hex(8)}"
    fence.mkdir()
    return fence


def take_the_place(parts: Path, out: Path, holds: Collection[str]) -> None:
    """Make the folder of the parts the output, with nothing in it but the files and folders named ``holds``.

    If this is stopped before, the next run finds all parts done. If after, the file of the question and the folder
    that was replaced are left; the next run removes them, and so does erasing from kept records.
    """
    # A killed process of a cluster may have left unfinished files there.
    clear(parts, keep={QUESTION, *holds, *map(note_beside, holds)})
    put_in_place(parts, out)
    remove_what_was_replaced(out)


def remove_what_was_replaced(out: Path) -> None:
    """Remove what is left once a folder of parts has become the output."""
    for noted in (QUESTION, *(entry.name for entry in out.glob(note_beside("*")))):
        (out / noted).unlink(missing_ok=True)
    shutil.rmtree(earlier_of(out), ignore_errors=True)
