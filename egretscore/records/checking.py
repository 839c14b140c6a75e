"""Checking staged rows in bulk: the good go on, the bad are set aside with their reasons.

Every row of ``staged`` ends up in exactly one of three places: the table itself, the
quarantine, or the count of repeated rows. So the counts always add up.

A row that is set aside must not count against anyone by its absence. So a consents row that
cannot be read sets aside the consents of everyone it names, for it may be a withdrawal; and
a record to which an objection cannot be read, or of which another row cannot be, or says
something else, is in ``doubts``, where standing finds it: it counts against nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from egretscore.records.database import create_table, quoted
from egretscore.records.in_place import InPlace, queries_in_place
from egretscore.records.schema import (
    BROKEN,
    CONSENTS,
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
    text_of,
)

_LONGEST_VALUE = 200
# Of a row: in the order of sources and rows, and no other row's.
_ID = "source * 1099511627776 + row"
_SIGNS_IN_IDS = "._:+/=-"


def prepare_checks(connection: duckdb.DuckDBPyConnection, vocabulary: Mapping[str, frozenset[str]]) -> None:
    """Create what the checks need: the words, the macros that parse cells, the quarantine and the counts."""
    connection.execute("CREATE TABLE vocabulary (name VARCHAR, word VARCHAR)")
    words = [[name, word] for name, listed in {**vocabulary, **FIXED_WORDS}.items() for word in sorted(listed)]
    connection.executemany("INSERT INTO vocabulary VALUES (?, ?)", words)
    for of in {column.type for table in TABLES.values() for column in table.columns}:
        connection.execute(f"CREATE MACRO {of.name}(cell) AS {of.parse}")
    create_accounts(connection)
    for table in (DOUBTS, BROKEN):
        create_table(connection, table.name, table.types)
    word = f"[A-Za-z0-9][A-Za-z0-9{_SIGNS_IN_IDS}]*"
    connection.execute(
        "CREATE MACRO words_in(text) AS "
        f"list_transform(regexp_extract_all(text, '{word}'), lambda word: rtrim(word, '{_SIGNS_IN_IDS}'))"
    )
    connection.execute(
        f"CREATE MACRO names(text, subject) AS list_contains(words_in(text), rtrim(subject, '{_SIGNS_IN_IDS}'))"
    )


def create_accounts(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables that account for every row: the sources, where their rows went, and those set aside."""
    connection.execute('CREATE TABLE sources (source INTEGER, "table" VARCHAR, file VARCHAR)')
    connection.execute(
        "CREATE TABLE counts (source INTEGER, rows BIGINT, good BIGINT, quarantined BIGINT, repeated BIGINT)"
    )
    connection.execute(
        "CREATE TABLE quarantine (source INTEGER, row BIGINT, subject_id VARCHAR, "
        '"column" VARCHAR, value VARCHAR, expected VARCHAR, original VARCHAR)'
    )


def check_staged(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    in_place: Sequence[InPlace],
    *,
    in_memory: bool,
) -> None:
    """Move the rows of ``staged`` into their table, the quarantine and the counts, and put beside them those in place.

    In memory, a table holds all of them, in order, so that one person's rows are found without looking at all;
    else it is a view, which reads those in place anew for each question.
    """
    _parse_cells(connection, table)
    _find_wrong_rows(connection, table)
    _note_broken_records(connection, table)
    if _find_what_stands_twice(connection, table):
        if "recorded_on" in table.column_names:
            _find_later_versions(connection, table)
        _find_conflicts(connection, table)
    if table is CONSENTS:
        _find_unclear_consents(connection)
    if table is OBJECTIONS:
        _doubt_what_unclear_objections_name(connection)
    _find_repetitions(connection, table)
    _settle(connection, table, in_place, in_memory=in_memory)
    _doubt_broken_records(connection, table)
    _count(connection, table, in_place)
    if table.reaches_others:
        connection.execute(f'DELETE FROM "{table.name}" WHERE NOT chosen(subject_id)')


def finish_checks(connection: duckdb.DuckDBPyConnection, *, in_memory: bool) -> None:
    """Drop everything the checks worked on: in memory, rows are in their tables and the quarantine, nowhere else."""
    connection.execute(f"CREATE VIEW {PEOPLE.name} AS {people_sql()}")
    connection.execute(f"CREATE OR REPLACE TABLE {DOUBTS.name} AS SELECT DISTINCT * FROM {DOUBTS.name}")
    for view in ("compared", "sound"):
        connection.execute(f"DROP VIEW IF EXISTS {view}")
    for table in ("staged", "parsed", "problems", "unsound", "twice", "later_versions", "repeated"):
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
    _rest_are_sound(connection)


