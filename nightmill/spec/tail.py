"""The end of what a cell said, for a log: enough to see why it failed without opening the notebook.

Lines as a terminal would have left them: colours gone, progress bars as they last stood, and
nothing that could move or colour the log of whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.spec import words
from nightmill.spec.executed import text_of

LINES = 20
OUTPUT_LINES = 8  # at least, beside a long traceback
LINE_CHARACTERS = 200

_READ_CHARACTERS = 100_000  # of one output: a flood has no more to say


def tail_of(notebook: Mapping[str, Any], cell: int) -> tuple[str, ...]:
    """Return the last lines of what the cell of this number printed, and of its traceback."""
    outputs = _outputs(notebook, cell)
    printed = [line for one in outputs for line in _lines(text_of(one.get("text")))]
    raised = [line for one in outputs for line in _lines(_traceback(one))]
    raised = raised[-(LINES - min(len(printed), OUTPUT_LINES)) :]
    room = LINES - len(raised)
    return (*printed[len(printed) - min(room, len(printed)) :], *raised)


def _outputs(notebook: Mapping[str, Any], number: int) -> list[Mapping[str, Any]]:
    """Return the outputs of the cell; of two with one number the last that has any."""
    found: list[Mapping[str, Any]] = []
    for cell in notebook["cells"]:
        mine = (cell.get("metadata") or {}).get("nightmill") or {}
        if mine.get("number") == number:
            found = [one for one in cell.get("outputs") or () if isinstance(one, Mapping)] or found
    return found


def _traceback(output: Mapping[str, Any]) -> str:
    if output.get("output_type") != "error":
        return ""
    whole = "\n".join(map(text_of, output.get("traceback") or ()))
    return whole or f"{text_of(output.get('ename'))}: {text_of(output.get('evalue'))}"


def _lines(text: str) -> Iterator[str]:
    for line in words.plain(text[-_READ_CHARACTERS:]).split("\n"):
        kept = words.printable(line.rstrip())
        if kept.strip():
            yield words.shortened(kept, LINE_CHARACTERS)
