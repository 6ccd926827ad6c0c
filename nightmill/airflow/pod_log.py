"""The log of a pod, as far as it goes: it must never hold up a step that has ended.

A thread reads, because the log of a pod can stall for minutes when the node rotates its file; the
operator takes the lines when it has time. The executed notebook in the store holds all that
matters, so a log that is cut or lost is a line in the log.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

MAX_BYTES = 10 * 2**20  # of one pod; Airflow keeps and shows logs whole
CUT = f"(the pod's log goes on, but no more than {MAX_BYTES >> 20} MiB of it are kept here)"
LAST_S = 10.0  # for the last lines of a pod that has ended
PAUSE_S = 1.0

_QUEUED_LINES = 10_000

Open = Callable[[int | None], Any]
"""Opens the log from so many seconds ago on (None: from its start), one line an iteration."""


class PodLog:
    """Follows a log whose lines begin with their time, through lost connections."""

    def __init__(self, opened: Open) -> None:
        self._open = opened
        self._lines: queue.Queue[str] = queue.Queue(_QUEUED_LINES)
        self._stopped = threading.Event()
        self._last, self._last_at = "", 0.0
        self._size = 0
        self._thread = threading.Thread(target=self._follow, name="pod-log", daemon=True)

    def start(self) -> None:
        """Begin to follow; does nothing the second time."""
        if not self._thread.ident:
            self._thread.start()

    def lines(self, seconds: float) -> Iterator[str]:
        """Yield what comes within this time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                yield self._lines.get(timeout=left)
            except queue.Empty:
                return

    def finish(self) -> Iterator[str]:
        """Yield the rest of the log of a pod that has ended, or what comes of it in `LAST_S`."""
        self._stopped.set()
        deadline = time.monotonic() + LAST_S
        while time.monotonic() < deadline and (self._thread.is_alive() or not self._lines.empty()):
            yield from self.lines(0.1)
        if self._thread.is_alive():
            yield "(the rest of the pod's log did not come in time)"

    def _follow(self) -> None:
        while True:
            was_stopped = self._stopped.is_set()
            try:
                with closing(self._open(self._since_s())) as raw:
                    self._read(raw)
            except Exception as error:  # noqa: BLE001 - a log that cannot be read fails no step
                if was_stopped:
                    self._lines.put(f"(the pod's log could not be read: {type(error).__name__})")
            if was_stopped or self._size > MAX_BYTES:
                return
            self._stopped.wait(PAUSE_S)

    def _read(self, raw: Iterable[bytes]) -> None:
        seen_until = self._last
        for line in raw:
            moment, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
            if not moment.endswith("Z"):  # the kubelet's own words
                self._lines.put(f"{moment} {text}")
                continue
            if _sortable(moment) <= seen_until:
                continue
            self._last, self._last_at = _sortable(moment), time.monotonic()
            self._size += len(line)
            self._lines.put(text if self._size <= MAX_BYTES else CUT)
            if self._size > MAX_BYTES:
                return

    def _since_s(self) -> int | None:
        """Ask for a little more than what is missing; lines that were seen are left out."""
        return int(time.monotonic() - self._last_at) + 2 if self._last else None


def _sortable(moment: str) -> str:
    """Give a time of the log its nine digits: as it comes, zeros at the end are left out."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"
