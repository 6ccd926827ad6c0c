"""The verdict: from what was seen of an execution to one cause and one line."""

from __future__ import annotations

import pytest

from nightmill.errors import InputError, SpecError, StoreError
from nightmill.spec.executed import End
from nightmill.spec.problems import gather
from nightmill.spec.record import CellState
from nightmill.step import verdict
from nightmill.step.supervisor import Watched

GIB = 1 << 30
FULL = {"peak_bytes": int(7.9 * GIB), "memory_limit": 8 * GIB}
ONE_IN_CELL = {"oom_kills": 1, "oom_kills_in_cell": 1}
ONE_BEFORE = {"oom_kills": 1, "oom_kills_in_cell": 0}


def said(cause: str | None, message: str = "so it was", ename: str | None = None) -> dict:
    """Make the engine's last word."""
    return {
        "event": "outcome",
        "cause": cause,
        "message": message,
        "cell": 14,
        "cells": 22,
        "title": "Score the day",
        "ename": ename,
        "evalue": "",
        "traceback": [f"line {number}" for number in range(40)],
    }


BROKEN = said("notebook_error", "BrokenProcessPool: a child died", "BrokenProcessPool")
DIED = said("kernel_died", "the kernel process ended by itself")
HUNG = said("cell_timeout", "no end after 30 s")
STOPPED = said("terminated", "stopped by SIGTERM")
LATE = {"stopped_by": "stopped by its timeout of 60 s", "deadline_passed": True}
TERM = {"stopped_by": "stopped by SIGTERM"}

# What was seen, the cause, and what the line says after the cell.
TABLE = {
    "an error": ({"outcome": said("notebook_error")}, "notebook_error", "so it was"),
    "the kernel died, nobody knows why": (
        {"outcome": DIED, **FULL, **ONE_BEFORE},
        "kernel_died",
        "the kernel process ended by itself",
    ),
    "the kernel was killed for memory": (
        {"outcome": DIED, **FULL, **ONE_IN_CELL},
        "out_of_memory",
        "7.9 of 8.0 GiB, the kernel was killed",
    ),
    "the system saw a peak that came and went between two samples": (
        {
            "outcome": DIED,
            "peak_bytes": GIB // 20,
            "memory_limit": 8 * GIB,
            "system": {"cgroup_peak_bytes": 8 * GIB},
            **ONE_IN_CELL,
        },
        "out_of_memory",
        "8.0 of 8.0 GiB, the kernel was killed",
    ),
    "without a known limit": (
        {"outcome": DIED, "peak_bytes": 3 * GIB, **ONE_IN_CELL},
        "out_of_memory",
        "3.0 GiB, the kernel was killed",
    ),
    "before anything was measured": (
        {"outcome": DIED, **ONE_IN_CELL},
        "out_of_memory",
        "the kernel was killed",
    ),
    "a child was killed, on the guess of signal 9 alone": (
        {"outcome": BROKEN, **FULL},
        "notebook_error",
        "BrokenProcessPool: a child died",
    ),
    "a child was killed for memory in an earlier cell that got over it": (
        {"outcome": BROKEN, **FULL, **ONE_BEFORE},
        "notebook_error",
        "BrokenProcessPool: a child died",
    ),
    "a child was killed for memory in this cell": (
        {"outcome": BROKEN, **FULL, **ONE_IN_CELL},
        "out_of_memory",
        "7.9 of 8.0 GiB, a child process was killed, then: BrokenProcessPool: a child died",
    ),
    "several children": (
        {"outcome": BROKEN, **FULL, "oom_kills": 5, "oom_kills_in_cell": 3},
        "out_of_memory",
        "7.9 of 8.0 GiB, 3 child processes were killed, then: BrokenProcessPool: a child died",
    ),
    "a pool waits for ever for its killed child": (
        {"outcome": HUNG, **FULL, **ONE_IN_CELL},
        "out_of_memory",
        "7.9 of 8.0 GiB, a child process was killed, then: no end after 30 s",
    ),
    "a cell takes too long": ({"outcome": HUNG, **ONE_BEFORE}, "cell_timeout", "no end after 30 s"),
    "Python could not allocate": (
        {"outcome": said("notebook_error", "MemoryError: no", "MemoryError"), **FULL},
        "out_of_memory",
        "7.9 of 8.0 GiB, MemoryError: no",
    ),
    "an error that only speaks of memory": (
        {"outcome": said("notebook_error", "ValueError: MemoryError", "ValueError"), **FULL},
        "notebook_error",
        "ValueError: MemoryError",
    ),
    "the deadline": ({"outcome": STOPPED, **LATE}, "deadline", "stopped by its timeout of 60 s"),
    "the deadline of what hung after a child was killed": (
        {"outcome": STOPPED, **LATE, **FULL, **ONE_IN_CELL},
        "out_of_memory",
        "7.9 of 8.0 GiB, a child process was killed, then: stopped by its timeout of 60 s",
    ),
    "asked to stop": ({"outcome": STOPPED, **TERM}, "terminated", "stopped by SIGTERM"),
    "asked to stop in a cell that has a killed child": (
        {"outcome": STOPPED, **TERM, **ONE_IN_CELL},
        "terminated",
        "stopped by SIGTERM",
    ),
    "killed in the end because it would not stop": (
        {"outcome": DIED, **TERM},
        "terminated",
        "stopped by SIGTERM",
    ),
    "an error on the way down": (
        {"outcome": BROKEN, **TERM},
        "notebook_error",
        "BrokenProcessPool: a child died",
    ),
}


