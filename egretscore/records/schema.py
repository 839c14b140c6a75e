"""The five tables: every column, its type, and what must hold between the dates of a row.

This is the one place that names a column. Reading, checking, standing, features, the
invented town and the documentation all follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

EARLIEST, LATEST = "1900-01-01", "2199-12-31"


@dataclass(frozen=True)
class ColumnType:
    """How the text of a cell becomes a value.

    Attributes
    ----------
    name : str
        The name of the SQL macro that holds ``parse``.
    sql : str
        The DuckDB type of the value.
    parse : str
        A SQL expression over ``cell`` (the text, never empty) that gives the value, or
        NULL when the text is not one.
    expected : str
        What a person reads when the text is not one.
    vocabulary : str, optional
        The list of words the text must be in.
    typed : str
        The same as ``parse`` where ``cell`` is not text but a value of one of the types ``typed_as``.
    typed_as : tuple of str
        DuckDB types; none where only text is taken.
    of_any_type : bool
        Whether a row may stay in its file (``in_place.py``) whatever the type of this cell: it is then judged by its
        text.
    in_normal_form : bool
        Whether the value is the text in Unicode's normal form, which may differ from the text as given.
    """

    name: str
    sql: str
    parse: str
    expected: str
    vocabulary: str | None = None
    typed: str = ""
    typed_as: tuple[str, ...] = ()
    of_any_type: bool = False
    in_normal_form: bool = False


def in_normal_form(cell: str) -> str:
    """Return the SQL expression for a text in Unicode's normal form C: é is one letter, however it was composed."""
    return f"nfc_normalize({cell})"


def _text(longest: int) -> ColumnType:
    return ColumnType(
        f"as_text_{longest}",
        "VARCHAR",
        # What a URL need not encode is plain, and to see that takes half the time of a pattern.
        f"CASE WHEN url_encode(cell) = cell AND strlen(cell) <= {longest} THEN cell WHEN length(cell) <= {longest} "
        rf"AND NOT regexp_matches(cell, '[\pC\p{{Zl}}\p{{Zp}}]|^\p{{Zs}}|\p{{Zs}}$') THEN {in_normal_form('cell')} END",
        f"printable text, at most {longest} characters, without invisible characters or spaces around it",
        in_normal_form=True,
    )


# A date of birth inside 18 or 15 digits, whatever the check digit: a mistyped resident ID
# identifies a person as well as a right one.
_BIRTH_MONTH_DAY: Final = "(0[1-9]|1[0-2])([0-2][0-9]|3[01])"
_RESIDENT_ID: Final = (
    f"[1-9][0-9]{{5}}((18|19|20)[0-9]{{2}}{_BIRTH_MONTH_DAY}[0-9]{{3}}[0-9Xx]|[0-9]{{2}}{_BIRTH_MONTH_DAY}[0-9]{{3}})"
)
_MOBILE: Final = "(0{0,2}86)?1[3-9][0-9]{9}"
# Cut by separators, a mobile number has three parts (138-0013-8000) and an ID the area, the birth date and the rest.
_SIGN: Final = "[._:+/=-]"
_CUT_NUMBER: Final = (
    f"((0{{0,2}}86{_SIGN})?1[3-9][0-9]{_SIGN}[0-9]{{4}}{_SIGN}[0-9]{{4}}"
    f"|[1-9][0-9]{{5}}{_SIGN}(18|19|20)[0-9]{{2}}{_SIGN}?{_BIRTH_MONTH_DAY}{_SIGN}[0-9]{{3}}[0-9Xx])"
)
_PERSONAL_NUMBER: Final = f"({_RESIDENT_ID}|{_MOBILE})"

# The number may be a part between separators, be cut by separators, or stand between letters.
# Digits inside a longer run of letters and digits are a hash's, not a person's.
_BETWEEN_SIGNS: Final = f"(^|{_SIGN}){_PERSONAL_NUMBER}($|{_SIGN})"
_CUT_BETWEEN_SIGNS: Final = f"(^|{_SIGN}){_CUT_NUMBER}($|{_SIGN})"
_BETWEEN_LETTERS: Final = f"[A-Za-z]*{_PERSONAL_NUMBER}[A-Za-z]*"

