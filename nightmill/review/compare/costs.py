"""Time and memory of two attempts, by cell and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightmill.review.compare.model import CellChange, Cost, Measure
from nightmill.spec.record import CellRecord, Record

_RATIO = 1.25
_NOTABLE_S = 1.0
_NOTABLE_BYTES = 50 << 20


def total(before: Record, after: Record) -> Cost:
    """Compare what the attempts took in all."""
    peaks = [one.memory.peak_bytes if one.memory else None for one in (before, after)]
    return Cost(
        number=None,
        title="in all",
        duration=_measure(before.duration_s, after.duration_s, least=_NOTABLE_S),
        memory=_measure(peaks[0], peaks[1], least=_NOTABLE_BYTES),
    )


def by_cell(before: Record, after: Record, cells: Sequence[CellChange]) -> tuple[Cost, ...]:
    """Compare what each cell took that both have, in the order of the later notebook."""
    then, now = _by_number(before), _by_number(after)
    return tuple(
        _cost(then[cell.number_before], now[cell.number_after])
        for cell in cells
        if cell.kind == "code" and cell.number_before in then and cell.number_after in now
    )


def _by_number(record: Record) -> Mapping[int | None, CellRecord]:
    return {cell.number: cell for cell in record.cells if not cell.injected}


def _cost(before: CellRecord, after: CellRecord) -> Cost:
    return Cost(
        number=after.number,
        title=after.title,
        duration=_measure(before.duration_s, after.duration_s, least=_NOTABLE_S),
        memory=_measure(before.peak_memory_bytes, after.peak_memory_bytes, least=_NOTABLE_BYTES),
    )


def _measure(before: float | None, after: float | None, *, least: float) -> Measure:
    """Compare two measures; a change is notable by a quarter, and by so much that it matters."""
    if before is None or after is None:
        return Measure(before=before, after=after, ratio=None, notable=False)
    ratio = after / before if before else None
    is_other = ratio is None or not 1 / _RATIO < ratio < _RATIO
    is_notable = is_other and abs(after - before) >= least
    return Measure(before=before, after=after, ratio=ratio, notable=is_notable)
