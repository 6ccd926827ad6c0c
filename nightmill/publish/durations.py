"""Columns that hold durations: Parquet has no such type, so their files hold bare numbers.

What those count is told only by the schema that Arrow leaves in a file's metadata: pandas, polars
and pyarrow write it, and DuckDB does not look there. It is a flatbuffer of a format that is frozen,
and a few lines read what is wanted of it: nothing else here needs Arrow.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightmill.publish.target import PublishError
from nightmill.spec.problems import shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HEADER = 2  # slots of a Message, a Schema and a Field, by Arrow's Message.fbs and Schema.fbs
_FIELDS = 1
_NAME, _TYPE, _CHILDREN = 0, 2, 5
_DURATION = 18
_CONTINUES = b"\xff\xff\xff\xff"


def refuse_durations(opened: DuckDBPyConnection, files: str, *, output: str) -> None:
    """Raise PublishError for a column that is a duration, or has some inside.

    `files` is a list of Parquet files in SQL.
    """
    query = f"SELECT DISTINCT value FROM parquet_kv_metadata({files}) WHERE key = 'ARROW:schema'"
    for (value,) in opened.execute(query).fetchall():
        for name, is_nested in _durations(value):
            how = "has durations inside" if is_nested else "is a duration"
            raise PublishError(
                f"column {shown(name)} {how}, and Delta has no such type: only bare numbers would "
                "be left",
                where=f"output {output}",
                advice="write it as a number in the notebook (pandas: `.dt.total_seconds()`), and "
                "say the unit in its name",
            )


def _durations(value: bytes) -> list[tuple[str, bool]]:
    """Name the columns of a schema that have durations, and whether those are inside of them.

    None where it cannot be read.
    """
    try:
        data = base64.b64decode(value)
        start = 8 if data.startswith(_CONTINUES) else 4
        (root,) = struct.unpack_from("<I", data, start)
        schema = _Table(data, start + root).table(_HEADER)
        found = schema.tables(_FIELDS) if schema else ()
        return [(one.text(_NAME), one.byte(_TYPE) != _DURATION) for one in found if _has(one)]
    except (binascii.Error, struct.error, UnicodeDecodeError, RecursionError):
        return []


def _has(field: _Table) -> bool:
    return field.byte(_TYPE) == _DURATION or any(map(_has, field.tables(_CHILDREN)))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer: values by their slots, absent ones left out."""

    data: bytes
    at: int

    def byte(self, slot: int) -> int:
        place = self._place(slot)
        return int(struct.unpack_from("<B", self.data, place)[0]) if place else 0

    def text(self, slot: int) -> str:
        place = self._follow(self._place(slot))
        if not place:
            return ""
        (size,) = struct.unpack_from("<I", self.data, place)
        return self.data[place + 4 : place + 4 + size].decode()

    def table(self, slot: int) -> _Table | None:
        place = self._follow(self._place(slot))
        return _Table(self.data, place) if place else None

    def tables(self, slot: int) -> Iterator[_Table]:
        place = self._follow(self._place(slot))
        count = struct.unpack_from("<I", self.data, place)[0] if place else 0
        for number in range(count):
            yield _Table(self.data, self._follow(place + 4 + 4 * number))

    def _place(self, slot: int) -> int:
        """Find where a slot's value is; 0 where it has none."""
        (back,) = struct.unpack_from("<i", self.data, self.at)
        slots, after = self.at - back, 4 + 2 * slot
        (size,) = struct.unpack_from("<H", self.data, slots)
        (offset,) = struct.unpack_from("<H", self.data, slots + after) if after < size else (0,)
        return self.at + offset if offset else 0

    def _follow(self, place: int) -> int:
        """Go to what an offset leads to."""
        return place + int(struct.unpack_from("<I", self.data, place)[0]) if place else 0