SUBJECT_ID: Final = ColumnType(
    "as_subject_id",
    "VARCHAR",
    "CASE WHEN regexp_full_match(cell, '[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,63}') "
    # None of these numbers has fewer than 11 digits, which one pattern tells of most pseudonyms.
    "AND (NOT regexp_matches(cell, '([0-9][^0-9]*){11}') OR ("
    f"NOT regexp_matches(cell, '{_BETWEEN_SIGNS}') "
    f"AND NOT regexp_matches(cell, '{_CUT_BETWEEN_SIGNS}') "
    f"AND NOT regexp_full_match(regexp_replace(cell, '{_SIGN}', '', 'g'), '{_BETWEEN_LETTERS}') "
    ")) THEN cell END",
    "an opaque pseudonym: 1 to 64 letters, digits or ._:+/=- and nothing shaped like a resident ID or a mobile number",
)
RECORD_ID: Final = _text(128)
AUTHORITY: Final = _text(200)
DATE: Final = ColumnType(
    "as_date",
    "DATE",
    # Written back, a day reads as it was written: no other text is one, and to compare is cheaper than a pattern.
    "CASE WHEN CAST(TRY_CAST(cell AS DATE) AS VARCHAR) = cell "
    f"AND TRY_CAST(cell AS DATE) BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}' THEN TRY_CAST(cell AS DATE) END",
    f"a date that exists, as YYYY-MM-DD, from {EARLIEST} to {LATEST}",
    typed=f"CASE WHEN cell BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}' THEN cell END",
    typed_as=("DATE",),
)
POINTS: Final = ColumnType(
    "as_points",
    "INTEGER",
    r"CASE WHEN regexp_full_match(cell, '[0-9]{1,7}(\.0+)?') THEN TRY_CAST(cell AS INTEGER) END",
    "a whole number from 0 to 9999999",
    typed="CASE WHEN cell BETWEEN 0 AND 9999999 THEN cell END",
    typed_as=("SMALLINT", "INTEGER", "BIGINT"),
)
YUAN: Final = ColumnType(
    "as_yuan",
    "DECIMAL(12, 2)",
    r"CASE WHEN regexp_full_match(cell, '[0-9]{1,10}(\.[0-9]{1,2}0*)?') THEN TRY_CAST(cell AS DECIMAL(12, 2)) END",
    "an amount in yuan, 0 or more, with at most two decimals",
    typed="CASE WHEN cell >= 0 THEN cell END",
    typed_as=("DECIMAL(12,2)",),
    of_any_type=True,
)
FLAG: Final = ColumnType(
    "as_flag",
    "BOOLEAN",
    "CASE WHEN lower(cell) IN ('true', '1') THEN true WHEN lower(cell) IN ('false', '0') THEN false END",
    "true or false",
)
# GB 32100-2015: 31 symbols (no I O S V Z), weights 3^(i-1) mod 31, check digit
# (31 - sum mod 31) mod 31.
AUTHORITY_CODE: Final = ColumnType(
    "as_authority_code",
    "VARCHAR",
    "CASE WHEN regexp_full_match(cell, '[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}') "
    "AND (31 - list_sum(list_transform(range(1, 18), lambda i: "
    "(instr('0123456789ABCDEFGHJKLMNPQRTUWXY', substr(cell, i, 1)) - 1) "
    "* [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28][i])) % 31) % 31 "
    "= instr('0123456789ABCDEFGHJKLMNPQRTUWXY', substr(cell, 18, 1)) - 1 THEN cell END",
    "an 18-character unified social credit code with the right check digit (GB 32100)",
)


def is_personal_number(subject_id: str) -> bool:
    """Return whether an id is shaped like a resident ID or a mobile number, as a cell that SUBJECT_ID refuses."""
    between_signs = (re.search(pattern, subject_id) for pattern in (_BETWEEN_SIGNS, _CUT_BETWEEN_SIGNS))
    return any(between_signs) or bool(re.fullmatch(_BETWEEN_LETTERS, re.sub(_SIGN, "", subject_id)))


def word(vocabulary: str) -> ColumnType:
    """Return the type of a column whose words the policy or the schema lists."""
    return ColumnType(
        f"as_{vocabulary}",
        "VARCHAR",
        f"CASE WHEN cell IN (SELECT word FROM vocabulary WHERE name = '{vocabulary}') THEN cell END",
        "one of ",
        vocabulary,
    )


DISPUTABLE: Final = ("civic_points", "penalties", "commitments")
"""The tables to whose records their holders can object."""

FIXED_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "commitment_outcome": frozenset({"fulfilled", "partly", "unfulfilled"}),
    "objection_outcome": frozenset({"upheld", "rejected", "withdrawn"}),
    "disputed_table": frozenset(DISPUTABLE),
}
"""Words the design fixes; the other vocabularies are the policy's."""


@dataclass(frozen=True)
class Column:
    """A column of a table; ``optional`` cells may be empty, the column may not be missing.

    A ``later`` cell is empty at first and may be filled once the row is on file, as an outcome is.
    """

    name: str
    type: ColumnType
    meaning: str
    optional: bool = False
    later: bool = False

    @property
    def text(self) -> str:
        """The name under which a table keeps the text of a cell beside its value."""
        return text_of(self.name)


