"""What the checks of pipeline.yaml are written with: ranges, shares, bounds and type names.

Each is read into a value that says of itself, in the author's words, what it expects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nightmill.spec.problems import Fault, Faults, shown, suggest

Severity = Literal["error", "warn"]
Kind = Literal["number", "text", "bool", "date"]

_NUMBER = r"(-?\d{1,18}(?:\.\d{1,18})?)"
_COMPARED = re.compile(rf"(>=|<=|>|<)\s*{_NUMBER}", re.ASCII)
_EXACTLY = re.compile(_NUMBER, re.ASCII)
_BETWEEN = re.compile(rf"{_NUMBER}?\s*\.\.\s*{_NUMBER}?", re.ASCII)

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_FLOATS = ("FLOAT", "DOUBLE")
_ZONED = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
_TIMESTAMPS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", *_ZONED)
_TEXTS = ("VARCHAR", "ENUM", "UUID")

TYPES: Mapping[str, tuple[str, ...]] = {
    # families: any width will do
    "int": (*_INTEGERS, *_UNSIGNED),
    "float": _FLOATS,
    "number": (*_INTEGERS, *_UNSIGNED, *_FLOATS, "DECIMAL"),
    "string": _TEXTS,
    "bool": ("BOOLEAN",),
    "date": ("DATE",),
    "time": ("TIME", "TIME_NS", "TIME WITH TIME ZONE"),
    "timestamp": _TIMESTAMPS,
    "decimal": ("DECIMAL",),
    "binary": ("BLOB",),
    "list": ("LIST",),
    "struct": ("STRUCT",),
    "map": ("MAP",),
    "interval": ("INTERVAL",),
    "uuid": ("UUID",),
    "json": ("JSON",),
    # exact types, by the names that Arrow, pandas and polars share
    "int8": ("TINYINT",),
    "int16": ("SMALLINT",),
    "int32": ("INTEGER",),
    "int64": ("BIGINT",),
    "uint8": ("UTINYINT",),
    "uint16": ("USMALLINT",),
    "uint32": ("UINTEGER",),
    "uint64": ("UBIGINT",),
    "float32": ("FLOAT",),
    "float64": ("DOUBLE",),
    "timestamptz": _ZONED,
}
"""The type names of `columns:` and the DuckDB types that each accepts."""

NO_TYPE = '"NULL"'
"""The type of a column that holds nothing but nulls, as pandas and polars write it."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included unless open; None has no bound."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, number: float) -> bool:
        """Tell whether a number lies inside; NaN never does."""
        above = self.low is None or (number > self.low if self.low_open else number >= self.low)
        below = self.high is None or (number < self.high if self.high_open else number <= self.high)
        return above and below and not math.isnan(number)


def parse_range(text: str) -> Range | None:
    """Read `>0`, `<=5`, `100..5000`, `100..`, `..5000` or `7`; None for any other text."""
    if match := _COMPARED.fullmatch(text.strip()):
        number, is_open = _number(match[2]), len(match[1]) == 1
        if match[1][0] == ">":
            return Range(low=number, low_open=is_open)
        return Range(high=number, high_open=is_open)
    if match := _EXACTLY.fullmatch(text.strip()):
        return Range(low=_number(match[1]), high=_number(match[1]))
    match = _BETWEEN.fullmatch(text.strip())
    if match and (match[1] or match[2]):
        return Range(low=_number(match[1]), high=_number(match[2]))
    return None


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    return float(text) if "." in text else int(text)


def parse_share(value: Any) -> float:
    """Read `5%` as 0.05."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*%", value) if isinstance(value, str) else None
    if not match:
        raise Faults([Fault(f"{shown(value)} is no share", "write it like 5% or 0.1%")])
    return float(match[1]) / 100


def kind_of(value: object) -> Kind | None:
    """Say what kind of column a value of YAML can be compared with; None for none."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "text"
        case date():
            return "date"
        case _:
            return None


def kind_of_type(duckdb_type: str) -> Kind | None:
    """Say the same of a column, by its DuckDB type."""
    plain = plain_type(duckdb_type)
    kinds: dict[Kind, tuple[str, ...]] = {
        "number": TYPES["number"],
        "text": _TEXTS,
        "bool": ("BOOLEAN",),
        "date": ("DATE", *_TIMESTAMPS),
    }
    return next((kind for kind, types in kinds.items() if plain in types), None)


def fits(duckdb_type: str, name: TypeName) -> bool:
    """Tell whether a column is of a type of `columns:`; one that holds nothing is of any."""
    return duckdb_type == NO_TYPE or plain_type(duckdb_type) in TYPES[name]


def plain_type(duckdb_type: str) -> str:
    """Take off a type's parameters: DECIMAL of DECIMAL(18,3), LIST of BIGINT[]."""
    return "LIST" if duckdb_type.endswith("]") else duckdb_type.partition("(")[0]


def _check_bound(value: Any) -> Any:
    if value is not None and kind_of(value) not in ("number", "date"):
        raise Faults([Fault(f"{shown(value)} is no bound", "write a number or a date")])
    if isinstance(value, float) and math.isnan(value):
        raise Faults([Fault("nothing can be compared with `nan`", "write a number")])
    return value


def _check_accepted(values: Any) -> Any:
    if not isinstance(values, list) or not values:
        raise Faults([Fault("expected a list of values", "write it like [AA, UA]")])
    kinds = {kind_of(value) for value in values}
    if len(kinds) > 1 or None in kinds:
        raise Faults([Fault("the values must be of one kind", "put text between quotes")])
    return tuple(values)


def _check_type(text: str) -> str:
    if text not in TYPES:
        raise Faults([Fault(f"unknown type {shown(text)}", suggest(text, TYPES, noun="types"))])
    return text


Column = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, BeforeValidator(parse_share)]
Bound = Annotated[Any, AfterValidator(_check_bound)]
AcceptedValues = Annotated[tuple[Any, ...], BeforeValidator(_check_accepted), Field(max_length=500)]
TypeName = Annotated[str, AfterValidator(_check_type)]
