"""Text of any length: what a person reads stands there, the middle of long text is folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from nightmill.review.render import ansi
from nightmill.review.render.markup import link
from nightmill.review.words import counted

_LINES = 80  # more are folded, for streams
_TRACEBACK_LINES = 60
_HEAD_OF_TRACEBACK = 8  # where it was called; its end, where it happened, is longer
_LONGEST_LINE = 20_000  # layout of a single line is slow


@dataclass(frozen=True)
class Amounts:
    """How many characters of a text are shown at once, how many at all; where the whole is."""

    shown: int
    at_all: int
    address: str | None = None


def preformatted(text: str, amounts: Amounts, *, kind: str = "text") -> str:
    """Return text of a terminal, with the middle folded if it is long."""
    text, left_out = _cut(text, amounts.at_all)
    lines = _rendered(text)
    many = len(lines) > _LINES or len(text) > amounts.shown
    head, tail = _places(lines, amounts.shown // 2) if many else (len(lines), len(lines))
    html = _folded(lines, head, tail, kind=kind)
    return html + _whole(left_out, amounts.address)


def traceback(text: str, amounts: Amounts) -> str:
    """Return a traceback: where it began, and above all where it ended."""
    text, left_out = _cut(text, amounts.at_all)
    lines = _rendered(text)
    head = tail = len(lines)
    if len(lines) > _TRACEBACK_LINES:
        head, tail = _HEAD_OF_TRACEBACK, len(lines) - (_TRACEBACK_LINES - _HEAD_OF_TRACEBACK) // 2
    return _folded(lines, head, tail, kind="traceback") + _whole(left_out, amounts.address)


def _cut(text: str, most: int) -> tuple[str, int]:
    """Leave out the middle of what is too long for any page; return how many characters."""
    if len(text) <= most:
        return text, 0
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n… {left_out:,} characters are left out here …\n{text[-half:]}", left_out


def _whole(left_out: int, address: str | None) -> str:
    if not left_out or address is None:
        return ""
    return f'<p class="note">{link(address, "Open the whole text")}</p>'


def _rendered(text: str) -> list[str]:
    return list(ansi.lines("\n".join(_broken(text)).removesuffix("\n")))


def _broken(text: str) -> Iterator[str]:
    """Break lines that nobody can read as one; rewritten ones are not as long as they look."""
    for line in text.split("\n"):
        if len(line) <= _LONGEST_LINE or "\r" in line:
            yield line
        else:
            starts = range(0, len(line), _LONGEST_LINE)
            yield from (line[start : start + _LONGEST_LINE] for start in starts)


def _places(lines: Sequence[str], chars: int) -> tuple[int, int]:
    """Find where the fold begins and ends: half of the lines and characters on each side."""
    half = _LINES // 2
    head = _fitting(lines, chars, half)
    tail = len(lines) - _fitting(lines[::-1], chars, half)
    return head, max(head, tail)


def _fitting(lines: Sequence[str], chars: int, most: int) -> int:
    used = number = 0
    for number, line in enumerate(islice(lines, most)):
        used += len(line) + 1
        if used > chars:
            return max(1, number)
    return min(most, len(lines))


def _folded(lines: Sequence[str], head: int, tail: int, *, kind: str) -> str:
    if head >= tail:
        return _pre(lines, kind)
    middle = lines[head:tail]
    summary = f"<summary>{counted(len(middle), 'more line')}</summary>"
    fold = f'<details class="fold">{summary}{_pre(middle, kind)}</details>'
    return _pre(lines[:head], kind) + fold + _pre(lines[tail:], kind)


def _pre(lines: Sequence[str], kind: str) -> str:
    text = "\n".join(lines)
    return f'<pre class="{kind}" tabindex="0" dir="auto">\n{text}</pre>' if lines else ""