def text_of(column: str) -> str:
    """Return the name under which a table keeps the text of a column's cells beside their values."""
    return f"text of {column}"


def stripped(cell: str) -> str:
    """Return the SQL expression for a text without the blanks and invisible characters around it."""
    return rf"regexp_replace({cell}, '^[\pC\pZ]+|[\pC\pZ]+$', '', 'g')"


@dataclass(frozen=True)
class Rule:
    """What must hold between two cells of a row that are both right by themselves.

    Attributes
    ----------
    column : str
        The column that an error names.
    other : str
        The column it is held against.
    holds : str
        A SQL condition over the row's values; NULL counts as holding.
    expected : str
        What a person reads when it does not hold.
    """

    column: str
    other: str
    holds: str
    expected: str


@dataclass(frozen=True)
class Table:
    """A table: its columns, its rules, and what identifies a row.

    Attributes
    ----------
    identity : tuple of str
        The columns that identify a row; of a record, the first is its id. The person is always
        among them, so that nobody's rows can touch another's.
    on_file : str
        The column with the day on which a row came on file.
    reaches_others : bool
        Whether a row that is set aside can affect other people than its subject: then the
        whole table is checked, even where people are scored in parts.
    """

    name: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    identity: tuple[str, ...]
    on_file: str
    reaches_others: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def types(self) -> Mapping[str, str]:
        """The DuckDB type of each column."""
        return {column.name: column.type.sql for column in self.columns}

    @property
    def order(self) -> tuple[str, ...]:
        """The columns in whose order rows are kept."""
        return tuple(dict.fromkeys(("subject_id", *self.identity)))

    @property
    def fixed_columns(self) -> tuple[str, ...]:
        """The names of the columns that say the same from the first day on."""
        return tuple(column.name for column in self.columns if not column.later)

    @property
    def later_columns(self) -> tuple[str, ...]:
        """The names of the columns that may be filled once a row is on file."""
        return tuple(column.name for column in self.columns if column.later)

    @property
    def later_days(self) -> tuple[str, ...]:
        """The names of the later columns that hold a date."""
        return tuple(column.name for column in self.columns if column.later and column.type is DATE)

    def says_all(self, one: str, other: str) -> str:
        """Return the SQL condition that a row says all that another one of its identity does.

        The rule of several rows of one record, in one delivery (``intake/checking.py``) or two (``upkeep/merging.py``).
        """
        same = [f'{one}."{name}" IS NOT DISTINCT FROM {other}."{name}"' for name in self.fixed_columns]
        same += [
            f'coalesce({one}."{name}" = {other}."{name}", {other}."{name}" IS NULL)' for name in self.later_columns
        ]
        return " AND ".join(same)


def _not_before(later: str, *earlier: str) -> tuple[Rule, ...]:
    return tuple(Rule(later, first, f'"{later}" >= "{first}"', f"no earlier than {first}") for first in earlier)


def _together(first: str, second: str) -> tuple[Rule, Rule]:
    def needed(column: str, other: str) -> Rule:
        holds = f'"{column}" IS NOT NULL OR "{other}" IS NULL'
        return Rule(column, other, holds, f"a value, because {other} has one")

    return needed(first, second), needed(second, first)


