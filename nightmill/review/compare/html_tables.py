"""Reads the HTML of an output as data: the text of its tables' cells, and the text around them.

Nothing of the markup survives, so nothing of it can run: templates of ours build the tables anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import NamedTuple

MAX_CHARACTERS = 400_000
MAX_ROWS = 300
MAX_COLUMNS = 60
MAX_TABLES = 10
_MAX_TEXT = 300
_MAX_SPAN = 1000
_SPAN_DIGITS = 4

_SILENT = frozenset({"script", "style", "template", "head", "title", "svg", "math"})
_BREAKS = frozenset({"p", "div", "br", "li", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "details"})


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
    """Read so much of HTML as a reader could; broken markup is read as far as it makes sense."""
    reader = _Reader()
    reader.feed(html[:MAX_CHARACTERS])
    reader.close()
    reader.end_table()
    lines = (" ".join(line.split()) for line in "".join(reader.around).splitlines())
    is_cut = len(html) > MAX_CHARACTERS or reader.left_out
    return Html("\n".join(line for line in lines if line), tuple(reader.tables), is_cut)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.around: list[str] = []
        self.tables: list[Table] = []
        self.left_out = False
        self._depth = 0
        self._silent: list[str] = []
        self._in_head = False
        self._row: list[Cell] | None = None
        self._cell: list[str] | None = None
        self._is_label = False
        self._spans = (1, 1)
        self._below: dict[int, tuple[int, Cell]] = {}  # by column: rows still to come, and what

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open what a table is made of."""
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag == "table":
            self._depth += 1
            if self._depth == 1:
                self.tables.append(Table())
        elif self._depth == 1 and tag in ("thead", "tbody", "tfoot"):
            self._end_row()
            self._in_head = tag == "thead"
        elif self._depth == 1 and tag == "tr":
            self._end_row()
            self._row = []
        elif self._depth == 1 and tag in ("td", "th"):
            self._begin_cell(tag, dict(attrs))
        elif tag in _BREAKS:
            self._say("\n")

    def handle_endtag(self, tag: str) -> None:
        """Close it again; what was never opened closes nothing."""
        if tag in _SILENT:
            if tag in self._silent:
                del self._silent[self._silent.index(tag) :]
        elif tag == "table" and self._depth:
            if self._depth == 1:
                self.end_table()
            self._depth -= 1
        elif self._depth == 1 and tag in ("td", "th"):
            self._end_cell()
        elif self._depth == 1 and tag == "tr":
            self._end_row()
        elif tag in _BREAKS:
            self._say("\n")

    def handle_data(self, data: str) -> None:
        """Keep text where somebody would see it."""
        if not self._silent:
            self._say(data)

    def end_table(self) -> None:
        """Close the table being read, also where its end never came."""
        self._end_row()
        self._in_head, self._below = False, {}
        if len(self.tables) > MAX_TABLES:
            self.tables.pop()
            self.left_out = True

    def _say(self, text: str) -> None:
        if self._cell is not None:
            self._cell.append(text)
        elif not self._depth:
            self.around.append(text)

    def _begin_cell(self, tag: str, attrs: dict[str, str | None]) -> None:
        self._end_cell()
        self._row = self._row if self._row is not None else []
        self._cell, self._is_label = [], tag == "th"
        self._spans = (_span(attrs.get("colspan")), _span(attrs.get("rowspan")))

    def _end_cell(self) -> None:
        if self._cell is None or self._row is None:
            return
        text = " ".join("".join(self._cell).split())
        cell = Cell(text[:_MAX_TEXT], self._is_label)
        across, down = self._spans
        self._fill()
        for _ in range(min(across, MAX_COLUMNS + 1 - len(self._row))):
            if down > 1:
                self._below[len(self._row)] = (down - 1, cell)
            self._row.append(cell)
        self._cell = None

    def _fill(self) -> None:
        """Repeat in this row what spans several rows."""
        if self._row is None:
            return
        while (at := len(self._row)) in self._below and at <= MAX_COLUMNS:
            rows, cell = self._below.pop(at)
            if rows > 1:
                self._below[at] = (rows - 1, cell)
            self._row.append(cell)

    def _end_row(self) -> None:
        self._end_cell()
        self._fill()
        if self._row and self.tables:
            table = self.tables[-1]
            rows = table.head if self._in_head else table.body
            table.is_cut |= len(self._row) > MAX_COLUMNS or len(rows) >= MAX_ROWS
            if len(rows) < MAX_ROWS:
                rows.append(tuple(self._row[:MAX_COLUMNS]))
        self._row = None


def _span(value: str | None) -> int:
    text = value or ""
    is_number = text.isascii() and text.isdigit() and len(text) <= _SPAN_DIGITS
    return max(1, min(int(text), _MAX_SPAN)) if is_number else 1
