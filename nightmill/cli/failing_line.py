"""The line of the notebook at which a cell failed, out of the traceback that its kernel wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from nightmill.spec.words import plain, shortened

_CHARACTERS = 120

# How IPython heads a frame of a cell, in its several versions, and one of anything else.
_CELL = re.compile(r"\s*(?:(?:Cell|Input) In ?\[|<ipython-input-)(\d+)")
_ELSEWHERE = re.compile(r"\s*(?:File |/|~/)")
_ARROW = re.compile(r"-+> ?(\d+) ?(.*)")
_SYNTAX = re.compile(r"\s+Cell In ?\[\d+\], line (\d+)")  # without an arrow: the source is below


class _Frame(NamedTuple):
    cell: str  # as the kernel counts what it ran
    line: str
    source: str


def failing_line(traceback: Sequence[str]) -> str:
    """Say which line of the notebook was called last; empty where the traceback does not tell.

    The first frame is of the cell that failed; a function may have come from another one.
    """
    frames = list(_frames(plain("\n".join(traceback))))
    if not frames:
        return ""
    first, last = frames[0], frames[-1]
    place = "" if last.cell == first.cell else " of another cell"
    return shortened(f"line {last.line}{place}: {last.source.strip()}", _CHARACTERS)


def _frames(traceback: str) -> Iterator[_Frame]:
    cell = ""
    for line, below in pairwise([*traceback.split("\n"), ""]):
        if head := _CELL.match(line):
            cell = head[1]
            if syntax := _SYNTAX.match(line):
                yield _Frame(cell, syntax[1], below)
        elif _ELSEWHERE.match(line):
            cell = ""
        elif cell and (arrow := _ARROW.match(line)):
            yield _Frame(cell, arrow[1], arrow[2])
