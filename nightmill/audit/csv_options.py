"""How delimited text is read: by RFC 4180, as every reader of an output reads it.

DuckDB's sniffer guesses more: it takes `#` for a comment, `;` for a delimiter, skips what it takes
for a preamble, and makes one column of a table with a line that is too short. Here the name of the
file says the delimiter, the first line is the header, and each line after it is a row. Only the
types are still found by looking, at all rows: DuckDB finds numbers, and text_types the rest.
Blanks belong to a name, as they do for pandas and polars; DuckDB would cut them off.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence

import duckdb

from nightmill.audit.finding import counted
from nightmill.audit.text_types import TYPES, typed
from nightmill.audit.whole_numbers import exact_types, too_long
from nightmill.spec.problems import shown
from nightmill.spec.sql import literal

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINE = re.compile(r"CSV Error on Line: (\d+)\nOriginal Line: (.*?)\n", re.DOTALL)
_NUMBERS_OR_TEXT = "['BIGINT', 'HUGEINT', 'DOUBLE', 'VARCHAR']"
_NO_UTF8 = "not utf-8 encoded"
_NO_HEADER = "there is no header in the first line"
_FIELDS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


def csv_source(
    connection: duckdb.DuckDBPyConnection, file: str, suffix: str, texts: Collection[str] = ()
) -> str:
    """Return what reads a file of that suffix, `.csv` or `.tsv`, with types: to stand behind FROM.

    `file` is the file's path, quoted for SQL. Columns of `texts` are text, whatever they look like.
    """
    if not has_header(connection, file):
        raise duckdb.InvalidInputException(_NO_HEADER)
    options = _options(connection, file, suffix)
    every = f"sample_size=-1, auto_type_candidates={_NUMBERS_OR_TEXT}"
    found = connection.execute(f"DESCRIBE FROM read_csv({file}, {options}, {every})").fetchall()
    types = {name: "VARCHAR" if name in texts else kind for name, kind, *_others in found}
    written = f"read_csv({file}, {options}, all_varchar=true)"
    types |= exact_types(connection, written, too_long(types))
    listed = ", ".join(f"'{kind}'" for kind in types.values())
    return typed(connection, f"read_csv({file}, {options}, types=[{listed}])", TYPES, texts)


def csv_texts(connection: duckdb.DuckDBPyConnection, file: str, suffix: str) -> str:
    """Return what reads the same file, each value as it is written."""
    options = _options(connection, file, suffix)
    return f"read_csv({file}, {options}, all_varchar=true, allow_quoted_nulls=false)"


def csv_fault(
    connection: duckdb.DuckDBPyConnection, file: str, suffix: str, error: duckdb.Error
) -> str | None:
    """Say what DuckDB's error does not: which line of a file is no row; None where none is found.

    `file` is the file's path, quoted for SQL. A line break between quotes begins no line.
    """
    if _NO_UTF8 in str(error):
        return _described(str(error))
    header = _header(connection, file)
    if header is None:
        return _NO_HEADER
    names = _names(header, suffix)
    if not names:
        return None
    columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    options = f"{_dialect(suffix)}, header=true, auto_detect=false"
    try:
        connection.execute(
            f"SELECT count(*) FROM read_csv({file}, {options}, columns={{{columns}}})"
        )
    except duckdb.InvalidInputException as strict:
        return _described(str(strict))
    return None


def has_header(connection: duckdb.DuckDBPyConnection, file: str) -> bool:
    """Tell whether the first line is one: DuckDB would look for the header further down."""
    return _header(connection, file) is not None


def _options(connection: duckdb.DuckDBPyConnection, file: str, suffix: str) -> str:
    names = _names(_header(connection, file), suffix)
    given = ""
    if any(name != name.strip() for name in names) and _are_distinct(names):
        listed = ", ".join(literal(name) for name in names)
        given = f", names=[{listed}]"
    return f"{_dialect(suffix)}, header=true{given}, hive_partitioning=false"


def _header(connection: duckdb.DuckDBPyConnection, file: str) -> str | None:
    """Return the first line as it is; of a name with a line break in it, what is before that."""
    whole_lines = "delim='\x01', quote='', escape='', comment='', header=false, strict_mode=false"
    found = connection.execute(
        f"SELECT line FROM read_csv({file}, {whole_lines}, auto_detect=false,"
        " columns={'line': 'VARCHAR'}, parallel=false) LIMIT 1"
    ).fetchall()
    return found[0][0] if found else None


def _names(header: str | None, suffix: str) -> list[str]:
    """Return the names of the columns; none where the first line does not tell all of them."""
    if header is None or header.count('"') % 2:  # a name goes on in the next line
        return []
    try:
        return next(csv.reader([header], delimiter=_DELIMITERS[suffix.lower()]))
    except csv.Error:  # a name of more than 128 KiB
        return []


def _are_distinct(names: Sequence[str]) -> bool:
    """Tell whether these can be names of columns; else DuckDB makes some up, from what it cuts."""
    return all(map(str.strip, names)) and len({name.casefold() for name in names}) == len(names)


def _dialect(suffix: str) -> str:
    delimiter = _DELIMITERS[suffix.lower()]
    return (
        f"delim='{delimiter}', quote='\"', escape='\"', comment='', skip=0, strict_mode=true,"
        " null_padding=false, ignore_errors=false"
    )


def _described(error: str) -> str | None:
    line = _LINE.search(error)
    if line is None:
        return "its lines end in different ways" if "invalid state" in error else None
    if _NO_UTF8 in error:  # the text that DuckDB shows may be of another line
        return f"line {line[1]} is not UTF-8: write the file with encoding='utf-8'"
    place = f"line {line[1]} ({shown(line[2])})"
    if fields := _FIELDS.search(error):
        wanted, found = int(fields[1]), int(fields[2])  # DuckDB counts no further than one more
        has = "more fields" if found > wanted else counted(found, "field")
        return f"{place} has {has}, the header has {wanted}"
    if "unterminated quote" in error:
        return f"{place} has a quote that does not end where its field ends"
    return None
