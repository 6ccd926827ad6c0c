"""Why an attempt ended: one cause, decided from the evidence and never from a guess.

The order is: what the kernel said, what the memory controller counted, signals, our own deadlines.
A process killed by signal 9 ran out of memory only if the memory events of its cell say so; an
error, a hang or a death in a cell in which they do is out of memory, since that comes first.
What the cluster knows beyond that is for whoever launched the pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.signals import signal_name
from nightmill.spec import words
from nightmill.spec.executed import End
from nightmill.spec.project import Project
from nightmill.spec.record import Failure
from nightmill.spec.retry import Retry, retry_of
from nightmill.spec.steprun import StepRun
from nightmill.step.supervisor import Watched

_TRACEBACK_LINES = 30
_MEMORY_ERRORS = ("MemoryError", "_ArrayMemoryError", "ArrowMemoryError")
_STOPS = (Cause.TERMINATED, Cause.KERNEL_DIED, None)  # how an engine that is asked to stop may end


def judge(seen: Watched) -> Failure | None:
    """Return why the execution failed, None when every cell completed."""
    said = seen.outcome or {}
    if seen.outcome is not None and said["cause"] is None:
        return None
    cause, what = _cause(seen, said)
    return _placed(
        Failure(
            cause=cause,
            message=what,
            cell=said.get("cell"),
            cells=said.get("cells"),
            title=said.get("title"),
            ename=said.get("ename"),
            evalue=said.get("evalue"),
            traceback=tuple(said.get("traceback", ())[-_TRACEBACK_LINES:]),
            evidence=evidence(seen),
        )
    )


def located(failure: Failure, end: End | None, cells: int) -> Failure:
    """Return the failure of an engine that could not say where it was, with its cell."""
    if end is None:
        return failure
    place = {"cell": end.number, "cells": cells, "title": end.title}
    return _placed(failure.model_copy(update=place))


def _placed(failure: Failure) -> Failure:
    """Put the failure's place into its message, and the message into shape."""
    place = {"cell": failure.cell, "cells": failure.cells}
    message = words.describe(failure.cause, failure.message, title=failure.title, **place)
    return failure.model_copy(update={"message": message})


def _cause(seen: Watched, said: Mapping[str, Any]) -> tuple[Cause, str]:
    cause = Cause(said["cause"]) if said else None
    if what := _out_of_memory(seen, said, cause):
        # The system's own peak: a quick one comes and goes between two of our samples.
        most = max(seen.peak_bytes or 0, seen.system.get("cgroup_peak_bytes", 0))
        peak = words.memory(most or None, seen.memory_limit)
        return Cause.OUT_OF_MEMORY, f"{peak}, {what}" if peak else what
    if cause in _STOPS and seen.stopped_by:
        return (Cause.DEADLINE if seen.deadline_passed else Cause.TERMINATED), seen.stopped_by
    if cause is not None:
        return cause, said["message"]
    if seen.returncode < 0:
        return Cause.KERNEL_DIED, f"the engine was killed by {signal_name(-seen.returncode)}"
    last = next((line for line in reversed(seen.log_tail.splitlines()) if line.strip()), "")
    ended = f"the engine ended with exit code {seen.returncode}"
    return Cause.NIGHTMILL_BUG, f"{ended}: {last}" if last else ended


def _out_of_memory(seen: Watched, said: Mapping[str, Any], cause: Cause | None) -> str:
    """Say what ran out of memory, empty where the evidence does not say that anything did."""
    kills = seen.oom_kills_in_cell
    if cause is Cause.NOTEBOOK_ERROR and said.get("ename") in _MEMORY_ERRORS:
        return str(said["message"])
    if not kills or (cause is Cause.TERMINATED and not seen.deadline_passed):
        return ""
    if cause in (Cause.KERNEL_DIED, None):
        return f"the {'kernel' if said else 'engine'} was killed"
    killed = "a child process was" if kills == 1 else f"{kills} child processes were"
    then = seen.stopped_by if seen.deadline_passed else said["message"]
    return f"{killed} killed, then: {then}"


def evidence(seen: Watched) -> dict[str, Any]:
    """Return what was seen of the processes, as far as there is something to tell."""
    facts = {
        "engine_returncode": seen.returncode,
        "oom_kills": seen.oom_kills,
        "oom_kills_in_cell": seen.oom_kills_in_cell,
        "stopped_by": seen.stopped_by,
        "log_tail": seen.log_tail if not seen.outcome or seen.oom_kills else "",
    }
    return {name: value for name, value in facts.items() if value}


def with_policy(failure: Failure, project: Project, run: StepRun) -> Failure:
    """Return the failure with what the step says of retries, as far as the step is known."""
    own: Mapping[Cause, Retry] = {}
    with suppress(NightmillError, KeyError):
        spec = project.pipeline(run.pipeline).spec
        own = spec.retries_of(spec.steps[run.step]).own
    return failure.model_copy(update={"retry": retry_of(failure.cause, own)})


def with_evidence(failure: Failure, **facts: object) -> Failure:
    """Return the failure with more evidence; its cause stays."""
    return failure.model_copy(update={"evidence": {**failure.evidence, **facts}})


def from_error(error: NightmillError) -> Failure:
    """Return the failure that one of our own errors means."""
    return _without_cell(error.cause, str(error))


def from_bug(error: Exception) -> Failure:
    """Return the failure that an error nobody expected means."""
    return _without_cell(Cause.NIGHTMILL_BUG, f"{type(error).__name__}: {error}")


def _without_cell(cause: Cause, what: str) -> Failure:
    on_one_line = " ".join(what.split())  # what to do about it stands on a line of its own
    return _placed(Failure(cause=cause, message=on_one_line))