CONSENTS: Final = Table(
    "consents",
    (
        Column("subject_id", SUBJECT_ID, "who consented: an opaque pseudonym"),
        Column("letter_version", word("letter_version"), "the letter they consented to; the policy lists its purposes"),
        Column("adult_confirmed", FLAG, "whether they were confirmed to be 18 or older"),
        Column("granted_on", DATE, "the first day of consent"),
        Column("withdrawn_on", DATE, "the first day without it", optional=True, later=True),
    ),
    _not_before("withdrawn_on", "granted_on"),
    identity=("subject_id", "letter_version", "granted_on"),
    on_file="granted_on",
    reaches_others=True,
)
CIVIC_POINTS: Final = Table(
    "civic_points",
    (
        Column("record_id", RECORD_ID, "the record"),
        Column("subject_id", SUBJECT_ID, "who earned the points"),
        Column("activity", word("activity"), "the civic activity, one of the policy's"),
        Column("points", POINTS, "points earned"),
        Column("earned_on", DATE, "the day they were earned"),
        Column("recorded_on", DATE, "the day the record came on file"),
        Column("excluded_on", DATE, "the day its holder excluded it", optional=True, later=True),
    ),
    (*_not_before("recorded_on", "earned_on"), *_not_before("excluded_on", "earned_on")),
    identity=("record_id", "subject_id"),
    on_file="recorded_on",
)
PENALTIES: Final = Table(
    "penalties",
    (
        Column("decision_no", RECORD_ID, "the decision's number: the record"),
        Column("subject_id", SUBJECT_ID, "whom it was decided about"),
        Column("category", word("category"), "the kind of penalty, one of the policy's"),
        Column("fine_yuan", YUAN, "the fine, in yuan", optional=True),
        Column("decided_on", DATE, "the day of the decision"),
        Column("effective_on", DATE, "the day it took final effect; empty while it has not", optional=True, later=True),
        Column("revoked_on", DATE, "the day it was revoked", optional=True, later=True),
        Column("repaired_on", DATE, "the day the repair (信用修复) was granted", optional=True, later=True),
        Column("authority", AUTHORITY, "the authority that decided"),
        Column("authority_code", AUTHORITY_CODE, "its unified social credit code"),
        Column("recorded_on", DATE, "the day the record came on file"),
    ),
    (
        *_not_before("recorded_on", "decided_on"),
        *_not_before("effective_on", "decided_on"),
        *_not_before("revoked_on", "decided_on"),
        *_not_before("repaired_on", "decided_on"),
    ),
    # One decision may impose several penalties, on several people, and two authorities may give one number.
    identity=("decision_no", "subject_id", "authority_code", "category"),
    on_file="recorded_on",
)
COMMITMENTS: Final = Table(
    "commitments",
    (
        Column("commitment_id", RECORD_ID, "the commitment: the record"),
        Column("subject_id", SUBJECT_ID, "who made it"),
        Column("kind", word("kind"), "the kind of commitment, one of the policy's"),
        Column("made_on", DATE, "the day it was made"),
        Column("due_on", DATE, "the last day to keep it"),
        Column("outcome", word("commitment_outcome"), "how it ended; empty while open", optional=True, later=True),
        Column("outcome_on", DATE, "the day from which the outcome is known", optional=True, later=True),
        Column("amount_yuan", YUAN, "what it was about, in yuan", optional=True),
        Column("recorded_on", DATE, "the day the record came on file"),
    ),
    (
        *_not_before("due_on", "made_on"),
        *_not_before("recorded_on", "made_on"),
        *_not_before("outcome_on", "made_on"),
        *_together("outcome", "outcome_on"),
    ),
    identity=("commitment_id", "subject_id"),
    on_file="recorded_on",
)
OBJECTIONS: Final = Table(
    "objections",
    (
        Column("table", word("disputed_table"), "the table of the record objected to"),
        Column("record_id", RECORD_ID, "the record objected to"),
        Column("subject_id", SUBJECT_ID, "who objects: the person the record is about"),
        Column("filed_on", DATE, "the day the objection was filed"),
        Column("resolved_on", DATE, "the day it was decided; empty while open", optional=True, later=True),
        Column("outcome", word("objection_outcome"), "how it was decided", optional=True, later=True),
    ),
    (*_not_before("resolved_on", "filed_on"), *_together("outcome", "resolved_on")),
    identity=("record_id", "table", "subject_id", "filed_on"),
    on_file="filed_on",
    reaches_others=True,
)

TABLES: Final[Mapping[str, Table]] = {
    table.name: table for table in (CONSENTS, CIVIC_POINTS, PENALTIES, COMMITMENTS, OBJECTIONS)
}
"""The five tables by name."""

DOUBTS: Final = Table(
    "doubts",
    (
        Column("table", word("disputed_table"), "the table of the record"),
        Column("record_id", RECORD_ID, "the record that other rows put in doubt"),
        Column("subject_id", SUBJECT_ID, "whom it is about"),
        Column("since", DATE, "from when it is in doubt"),
    ),
    rules=(),
    identity=("table", "record_id", "subject_id"),
    on_file="since",
)
BROKEN: Final = replace(DOUBTS, name="broken")
"""The records that have an unreadable row, whether another row of theirs can be read or not.

Without a ``record_id`` it may be any record of the person; without a ``subject_id``, that record of anyone."""

PEOPLE: Final = Table(
    "people",
    (
        Column("subject_id", SUBJECT_ID, "everyone named in a row of the five tables"),
        Column("since", DATE, "the first day of such a row"),
    ),
    rules=(),
    identity=("subject_id",),
    on_file="since",
)

CHECKED: Final[Mapping[str, Table]] = {**TABLES, DOUBTS.name: DOUBTS}
"""All that is on file once records are checked, by name."""

READY: Final[Mapping[str, Table]] = {**CHECKED, PEOPLE.name: PEOPLE}
"""All that questions about everyone are asked of."""


def people_sql() -> str:
    """Return the query for ``people``."""
    days = (f'SELECT subject_id, "{table.on_file}" AS day FROM "{table.name}"' for table in TABLES.values())
    return f"SELECT subject_id, min(day) AS since FROM ({' UNION ALL '.join(days)}) GROUP BY subject_id"
