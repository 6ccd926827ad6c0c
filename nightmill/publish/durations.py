"""Columns that hold durations, of which a table would keep bare numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightmill.publish.target import PublishError
from nightmill.spec.arrow_schema import columns_of
from nightmill.spec.problems import shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def refuse_durations(opened: DuckDBPyConnection, files: str, *, output: str) -> None:
    """Raise PublishError for a column that is a duration, or has some inside.

    `files` is a list of Parquet files in SQL.
    """
    query = f"SELECT DISTINCT value FROM parquet_kv_metadata({files}) WHERE key = 'ARROW:schema'"
    for (value,) in opened.execute(query).fetchall():
        for column in columns_of(value):
            if not column.has_durations:
                continue
            how = "is a duration" if column.unit else "has durations inside"
            raise PublishError(
                f"column {shown(column.name)} {how}, and Delta has no such type: only bare "
                "numbers would be left",
                where=f"output {output}",
                advice="write it as a number in the notebook (pandas: `.dt.total_seconds()`), and "
                "say the unit in its name",
            )
