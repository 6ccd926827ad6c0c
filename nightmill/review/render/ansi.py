"""What a program wrote to a terminal, as lines of HTML.

Colours of all three kinds, bold, dim, italic, underlined, struck and inverse text are shown, other
orders are taken out. What a carriage return or a backspace wrote over is gone, as in a terminal.
Each line stands for itself, so that some may be folded away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from nightmill.review.render.colours import DARK, LIGHT, Rgb, hexadecimal, indexed, legible
from nightmill.review.render.markup import escape

_ORDER = re.compile(
    r"\x1b(?:\[([0-9;:]*)m|\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
)
_ERASE = re.compile(r"\x1b\[[02]?K")
_MOST_REWRITES = 50  # of a line: a progress bar writes the same place a thousand times


@dataclass(frozen=True)
class _Style:
    ink: Rgb | None = None
    paper: Rgb | None = None
    words: frozenset[str] = frozenset()
    is_inverse: bool = False


_PLAIN = _Style()
_Run = tuple[_Style, str]
_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 9: "strike"}
_OFF = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}, 29: {"strike"}}


def lines(text: str) -> Iterator[str]:
    """Return each line of a terminal's text as HTML."""
    style = _PLAIN
    for line in text.split("\n"):
        runs, style = _runs(line.removesuffix("\r"), style)
        yield "".join(_html(one, "".join(part for _, part in same)) for one, same in _grouped(runs))


def plain(text: str) -> str:
    """Return a terminal's text without its colours and other orders."""
    return _ORDER.sub("", text)


def _grouped(runs: Sequence[_Run]) -> Iterator[tuple[_Style, Iterator[_Run]]]:
    return groupby(runs, key=itemgetter(0))


def _runs(line: str, style: _Style) -> tuple[list[_Run], _Style]:
    if "\r" in line or "\b" in line:
        return _written_over(line, style)
    runs = []
    for style, text in _parts(line, style):  # noqa: B020, PLR1704 - the style goes on
        runs.append((style, text))
    return runs, style


def _parts(line: str, style: _Style) -> Iterator[_Run]:
    """Return the text between orders; at the end an empty one, for its style."""
    place = 0
    for order in _ORDER.finditer(line):
        yield style, line[place : order.start()]
        place = order.end()
        if order[1] is not None:
            style = _changed(style, order[1])
    yield style, line[place:]


def _written_over(line: str, style: _Style) -> tuple[list[_Run], _Style]:
    places: list[_Run] = []
    for rewrite in line.split("\r")[-_MOST_REWRITES:]:
        column = 0
        for number, piece in enumerate(_ERASE.split(rewrite)):
            if number:
                del places[column:]
            for style, text in _parts(piece, style):  # noqa: B020, PLR1704 - the style goes on
                column = _write(places, column, style, text)
    return places, style


def _write(places: list[_Run], column: int, style: _Style, text: str) -> int:
    for character in text:
        if character == "\b":
            column = max(0, column - 1)
            continue
        places[column : column + 1] = [(style, character)]
        column += 1
    return column


# -- styles ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _changed(style: _Style, parameters: str) -> _Style:
    numbers = [int(one[:4] or 0) for one in parameters.replace(":", ";").split(";")[:32]]
    place = 0
    while place < len(numbers):
        number = numbers[place]
        if number in (38, 48):
            colour, place = _colour(numbers, place + 1)
            style = _coloured(style, number, colour)
        else:
            style, place = _simple(style, number), place + 1
    return style


def _simple(style: _Style, number: int) -> _Style:
    if number == 0:
        return _PLAIN
    if number in _ON:
        return replace(style, words=style.words | {_ON[number]})
    if number in _OFF:
        return replace(style, words=style.words - _OFF[number])
    if number in (7, 27):
        return replace(style, is_inverse=number == 7)  # noqa: PLR2004 - as the standard has it
    return _one_of_sixteen(style, number)


def _one_of_sixteen(style: _Style, number: int) -> _Style:
    tens, unit = divmod(number, 10)
    if number in (39, 49):
        return _coloured(style, number - 1, None)
    if unit > 7 or tens not in (3, 4, 9, 10):  # noqa: PLR2004 - as the standard has it
        return style
    is_bright = tens >= 9  # noqa: PLR2004 - as the standard has it
    return _coloured(style, 38 if tens in (3, 9) else 48, indexed(unit + 8 * is_bright))


def _coloured(style: _Style, what: int, colour: Rgb | None) -> _Style:
    return replace(style, ink=colour) if what == 38 else replace(style, paper=colour)  # noqa: PLR2004 - 48 is paper


def _colour(numbers: Sequence[int], place: int) -> tuple[Rgb | None, int]:
    kind = numbers[place] if place < len(numbers) else 0
    if kind == 5 and place + 1 < len(numbers):  # noqa: PLR2004 - one of 256
        return indexed(min(255, numbers[place + 1])), place + 2
    if kind == 2 and place + 3 < len(numbers):  # noqa: PLR2004 - red, green and blue
        red, green, blue = (min(255, one) for one in numbers[place + 1 : place + 4])
        return (red, green, blue), place + 4
    return None, len(numbers)


def _html(style: _Style, text: str) -> str:
    if not text or style == _PLAIN:
        return escape(text)
    return f"<span{_attributes(style)}>{escape(text)}</span>"


@lru_cache(maxsize=1024)
def _attributes(style: _Style) -> str:
    names = sorted(style.words)
    ink, paper = (style.paper, style.ink) if style.is_inverse else (style.ink, style.paper)
    colours = ""
    if paper is not None:
        shown = hexadecimal(legible(ink or LIGHT, paper))
        colours = f"background:{hexadecimal(paper)};color:{shown}"
    elif style.is_inverse:
        names.append("inverse")
    elif ink is not None:
        names.append("ink")
        light, dark = (hexadecimal(legible(ink, one)) for one in (LIGHT, DARK))
        colours = f"--l:{light};--d:{dark}"
    classes = " ".join(f"t-{name}" for name in names)
    attributes = f' class="{classes}"' if classes else ""
    return attributes + (f' style="{colours}"' if colours else "")
