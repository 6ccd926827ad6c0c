"""What the preflight finds: one line a check, and what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from nightmill.cluster.pod import Placement


class Level(StrEnum):
    """How bad it is; only `fail` fails the preflight."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"


class Finding(NamedTuple):
    """The outcome of one check."""

    level: Level
    what: str
    advice: str = ""


class PlannedPod(NamedTuple):
    """The pod of one step as the night would create it."""

    step: str  # as people read it: pipeline.step
    placement: Placement
    manifest: Mapping[str, Any]


def ok(what: str) -> Finding:
    """Say that a check passed."""
    return Finding(Level.OK, what)


def warning(what: str, advice: str) -> Finding:
    """Say what could not be checked, or may go wrong."""
    return Finding(Level.WARNING, what, advice)


def fail(what: str, advice: str) -> Finding:
    """Say what would fail at night."""
    return Finding(Level.FAIL, what, advice)
