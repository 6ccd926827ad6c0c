"""What is known of each planned step: the launcher writes it, the display reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from nightmill.run.plan import PlannedStep
from nightmill.spec.held import HELD


class StepState(StrEnum):
    """Where a planned step stands in this run."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HELD = HELD
    COMMITTED = "committed before"
    BLOCKED = "not run"
    UNREVIEWED = "not run: awaits a review"


FAILURES = {StepState.FAILED, StepState.BLOCKED}
"""How a step ends that did not do what the run was for."""

WITHHELD = {StepState.HELD, StepState.UNREVIEWED}
"""How a step ends whose outputs a person may yet bring about."""

_OVER = {StepState.SUCCEEDED, StepState.COMMITTED, *FAILURES, *WITHHELD}


@dataclass(frozen=True)
class Wait:
    """A wait for an input: what it lacks, in words, and moments on the monotonic clock.

    It began at `since` and is given up at `until`; it is time to look again at `look_at`.
    """

    lacking: str
    since: float
    until: float
    look_at: float


@dataclass
class StepStatus:
    """What is known of a planned step and of its newest attempt. Seconds and bytes.

    `earlier` holds what was known of the attempts before. `decision` says what follows a failure;
    where another attempt does, `retry_at` is when, on the monotonic clock. `wait` is there while
    an input is not. `review` says how the review of its outputs stands, if they have one.
    """

    planned: PlannedStep
    state: StepState = StepState.WAITING
    cell: Mapping[str, Any] | None = None
    transfer: Mapping[str, Any] | None = None  # of a large file, while it is on its way
    memory_bytes: int | None = None
    peak_bytes: int | None = None
    duration_s: float | None = None
    cause: str = ""
    message: str = ""
    failed_cell: int | None = None
    notebook: str = ""
    warnings: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()  # the end of what the failing cell said
    died: bool = False  # its process ended without its own last word
    had_company: bool = False  # another step ran at the same time
    alone: bool = False  # no other step may run at the same time
    decision: str = ""
    retry_at: float | None = None
    wait: Wait | None = None
    review: str = ""
    earlier: tuple[StepStatus, ...] = field(default=())

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it in this run."""
        return self.state in _OVER

    def begin_again(self) -> None:
        """Keep what is known of the attempt that failed; nothing is known of the next one yet."""
        run = self.planned.run
        run = run.model_copy(update={"attempt": run.attempt + 1})
        earlier = (*self.earlier, replace(self, earlier=()))
        fresh = StepStatus(replace(self.planned, run=run), alone=self.alone, earlier=earlier)
        vars(self).update(vars(fresh))

    def take(self, event: Mapping[str, Any]) -> None:
        """Take notice of an event of the attempt's process."""
        match event["event"]:
            case "cell_started" | "cell_ended":
                self.cell = event
            case "upload" | "download":
                self.transfer = event if event["done"] < event["of"] else None
            case "memory":
                self.memory_bytes = event["bytes"]
                self.peak_bytes = max(event["bytes"], self.peak_bytes or 0)
            case "warning":
                self.warnings = (*self.warnings, event["text"])
            case "tail":
                self.tail = tuple(event["lines"])
            case "step_ended":
                self.duration_s = event["duration_s"]
                self.peak_bytes = event["peak_bytes"]
                self.notebook = event["notebook"] or ""
                self.cause, self.message = event["cause"] or "", event["message"] or ""
                self.review = event.get("review") or ""
                self.failed_cell = event.get("cell")
