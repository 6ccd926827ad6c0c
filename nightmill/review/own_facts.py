"""What a table's file says of its columns, and DuckDB does not: names, and which are durations.

Of names that differ in nothing, or in capitals only, DuckDB leaves the first as it is and calls the
others `a_1`, `A_2`, ...; so do checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from nightmill.spec.arrow_schema import columns_of
from nightmill.spec.sql import literal

Ask = Callable[[str], Sequence[tuple[Any, ...]]]
"""Asks the database that reads the file, and returns all rows."""

_SCHEMA_BYTES = 1 << 20


def names_in_text(ask: Ask, file: str, delimiter: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return the names in the header of a file, by those that DuckDB gives where they differ.

    `file` is the file's path, quoted for SQL.
    """
    if not _has_renamed(names):
        return {}
    columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    options = f"delim='{delimiter}', quote='\"', escape='\"', comment='', skip=0, header=false"
    header = ask(
        f"FROM read_csv({file}, {options}, auto_detect=false, columns={{{columns}}},"
        " parallel=false) LIMIT 1"
    )
    return _renamed(names, header[0]) if header else {}


def names_in_parquet(ask: Ask, file: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return likewise those of a Parquet file."""
    if not _has_renamed(names):
        return {}
    asked = f"FROM parquet_schema({file}) SELECT name, coalesce(num_children, 0)"
    return _renamed(names, list(_outermost(ask(asked))))


def durations_in_parquet(ask: Ask, file: str, most: int) -> Mapping[int, str]:
    """Return the unit of each of the first columns that holds durations, by its place."""
    found = ask(
        f"FROM parquet_kv_metadata({file}) SELECT value"
        f" WHERE key = 'ARROW:schema'::BLOB AND octet_length(value) <= {_SCHEMA_BYTES} LIMIT 1"
    )
    columns = columns_of(found[0][0])[:most] if found else []
    return {place: column.unit for place, column in enumerate(columns) if column.unit}


def as_duration(value: str, unit: str) -> str:
    """Return the SQL for a whole number of a unit as DuckDB writes an interval.

    What an interval cannot hold is told as a number with its unit.
    """
    told = f"{value} || {literal(f' {unit}')}"
    if unit == "ns":
        exact, microseconds = f"{value} % 1000 = 0", f"{value} // 1000"
    else:
        factor = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
        exact, microseconds = "true", f"{value} * {factor}"
    interval = f"CAST(TRY(to_microseconds({microseconds})) AS VARCHAR)"
    return f"coalesce(CASE WHEN {exact} THEN {interval} END, {told})"


def _has_renamed(names: Collection[str]) -> bool:
    known = {name.casefold() for name in names}
    stems = (re.fullmatch(r"(.*)_[0-9]+", name.casefold(), re.DOTALL) for name in names)
    return any(stem[1] in known for stem in stems if stem)


def _renamed(names: Sequence[str], own: Sequence[str | None]) -> Mapping[str, str]:
    """Pair the names that differ; of a name that is empty DuckDB makes one up."""
    if len(own) != len(names):
        return {}
    pairs = zip(names, own, strict=True)
    return {name: one for name, one in pairs if one and one.strip() != name.strip()}


def _outermost(schema: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Give the names of the columns: the root comes first, and what is in a column behind it."""
    inside = 0
    for name, children in schema[1:]:
        if not inside:
            yield name
        inside = inside - 1 + children if inside else children
