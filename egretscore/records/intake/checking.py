"""Checking staged rows in bulk: the good go on, the bad are set aside with their reasons.

Every row of ``staged`` ends up in exactly one of three places: the table itself, the
quarantine, or the count of repeated rows. So the counts always add up.

Setting a row aside must not count against anyone. So a consents row that cannot be read sets
aside the consents of everyone it names, for it may be a withdrawal. And a record goes into
``doubts``, where standing finds it and lets it count against nobody, if another of its rows
cannot be read or contradicts it, or an objection to it cannot be read.

The steps hand on what they found in tables of the database. For each of the five tables anew:

``staged``
    The rows as text, as ``sources.py`` and ``in_place.py`` brought them in.
``parsed``
    The same rows with an ``id``; beside the text of each cell its value, NULL where it has none.
``problems``, ``unsound``, ``sound``
    What is wrong with which row; the ids of these rows; all other rows of ``parsed``.
``continued``
    The rows, sound or not, of which the next may hold the last cell.
``twice``, ``compared``
    The identities of more than one sound row; these rows.
``later_versions``, ``repeated``
    Those of them that say something else later; the ids of those that only repeat another.

For all tables together: ``broken``, the records that unsound rows may be about, and ``doubts``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import duckdb

from egretscore.records.database import create_table, has_rows, quoted
from egretscore.records.intake.in_place import InPlace, queries_in_place
from egretscore.records.schema import (
    BROKEN,
    CONSENTS,
    DATE,
    DISPUTABLE,
    DOUBTS,
    EARLIEST,
    FIXED_WORDS,
    OBJECTIONS,
    PEOPLE,
    RECORD_ID,
    SUBJECT_ID,
    TABLES,
    Column,
    Table,
    people_sql,
    stripped,
    text_of,
)

_LONGEST_VALUE = 200
# One number for each row, in the order of sources and rows.
_ID = "source * 1099511627776 + row"
_SIGNS_IN_IDS: Final = "._:+/=-"
CONSENT_IN_DOUBT: Final = (
    "no doubt about this person's consent; another row of theirs is set aside and may be a withdrawal"
)
"""What was expected of a row of consents in which nothing else is wrong."""
# What may stand between the cells of a line, whatever it was written by.
_BETWEEN_CELLS: Final = r"[,;|\t\"]"


def prepare_checks(connection: duckdb.DuckDBPyConnection, vocabulary: Mapping[str, frozenset[str]]) -> None:
    """Create what the checks need: the words, the macros that parse cells, the quarantine and the counts."""
    connection.execute("CREATE TABLE vocabulary (name VARCHAR, word VARCHAR)")
    words = [[name, word] for name, listed in {**vocabulary, **FIXED_WORDS}.items() for word in sorted(listed)]
    connection.executemany("INSERT INTO vocabulary VALUES (?, ?)", words)
    for of in {column.type for table in TABLES.values() for column in table.columns}:
        connection.execute(f"CREATE MACRO {of.name}(cell) AS {of.parse}")
    _create_accounts(connection)
    for table in (DOUBTS, BROKEN):
        create_table(connection, table.name, table.types)
    connection.execute(f"CREATE MACRO stripped(cell) AS {stripped('cell')}")
    connection.execute(r"CREATE MACRO visible(text) AS regexp_replace(text, '\p{Cf}+', '', 'g')")
    _create_words(connection)


def _create_accounts(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables that account for every row: the sources, where their rows went, and those set aside."""
    connection.execute('CREATE TABLE sources (source INTEGER, "table" VARCHAR, file VARCHAR)')
    connection.execute(
        "CREATE TABLE counts (source INTEGER, rows BIGINT, good BIGINT, set_aside BIGINT, repeated BIGINT)"
    )
    connection.execute(
        "CREATE TABLE quarantine (source INTEGER, row BIGINT, subject_id VARCHAR, "
        '"column" VARCHAR, value VARCHAR, expected VARCHAR, original VARCHAR, unclear BOOLEAN)'
    )


