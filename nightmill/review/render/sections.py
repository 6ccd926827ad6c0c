"""One cell as a section: its gutter of facts, its source, and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from nightmill.review.render import outputs
from nightmill.review.render.cells import Cell, Role
from nightmill.review.render.code import coloured
from nightmill.review.render.markdown import markdown
from nightmill.review.render.markup import escape, note, shortened
from nightmill.review.render.page import NotebookPage
from nightmill.review.render.sanitize import words_of
from nightmill.review.render.widgets import Widgets
from nightmill.review.words import counted, duration
from nightmill.spec.record import CellState
from nightmill.spec.words import amount

STATES = {
    CellState.COMPLETED: ("✓", "completed"),
    CellState.FAILED: ("✕", "failed"),
    CellState.RUNNING: ("▶", "running"),
    CellState.INTERRUPTED: ("■", "interrupted"),
    CellState.NOT_RUN: ("○", "not run"),
    CellState.SKIPPED: ("⤼", "skipped"),
}
_ROLES = {
    Role.PARAMETERS: "Parameters: the defaults, where the run gave no values",
    Role.INJECTED: "Values of this run, put in by papermill",
}
_LONG_LINES = 30  # more of source is closed at first: a reviewer reads results
_NOTE_CHARS = 5000  # of a cell that marks an error


@dataclass(frozen=True)
class Notebook:
    """What the sections of one notebook share. `neighbours` are anchors around the failing cell."""

    page: NotebookPage
    zone: ZoneInfo
    language: str
    widgets: Widgets
    failing: Cell | None
    neighbours: tuple[Cell, ...] = ()


def section(cell: Cell, notebook: Notebook, is_over: Callable[[int], bool]) -> Iterator[str]:
    """Return a cell piece by piece; outputs end where `is_over` says so of so many characters."""
    is_failing = cell is notebook.failing
    classes = " ".join(["cell", _kind(cell), *([cell.state] if cell.state else [])])
    told = f", {STATES[cell.state][1]}" if cell.state else ""
    label = escape(cell.name + (f": {cell.title}" if cell.title else "") + told)
    yield f'<section id="{cell.anchor}" class="{classes}" aria-label="{label}">'
    yield _gutter(cell, notebook.zone)
    yield '<div class="body">'
    if is_failing:
        yield _reason(cell, notebook.neighbours)
    yield _source(cell, notebook, is_failing=is_failing)
    yield from _outputs(cell, notebook, is_over)
    yield "</div></section>\n"


def _kind(cell: Cell) -> str:
    if cell.role is Role.MARKER:
        return "marker"
    return cell.kind if cell.kind in ("code", "markdown", "raw") else "unknown"


def _gutter(cell: Cell, zone: ZoneInfo) -> str:
    facts = []
    if cell.number is not None:
        name = escape(cell.name)
        facts.append(
            f'<a class="number" href="#{cell.anchor}" aria-label="Link to {name}">{cell.number}</a>'
        )
    if cell.state:
        icon, word = STATES[cell.state]
        facts.append(f'<span class="state"><span aria-hidden="true">{icon}</span> {word}</span>')
    if cell.kind == "code":
        facts += _measures(cell, zone)
    return f'<div class="gutter">{"".join(facts)}</div>'


def _measures(cell: Cell, zone: ZoneInfo) -> Iterator[str]:
    if cell.duration_s is not None:
        yield f'<span class="fact" title="How long it ran">{duration(cell.duration_s)}</span>'
    if cell.peak_memory_bytes:
        told = amount(cell.peak_memory_bytes)
        yield f'<span class="fact" title="Peak memory while it ran">{told}</span>'
    if moment := _moment(cell.started_at, zone):
        yield f'<span class="fact" title="When it began">{moment}</span>'
    if cell.state is None and cell.execution_count:
        yield f'<span class="fact">run [{cell.execution_count}]</span>'


def _moment(at: datetime | None, zone: ZoneInfo) -> str:
    if at is None:
        return ""
    try:
        local = at.astimezone(zone)
    except (OverflowError, ValueError):  # in the year 1 or 9999
        return ""
    return f'<time datetime="{local.isoformat()}">{local:%H:%M:%S %Z}</time>'


def _reason(cell: Cell, neighbours: tuple[Cell, ...]) -> str:
    """Say at the top of the failing cell why it failed, and lead to the cells around."""
    errors = cell.errors
    said = outputs.error_of(errors[-1]).told if errors else "It ended here."
    links = " ".join(f'<a href="#{one.anchor}">{one.number}</a>' for one in neighbours)
    around = f'<nav aria-label="Cells around">Cells around: {links}</nav>' if links else ""
    return f'<div class="reason"><strong dir="auto">{escape(said)}</strong>{around}</div>'


# -- source ---------------------------------------------------------------------------------------


def _source(cell: Cell, notebook: Notebook, *, is_failing: bool) -> str:
    limits = notebook.page.limits
    if cell.role is Role.MARKER:
        return f'<p dir="auto">{escape(words_of(cell.source[:_NOTE_CHARS]))}</p>'
    if cell.kind == "markdown":
        text = markdown(cell.source, limits.markdown_chars, cell.attachments)
        return f'<div class="prose">{text}</div>'
    told = f'<p class="label">{_ROLES[cell.role]}</p>' if cell.role in _ROLES else ""
    if cell.kind == "code":
        return told + _code(cell, notebook, is_open=is_failing)
    if cell.kind != "raw":
        told += note(f"A cell of an unknown type: {shortened(cell.kind, 80)}.")
    text = escape(cell.source[: limits.folded_chars])
    return told + (f'<pre class="text" tabindex="0" dir="auto">\n{text}</pre>' if text else "")


def _code(cell: Cell, notebook: Notebook, *, is_open: bool) -> str:
    if not cell.source.strip():
        return '<p class="soft">Empty cell</p>'
    limits = notebook.page.limits
    number = cell.source.rstrip().count("\n") + 1
    text = cell.source[: limits.folded_chars]
    cut = note("The rest of this source is left out here.") if text != cell.source else ""
    html = coloured(text, notebook.language, limits.code_chars)
    is_open = is_open or number <= _LONG_LINES
    title = f" · {escape(cell.title)}" if cell.title and not is_open else ""
    return (
        f'<details class="source"{" open" if is_open else ""}>'
        f"<summary>{counted(number, 'line')}{title}</summary>"
        f'<pre tabindex="0"><code>{html}</code></pre>{cut}</details>'
    )


# -- outputs --------------------------------------------------------------------------------------


def _outputs(cell: Cell, notebook: Notebook, is_over: Callable[[int], bool]) -> Iterator[str]:
    used = 0
    for shown in outputs.show(cell, notebook.page, notebook.widgets):
        used += len(shown)
        if used > notebook.page.limits.cell_chars or is_over(used):
            yield note("More outputs of this cell are left out here: the page would be too long.")
            break
        yield shown
    for address, size in cell.spilled:
        told = f"Whole output, {amount(size)}, too large for the notebook: "
        yield f'<p class="note">{told}<code>{escape(address)}</code></p>'
