"""How things look: numbers with units, addresses a person can copy, errors with advice.

Everything the command line prints goes through `say`, `complain` or a table of `new_table`, because
much of it (titles of cells, messages, metrics, names) was written by others: it is shown as it is,
never obeyed, whether it looks like rich's markup or like an order to the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nightmill.errors import NightmillError, SpecError
from nightmill.spec import words
from nightmill.spec.problems import each

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_ENDLESS = 10_000  # characters: no terminal is as wide
_RIGHT = ("time", "peak memory", "steps", "attempt")  # columns of figures

STATE_STYLES = {
    "succeeded": "green",
    "completed": "green",
    "failed": "bold red",
    "interrupted": "red",
    "running": "cyan",
    "held for review": "yellow",
    "rejected": "red",
    "not run: awaits a review": "yellow",
    "not run": "yellow",
    "not_run": "yellow",
    "committed before": "dim",
    "waiting": "dim",
}


def inert(text: str) -> str:
    """Return text whose only orders to a terminal are its line breaks."""
    return "\n".join(map(words.printable, text.split("\n")))


def say(*parts: str | Text) -> None:
    """Print one line of plain and styled parts; the terminal wraps it, so it can be copied."""
    out.print(Text.assemble(*(_as_text(part) for part in parts)), soft_wrap=True)


def _as_text(part: str | Text) -> Text:
    if isinstance(part, str):
        return Text(inert(part))
    return Text(inert(part.plain), style=part.style, no_wrap=part.no_wrap, overflow=part.overflow)


def advise(text: str) -> None:
    """Print a word of advice beside what was asked for, where no program reads it."""
    err.print(Text(inert(text), style="dim"), soft_wrap=True)


def complain(error: NightmillError) -> None:
    """Print an error: what is wrong and where, then what to do; no secret of the environment."""
    from nightmill.step.redaction import Redactor  # noqa: PLC0415 - only where something is wrong

    redact = Redactor.of(os.environ).text
    here = f"{Path.cwd()}{os.sep}"
    for one in each(error) if isinstance(error, SpecError) else (error,):
        located = redact(f"{one.where}: {one.problem}" if one.where else one.problem)
        located = located.replace(here, "")  # paths as the person at this prompt would type them
        err.print(Text.assemble(("error: ", "bold red"), inert(located)), soft_wrap=True)
        if one.advice:
            err.print(Text.assemble(("   -> ", "bold"), inert(redact(one.advice))), soft_wrap=True)


def new_table(*columns: str) -> Table:
    """Return an empty table; figures stand to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=bool(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in _RIGHT else "left")
    return table


def add_row(table: Table, *cells: str | Text) -> None:
    """Add a row whose text is shown as it is."""
    table.add_row(*(_as_text(cell) for cell in cells))


def print_table(table: Table) -> None:
    """Print a table whole: a long address is wrapped by the terminal, so it can be copied."""
    widest = Measurement.get(out, out.options.update(width=_ENDLESS), table).maximum
    for line in out.render_lines(table, out.options.update(width=widest)):
        text = Text.assemble(*((part.text, part.style or "") for part in line))
        text.rstrip()
        out.print(text, soft_wrap=True)


def state_text(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, style=STATE_STYLES.get(state, ""))


def duration(seconds: float | None) -> str:
    """Return 4.2 s, 3 min 05 s or 2 h 10 min; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 59.95:  # noqa: PLR2004 - a minute, less what is rounded up to one
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(count: int | None) -> str:
    """Return bytes as 812 KiB, 3.4 MiB or 7.9 GiB; nothing for None."""
    return "" if count is None else words.amount(count)


def counted(number: int, noun: str) -> str:
    """Return `1 step` or `3 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def cell_text(event: Mapping[str, Any] | None) -> str:
    """Return how far a step is, and the cell by its author's number: `3/9 cell 2: Title`."""
    if event is None:
        return ""
    return f"{event['position']}/{event['of']} cell {event['number']}: {event['title']}"


def transfer_text(event: Mapping[str, Any]) -> str:
    """Return how far a large output is stored, or a large input fetched."""
    what = f"storing {event['output']}" if "output" in event else f"fetching {event['input']}"
    return f"{what}: {words.amount_of(event['done'], event['of'])}"


def address(text: str) -> str:
    """Return a local path relative to where we are, if that is shorter; anything else as it is."""
    if not text.startswith("/"):
        return text
    near = os.path.relpath(text)
    return near if len(near) < len(text) else str(Path(text))
