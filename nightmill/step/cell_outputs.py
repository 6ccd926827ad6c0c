"""What the cells print and show, kept so that the notebook always stays openable.

Every output has a limit, and so has the notebook; what is over it goes to a file as it comes, see
`streams` and `rich_outputs`. Streams of one name that follow each other are one output, and so is a
progress bar that is redrawn while others print. Positions are indexes of the notebook's cells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nightmill.spec.words import amount
from nightmill.step.redaction import Redactor
from nightmill.step.rich_outputs import fit_data, fit_error, size_of
from nightmill.step.spill import SpillFile, Spills, SpillTo, note
from nightmill.step.streams import StreamText

STREAM_BYTES = 1 << 20  # what one still scrolls through
RICH_BYTES = 5 << 20  # a large figure; beyond, it is data
NOTEBOOK_BYTES = 30 << 20  # JupyterLab and a review page still open it
_CELL_BYTES = 1 << 16  # each cell has this much, whatever the others took
_LEAST_BYTES = 1 << 12  # with less room there is nothing to show but a note
_MOST_OUTPUTS = 1000  # of a cell: each is an element on a page

Listener = Callable[[Mapping[str, Any]], None]


@dataclass
class _Stream:
    """A stream's output in the notebook and the text that it will hold."""

    output: Any
    text: StreamText
    is_settled: bool = False


@dataclass
class _Cell:
    """What is known of one cell's outputs; `size` is their bytes in the notebook."""

    position: int
    number: int
    size: int = 0
    streams: dict[str, _Stream] = field(default_factory=dict)
    files: dict[int, list[SpillFile]] = field(default_factory=dict)  # by identity of the output
    rest: SpillFile | None = None  # for the outputs that are too many
    rest_note: Any = None
    left_out: int = 0
    clears_next: bool = False


