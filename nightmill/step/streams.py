"""Text that a cell printed, as a terminal would show it in the end.

A kernel sends a message a print or a tick of a progress bar. Neighbouring pieces become one output
here, and carriage returns and backspaces do what they do on a terminal, in one pass over the text:
nbclient's own way takes hours for a line of some megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any


def merge_streams(outputs: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Merge neighbouring streams of one name; order against plots and tables stays.

    Returns the new outputs, and for each old one the position of the new one that holds it.
    """
    merged: list[Any] = []
    positions: list[int] = []
    for name, group in groupby(outputs, key=_stream_name):
        pieces = list(group)
        if name is None:
            positions += range(len(merged), len(merged) + len(pieces))
            merged += pieces
        else:
            positions += [len(merged)] * len(pieces)
            pieces[0]["text"] = as_shown("".join(piece["text"] for piece in pieces))
            merged.append(pieces[0])
    return merged, positions


def as_shown(text: str) -> str:
    """Return what a terminal shows of the text once all of it is printed."""
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join(_line_as_shown(line) for line in text.replace("\r\n", "\n").split("\n"))


def _line_as_shown(line: str) -> str:
    kept = line.rstrip("\r").rpartition("\r")[2]
    if "\b" not in kept:
        return kept
    shown: list[str] = []
    for character in kept:
        if character != "\b":
            shown.append(character)
        elif shown:
            shown.pop()
    return "".join(shown)


def _stream_name(output: Any) -> str | None:
    return str(output["name"]) if output["output_type"] == "stream" else None
