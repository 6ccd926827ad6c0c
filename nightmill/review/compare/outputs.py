"""Two outputs of one kind: what differs, in the way that suits the kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from nightmill.review.compare import volatile
from nightmill.review.compare.budget import HTML_WORK, Budget
from nightmill.review.compare.contents import MAX_TEXT, Kind, Output
from nightmill.review.compare.html_tables import MAX_CHARACTERS, Html, read_html
from nightmill.review.compare.lines import NO_BUDGET, Text, compare_lines, whole_text
from nightmill.review.compare.model import (
    Change,
    ImageChange,
    OutputChange,
    TableChange,
    TextChange,
)
from nightmill.review.compare.pairs import in_order, pair
from nightmill.review.compare.tables import compare_tables
from nightmill.spec import words

_MAX_OUTPUTS = 50  # of one cell
_STEADY: dict[Kind, Callable[[str], volatile.Steady]] = {
    Kind.STDOUT: volatile.printed,
    Kind.STDERR: volatile.printed,
}


def compare_outputs(
    before: Sequence[Output], after: Sequence[Output], budget: Budget
) -> tuple[OutputChange, ...]:
    """Compare the outputs of one cell, in the order of the later side."""
    pairs = pair(before, after, lambda one: one.sha256, lambda one: one.kind)
    places = in_order(pairs, len(before), len(after))
    changes = [
        _compare(None if old is None else before[old], None if new is None else after[new], budget)
        for old, new in places
    ]
    differing = [one for one in changes if one.change is not Change.SAME]
    if len(differing) <= _MAX_OUTPUTS:
        return tuple(changes)
    more = f"{len(differing) - _MAX_OUTPUTS:,} more outputs differ"
    return (*differing[:_MAX_OUTPUTS], OutputChange(kind="", change=Change.CHANGED, note=more))


def _compare(before: Output | None, after: Output | None, budget: Budget) -> OutputChange:
    if before is None or after is None:
        return _alone(before, after, budget)
    if before.sha256 == after.sha256:
        return OutputChange(kind=after.kind, change=Change.SAME)
    if after.kind is Kind.IMAGE:
        return _images(before, after)
    if not budget.allows(_work(before) + _work(after)):
        return _unread(after.kind)
    return (
        _html(before, after, budget) if after.kind is Kind.HTML else _texts(before, after, budget)
    )


def _work(output: Output) -> int:
    if output.kind is Kind.HTML:
        return min(len(output.text), MAX_CHARACTERS) * HTML_WORK
    return len(output.text)


def _unread(kind: Kind) -> OutputChange:
    return OutputChange(kind=kind, change=Change.CHANGED, text=TextChange(cut=NO_BUDGET))


def _alone(before: Output | None, after: Output | None, budget: Budget) -> OutputChange:
    """Show an output that only one side has."""
    change = Change.ADDED if before is None else Change.REMOVED
    output = after or before
    if output is None:
        raise ValueError("an output of neither side")
    if output.image is not None:
        image = ImageChange(before=before and before.image, after=after and after.image)
        return OutputChange(kind=output.kind, change=change, image=image)
    if not budget.allows(_work(output)):
        return _unread(output.kind).model_copy(update={"change": change})
    tables: tuple[TableChange, ...] = ()
    if output.kind is Kind.HTML:
        html = read_html(output.text)
        text = html.text
        tables = tuple(_tables(html if before else None, html if after else None, budget))
    else:
        text = words.plain(output.text).rstrip("\n")
    lines = whole_text(text, "removed" if before else "added", budget) if text else None
    return OutputChange(kind=output.kind, change=change, text=lines, tables=tables)


def _images(before: Output, after: Output) -> OutputChange:
    if before.steady and before.steady == after.steady:
        return _only_volatile(after.kind, before.without | after.without)
    image = ImageChange(before=before.image, after=after.image)
    return OutputChange(kind=after.kind, change=Change.CHANGED, image=image)


def _texts(before: Output, after: Output, budget: Budget) -> OutputChange:
    steady = _STEADY.get(after.kind, volatile.text)
    old, new = (words.plain(one.text) for one in (before, after))
    if old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]  # else an empty line would end every difference
    then, now = steady(old), steady(new)
    is_cut = before.is_cut or after.is_cut
    if then.text == now.text and not is_cut:
        return _only_volatile(after.kind, then.without | now.without)
    lines = compare_lines(Text.of(old, then.text), Text.of(new, now.text), budget)
    if is_cut:
        lines = lines.model_copy(update={"cut": _beyond(after.kind, lines.cut)})
    return OutputChange(kind=after.kind, change=Change.CHANGED, text=lines)


def _beyond(kind: Kind, cut: str) -> str:
    most = (
        "nothing of data this large" if kind is Kind.DATA else f"the first {MAX_TEXT:,} characters"
    )
    said = f"compared by line: {most}; the whole differs"
    return f"{cut}; {said}" if cut else said


def _html(before: Output, after: Output, budget: Budget) -> OutputChange:
    then, now = volatile.html(before.text), volatile.html(after.text)
    is_cut = before.is_cut or after.is_cut
    if then.text == now.text and not is_cut:
        return _only_volatile(after.kind, then.without | now.without)
    old, new = read_html(before.text), read_html(after.text)
    around = [Text.of(one.text, volatile.text(one.text).text) for one in (old, new)]
    is_same = around[0].compared == around[1].compared
    text = None if is_same else compare_lines(around[0], around[1], budget)
    tables = tuple(one for one in _tables(old, new, budget) if one.summary or one.cut)
    note = "" if text or tables else "the same text and cells; what differs is how they are shown"
    if is_cut or old.is_cut or new.is_cut:
        note = "; ".join(filter(None, [note, "only its beginning was compared"]))
    return OutputChange(kind=after.kind, change=Change.CHANGED, note=note, text=text, tables=tables)


def _tables(before: Html | None, after: Html | None, budget: Budget) -> Iterator[TableChange]:
    sides = [one.tables if one else () for one in (before, after)]
    for old, new in zip_longest(*sides):
        yield compare_tables(old, new, budget)


def _only_volatile(kind: Kind, without: frozenset[str]) -> OutputChange:
    what = " and ".join(sorted(without)) or "colours"
    return OutputChange(kind=kind, change=Change.SAME, note=f"the same but for {what}")
