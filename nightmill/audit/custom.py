"""Checks that a data scientist writes as a query of DuckDB over the view `output`."""

from __future__ import annotations

import math

import duckdb

from nightmill.audit.finding import Finding, counted, failed, one_line, passed, unknown
from nightmill.audit.finding import value as shown_value
from nightmill.audit.table import Table
from nightmill.spec.check_kinds import Sql
from nightmill.spec.check_values import kind_of, parse_range

_COUNTED = 1000
# It does not parse or names what there is not, computes what cannot be, or reaches elsewhere.
_AUTHORS_OWN = (duckdb.ProgrammingError, duckdb.DataError, duckdb.PermissionException)


def check_sql(table: Table, check: Sql) -> Finding:
    """Run the query as a part of ours, so that it can only select."""
    query = f"({check.query.rstrip().rstrip(';')}\n)"  # a comment in its last line ends there
    try:
        return _finds_nothing(table, query) if check.expect is None else _gives(table, query, check)
    except _AUTHORS_OWN as error:
        return unknown(f"the query is wrong: {table.said(error)}")


def _finds_nothing(table: Table, query: str) -> Finding:
    select = f"SELECT COLUMNS(*)::VARCHAR FROM {query} LIMIT {_COUNTED + 1}"
    found = table.connection.execute(select)
    names = [column[0] for column in found.description]
    rows = found.fetchall()
    if not rows:
        return passed("no rows")
    count = f"over {_COUNTED:,} rows" if len(rows) > _COUNTED else counted(len(rows))
    first = ", ".join(f"{name}={text}" for name, text in zip(names, rows[0], strict=True))
    return failed(f"{count}, the first: {one_line(first)}")


def _gives(table: Table, query: str, check: Sql) -> Finding:
    rows = table.rows(f"SELECT * FROM {query} LIMIT 2")
    if len(rows) != 1 or len(rows[0]) != 1:
        columns = f" of {counted(len(rows[0]), 'column')}" if rows else ""
        many = "several rows" if len(rows) > 1 else counted(len(rows))
        return unknown(f"the query gives {many}{columns}, and `expect` needs one value")
    found = rows[0][0]
    message = f"the query gives {'null' if found is None else shown_value(found)}"
    return (passed if _is_as_expected(found, check.expect) else failed)(message)


def _is_as_expected(found: object, expected: bool | float | str | None) -> bool:  # noqa: FBT001 - what the author wrote
    """Compare with a value, or with a range such as `>0`."""
    if kind_of(found) is None and found is not None:
        found = float(str(found)) if type(found).__name__ == "Decimal" else str(found)
    if isinstance(expected, str) and isinstance(found, int | float):
        limits = parse_range(expected)
        return limits is not None and limits.holds(found)
    if kind_of(found) != kind_of(expected):
        return False
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    return found == expected
