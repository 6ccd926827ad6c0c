"""The check of a column's distribution: sketch it, and compare with the last partitions' sketches.

The sketch is kept whether the check passes or not: it is what later partitions compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nightmill.audit.columns import count_nulls
from nightmill.audit.finding import Finding, failed, passed, skipped, unknown
from nightmill.audit.history import History
from nightmill.audit.sketch import (
    FEWEST_ROWS,
    POINTS,
    TEXTS,
    Numbers,
    Sketch,
    ks,
    psi,
    read_sketch,
)
from nightmill.audit.table import Table
from nightmill.spec.check_kinds import Distribution
from nightmill.spec.check_values import NO_TYPE, kind_of_type
from nightmill.spec.sql import quoted

_SAMPLED_ROWS = 1_000_000  # quantiles keep what they see in memory
_TEXT_LENGTH = 60


def check_distribution(
    table: Table, column: str, check: Distribution, history: History, *, output: str
) -> Finding:
    """Compare a column with the pooled last partitions."""
    kind = kind_of_type(table.columns[column])
    if table.columns[column] == NO_TYPE:
        return _nothing(table)
    if kind not in ("number", "text", "bool"):
        return unknown(
            f"the column is {table.columns[column]}, distributions are of numbers or text"
        )
    if check.ks is not None and kind != "number":
        return unknown(f"the column is {table.columns[column]}, ks compares numbers, psi also text")
    now = _sketch(table, column, is_text=kind != "number")
    if now is None:
        return _nothing(table)
    profiles = history.profiles(output, "distribution", column, check.against)
    sketches = [sketch for profile in profiles if (sketch := read_sketch(profile))]
    before = [sketch for sketch in sketches if type(sketch) is type(now)]
    if len(before) < check.against:
        other = next((sketch for sketch in sketches if type(sketch) is not type(now)), None)
        change = f"what was {_kind(other)} is {_kind(now)} now, " if other else ""
        found = skipped(f"{change}not enough history ({len(before)} of {check.against})")
    else:
        found = _compare(now, before, check)
    return found._replace(profile=now.profile())


def _nothing(table: Table) -> Finding:
    few = f"too few rows to compare ({table.count} of {FEWEST_ROWS})"
    return skipped(few) if table.count < FEWEST_ROWS else failed("there is nothing but nulls")


def _kind(sketch: Sketch) -> str:
    return "numbers" if isinstance(sketch, Numbers) else "text or bool"


def _compare(now: Sketch, before: Sequence[Sketch], check: Distribution) -> Finding:
    distances = []
    if check.psi is not None:
        distances.append(("PSI", psi(now, before), check.psi))
    if check.ks is not None and isinstance(now, Numbers):
        numbers = [sketch for sketch in before if isinstance(sketch, Numbers)]
        distances.append(("KS", ks(now, numbers), check.ks))
    seen = ", ".join(f"{name} {distance:.3f}" for name, distance, _limit in distances)
    is_far = any(distance > limit for _name, distance, limit in distances)
    message = f"{seen} against the last {len(before)} partitions"
    return (failed if is_far else passed)(message)


def _sketch(table: Table, column: str, *, is_text: bool) -> Sketch | None:
    """Sketch a column; None where there are too few rows, or nothing but nulls."""
    if table.count < FEWEST_ROWS:
        return None
    nulls = count_nulls(table, column)
    if nulls == table.count:
        return None
    inner = _counts(table, column) if is_text else _quantiles(table, column)
    return read_sketch({"rows": table.count, "nulls": nulls, **inner})


def _quantiles(table: Table, column: str) -> dict[str, list[float]]:
    """Take quantiles of at most a million rows, always the same rows of the same file."""
    name = f"{quoted(column)}::DOUBLE"
    every = math.ceil(table.count / _SAMPLED_ROWS)
    wanted = [number / (POINTS - 1) for number in range(POINTS)]
    option, sample = "", ""
    if every > 1:
        option, sample = ", file_row_number=true", f" AND hash(file_row_number) % {every} = 0"
    query = (
        f"SELECT quantile_disc({name}, {wanted}) FROM ({table.select(option)})"
        f" WHERE {name} IS NOT NULL AND NOT isnan({name}){sample}"
    )
    return {"quantiles": table.one(query)}


def _counts(table: Table, column: str) -> dict[str, dict[str, int]]:
    query = (
        f"SELECT left({quoted(column)}::VARCHAR, {_TEXT_LENGTH}), count(*) FROM output"
        f" WHERE {quoted(column)} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TEXTS}"
    )
    return {"counts": dict(table.rows(query))}
