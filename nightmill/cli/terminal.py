"""How things look: numbers with units, addresses a person can copy, errors with advice."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nightmill.errors import NightmillError, SpecError
from nightmill.spec.problems import each

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

STATE_STYLES = {
    "succeeded": "green",
    "completed": "green",
    "failed": "bold red",
    "interrupted": "red",
    "running": "cyan",
    "not run": "yellow",
    "not_run": "yellow",
    "committed before": "dim",
    "waiting": "dim",
}


def complain(error: NightmillError) -> None:
    """Print an error: what is wrong and where, then what to do."""
    here = f"{Path.cwd()}{os.sep}"
    for one in each(error) if isinstance(error, SpecError) else (error,):
        located = f"{one.where}: {one.problem}" if one.where else one.problem
        located = located.replace(here, "")  # paths as the person at this prompt would type them
        err.print(Text.assemble(("error: ", "bold red"), located), soft_wrap=True)
        if one.advice:
            err.print(Text.assemble(("   -> ", "bold"), one.advice), soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table whole: a long address is wrapped by the terminal, so it can be copied."""
    widest = Measurement.get(out, out.options.update(width=10_000), table).maximum
    before = out.width
    out.width = max(before, widest)
    out.print(table, crop=False)
    out.width = before


def state_text(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, style=STATE_STYLES.get(state, ""))


def duration(seconds: float | None) -> str:
    """Return 4.2 s, 3 min 05 s or 2 h 10 min; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(count: int | None) -> str:
    """Return bytes as 812 KiB, 3.4 MiB or 7.9 GiB; nothing for None."""
    if count is None:
        return ""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - a step of the binary units
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"  # noqa: PLR2004 - three digits are enough


def address(text: str) -> str:
    """Return a local path relative to where we are, if that is shorter; anything else as it is."""
    if not text.startswith("/"):
        return text
    near = os.path.relpath(text)
    return near if len(near) < len(text) else str(Path(text))
