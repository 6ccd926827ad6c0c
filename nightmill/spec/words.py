"""The one line that says why an attempt ended, the same in record, log, terminal and notification.

    out_of_memory in cell 14/22 "Score the day": 7.9 of 8.0 GiB; next attempt on highmem; notebook:
    <address>#cell-14

Its first part is the failure's message. What happens next only the launcher knows, which puts its
decision in between. Titles and errors were written by others: they are cut to one line and hold
nothing that could move, colour or reorder a terminal.
"""

from __future__ import annotations

import re
import unicodedata

from nightmill.causes import Cause

MESSAGE_CHARACTERS = 300
TITLE_CHARACTERS = 80

ERROR = "ERROR "
WARNING = "WARNING "
"""How a line of a step's log begins that is not just news, and whoever shows it may colour it."""

_ANSI = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_ROUNDED_UP = 1023.5  # of a unit, told as one of the next


def describe(
    cause: Cause,
    what: str,
    *,
    cell: int | None = None,
    cells: int | None = None,
    title: str | None = None,
) -> str:
    """Return a failure's message: cause, cell by its author's number, and what happened."""
    place = "" if cell is None else f" in cell {cell}" + (f"/{cells}" if cells else "")
    if place and title:
        place += f' "{shortened(one_line(title), TITLE_CHARACTERS)}"'
    said = one_line(what).removeprefix(f"{cause}: ") or "no message"
    return shortened(f"{cause}{place}: {said}", MESSAGE_CHARACTERS)


def tell(message: str, *, decision: str = "", notebook: str = "", cell: int | None = None) -> str:
    """Return the whole line: a failure's message, what happens next, and where to look."""
    parts = [one_line(message), decision]
    if notebook:
        parts.append(f"notebook: {notebook}" + ("" if cell is None else f"#cell-{cell}"))
    return "; ".join(part for part in parts if part)


def one_line(text: str) -> str:
    """Return the first line that says something, inert and with single spaces."""
    lines = (" ".join(printable(line).split()) for line in plain(text).splitlines())
    return next((line for line in lines if line), "")


def plain(text: str) -> str:
    """Take out colours and other orders to a terminal, and what a carriage return wrote over."""
    lines = _ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def printable(line: str) -> str:
    """Escape every character that could move, colour or reorder a terminal; line breaks too."""
    return "".join(map(_printable_character, line))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    is_space = character == "\t" or unicodedata.category(character) == "Zs"
    return " " if is_space else ascii(character)[1:-1]


def shortened(text: str, most: int) -> str:
    """Cut text to so many characters, and say that it was."""
    return text if len(text) <= most else f"{text[: most - 3].rstrip()}..."


def amount(count: int) -> str:
    """Return bytes as 812 KiB, 3.4 MiB or 7.9 GiB."""
    value, unit = _scaled(count)
    return f"{_digits(value, unit)} {unit}"


def amount_of(count: int, limit: int) -> str:
    """Return bytes beside their limit, in the limit's unit: 7.9 of 8.0 GiB."""
    value, unit = _scaled(limit)
    return f"{_digits(count / 1024 ** _UNITS.index(unit), unit)} of {_digits(value, unit)} {unit}"


def memory(peak: int | None, limit: int | None) -> str:
    """Return how much memory was used, of how much where that is known; empty for nothing."""
    if not peak:
        return ""
    return amount_of(peak, limit) if limit else amount(peak)


def _scaled(count: int) -> tuple[float, str]:
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < _ROUNDED_UP:
            return value, unit
        value /= 1024
    return value, _UNITS[-1]


def _digits(value: float, unit: str) -> str:
    return f"{value:.0f}" if value >= 100 or unit == "B" else f"{value:.1f}"  # noqa: PLR2004 - three digits are enough


def chosen(count: int) -> str:
    """Return bytes that somebody chose, without a fraction of zero: 16 GiB, 1.5 GiB."""
    return amount(count).replace(".0 ", " ")


def span(seconds: float) -> str:
    """Return a span that somebody chose: 0.5 s, 40 s, 90 s, 5 min, 2 h, 1 h 30 min."""
    minutes, rest = divmod(round(seconds), 60)
    if rest or not minutes:
        return f"{seconds:.1f} s" if 0 < seconds < 1 else f"{round(seconds)} s"
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
