"""The cells of two notebooks: which is which, and what differs in its source and its outputs.

A cell is found again by its id and source, then by its source alone (not all notebooks have
lasting ids), then by its id, and at last by what it has in common with one at the same place. So a
cell keeps its partner when others come, go or move, and ids that were made anew do no harm.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence

from nightmill.review.compare.budget import Budget
from nightmill.review.compare.contents import Cell
from nightmill.review.compare.lines import Text, compare_lines, whole_text
from nightmill.review.compare.model import (
    CellChange,
    Change,
    Counts,
    OutputChange,
    TextChange,
    change_of,
)
from nightmill.review.compare.outputs import compare_outputs
from nightmill.review.compare.pairs import Pairs, in_order, moved, pair

_ALIKE = 0.3  # of the words of both cells are in both
_NEIGHBOURS = 8  # that a cell without a partner is held against
_MAX_WORDS = 2000
_WORD = re.compile(r"\w+")

_Two = tuple[Cell | None, Cell | None]


def compare_cells(
    before: Sequence[Cell], after: Sequence[Cell], budget: Budget
) -> tuple[CellChange, ...]:
    """Compare all cells, in the order of the later notebook; sources first, as budgets go."""
    pairs = pair_cells(before, after)
    elsewhere = moved(pairs)
    places = list(in_order(pairs, len(before), len(after)))
    cells: list[_Two] = [
        (None if old is None else before[old], None if new is None else after[new])
        for old, new in places
    ]
    sources = [_source(*two, budget) for two in cells]
    return tuple(
        _change(two, lines, _outputs(*two, budget), moved=new in elsewhere)
        for two, lines, (_old, new) in zip(cells, sources, places, strict=True)
    )


def count(cells: Sequence[CellChange]) -> Counts:
    """Count how many cells are how."""
    return Counts(
        cells=len(cells),
        source=sum(cell.moved or cell.source is not Change.SAME for cell in cells),
        outputs=sum(cell.has_other_outputs for cell in cells),
        volatile=sum(not cell.has_other_outputs and _is_volatile(cell) for cell in cells),
        ran_once=sum(cell.ran_once for cell in cells),
    )


def _is_volatile(cell: CellChange) -> bool:
    return any(one.note for one in cell.outputs)


def _change(
    two: _Two, lines: TextChange | None, outputs: tuple[OutputChange, ...], *, moved: bool
) -> CellChange:
    before, after = two
    cell = after or before
    if cell is None:
        raise ValueError("a cell of neither side")
    is_same = all(one.change is Change.SAME for one in outputs)
    ran_once = before is not None and after is not None and before.ran != after.ran
    return CellChange(
        kind=cell.kind,
        title=cell.title,
        number_before=before and before.number,
        number_after=after and after.number,
        source=change_of(before and before.sha256, after and after.sha256),
        moved=moved,
        ran_once=ran_once,
        lines=lines,
        outputs=outputs,
        outputs_change=Change.SAME if is_same else _side(two),
    )


def _side(two: _Two) -> Change:
    before, after = (bool(cell and cell.outputs) for cell in two)
    return change_of(before or None, after or None) if before != after else Change.CHANGED


def _source(before: Cell | None, after: Cell | None, budget: Budget) -> TextChange | None:
    if before and after:
        if before.sha256 == after.sha256:
            return None
        return compare_lines(Text.of(before.source), Text.of(after.source), budget)
    if after:
        return whole_text(after.source, "added", budget)
    return whole_text(before.source, "removed", budget) if before else None


def _outputs(before: Cell | None, after: Cell | None, budget: Budget) -> tuple[OutputChange, ...]:
    if before and after and before.ran != after.ran:
        return ()
    return compare_outputs(before.outputs if before else (), after.outputs if after else (), budget)


# -- which cell is which --------------------------------------------------------------------------


def pair_cells(before: Sequence[Cell], after: Sequence[Cell]) -> Pairs:
    """Pair the cells of two notebooks, by their places in the two sequences."""
    pairs = pair(
        before,
        after,
        lambda cell: (cell.kind, cell.id, cell.sha256) if cell.id else None,
        lambda cell: (cell.kind, cell.sha256),
        lambda cell: (cell.kind, cell.id) if cell.id else None,
    )
    return pairs | _alike(before, after, pairs)


def _alike(before: Sequence[Cell], after: Sequence[Cell], pairs: Pairs) -> Pairs:
    """Pair what is left between the same two partners, where it has enough in common."""
    partners = {old: new for new, old in pairs.items()}
    waiting: defaultdict[Hashable, list[int]] = defaultdict(list)
    for old, gap in _gaps(len(before), partners):
        waiting[gap, before[old].kind].append(old)
    found: Pairs = {}
    anchors = {new: new for new in pairs}
    for new, gap in _gaps(len(after), anchors):
        candidates = waiting.get((gap, after[new].kind), [])
        near = [(_likeness(before[old], after[new]), -old) for old in candidates[:_NEIGHBOURS]]
        likeness, place = max(near, default=(0.0, 0))
        if likeness >= _ALIKE:
            found[new] = -place
            candidates.remove(-place)
    return found


def _gaps(length: int, anchors: Pairs) -> list[tuple[int, int | None]]:
    """Return the places without a partner, each with the later place of the partner before it."""
    gaps, anchor = [], None
    for place in range(length):
        if place in anchors:
            anchor = anchors[place]
        else:
            gaps.append((place, anchor))
    return gaps


def _likeness(one: Cell, other: Cell) -> float:
    """Return how many of the words of two cells both have, from 0 to 1."""
    words = [set(_WORD.findall(cell.source)[:_MAX_WORDS]) for cell in (one, other)]
    total = len(words[0]) + len(words[1])
    return 2 * len(words[0] & words[1]) / total if total else 0.0
