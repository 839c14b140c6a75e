"""Checked records kept on disk, so that what was checked once is not checked again.

A folder of kept records holds ``kept.json``, the policy whose words they use, and one folder
for each of the 64 parts (``egretscore.parts``). ``part.json`` in it names a Parquet file for
each table, in the order of subject_id, by its hash; what is read of a part is held against
those first. Nothing stands there that the checks set aside; what they put in doubt does
(``doubts``), so standing finds on kept records what it finds on those they came from.

Who writes a part again writes new files beside the old ones, then ``part.json`` in one step,
then removes what it names no more: killed at any moment, a part is the old one or the new
one, and the next who erases removes what was left. Only one at a time may change a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from egretscore.errors import RecordsError
from egretscore.parts import PARTS, QUESTION, WHICH_PART, part_of
from egretscore.records.database import GLOB_SIGNS
from egretscore.records.schema import CHECKED_COLUMNS, TABLES
from egretscore.writing import alone_in, earlier_of, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT: Final = "kept.json"
"""The file by which a folder says that its records are kept ones, and what they are."""

POLICY: Final = "policy.toml"
FORMAT: Final = 1
AGAIN: Final = "Keep the records again, from those they came from."
"""What to do about kept records that are damaged."""

State = tuple[int, int]
"""What a file is known by: another once it was written again."""

_ABOUT_PART: Final = "part.json"
# Measured: one person's rows of a table are read in under a millisecond, everyone's as fast as from larger groups.
_ROWS_OF_A_GROUP: Final = 4_096
_COMPRESSION: Final = "lz4"
_DIGITS_IN_NAME: Final = 16
_OF_A_PART: Final = re.compile(rf"\.?({'|'.join([*CHECKED_COLUMNS, 'part'])})[-.].*")


@dataclass(frozen=True)
class AboutKept:
    """What kept records say of themselves.

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
class AboutPart:
    """What a part says of itself.

    Attributes
    ----------
    rows : mapping of table to how many rows it has
    sha256 : mapping of table to the hash of its file
    set_aside : int
        How many rows that may name its people were set aside when it was kept.
    """

    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    set_aside: int


def part_folder(part: int) -> str:
    """Return the name of the folder that holds a part."""
    return f"part-{part:02}"


def is_kept(folder: Path) -> bool:
    """Return whether a folder says that it holds kept records."""
    return (folder / ABOUT).is_file()


def kept_files(folder: Path, parts: Iterable[int] = range(PARTS)) -> list[Path]:
    """Return the files of some parts, one for each table."""
    return [file for part in parts for file in files_of_part(folder, part).values()]


def files_of_part(folder: Path, part: int) -> dict[str, Path]:
    """Return the file of each table of a part."""
    return _files(folder / part_folder(part), about_part(folder, part))


def _files(folder: Path, about: AboutPart) -> dict[str, Path]:
    return {table: folder / _name(table, sha256) for table, sha256 in about.sha256.items()}


def _name(table: str, sha256: str) -> str:
    return f"{table}-{sha256[:_DIGITS_IN_NAME]}.parquet"


# ------------------------------------------------------------------------------- writing


def write_table(rows: pa.Table, folder: Path, table: str) -> tuple[int, str]:
    """Write a table of a part, its rows in the order of subject_id, and return how many they are, and the hash."""
    from pyarrow import parquet

    with whole_file(folder / f"{table}.parquet") as scratch:
        parquet.write_table(rows, scratch, compression=_COMPRESSION, row_group_size=_ROWS_OF_A_GROUP)
    sha256 = _sha256(folder / f"{table}.parquet")
    (folder / f"{table}.parquet").replace(folder / _name(table, sha256))
    return len(rows), sha256


def write_about_part(folder: Path, written: Mapping[str, tuple[int, str]], set_aside: int) -> AboutPart:
    """Make the tables that :func:`write_table` wrote into a folder those of the part, and remove all others."""
    rows = {table: written[table][0] for table in CHECKED_COLUMNS}
    sha256 = {table: written[table][1] for table in CHECKED_COLUMNS}
    about = AboutPart(rows, sha256, set_aside)
    with whole_file(folder / _ABOUT_PART) as scratch:
        scratch.write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
    _remove_all_others(folder, about)
    return about


def _remove_all_others(folder: Path, about: AboutPart) -> None:
    own = {_ABOUT_PART, *(file.name for file in _files(folder, about).values())}
    for entry in folder.iterdir():
        if entry.name not in own:
            entry.unlink()


