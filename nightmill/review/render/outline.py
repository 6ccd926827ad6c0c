"""One outline for the headings of all cells: a screen reader's list of them has no gaps.

Authors choose headings by their size, begin with the second level and jump to the fourth. Below the
page's own heading each may be at most one level deeper than the one before.
"""

from __future__ import annotations

import re

_HEADING = re.compile(r"<(/?)h([2-6])(?=[ >])")
_TOP = 1


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
