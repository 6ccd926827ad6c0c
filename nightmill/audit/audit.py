"""The audit of a step's outputs: every check is made, and ends in a result of its own.

What is wrong with the data is a result; only the store's failure and a stop are errors. A check
that could not be made blocks like one that failed, since nobody knows what it would have found.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from nightmill.audit.columns import missing
from nightmill.audit.context import AuditContext
from nightmill.audit.finding import Finding, failed, one_line, unknown
from nightmill.audit.history import History
from nightmill.audit.plan import Planned, Planner
from nightmill.audit.table import Table, UnreadableOutputError, open_table
from nightmill.audit.watch import CheckTimeoutError, watch
from nightmill.spec.check_values import kind_of
from nightmill.spec.checks import OutputChecks, StepChecks
from nightmill.spec.problems import shown
from nightmill.spec.record import CheckResult, CheckState

_READABLE = "readable"
_SHOWN = 2


def audit(
    outputs: Mapping[str, Path], checks: StepChecks, context: AuditContext
) -> tuple[CheckResult, ...]:
    """Make all checks; `outputs` maps each output to its file or folder on the local disk.

    Raises StoreError where history cannot be read, InterruptedRunError when asked to stop.
    """
    history = History(context)
    return tuple(
        result
        for output, wanted in checks.items()
        for result in _audit_output(
            output, wanted, outputs[output], context=context, history=history
        )
    )


def blocking(results: Sequence[CheckResult]) -> str:
    """Say on one line what stands in the way of the commit; empty if nothing does."""
    found = [result.message for result in results if result.blocks]
    if not found:
        return ""
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    checks = "1 check" if len(found) == 1 else f"{len(found)} checks"
    # What follows a semicolon is the launcher's, in the line that people read.
    return f"{checks} failed: {' | '.join(found[:_SHOWN])}{more}".replace(";", ",")


def _audit_output(
    output: str, wanted: OutputChecks, path: Path, *, context: AuditContext, history: History
) -> Iterator[CheckResult]:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="audit-", dir=context.scratch) as folder:
        work = Path(folder)
        try:
            with open_table(path, context, work, _texts(wanted)) as table:
                for planned in Planner(output, wanted, table, context, history, work).plan():
                    yield _make(planned, table, context, output)
        except (UnreadableOutputError, CheckTimeoutError) as error:  # from opening: checks end well
            is_bad = isinstance(error, UnreadableOutputError)
            finding = failed(error.problem) if is_bad else unknown(error.problem)
            opening = Planned(_READABLE, (), "error", f"a table in {path.name}", lambda: finding)
            yield _result(opening, finding, output, begun)


def _texts(wanted: OutputChecks) -> set[str]:
    """Return the columns that the author takes for text, even on a night when all are digits."""
    declared = wanted.columns.types if wanted.columns else {}
    accepted = {
        name for name, check in wanted.accepted.items() if kind_of(check.values[0]) == "text"
    }
    return {name for name in {*declared, *accepted} if declared.get(name, "string") == "string"}


def _make(planned: Planned, table: Table, context: AuditContext, output: str) -> CheckResult:
    begun = time.monotonic()
    finding = missing(table, planned.needs)
    if finding is None:
        try:
            with watch(context, table.connection.interrupt):
                finding = planned.make()
        except CheckTimeoutError as error:
            finding = unknown(error.problem)
        except duckdb.OutOfMemoryException:
            limit = context.query_memory_bytes >> 20
            finding = unknown(f"needs more than {limit:,} MiB of memory or the scratch disk has")
        except duckdb.Error as error:
            finding = failed(f"the data cannot be read: {table.said(error)}")
    return _result(planned, finding, output, begun)


def _result(planned: Planned, finding: Finding, output: str, begun: float) -> CheckResult:
    column = planned.column
    about = f"{planned.check} {shown(column)}" if column else planned.check
    wanted = "" if finding.state is CheckState.PASSED else f", expected {planned.expected}"
    return CheckResult(
        output=output,
        check=planned.check,
        column=column and one_line(column),
        severity=planned.severity,
        state=finding.state,
        expected=planned.expected,
        observed=one_line(finding.message),
        message=one_line(f"{output}: {about}: {finding.message}{wanted}"),
        duration_s=round(time.monotonic() - begun, 3),
        profile=_kept(finding, column),
    )


def _kept(finding: Finding, column: str | None) -> dict[str, Any] | None:
    """Return the profile, and the column's name where the result cannot show it as it is."""
    if not finding.profile:
        return None
    is_plain = column is None or one_line(column) == column
    return dict(finding.profile) if is_plain else {**finding.profile, "column": column}
