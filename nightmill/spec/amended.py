"""What a record must say of an attempt that ended without its own last word: pure functions.

Whoever amends (see `store.amend`) brings a failure as it looks from outside and what the attempt
left behind: its notebook, how far it was. What the kernel had said before the end goes first: a
cell that failed is the cause, whatever happened to its pod a moment later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightmill import __version__
from nightmill.causes import Cause
from nightmill.spec import executed
from nightmill.spec.executed import End, Notebook
from nightmill.spec.progress import Progress
from nightmill.spec.record import (
    Amendment,
    AttemptState,
    CellRecord,
    CellState,
    Failure,
    OutputRecord,
    Record,
)
from nightmill.spec.retry import retry_of
from nightmill.spec.steprun import StepRun
from nightmill.spec.words import amount_of, describe

KNOWN_OUTSIDE = frozenset(
    {Cause.EVICTED, Cause.NODE_LOST, Cause.OUT_OF_MEMORY, Cause.DEADLINE, Cause.TERMINATED}
)
"""What happens to an attempt; it cannot always tell itself which of these it was."""


@dataclass(frozen=True)
class Left:
    """What an attempt left behind: its closed notebook, how far it was, and what else is known."""

    notebook: Notebook | None = None
    address: str | None = None
    progress: Progress | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def first_record(run: StepRun, store: str, *, host: str) -> Record:
    """Make the record with which an attempt begins; `store` is its address."""
    return Record(
        **run.model_dump(exclude={"store"}),
        store=store,
        state=AttemptState.RUNNING,
        started_at=datetime.now(UTC),
        nightmill=__version__,
        host=host,
    )


def may_fail(record: Record, cause: Cause) -> bool:
    """Say whether a cause found outside tells more than the record does.

    One that has its end keeps it, but where the attempt could not know who ended it.
    """
    if record.state is AttemptState.RUNNING:
        return True
    own = record.failure
    is_vague = own is not None and (
        own.cause is Cause.TERMINATED or (own.cause is Cause.KERNEL_DIED and not own.evidence)
    )
    return is_vague and cause in KNOWN_OUTSIDE - {Cause.TERMINATED}


def succeeded(
    record: Record, outputs: Mapping[str, OutputRecord], *, at: datetime, by: str
) -> Record:
    """Return the record of an attempt that has committed, at that moment, and could not say so.

    Of one that was held for review the record tells who approved it: nothing there was wrong.
    """
    if record.committed:
        return record
    if record.is_held:
        return record.model_copy(update={"committed": True})
    return record.model_copy(
        update={
            "state": AttemptState.SUCCEEDED,
            "failure": None,
            "committed": True,
            "outputs": dict(outputs),
            "ended_at": record.ended_at or at,
            "amendments": _amendments(record, None, by),
        }
    )


def failed(record: Record, given: Failure, left: Left, *, by: str) -> Record:
    """Return the record of an attempt that failed as given, or as what it left behind tells."""
    failure = _failure(record.failure, given, left)
    facts: dict[str, Any] = {
        "state": AttemptState.FAILED,
        "failure": failure,
        "notebook": left.address or record.notebook,
        "amendments": _amendments(record, failure.cause, by),
    }
    if record.state is AttemptState.RUNNING:
        cells = executed.describe_cells(left.notebook) if left.notebook else record.cells
        facts |= {"cells": tuple(map(_not_running, cells)), **_ends(record, left.progress)}
    return record.model_copy(update=facts)


def _amendments(record: Record, cause: Cause | None, by: str) -> tuple[Amendment, ...]:
    was = record.failure.cause if record.failure else None
    return (*record.amendments, Amendment(at=datetime.now(UTC), by=by, was=was, cause=cause))


def _failure(own: Failure | None, given: Failure, left: Left) -> Failure:
    """Return the failure with its place, its retry and all the evidence."""
    end = executed.end_of(left.notebook) if left.notebook else _end_by(own, left.progress)
    cells = executed.count_cells(left.notebook) if left.notebook else None
    # Out of memory may well be why the cell failed; all else came after the cell's own error.
    is_cells_own = end is not None and end.state is CellState.FAILED
    if end is not None and is_cells_own and own is None and given.cause is not Cause.OUT_OF_MEMORY:
        given = _said_by_kernel(end, given)
    what = given.message + _memory_seen(given.cause, left.progress)
    place: dict[str, Any] = {"cell": given.cell, "title": given.title, "cells": given.cells}
    if end is not None:
        place = {"cell": end.number, "title": end.title, "cells": cells}
    return given.model_copy(
        update={
            **place,
            "message": describe(given.cause, what, **place),
            "retry": given.retry if "retry" in given.model_fields_set else retry_of(given.cause),
            "evidence": {
                **(own.evidence if own else {}),
                **_last_seen(left.progress),
                **left.evidence,
                **given.evidence,
            },
        }
    )


def _said_by_kernel(end: End, given: Failure) -> Failure:
    """Return the error of a cell that failed before the attempt was cut off."""
    return Failure(
        cause=Cause.NOTEBOOK_ERROR,
        message=": ".join(filter(None, (end.ename, end.evalue))),
        ename=end.ename,
        evalue=end.evalue,
        traceback=end.traceback,
        evidence={**given.evidence, "cut_off": describe(given.cause, given.message)},
    )


def _end_by(own: Failure | None, progress: Progress | None) -> End | None:
    """Tell the cell from what else is known, where no notebook shows it."""
    seen = progress if own is None else own
    if seen is None or seen.cell is None:
        return None
    return End(seen.cell, seen.title or "", CellState.INTERRUPTED)


def _memory_seen(cause: Cause, progress: Progress | None) -> str:
    if cause is not Cause.OUT_OF_MEMORY or progress is None:
        return ""
    used, limit = progress.memory_bytes, progress.memory_limit_bytes
    return f" (last seen: {amount_of(used, limit)})" if used and limit else ""


def _last_seen(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    others = {"state", "started_at", "usual_s", "usual_total_s"}
    return {"last_seen": progress.model_dump(mode="json", exclude=others, exclude_none=True)}


def _ends(record: Record, progress: Progress | None) -> dict[str, Any]:
    """Tell when it ended: the last sign of life is the most that is known."""
    if progress is None:
        return {"ended_at": max(record.started_at, datetime.now(UTC))}
    ended_at = max(record.started_at, progress.heartbeat)
    return {"ended_at": ended_at, "duration_s": progress.elapsed_s}


def _not_running(cell: CellRecord) -> CellRecord:
    """Take back what the record said of a cell at work, where no notebook tells its end."""
    if cell.state is CellState.RUNNING:
        return cell.model_copy(update={"state": CellState.INTERRUPTED})
    return cell
