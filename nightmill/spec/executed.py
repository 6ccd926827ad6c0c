"""An executed notebook as plain JSON: what its cells say, and the truth where its engine died.

Apart from the ledger that writes such notebooks, because whoever reads or closes one from outside
(the supervisor, a worker of Airflow, the command line) has no library for notebooks. What is found
after a kill may be older than the truth and may have passed through other hands: metadata that is
missing or odd is survived, and no cell is called completed that does not say so itself.

Positions are 1-based over the cells that the engine ran through, as in its events; numbers are the
author's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nightmill.spec.states import CellState

if TYPE_CHECKING:
    from nightmill.spec.record import CellRecord, Spilled

Notebook = Mapping[str, Any]

PAPERMILL_STATUS = {CellState.NOT_RUN: "pending", CellState.INTERRUPTED: "failed"}
"""What papermill's metadata calls our states, where it has another word."""

_PASSED = (
    "how this cell ended is not known: the notebook was kept before, and a later cell had begun"
)
_LONGEST_S = 1e9  # of a cell: thirty years; beyond, it is no duration
_ENDED = (CellState.INTERRUPTED, CellState.FAILED)


@dataclass(frozen=True)
class End:
    """The cell at which an execution ended early, and the last error it shows."""

    number: int
    title: str
    state: CellState
    ename: str | None = None
    evalue: str | None = None
    traceback: tuple[str, ...] = ()


