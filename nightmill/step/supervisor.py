"""Has the engine run a plan, watches it, and always has the last word.

The child may be killed, hang or run out of memory; what is left then is this process, the notebook
on the local disk and the evidence. It forwards a stop (SIGTERM, Ctrl-C, the deadline, the launcher
gone) as one SIGTERM, gives the kernel time to be interrupted, then kills, and leaves no process
behind. It imports no Jupyter.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nightmill.signals import stop_signals
from nightmill.spec.record import CellState
from nightmill.step.engine_process import EngineProcess
from nightmill.step.limits import memory_limit, oom_kills
from nightmill.step.plan import Plan
from nightmill.step.process_tree import ProcessTree

_TICK_S = 0.25
_GRACE_S = 12.0  # the engine interrupts, waits 5 s, kills its kernel, and saves
_TAIL_BYTES = 1 << 16  # more than is shown, so that what is shown can be redacted whole
_SHOWN_CHARACTERS = 4000


@dataclass
class Watched:
    """What the supervisor saw of one execution. Memory in bytes, by position of the cell.

    `oom_kills_in_cell` are those since the last cell that completed: only they can be the reason
    why the next one did not.
    """

    outcome: Mapping[str, Any] | None = None
    returncode: int = 0
    stopped_by: str = ""
    deadline_passed: bool = False
    peak_bytes: int | None = None
    cell_peaks: dict[int, int] = field(default_factory=dict)
    memory_limit: int | None = None
    oom_kills: int = 0
    oom_kills_in_cell: int = 0
    left_behind: int = 0
    log_tail: str = ""


class StopRequest:
    """Remembers that somebody asked us to stop, and how often."""

    def __init__(self) -> None:
        self.reason = ""
        self.times = 0

    def ask(self, reason: str) -> None:
        """Ask to stop; the first reason is the one that counts."""
        self.reason = self.reason or reason
        self.times += 1


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request that the supervisor serves."""
    request = StopRequest()
    with stop_signals(lambda number: request.ask(f"stopped by {number.name}")):
        yield request


class Supervisor:
    """Watches one engine process to its end."""

    def __init__(
        self,
        engine: EngineProcess,
        stop: StopRequest,
        listener: Callable[[Mapping[str, Any]], None],
        *,
        deadline_s: float | None = None,
        die_with_stdin: bool = False,
    ) -> None:
        self._engine = engine
        self._stop = stop
        self._listener = listener
        self._deadline_s = deadline_s
        self._die_with_stdin = die_with_stdin
        self._seen = Watched()
        self._position = 0
        self._kills_before = oom_kills()
        self._kills_survived = 0
        self._lines = b""
        self._tail = b""
        self._tree = ProcessTree(engine.process.pid)

    def run(self, plan: Plan) -> Watched:
        """Execute the plan and return what was seen; never raises for what the child does."""
        if not self._stop.times:
            self._engine.execute(plan)
        try:
            self._watch()
        finally:
            self._engine.close()
            self._seen.left_behind = self._tree.end_all()
        self._seen.returncode = self._engine.process.returncode
        self._seen.stopped_by = self._stop.reason
        self._seen.memory_limit = memory_limit()
        self._seen.oom_kills = oom_kills() - self._kills_before
        self._seen.oom_kills_in_cell = self._seen.oom_kills - self._kills_survived
        self._seen.log_tail = self._tail.decode(errors="replace")[-_SHOWN_CHARACTERS:]
        return self._seen

    def _watch(self) -> None:
        begun = time.monotonic()
        asked_at, asked = None, 0
        child = self._engine.process
        with selectors.DefaultSelector() as selector:
            selector.register(self._engine.events, selectors.EVENT_READ, self._take)
            selector.register(self._engine.output, selectors.EVENT_READ, self._keep)
            if self._die_with_stdin:
                with suppress(PermissionError):  # a regular file: no launcher to lose
                    selector.register(sys.stdin, selectors.EVENT_READ, _ignore)
            while child.poll() is None:
                self._read(selector)
                self._sample(child.pid)
                late = self._deadline_s is not None and time.monotonic() - begun > self._deadline_s
                if late and not self._stop.reason:
                    self._seen.deadline_passed = True
                    self._stop.ask(f"stopped by its timeout of {self._deadline_s:g} s")
                if self._stop.times > asked:
                    asked, asked_at = self._stop.times, asked_at or time.monotonic()
                    self._forward(child, asked)
                if asked_at and time.monotonic() - asked_at > _GRACE_S:
                    child.kill()
        _drain(self._engine.events, self._take)
        _drain(self._engine.output, self._keep)

    def _read(self, selector: selectors.BaseSelector) -> None:
        for key, _mask in selector.select(_TICK_S):
            data = os.read(key.fd, 1 << 16)
            key.data(data)
            if not data:
                selector.unregister(key.fileobj)
            if not data and key.fd == self._engine.events:
                with suppress(subprocess.TimeoutExpired):  # it has nothing more to say: the end
                    self._engine.process.wait(_TICK_S)
            elif not data and key.data is _ignore and not self._stop.times:
                # Once is enough: a second request would take the grace of the first one away.
                self._stop.ask("stopped because its launcher is gone")

    def _keep(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def _take(self, data: bytes) -> None:
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "outcome":
                self._seen.outcome = self._seen.outcome or event
            else:
                self._position = event["position"]
                if event.get("state") == CellState.COMPLETED:
                    self._kills_survived = oom_kills() - self._kills_before
                self._listener(event)

    def _sample(self, engine_pid: int) -> None:
        size = self._tree.resident_bytes(engine_pid)
        self._tree.reap_adopted(engine_pid)
        if size:
            self._seen.peak_bytes = max(size, self._seen.peak_bytes or 0)
            peaks = self._seen.cell_peaks
            peaks[self._position] = max(size, peaks.get(self._position, 0))
            self._listener({"event": "memory", "bytes": size})

    def _forward(self, child: subprocess.Popen[bytes], asked: int) -> None:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)


def _drain(descriptor: int, take: Callable[[bytes], None]) -> None:
    """Read what the child wrote last; its children may still hold the pipe, so never wait."""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 16):
            take(data)


def _ignore(_data: bytes) -> None:
    """Do nothing with what a launcher sends: only its end means something."""
