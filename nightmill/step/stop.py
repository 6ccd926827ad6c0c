"""A request to stop: who asked, how often, and since when. Signals become one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from nightmill.signals import stop_signals


class StopRequest:
    """Remembers that somebody asked us to stop, and how often."""

    def __init__(self) -> None:
        self.reason = ""
        self._asked_at: list[float] = []

    def ask(self, reason: str) -> None:
        """Ask to stop; the first reason is the one that counts."""
        self.reason = self.reason or reason
        self._asked_at.append(time.monotonic())

    @property
    def times(self) -> int:
        """How often somebody has asked."""
        return len(self._asked_at)

    def since_s(self, request: int) -> float:
        """Return the seconds since the first request (1), or a later one; negative if none came."""
        if self.times < request:
            return -1.0
        return time.monotonic() - self._asked_at[request - 1]


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request that the supervisor serves."""
    request = StopRequest()
    with stop_signals(lambda number: request.ask(f"stopped by {number.name}")):
        yield request