def parse(data: bytes) -> dict[str, Any] | None:
    """Read an executed notebook; None for what is no notebook."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    is_notebook = isinstance(found, dict) and isinstance(found.get("cells"), list)
    return found if is_notebook else None


def notebook_bytes(notebook: Any) -> bytes:
    """Return a notebook as UTF-8 JSON; a lone surrogate becomes the replacement character."""
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return valid_unicode(text).encode()


def valid_unicode(text: str) -> str:
    """Return the text with lone surrogates replaced, so that any encoder of ours can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def error_output(ename: str, evalue: str) -> dict[str, Any]:
    """Make the output that shows an error which the kernel could not report itself."""
    return {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": [evalue]}


# -- what it says ---------------------------------------------------------------------------------


def describe_cells(
    notebook: Notebook, peaks: Mapping[int, int] | None = None
) -> tuple[CellRecord, ...]:
    """Return a record of each code cell; cells that papermill added to mark an error are none.

    `peaks` are bytes of memory by position.
    """
    return tuple(
        _describe(cell, position, (peaks or {}).get(position))
        for position, cell in enumerate(_own_cells(notebook), start=1)
        if cell.get("cell_type") == "code"
    )


def count_cells(notebook: Notebook) -> int:
    """Count the cells as their author sees them: without the one that holds the values given."""
    return sum(not is_injected(cell) for cell in _own_cells(notebook))


def end_of(notebook: Notebook) -> End | None:
    """Find the cell at which the execution failed or was interrupted, if it did so in a cell."""
    place = place_of_end(notebook)
    if place is None:
        return None
    cells = notebook["cells"]
    return _end(cells[place], position=sum(map(_is_own, cells[: place + 1])))


def place_of_end(notebook: Notebook) -> int | None:
    """Return the index of that cell among all that are in the notebook."""
    return next(reversed(_ended(notebook["cells"])), None)


# -- the truth where nobody wrote it --------------------------------------------------------------


def close(
    notebook: Notebook, ename: str, evalue: str, *, reached: int = 0, at: datetime | None = None
) -> dict[str, Any]:
    """Return the notebook of an engine that is gone, with no cell left running.

    The cell that ran was interrupted, and says why as an error output. `reached` is the position
    of a cell known to have begun: of the cells before it the notebook may not know the end. Closing
    once more changes nothing.
    """
    moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
    cells, position = [], 0
    for cell in notebook["cells"]:
        position += _is_own(cell)
        cells.append(
            _close_cell(cell, moment, begun=position <= reached) if _is_own(cell) else cell
        )
    _explain(cells, ename, evalue)
    metadata = part(notebook, "metadata")
    papermill = part(metadata, "papermill")
    ends = {"end_time": papermill.get("end_time") or moment, "exception": True}
    return {
        **notebook,
        "cells": cells,
        "metadata": {**metadata, "papermill": {**papermill, **ends}},
    }


def _close_cell(cell: Mapping[str, Any], moment: str, *, begun: bool) -> Mapping[str, Any]:
    state = _state(cell)
    if state is CellState.NOT_RUN:
        is_cut = begun and bool(text_of(cell.get("source")).strip())
    else:
        is_cut = state in (CellState.RUNNING, None)
    if not is_cut or cell.get("cell_type") != "code":
        return cell
    metadata = part(cell, "metadata")
    mine = {**part(metadata, "nightmill"), "state": CellState.INTERRUPTED.value}
    status = PAPERMILL_STATUS[CellState.INTERRUPTED]
    times = {"status": status, "exception": True, "end_time": moment}
    papermill = {**part(metadata, "papermill"), **times}
    return {**cell, "metadata": {**metadata, "nightmill": mine, "papermill": papermill}}


def _explain(cells: list[Any], ename: str, evalue: str) -> None:
    """Show in the cell at which it ended why, and in those passed over what is not known."""
    cut = _ended(cells)
    for place in cut:
        cell, last = cells[place], place == cut[-1]
        shown = {error["ename"] for error in _errors(cell)}
        if _state(cell) is CellState.INTERRUPTED and (ename not in shown if last else not shown):
            error = error_output(ename, evalue if last else _PASSED)
            cells[place] = {**cell, "outputs": [*items(cell, "outputs"), error]}


def _ended(cells: Sequence[Any]) -> list[int]:
    return [
        place
        for place, cell in enumerate(cells)
        if _is_own(cell) and cell.get("cell_type") == "code" and _state(cell) in _ENDED
    ]


# -- reading what may be odd ----------------------------------------------------------------------


def _own_cells(notebook: Notebook) -> list[Mapping[str, Any]]:
    return [cell for cell in notebook["cells"] if _is_own(cell)]


def _is_own(cell: object) -> bool:
    return isinstance(cell, Mapping) and "nightmill" in part(cell, "metadata")


def part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object of this name in another one; empty where there is none."""
    found = whole.get(name)
    return found if isinstance(found, Mapping) else {}


def items(whole: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return the list of this name in an object; empty where there is none."""
    found = whole.get(name)
    return found if isinstance(found, list) else []


def _mine(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    return part(part(cell, "metadata"), "nightmill")


def is_injected(cell: Mapping[str, Any]) -> bool:
    """Say whether papermill put a cell in, to hold the values of the run."""
    return "injected-parameters" in items(part(cell, "metadata"), "tags")


def _state(cell: Mapping[str, Any]) -> CellState | None:
    try:
        return CellState(str(_mine(cell).get("state")))
    except ValueError:
        return None


def _describe(cell: Mapping[str, Any], position: int, peak_bytes: int | None) -> CellRecord:
    from nightmill.spec.record import CellRecord  # noqa: PLC0415 - the engine needs no models

    mine, timing = _mine(cell), part(part(cell, "metadata"), "papermill")
    return CellRecord(
        number=_number(cell, position),
        title=text_of(mine.get("title")),
        state=_state(cell) or CellState.INTERRUPTED,  # unreadable: all we know is that it is over
        injected=is_injected(cell),
        started_at=moment_of(timing.get("start_time")),
        duration_s=seconds_of(timing.get("duration")),
        peak_memory_bytes=peak_bytes,
        spilled=_spilled(mine.get("spilled")),
    )


def _end(cell: Mapping[str, Any], position: int) -> End:
    where = (_number(cell, position), text_of(_mine(cell).get("title")))
    state = _state(cell) or CellState.INTERRUPTED
    errors = _errors(cell)
    if not errors:
        return End(*where, state)
    last = errors[-1]
    traceback = tuple(map(text_of, items(last, "traceback")))
    return End(*where, state, text_of(last["ename"]), text_of(last.get("evalue")), traceback)


def _number(cell: Mapping[str, Any], position: int) -> int:
    number = _mine(cell).get("number")
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        return number
    return position


def _errors(cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    outputs = [one for one in items(cell, "outputs") if isinstance(one, Mapping)]
    return [one for one in outputs if isinstance(one.get("ename"), str)]


def text_of(value: object) -> str:
    """Return the text of a field that may be text or a list of lines, as valid Unicode."""
    if isinstance(value, list):
        value = "".join(one for one in value if isinstance(one, str))
    return valid_unicode(value) if isinstance(value, str) else ""


def moment_of(value: object) -> datetime | None:
    """Return a time in ISO 8601; None for one without a zone, and for anything else."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def seconds_of(value: object) -> float | None:
    """Return how long a cell can have taken, in seconds; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LONGEST_S else None


def _spilled(value: object) -> tuple[Spilled, ...]:
    from nightmill.spec.record import Spilled  # noqa: PLC0415 - as above

    try:
        return tuple(map(Spilled.model_validate, value)) if isinstance(value, list) else ()
    except ValueError:  # pydantic's is one
        return ()
