"""``docs/records.md``, from the schema."""

from __future__ import annotations

from collections.abc import Iterator

import egretscore as es
from egretscore.records import TABLES
from egretscore.records.schema import FIXED_WORDS

_HOW_RECORDS_ARE_GIVEN = """\
## How they are given

- In a folder, as `TABLE.csv` or `TABLE.parquet`; or as several files whose names continue after a dot, a hyphen or
  an underscore (`civic_points-2026.csv`); or as a folder of files with such a name (`penalties.parquet/`).
- In Python also as a mapping of table names to pandas, polars or Arrow frames, or to lists of them.
- `consents` must be there. Any other table that is missing is taken to be empty.
- A table has exactly these columns: a missing or unknown column is an error. Cells may be empty where the column is
  marked optional.
- CSV is UTF-8, with a header and commas. Each record is one line: a cell cannot contain a line break, not even in
  quotes.
- Rows are counted from 1, starting below the header: in a CSV file row 1 is line 2. Blank lines are skipped but
  counted.
- Dates are written 2026-10-31. In columns that have a type, a timestamp counts as a date if it is midnight, in UTC
  where it has a time zone: convert local times to dates first. As text, in CSV for instance, no timestamp does.
- Ids of records and names of authorities are taken in Unicode's normal form C: é is one letter, however it was
  composed. Letters of full width, and brackets of other kinds, stay different.
- Whoever a letter says is not an adult is not, until a later letter confirms that they are. The letter that confirms
  it must cover what is asked for, scoring or training; the one that denies it need not.

## When more becomes known about a record

Write an outcome, a repair, a revocation, an exclusion, a withdrawal or the decision on an objection into the record's
own row, and leave its other cells as they are, `recorded_on` among them. The row as it was before may be there as well,
in the same file or that of an earlier day: of several rows of one record, one that says all that the others do is used,
and the others count as repeated. So a folder of the deliveries of many days is read as all that was said of each
record. To empty a cell again takes nothing back: leave out the row that filled it, and keep all again.
[city.md](city.md#day-by-day) says how to add new rows to kept records.

## What is unclear counts against nobody

- **Rows of one record contradict each other:** none says all that the others do. The one recorded first is used until
  the day on which another was recorded; from then on the record counts against nobody. Of those recorded on the same
  day none is used; an objection is taken to be open, and a person without a clear consent is not scored.
- **A record has a row that cannot be read.** The record counts against nobody from the `recorded_on` of that row.
- **A row that cannot be read does not say which record it is about.** If it names only a person, it may be about any
  record of theirs; if it names only a record id, about any record with that id. A line that cannot be cut into cells
  may be about any record of any person or id that occurs in it. A row with a date, an amount or a word of a vocabulary
  and nothing else may be the end of the row before it, which a line break cut off, and so about the record of that row.
- **A row of `consents` cannot be read.** It may be a withdrawal, so nobody it names is scored, nor, if it may
  be the end of the row before it, the person of that row.
- **A row of `objections` cannot be read.** It is taken to be an objection that is still open, against every record
  that it may be about.

`egretscore validate` lists each such row and what is wrong with it."""


def lines() -> Iterator[str]:
    """Yield the lines of the page on records."""
    policy = es.shipped_policy()
    yield "# Records"
    yield ""
    yield f"There are five tables: {', '.join(f'[`{name}`](#{name})' for name in TABLES)}."
    yield ""
    yield _HOW_RECORDS_ARE_GIVEN
    for table in TABLES.values():
        yield ""
        yield f"## {table.name}"
        yield ""
        yield f"A record is told from others by its {', '.join(table.identity)}."
        yield ""
        yield "| column | what it says | a cell is | optional |"
        yield "| --- | --- | --- | --- |"
        for column in table.columns:
            expected = column.type.expected
            if column.type.vocabulary:
                words = {**policy.vocabulary, **FIXED_WORDS}[column.type.vocabulary]
                expected += ", ".join(f"`{word}`" for word in sorted(words))
            yield f"| `{column.name}` | {column.meaning} | {expected} | {'optional' if column.optional else ''} |"
        if table.rules:
            yield ""
        for rule in table.rules:
            yield f"- `{rule.column}`: {rule.expected}"
