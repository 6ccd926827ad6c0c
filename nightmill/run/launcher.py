"""Launches planned steps as processes of this machine, several at once, and follows them.

What failed is tried again where its cause and the step's retries say so. A step that waits for its
next attempt, or for an input, holds up nobody. One that ran out of memory beside others gets the
machine to itself.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nightmill.causes import Cause
from nightmill.run.bell import Bell
from nightmill.run.plan import Key, PlannedStep
from nightmill.run.process import NIGHTMILL, StepProcess
from nightmill.run.status import FAILURES, WITHHELD, StepState, StepStatus
from nightmill.spec import words
from nightmill.spec.retry import Retry

STOPPED = "no retry: the run was stopped"
HAD_IT_ALL = "no retry: it had this machine to itself"

_TICK_S = 0.5

Observer = Callable[[StepStatus, Mapping[str, Any]], None]


class Launcher:
    """Runs a plan; `stop` (from a signal handler) ends it early and in good order.

    `on_death` is told of each attempt that ended without its own last word, before it is decided
    what follows, and may know better how it ended. `has_inputs` says whether a step that may wait
    for inputs can begin, or notes in its status what it waits for, or how it failed. It must not
    wait for the store, or nobody is heard meanwhile; it rings when it knows more.
    """

    def __init__(  # noqa: PLR0913 - what to run, how, and two questions for who knows the store
        self,
        planned: Iterable[PlannedStep],
        *,
        root: Path,
        workers: int,
        on_death: Callable[[StepStatus], None] = lambda _status: None,
        has_inputs: Callable[[StepStatus, Callable[[], None]], bool] = lambda _status, _ring: True,
        program: Sequence[str] = NIGHTMILL,
    ) -> None:
        self.statuses: dict[Key, StepStatus] = {one.key: StepStatus(one) for one in planned}
        for status in self.statuses.values():
            if status.planned.committed is not None:
                status.state = StepState.COMMITTED
            elif status.planned.held:
                status.state, status.review = StepState.HELD, status.planned.held
        self.stopped = False
        self._root = root
        self._workers = workers
        self._on_death = on_death
        self._has_inputs = has_inputs
        self._program = program
        self._observer: Observer = lambda _status, _event: None
        self._running: dict[Key, StepProcess] = {}
        self._ring: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Start nothing more and ask what runs to stop; asked again, it stops without grace."""
        self.stopped = True
        for process in list(self._running.values()):
            process.popen.terminate()

    def run(self, observer: Observer) -> list[StepStatus]:
        """Run until every step is over; return all of them in the order of the plan."""
        self._observer = observer
        with selectors.DefaultSelector() as selector, closing(Bell()) as bell:
            self._ring = bell.ring
            selector.register(bell.heard, selectors.EVENT_READ)
            while True:
                self._block_and_start(selector)
                if all(one.is_over for one in self.statuses.values()):
                    break
                for key, _mask in selector.select(self._pause_s()):
                    if key.data is None:
                        bell.quiet()
                    else:
                        self._follow(key.data, selector)
        return list(self.statuses.values())

    # -- what begins ------------------------------------------------------------------------------

    def _block_and_start(self, selector: selectors.BaseSelector) -> None:
        alone = [one for one in self.statuses.values() if one.alone]
        for status in self.statuses.values():
            if status.state is not StepState.WAITING:
                continue
            if self.stopped and status.retry_at is not None:
                status.state, status.retry_at, status.decision = StepState.FAILED, None, STOPPED
                self._observer(status, {"event": "over"})
            elif self.stopped or self._lacks(status, FAILURES):
                self._block(status, StepState.BLOCKED)
            elif self._lacks(status, WITHHELD) and self._is_ready(status):  # a failure says more
                self._block(status, StepState.UNREVIEWED)
            elif (
                self._has_room(status, alone) and self._is_ready(status) and self._may_begin(status)
            ):
                self._start(status, selector)

    def _lacks(self, status: StepStatus, ends: Collection[StepState]) -> bool:
        return any(self.statuses[key].state in ends for key in status.planned.needs)

    def _block(self, status: StepStatus, state: StepState) -> None:
        status.state, status.wait = state, None
        self._observer(status, {"event": "blocked"})

    def _is_ready(self, status: StepStatus) -> bool:
        if status.retry_at is not None:
            return time.monotonic() >= status.retry_at
        before = status.planned.needs | status.planned.waits_for
        return all(self.statuses[key].is_over for key in before)

    def _may_begin(self, status: StepStatus) -> bool:
        before = status.wait.lacking if status.wait else ""
        if not status.planned.awaits or self._has_inputs(status, self._ring):
            return True
        if status.state is StepState.FAILED:
            self._on_death(status)
            self._observer(status, {"event": "over"})
        elif status.wait and status.wait.lacking != before:
            self._observer(status, {"event": "awaiting"})
        return False

    def _has_room(self, status: StepStatus, alone: Iterable[StepStatus]) -> bool:
        """Keep the machine free for a step that needs all of it, one of those that run `alone`.

        It is asked for every step that waits, at every event: what is cheap to know comes first.
        """
        if len(self._running) >= self._workers:
            return False
        greedy = next((one for one in alone if self._claims_all(one)), None)
        return greedy is None or (greedy is status and not self._running)

    def _claims_all(self, status: StepStatus) -> bool:
        is_due = status.state is StepState.WAITING and self._is_ready(status)
        return is_due or status.state is StepState.RUNNING

    def _start(self, status: StepStatus, selector: selectors.BaseSelector) -> None:
        if status.retry_at is not None:
            status.begin_again()
        process = StepProcess(status, self._root, self._program)
        self._running[status.planned.key] = process
        if self.stopped:  # asked while the process was being made, and so not told yet
            process.popen.terminate()
        if len(self._running) > 1:
            for one in self._running.values():
                one.status.had_company = True
        selector.register(process.output, selectors.EVENT_READ, process)
        status.state = StepState.RUNNING
        self._observer(status, {"event": "started"})

    # -- what runs and ends -----------------------------------------------------------------------

    @property
    def _moments(self) -> list[float]:
        """Return when something is to be done that no process will tell of."""
        retries = (one.retry_at for one in self.statuses.values())
        looks = (one.wait.look_at for one in self.statuses.values() if one.wait)
        return [moment for moment in (*retries, *looks) if moment is not None]

    def _pause_s(self) -> float:
        """Return how long to wait for events; what is due already waits for one to end."""
        now = time.monotonic()
        return min([_TICK_S, *(moment - now for moment in self._moments if moment > now)])

    def _follow(self, process: StepProcess, selector: selectors.BaseSelector) -> None:
        data = process.read()
        for event in process.events(data):
            process.status.take(event)
            self._observer(process.status, event)
        if not data:
            selector.unregister(process.output)
            del self._running[process.status.planned.key]
            process.finish(stopped=self.stopped)
            self._conclude(process.status)

    def _conclude(self, status: StepStatus) -> None:
        if status.died:
            self._on_death(status)
        wait_s = None
        if status.state is StepState.FAILED:
            status.decision, wait_s = self._decide(status)
        self._observer(status, {"event": "over"})
        if wait_s is not None:
            status.state, status.retry_at = StepState.WAITING, time.monotonic() + wait_s

    def _decide(self, status: StepStatus) -> tuple[str, float | None]:
        """Return what follows a failure, in words, and the seconds until the next attempt."""
        retries, attempt = status.planned.retries, status.planned.run.attempt
        cause = Cause(status.cause)
        left = 1 if self.stopped else retries.count + 1 - attempt
        refusal = retries.refusal(cause, left=left) or (STOPPED if self.stopped else "")
        if refusal:
            return refusal, None
        if retries.of(cause) is Retry.MORE_MEMORY:
            if not status.had_company:
                return HAD_IT_ALL, None
            status.alone = True
            return "next attempt alone on this machine", 0
        wait_s = retries.wait_s(attempt)
        return f"next attempt in {words.span(wait_s)}", wait_s
