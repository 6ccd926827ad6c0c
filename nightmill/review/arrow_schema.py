"""Which columns of a Parquet file hold durations: only the schema that Arrow adds to it tells.

Parquet has no such type, so pandas and polars write whole numbers. The schema is a FlatBuffer in
base64, and a stranger's: what does not fit tells of none. No library for it is wanted here.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_UNITS = ("s", "ms", "us", "ns")
_MILLISECONDS = 1  # as a FlatBuffer leaves out what is the default
_DURATION = 18  # in the union of types
_BEGIN = 8  # a mark and a length come before the message

# Fields by their place in Message, Schema, Field and Duration of Arrow's format.
_HEADER, _FIELDS, _TYPE_KIND, _TYPE, _UNIT = 2, 1, 2, 3, 0


def durations(schema: bytes, most: int) -> Mapping[int, str]:
    """Return the units of those that are durations among the first `most` columns, by their place.

    `schema` is what the file has under ARROW:schema.
    """
    try:
        return dict(_durations(base64.b64decode(schema, validate=True), most))
    except (ValueError, IndexError, struct.error):
        return {}


def _durations(data: bytes, most: int) -> Iterator[tuple[int, str]]:
    header = _Table.at_end_of(data, _BEGIN).table(_HEADER)
    for place, column in enumerate(header.tables(_FIELDS, most) if header else ()):
        kind, told = column.number("B", _TYPE_KIND, 0), column.table(_TYPE)
        if kind == _DURATION and told:
            yield place, _UNITS[told.number("<h", _UNIT, _MILLISECONDS)]


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

    def table(self, field: int) -> _Table | None:
        """Return a field that is another table."""
        place = self._place(field)
        return _Table.at_end_of(self.data, place) if place else None

    def tables(self, field: int, most: int) -> Iterator[_Table]:
        """Give the first of a list of tables."""
        place = self._place(field)
        if not place:
            return
        begin = place + _number(self.data, "<I", place)
        for number in range(min(_number(self.data, "<I", begin), most)):
            yield _Table.at_end_of(self.data, begin + 4 * (number + 1))

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
