"""The ledger of an executing notebook: states that are true at every moment on disk.

papermill's own manager turns every cell it never ran into "completed" at the end. Here a state is
written when the thing happens and nothing rewrites it. The file is replaced atomically, so whoever
reads it, or finds it after a kill, sees a whole notebook.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightmill.spec import executed
from nightmill.spec.executed import PAPERMILL_STATUS, error_output, notebook_bytes
from nightmill.spec.record import CellState

Listener = Callable[[Mapping[str, Any]], None]

_TITLE_LENGTH = 60


class CellLedger:
    """Keeps the state, time and outcome of each code cell in the notebook's own metadata."""

    def __init__(self, nb: Any, path: Path | None, listener: Listener | None = None) -> None:
        self.nb = nb
        self.path = path
        self.running: int | None = None
        self._begun: dict[int, float] = {}
        self._listener = listener or (lambda _event: None)
        self._started_at = 0.0
        self._saved = b""

    def start(self) -> None:
        """Mark every code cell not_run, forget old outputs, and save."""
        self.nb.metadata.setdefault("papermill", {})
        self._papermill(start_time=_now(), end_time=None, duration=None, exception=None)
        self._started_at = time.monotonic()
        authors = 0  # cells that are not papermill's own
        for position, cell in enumerate(self.nb.cells):
            mine = cell.metadata.setdefault("nightmill", {})
            authors += "injected-parameters" not in cell.metadata.get("tags", [])
            mine.setdefault("number", max(1, authors))
            cell.metadata["papermill"] = dict.fromkeys(
                ("start_time", "end_time", "duration", "exception")
            )
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
                mine["title"] = self._title(position)
                self._set(position, CellState.NOT_RUN)
            else:
                cell.metadata["papermill"]["status"] = "completed"
        self.save()

    def cell_started(self, position: int) -> None:
        """Note that the kernel has been asked to run the cell."""
        self.running = position
        cell = self.nb.cells[position]
        cell.metadata["papermill"]["start_time"] = _now()
        self._begun[position] = time.monotonic()
        self._set(position, CellState.RUNNING)
        self._tell("cell_started", position)
        self.save()

    def cell_ended(self, position: int, state: CellState) -> None:
        """Note how the cell ended; this state stays."""
        cell = self.nb.cells[position]
        begun = self._begun.pop(position, None)
        duration = None if begun is None else round(time.monotonic() - begun, 3)
        cell.metadata["papermill"].update(
            end_time=_now(), duration=duration, exception=state is not CellState.COMPLETED
        )
        self._set(position, state)
        if self.running == position:
            self.running = None
        self._tell("cell_ended", position)
        self.save()

    def cell_skipped(self, position: int) -> None:
        """Note that the cell was passed over: empty, or tagged to be skipped."""
        self._set(position, CellState.SKIPPED)

    def add_error(self, position: int, ename: str, evalue: str) -> None:
        """Show in the cell an end that the kernel could not report itself."""
        node = type(self.nb)  # a NotebookNode, without importing nbformat
        self.nb.cells[position].outputs.append(node(error_output(ename, evalue)))

    def finish(self) -> None:
        """Write the notebook's own end; the cells keep their states."""
        states = [cell.metadata["nightmill"].get("state") for cell in self.nb.cells]
        bad = CellState.FAILED in states or CellState.INTERRUPTED in states
        duration = round(time.monotonic() - self._started_at, 3)
        self._papermill(end_time=_now(), duration=duration, exception=bad or None)
        self.save()

    def save(self) -> None:
        """Write the notebook to disk if it has changed since the last time."""
        if self.path is not None:
            data = notebook_bytes(self.nb)
            if data != self._saved:
                replace_file(self.path, data)
                self._saved = data

    def _set(self, position: int, state: CellState) -> None:
        metadata = self.nb.cells[position].metadata
        metadata["nightmill"]["state"] = state.value
        metadata["papermill"]["status"] = PAPERMILL_STATUS.get(state, state.value)

    def _papermill(self, **values: object) -> None:
        self.nb.metadata["papermill"].update(values)

    def _tell(self, event: str, position: int) -> None:
        cell = self.nb.cells[position]
        mine = cell.metadata["nightmill"]
        facts = {key: mine[key] for key in ("number", "title", "state")}
        place = {"position": position + 1, "of": len(self.nb.cells)}
        duration = cell.metadata["papermill"]["duration"]
        self._listener({"event": event, **place, **facts, "duration_s": duration, "at": _now()})

    def _title(self, position: int) -> str:
        """Return the first comment of a cell, else the heading above it, else its first line."""
        if "parameters" in self.nb.cells[position].metadata.get("tags", []):
            return "Defaults of the parameters"
        lines = [line.strip() for line in self.nb.cells[position].source.splitlines()]
        lines = [line for line in lines if line and not line.startswith("%%")]
        if lines and lines[0].startswith("#"):
            return _shorten(lines[0].lstrip("#% "))
        if position and self.nb.cells[position - 1].cell_type == "markdown":
            above = self.nb.cells[position - 1].source.splitlines()
            headings = [line.lstrip("# ") for line in above if line.startswith("#")]
            if headings:
                return _shorten(headings[-1])
        return _shorten(lines[0]) if lines else ""


def amend_after_kill(path: Path, ename: str, evalue: str) -> int | None:
    """Tell the truth in a notebook whose engine died: the running cell was interrupted.

    Returns the number of that cell, or None when no cell was running or there is no notebook.
    """
    nb = executed.parse(path.read_bytes()) if path.is_file() else None
    if nb is None:
        return None
    closed = executed.close(nb, ename, evalue)
    replace_file(path, executed.notebook_bytes(closed))
    end = executed.end_of(closed)
    return end.number if end else None


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step: readers see the old or the new file whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk every byte counts


def _shorten(text: str) -> str:
    return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1] + "…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
