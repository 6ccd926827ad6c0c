"""What is written down of an attempt whose process ended without its own last word."""

from __future__ import annotations

import platform

from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.publish.publish import publish_committed
from nightmill.run.status import StepState, StepStatus
from nightmill.spec.amended import first_record
from nightmill.spec.held import review_line
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.store.amend import amend
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store

BY = "nightmill run"


def amend_death(store: Store, spec: PipelineSpec, status: StepStatus) -> None:
    """Give the record of a dead attempt its end, and the status what the record then says.

    What the attempt left behind may say more than its exit code: that a cell had failed before, or
    that it had committed, which then is published as well. A store that cannot be written to is
    told in the status.
    """
    run = status.planned.run
    cause = Cause(status.cause)
    failure = Failure(cause=cause, message=status.message, retry=status.planned.retries.of(cause))
    first = first_record(run, store.url, host=platform.node())
    try:
        record = amend(store, prefix_of(run), failure, by=BY, first=first)
    except NightmillError as error:
        status.message += f" (and its record could not be amended: {error.problem})"
    else:
        _take_over(status, record)
        if record.committed:
            status.warnings += publish_committed(store, spec, record)


def _take_over(status: StepStatus, record: Record) -> None:
    if record.state is AttemptState.SUCCEEDED:
        status.state = StepState.HELD if record.is_held else StepState.SUCCEEDED
        status.cause, status.message, status.review = "", "", review_line(record)
    elif record.failure is not None:
        status.cause, status.message = record.failure.cause.value, record.failure.message
        status.failed_cell = record.failure.cell
    status.notebook = record.notebook or ""