def _create_words(connection: duckdb.DuckDBPyConnection) -> None:
    """Create ``words_in(text)``, everything in a text that may be an id, and ``names(text, subject)``.

    An id may end with signs, or signs may follow it, so both readings are given. In JSON, and in a line that is not
    UTF-8, invisible characters are written as a backslash and letters; those of no width, such as a soft hyphen, may
    stand within an id. Where two lines ran together, an id may follow a date without a gap.
    """
    invisible = r"regexp_replace(text, '\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[bfnrt])', ' ', 'g')"
    glued = r"regexp_replace(text, '([0-9]{4}-[0-9]{2}-[0-9]{2})', '\1 ', 'g')"
    word = f"[A-Za-z0-9][A-Za-z0-9{_SIGNS_IN_IDS}]*"
    connection.execute(
        "CREATE MACRO whole_words(texts) AS "
        f"flatten(list_transform(texts, lambda text: regexp_extract_all(text, '{word}')))"
    )
    connection.execute(
        "CREATE MACRO without_signs(words) AS "
        f"list_concat(words, list_transform(words, lambda word: rtrim(word, '{_SIGNS_IN_IDS}')))"
    )
    connection.execute(f"CREATE MACRO readings(text) AS [text, {invisible}, {glued}]")
    every = "whole_words(list_concat(readings(text), readings(visible(text))))"
    connection.execute(f"CREATE MACRO words_in(text) AS list_distinct(without_signs({every}))")
    connection.execute("CREATE MACRO names(text, subject) AS list_contains(words_in(text), subject)")


def check_staged(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    in_place: Sequence[InPlace],
    *,
    in_memory: bool,
) -> None:
    """Move the rows of ``staged`` into their table, the quarantine and the counts; the rows in place join the table.

    In memory, the table holds all rows in order, so that one person's are found quickly. Otherwise it is a view,
    which reads the rows in place from their files for each question.
    """
    _parse_cells(connection, table)
    _find_wrong_rows(connection, table)
    _find_continued_rows(connection, table)
    _note_broken_records(connection, table)
    if _find_duplicates(connection, table):
        if table.name in DISPUTABLE:
            _find_later_versions(connection, table)
        _find_conflicts(connection, table)
    if table is CONSENTS and has_rows(connection, "unsound"):
        _find_unclear_consents(connection)
    if table is OBJECTIONS and has_rows(connection, "unsound"):
        _doubt_what_unclear_objections_name(connection)
    _find_repetitions(connection)
    _settle(connection, table, in_place, in_memory=in_memory)
    _doubt_broken_records(connection, table)
    _count(connection, table, in_place)
    if table.reaches_others:
        connection.execute(f'DELETE FROM "{table.name}" WHERE NOT chosen(subject_id)')


def finish_checks(connection: duckdb.DuckDBPyConnection, *, in_memory: bool) -> None:
    """Drop everything the checks worked on: in memory, rows are in their tables and the quarantine, nowhere else."""
    connection.execute(f"CREATE VIEW {PEOPLE.name} AS {people_sql()}")
    earliest = f"SELECT {quoted(DOUBTS.identity)}, min(since) AS since FROM {DOUBTS.name} GROUP BY ALL"
    connection.execute(f"CREATE OR REPLACE TABLE {DOUBTS.name} AS {earliest}")
    for view in ("fullest", "compared", "sound"):
        connection.execute(f"DROP VIEW IF EXISTS {view}")
    for table in (
        "staged",
        "parsed",
        "problems",
        "unsound",
        "alone",
        "continued",
        "twice",
        "later_versions",
        "repeated",
    ):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    if in_memory:
        connection.execute("DROP SCHEMA in_place CASCADE")


