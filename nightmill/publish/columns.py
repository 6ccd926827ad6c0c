"""Which columns a table takes: of its own type, or of one that goes into it without any loss.

A Delta table would cast what it is given to its own types, and say nothing: 1.5 would become 1.
So nothing is left to cast. Types of tables are those of Delta's own JSON, which is what a schema
says in a table's log; types of what was committed are DuckDB's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightmill.publish.names import Columns, require_names
from nightmill.publish.target import PublishError
from nightmill.spec.problems import shown
from nightmill.spec.sql import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation
    from duckdb.sqltypes import DuckDBPyType

_TEXTS = {
    "byte": "TINYINT",
    "short": "SMALLINT",
    "integer": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
    "timestamp_ntz": "TIMESTAMP",
    "void": '"NULL"',
}

_FITTING: Mapping[str, tuple[str, ...]] = {
    "tinyint": ("byte", "short", "integer", "long"),
    "smallint": ("short", "integer", "long"),
    "integer": ("integer", "long"),
    "bigint": ("long",),
    # Delta has no unsigned numbers. Those that are too large for the table are found by value.
    "utinyint": ("short", "byte", "integer", "long"),
    "usmallint": ("integer", "short", "long"),
    "uinteger": ("long", "integer"),
    "ubigint": ("long",),
    "float": ("float", "double"),
    "double": ("double",),
    "boolean": ("boolean",),
    "varchar": ("string",),
    "enum": ("string",),
    "uuid": ("string",),
    "blob": ("binary",),
    "date": ("date",),
    "timestamp": ("timestamp_ntz",),
    "timestamp_s": ("timestamp_ntz",),
    "timestamp_ms": ("timestamp_ntz",),
    "timestamp_ns": ("timestamp_ntz",),
    "timestamp with time zone": ("timestamp",),
    "timestamptz_ns": ("timestamp",),
}
"""Which of Delta's types take one of DuckDB's; the first is that of a new column."""

_MAY_LOSE = re.compile(r"\bU(TINY|SMALL|BIG)?INT(EGER)?\b|_NS\b")
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class Column:
    """A column as it goes into a table: `text` is DuckDB's name of the type it has there."""

    name: str
    given: str
    text: str

    @property
    def sql(self) -> str:
        """The expression that makes it."""
        name = quoted(self.name)
        return name if self.text == self.given else f"CAST({name} AS {self.text}) AS {name}"

    @property
    def lost(self) -> str | None:
        """The condition under which its type takes a value and changes it; None if it never can."""
        if not _MAY_LOSE.search(self.given):
            return None
        there = f"TRY_CAST({quoted(self.name)} AS {self.text})"
        return f"TRY_CAST({there} AS {self.given}) IS DISTINCT FROM {quoted(self.name)}"


def fit(
    rows: DuckDBPyRelation, table: Columns, *, output: str, may_add: bool = False
) -> list[Column]:
    """Say of each column how it goes into a table, whether it has such a column or gets it.

    A new one without a type, which is null in all rows, is left out. Raises PublishError for the
    first one whose type, or value, would be changed.
    """
    untyped = _without_type(rows, table, output)
    found = [
        Column(name, str(given), _text_of(name, given, table, output))
        for name, given in zip(rows.columns, rows.types, strict=True)
        if name not in untyped
    ]
    names = [one.name for one in found]
    require_names(names, frozenset(rows.columns), table, output=output, may_add=may_add)
    if not found:
        raise PublishError(
            "has no column with a type: all are null",
            where=f"output {output}",
            advice="give them types in the notebook",
        )
    _require_no_loss(rows, found, output)
    return found


def has_no_type(column: Any) -> bool:
    """Tell whether a table's column is of no type, or has such inside: any type can replace it."""
    return column == "void" or any(has_no_type(one) for _name, one in _inner(column))


def _without_type(rows: DuckDBPyRelation, table: Columns, output: str) -> frozenset[str]:
    """Name new columns that have no type, since all is null: a table cannot have them yet.

    Raises PublishError for one that has lists, or the like, of nothing: they are values.
    """
    given = zip(rows.columns, rows.types, strict=True)
    names = [name for name, kind in given if name not in table and _lacks_type(kind)]
    if not names:
        return frozenset()
    counts = ", ".join(f"count({quoted(name)})" for name in names)
    for name, count in zip(names, rows.aggregate(counts).fetchall()[0], strict=True):
        if count:
            raise PublishError(
                f"column {shown(name)} has only nulls inside its lists or fields, so they are of "
                "no type",
                where=f"output {output}",
                advice="give it a type in the notebook; or publish a night that has values, then "
                "run `nightmill repair`",
            )
    return frozenset(names)


def _lacks_type(given: DuckDBPyType) -> bool:
    if given.id == "null":
        return True
    is_nested = given.id in {"list", "array", "struct", "map"}
    return is_nested and any(
        _lacks_type(inner) for _name, inner in _children(given) if not isinstance(inner, int)
    )


