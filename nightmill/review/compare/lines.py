"""Two texts by line, as a reader likes it: what differs with a little around it, words marked.

Lines are compared as they are without what differs every night, and shown as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.model import Line, Span, TextChange

_AROUND = 3
_MAX_LINES = 1000  # of one side, between the first and last that differ
_MAX_SHOWN = 400
_MAX_LINE = 2000
_MAX_WORDS = 120
_ALIKE = 0.4  # below it two lines have so little in common that marks would only confuse

_WORD = re.compile(r"\w+|\s+|[^\w\s]")

NO_BUDGET = "too much has changed to show all of it on one page: open both notebooks"
"""What is told in place of a difference that the budget does not reach."""


class Text(NamedTuple):
    """Lines as they were, and as they are compared: equally many."""

    shown: Sequence[str]
    compared: Sequence[str]

    @classmethod
    def of(cls, shown: str, compared: str | None = None) -> Text:
        """Split a text; what is compared must have the same line breaks."""
        lines = shown.split("\n")
        return cls(lines, lines if compared is None else compared.split("\n"))


class _Block(NamedTuple):
    tag: str
    i1: int
    i2: int
    j1: int
    j2: int


def compare_lines(before: Text, after: Text, budget: Budget) -> TextChange:
    """Compare two texts by line, within the budget."""
    head, tail = _ends(before.compared, after.compared)
    sizes = [len(side.compared) - head - tail for side in (before, after)]
    old, new = (
        side.compared[head : head + min(size, _MAX_LINES)]
        for side, size in zip((before, after), sizes, strict=True)
    )
    if not budget.allows(len(old) * len(new)):
        return TextChange(cut=NO_BUDGET)
    matcher = SequenceMatcher(None, old, new, autojunk=True)
    blocks = [_Block("equal", 0, head, 0, head)]
    blocks += [_Block(tag, *(at + head for at in ats)) for tag, *ats in matcher.get_opcodes()]
    is_whole = max(sizes) <= _MAX_LINES
    if is_whole:
        ends = (len(before.compared), len(after.compared))
        blocks.append(_Block("equal", ends[0] - tail, ends[0], ends[1] - tail, ends[1]))
    told = _bounded(list(_lines(blocks, before, after, budget)), budget)
    if is_whole or not told.lines:
        return told
    counts = " and ".join(f"{size:,}" for size in sizes)
    return told.model_copy(update={"cut": f"only the beginning of {counts} lines was compared"})


def whole_text(text: str, kind: Literal["added", "removed"], budget: Budget) -> TextChange:
    """Show the lines of a text that only one side has."""
    return _bounded([_line(kind, one) for one in text.split("\n")], budget)


def _ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Return how many lines are equal at the beginning, and at the end of what is left."""
    most = min(len(one), len(other))
    head = next((at for at in range(most) if one[at] != other[at]), most)
    left = most - head
    tail = next((at for at in range(left) if one[-1 - at] != other[-1 - at]), left)
    return head, tail


def _bounded(lines: Sequence[Line], budget: Budget) -> TextChange:
    """Leave out what is beyond what anybody reads, or a page can hold."""
    hidden = len(lines) - _MAX_SHOWN
    if not budget.shows(min(len(lines), _MAX_SHOWN)):
        return TextChange(cut=NO_BUDGET)
    cut = f"{hidden:,} more lines" if hidden > 0 else ""
    return TextChange(lines=tuple(lines[:_MAX_SHOWN]), cut=cut)


def _lines(blocks: Sequence[_Block], before: Text, after: Text, budget: Budget) -> Iterator[Line]:
    found = [block for block in blocks if block.i2 > block.i1 or block.j2 > block.j1]
    for at, block in enumerate(found):
        old, new = before.shown[block.i1 : block.i2], after.shown[block.j1 : block.j2]
        if block.tag == "equal":
            yield from _equal(new, follows=at > 0, leads=at < len(found) - 1)
        else:
            yield from _different(old, new, budget)


def _equal(lines: Sequence[str], *, follows: bool, leads: bool) -> Iterator[Line]:
    """Show the equal lines that stand near a change before or after them, and count the others."""
    first, last = _AROUND * follows, _AROUND * leads
    hidden = len(lines) - first - last
    if hidden <= 1:
        yield from (_line("same", line) for line in lines)
        return
    yield from (_line("same", line) for line in lines[:first])
    yield Line(kind="gap", skipped=hidden)
    yield from (_line("same", line) for line in lines[len(lines) - last :])


def _different(old: Sequence[str], new: Sequence[str], budget: Budget) -> Iterator[Line]:
    if len(old) == len(new):
        marked = [_words(*both, budget) for both in zip(old, new, strict=True)]
        yield from (Line(kind="removed", spans=spans) for spans, _ in marked)
        yield from (Line(kind="added", spans=spans) for _, spans in marked)
    else:
        yield from (_line("removed", line) for line in old)
        yield from (_line("added", line) for line in new)


def _line(kind: Literal["same", "removed", "added"], text: str) -> Line:
    return Line(kind=kind, spans=(Span(text=_cut(text)),))


def _cut(text: str) -> str:
    if len(text) <= _MAX_LINE:
        return text
    return f"{text[:_MAX_LINE]} \N{HORIZONTAL ELLIPSIS} {len(text) - _MAX_LINE:,} more characters"


def _words(old: str, new: str, budget: Budget) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Mark the words in which two lines differ, where they are like each other and short."""
    plain = ((Span(text=_cut(old)),), (Span(text=_cut(new)),))
    if max(len(old), len(new)) > _MAX_LINE:
        return plain
    words = (_WORD.findall(old), _WORD.findall(new))
    sizes = [len(side) for side in words]
    if max(sizes) > _MAX_WORDS or not budget.allows(sizes[0] * sizes[1]):
        return plain
    matcher = SequenceMatcher(None, *words, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return plain
    codes = matcher.get_opcodes()
    return (
        _spans((words[0][i1:i2], tag) for tag, i1, i2, _, _ in codes),
        _spans((words[1][j1:j2], tag) for tag, _, _, j1, j2 in codes),
    )


def _spans(pieces: Iterator[tuple[list[str], str]]) -> tuple[Span, ...]:
    return tuple(Span(text="".join(words), marked=tag != "equal") for words, tag in pieces if words)
