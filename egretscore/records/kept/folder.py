"""Checked records kept on disk, so that what was checked once is not checked again.

A folder of kept records holds ``kept.json``, the policy whose words they use, and one folder
for each of the 64 parts (``egretscore.records.parts``). Its ``part.json`` names, by hash, a Parquet
file for each table, with the rows in the order of subject_id; a file is checked against its hash
before it is used. Rows that the checks set aside are not kept; the records that they put in doubt
are noted (``doubts``), so standing finds the same on kept records as on the original ones.

A part is rewritten by writing new files beside the old ones, then ``part.json`` in one step, then
removing the files it no longer names. If that is killed at any moment, the part is the old one or
the new one, and the next change removes what was left. Only one process at a time may change a folder.

A part that was added to remembers whose rows the last additions touched (``touched.py``).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from egretscore import __version__
from egretscore.arrays import numpy_numbers, table_in
from egretscore.dates import today
from egretscore.errors import ArgumentError, RecordsError
from egretscore.records.database import check_name_is_text, check_no_wildcard, threads_to_use
from egretscore.records.parts import PARTS, QUESTION, WHICH_PART
from egretscore.records.schema import DISPUTABLE, READY, TABLES
from egretscore.writing import KEPT_MARK, alone_in, earlier_of, sha256_of, unfinished_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT: Final = KEPT_MARK
"""The file that marks a folder as kept records and describes them."""

POLICY: Final = "policy.toml"
ADDING: Final = "adding"
"""The file that is in a folder while records are added, and stays if that is stopped half-way."""

FORMAT: Final = 3
AGAIN: Final = "Keep the records again, from the original ones."
"""What to do about kept records that are damaged."""

TOUCHED: Final = "touched"
"""The extra table of a part that names the people whose rows the last additions touched (``touched.py``)."""

State = tuple[int, int]
"""Identifies a file as written: another once it is written again."""

_ABOUT_PART: Final = "part.json"
# Measured: from larger groups everyone's rows are read a tenth faster at most, one person's in twice the time.
_ROWS_OF_A_GROUP: Final = 4_096
_COMPRESSION: Final = "lz4"
# Nearly all different, so a dictionary would only take space and time.
_NAMES_OF_RECORDS: Final = frozenset(TABLES[table].identity[0] for table in DISPUTABLE)
_DIGITS_IN_NAME: Final = 16
_OF_A_PART: Final = re.compile(rf"\.?({'|'.join([*READY, TOUCHED, 'part'])})[-.].*")


@dataclass(frozen=True)
class AboutKept:
    """What is noted about kept records as a whole.

    Attributes
    ----------
    policy : str
        The text of the policy whose words they use.
    invented : mapping or None
        What the records they came from said of themselves if they are invented.
    """

    policy: str
    invented: Mapping[str, Any] | None


@dataclass(frozen=True)
class Written:
    """A file of a table, as it was written.

    Attributes
    ----------
    rows : int
    sha256 : str
    last_day : date or None
        The last day on which a row came on file, up to the day of writing.
    """

    rows: int
    sha256: str
    last_day: date | None


@dataclass(frozen=True)
class AboutPart:
    """A part's description of itself: ``part.json``.

    Attributes
    ----------
    rows : mapping of table to how many rows it has
    sha256 : mapping of table to the hash of its file
    last_day : mapping of table to the last day on which a row came on file, None where there is none
    set_aside : int
        How many rows that may name its people were set aside when it was kept.
    unclear : int
        How many rows of the whole records were set aside then that may be a withdrawal or an objection to any record.
    added_to : tuple of str
        The state of the part before each of the last additions, the earliest first.
    touched : str, optional
        The hash of the file with the people whose rows these touched.
    """

    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    last_day: Mapping[str, date | None]
    set_aside: int
    unclear: int
    added_to: tuple[str, ...] = ()
    touched: str | None = None

    @property
    def state(self) -> str:
        """Identifies the part's records: the same for the same records, in whatever steps they were added."""
        return hashlib.sha256("".join(self.sha256[table] for table in READY).encode()).hexdigest()

    def with_tables(self, written: Mapping[str, Written]) -> AboutPart:
        """Return the part with some tables written again."""
        return replace(
            self,
            rows={**self.rows, **{table: of.rows for table, of in written.items()}},
            sha256={**self.sha256, **{table: of.sha256 for table, of in written.items()}},
            last_day={**self.last_day, **{table: of.last_day for table, of in written.items()}},
        )