def _expected(connection: duckdb.DuckDBPyConnection, column: Column) -> str:
    if column.type.vocabulary is None:
        return column.type.expected
    words = connection.execute(
        "SELECT word FROM vocabulary WHERE name = ? ORDER BY word", [column.type.vocabulary]
    ).fetchall()
    return column.type.expected + ", ".join(word for (word,) in words)


def _rest_are_sound(connection: duckdb.DuckDBPyConnection) -> None:
    """Fix which rows have had nothing wrong with them so far."""
    connection.execute("CREATE OR REPLACE TEMP TABLE unsound AS SELECT DISTINCT id FROM problems")
    connection.execute("CREATE OR REPLACE TEMP VIEW sound AS SELECT * FROM parsed ANTI JOIN unsound USING (id)")


def _note_broken_records(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Note in ``broken`` of which records a row cannot be read."""
    if table.name not in DISPUTABLE:
        return
    record = table.identity[0]
    connection.execute(
        f"""
        INSERT INTO {BROKEN.name}
        SELECT * FROM (
            SELECT DISTINCT ?, {RECORD_ID.name}(trim("{text_of(record)}")) AS record_id, subject_id,
                   coalesce(recorded_on, DATE '{EARLIEST}')
            FROM parsed JOIN unsound USING (id)
        ) WHERE record_id IS NOT NULL AND subject_id IS NOT NULL
        """,
        [table.name],
    )


def _doubt_broken_records(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Doubt a record of which one row can be read and another cannot: that one may say that it was settled."""
    broken = f"SELECT * FROM {BROKEN.name} WHERE \"table\" = '{table.name}'"
    if not connection.execute(f"{broken} LIMIT 1").fetchall():
        return
    # The few that cannot be read are sought among all others, not the other way round.
    rows = f'SELECT "{table.identity[0]}" AS record_id, subject_id FROM "{table.name}"'
    readable_too = f"SELECT * FROM ({rows}) SEMI JOIN ({broken}) USING (record_id, subject_id)"
    connection.execute(
        f"INSERT INTO {DOUBTS.name} SELECT * FROM ({broken}) SEMI JOIN ({readable_too}) USING (record_id, subject_id)"
    )


def _find_what_stands_twice(connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
    """Fix which identities more than one sound row has, and say if any: the few rows that later checks compare."""
    identity = quoted(table.identity)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE twice AS SELECT {identity} FROM sound GROUP BY {identity} HAVING count(*) > 1"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW compared AS SELECT * FROM sound SEMI JOIN twice USING ({identity})"
    )
    return bool(connection.execute("SELECT 1 FROM twice LIMIT 1").fetchall())


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
            f"one row for each {', '.join(table.identity)}; one recorded earlier says something else",
        ],
    )
    if table.name in DISPUTABLE:
        connection.execute(
            f'INSERT INTO doubts SELECT DISTINCT ?, "{record}", subject_id, recorded_on FROM later_versions',
            [table.name],
        )
    _rest_are_sound(connection)


