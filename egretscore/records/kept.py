"""Checked records kept on disk, so that what was checked once is not checked again.

A folder of kept records holds ``kept.json``, the policy whose words they use, and one folder
for each of the 64 parts (``egretscore.parts``) with a Parquet file for each table, in
the order of subject_id, beside the SHA-256 of every file. Whatever is read of a part is held
against its hashes first. Nothing stands there that the checks set aside; what they put in
doubt does (``doubts``), so standing finds on kept records what it finds on those they came from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from egretscore.errors import RecordsError
from egretscore.parts import PARTS
from egretscore.records.schema import CHECKED_COLUMNS, TABLES
from egretscore.writing import whole_file, whole_folder

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT: Final = "kept.json"
"""The file by which a folder says that its records are kept ones, and what they are."""

POLICY: Final = "policy.toml"
FORMAT: Final = 1
_ABOUT_PART: Final = "part.json"
# Measured: one person's rows of a table are read in under a millisecond, everyone's as fast as from larger groups.
_ROWS_OF_A_GROUP: Final = 4_096
_COMPRESSION: Final = "lz4"
AGAIN: Final = "Keep the records again, from those they came from."
"""What to do about kept records that are damaged."""


@dataclass(frozen=True)
class AboutPart:
    """What a part says of itself.

    Attributes
    ----------
    rows : mapping of table to how many rows it has
    set_aside : int
        How many rows that may name its people were set aside when it was kept.
    sha256 : mapping of table to the hash of its file
    """

    rows: Mapping[str, int]
    set_aside: int
    sha256: Mapping[str, str]


def part_folder(part: int) -> str:
    """Return the name of the folder that holds a part."""
    return f"part-{part:02}"


def is_kept(folder: Path) -> bool:
    """Return whether a folder says that it holds kept records."""
    return (folder / ABOUT).is_file()


def file_of(folder: Path, part: int, table: str) -> Path:
    """Return the file that holds a part of a table."""
    return folder / part_folder(part) / f"{table}.parquet"


def kept_files(folder: Path, parts: Iterable[int] = range(PARTS)) -> list[Path]:
    """Return the files of some parts."""
    return [file_of(folder, part, table) for part in parts for table in CHECKED_COLUMNS]


# ------------------------------------------------------------------------------- writing


def write_table(rows: pa.Table, part: Path, table: str) -> None:
    """Write a table of a part, its rows in the order of subject_id, into the part's folder."""
    from pyarrow import parquet

    parquet.write_table(rows, part / f"{table}.parquet", compression=_COMPRESSION, row_group_size=_ROWS_OF_A_GROUP)


def finish_part(part: Path, set_aside: int) -> None:
    """Write beside the tables of a part what it is: how many rows it has, how many were set aside, and its hashes."""
    from pyarrow import parquet

    files = {table: part / f"{table}.parquet" for table in CHECKED_COLUMNS}
    about = AboutPart(
        rows={table: parquet.read_metadata(file).num_rows for table, file in files.items()},
        set_aside=set_aside,
        sha256={table: _sha256(file) for table, file in files.items()},
    )
    (part / _ABOUT_PART).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")


def erase(folder: Path, part: int, subject_id: str) -> int:
    """Write a part again without a person's rows, and return how many those were."""
    from pyarrow import compute, parquet

    before = {table: parquet.read_table(file_of(folder, part, table)) for table in CHECKED_COLUMNS}
    after = {name: table.filter(compute.not_equal(table["subject_id"], subject_id)) for name, table in before.items()}
    if any(len(after[table]) < len(before[table]) for table in CHECKED_COLUMNS):
        names = (_ABOUT_PART, *(f"{table}.parquet" for table in CHECKED_COLUMNS))
        with whole_folder(folder / part_folder(part), replaces=names) as fresh:
            for table, rows in after.items():
                write_table(rows, fresh, table)
            finish_part(fresh, about_part(folder, part).set_aside)
    return sum(len(before[table]) - len(after[table]) for table in TABLES)


def write_about(folder: Path, about: Mapping[str, Any], policy: str) -> None:
    """Write what the records are, and the policy whose words they use."""
    said = {"format": FORMAT, **about, "policy_sha256": hashlib.sha256(policy.encode()).hexdigest()}
    with whole_file(folder / POLICY) as scratch:
        scratch.write_text(policy, encoding="utf-8")
    with whole_file(folder / ABOUT) as scratch:
        scratch.write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ------------------------------------------------------------------------------- reading


def read_about(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Return what kept records say of themselves, and their policy's text.

    Raises
    ------
    RecordsError
        If they say it in another format, the policy is another one, or something else lies
        in the folder that would be passed over.
    """
    about_file, policy_file = folder / ABOUT, folder / POLICY
    try:
        about = json.loads(about_file.read_text(encoding="utf-8"))
        policy = policy_file.read_bytes()
    except (OSError, ValueError) as error:
        raise RecordsError(f"the kept records cannot be read ({error})", file=folder, remedy=AGAIN) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
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
    return about, policy.decode("utf-8")


def strangers(folder: Path) -> list[Path]:
    """Return what lies in a folder and is no part of kept records; hidden files are nobody's."""
    known = {ABOUT, POLICY, *map(part_folder, range(PARTS))}
    return sorted(entry for entry in folder.iterdir() if entry.name not in known and not entry.name.startswith("."))


def state_of_part(folder: Path, part: int) -> tuple[int, int] | None:
    """Return what tells whether a part was written again since; None while it is not there."""
    try:
        of = (folder / part_folder(part) / _ABOUT_PART).stat()
    except OSError:
        return None
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
    hashes = about_part(folder, part).sha256
    for table in CHECKED_COLUMNS:
        file = file_of(folder, part, table)
        try:
            found = _sha256(file)
        except OSError as error:
            raise RecordsError(f"the file cannot be read ({error.strerror})", file=file, remedy=AGAIN) from error
        if found != hashes.get(table):
            raise RecordsError("the file is not as it was kept", file=file, remedy=AGAIN)


def about_part(folder: Path, part: int) -> AboutPart:
    """Return what a part says of itself.

    Raises
    ------
    RecordsError
        If it is missing, or says nothing that can be read.
    """
    file = folder / part_folder(part) / _ABOUT_PART
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        return AboutPart(dict(about["rows"]), int(about["set_aside"]), dict(about["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordsError("a part of the kept records is missing or damaged", file=file, remedy=AGAIN) from error