def part_folder(part: int) -> str:
    """Return the name of the folder that holds a part."""
    return f"part-{part:02}"


NAMES_IN_A_FOLDER: Final = frozenset({ABOUT, POLICY, ADDING, *map(part_folder, range(PARTS))})


def is_kept(folder: Path) -> bool:
    """Return whether a folder says that it holds kept records.

    Raises
    ------
    RecordsError
        If the folder may not be read, or no folder can have this name, or it holds parts and no longer says so.
    """
    try:
        # In this order: a folder that is replaced meanwhile has both afterwards.
        has_parts = (folder / part_folder(0) / _ABOUT_PART).is_file()
        says_so = (folder / ABOUT).is_file()
    except OSError as error:
        raise RecordsError(
            f"the folder cannot be read ({error.strerror})", file=folder, expected="a folder that this process may read"
        ) from error
    if has_parts and not says_so:
        raise RecordsError(
            "the file is gone from a folder of kept records",
            file=folder / ABOUT,
            remedy="Remove the folder, and keep the original records again.",
        )
    return says_so


def check_is_kept(folder: Path, problem: str = "these are no kept records") -> None:
    """Raise if a folder holds no kept records, or none that can be read."""
    check_name_is_text(folder)
    if not is_kept(folder):
        if not folder.exists():
            problem = "there is no such folder"
        raise ArgumentError(problem, file=folder, expected="a folder that egretscore keep wrote")


def check_no_addition_is_left(folder: Path) -> None:
    """Raise if some parts of kept records have been added to and others have not."""
    if (folder / ADDING).exists():
        raise RecordsError(
            "records are being added to these, or an addition was stopped half-way",
            file=folder / ADDING,
            remedy="Wait for it, or run the same `egretscore add` again to finish it.",
        )


def naming_files(folder: Path) -> list[Path]:
    """Return the files that name all others of kept records by their hashes."""
    return [folder / ABOUT, *(folder / part_folder(part) / _ABOUT_PART for part in range(PARTS))]


def files_of_part(folder: Path, part: int) -> dict[str, Path]:
    """Return the file of each table of a part."""
    own, about = folder / part_folder(part), about_part(folder, part)
    return {table: own / name_of_file(table, sha256) for table, sha256 in about.sha256.items()}


def _hashed(folder: Path, about: AboutPart) -> dict[Path, str]:
    """Return every file that a part names, and its hash."""
    named = {**about.sha256, **({} if about.touched is None else {TOUCHED: about.touched})}
    return {folder / name_of_file(table, sha256): sha256 for table, sha256 in named.items()}


def name_of_file(table: str, sha256: str) -> str:
    """Return the name of the file that holds a table of a part."""
    return f"{table}-{sha256[:_DIGITS_IN_NAME]}.parquet"


# ------------------------------------------------------------------------------- writing


def write_table(rows: pa.Table, folder: Path, table: str) -> Written:
    """Write a table of a part, its rows in the order of subject_id.

    Where the part is written again, the file has the permissions that the part's files had.
    """
    from pyarrow import parquet

    with whole_file(folder / f"{table}.parquet", permissions_like=folder / _ABOUT_PART) as scratch:
        parquet.write_table(
            rows,
            scratch,
            compression=_COMPRESSION,
            row_group_size=_ROWS_OF_A_GROUP,
            use_dictionary=[name for name in rows.column_names if name not in _NAMES_OF_RECORDS],
        )
    sha256 = sha256_of(folder / f"{table}.parquet")
    (folder / f"{table}.parquet").replace(folder / name_of_file(table, sha256))
    return Written(len(rows), sha256, _last_day(rows[READY[table].on_file]) if table in READY else None)


def _last_day(days: pa.ChunkedArray) -> date | None:
    """Return the last of some days that is not in the future: such a day may be mistyped."""
    import pyarrow as pa

    each = numpy_numbers(days.cast(pa.int32())).astype("datetime64[D]")
    passed = each[each <= np.datetime64(today())]
    return passed.max().item() if len(passed) else None


