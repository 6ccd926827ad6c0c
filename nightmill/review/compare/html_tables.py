"""Reads the HTML of an output as data: the text of its tables' cells, and the text around them.

nh3 parses it first, as browsers do, in linear time whatever it holds (Python's own parser takes
minutes for a few thousand `<a `), and leaves well-formed tables and text. Of those nothing of the
markup survives here, so nothing of it can run: templates of ours build the tables anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import NamedTuple

import nh3

from nightmill.review.render.markup import words
from nightmill.review.render.sanitize import is_too_deep

MAX_CHARACTERS = 400_000
MAX_ROWS = 300
MAX_COLUMNS = 60
MAX_TABLES = 10
_MAX_TEXT = 300
_MAX_SPAN = 1000
_SPAN_DIGITS = 4

_TABLES = words("table thead tbody tfoot tr td th")
_BREAKS = words("p div br li h1 h2 h3 h4 h5 h6 pre details caption")
_UNSEEN = words("script style template head title svg math select noscript textarea")


class Cell(NamedTuple):
    """The text of one cell; a label stands in a <th>."""

    text: str
    is_label: bool


Row = tuple[Cell, ...]


@dataclass
class Table:
    """A table as it is read: the rows of its head, and the others."""

    head: list[Row] = field(default_factory=list)
    body: list[Row] = field(default_factory=list)
    is_cut: bool = False


@dataclass(frozen=True)
class Html:
    """What an HTML output says; `is_cut` where it goes on beyond what was read."""

    text: str
    tables: tuple[Table, ...]
    is_cut: bool


def read_html(html: str) -> Html:
    """Read so much of HTML as a reader could; broken markup is read as browsers read it."""
    head = html[:MAX_CHARACTERS]
    if is_too_deep(head):
        return Html("", (), is_cut=True)
    reader = _Reader()
    reader.feed(_well_formed(head))
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.around).splitlines())
    is_cut = len(html) > MAX_CHARACTERS or len(reader.tables) > MAX_TABLES
    text = "\n".join(line for line in lines if line)
    return Html(text, tuple(reader.tables[:MAX_TABLES]), is_cut)


def _well_formed(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(_TABLES | _BREAKS),
        clean_content_tags=set(_UNSEEN),
        attributes={"td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}},
        attribute_filter=lambda _tag, _name, value: value if _is_span(value) else None,
        link_rel=None,
    )


class _Reader(HTMLParser):
    """Reads well-formed tables; what lies in tables inside of cells is text of the cell."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.around: list[str] = []
        self.tables: list[Table] = []
        self._depth = 0
        self._in_head = False
        self._row: list[Cell] = []
        self._cell: list[str] | None = None
        self._spans = (1, 1)
        self._below: dict[int, tuple[int, Cell]] = {}  # by column: rows still to come, and what

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open what a table is made of."""
        if tag == "table":
            self._depth += 1
        if self._depth > 1 or tag in _BREAKS:
            self.handle_data("\n")
        elif tag == "table":
            self.tables.append(Table())
            self._below = {}
        elif tag == "thead":
            self._in_head = True
        elif tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            spans = dict(attrs)
            self._cell = []
            self._spans = (_span(spans.get("colspan")), _span(spans.get("rowspan")))

    def handle_endtag(self, tag: str) -> None:
        """Close it again."""
        if tag == "table":
            self._depth -= 1
        elif self._depth > 1 or tag in _BREAKS:
            self.handle_data("\n")
        elif tag == "thead":
            self._in_head = False
        elif tag == "tr":
            self._end_row()
        elif tag in ("td", "th"):
            self._end_cell(is_label=tag == "th")

    def handle_data(self, data: str) -> None:
        """Keep text for the cell that it is in, or as text around the tables."""
        if self._cell is not None:
            self._cell.append(data)
        elif not self._depth:
            self.around.append(data)

    def _end_cell(self, *, is_label: bool) -> None:
        text = " ".join("".join(self._cell or ()).split())
        cell = Cell(text[:_MAX_TEXT], is_label)
        across, down = self._spans
        self._fill()
        for _ in range(min(across, MAX_COLUMNS + 1 - len(self._row))):
            if down > 1:
                self._below[len(self._row)] = (down - 1, cell)
            self._row.append(cell)
        self._cell = None

    def _fill(self) -> None:
        """Repeat in this row what spans several rows."""
        while (at := len(self._row)) in self._below and at <= MAX_COLUMNS:
            rows, cell = self._below.pop(at)
            if rows > 1:
                self._below[at] = (rows - 1, cell)
            self._row.append(cell)

    def _end_row(self) -> None:
        self._fill()
        table = self.tables[-1]
        rows = table.head if self._in_head else table.body
        table.is_cut |= len(self._row) > MAX_COLUMNS or len(rows) >= MAX_ROWS
        if self._row and len(rows) < MAX_ROWS:
            rows.append(tuple(self._row[:MAX_COLUMNS]))


def _span(value: str | None) -> int:
    return max(1, min(int(value), _MAX_SPAN)) if value else 1


def _is_span(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _SPAN_DIGITS
