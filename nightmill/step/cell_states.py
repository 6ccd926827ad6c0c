"""The ledger of an executing notebook: states that are true at every moment on disk.

papermill's own manager turns every cell it never ran into "completed" at the end. Here a state is
written when the thing happens and nothing rewrites it. Whoever reads the file, or finds it after a
kill, sees a whole notebook, see `notebook_file`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightmill.spec.executed import PAPERMILL_STATUS, error_output
from nightmill.spec.states import CellState
from nightmill.step.notebook_file import NotebookFile
from nightmill.step.outcome import Outcome, banner
from nightmill.step.redaction import Redactor

Listener = Callable[[Mapping[str, Any]], None]

_TITLE_LENGTH = 60


class CellLedger:
    """Keeps the state, time and outcome of each code cell in the notebook's own metadata.

    What the listener and the file get holds no secret.
    """

    def __init__(
        self,
        nb: Any,
        path: Path | None,
        listener: Listener | None = None,
        *,
        redactor: Redactor | None = None,
    ) -> None:
        self.nb = nb
        self.running: int | None = None
        self._redactor = redactor or Redactor({})
        self.file = NotebookFile(nb, path, self._redactor)
        self._begun: dict[int, float] = {}
        self._listener = listener or (lambda _event: None)
        self._started_at = 0.0

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
        self.file.changed(position)

    def finish(self, outcome: Outcome) -> None:
        """Write the notebook's own end, and what leads to it; the cells keep their states."""
        duration = round(time.monotonic() - self._started_at, 3)
        is_bad = outcome.cause is not None
        self._papermill(end_time=_now(), duration=duration, exception=is_bad or None)
        if is_bad and self.nb.cells:
            top, anchor = banner(outcome, self.nb.nbformat_minor)
            self.file.mark(0, top)
            for position in self._ended_at():
                self.file.mark(position, anchor)
        self.save()

    def save(self) -> None:
        """Write the notebook to disk if it has changed since the last time; raises OSError."""
        self.file.write()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Let the listener hear an event."""
        self._listener(self._redactor.tree(event))

    def count(self) -> int:
        """Count the cells as their author sees them."""
        return max((cell.metadata["nightmill"]["number"] for cell in self.nb.cells), default=0)

    def failed(self) -> int | None:
        """Return the position of the cell that failed, if one did."""
        states = [cell.metadata["nightmill"].get("state") for cell in self.nb.cells]
        return states.index(CellState.FAILED) if CellState.FAILED in states else None

    def _ended_at(self) -> list[int]:
        bad = (CellState.FAILED, CellState.INTERRUPTED)
        states = [cell.metadata["nightmill"].get("state") for cell in self.nb.cells]
        return [position for position, state in enumerate(states) if state in bad][-1:]

    def _set(self, position: int, state: CellState) -> None:
        metadata = self.nb.cells[position].metadata
        metadata["nightmill"]["state"] = state.value
        metadata["papermill"]["status"] = PAPERMILL_STATUS.get(state, state.value)
        self.file.changed(position)

    def _papermill(self, **values: object) -> None:
        self.nb.metadata["papermill"].update(values)

    def _tell(self, event: str, position: int) -> None:
        cell = self.nb.cells[position]
        mine = cell.metadata["nightmill"]
        facts = {key: mine[key] for key in ("number", "title", "state")}
        place = {"position": position + 1, "of": len(self.nb.cells)}
        duration = cell.metadata["papermill"]["duration"]
        self.tell({"event": event, **place, **facts, "duration_s": duration, "at": _now()})

    def _title(self, position: int) -> str:
        """Return the first comment of a cell, else the heading above it, else its first line."""
        if "parameters" in self.nb.cells[position].metadata.get("tags", []):
            return "Defaults of the parameters"
        lines = [line.strip() for line in self.nb.cells[position].source.splitlines()]
        lines = [line for line in lines if line and not line.startswith("%%")]
        if lines and lines[0].startswith("#"):
            return self._shorten(lines[0].lstrip("#% "))
        if position and self.nb.cells[position - 1].cell_type == "markdown":
            above = self.nb.cells[position - 1].source.splitlines()
            headings = [line.lstrip("# ") for line in above if line.startswith("#")]
            if headings:
                return self._shorten(headings[-1])
        return self._shorten(lines[0]) if lines else ""

    def _shorten(self, text: str) -> str:
        text = self._redactor.text(text)  # first: half a secret is known to nobody
        return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1] + "…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
