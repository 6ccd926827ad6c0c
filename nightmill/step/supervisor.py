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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nightmill.spec.record import CellState
from nightmill.step.engine_process import EngineProcess
from nightmill.step.limits import memory_limit
from nightmill.step.memory_watch import MemoryWatch
from nightmill.step.plan import Plan
from nightmill.step.process_tree import ProcessTree
from nightmill.step.stop import StopRequest

_TICK_S = 0.25
_GRACE_S = 12.0  # the engine interrupts, waits 5 s, kills its kernel, and saves
_TAIL_BYTES = 1 << 16  # more than is shown, so that what is shown can be redacted whole

Listener = Callable[[Mapping[str, Any]], None]


@dataclass
class Watched:
    """What the supervisor saw of one execution. Memory in bytes, by position of the cell.

    `oom_kills_in_cell` are those since the last cell that completed: only they can be the reason
    why the next one did not; `oom_kills_by_cell` counts by the author's number. `killed_children`
    are those that the kernel knows of, whoever killed them; `system` is what the system counted,
    for the record's evidence. `log_tail` is what the engine itself said last, not redacted yet;
    `reached` is the position of the last cell that began.
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
    oom_kills_by_cell: dict[int, int] = field(default_factory=dict)
    killed_children: int = 0
    system: dict[str, Any] = field(default_factory=dict)
    left_behind: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spilled: list[str] = field(default_factory=list)
    log_tail: str = ""
    reached: int = 0


class Supervisor:
    """Watches one engine process to its end."""

    def __init__(
        self,
        engine: EngineProcess,
        stop: StopRequest,
        listener: Listener,
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
        self._numbers: dict[int, int] = {}
        self._served = 0
        self._lines = b""
        self._tail = b""
        self._tree = ProcessTree(engine.process.pid)
        self._memory = MemoryWatch(self._tree, engine.process.pid)

    def run(self, plan: Plan) -> Watched:
        """Execute the plan and return what was seen; never raises for what the child does.

        Where a stop was asked for already, nothing is executed.
        """
        try:
            if not self._stop.times:
                self._engine.execute(plan)
                self._watch()
        finally:
            self._engine.close()
            self._seen.left_behind = self._tree.end_all()
        return self._summed_up()

    def _summed_up(self) -> Watched:
        memory, seen = self._memory, self._seen
        memory.note(self._position)
        seen.reached = self._position
        seen.returncode = self._engine.process.returncode
        seen.stopped_by = self._stop.reason
        seen.peak_bytes, seen.cell_peaks = memory.peak_bytes, memory.cell_peaks
        seen.memory_limit = memory_limit()
        seen.oom_kills = memory.kills_by_cell.total()
        seen.oom_kills_in_cell = memory.kills_since_completed
        seen.oom_kills_by_cell = {
            self._numbers[position]: kills
            for position, kills in memory.kills_by_cell.items()
            if kills and position in self._numbers
        }
        seen.killed_children = self._engine.killed_children()
        seen.system = memory.evidence()
        seen.log_tail = self._tail.decode(errors="replace")
        return seen

    def _watch(self) -> None:
        begun, child = time.monotonic(), self._engine.process
        with selectors.DefaultSelector() as selector:
            selector.register(self._engine.events, selectors.EVENT_READ, self._take)
            selector.register(self._engine.output, selectors.EVENT_READ, self._keep)
            if self._die_with_stdin:
                with suppress(PermissionError):  # a regular file: no launcher to lose
                    selector.register(sys.stdin, selectors.EVENT_READ, _ignore)
            while child.poll() is None:
                self._read(selector)
                if size := self._memory.sample(self._position):
                    self._listener({"event": "memory", "bytes": size})
                self._mind_the_deadline(begun)
                self._serve_stop(child)
        _drain(self._engine.events, self._take)
        _drain(self._engine.output, self._keep)

    def _mind_the_deadline(self, begun: float) -> None:
        late = self._deadline_s is not None and time.monotonic() - begun > self._deadline_s
        if late and not self._stop.times:
            self._seen.deadline_passed = True
            self._stop.ask(f"stopped by its timeout of {self._deadline_s:g} s")

    def _serve_stop(self, child: subprocess.Popen[bytes]) -> None:
        """Forward a first request as SIGTERM; a second one, or the end of the grace, kills."""
        asked = self._stop.times
        if asked > self._served:
            self._served = asked
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)
        if self._stop.since_s(1) > _GRACE_S:
            child.kill()

    # -- what the child says ----------------------------------------------------------------------

    def _read(self, selector: selectors.BaseSelector) -> None:
        for key, _mask in selector.select(_TICK_S):
            data = os.read(key.fd, 1 << 16)
            key.data(data)
            if not data:
                selector.unregister(key.fileobj)
                self._closed(key)

    def _closed(self, key: selectors.SelectorKey) -> None:
        if key.fd == self._engine.events:
            with suppress(subprocess.TimeoutExpired):  # it has nothing more to say: the end
                self._engine.process.wait(_TICK_S)
        # Once is enough: a second request would take the grace of the first one away.
        elif key.data is _ignore and not self._stop.times:
            self._stop.ask("stopped because its launcher is gone")

    def _keep(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def _take(self, data: bytes) -> None:
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "outcome":
                self._seen.outcome = self._seen.outcome or event
                return
            case "warning":
                self._seen.warnings.append(event["text"])
            case "spilled":
                self._seen.spilled.append(event["file"])
            case "cell_started":
                self._position = event["position"]
                self._numbers[self._position] = event["number"]
            case "cell_ended":
                completed = event["state"] == CellState.COMPLETED
                self._memory.note(event["position"], completed=completed)
        self._listener(event)


def _drain(descriptor: int, take: Callable[[bytes], None]) -> None:
    """Read what the child wrote last; its children may still hold the pipe, so never wait."""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while data := os.read(descriptor, 1 << 16):
            take(data)


def _ignore(_data: bytes) -> None:
    """Do nothing with what a launcher sends: only its end means something."""
