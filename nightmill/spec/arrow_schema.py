"""Which columns of a Parquet file hold durations: only the schema that Arrow adds to it tells.

Parquet has no such type, so pandas, polars and pyarrow write bare numbers, and DuckDB does not look
at what they leave in the file's metadata. That is a FlatBuffer in base64, by Arrow's Message.fbs
and Schema.fbs, whose format is frozen; nothing else here needs Arrow or FlatBuffers. It may be a
stranger's: what does not fit tells of no columns.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_UNITS = ("s", "ms", "us", "ns")
_MILLISECONDS = 1  # as a FlatBuffer leaves out what is the default
_DURATION = 18  # in the union of types
_CONTINUES = b"\xff\xff\xff\xff"  # a mark before the length of the message, since Arrow 0.15

# Fields by their place in Message, Schema, Field and Duration.
_HEADER, _FIELDS, _NAME, _TYPE_KIND, _TYPE, _CHILDREN, _UNIT = 2, 1, 0, 2, 3, 5, 0

_MOST_FIELDS = 100_000  # with those inside of others, which in a made-up file may be endless


@dataclass(frozen=True)
class ArrowColumn:
    """A column: `unit` is s, ms, us or ns where it is a duration itself, else empty."""

    name: str
    unit: str
    has_durations: bool


def columns_of(schema: bytes) -> list[ArrowColumn]:
    """Return the columns of a schema, as it stands in a file under ARROW:schema.

    None where it cannot be read, or has more than 100,000 fields.
    """
    try:
        data = base64.b64decode(schema, validate=True)
        begin = 8 if data.startswith(_CONTINUES) else 4
        header = _Table.at_end_of(data, begin).table(_HEADER)
        left = iter(range(_MOST_FIELDS))
        return [_column(field, left) for field in header.tables(_FIELDS)] if header else []
    except (ValueError, IndexError, struct.error, RecursionError):
        return []


def _column(field: _Table, left: Iterator[int]) -> ArrowColumn:
    unit = ""
    if _is_duration(field):
        told = field.table(_TYPE)
        unit = _UNITS[told.number("<h", _UNIT, _MILLISECONDS)] if told else ""
    return ArrowColumn(field.text(_NAME), unit, _has_durations(field, left))


def _has_durations(field: _Table, left: Iterator[int]) -> bool:
    if next(left, None) is None:
        raise ValueError(_MOST_FIELDS)
    inside = field.tables(_CHILDREN)
    return _is_duration(field) or any(_has_durations(inner, left) for inner in inside)


def _is_duration(field: _Table) -> bool:
    return field.number("B", _TYPE_KIND, 0) == _DURATION


@dataclass(frozen=True)
class _Table:
    """A table of a FlatBuffer: `at` is where it begins, and there is the way to its fields."""

    data: bytes
    at: int

    @classmethod
    def at_end_of(cls, data: bytes, place: int) -> _Table:
        """Follow the offset that stands in a place."""
        return cls(data, place + _number(data, "<I", place))

    def number(self, layout: str, field: int, default: int) -> int:
        """Return a field that is a number."""
        place = self._place(field)
        return _number(self.data, layout, place) if place else default

    def text(self, field: int) -> str:
        """Return a field that is a text, empty where it is left out."""
        begin = self._begin(field)
        if not begin:
            return ""
        return self.data[begin + 4 : begin + 4 + _number(self.data, "<I", begin)].decode()

    def table(self, field: int) -> _Table | None:
        """Return a field that is another table."""
        begin = self._begin(field)
        return _Table(self.data, begin) if begin else None

    def tables(self, field: int) -> Iterator[_Table]:
        """Give a list of tables."""
        begin = self._begin(field)
        for number in range(_number(self.data, "<I", begin) if begin else 0):
            yield _Table.at_end_of(self.data, begin + 4 * (number + 1))

    def _begin(self, field: int) -> int:
        """Return where a field's offset leads to; 0 where it is left out."""
        place = self._place(field)
        return place + _number(self.data, "<I", place) if place else 0

    def _place(self, field: int) -> int:
        """Return where a field is; 0 where it is left out."""
        known = self.at - _number(self.data, "<i", self.at)
        slot = 4 + 2 * field
        if slot >= _number(self.data, "<H", known):
            return 0
        offset = _number(self.data, "<H", known + slot)
        return self.at + offset if offset else 0


def _number(data: bytes, layout: str, place: int) -> int:
    if place < 0:  # Python would count from the end
        raise ValueError(place)
    (found,) = struct.unpack_from(layout, data, place)
    return int(found)
