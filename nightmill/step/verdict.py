"""Why an attempt ended: one cause, decided from the evidence and never from a guess.

The order is: what the engine said, what the memory controller counted, who asked for the end. A
kernel killed by signal 9 is out of memory only if the memory events say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.spec.record import Failure
from nightmill.step.supervisor import Watched

NOT_STORED = "notebook_not_stored"

_TRACEBACK_LINES = 30


def judge(seen: Watched) -> Failure | None:
    """Return why the execution failed, None when every cell completed."""
    said = seen.outcome or {}
    if seen.outcome is not None and said["cause"] is None:
        return None
    cause, message = _cause(seen, said)
    return Failure(
        cause=cause,
        message=describe(cause, said.get("cell"), said.get("title"), message),
        cell=said.get("cell"),
        title=said.get("title"),
        ename=said.get("ename"),
        evalue=said.get("evalue"),
        traceback=tuple(said.get("traceback", ())[-_TRACEBACK_LINES:]),
        evidence=_evidence(seen),
    )


def _cause(seen: Watched, said: Mapping[str, Any]) -> tuple[Cause, str]:
    cause = Cause(said["cause"]) if said else None
    if cause in (Cause.KERNEL_DIED, None) and seen.oom_kills:
        return Cause.OUT_OF_MEMORY, f"the memory limit was reached ({seen.oom_kills} killed)"
    if cause in (Cause.TERMINATED, Cause.KERNEL_DIED, None) and seen.stopped_by:
        return (Cause.DEADLINE if seen.deadline_passed else Cause.TERMINATED), seen.stopped_by
    if cause is not None:
        return cause, said["message"]
    if seen.returncode < 0:
        return Cause.KERNEL_DIED, f"the engine was killed by signal {-seen.returncode}"
    return Cause.NIGHTMILL_BUG, f"the engine ended with exit code {seen.returncode}"


def _evidence(seen: Watched) -> dict[str, Any]:
    facts = {
        "engine_returncode": seen.returncode,
        "oom_kills": seen.oom_kills,
        "stopped_by": seen.stopped_by,
        "log_tail": seen.log_tail if not seen.outcome or seen.oom_kills else "",
    }
    return {name: value for name, value in facts.items() if value}


def describe(cause: Cause, cell: int | None, title: str | None, message: str) -> str:
    """Return the one line for people: cause, cell with its title, and what happened."""
    place = f' in cell {cell} "{title}"' if cell is not None else ""
    first_line = message.strip().splitlines()[0] if message.strip() else "no message"
    return f"{cause}{place}: {first_line}"


def with_unstored_notebook(failure: Failure, error: NightmillError) -> Failure:
    """Return the failure with what kept its notebook from the store: a cell's error goes first."""
    evidence = {**failure.evidence, NOT_STORED: str(error)}
    return failure.model_copy(update={"evidence": evidence})


def from_error(error: NightmillError) -> Failure:
    """Return the failure that one of our own errors means."""
    return Failure(cause=error.cause, message=f"{error.cause}: {error}")


def from_bug(error: Exception) -> Failure:
    """Return the failure that an error nobody expected means."""
    message = f"{Cause.NIGHTMILL_BUG}: {type(error).__name__}: {error}"
    return Failure(cause=Cause.NIGHTMILL_BUG, message=message)
