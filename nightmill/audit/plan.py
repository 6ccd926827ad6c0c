"""The checks of one output as a list of things to do, each with the words for what it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nightmill.audit import columns
from nightmill.audit.context import AuditContext
from nightmill.audit.custom import check_sql
from nightmill.audit.drift import check_distribution
from nightmill.audit.finding import Finding, counted, one_line, value
from nightmill.audit.history import History
from nightmill.audit.pandera import check_pandera
from nightmill.audit.table import Table
from nightmill.spec.check_kinds import Distribution, Rows
from nightmill.spec.check_values import Severity
from nightmill.spec.checks import OutputChecks


@dataclass(frozen=True)
class Planned:
    """A check to make: its key, the columns it needs, what it expects, and how to make it."""

    check: str
    needs: tuple[str, ...]
    severity: Severity
    expected: str
    make: Callable[[], Finding]

    @property
    def column(self) -> str | None:
        """The column, or the key of several, that the check is about."""
        return ", ".join(self.needs) or None


@dataclass(frozen=True)
class Planner:
    """Plans the checks of one output."""

    output: str
    wanted: OutputChecks
    table: Table
    context: AuditContext
    history: History
    work: Path

    def plan(self) -> Iterator[Planned]:
        """List every check, those first that explain why others fail."""
        yield from self._whole()
        yield from self._columns()
        yield from self._looking_back()
        yield from self._custom()

    def _whole(self) -> Iterator[Planned]:
        if rows := self.wanted.rows:
            make = partial(columns.check_rows, self.table, rows, self.history, self.output)
            yield Planned("rows", (), rows.severity, _rows(rows), make)
        if declared := self.wanted.columns:
            make = partial(columns.check_columns, self.table, declared)
            expected = f"{counted(len(declared.types), 'column')}, evolution {declared.evolution}"
            yield Planned("columns", (), declared.severity, expected, make)
        for one in self.wanted.unique:
            make = partial(columns.check_unique, self.table, one)
            yield Planned("unique", one.key, one.severity, "no key twice", make)

    def _columns(self) -> Iterator[Planned]:
        for name, nulls in self.wanted.not_null.items():
            make = partial(columns.check_not_null, self.table, name, nulls)
            expected = f"at most {nulls.at_most:.6g} null" if nulls.at_most else "no nulls"
            yield Planned("not_null", (name,), nulls.severity, expected, make)
        for name, ends in self.wanted.between.items():
            make = partial(columns.check_between, self.table, name, ends)
            yield Planned("between", (name,), ends.severity, _from_to(ends.min, ends.max), make)
        for name, accepted in self.wanted.accepted.items():
            make = partial(columns.check_accepted, self.table, name, accepted)
            expected = one_line("one of " + ", ".join(map(value, accepted.values)))
            yield Planned("accepted", (name,), accepted.severity, expected, make)

    def _looking_back(self) -> Iterator[Planned]:
        for name, fresh in self.wanted.freshness.items():
            make = partial(columns.check_freshness, self.table, name, fresh, self.context.as_of)
            oldest, end = columns.fresh_period(fresh, self.context.as_of)
            expected = f"the newest from {oldest} on, none from {end} on"
            yield Planned("freshness", (name,), fresh.severity, expected, make)
        for name, spread in self.wanted.distribution.items():
            make = partial(
                check_distribution, self.table, name, spread, self.history, output=self.output
            )
            yield Planned("distribution", (name,), spread.severity, _distances(spread), make)

    def _custom(self) -> Iterator[Planned]:
        for name, sql in self.wanted.sql.items():
            make = partial(check_sql, self.table, sql)
            expected = "no rows" if sql.expect is None else one_line(str(sql.expect))
            yield Planned(f"sql {name}".strip(), (), sql.severity, expected, make)
        if schema := self.wanted.pandera:
            make = partial(check_pandera, self.table, schema, self.context, self.work)
            yield Planned("pandera", (), schema.severity, schema.target, make)


def _rows(rows: Rows) -> str:
    bounds = [] if rows.min is None and rows.max is None else [_from_to(rows.min, rows.max)]
    if rows.change is not None:
        bounds.append(f"within {rows.change:.0%} of the median of {rows.against}")
    return ", ".join(bounds)


def _from_to(low: object, high: object) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _distances(spread: Distribution) -> str:
    limits = [("PSI", spread.psi), ("KS", spread.ks)]
    return ", ".join(f"{name} up to {limit:g}" for name, limit in limits if limit is not None)
