"""Numbers of half precision: DuckDB reads them as single, in which 0.1 is another number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from nightmill.audit.table import Table, top_level
from nightmill.spec.sql import literal

_HALF = "Float16Type()"  # in DuckDB's words of what Parquet says


def as_held(table: Table, column: str, bounds: Sequence[Any]) -> list[Any]:
    """Return numbers of pipeline.yaml as a column of half precision holds them, else as they are.

    The others are rounded by DuckDB itself.
    """
    is_half = table.columns[column] == "FLOAT" and _is_half(table, column)
    return [_rounded(bound) if is_half and bound is not None else bound for bound in bounds]


def _is_half(table: Table, column: str) -> bool:
    """Tell whether a column is of half precision in every part."""
    files = ", ".join(map(literal, table.parts))
    found = table.rows(
        "SELECT list((name, logical_type, num_children) ORDER BY column_id)"
        f" FROM parquet_schema([{files}]) GROUP BY file_name"
    )
    return all(top_level(nodes).get(column) == _HALF for (nodes,) in found)


def _rounded(number: float) -> float:
    try:
        return float(struct.unpack("e", struct.pack("e", float(number)))[0])
    except OverflowError:  # beyond all that such a column holds
        return number
