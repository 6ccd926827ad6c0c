"""What `nightmill run` shows: live rows in a terminal, plain lines elsewhere, a closing table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nightmill.cli.terminal import (
    STATE_STYLES,
    address,
    duration,
    out,
    print_table,
    size,
    state_text,
)
from nightmill.run.launcher import StepState, StepStatus

_ROWS_SHOWN = 16
_REFRESHES_PER_S = 4


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
            shown = [one for one in shown if one.state is StepState.RUNNING]
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for status in shown:
            table.add_row(*self._row(status))
        over = sum(status.is_over for status in self._statuses)
        table.add_row(Text(f"{over} of {len(self._statuses)} steps done", style="dim"))
        return table

    def _row(self, status: StepStatus) -> list[RenderableType]:
        elapsed = status.duration_s
        if elapsed is None and id(status) in self._started:
            elapsed = time.monotonic() - self._started[id(status)]
        memory = status.memory_bytes if status.state is StepState.RUNNING else status.peak_bytes
        cell = "" if status.is_over else _cell_text(status)
        run = status.planned.run
        names = [Text(run.partition, style="dim"), Text(run.step, style="bold")]
        return [*names, state_text(status.state), cell, duration(elapsed), size(memory)]


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
        words = {
            "started": "started",
            "blocked": "not run",
            "cell_started": _cell_text(status),
            "over": f"{status.state} in {duration(status.duration_s)} {status.message}".rstrip(),
        }.get(event["event"])
        if words:
            out.print(f"{run.partition} {run.step}: {words}", soft_wrap=True, markup=False)


def _cell_text(status: StepStatus) -> str:
    cell = status.cell
    return f"cell {cell['position']}/{cell['of']} {cell['title']}" if cell else ""


def print_result(statuses: Sequence[StepStatus]) -> None:
    """Print the closing table, and below it why each failed step failed."""
    partitions = {status.planned.run.partition for status in statuses}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    if len(partitions) > 1:
        table.add_column("partition")
    for name in ("step", "state", "cause"):
        table.add_column(name)
    table.add_column("time", justify="right")
    table.add_column("peak memory", justify="right")
    table.add_column("executed notebook")
    for status in statuses:
        run = status.planned.run
        first = [run.partition] if len(partitions) > 1 else []
        figures = [duration(status.duration_s), size(status.peak_bytes)]
        link = Text(address(status.notebook))
        table.add_row(*first, run.step, state_text(status.state), status.cause, *figures, link)
    print_table(table)
    for status in statuses:
        if status.state is StepState.FAILED:
            _print_failure(status)


def _print_failure(status: StepStatus) -> None:
    run = status.planned.run
    title = Text(f"\n{run.step} {run.partition} ", style=STATE_STYLES["failed"])
    out.print(title, Text(status.message), sep="", soft_wrap=True)
