"""The processes below a supervisor: their memory, and their end.

The supervisor becomes a subreaper (Linux), so that children of a dead kernel come to it instead of
escaping; `end_all` then leaves none behind. Children that this process had before are not ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

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

    def survey(self, engine_pid: int) -> int:
        """Collect adopted children that have ended; return the resident memory of the rest.

        Without the engine's own: that of the kernel and of all that it started, in bytes.
        """
        total, me = 0, os.getpid()
        for process in self._members():
            with contextlib.suppress(psutil.Error):
                if process.pid != engine_pid:
                    total += process.memory_info().rss
                    if process.ppid() == me:
                        _reap(process)
        return total

    def end_all(self) -> list[str]:
        """End every member: politely, then by force. Returns the names of those there were."""
        left = {process: _name(process) for process in self._members() if _is_alive(process)}
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _gone, stubborn = psutil.wait_procs(list(left), timeout=_GRACE_S)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(stubborn, timeout=_GRACE_S)
        return list(left.values())

    def reap_adopted(self) -> None:
        """Collect adopted children that have ended, but for a kernel, which leads its session.

        Whoever started a process collects it.
        """
        for process in self._children():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(process.pid) != process.pid:
                    _reap(process)

    def _children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in self._others]

    def _members(self) -> list[psutil.Process]:
        if not self._others:
            return psutil.Process().children(recursive=True)
        found = self._children()
        for child in list(found):
            with contextlib.suppress(psutil.Error):
                found += child.children(recursive=True)
        return found


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


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "?"


def _reap(process: psutil.Process) -> None:
    if not _is_alive(process):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
