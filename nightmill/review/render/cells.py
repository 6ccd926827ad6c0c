"""The cells of a sheet with what is known of each, from its own metadata and from the record.

Numbers are the author's, see `nightmill.spec.executed`: the cell that papermill injects has the
number of the parameters cell, cells that mark an error have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from nightmill.review.render.markup import shortened
from nightmill.review.render.page import NotebookPage
from nightmill.review.render.reading import Sheet
from nightmill.spec.executed import items, moment_of, part, seconds_of, text_of
from nightmill.spec.record import CellRecord, CellState

_MOST_NUMBER = 1_000_000
_TITLE_CHARS = 80
_ENDED = (CellState.FAILED, CellState.INTERRUPTED)


class Role(StrEnum):
    """What a cell is for, where it is not just a step of the author's thought."""

    NONE = ""
    PARAMETERS = "parameters"
    INJECTED = "injected-parameters"
    MARKER = "papermill-error-cell-tag"


@dataclass(frozen=True)
class Cell:
    """One cell; `index` counts from 0 over all that are in the file, `anchor` is its name."""

    index: int
    kind: str
    source: str
    outputs: Sequence[Any]
    attachments: Mapping[str, Any]
    role: Role
    number: int | None
    anchor: str
    title: str = ""
    state: CellState | None = None
    execution_count: int | None = None
    started_at: datetime | None = None
    duration_s: float | None = None
    peak_memory_bytes: int | None = None
    spilled: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        if self.number is None:
            return "Note"
        return f"Cell {self.number}" + (" (injected)" if self.role is Role.INJECTED else "")

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The errors that it shows."""
        shown = [one for one in self.outputs if isinstance(one, Mapping)]
        return [one for one in shown if one.get("output_type") == "error" or "ename" in one]


def cells_of(sheet: Sheet, page: NotebookPage) -> list[Cell]:
    """Describe every cell of a sheet, up to the page's limit."""
    return list(_described(sheet.cells[: page.limits.cells], page))


def failing_cell(cells: Sequence[Cell], page: NotebookPage) -> Cell | None:
    """Find the cell at which the notebook ended early, if it did so in a cell."""
    own = [one for one in cells if one.kind == "code" and one.number is not None]
    named = [one for one in own if one.number == page.failing]
    ended = [one for one in own if one.state in _ENDED]
    if named:
        return next((one for one in named if one in ended), named[-1])
    return ended[-1] if ended else None


def _described(found: Sequence[Any], page: NotebookPage) -> Iterator[Cell]:
    authors, taken = 0, set[str]()
    for index, raw in enumerate(found):
        cell = raw if isinstance(raw, Mapping) else {"cell_type": "unknown", "source": text_of(raw)}
        role = _role(cell)
        authors += role not in (Role.INJECTED, Role.MARKER)
        number = None if role is Role.MARKER else _number(cell, max(1, authors))
        anchor = _anchor(number, role, index, taken)
        yield _cell(cell, index, role=role, number=number, anchor=anchor, page=page)


def _cell(  # noqa: PLR0913 - where a cell stands has three parts
    cell: Mapping[str, Any],
    index: int,
    *,
    role: Role,
    number: int | None,
    anchor: str,
    page: NotebookPage,
) -> Cell:
    mine = part(part(cell, "metadata"), "nightmill")
    kind = cell.get("cell_type")
    kind = kind if isinstance(kind, str) and kind else "unknown"
    record = page.cells.get(number) if number is not None and kind == "code" else None
    if record is not None and record.injected != (role is Role.INJECTED):
        record = None  # of the other cell with this number
    return Cell(
        index=index,
        kind=kind,
        source=text_of(cell.get("source", cell.get("input"))),
        outputs=items(cell, "outputs"),
        attachments=part(cell, "attachments"),
        role=role,
        number=number,
        anchor=anchor,
        title=shortened(text_of(record.title if record else mine.get("title")), _TITLE_CHARS),
        execution_count=_small(cell.get("execution_count")),
        **(_recorded(record) if record else _noted(cell)),
    )


def _recorded(record: CellRecord) -> dict[str, Any]:
    return {
        "state": record.state,
        "started_at": record.started_at,
        "duration_s": record.duration_s,
        "peak_memory_bytes": record.peak_memory_bytes,
        "spilled": tuple((one.address, one.size) for one in record.spilled),
    }


def _noted(cell: Mapping[str, Any]) -> dict[str, Any]:
    metadata = part(cell, "metadata")
    mine, timing = part(metadata, "nightmill"), part(metadata, "papermill")
    return {
        "state": _state(cell, mine),
        "started_at": moment_of(timing.get("start_time")),
        "duration_s": seconds_of(timing.get("duration")),
        "spilled": tuple(_spilled(mine.get("spilled"))),
    }


def _anchor(number: int | None, role: Role, index: int, taken: set[str]) -> str:
    plain = f"cell-{number}" + ("-injected" if role is Role.INJECTED else "")
    anchor = plain if number is not None and plain not in taken else f"at-{index}"
    taken.add(anchor)
    return anchor


def _role(cell: Mapping[str, Any]) -> Role:
    tags = items(part(cell, "metadata"), "tags")
    return next((role for role in reversed(Role) if role and role.value in tags), Role.NONE)


def _number(cell: Mapping[str, Any], position: int) -> int:
    number = _small(part(part(cell, "metadata"), "nightmill").get("number"))
    return number or position


def _small(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _MOST_NUMBER else None


def _state(cell: Mapping[str, Any], mine: Mapping[str, Any]) -> CellState | None:
    with suppress(ValueError):
        return CellState(str(mine.get("state")))
    shown = items(cell, "outputs")
    is_bad = any(isinstance(one, Mapping) and one.get("output_type") == "error" for one in shown)
    return CellState.FAILED if is_bad else None


def _spilled(value: object) -> Iterator[tuple[str, int]]:
    for one in value if isinstance(value, list) else ():
        address, size = (one.get("address"), one.get("size")) if isinstance(one, dict) else (0, 0)
        if isinstance(address, str) and isinstance(size, int) and size >= 0:
            yield shortened(address, 500), min(size, 1 << 60)
