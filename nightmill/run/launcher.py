"""Launches planned steps as processes of this machine, several at once, and follows them.

Each step is `nightmill step ...`, the very command of a pod, with its events as JSON lines on
standard output. Its standard input is a lifeline: when this process is gone, the step stops.
"""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from nightmill.causes import Cause
from nightmill.errors import EXIT_USAGE
from nightmill.run.plan import Key, PlannedStep

# -P: a file in the project's root must not stand in for a module of the runner's.
NIGHTMILL = (sys.executable, "-P", "-m", "nightmill")

_TICK_S = 0.5
_STDERR_TAIL = 2000


class StepState(StrEnum):
    """Where a planned step stands in this run."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COMMITTED = "committed before"
    BLOCKED = "not run"


_OVER = {StepState.SUCCEEDED, StepState.FAILED, StepState.COMMITTED, StepState.BLOCKED}


@dataclass
class StepStatus:
    """What is known of a planned step; the display reads it. Seconds and bytes."""

    planned: PlannedStep
    state: StepState = StepState.WAITING
    cell: Mapping[str, Any] | None = None
    memory_bytes: int | None = None
    peak_bytes: int | None = None
    duration_s: float | None = None
    cause: str = ""
    message: str = ""
    notebook: str = ""
    died: bool = False  # its process ended without its own last word

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it in this run."""
        return self.state in _OVER


Observer = Callable[[StepStatus, Mapping[str, Any]], None]


class Launcher:
    """Runs a plan; `stop` (from a signal handler) ends it early and in good order."""

    def __init__(
        self,
        planned: Iterable[PlannedStep],
        *,
        root: Path,
        workers: int,
        program: Sequence[str] = NIGHTMILL,
    ) -> None:
        self.statuses: dict[Key, StepStatus] = {one.key: StepStatus(one) for one in planned}
        for status in self.statuses.values():
            if status.planned.committed is not None:
                status.state = StepState.COMMITTED
        self.stopped = False
        self._root = root
        self._workers = workers
        self._program = program
        self._observer: Observer = _nobody
        self._running: dict[Key, _Process] = {}

    def stop(self) -> None:
        """Start nothing more and ask what runs to stop; asked again, it stops without grace."""
        self.stopped = True
        for process in list(self._running.values()):
            process.popen.terminate()

    def run(self, observer: Observer) -> list[StepStatus]:
        """Run until every step is over; return all of them in the order of the plan."""
        self._observer = observer
        with selectors.DefaultSelector() as selector:
            while True:
                self._block_and_start(selector)
                if not self._running:
                    break
                for key, _mask in selector.select(_TICK_S):
                    self._follow(key.data, selector)
        return list(self.statuses.values())

    def _block_and_start(self, selector: selectors.BaseSelector) -> None:
        for status in self.statuses.values():
            if status.state is not StepState.WAITING:
                continue
            if self.stopped or self._lacks(status):
                status.state = StepState.BLOCKED
                self._observer(status, {"event": "blocked"})
            elif len(self._running) < self._workers and self._is_ready(status):
                self._start(status, selector)

    def _lacks(self, status: StepStatus) -> bool:
        needed = [self.statuses[key] for key in status.planned.needs]
        return any(one.state in (StepState.FAILED, StepState.BLOCKED) for one in needed)

    def _is_ready(self, status: StepStatus) -> bool:
        before = status.planned.needs | status.planned.waits_for
        return all(self.statuses[key].is_over for key in before)

    def _start(self, status: StepStatus, selector: selectors.BaseSelector) -> None:
        process = _Process(status, self._root, self._program)
        self._running[status.planned.key] = process
        if self.stopped:  # asked while the process was being made, and so not told yet
            process.popen.terminate()
        selector.register(process.output, selectors.EVENT_READ, process)
        status.state = StepState.RUNNING
        self._observer(status, {"event": "started"})

    def _follow(self, process: _Process, selector: selectors.BaseSelector) -> None:
        data = process.read()
        for event in process.events(data):
            _apply(process.status, event)
            self._observer(process.status, event)
        if not data:
            selector.unregister(process.output)
            del self._running[process.status.planned.key]
            _close(process.status, process.finish(), stopped=self.stopped)
            self._observer(process.status, {"event": "over"})


class _Process:
    """A step's process and the pipe of its events."""

    def __init__(self, status: StepStatus, root: Path, program: Sequence[str]) -> None:
        self.status = status
        self._rest = b""
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in finish
        arguments = [*status.planned.run.to_argv(), "--log-format=json", "--die-with-stdin"]
        self.popen = subprocess.Popen(
            [*program, *arguments],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,  # a selector sees the pipe, not what Python has read ahead
            start_new_session=True,  # Ctrl-C is for the launcher, which asks the step to stop
        )
        if self.popen.stdout is None:  # pragma: no cover - stdout=PIPE always gives one
            raise RuntimeError("no pipe")
        self.output = self.popen.stdout

    def read(self) -> bytes:
        """Read what is there; empty at the end."""
        return self.output.read(1 << 16)

    def events(self, data: bytes) -> list[Mapping[str, Any]]:
        """Return the events that are whole by now; a line that is none was said by a library."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found: list[Mapping[str, Any]] = []
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    found.append(event)
        return found

    def finish(self) -> tuple[int, str]:
        """Collect the process; return its exit code and the end of what it said on stderr."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        code = self.popen.wait()
        self.output.close()
        self._stderr.seek(0)
        tail = self._stderr.read()[-_STDERR_TAIL:].decode(errors="replace")
        self._stderr.close()
        return code, tail


def _nobody(_status: StepStatus, _event: Mapping[str, Any]) -> None:
    """Watch nothing."""


def _apply(status: StepStatus, event: Mapping[str, Any]) -> None:
    match event.get("event"):
        case "cell_started" | "cell_ended":
            status.cell = event
        case "memory":
            status.memory_bytes = event["bytes"]
            status.peak_bytes = max(event["bytes"], status.peak_bytes or 0)
        case "step_ended":
            status.duration_s = event["duration_s"]
            status.peak_bytes = event["peak_bytes"]
            status.notebook = event["notebook"] or ""
            status.cause, status.message = event["cause"] or "", event["message"] or ""


def _close(status: StepStatus, ended: tuple[int, str], *, stopped: bool) -> None:
    """Decide from the exit code, which speaks even where no last event came."""
    code, stderr = ended
    status.state = StepState.SUCCEEDED if code == 0 else StepState.FAILED
    if code and not status.cause:
        status.died = True
        status.cause = _cause_of(code)
        silent = f"the step's process ended with exit code {code} and no word"
        if code < 0:
            silent = f"the step's process was killed by {_signal_name(-code)}"
        said = "stopped" if stopped else stderr.strip().removeprefix("error: ") or silent
        status.message = f"{status.cause}: {said}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has a number only
        return f"signal {number}"


def _cause_of(code: int) -> str:
    if code < 0:
        return Cause.TERMINATED
    known = {cause.exit_code: cause for cause in Cause}
    fallback = Cause.BAD_PARAMETERS if code == EXIT_USAGE else Cause.NIGHTMILL_BUG
    return known.get(code, fallback)
