"""One outline for the headings of all cells: a screen reader's list of them has no gaps.

Authors choose headings by their size, begin with the second level and jump to the fourth. Below the
page's own heading each may be at most one level deeper than the one before. The headings of text
cells are also the table of contents of a long notebook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from nightmill.review.render.cells import Cell
from nightmill.review.render.markup import escape, shortened

_HEADING = re.compile(r"<(/?)h([2-6])(?=[ >])")
_TOP = 1
_TITLE = re.compile(r" {0,3}#{1,3}[ \t]+(\S.*)")
_FENCES = ("```", "~~~")
_FEWEST = 3  # of fewer headings nobody needs a list
_MOST = 100
_LONGEST = 100


class Outline:
    """The headings so far; give it what is shown, in the order in which it is shown."""

    def __init__(self) -> None:
        self._last = _TOP

    def ordered(self, html: str) -> str:
        """Return sanitized HTML with its headings at levels that follow on those before."""
        return _HEADING.sub(self._renumbered, html)

    def _renumbered(self, found: re.Match[str]) -> str:
        if not found[1]:
            self._last = min(int(found[2]), self._last + 1)
        return f"<{found[1]}h{self._last}"


def contents(cells: Sequence[Cell]) -> str:
    """Return a list of the notebook's headings that leads to their cells; empty for few of them."""
    found = list(islice(_titles(cells), _MOST))
    if len(found) < _FEWEST:
        return ""
    items = "".join(
        f'<li dir="auto"><a href="#{cell.anchor}">{escape(shortened(title, _LONGEST))}</a></li>'
        for cell, title in found
    )
    return f'<details class="contents"><summary>Contents</summary><ol>{items}</ol></details>'


def _titles(cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    for cell in cells:
        is_code = False
        for line in cell.source.split("\n") if cell.kind == "markdown" else ():
            is_code ^= line.lstrip().startswith(_FENCES)
            title = None if is_code else _TITLE.match(line)
            if title:
                yield cell, title[1].rstrip("# ").replace("*", "").replace("`", "")
