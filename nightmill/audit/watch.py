"""Ends a check that takes too long, or an audit that somebody asked to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nightmill.audit.context import AuditContext
from nightmill.errors import InterruptedRunError, NightmillError

_TICK_S = 0.2


class CheckTimeoutError(NightmillError):
    """A check was ended after its time."""


@contextmanager
def watch(context: AuditContext, end: Callable[[], None]) -> Iterator[None]:
    """Call `end`, from another thread, when the work inside must end; then say why.

    Raises CheckTimeoutError or InterruptedRunError in place of what ending it has raised.
    """
    watcher = _Watcher(context, end)
    watcher.start()
    try:
        yield
    except Exception:
        if watcher.stop() is None:
            raise
    finally:
        reason = watcher.stop()
    if reason:
        raise reason


class _Watcher(threading.Thread):
    """Looks at the clock and at `stopping` until it is stopped."""

    def __init__(self, context: AuditContext, end: Callable[[], None]) -> None:
        super().__init__(name="audit-watch", daemon=True)
        self._context = context
        self._end = end
        self._deadline = time.monotonic() + context.timeout_s
        self._done = threading.Event()
        self._reason: NightmillError | None = None

    def run(self) -> None:
        while not self._done.wait(_TICK_S):
            self._reason = self._reason or self._find_reason()
            if self._reason:
                self._end()  # again and again: between two queries there is nothing to interrupt

    def _find_reason(self) -> NightmillError | None:
        if self._context.stopping():
            return InterruptedRunError("stopped while the outputs were audited")
        if time.monotonic() > self._deadline:
            return CheckTimeoutError(f"took longer than {self._context.timeout_s:g} s")
        return None

    def stop(self) -> NightmillError | None:
        """Return why the work was ended, None if it was not."""
        self._done.set()
        self.join()
        return self._reason