def _find_conflicts(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Set aside all rows under one id that do not say the same, and doubt the record.

    Else one of them could count against its holder once it is delivered again, to be added to kept records, or
    what they contradict there would.
    """
    identity, whole_row = quoted(table.identity), quoted(table.column_names)
    complete = "" if table.completed_by is None else f'WHERE "{table.completed_by}" IS NOT NULL'
    connection.execute(
        f"""
        INSERT INTO problems
        SELECT id, ?, CAST("{table.identity[0]}" AS VARCHAR), ? FROM compared
        WHERE ({identity}) IN (
            SELECT ({identity}) FROM compared {complete} GROUP BY {identity}
            HAVING count(*) > 1 AND count(DISTINCT ({whole_row})) > 1
        )
        """,
        [table.identity[0], f"one row for each {', '.join(table.identity)}; another row says something else"],
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
    _rest_are_sound(connection)


def _find_unclear_consents(connection: duckdb.DuckDBPyConnection) -> None:
    """Set aside every consent of a person whom a row set aside names: that row may be a withdrawal.

    Where its first cells are right it names the person that they say, and otherwise everyone whose id stands in it.
    """
    every_cell = f"concat_ws(' ', {', '.join(quoted([column.text]) for column in CONSENTS.columns)})"
    in_order = "line IS NULL AND subject_id IS NOT NULL AND letter_version IS NOT NULL"
    connection.execute(
        f"""
        INSERT INTO problems SELECT id, ?, subject_id, ? FROM sound WHERE rtrim(subject_id, '{_SIGNS_IN_IDS}') IN (
            SELECT unnest(words_in(CASE WHEN {in_order} THEN subject_id ELSE coalesce(line, {every_cell}) END))
            FROM parsed JOIN unsound USING (id)
        )
        """,
        [
            "subject_id",
            "no doubt about this person's consent; another row of theirs is set aside and may be a withdrawal",
        ],
    )
    _rest_are_sound(connection)


def _doubt_what_unclear_objections_name(connection: duckdb.DuckDBPyConnection) -> None:
    """Read what cannot be read of an objection as: still open.

    Where it cannot be read to which record, it may be about any record of everyone whom the line or the row names.
    """
    disputed, record, subject, filed = (text_of(name) for name in ("table", "record_id", "subject_id", "filed_on"))
    connection.execute(
        f"""
        INSERT INTO doubts
        SELECT * FROM (
            SELECT DISTINCT disputable, {RECORD_ID.name}(trim("{record}")) AS record_id,
                   {SUBJECT_ID.name}(trim("{subject}")) AS subject_id,
                   coalesce(as_date(trim("{filed}")), DATE '{EARLIEST}')
            FROM parsed JOIN unsound USING (id), unnest(?::VARCHAR[]) AS every(disputable)
            WHERE trim("{disputed}") = disputable OR "table" IS NULL
        ) WHERE record_id IS NOT NULL AND subject_id IS NOT NULL  -- else no record on file can be meant
        """,
        [list(DISPUTABLE)],
    )
    named = (
        "SELECT unnest(words_in(line)) AS subject FROM parsed JOIN unsound USING (id) WHERE line IS NOT NULL UNION "
        f'SELECT {SUBJECT_ID.name}(trim("{subject}")) FROM parsed JOIN unsound USING (id) '
        f'WHERE line IS NULL AND {RECORD_ID.name}(trim("{record}")) IS NULL'
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE named AS {named}")
    if connection.execute("SELECT 1 FROM named LIMIT 1").fetchall():
        ids = f"SELECT rtrim(subject, '{_SIGNS_IN_IDS}') FROM named"
        for name in DISPUTABLE:
            connection.execute(
                f"""
                INSERT INTO doubts SELECT DISTINCT ?, "{TABLES[name].identity[0]}", subject_id, DATE '{EARLIEST}'
                FROM "{name}" WHERE rtrim(subject_id, '{_SIGNS_IN_IDS}') IN ({ids})
                """,
                [name],
            )
    connection.execute("DROP TABLE named")


def _find_repetitions(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    identity = quoted(table.identity)
    first = "min(id)"
    if table.completed_by is not None:
        first = f'coalesce(min(id) FILTER ("{table.completed_by}" IS NOT NULL), min(id))'
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE repeated AS "
        f"SELECT id FROM compared ANTI JOIN (SELECT {first} AS id FROM compared GROUP BY {identity}) USING (id)"
    )


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
    connection.execute(
        f"""
        INSERT INTO quarantine
        SELECT source, row, "text of subject_id", "column", left(value, {_LONGEST_VALUE}), problems.expected,
               coalesce(line, CAST(to_json(struct_pack({original})) AS VARCHAR))
        FROM problems JOIN parsed USING (id) ORDER BY source, row, "column"
        """
    )


def _count(connection: duckdb.DuckDBPyConnection, table: Table, in_place: Sequence[InPlace]) -> None:
    """Count where every row of each source went; those in place are good."""
    lie = {rows.source: len(rows.identities) for rows in in_place}
    staged = connection.execute(
        """
        SELECT source, count(parsed.id), count(unsound.id), count(repeated.id) FROM sources
        LEFT JOIN parsed USING (source) LEFT JOIN unsound USING (id) LEFT JOIN repeated USING (id)
        WHERE sources."table" = ? GROUP BY source
        """,
        [table.name],
    ).fetchall()
    for source, count, quarantined, repeated in staged:
        rows = lie.get(source, count)
        counted = [source, rows, rows - quarantined - repeated, quarantined, repeated]
        connection.execute("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", counted)
