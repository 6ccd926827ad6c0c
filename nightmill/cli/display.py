"""What `nightmill run` shows: live rows in a terminal, plain lines elsewhere, a closing table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from nightmill.cli.terminal import (
    STATE_STYLES,
    add_row,
    address,
    cell_text,
    duration,
    new_table,
    out,
    print_table,
    say,
    size,
    state_text,
    transfer_text,
)
from nightmill.run.status import StepState, StepStatus, Wait
from nightmill.spec import words

_ROWS_SHOWN = 16
_BAR_CELLS = 10
_REFRESHES_PER_S = 4


def open_display(statuses: Iterable[StepStatus]) -> LiveDisplay | PlainDisplay:
    """Return live rows for a terminal that can redraw, plain lines for logs, pipes and the rest."""
    # Not rich's own opinion: FORCE_COLOR, which many CI systems set, asks for colour in a log.
    redraws = out.file.isatty() and not out.is_dumb_terminal
    return LiveDisplay(statuses) if redraws else PlainDisplay()


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """Rows that change in place: one a step, with its cell, time and memory."""

    def __init__(self, statuses: Iterable[StepStatus]) -> None:
        self._statuses = list(statuses)
        self._started: dict[int, float] = {}
        self._live = Live(console=out, get_renderable=self._render, transient=True)
        self._live.refresh_per_second = _REFRESHES_PER_S

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def __call__(self, status: StepStatus, event: Mapping[str, Any]) -> None:
        """Take notice of a change; the rows are drawn on their own clock."""
        if event["event"] == "started":
            self._started[id(status)] = time.monotonic()

    def _render(self) -> RenderableType:
        shown = [one for one in self._statuses if one.state is not StepState.COMMITTED]
        if len(shown) > _ROWS_SHOWN:
            shown = [one for one in shown if _is_under_way(one)]
        table = new_table()
        for status in shown:
            add_row(table, *self._row(status))
        for column in table.columns[:-1]:  # only the cell's title gives way to a narrow terminal
            column.no_wrap = True
        over = sum(status.is_over for status in self._statuses)
        return Group(table, Text(f"{over} of {len(self._statuses)} steps done", style="dim"))

    def _row(self, status: StepStatus) -> list[Text | str]:
        elapsed = status.duration_s
        if elapsed is None and id(status) in self._started:
            elapsed = time.monotonic() - self._started[id(status)]
        memory = status.memory_bytes if status.state is StepState.RUNNING else status.peak_bytes
        cell = Text(_doing(status), no_wrap=True, overflow="ellipsis")
        run = status.planned.run
        names = [Text(run.partition, style="dim"), Text(run.label, style="bold")]
        return [*names, state_text(status.state), duration(elapsed), size(memory), cell]


def _is_under_way(status: StepStatus) -> bool:
    is_due_later = status.retry_at is not None or status.wait is not None
    return status.state is StepState.RUNNING or is_due_later


def _doing(status: StepStatus) -> str:
    """Say what a step is at: its cell, or the wait for an input or for its next attempt."""
    if status.is_over:
        return ""
    if status.wait is not None:
        return _waiting(status.wait)
    if status.transfer is not None:
        return f"{_bar(status.transfer)} {transfer_text(status.transfer)}"
    if status.retry_at is None:
        return cell_text(status.cell)
    left_s = status.retry_at - time.monotonic()
    return f"next attempt in {words.span(left_s)}" if left_s > 0 else status.decision


def _bar(event: Mapping[str, Any]) -> str:
    filled: int = round(_BAR_CELLS * event["done"] / event["of"])
    return "█" * filled + "░" * (_BAR_CELLS - filled)


def _waiting(wait: Wait | None) -> str:
    if wait is None:
        return ""
    left_s = max(wait.until - time.monotonic(), 0)
    return f"waiting up to {duration(left_s)}: {wait.lacking}"


class PlainDisplay(AbstractContextManager["PlainDisplay"]):
    """A line a change, for logs and pipes."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is open."""

    def __call__(self, status: StepStatus, event: Mapping[str, Any]) -> None:
        """Print the change, if it is one that a reader of a log wants."""
        run = status.planned.run
        said = {
            "started": "started" if run.attempt == 1 else f"attempt {run.attempt} started",
            "blocked": status.state,
            "awaiting": _waiting(status.wait),
            "cell_started": cell_text(status.cell),
            "upload": _transfer(event),
            "download": _transfer(event),
            "warning": f"warning: {event.get('text')}",
            "over": _end_text(status),
        }.get(event["event"])
        if said:
            say(f"{run.partition} {run.label}: {said}")


def _transfer(event: Mapping[str, Any]) -> str:
    return transfer_text(event) if event["event"] in ("upload", "download") else ""


def _end_text(status: StepStatus) -> str:
    took = f" in {duration(status.duration_s)}" if status.duration_s is not None else ""
    return f"{status.state}{took}" + (f": {_line(status)}" if status.message else "")


def _line(status: StepStatus) -> str:
    place = address(status.notebook)
    return words.tell(
        status.message, decision=status.decision, notebook=place, cell=status.failed_cell
    )


def print_result(statuses: Sequence[StepStatus]) -> None:
    """Print the closing table, and below it why each attempt failed, and what it warns of."""
    partitions = {status.planned.run.partition for status in statuses}
    several = ["partition"] if len(partitions) > 1 else []
    again = ["attempt"] if any(status.earlier for status in statuses) else []
    columns = ["step", *again, "state", "cause", "time", "peak memory", "executed notebook"]
    table = new_table(*several, *columns)
    for status in statuses:
        run = status.planned.run
        first = [run.partition, run.label] if several else [run.label]
        number = [str(run.attempt)] if again else []
        figures = [duration(status.duration_s), size(status.peak_bytes)]
        state, link = state_text(status.state), address(status.notebook)
        add_row(table, *first, *number, state, status.cause, *figures, link)
    print_table(table)
    for status in statuses:
        for one in (*status.earlier, status):
            _print_attempt(one, among=len(status.earlier) + 1)


def _print_attempt(status: StepStatus, *, among: int) -> None:
    run = status.planned.run
    name = f"{run.label} {run.partition} " + (f"attempt {run.attempt} " if among > 1 else "")
    for warning in status.warnings:
        say(Text(f"{name}warning: ", style="yellow"), warning)
    if status.review:
        say(Text(name, style=state_text(status.state).style), status.review)
    if status.message:
        say("\n".join(["", *(f"  | {line}" for line in status.tail)]))
        say(Text(name, style=STATE_STYLES["failed"]), _line(status))
