"""The types of what is written as text: dates by ISO 8601, and true and false.

DuckDB guesses more: it takes 01/02/2026 for the first of February, or for the second of January
where another row needs it, fails where rows are written in two ways, and makes a bool of yes. A
date that is written otherwise is a text, as it is for pandas and polars: only the author knows
which day is meant. So is a column whose instants have a zone in some rows only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import duckdb

from nightmill.audit.whole_numbers import exact_types, too_long
from nightmill.spec.sql import literal, quoted

_DAY = r"\d{4}-\d\d-\d\d"
_INSTANT = rf"{_DAY}[T ]\d\d:\d\d(:\d\d(\.\d{{1,9}})?)?"
DATES: Mapping[str, str] = {
    "DATE": _DAY,
    "TIMESTAMP": _INSTANT,
    "TIMESTAMPTZ": rf"{_INSTANT}(Z|[+-]\d\d(:?\d\d)?)",
}
"""How each type is written, as a regular expression of DuckDB and of Python."""
TYPES: Mapping[str, str] = {"BOOLEAN": "[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]", **DATES}

_LOOKED_AT = 100  # rows that rule out most types, so that few are sought in all rows
_LONGEST = 40  # characters: more than any of these has

_NEVER = "%Y\x01"  # a format that no text has: DuckDB would guess more than ISO 8601


def json_source(
    connection: duckdb.DuckDBPyConnection, file: str, texts: Collection[str] = ()
) -> str:
    """Return what reads a file of JSON with types, to stand behind FROM; within a value none is.

    `file` is the file's path, quoted for SQL. No text in the columns of `texts` is a date.
    """
    guessed = f"dateformat='{_NEVER}', timestampformat='{_NEVER}'"
    options = f"{file}, hive_partitioning=false, {guessed}"
    text = f"read_json({options}, sample_size=-1)"
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {text}").fetchall()}
    long = too_long(types)
    if long and not _has_renamed(types):
        written = f"read_json({options}, columns={_columns(dict.fromkeys(long, 'VARCHAR'))})"
        if exact := exact_types(connection, written, long):
            text = f"read_json({options}, columns={_columns(types | exact)})"
    return typed(connection, text, DATES, texts)


def _has_renamed(names: Collection[str]) -> bool:
    """Tell whether DuckDB may have renamed a key, `A` beside `a` to `A_1`: it is no longer one."""
    known = {name.casefold() for name in names}
    stems = (re.fullmatch(r"(.*)_\d+", name.casefold(), re.DOTALL) for name in names)
    return any(stem[1] in known for stem in stems if stem)


def _columns(types: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{literal(name)}: {literal(types[name])}" for name in types) + "}"


def typed(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    types: Mapping[str, str],
    kept: Collection[str] = (),
) -> str:
    """Return what reads `text`, which stands behind FROM, with the types that all rows allow.

    Columns of `kept` stay text.
    """
    possible = list(_possible(connection, text, types, kept))
    if not possible:
        return text
    asked = ", ".join(
        f"bool_and(regexp_full_match({name}, '{types[kind]}')"
        f" AND TRY_CAST({name} AS {kind}) IS NOT NULL)"
        f" FILTER (WHERE {name} IS NOT NULL)"
        for name, kind in possible
    )
    (fits,) = connection.execute(f"SELECT {asked} FROM {text}").fetchall()
    casts = [
        f"CAST({name} AS {kind}) AS {name}"
        for (name, kind), fit in zip(possible, fits, strict=True)
        if fit  # None: there is no value
    ]
    return f"(SELECT * REPLACE ({', '.join(casts)}) FROM {text})" if casts else text


def _possible(
    connection: duckdb.DuckDBPyConnection,
    text: str,
    types: Mapping[str, str],
    kept: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Find the columns of text, quoted for SQL, and the types that the first rows do not rule out.

    Looked at in Python: in SQL, some thousand columns take DuckDB many seconds to plan.
    """
    described = connection.execute(f"DESCRIBE FROM {text}").fetchall()
    begin = f"SELECT left(COLUMNS(*)::VARCHAR, {_LONGEST}) FROM {text} LIMIT {_LOOKED_AT}"
    columns = zip(*connection.execute(begin).fetchall(), strict=True)
    for (name, kind, *_others), values in zip(described, columns, strict=False):
        if kind == "VARCHAR" and name not in kept:
            some = {value for value in values if value is not None}
            for wanted, written in types.items():
                if all(re.fullmatch(written, value, re.ASCII) for value in some):
                    yield quoted(name), wanted