@pytest.mark.parametrize(("seen", "cause", "what"), TABLE.values(), ids=TABLE)
def test_the_evidence_decides(seen, cause, what):
    """One cause for each kind of end, never memory without its events, and a line that says why."""
    failure = verdict.judge(Watched(**seen))
    assert failure.cause == cause
    assert failure.message == f'{cause} in cell 14/22 "Score the day": {what}'
    assert (failure.cell, failure.cells, failure.title) == (14, 22, "Score the day")
    assert failure.traceback == tuple(f"line {number}" for number in range(10, 40))


SILENT = {
    "killed": ({"returncode": -9}, "kernel_died: the engine was killed by SIGKILL"),
    "crashed": ({"returncode": -11}, "kernel_died: the engine was killed by SIGSEGV"),
    "killed for memory": (
        {"returncode": -9, **FULL, **ONE_IN_CELL},
        "out_of_memory: 7.9 of 8.0 GiB, the engine was killed",
    ),
    "killed by us in the end": ({"returncode": -9, **TERM}, "terminated: stopped by SIGTERM"),
    "late": ({"returncode": -9, **LATE}, "deadline: stopped by its timeout of 60 s"),
    "broken": (
        {"returncode": 1, "log_tail": "Traceback:\nImportError: no module\n\n"},
        "nightmill_bug: the engine ended with exit code 1: ImportError: no module",
    ),
    "mute": ({"returncode": 3}, "nightmill_bug: the engine ended with exit code 3"),
}


@pytest.mark.parametrize(("seen", "message"), SILENT.values(), ids=SILENT)
def test_an_engine_without_a_last_word(seen, message):
    """An engine that is gone is judged by memory events, signals and deadlines, in this order."""
    assert verdict.judge(Watched(**seen)).message == message


def test_success_is_no_failure():
    """Where every cell completed nothing is wrong, whatever else was seen."""
    good = {"event": "outcome", "cause": None}
    assert verdict.judge(Watched(outcome=good, **ONE_BEFORE)) is None


def test_the_evidence_is_kept():
    """Counts, signals and the engine's own last lines stay with the failure; zeros do not."""
    seen = Watched(returncode=-9, log_tail="its last lines", **ONE_IN_CELL)
    assert verdict.judge(seen).evidence == {
        "engine_returncode": -9,
        "oom_kills": 1,
        "oom_kills_in_cell": 1,
        "log_tail": "its last lines",
    }
    assert verdict.evidence(Watched(outcome=said(None))) == {}


def test_the_cell_of_a_killed_engine_is_found_later():
    """What the notebook tells about where the engine was goes into the failure and its line."""
    failure = verdict.judge(Watched(returncode=-9))
    end = End(3, "Join", CellState.INTERRUPTED)
    found = verdict.located(failure, end, 9)
    assert found.message == 'kernel_died in cell 3/9 "Join": the engine was killed by SIGKILL'
    assert (found.cell, found.cells, found.title) == (3, 9, "Join")
    assert verdict.located(failure, None, 9) is failure


def test_our_own_errors_are_lines_too():
    """An error's place and advice stand on the line; several errors share it, cut at its end."""
    error = SpecError("no", file="p.yaml", line=3, key="steps", advice="do")
    assert verdict.from_error(error).message == "bad_parameters: p.yaml:3: steps: no -> do"
    several = verdict.from_error(gather([error] * 50)).message
    assert several.startswith("bad_parameters: p.yaml:3: steps: no -> do p.yaml:3")
    assert len(several) == 300
    assert verdict.from_error(InputError("none yet")).cause == "bad_parameters"
    gone = StoreError("gone", address="s3://b", operation="PUT")
    assert verdict.from_error(gone).message == "store: PUT s3://b: gone"
    assert verdict.from_bug(KeyError("x\ny")).message == r"nightmill_bug: KeyError: 'x\ny'"
