"""Where an attempt stands, and what is true of a cell.

Apart from the record, which is made of pydantic's models, because the engine needs nothing but
these and starts the sooner for it.
"""

from __future__ import annotations

from enum import StrEnum


class AttemptState(StrEnum):
    """Where an attempt stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class CellState(StrEnum):
    """What is true of a code cell; nothing rewrites it at the end."""

    COMPLETED = "completed"
    FAILED = "failed"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not_run"
    SKIPPED = "skipped"