class NotebookOutputs:
    """Puts outputs into the cells of a notebook. `changed` hears which cell is not as it was."""

    def __init__(
        self,
        nb: Any,
        redactor: Redactor,
        *,
        spill_to: SpillTo | None,
        listener: Listener,
        changed: Callable[[int], None],
    ) -> None:
        self._nb = nb
        self._redactor = redactor
        self._spills = Spills(spill_to)
        self._listener = listener
        self._changed = changed
        self._cells: dict[int, _Cell] = {}
        self._displays: dict[str, list[tuple[int, Any]]] = {}
        self._open: set[int] = set()  # positions of cells that something came for
        self._size = 0
        self._told: dict[str, int] = {}
        self._last: StreamText | None = None

    # -- what comes in ----------------------------------------------------------------------------

    def print(self, position: int, name: str, text: str) -> None:
        """Add what the cell printed to stdout or stderr."""
        cell = self._ready(position)
        stream = cell.streams.get(name)
        if stream is None or not self._continues(cell, stream, text):
            stream = self._begin(cell, name)
        before = stream.text.size
        stream.text.feed(text)
        stream.is_settled = False
        self._grow(cell, stream.text.size - before)
        self._last = stream.text

    def show(self, position: int, output: Any, display_id: str | None = None) -> None:
        """Add a display, a result or an error."""
        cell = self._ready(position)
        outputs = self._outputs(position)
        is_error = output["output_type"] == "error"
        if not is_error and (len(outputs) >= _MOST_OUTPUTS or self._room(cell) < _LEAST_BYTES):
            self._leave_out(cell, output)
            return
        outputs.append(output)
        self._fit(cell, output)
        if display_id:
            self._displays.setdefault(display_id, []).append((position, output))

    def update(self, display_id: str, new: Any) -> None:
        """Replace what was displayed under this name, in whatever cells that was."""
        for position, output in self._displays.get(display_id, ()):
            cell = self._ready(position)
            for file in cell.files.pop(id(output), ()):
                file.remove()
            self._grow(cell, -size_of(output))
            output.update(data=new["data"], metadata=new["metadata"])
            self._fit(cell, output)

    def clear(self, position: int, *, wait: bool) -> None:
        """Take away all outputs of the cell, now or when the next one comes."""
        cell = self._ready(position)
        cell.clears_next = wait
        if not wait:
            self._clear(cell)

    # -- what comes out ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring what was printed so far into the notebook."""
        for position in self._open:
            for stream in self._cells[position].streams.values():
                self._settle(self._cells[position], stream)

    def close(self) -> None:
        """Finish what was printed so far, and tell of the files that hold what is cut.

        More may come for a cell that has ended: from a thread, or as an update of a display.
        """
        for position in sorted(self._open):
            cell = self._cells[position]
            for stream in cell.streams.values():
                self._finish(cell, stream)
            if cell.rest is not None:
                cell.rest.close()
            self._tell_of_files(cell)
        self._open.clear()

    def last_line(self) -> str:
        """Return the last line that any cell printed, as far as it can be shown."""
        return self._last.last_line() if self._last else ""

    # -- streams ----------------------------------------------------------------------------------

    def _continues(self, cell: _Cell, stream: _Stream, text: str) -> bool:
        """Whether text belongs to the latest output of its stream."""
        outputs = self._outputs(cell.position)
        is_redrawn = (text.startswith("\r") or text == "\n") and stream.text.is_line_open
        is_crowded = len(outputs) >= _MOST_OUTPUTS or self._room(cell) < _LEAST_BYTES
        return is_redrawn or is_crowded or outputs[-1] is stream.output

    def _begin(self, cell: _Cell, name: str) -> _Stream:
        if name in cell.streams:
            self._finish(cell, cell.streams[name])
        limit = max(_LEAST_BYTES, min(STREAM_BYTES, self._room(cell)))
        text = StreamText(self._redactor, limit, lambda: self._spills.make(cell.number, "txt"))
        output = self._node(output_type="stream", name=name, text="")
        self._outputs(cell.position).append(output)
        cell.streams[name] = _Stream(output, text)
        return cell.streams[name]

    def _finish(self, cell: _Cell, stream: _Stream) -> None:
        stream.text.close()
        stream.is_settled = False
        self._settle(cell, stream)
        if stream.text.file is not None:
            cell.files[id(stream.output)] = [stream.text.file]

    def _settle(self, cell: _Cell, stream: _Stream) -> None:
        if not stream.is_settled:
            stream.output["text"] = stream.text.text()
            stream.is_settled = True
            self._changed(cell.position)

    # -- displays ---------------------------------------------------------------------------------

    def _fit(self, cell: _Cell, output: Any) -> None:
        """Cut an output of the cell to its limit."""
        tools: dict[str, Any] = {
            "redactor": self._redactor,
            "spill": lambda extension: self._spills.make(cell.number, extension),
        }
        if output["output_type"] == "error":
            fitted, files = fit_error(output, **tools)
            output.update(fitted)
        else:
            limit = max(_LEAST_BYTES, min(RICH_BYTES, self._room(cell)))
            data, files = fit_data(output["data"], limit - size_of(output["metadata"]), **tools)
            if data != output["data"]:
                output.update(data=self._node(data), metadata=self._node())
        if files:
            cell.files[id(output)] = files
        self._grow(cell, size_of(output))
        self._changed(cell.position)

    def _leave_out(self, cell: _Cell, output: Any) -> None:
        if cell.rest_note is None:
            cell.rest = self._spills.make(cell.number, "jsonl")
            cell.rest_note = self._node(
                output_type="display_data", data=self._node(), metadata=self._node()
            )
            self._outputs(cell.position).append(cell.rest_note)
        if cell.rest is not None:
            cell.rest.write(json.dumps(self._redactor.tree(output), default=str) + "\n")
        cell.left_out += 1
        said = note(f"{cell.left_out} more outputs", cell.rest)
        cell.rest_note["data"]["text/plain"] = said
        self._changed(cell.position)

    # -- cells ------------------------------------------------------------------------------------

    def _ready(self, position: int) -> _Cell:
        cell = self._cells.get(position)
        if cell is not None and cell.clears_next:
            self._clear(cell)
        if position not in self._cells:
            number = self._nb.cells[position].metadata["nightmill"]["number"]
            self._cells[position] = _Cell(position, number)
        self._open.add(position)
        return self._cells[position]

    def _clear(self, cell: _Cell) -> None:
        for file in _files(cell):
            file.remove()
        for shown in self._displays.values():
            shown[:] = [each for each in shown if each[0] != cell.position]
        self._grow(cell, -cell.size)
        self._cells[cell.position] = _Cell(cell.position, cell.number)
        self._outputs(cell.position)[:] = []
        self._changed(cell.position)

    def _outputs(self, position: int) -> Any:
        return self._nb.cells[position].outputs

    def _grow(self, cell: _Cell, size: int) -> None:
        cell.size += size
        self._size += size

    def _room(self, cell: _Cell) -> int:
        return max(NOTEBOOK_BYTES - self._size, _CELL_BYTES - cell.size)

    def _node(self, *given: Any, **fields: Any) -> Any:
        return type(self._nb)(*given, **fields)  # a NotebookNode, without importing nbformat

    def _tell_of_files(self, cell: _Cell) -> None:
        files = list(_files(cell))
        spilled = [{"address": file.address, "size": file.size} for file in files if file.size]
        mine = self._nb.cells[cell.position].metadata["nightmill"]
        if spilled != mine.get("spilled", []):
            mine["spilled"] = spilled
            self._changed(cell.position)
        for file in files:
            if self._told.get(file.name) != file.size:
                self._told[file.name] = file.size
                self._tell_of(cell, file)

    def _tell_of(self, cell: _Cell, file: SpillFile) -> None:
        if file.size:
            facts = {"number": cell.number, "file": file.name, "size": file.size}
            self._listener({"event": "spilled", **facts})
        if file.lost:
            text = f"what was too large for the notebook could not be kept: {file.lost}"
            self._listener({"event": "warning", "text": f"{file.name}: {text}"})
        elif file.left_out:
            text = f"{file.name} holds only the first {amount(file.size)} of an output"
            self._listener({"event": "warning", "text": text})


def _files(cell: _Cell) -> Iterator[SpillFile]:
    for files in cell.files.values():
        yield from files
    for output in cell.streams.values():
        if output.text.file is not None and id(output.output) not in cell.files:
            yield output.text.file
    if cell.rest is not None:
        yield cell.rest
