"""The processes below a supervisor: their memory, and their end.

The supervisor becomes a subreaper (Linux), so that children of a dead kernel come to it instead of
escaping; `end_all` then leaves none behind. Children that this process had before are not ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 2.0


class ProcessTree:
    """Every process below this one, but for those that were there when the tree was made.

    The one with the number `engine_pid` belongs to it all the same.
    """

    def __init__(self, engine_pid: int | None = None) -> None:
        _become_subreaper()
        before = psutil.Process().children()
        self._others = frozenset(child for child in before if child.pid != engine_pid)

    def resident_bytes(self, engine_pid: int) -> int:
        """Return the resident memory without the engine's own: the kernel and its children."""
        total = 0
        for process in self._members():
            if process.pid != engine_pid:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total

    def end_all(self) -> int:
        """End every member: politely, then by force. Returns how many there were."""
        left = [process for process in self._members() if _is_alive(process)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _gone, stubborn = psutil.wait_procs(left, timeout=_GRACE_S)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(stubborn, timeout=_GRACE_S)
        return len(left)

    def reap_adopted(self, engine_pid: int | None = None) -> None:
        """Collect adopted children that have ended.

        What we started is collected by whoever waits for it: the engine is known by its number, a
        kernel (None) by leading a session.
        """
        for process in self._children():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                started = engine_pid or os.getsid(process.pid)
                if process.pid != started and not _is_alive(process):
                    os.waitpid(process.pid, os.WNOHANG)

    def _children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in self._others]

    def _members(self) -> Iterator[psutil.Process]:
        for child in self._children():
            yield child
            with contextlib.suppress(psutil.Error):
                yield from child.children(recursive=True)


def _become_subreaper() -> None:
    """Adopt orphaned descendants from now on; does nothing where the system has no such thing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
