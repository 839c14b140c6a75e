"""Working through the records of everyone part by part, in bounded memory, into a place of one's own.

People are dealt out into parts (``egretscore.records.parts``). A run takes as many parts at
once as its memory holds (``memory.py``), reads their people's records, and writes each part whole into a
hidden folder beside the place it is to take. When the last is done, the folder takes its
place. A run may be stopped at any moment and leaves its parts; the next run of the same question
goes on with the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from egretscore.errors import ArgumentError, RecordsError
from egretscore.records.folder import INVENTED_MARK, files_by_table, state_of_files
from egretscore.records.kept.folder import check_no_addition_is_left, is_kept, naming_files
from egretscore.records.parts import PARTS, QUESTION
from egretscore.writing import (
    alone_in,
    clear,
    earlier_of,
    is_still,
    note_beside,
    put_in_place,
    unfinished_of,
    whole_file,
)

SPILL: Final = "spill"
"""The folder, among the parts of a run, for what does not fit into memory."""


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
        How many of them an earlier run had done, which is no measure of this one's speed.
    written : int
        How many people, or rows, this run has written.
    """

    parts: int
    read: int
    taken_up: int
    written: int


def check_can_be_told(progress: object) -> None:
    """Raise if this cannot be called with how far a run is: before the run, not after its first part."""
    if not callable(progress):
        raise ArgumentError("progress cannot be called", value=progress, expected="a function of one argument")


def check_not_among(out: Path, records: Path) -> None:
    """Raise if the output would lie among the records."""
    if records.resolve() in (out.resolve(), *out.resolve().parents):
        raise ArgumentError("the output would lie among the records", file=out, remedy="Name a place elsewhere.")


def state_of_records(folder: Path) -> list[Any]:
    """Return what tells whether the records are others than before.

    Of kept ones, the files that name all others by their hashes, against which those are held when they are read.

    Raises
    ------
    RecordsError
        If an addition to kept ones is at work, or was stopped half-way.
    """
    if is_kept(folder):
        check_no_addition_is_left(folder)
        return state_of_files(naming_files(folder))
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

    When all went well, the caller has put it in its place, or removed it.

    Parameters
    ----------
    out : Path
        What is to be written.
    question : str
        What the parts answer.
    part_name : function of a part
        Of the file or folder of each.
    is_whole : function of the hidden folder and a part
        Whether a part that an earlier run wrote is as it wrote it: after a power cut it may not be.

    Raises
    ------
    ArgumentError
        If another run is at work there.
    """
    names = [part_name(part) for part in range(PARTS)]
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = unfinished_of(out.absolute())
    folder.mkdir(mode=0o700, exist_ok=True)
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
            if is_still(folder, ours):  # else it is in its place, and this may be what another run has begun
                nothing_to_go_on_with = not any((folder / name).exists() for name in names)
                shutil.rmtree(folder if nothing_to_go_on_with else folder / SPILL, ignore_errors=True)
            raise


def take_the_place(parts: Path, out: Path, holds: Collection[str]) -> None:
    """Make the folder of the parts the folder that was to be written, with nothing in it but what it holds.

    Stopped before, the next run finds all parts done. Stopped after, the file of the question and the folder that
    was there before are left, which the next run, and who erases from kept records, removes.
    """
    # What a killed process of a cluster was writing may lie there as well.
    clear(parts, keep={QUESTION, *holds, *map(note_beside, holds)})
    put_in_place(parts, out)
    remove_what_was_replaced(out)


def remove_what_was_replaced(out: Path) -> None:
    """Remove what is left when parts have taken the place of earlier ones."""
    for noted in (QUESTION, *(entry.name for entry in out.glob(note_beside("*")))):
        (out / noted).unlink(missing_ok=True)
    shutil.rmtree(earlier_of(out), ignore_errors=True)
