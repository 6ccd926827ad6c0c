"""How two tables differ: their columns, their rows, and by how much.

Rows are matched by a key that pipeline.yaml declares unique, where there is one, else by their
place. What only stands in another order is equal. Numbers are compared exactly and the largest
difference is told: how much is too much only the reader knows. All is asked in SQL, so that tables
may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nightmill.spec.sql import literal, quoted

_SHOWN_ROWS = 5
_SHOWN_COLUMNS = 6
_SHOWN_LINES = 12  # of a schema
_SHOWN_CHARACTERS = 60  # of a value
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class TableDifference:
    """How two tables differ; equal ones have an empty `summary` and no `details`.

    `is_reordered` says of equal ones that their rows stand in another order.
    """

    summary: str = ""
    details: tuple[str, ...] = ()
    is_reordered: bool = False


class _Match(NamedTuple):
    """How rows are matched, in SQL: the join, what names a row, and by what they are sorted."""

    join: str
    name: str
    order: str


class _Column(NamedTuple):
    name: str
    rows: int
    largest: float | None

    def told(self) -> str:
        most = "" if self.largest is None else f", by {self.largest:.6g} at most"
        return f"{self.name}: {_counted(self.rows, 'row')}{most}"


_PLACE = "row_number() OVER ()"
_BY_PLACE = _Match("past POSITIONAL JOIN present", f"'row ' || {_PLACE}", _PLACE)


class Pair:
    """The tables `past` and `present` of a database; `ask` runs a query and returns all rows."""

    def __init__(self, ask: Callable[[str], Rows]) -> None:
        self._ask = ask
        self._past, self._present = self._columns("past"), self._columns("present")
        (self._counts,) = ask("SELECT (SELECT count(*) FROM past), (SELECT count(*) FROM present)")

    def difference(self, keys: Sequence[Sequence[str]]) -> TableDifference:
        """Compare the two; `keys` are columns that may be unique together."""
        if schema := list(self._schema()):
            return TableDifference("another schema", _shortened(schema))
        have_same_count = self._counts[0] == self._counts[1]
        if have_same_count and not self._changed(_BY_PLACE):
            return TableDifference()
        if key := next(filter(self._is_key, keys), None):
            return self._by_key(key)
        gone, new = self._only_in("past", "present"), self._only_in("present", "past")
        if not gone and not new:
            return TableDifference(is_reordered=True)
        if have_same_count:
            return self._told(_BY_PLACE)
        counts = f"{self._counts[0]:,} -> {_counted(self._counts[1], 'row')}"
        rows = (*(f"gone: {row}" for row in gone), *(f"new: {row}" for row in new))
        return TableDifference(counts, rows)

    # -- columns

    def _columns(self, table: str) -> dict[str, str]:
        return {row[0]: row[1] for row in self._ask(f"DESCRIBE {table}")}

    def _schema(self) -> Iterator[str]:
        past, present = self._past, self._present
        for name, kind in past.items():
            if name not in present:
                yield f"column {name} ({kind}) is gone"
            elif present[name] != kind:
                yield f"column {name}: {kind} -> {present[name]}"
        for name, kind in present.items():
            if name not in past:
                yield f"column {name} ({kind}) is new"
        if past == present and list(past) != list(present):
            yield f"columns in another order: {', '.join(present)}"

    def _changed(self, match: _Match) -> list[_Column]:
        """Return the columns whose values differ in matched rows, the most rows first."""
        wanted = []
        for name, kind in self._past.items():
            past, present = f"past.{quoted(name)}", f"present.{quoted(name)}"
            wanted.append(f"count(*) FILTER (WHERE {past} IS DISTINCT FROM {present})")
            is_number = kind.removeprefix("U").startswith(_NUMBERS) and not kind.endswith("]")
            apart = f"abs({past}::DOUBLE - {present}::DOUBLE)"
            largest = f"max({apart}) FILTER (WHERE isfinite({apart}))"
            wanted.append(largest if is_number else "NULL")
        (row,) = self._ask(f"SELECT {', '.join(wanted)} FROM {match.join}")
        every = map(_Column, self._past, row[::2], row[1::2])
        return sorted((one for one in every if one.rows), key=lambda one: -one.rows)

    # -- rows

    def _is_key(self, key: Sequence[str]) -> bool:
        """Tell whether columns are unique on both sides, so that rows can be matched by them."""
        if not set(key) <= self._past.keys():
            return False
        listed = ", ".join(map(quoted, key))
        past, present = (
            f"(SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {table}))"
            for table in ("past", "present")
        )
        return self._ask(f"SELECT {past}, {present}") == [self._counts]

    def _by_key(self, key: Sequence[str]) -> TableDifference:
        equal = " AND ".join(
            f"past.{quoted(name)} IS NOT DISTINCT FROM present.{quoted(name)}" for name in key
        )
        found = [
            self._unmatched("gone", _keyed(f"past ANTI JOIN present ON {equal}", key, "past")),
            self._unmatched("new", _keyed(f"present ANTI JOIN past ON {equal}", key, "present")),
            self._told(_keyed(f"past JOIN present ON {equal}", key, "past")),
        ]
        summary = ", ".join(one.summary for one in found if one.summary)
        details = tuple(line for one in found for line in one.details)
        return TableDifference(summary, details, is_reordered=not summary)

    def _unmatched(self, word: str, match: _Match) -> TableDifference:
        ((count,),) = self._ask(f"SELECT count(*) FROM {match.join}")
        if not count:
            return TableDifference()
        order = f"ORDER BY {match.order} LIMIT {_SHOWN_ROWS}"
        some = self._ask(f"SELECT {match.name} FROM {match.join} {order}")
        lines = tuple(f"{word}: {row[0]}" for row in some)
        return TableDifference(f"{_counted(count, 'row')} {word}", lines)

    def _told(self, match: _Match) -> TableDifference:
        """Tell in which columns matched rows differ, and show the first of them."""
        changed = self._changed(match)
        if not changed:
            return TableDifference()
        shown = changed[:_SHOWN_COLUMNS]
        differs = " OR ".join(
            f"past.{quoted(one.name)} IS DISTINCT FROM present.{quoted(one.name)}"
            for one in changed
        )
        cells = [_shown(table, one.name) for one in shown for table in ("past", "present")]
        found = self._ask(
            f"SELECT * EXCLUDE (place, differs) FROM (SELECT {match.name} AS name, {match.order}"
            f" AS place, ({differs}) AS differs, {', '.join(cells)} FROM {match.join})"
            f" WHERE differs ORDER BY place LIMIT {_SHOWN_ROWS}"
        )
        ((rows,),) = self._ask(f"SELECT count(*) FILTER (WHERE {differs}) FROM {match.join}")
        lines = [*_shortened([one.told() for one in changed]), *(_row(shown, row) for row in found)]
        columns = f"{len(changed)} of {_counted(len(self._past), 'column')}"
        return TableDifference(f"{columns} differ in {_counted(rows, 'row')}", tuple(lines))

    def _only_in(self, table: str, other: str) -> list[str]:
        """Show some rows that are in one table more often than in the other."""
        found = self._ask(
            f"SELECT {', '.join(_shown('t', name) for name in self._past)} FROM "
            f"(SELECT * FROM {table} EXCEPT ALL SELECT * FROM {other}) t"
            f" ORDER BY ALL LIMIT {_SHOWN_ROWS}"
        )
        names = list(self._past)[:_SHOWN_COLUMNS]
        return [
            ", ".join(f"{n} {cell}" for n, cell in zip(names, row, strict=False)) for row in found
        ]


def _keyed(join: str, key: Sequence[str], table: str) -> _Match:
    parts = [f"{literal(name + '=')} || {_shown(table, name)}" for name in key]
    order = f"row({', '.join(f'{table}.{quoted(name)}' for name in key)})"
    return _Match(join, " || ', ' || ".join(parts), order)


def _row(shown: Sequence[_Column], row: Sequence[Any]) -> str:
    name, cells = row[0], row[1:]
    pairs = zip(shown, cells[::2], cells[1::2], strict=True)
    changes = (f"{one.name} {past} -> {present}" for one, past, present in pairs if past != present)
    return f"{name}: {', '.join(changes)}"


def _shown(table: str, column: str) -> str:
    """Return the SQL that shows a value of a row."""
    text = f"coalesce({table}.{quoted(column)}::VARCHAR, 'null')"
    short = f"{text}[:{_SHOWN_CHARACTERS}] || '...'"
    return f"CASE WHEN length({text}) > {_SHOWN_CHARACTERS} THEN {short} ELSE {text} END"


def _shortened(lines: Sequence[str]) -> tuple[str, ...]:
    hidden = len(lines) - _SHOWN_LINES
    return (*lines[:_SHOWN_LINES], *([f"and {hidden} more"] if hidden > 0 else []))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