def _parse_cells(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    cells = ", ".join(
        f'CASE WHEN "{c.name}" IS NOT NULL THEN {c.type.name}("{c.name}") END AS "{c.name}", "{c.name}" AS "{c.text}"'
        for c in table.columns
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT {_ID} AS id, source, row, expected, line, {cells} FROM staged"
    )


def _find_wrong_rows(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Find the rows that are broken, whose cells are not of their type, or whose cells contradict each other."""
    whole = "SELECT id, ?, {value}, ? FROM parsed WHERE expected IS NULL AND {wrong}"
    searches = ["SELECT id, CAST(NULL AS VARCHAR), line, expected FROM parsed WHERE expected IS NOT NULL"]
    values: list[str] = []
    for column in table.columns:
        missing = "" if column.optional else f' OR "{column.text}" IS NULL'
        wrong = f'"{column.name}" IS NULL AND ("{column.text}" IS NOT NULL{missing})'
        searches.append(whole.format(value=f'"{column.text}"', wrong=wrong))
        values += [column.name, _expected(connection, column)]
    for rule in table.rules:
        both_right = " AND ".join(
            f'("{name}" IS NOT NULL OR "{text_of(name)}" IS NULL)' for name in (rule.column, rule.other)
        )
        searches.append(whole.format(value=f'"{text_of(rule.column)}"', wrong=f"{both_right} AND NOT ({rule.holds})"))
        values += [rule.column, rule.expected]
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE problems (id BIGINT, "column" VARCHAR, value VARCHAR, expected VARCHAR)'
    )
    connection.execute(f"INSERT INTO problems {' UNION ALL '.join(searches)}", values)
    _note_sound_rows(connection)


def _expected(connection: duckdb.DuckDBPyConnection, column: Column) -> str:
    if column.type.vocabulary is None:
        return column.type.expected
    words = connection.execute(
        "SELECT word FROM vocabulary WHERE name = ? ORDER BY word", [column.type.vocabulary]
    ).fetchall()
    return column.type.expected + ", ".join(word for (word,) in words)


def _note_sound_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Fix which rows have had nothing wrong with them so far."""
    connection.execute("CREATE OR REPLACE TEMP TABLE unsound AS SELECT DISTINCT id FROM problems")
    connection.execute("CREATE OR REPLACE TEMP VIEW sound AS SELECT * FROM parsed ANTI JOIN unsound USING (id)")


def _find_continued_rows(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Find the rows that the next one may continue: a line break before a last cell leaves that cell alone there.

    The last cell may be left out, so it is a date, an amount or a word of a vocabulary; what else stands alone in a
    line, such as the end of a file, is none.
    """
    pieces = f"regexp_split_to_array({_all_of(table)}, '{_BETWEEN_CELLS}')"
    # Of a table that is read in parts, a row that names someone is not seen with the people of other parts.
    whose = "true" if table.reaches_others else "subject_id IS NULL"
    # MATERIALIZED: otherwise all rows are cut, before those with nothing wrong in them are left out.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE alone AS
        WITH faulty AS MATERIALIZED (SELECT * FROM parsed JOIN unsound USING (id) WHERE {whose}),
        cut AS (SELECT source, row, list_filter({pieces}, lambda piece: stripped(piece) <> '') AS cells FROM faulty)
        SELECT source, row FROM cut WHERE len(cells) = 1 AND (
            regexp_matches(cells[1], '[0-9]') AND NOT regexp_matches(cells[1], '[A-Za-z]')
            OR stripped(cells[1]) IN (SELECT word FROM vocabulary)
        )
        """
    )
    found = "alone JOIN parsed AS before ON before.source = alone.source AND before.row = alone.row - 1"
    if not has_rows(connection, "alone"):
        found = "parsed AS before WHERE false"  # as a rule: no need to sort all rows
    elif table.reaches_others:  # all its rows are here, so the row before is known whatever lies between
        rows = f"(SELECT * FROM parsed WHERE {_says_anything(table)})"
        found = f"alone ASOF JOIN {rows} AS before ON before.source = alone.source AND before.row < alone.row"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE continued AS SELECT before.* FROM {found}")


def _all_of(table: Table) -> str:
    """Return the expression for all that a row says."""
    return f"coalesce(line, concat_ws(',', {quoted([column.text for column in table.columns])}))"


def _says_anything(table: Table) -> str:
    """Return the condition that a row says anything: spreadsheets write rows of empty cells."""
    return rf"regexp_matches({_all_of(table)}, '[^,;\"\pC\pZ]')"


def _note_broken_records(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Note in ``broken`` which records have a row that cannot be read."""
    if table.name in DISPUTABLE and has_rows(connection, "unsound"):
        connection.execute(f"INSERT INTO {BROKEN.name} {_meant_by_unsound(table)}")


def _doubt_broken_records(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Doubt a record that has a readable row and an unreadable one, which may say that it was settled."""
    if has_rows(connection, f"{BROKEN.name} WHERE \"table\" = '{table.name}'"):
        connection.execute(f"INSERT INTO {DOUBTS.name} {records_meant(BROKEN.name, table.name)}")


def _meant_by_unsound(table: Table) -> str:
    """Return the query for the records that the faulty rows may be about, with the columns of ``broken``.

    A line that cannot be cut into cells may be about any record of every person it names, and any record it names;
    and a row that may continue the one before it about the record of that row.
    """
    record, subject, day = (text_of(name) for name in (table.identity[0], "subject_id", table.on_file))
    disputable, of_these = [table.name], "true"
    if table is OBJECTIONS:
        disputable, of_these = [*DISPUTABLE], f'(stripped("{text_of("table")}") = disputable OR "table" IS NULL)'
    every = f"unnest({disputable}) AS every(disputable)"
    rows = f"parsed JOIN unsound USING (id), {every} WHERE {of_these}"
    lines = f'{rows} AND line IS NOT NULL AND "{record}" IS NULL AND "{subject}" IS NULL'
    pieces = f"unnest(regexp_split_to_array(line, '{_BETWEEN_CELLS}'))"
    anytime = f"DATE '{EARLIEST}'"
    by_cells = f"""
        SELECT disputable, {RECORD_ID.name}(nullif(stripped("{record}"), '')) AS record_id,
               {SUBJECT_ID.name}(stripped(visible("{subject}"))) AS subject_id,
               coalesce({DATE.name}(stripped("{day}")), {anytime}) AS since
        FROM {rows}
    """
    by_person = f"SELECT disputable, NULL, unnest(words_in(line)), {anytime} FROM {lines}"
    by_record = f"""
        SELECT disputable, {RECORD_ID.name}(nullif(stripped(piece), '')), NULL, {anytime}
        FROM (SELECT disputable, {pieces} AS piece FROM {lines})
    """
    continued = f"continued, {every} WHERE {of_these}"
    by_row_before = f'SELECT disputable, "{table.identity[0]}", subject_id, {anytime} FROM {continued}'
    return f"""
        SELECT disputable, record_id, subject_id, min(since)
        FROM ({by_cells} UNION ALL {by_person} UNION ALL {by_record} UNION ALL {by_row_before})
        WHERE record_id IS NOT NULL OR subject_id IS NOT NULL GROUP BY ALL
    """


def records_meant(meant: str, table: str) -> str:
    """Return the query for the records of a table that rows like those of ``broken`` may be about.

    Parameters
    ----------
    meant : str
        The name of a table of such rows.
    table : str
    """
    record = f'rows."{TABLES[table].identity[0]}"'
    found = (
        f'SELECT DISTINCT "table", {record} AS record_id, rows.subject_id, since '
        f'FROM "{table}" AS rows JOIN {meant} ON {same} WHERE "table" = \'{table}\''
        for same in (
            f"rows.subject_id = {meant}.subject_id AND {record} = {meant}.record_id",
            f"rows.subject_id = {meant}.subject_id AND {meant}.record_id IS NULL",
            f"{record} = {meant}.record_id AND {meant}.subject_id IS NULL",
        )
    )
    return " UNION ".join(found)


def _find_duplicates(connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
    """Find the identities that several sound rows share, for later checks; return whether there are any."""
    identity = quoted(table.identity)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE twice AS SELECT {identity} FROM sound GROUP BY {identity} HAVING count(*) > 1"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW compared AS SELECT * FROM sound SEMI JOIN twice USING ({identity})"
    )
    filled = " + ".join(f'CAST("{name}" IS NOT NULL AS INTEGER)' for name in table.later_columns)
    first = f"SELECT first(id ORDER BY {filled} DESC, id) AS id FROM compared GROUP BY {identity}"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW fullest AS SELECT * FROM compared SEMI JOIN ({first}) USING (id)")
    return has_rows(connection, "twice")


def _find_later_versions(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Set aside what was recorded later under an id on file, and doubt the record from that day.

    What was on file first stays: a row recorded next year does not change today's score.
    """
    identity, record = quoted(table.identity), table.identity[0]
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE later_versions AS
        SELECT compared.* FROM compared JOIN (
            SELECT {identity}, min(recorded_on) AS first FROM compared GROUP BY {identity}
        ) USING ({identity}) WHERE recorded_on > first
        """
    )
    connection.execute(
        f'INSERT INTO problems SELECT id, ?, CAST("{record}" AS VARCHAR), ? FROM later_versions',
        [
            record,
            f"what the row with this {', '.join(table.identity)} that was recorded earlier says",
        ],
    )
    connection.execute(
        f'INSERT INTO doubts SELECT DISTINCT ?, "{record}", subject_id, recorded_on FROM later_versions',
        [table.name],
    )
    _note_sound_rows(connection)


def _find_conflicts(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Set aside all rows under one id of which none says all that the others do, and doubt the record.

    Otherwise, once delivered again and added to kept records, one of them could count against its holder, or what it
    contradicts there could.
    """
    identity = quoted(table.identity)
    connection.execute(
        f"""
        INSERT INTO problems
        SELECT id, ?, CAST("{table.identity[0]}" AS VARCHAR), ? FROM compared
        WHERE ({identity}) IN (
            SELECT ({identity}) FROM fullest JOIN compared AS other USING ({identity})
            WHERE NOT ({table.says_all("fullest", "other")})
        )
        """,
        [table.identity[0], f"of the rows with this {', '.join(table.identity)} one that says all that the others do"],
    )
    if table.name in DISPUTABLE:
        connection.execute(
            f"""
            INSERT INTO doubts
            SELECT DISTINCT ?, "{table.identity[0]}", subject_id, recorded_on FROM compared JOIN (
                SELECT id FROM problems EXCEPT SELECT id FROM unsound
            ) USING (id)
            """,
            [table.name],
        )
    _note_sound_rows(connection)


def _find_unclear_consents(connection: duckdb.DuckDBPyConnection) -> None:
    """Set aside every consent of a person named in a row that is set aside: that row may be a withdrawal.

    If its first cells are right, they name the person. Otherwise the row names everyone whose id occurs in it; and one
    that may continue the row before it, the person of that row.
    """
    # Where the first cell does not say whose the row is, a cell that is right for its column names nobody.
    may_name = (
        f'CASE WHEN "{c.name}" IS NULL OR {c.name == "subject_id"} THEN "{c.text}" END' for c in CONSENTS.columns
    )
    every_cell = f"concat_ws(' ', {', '.join(may_name)})"
    in_order = "line IS NULL AND subject_id IS NOT NULL AND letter_version IS NOT NULL"
    connection.execute(
        f"""
        INSERT INTO problems SELECT id, ?, subject_id, ? FROM sound WHERE subject_id IN (
            SELECT unnest(CASE WHEN {in_order} THEN [subject_id] ELSE words_in(coalesce(line, {every_cell})) END)
            FROM parsed JOIN unsound USING (id)
            UNION ALL SELECT subject_id FROM continued
        )
        """,
        ["subject_id", CONSENT_IN_DOUBT],
    )
    _note_sound_rows(connection)


def _doubt_what_unclear_objections_name(connection: duckdb.DuckDBPyConnection) -> None:
    """Take an objection that cannot be read to be still open, and about every record that it may mean."""
    connection.execute(f"CREATE TEMP TABLE meant AS SELECT * FROM {BROKEN.name} WHERE false")
    connection.execute(f"INSERT INTO meant {_meant_by_unsound(OBJECTIONS)}")
    if has_rows(connection, "meant"):
        # The record may come on file later.
        connection.execute("INSERT INTO doubts FROM meant WHERE record_id IS NOT NULL AND subject_id IS NOT NULL")
        for name in DISPUTABLE:
            connection.execute(f"INSERT INTO doubts {records_meant('meant', name)}")
    connection.execute("DROP TABLE meant")


def _find_repetitions(connection: duckdb.DuckDBPyConnection) -> None:
    """Find the rows under one id that say no more than the fullest of them, the first of such."""
    connection.execute("CREATE OR REPLACE TEMP TABLE repeated AS SELECT id FROM compared ANTI JOIN fullest USING (id)")


def _settle(
    connection: duckdb.DuckDBPyConnection, table: Table, in_place: Sequence[InPlace], *, in_memory: bool
) -> None:
    """Keep the good rows, and set the others aside."""
    columns = quoted(table.column_names)
    good = f"SELECT {columns} FROM sound ANTI JOIN repeated USING (id)"
    others = queries_in_place(connection, table, in_place)
    if others and not in_memory:
        connection.execute(f'CREATE TABLE in_place."{table.name}" AS {good}')
        every = " UNION ALL ".join([f'SELECT {columns} FROM in_place."{table.name}"', *others])
        connection.execute(f'CREATE VIEW "{table.name}" AS {every}')
    else:
        every = " UNION ALL ".join([good, *others])
        order = f" ORDER BY subject_id, {columns}" if in_memory else ""
        connection.execute(f'CREATE TABLE "{table.name}" AS {every}{order}')
        for copied in (rows.relation for rows in in_place if rows.relation.file is None):
            connection.execute(f"DROP TABLE {copied.sql}")
    original = ", ".join(f'"{c.name}" := "{c.text}"' for c in table.columns)
    unclear = str(table is CONSENTS)
    if table is OBJECTIONS:
        unclear = "(record_id IS NULL OR subject_id IS NULL)"
    connection.execute(
        f"""
        INSERT INTO quarantine
        SELECT source, row, stripped("{text_of("subject_id")}"), "column", left(value, {_LONGEST_VALUE}),
               problems.expected, coalesce(line, CAST(to_json(struct_pack({original})) AS VARCHAR)),
               {unclear} AND {_says_anything(table)}
        FROM problems JOIN parsed USING (id) WHERE {_is_of_these_parts(table)} ORDER BY source, row, "column"
        """
    )


def _is_of_these_parts(table: Table) -> str:
    """Return the condition that a row set aside is reported with these parts.

    A row that does not say whose it is comes in with every group of parts, and is reported with one of them.
    """
    return "true" if table.reaches_others else f'chosen("{text_of("subject_id")}")'


def _count(connection: duckdb.DuckDBPyConnection, table: Table, in_place: Sequence[InPlace]) -> None:
    """Count where every row of each source went; those in place are good."""
    in_files = {rows.source: len(rows.identities) for rows in in_place}
    staged = connection.execute(
        f"""
        SELECT source, count(parsed.id), count(parsed.id) FILTER (NOT {_is_of_these_parts(table)}),
               count(unsound.id) FILTER ({_is_of_these_parts(table)}), count(repeated.id) FROM sources
        LEFT JOIN parsed USING (source) LEFT JOIN unsound USING (id) LEFT JOIN repeated USING (id)
        WHERE sources."table" = ? GROUP BY source
        """,
        [table.name],
    ).fetchall()
    for source, count, of_others, set_aside, repeated in staged:
        rows = in_files.get(source, count) - of_others
        counted = [source, rows, rows - set_aside - repeated, set_aside, repeated]
        connection.execute("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", counted)