def write_about(folder: Path, about: AboutKept, version: str) -> None:
    """Write what the records are, and the policy whose words they use."""
    said = {
        "format": FORMAT,
        "egretscore": version,
        "invented": about.invented,
        "parts": PARTS,
        "part": WHICH_PART,
        "policy_sha256": hashlib.sha256(about.policy.encode()).hexdigest(),
    }
    with whole_file(folder / POLICY) as scratch:
        scratch.write_text(about.policy, encoding="utf-8")
    with whole_file(folder / ABOUT) as scratch:
        scratch.write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def erase(folder: Path, subject_id: str) -> int:
    """Write a person's part again without their rows, and return how many those were.

    Who was stopped while erasing, however, finishes by erasing again.

    Raises
    ------
    RecordsError
        If the part is damaged.
    """
    from pyarrow import compute, parquet

    part = part_of(subject_id)
    with alone_in(folder, wait=True):
        shutil.rmtree(earlier_of(folder.resolve()), ignore_errors=True)
        about = about_part(folder, part)
        verify(folder, [part])
        _remove_all_others(folder / part_folder(part), about)
        before = {table: parquet.read_table(file) for table, file in files_of_part(folder, part).items()}
        after = {
            name: table.filter(compute.not_equal(table["subject_id"], subject_id)) for name, table in before.items()
        }
        if any(len(after[table]) < len(before[table]) for table in before):
            written = {table: write_table(rows, folder / part_folder(part), table) for table, rows in after.items()}
            write_about_part(folder / part_folder(part), written, about.set_aside)
    return sum(len(before[table]) - len(after[table]) for table in TABLES)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ------------------------------------------------------------------------------- reading


def read_about(folder: Path) -> AboutKept:
    """Return what kept records say of themselves.

    Raises
    ------
    RecordsError
        If they say it in another format, the policy is another one, or something else lies
        in the folder that would be passed over.
    """
    about_file, policy_file = folder / ABOUT, folder / POLICY
    if GLOB_SIGNS.intersection(str(folder.absolute())):
        raise RecordsError(
            "the name of this folder holds a sign that databases take to stand for others",
            file=folder,
            expected=f"a name without {' '.join(sorted(GLOB_SIGNS))}",
            remedy="Rename it.",
        )
    try:
        about = json.loads(about_file.read_text(encoding="utf-8"))
        policy = policy_file.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordsError(f"the kept records cannot be read ({error})", file=folder, remedy=AGAIN) from error
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
            "this lies among kept records and is none of them",
            file=entry,
            remedy="Move it elsewhere; to keep more records, keep all of them again.",
        )
    return AboutKept(policy.decode("utf-8"), about["invented"])


def strangers(folder: Path) -> list[Path]:
    """Return what lies in a folder, or in its parts, and belongs to no kept records."""
    parts = set(map(part_folder, range(PARTS)))
    found = [entry for entry in folder.iterdir() if entry.name not in {ABOUT, POLICY, QUESTION, *parts}]
    for part in sorted(parts):
        if (folder / part).is_dir():
            found += [entry for entry in (folder / part).iterdir() if not _OF_A_PART.fullmatch(entry.name)]
    return sorted(found)


def state_of_part(folder: Path, part: int) -> tuple[State, State]:
    """Return what tells whether all records were kept again, and whether a part was written again."""
    return _state(folder / ABOUT), _state(folder / part_folder(part) / _ABOUT_PART)


def _state(file: Path) -> State:
    try:
        of = file.stat()
    except OSError as error:
        raise RecordsError(
            "the kept records are gone, or are being kept again", file=file, remedy="Open them again."
        ) from error
    return of.st_ino, of.st_mtime_ns


def verify(folder: Path, parts: Collection[int]) -> None:
    """Hold every file of some parts against its hash.

    Raises
    ------
    RecordsError
        If one is missing or is not as it was kept.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda part: _verify_part(folder, part), parts))


def _verify_part(folder: Path, part: int) -> None:
    about = about_part(folder, part)
    for table, file in _files(folder / part_folder(part), about).items():
        try:
            found = _sha256(file)
        except OSError as error:
            raise RecordsError(f"the file cannot be read ({error.strerror})", file=file, remedy=AGAIN) from error
        if found != about.sha256[table]:
            raise RecordsError("the file is not as it was kept", file=file, remedy=AGAIN)


def about_part(folder: Path, part: int) -> AboutPart:
    """Return what a part says of itself.

    Raises
    ------
    RecordsError
        If it is missing, or says nothing that can be used.
    """
    file = folder / part_folder(part) / _ABOUT_PART
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        rows = {table: int(raw["rows"][table]) for table in CHECKED_COLUMNS}
        sha256 = {table: str(raw["sha256"][table]) for table in CHECKED_COLUMNS}
        return AboutPart(rows, sha256, int(raw["set_aside"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordsError("a part of the kept records is missing or damaged", file=file, remedy=AGAIN) from error
