"""What one check found, and how values and errors of data are shown: short, on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nightmill.spec.problems import shown
from nightmill.spec.record import CheckState

LINE = 300


class Finding(NamedTuple):
    """The end of a check; `message` says what was seen, and goes on after the check's name."""

    state: CheckState
    message: str
    profile: Mapping[str, Any] | None = None


def passed(message: str) -> Finding:
    """Return the finding of data that is as it should be."""
    return Finding(CheckState.PASSED, message)


def failed(message: str) -> Finding:
    """Return the finding of data that is not as it should be."""
    return Finding(CheckState.FAILED, message)


def skipped(message: str) -> Finding:
    """Return the finding of a check that had nothing to go by; it blocks nothing."""
    return Finding(CheckState.SKIPPED, message)


def unknown(message: str) -> Finding:
    """Return the finding of a check that could not be made: nobody knows whether data is right."""
    return Finding(CheckState.ERROR, message)


def one_line(text: str) -> str:
    """Bring foreign text onto one short line without control characters."""
    flat = " ".join(text.split())
    flat = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in flat)
    return flat if len(flat) <= LINE else flat[: LINE - 3] + "..."


def value(found: object) -> str:
    """Show a value of the data, text between backticks."""
    return shown(found) if isinstance(found, str) else plain(found)


def plain(found: object) -> str:
    """Show a number or date of the data."""
    return f"{found:.6g}" if isinstance(found, float) else one_line(str(found))


def counted(count: int, noun: str = "row") -> str:
    """Say how many there are: `1 row`, `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def share(part: int, whole: int) -> str:
    """Show a share so that little is never shown as nothing."""
    percent = 100 * part / whole
    return "<0.1%" if 0 < percent < 0.1 else f"{percent:.1f}%"  # noqa: PLR2004 - what .1f can show
