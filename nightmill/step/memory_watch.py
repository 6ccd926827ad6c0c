"""What an execution did to the memory: sampled by us, and counted by the system.

A sample is the resident memory of the kernel and all that it started. The memory controller counts
the processes that it killed; only those of a cell can be why that cell ended as it did.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from nightmill.step.limits import memory_limit, memory_peak, oom_kills
from nightmill.step.process_tree import ProcessTree

_APART_S = 0.1


class MemoryWatch:
    """Keeps the peaks, in bytes and by position of the cell, and the kills of the controller."""

    def __init__(self, tree: ProcessTree, engine_pid: int) -> None:
        self.peak_bytes: int | None = None
        self.cell_peaks: dict[int, int] = {}
        self.kills_by_cell: Counter[int] = Counter()
        self.kills_since_completed = 0
        self._tree = tree
        self._engine_pid = engine_pid
        self._kills_before = oom_kills()
        self._peak_before = memory_peak()
        self._last = 0
        self._due = 0.0

    def sample(self, position: int) -> int | None:
        """Measure if it is time to, for the cell at this position; return what was found."""
        if time.monotonic() < self._due:
            return None
        self._last = self._tree.survey(self._engine_pid)
        self._due = time.monotonic() + _APART_S
        self.note(position)
        return self._last or None

    def note(self, position: int, *, completed: bool = False) -> None:
        """Credit the cell at this position with what was seen last: at its end, or meanwhile."""
        if self._last:
            self.peak_bytes = max(self._last, self.peak_bytes or 0)
            self.cell_peaks[position] = max(self._last, self.cell_peaks.get(position, 0))
        kills = oom_kills() - self._kills_before - self.kills_by_cell.total()
        self.kills_by_cell[position] += kills
        self.kills_since_completed = 0 if completed else self.kills_since_completed + kills

    def evidence(self) -> dict[str, Any]:
        """Return what the system counted, as far as there is something to tell.

        Its own peak holds the caches of files as well; it counts from the cgroup's beginning, so it
        is told only if this execution has raised it.
        """
        facts: dict[str, Any] = {}
        peak = memory_peak()
        if peak is not None and peak > (self._peak_before or 0):
            facts["cgroup_peak_bytes"] = peak
        if limit := memory_limit():
            facts["cgroup_limit_bytes"] = limit
        return facts
