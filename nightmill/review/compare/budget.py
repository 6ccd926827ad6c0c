"""How much work the texts of one comparison may cost: a page is read in the morning, not awaited.

Work is counted where it is done, in units of about a tenth of a microsecond: a pair of lines that
may have to be held against each other (difflib's worst case), a character that is searched. The
clock is a second limit, for slower machines; what is shown is a third, since a page has an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

HTML_WORK = 5
"""Units that it takes to read a character of HTML."""

_WORK = 20_000_000
_PIECES = 20_000
_DEADLINE_S = 1.5


@dataclass
class Budget:
    """What may be spent, and in `spent` and `shown` what has been.

    That is units of work, and pieces of the page: lines of texts and cells of tables.
    """

    work: int = _WORK
    pieces: int = _PIECES
    deadline_s: float = _DEADLINE_S
    clock: Callable[[], float] = time.monotonic
    spent: int = 0
    shown: int = 0
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    def allows(self, work: int) -> bool:
        """Spend so much work, if that is left and there is time."""
        if self.spent + work > self.work or self.clock() - self._begun > self.deadline_s:
            return False
        self.spent += work
        return True

    def shows(self, pieces: int) -> bool:
        """Put so many lines or cells on the page, if they still fit."""
        if self.shown + pieces > self.pieces:
            return False
        self.shown += pieces
        return True
