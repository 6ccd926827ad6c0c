"""Whole numbers that are too long for 64 bits with a sign, as hashes are, without a digit lost.

DuckDB takes those that fit no integer of its own for numbers of double precision, where many ids
are one. It writes its own longest integer to Parquet as such a number, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import duckdb

from nightmill.spec.sql import quoted

WHOLE = "DECIMAL(38,0)"
_KINDS = ("UBIGINT", WHOLE)
_WRITTEN = r"[+-]?\d+"
_LOOKED_AT = 100  # rows that rule out most columns, so that few are looked at in all rows


def too_long(types: Mapping[str, str]) -> list[str]:
    """Return the columns that may hold such numbers, by the types that DuckDB found."""
    return [name for name, kind in types.items() if kind in ("DOUBLE", "HUGEINT")]


def exact_types(
    connection: duckdb.DuckDBPyConnection, texts: str, columns: Sequence[str]
) -> dict[str, str]:
    """Map those that hold nothing but whole numbers to what holds each digit; text if nothing does.

    `texts` stands behind FROM, and reads these columns as they are written.
    """
    if not columns:
        return {}
    names = ", ".join(map(quoted, columns))
    first = connection.execute(f"SELECT {names} FROM {texts} LIMIT {_LOOKED_AT}").fetchall()
    possible = [
        column
        for column, values in zip(columns, zip(*first, strict=True), strict=True)
        if all(value is None or re.fullmatch(_WRITTEN, value, re.ASCII) for value in values)
    ]
    if not possible:
        return {}
    asked = ", ".join(_asked(quoted(column)) for column in possible)
    (fits,) = connection.execute(f"SELECT {asked} FROM {texts}").fetchall()
    types: dict[str, str] = {}
    step = 1 + len(_KINDS)
    for number, column in enumerate(possible):
        is_whole, *held = fits[number * step : (number + 1) * step]
        if is_whole:
            kinds = (kind for kind, is_held in zip(_KINDS, held, strict=True) if is_held)
            types[column] = next(kinds, "VARCHAR")
    return types


def _asked(name: str) -> str:
    """Ask whether all values are whole numbers, and which types hold them all."""
    casts = (f"bool_and(TRY_CAST({name} AS {kind}) IS NOT NULL)" for kind in _KINDS)
    tests = (f"bool_and(regexp_full_match({name}, '{_WRITTEN}'))", *casts)
    return ", ".join(f"{test} FILTER (WHERE {name} IS NOT NULL)" for test in tests)