def write_about_part(folder: Path, about: AboutPart) -> None:
    """Write ``part.json``, which makes the tables it names those of the part, and remove all other files."""
    with whole_file(folder / _ABOUT_PART) as scratch:
        scratch.write_text(json.dumps(asdict(about), indent=2, default=date.isoformat) + "\n", encoding="utf-8")
    _remove_all_others(folder, about)


def _remove_all_others(folder: Path, about: AboutPart) -> None:
    """Remove what a stopped change left in a part's folder."""
    own = {_ABOUT_PART, *(file.name for file in _hashed(folder, about))}
    for entry in folder.iterdir():
        if entry.name not in own:
            entry.unlink()


def begin_adding(folder: Path, files: Collection[str]) -> None:
    """Note the hashes of the files that are being added, before any part is another than it was."""
    with whole_file(folder / ADDING, within=spill_of(folder)) as scratch:
        scratch.write_text("".join(f"{sha256}\n" for sha256 in sorted(files)), encoding="ascii")


def finish_adding(folder: Path) -> None:
    """Note that everything was added."""
    (folder / ADDING).unlink()


def check_finishes_what_was_begun(folder: Path, files: Collection[str]) -> None:
    """Raise if an addition was stopped half-way and this one is of other files.

    More files beside them would do as little: rows of theirs that contradict those of the first are set aside with them
    in parts that were not reached, and by themselves in the others.
    """
    noted = folder / ADDING
    begun = set(noted.read_text(encoding="ascii", errors="replace").split()) if noted.is_file() else set()
    if begun not in (set(), set(files)):
        raise RecordsError(
            "an addition was stopped half-way, and these are other files than those it is of",
            file=noted,
            expected="the files of that addition, unchanged and no others",
            remedy="Run that `egretscore add` again first; if its files are gone, keep all records again.",
        )


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Let nobody else change kept records or keep them again, and remove what a stopped change left."""
    folder = folder.resolve()
    unfinished = unfinished_of(folder)
    with alone_in(folder, wait=True):
        if unfinished.is_dir():
            with alone_in(unfinished):
                shutil.rmtree(unfinished)
        for left in (earlier_of(folder), spill_of(folder)):
            if left.is_dir():
                shutil.rmtree(left)
        try:
            yield
        finally:
            shutil.rmtree(spill_of(folder), ignore_errors=True)


def spill_of(folder: Path) -> Path:
    """Return the folder for what does not fit into memory while a folder is changed."""
    return folder.resolve().with_name(f".{folder.resolve().name}.changing")


def write_about(folder: Path, about: AboutKept) -> None:
    """Write what the records are, and the policy whose words they use."""
    said = {
        "format": FORMAT,
        "egretscore": __version__,
        "invented": about.invented,
        "parts": PARTS,
        "part": WHICH_PART,
        "policy_sha256": hashlib.sha256(about.policy.encode()).hexdigest(),
    }
    with whole_file(folder / POLICY) as scratch:
        scratch.write_bytes(about.policy.encode())  # as it is hashed, on every system
    with whole_file(folder / ABOUT) as scratch:
        scratch.write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------- reading


def read_about(folder: Path) -> AboutKept:
    """Return what is noted about kept records as a whole.

    Raises
    ------
    RecordsError
        If they are of another format, the policy was altered, or the folder holds something
        else, which would be ignored.
    ArgumentError
        If the folder's name holds a wildcard.
    """
    about_file, policy_file = folder / ABOUT, folder / POLICY
    check_no_wildcard(folder)
    try:
        about = json.loads(about_file.read_text(encoding="utf-8"))
        policy = policy_file.read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise RecordsError(f"the kept records cannot be read ({error})", file=folder, remedy=_remedy(error)) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or "invented" not in about:
        raise RecordsError(
            "the kept records are of another format",
            file=about_file,
            value=about.get("format") if isinstance(about, dict) else None,
            expected=f"format {FORMAT}",
            remedy=AGAIN,
        )
    if hashlib.sha256(policy).hexdigest() != about.get("policy_sha256"):
        raise RecordsError("the file is not as it was kept", file=policy_file, remedy=AGAIN)
    for entry in strangers(folder):
        raise RecordsError(
            "this file or folder does not belong among kept records",
            file=entry,
            remedy="Move it elsewhere; to add records, use `egretscore add`.",
        )
    return AboutKept(policy.decode("utf-8"), about["invented"])


def strangers(folder: Path) -> list[Path]:
    """Return what is in a folder, or in its parts, and does not belong to kept records."""
    found = [entry for entry in folder.iterdir() if entry.name not in {QUESTION, *NAMES_IN_A_FOLDER}]
    for part in map(part_folder, range(PARTS)):
        if (folder / part).is_dir():
            found += [entry for entry in (folder / part).iterdir() if not _OF_A_PART.fullmatch(entry.name)]
    return sorted(found)


def state_of_part(folder: Path, part: int) -> tuple[State, State]:
    """Return the state of the whole folder, which changes when all is kept again, and that of a part."""
    return _state(folder / ABOUT), _state(folder / part_folder(part) / _ABOUT_PART)


def _state(file: Path) -> State:
    try:
        of = file.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecordsError(
            "the kept records are gone, or are being kept again", file=file, remedy="Open them again."
        ) from error
    except OSError as error:
        raise RecordsError(
            f"the kept records cannot be read ({error.strerror})", file=file, remedy=_remedy(error)
        ) from error
    return of.st_ino, of.st_mtime_ns


def verify(folder: Path, parts: Collection[int], threads: int | None = None) -> None:
    """Check every file of some parts against its hash, on so many threads, or as many as there are cores.

    Raises
    ------
    RecordsError
        If one is missing or is not as it was kept.
    """
    with ThreadPoolExecutor(threads_to_use(threads)) as pool:
        list(pool.map(lambda part: _verify_part(folder, part), parts))


def _verify_part(folder: Path, part: int) -> None:
    for file, sha256 in _hashed(folder / part_folder(part), about_part(folder, part)).items():
        verify_file(file, sha256)


def verify_file(file: Path, sha256: str) -> None:
    """Raise if a file is missing or is not as it was kept."""
    try:
        found = sha256_of(file)
    except OSError as error:
        raise RecordsError(f"the file cannot be read ({error.strerror})", file=file, remedy=_remedy(error)) from error
    if found != sha256:
        raise RecordsError("the file is not as it was kept", file=file, remedy=AGAIN)


def read_part(folder: Path, part: int) -> tuple[AboutPart, dict[str, pa.Table]]:
    """Return a part's description and its tables, to be changed; what a stopped change left is removed.

    Raises
    ------
    RecordsError
        If the part is damaged.
    """
    about = about_part(folder, part)
    _verify_part(folder, part)
    _remove_all_others(folder / part_folder(part), about)
    return about, {table: table_in(file) for table, file in files_of_part(folder, part).items()}


def read_table(folder: Path, part: int, table: str) -> pa.Table:
    """Return one table of a part, checked against its hash.

    Raises
    ------
    RecordsError
        If it is damaged.
    """
    sha256 = about_part(folder, part).sha256[table]
    file = folder / part_folder(part) / name_of_file(table, sha256)
    verify_file(file, sha256)
    return table_in(file)


def about_part(folder: Path, part: int) -> AboutPart:
    """Return a part's description of itself.

    Raises
    ------
    RecordsError
        If it is missing or damaged.
    """
    file = folder / part_folder(part) / _ABOUT_PART
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        rows = {table: int(raw["rows"][table]) for table in READY}
        sha256 = {table: str(raw["sha256"][table]) for table in READY}
        days = {table: raw["last_day"][table] for table in READY}
        last_day = {table: day and date.fromisoformat(day) for table, day in days.items()}
        touched = raw["touched"] if raw["touched"] is None else str(raw["touched"])
        added_to = tuple(map(str, raw["added_to"]))
        return AboutPart(rows, sha256, last_day, int(raw["set_aside"]), int(raw["unclear"]), added_to, touched)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = "a part of the kept records is missing or damaged"
        if isinstance(error, PermissionError):
            problem = "a part of the kept records cannot be read"
        raise RecordsError(problem, file=file, remedy=_remedy(error)) from error


def _remedy(error: Exception) -> str:
    return "Let this process read it." if isinstance(error, PermissionError) else AGAIN
