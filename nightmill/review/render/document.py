"""A whole notebook as one HTML document of its own, piece by piece, for a sandbox.

The styles come first and then cell after cell, so that a browser paints while the rest is made.
Nothing that a notebook holds stops a page: a cell that cannot be rendered says so, and when time or
room is used up, the page says that the rest is left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from functools import cache
from zoneinfo import ZoneInfo

from nightmill.review.render import outputs
from nightmill.review.render.cells import Cell, Role, cells_of, failing_cell
from nightmill.review.render.markup import escape, note
from nightmill.review.render.outline import Outline, contents
from nightmill.review.render.page import STYLES, NotebookPage
from nightmill.review.render.reading import Sheet, Unreadable, read, too_large
from nightmill.review.render.sanitize import words_of
from nightmill.review.render.sections import STATES, Notebook, section
from nightmill.review.render.widgets import Widgets
from nightmill.review.words import counted
from nightmill.spec.executed import text_of

_LOG = logging.getLogger(__name__)

_META_POLICY = "default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
"""
_END = "</main>\n</body>\n</html>\n"
_NOTE_CHARS = 5000
_AROUND = 2  # cells before and after the failing one that are in reach of it


class _Budget:
    """How much of the page's room and time is left."""

    def __init__(self, page: NotebookPage) -> None:
        self._chars = page.limits.html_chars
        self._ends_at = time.monotonic() + page.limits.seconds

    def spend(self, chars: int) -> None:
        """Count what is on the page."""
        self._chars -= chars

    def is_over(self, chars: int) -> bool:
        """Tell whether there is no time, or no room for so many characters more."""
        return chars > self._chars or time.monotonic() > self._ends_at


def render(data: bytes, page: NotebookPage) -> Iterator[str]:
    """Return the chunks of an HTML document that shows a notebook, or says why it cannot.

    Never raises for what the bytes hold. Serve it under `page.POLICY`.
    """
    yield _head(page)
    sheet = read(data, page.limits.notebook_bytes)
    if isinstance(sheet, Unreadable):
        yield _refusal(sheet, page)
    else:
        yield from _notebook(sheet, page)
    yield _END


def render_too_large(size: int, page: NotebookPage) -> Iterator[str]:
    """Return the same for a notebook of so many bytes, over the limit: it need not be read."""
    yield _head(page)
    yield _refusal(too_large(size, page.limits.notebook_bytes), page)
    yield _END


@cache
def _style() -> str:
    return "".join(file.read_text(encoding="utf-8") for file in STYLES)


def _head(page: NotebookPage) -> str:
    return _HEAD.format(policy=escape(_META_POLICY), title=escape(page.title), style=_style())


def _refusal(why: Unreadable, page: NotebookPage) -> str:
    return (
        f"<header><h1>{escape(page.title)}</h1></header>"
        f'<div class="refusal"><p><strong>{escape(why.problem)}</strong></p>'
        f"<p>{escape(why.advice)}</p></div>\n"
    )


def _notebook(sheet: Sheet, page: NotebookPage) -> Iterator[str]:
    cells = cells_of(sheet, page)
    failing = failing_cell(cells, page)
    around = _neighbours(cells, failing)
    zone = _zone(page.timezone)
    language = _language(sheet)
    notebook = Notebook(page, zone, language, Widgets(sheet.metadata), failing, around)
    yield _header(sheet, cells, notebook)
    if not sheet.cells:
        yield note("This notebook has no cells.")
    budget, outline = _Budget(page), Outline()
    for cell in cells:
        if _is_told_above(cell, failing):
            continue
        if budget.is_over(0):
            left = len(sheet.cells) - cell.index
            yield note(
                f"The last {counted(left, 'cell')} are left out here: download the notebook."
            )
            return
        made = outline.ordered(_guarded(cell, notebook, budget))
        budget.spend(len(made))
        yield made
    if (more := len(sheet.cells) - len(cells)) > 0:
        yield note(f"{counted(more, 'more cell')} are left out here: download the notebook.")


def _guarded(cell: Cell, notebook: Notebook, budget: _Budget) -> str:
    """Return a section whole: one that cannot be made must not leave half of itself."""
    try:
        return "".join(section(cell, notebook, budget.is_over))
    except Exception:  # noqa: BLE001 - whatever is odd about a cell, it must not hide the others
        _LOG.exception("cell %d of a notebook could not be rendered", cell.index)
        return (
            f'<section id="{cell.anchor}" class="cell unknown" aria-label="{escape(cell.name)}">'
            f'<div class="gutter"></div><div class="body">'
            f"{note(f'{cell.name} could not be rendered: download the notebook to see it.')}"
            "</div></section>\n"
        )


# -- above the cells ------------------------------------------------------------------------------


def _header(sheet: Sheet, cells: Sequence[Cell], notebook: Notebook) -> str:
    page = notebook.page
    number = sum(cell.role not in (Role.MARKER, Role.INJECTED) for cell in cells)
    facts = [counted(number, "cell"), notebook.language, f"times in {notebook.zone.key}"]
    told = " · ".join(escape(fact) for fact in facts if fact)
    notes = "".join(map(note, sheet.notes))
    live = note("It is still running: this is the notebook so far.") if page.live else ""
    failing = _banner(cells, notebook.failing) if notebook.failing else ""
    told = f'<h1 dir="auto">{escape(page.title)}</h1><p class="soft">{told}</p>'
    return f"<header>{told}{notes}{live}{contents(cells)}</header>\n{failing}"


def _banner(cells: Sequence[Cell], failing: Cell) -> str:
    errors = failing.errors
    said = outputs.error_of(errors[-1]).told if errors else ""
    word = STATES[failing.state][1] if failing.state else "failed"
    first = cells[0]
    own = words_of(first.source[:_NOTE_CHARS]) if first.role is Role.MARKER else ""
    is_new = own and not (said and own.endswith(f": {said}"))
    more = f'<p dir="auto">{escape(own)}</p>' if is_new else ""
    title = f" “{escape(failing.title)}”" if failing.title else ""
    link = f'<a href="#{failing.anchor}">{escape(failing.name)}</a>'
    return (
        '<div class="banner" role="note" aria-label="Failure">'
        f'<p><span aria-hidden="true">✕</span> {link}{title} {word}</p>'
        f'<p class="said" dir="auto">{escape(said)}</p>{more}</div>\n'
    )


def _is_told_above(cell: Cell, failing: Cell | None) -> bool:
    return cell.index == 0 and cell.role is Role.MARKER and failing is not None


def _neighbours(cells: Sequence[Cell], failing: Cell | None) -> tuple[Cell, ...]:
    if failing is None:
        return ()
    numbered = [cell for cell in cells if cell.number is not None]
    place = numbered.index(failing)
    before = numbered[max(0, place - _AROUND) : place]
    return (*before, *numbered[place + 1 : place + 1 + _AROUND])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # ZoneInfoNotFoundError is the last
        return ZoneInfo("UTC")


def _language(sheet: Sheet) -> str:
    """Return the language of a notebook's code, as it tells it itself."""
    for part, key in (
        ("language_info", "name"),
        ("kernelspec", "language"),
        ("kernelspec", "name"),
    ):
        found = sheet.metadata.get(part)
        if isinstance(found, dict) and (name := text_of(found.get(key))):
            return name[:40]
    return "python"