def _require_no_loss(rows: DuckDBPyRelation, found: list[Column], output: str) -> None:
    for one, has_lost in zip(found, _losses(rows, found), strict=True):
        if has_lost:
            is_time = "_NS" in one.given
            raise PublishError(
                f"column {shown(one.name)} is {one.given} and has values that {one.text}, its type "
                "in the table, cannot hold",
                where=f"output {output}",
                advice="round them to microseconds in the notebook"
                if is_time
                else "make them smaller in the notebook, or write them as text",
            )


def _losses(rows: DuckDBPyRelation, columns: list[Column]) -> list[bool]:
    counts = [f"count(*) FILTER ({one.lost})" if one.lost else "0" for one in columns]
    if not any(one.lost for one in columns):
        return [False] * len(columns)
    return [count > 0 for count in rows.aggregate(", ".join(counts)).fetchall()[0]]


def _text_of(name: str, given: DuckDBPyType, table: Columns, output: str) -> str:
    wanted = table.get(name)
    text = _fitting(given, wanted)
    if text is not None:
        return text
    where = f"output {output}"
    if wanted is None:
        advice = "leave it out, or write it as text, a number, a date or a timestamp"
        raise PublishError(
            f"column {shown(name)} is {given}, and Delta has no such type",
            where=where,
            advice=advice,
        )
    theirs = _text(wanted)
    raise PublishError(
        f"column {shown(name)} is {given}, and {theirs} in the table; what is there would change",
        where=where,
        advice=f"write it as {theirs} again, or under another name with `evolution: add`; to give "
        "all partitions the new type, move the table away and run `nightmill repair`",
    )


def _fitting(given: DuckDBPyType, wanted: Any | None) -> str | None:
    """Return the type, in DuckDB's words, in which a column stands in the table; None for none."""
    kind = given.id
    if kind == "null":
        return None if wanted is None else _text(wanted)
    if wanted == "void":
        wanted = None  # nothing but nulls is there
    if kind == "decimal":
        return _decimal(given, wanted)
    if kind in {"list", "array", "struct", "map"}:
        return _nested(given, wanted)
    known = _FITTING.get(kind, ())
    chosen = wanted if wanted is not None else next(iter(known), None)
    return _TEXTS[chosen] if chosen in known else None


def _decimal(given: DuckDBPyType, wanted: Any | None) -> str | None:
    if wanted is None:
        return str(given)
    match = _DECIMAL.fullmatch(wanted) if isinstance(wanted, str) else None
    if match is None:
        return None
    (_p, precision), (_s, scale) = _children(given)
    digits, places = int(match[1]), int(match[2])
    fits = places >= scale and digits - places >= precision - scale
    return _text(wanted) if fits else None


def _nested(given: DuckDBPyType, wanted: Any | None) -> str | None:
    """Fit the types inside: of lists, of maps, and of structs that have the same fields."""
    kind = {"array": "list"}.get(given.id, given.id)
    inner = _children(given)[:1] if kind == "list" else _children(given)
    theirs = dict(_inner(wanted))
    names = [name if kind == "struct" else str(n) for n, (name, _type) in enumerate(inner)]
    if wanted is not None and (_kind(wanted) != kind or theirs.keys() != set(names)):
        return None
    found = [_fitting(one, theirs.get(name)) for name, (_n, one) in zip(names, inner, strict=True)]
    texts = [text for text in found if text is not None]
    if len(texts) < len(found):
        return None
    if kind == "list":
        return f"{texts[0]}[]"
    if kind == "map":
        return f"MAP({', '.join(texts)})"
    by_name = dict(zip(names, texts, strict=True))
    return _struct({name: by_name[name] for name in theirs or names})


def _children(given: DuckDBPyType) -> list[tuple[str, Any]]:
    """Name what is inside a type: other types, or the figures of a decimal."""
    return [(name, inner) for name, inner in given.children if isinstance(name, str)]


def _kind(wanted: Any) -> str:
    kind = wanted["type"] if isinstance(wanted, dict) else ""
    return "list" if kind == "array" else str(kind)


def _inner(wanted: Any) -> Iterator[tuple[str, Any]]:
    """Name the types inside a table's type: those of lists and maps by their places."""
    kind = _kind(wanted)
    if kind == "list":
        yield "0", wanted["elementType"]
    elif kind == "map":
        yield from (("0", wanted["keyType"]), ("1", wanted["valueType"]))
    elif kind == "struct":
        yield from ((field["name"], field["type"]) for field in wanted["fields"])


def _text(wanted: Any) -> str:
    """Say a table's type in DuckDB's words."""
    inner = {name: _text(one) for name, one in _inner(wanted)}
    match _kind(wanted):
        case "list":
            return f"{inner['0']}[]"
        case "map":
            return f"MAP({', '.join(inner.values())})"
        case "struct":
            return _struct(inner)
    return _TEXTS.get(wanted, str(wanted).upper())


def _struct(fields: Mapping[str, str]) -> str:
    return f"STRUCT({', '.join(f'{quoted(name)} {text}' for name, text in fields.items())})"
