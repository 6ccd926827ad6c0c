"""The checks of single columns and of whole rows: each asks DuckDB what is wrong, and how much.

A query that looks for faults in one column, `WHERE x IS NULL` or `WHERE x < 0`, is answered from
Parquet's statistics alone where they show that there is none; only columns of floats are read.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Any

from nightmill.audit.finding import Finding, counted, failed, passed, plain, share, value
from nightmill.audit.half import as_held
from nightmill.audit.history import History
from nightmill.audit.table import Table, two_types
from nightmill.spec.check_kinds import Accepted, Between, Columns, Freshness, NotNull, Rows, Unique
from nightmill.spec.check_values import NO_TYPE, TYPES, Kind, fits, kind_of, kind_of_type
from nightmill.spec.problems import shown, suggest
from nightmill.spec.record import CheckState
from nightmill.spec.sql import quoted

_EXAMPLES = 3


def missing(table: Table, columns: tuple[str, ...]) -> Finding | None:
    """Find the first column that the output has not."""
    for column in columns:
        if column not in table.columns:
            advice = suggest(column, table.columns, noun="columns")
            return failed(f"there is no column {shown(column)}: {advice}")
    return None


def check_rows(table: Table, check: Rows, history: History, output: str) -> Finding:
    """Hold the number of rows against the bounds, and against the median of earlier partitions."""
    count = table.count
    is_right = (check.min is None or count >= check.min) and (
        check.max is None or count <= check.max
    )
    found = (passed if is_right else failed)(counted(count))._replace(profile={"rows": count})
    if check.change is None or not is_right:
        return found
    profiles = history.profiles(output, "rows", None, check.against)
    before = [rows for profile in profiles if isinstance(rows := profile.get("rows"), int)]
    if len(before) < check.against:
        known = f"not enough history ({len(before)} of {check.against})"
        return found._replace(message=f"{found.message}, {known}")
    middle = median(before)
    change = abs(count - middle) / middle if middle else float(count > 0)
    message = f"{counted(count)}, the median of the last {len(before)} is {middle:,.0f}"
    state = CheckState.PASSED if change <= check.change else CheckState.FAILED
    return Finding(state, message, found.profile)


def check_columns(table: Table, check: Columns) -> Finding:
    """Hold names and types of the columns against those declared."""
    wrong = [f"{shown(name)} is missing" for name in check.types if name not in table.columns]
    if check.evolution == "none":
        extra = [name for name in table.columns if name not in check.types]
        wrong += [f"{shown(name)} is not declared" for name in extra]
    for name, kind in check.types.items():
        found = table.columns.get(name)
        if found is not None and not fits(found, kind):
            wrong.append(f"{shown(name)} is {found}, not {kind}")
    wrong += [two_types(name, types) for name, types in table.types_of_parts.items()]
    if not wrong:
        return passed(counted(len(table.columns), "column"))
    more = f" and {len(wrong) - _EXAMPLES} more" if len(wrong) > _EXAMPLES else ""
    return failed(", ".join(wrong[:_EXAMPLES]) + more)


def check_not_null(table: Table, column: str, check: NotNull) -> Finding:
    """Count nulls and NaN."""
    nulls = count_nulls(table, column)
    if not table.count or not nulls:
        return passed("no nulls")
    seen = f"{nulls:,} of {counted(table.count)} null ({share(nulls, table.count)})"
    return (passed if nulls <= check.at_most * table.count else failed)(seen)


def count_nulls(table: Table, column: str) -> int:
    """Count the rows in which a column holds no value."""
    name = quoted(column)
    nans = f" OR isnan({name})" if is_float(table, column) else ""
    return int(table.one(f"SELECT count(*) FROM output WHERE {name} IS NULL{nans}"))


def is_float(table: Table, column: str) -> bool:
    """Tell whether a column can hold NaN."""
    return table.columns[column] in TYPES["float"]


def check_unique(table: Table, check: Unique) -> Finding:
    """Count the rows that share their key with another."""
    names = [quoted(column) for column in check.key]
    whole = " AND ".join(f"{name} IS NOT NULL" for name in names)
    groups = f"SELECT {', '.join(names)}, count(*) AS times FROM output WHERE {whole} GROUP BY ALL"
    doubled = f"({groups} HAVING count(*) > 1)"
    keys, rows = table.rows(f"SELECT count(*), sum(times)::BIGINT FROM {doubled}")[0]
    if not keys:
        return passed("no key twice")
    texts = ", ".join(f"{name}::VARCHAR" for name in names)
    example = table.rows(f"SELECT {texts} FROM {doubled} ORDER BY ALL LIMIT 1")[0]
    key = ", ".join(map(value, example))
    return failed(f"{counted(rows)} share {counted(keys, 'key')}, for example {key}")


def check_between(table: Table, column: str, check: Between) -> Finding:
    """Count the values outside; NaN is outside of everything."""
    bound = check.max if check.min is None else check.min
    if finding := _other_kind(table, column, kind_of(bound)):
        return finding
    name, limits = quoted(column), []
    low_end, high_end = as_held(table, column, (check.min, check.max))
    for sign, end in (("<", low_end), (">", high_end)):
        if end is not None:
            limits.append(_limit(table.columns[column], sign, end))
    outer = [f"{name} {compared}" for compared, _end in limits]
    outer += [f"isnan({name})"] if is_float(table, column) else []
    query = f"SELECT count(*) FROM output WHERE {' OR '.join(outer)}"
    outside = table.one(query, *(end for _compared, end in limits))
    text = "::VARCHAR" if kind_of(bound) == "date" else ""
    low, high = table.rows(f"SELECT min({name}){text}, max({name}){text} FROM output")[0]
    seen = "no values" if low is None else f"{plain(low)} to {plain(high)}"
    return failed(f"{counted(outside)} outside, {seen}") if outside else passed(seen)


def _limit(kind: str, sign: str, bound: Any) -> tuple[str, Any]:
    """Return what to compare with: a day as the upper bound of instants means all of that day."""
    is_day = isinstance(bound, date) and not isinstance(bound, datetime)
    if sign == ">" and is_day and kind != "DATE":
        if bound == date.max:  # Python has no day after it
            return "> ?", datetime.combine(bound, time.max)
        return ">= ?", bound + timedelta(days=1)
    return f"{sign} {_own(kind)}", bound


def _own(kind: str) -> str:
    """Return where a value of pipeline.yaml goes, so that it is compared as the column's type.

    0.1 is another number in single precision, and DuckDB compares no instants of nanoseconds
    without a zone with one that has one.
    """
    return {"FLOAT": "?::FLOAT", "TIMESTAMP_NS": "?::TIMESTAMP"}.get(kind, "?")


def check_accepted(table: Table, column: str, check: Accepted) -> Finding:
    """Count the values that are not among the accepted, and name some."""
    if finding := _other_kind(table, column, kind_of(check.values[0])):
        return finding
    name = quoted(column) + ("::VARCHAR" if kind_of(check.values[0]) == "text" else "")
    among = ", ".join([_own(table.columns[column])] * len(check.values))
    where = f"FROM output WHERE {name} IS NOT NULL AND {name} NOT IN ({among})"
    accepted = as_held(table, column, check.values)
    count = table.one(f"SELECT count(*) {where}", *accepted)
    if not count:
        return passed("no other value")
    query = f"SELECT DISTINCT {name}::VARCHAR {where} ORDER BY 1 LIMIT {_EXAMPLES}"
    examples = [value(row[0]) for row in table.rows(query, *accepted)]
    return failed(f"{counted(count)} with another value, for example {', '.join(examples)}")


def _other_kind(table: Table, column: str, wanted: Kind | None) -> Finding | None:
    """Refuse to compare what cannot be: DuckDB would convert text row by row, or fail."""
    found = table.columns[column]
    if found == NO_TYPE or kind_of_type(found) == wanted:
        return None
    return failed(f"the column is {found}, and cannot be compared with a {wanted}")


def fresh_period(check: Freshness, as_of: str) -> tuple[datetime, datetime]:
    """Return from when on the newest date may be, and from when on is the future.

    Counted from the beginning and from the end of the day of `as_of`.
    """
    today = datetime.combine(date.fromisoformat(as_of), datetime.min.time())
    return today - check.within, today + timedelta(days=1) + (check.ahead or timedelta())


def check_freshness(table: Table, column: str, check: Freshness, as_of: str) -> Finding:
    """Look at the newest date, and for dates in the future."""
    if finding := _other_kind(table, column, "date"):
        return finding
    name, (oldest, end) = quoted(column), fresh_period(check, as_of)
    query = f"SELECT max({name})::VARCHAR, max({name}) >= ?, max({name}) >= ? FROM output"
    newest, is_fresh, has_future = table.rows(query, oldest, end)[0]
    if newest is None:
        return failed("there is no date at all")
    if has_future:
        count = table.one(f"SELECT count(*) FROM output WHERE {name} >= ?", end)
        return failed(f"{counted(count)} in the future of {as_of}, the newest is {newest}")
    return (passed if is_fresh else failed)(f"the newest is {newest}")
