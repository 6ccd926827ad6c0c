"""How an execution can end, in words for people: one line that says what happened.

The place (which cell, of how many) is told apart from it, see `nightmill.spec.words`.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

from nightmill.causes import Cause
from nightmill.spec.banner import text_cells
from nightmill.spec.words import span

_NO_ANSWER = "StdinNotImplementedError"
_INTERRUPT = "KeyboardInterrupt"
_EXIT = "SystemExit"


@dataclass
class Outcome:
    """How the execution ended: no cause means that every cell completed.

    `cell` is the author's number of the cell at which it ended, `cells` how many there are.
    """

    cause: Cause | None = None
    message: str = ""
    cell: int | None = None
    cells: int | None = None
    title: str | None = None
    ename: str | None = None
    evalue: str | None = None
    traceback: list[str] = field(default_factory=list)

    @property
    def seen_by_papermill(self) -> bool:
        """Whether papermill will raise by itself, and say the right thing.

        It takes sys.exit(0) for a good end, and shows of several errors the first.
        """
        exited_well = self.ename == _EXIT and self.evalue in ("", "0")
        return self.cause is Cause.NOTEBOOK_ERROR and not exited_well


def describe_error(ename: str, evalue: str) -> str:
    """Say what an error that a cell raised means at night."""
    if ename == _EXIT:
        return f"sys.exit({evalue}) ended the notebook; the cells after it did not run"
    if ename == _NO_ANSWER:
        return "the cell asks for input, and nobody is there at night to answer"
    if ename == _INTERRUPT:
        return f"{_INTERRUPT}, raised in the cell: Nightmill did not interrupt it"
    return f"{ename}: {evalue}" if evalue else ename


def describe_timeout(limit_s: float, *, is_own: bool) -> str:
    """Say which limit a cell ran over: the step's or the one that its tag names."""
    source = "the cell's own limit, from its tag" if is_own else "the limit for a cell"
    return f"no end after {span(limit_s)} ({source})"


def describe_death(returncode: int | None) -> str:
    """Say how the kernel's process ended, as far as it is known."""
    if returncode is None:
        return "the kernel process ended by itself"
    if returncode < 0:
        return f"the kernel process was killed by {_signal_name(-returncode)}"
    return f"the kernel process ended by itself with exit code {returncode}"


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    crashes = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
    return f"{name}, as when a native library crashes" if number in crashes else name


def banner(outcome: Outcome, minor_version: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two text cells that lead a reader to the end: for the top, and for its place."""
    return text_cells(outcome.message, outcome.cell, minor_version)
