"""The papermill engine that tells the truth: `papermill --engine nightmill` or a Nightmill step.

papermill's own engine catches only exceptions of cells and then marks every cell it never reached
as completed. This one overrides the engine's outer method, keeps a `CellLedger`, and turns each
way in which an execution can end (an exception, a dead kernel, a timeout, a stop from outside)
into an `Outcome`. Only this module and its neighbours `execute` and `injection` import papermill
or nbclient.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.engines import Engine

from nightmill.causes import Cause
from nightmill.errors import NotebookError
from nightmill.spec.executed import notebook_bytes, valid_unicode
from nightmill.spec.record import CellState
from nightmill.step.cell_states import CellLedger, Listener
from nightmill.step.kernel_manager import StartedKernelManager
from nightmill.step.kernel_start import KERNEL_ARGUMENTS, StartedKernel
from nightmill.step.streams import merge_streams

_SAVE_EVERY_S = 5.0
_INTERRUPT_GRACE_S = 5.0
_IOPUB_TIMEOUT_S = 60  # nbclient's 4 s give up on a kernel that only has much to print
_NO_ANSWER = "StdinNotImplementedError"


@dataclass
class Outcome:
    """How the execution ended: no cause means that every cell completed."""

    cause: Cause | None = None
    message: str = ""
    cell: int | None = None
    title: str | None = None
    ename: str | None = None
    evalue: str | None = None
    traceback: list[str] = field(default_factory=list)


class NightmillEngine(Engine):  # type: ignore[misc]  # papermill ships no types
    """Executes a notebook cell by cell and keeps its states true on disk."""

    @classmethod
    def execute_notebook(  # noqa: PLR0913 - papermill decides this signature
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        save_to: Path | None = None,
        listener: Listener | None = None,
        outcome: Outcome | None = None,
        kernel: StartedKernel | None = None,
        on_end: Callable[[], None] | None = None,
        **_options: object,
    ) -> Any:
        """Run the notebook. papermill raises afterwards if a cell holds an error.

        `execution_timeout` is seconds a cell. `save_to` overrides papermill's output path,
        `listener` hears of every cell, `outcome` is filled in; without it every end but a good one
        raises, since papermill knows of some only. `kernel` is taken over where it is given, else
        one is started. `on_end` is called once the outcome is known and the notebook saved; the
        kernel is ended after that.
        """
        nb = nbformat.from_dict(json.loads(notebook_bytes(nb)))  # text that every encoder takes
        ledger = CellLedger(nb, save_to or (Path(output_path) if output_path else None), listener)
        ended = Outcome() if outcome is None else outcome
        client = _Client(
            nb,
            ledger=ledger,
            outcome=ended,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            iopub_timeout=_IOPUB_TIMEOUT_S,
            shutdown_kernel="graceful",
            extra_arguments=list(KERNEL_ARGUMENTS),
        )
        if kernel is not None:
            client.km = StartedKernelManager(kernel, kernel_name)
        ledger.start()
        run_sync(client.run)(on_end or _nothing)
        if outcome is None and ended.cause is not None and not _papermill_sees_it(ended):
            raise NotebookError(ended.message)
        return nb


class _Client(NotebookClient):  # type: ignore[misc]  # its traits are untyped
    """nbclient with the ledger on its hooks and with an answer to every kind of end."""

    def __init__(self, nb: Any, *, ledger: CellLedger, outcome: Outcome, **traits: Any) -> None:
        super().__init__(nb, **traits)
        self._ledger = ledger
        self._outcome = outcome
        self._stopping = ""
        self._stopper: asyncio.Future[None] | None = None
        self.on_cell_start = self._cell_seen
        self.on_cell_execute = self._cell_started
        self.on_cell_executed = self._cell_executed

    async def run(self, on_end: Callable[[], None]) -> None:
        """Execute all cells; the outcome and the ledger say how it ended."""
        try:
            try:
                await self._run_cells()
            finally:
                self._ledger.finish()
            on_end()
        finally:
            if self.km is not None:
                await self._async_cleanup_kernel()
            atexit.unregister(self._cleanup_kernel)

    async def _run_cells(self) -> None:
        saving = asyncio.ensure_future(self._save_now_and_then())
        try:
            await self.async_execute(cleanup_kc=False)
        except CellExecutionError as error:
            self._cell_failed(error)
        except CellTimeoutError:
            self._cut_short(Cause.CELL_TIMEOUT, "CellTimeout", f"no end after {self.timeout} s")
        except (DeadKernelError, RuntimeError) as error:
            self._kernel_gone(error)
        finally:
            for task in filter(None, (saving, self._stopper)):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _save_now_and_then(self) -> None:
        """Keep the file fresh while a long cell prints, or is silent."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            self._ledger.save()

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Pass the message on with text that every writer can write."""
        msg["content"] = _clean(msg["content"])
        try:
            return super().process_message(msg, cell, cell_index)
        except nbformat.ValidationError as error:
            text = f"Nightmill left out an output that no notebook can hold: {error.message}\n"
            cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text=text))
            return None

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        """Replace nbclient's signal handlers, which kill the kernel and leave the cell running."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, number)
        await super().async_start_new_kernel(**kwargs)

    # -- hooks: nbclient calls them with keywords -------------------------------------------------

    def _cell_seen(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code":
            tagged = self.skip_cells_with_tag in cell.metadata.get("tags", [])
            if tagged or not cell.source.strip():
                self._ledger.cell_skipped(cell_index)

    def _cell_started(self, cell: Any, cell_index: int) -> None:  # noqa: ARG002
        if self._stopping:
            raise _StoppedError(None)
        self._ledger.cell_started(cell_index)

    def _cell_executed(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        self._merge_streams(cell, cell_index)
        content = execute_reply["content"]
        expected = "raises-exception" in cell.metadata.get("tags", [])
        if content["status"] == "ok" or (expected and not self._stopping):
            self._ledger.cell_ended(cell_index, CellState.COMPLETED)
        elif self._stopping:
            self._ledger.cell_ended(cell_index, CellState.INTERRUPTED)
        else:
            self._ledger.cell_ended(cell_index, CellState.FAILED)
        if self._stopping:
            raise _StoppedError(cell_index)

    def _merge_streams(self, cell: Any, cell_index: int) -> None:
        cell.outputs, positions = merge_streams(cell.outputs)
        for places in self._display_id_map.values():  # a later cell may update a display here
            if cell_index in places:
                places[cell_index] = [positions[old] for old in places[cell_index]]

    # -- ends -------------------------------------------------------------------------------------

    def _stop(self, number: signal.Signals) -> None:
        """Interrupt the kernel; if it will not listen, kill it."""
        if not self._stopping:
            self._stopping = f"stopped by {signal.Signals(number).name}"
            self._stopper = asyncio.ensure_future(self._interrupt_then_kill())

    async def _interrupt_then_kill(self) -> None:
        for number, pause_s in ((signal.SIGINT, _INTERRUPT_GRACE_S), (signal.SIGKILL, 0)):
            if self.km is not None and self.km.has_kernel:
                await self.km.signal_kernel(number)
            await asyncio.sleep(pause_s)

    def _cell_failed(self, error: CellExecutionError) -> None:
        position = self._last_failed()
        ename, evalue = valid_unicode(error.ename or ""), valid_unicode(error.evalue or "")
        traceback = self._traceback(position)
        if position is not None and not traceback:  # the kernel could not put it into words
            self._ledger.add_error(position, ename, evalue)
        if ename == "SystemExit":
            message = f"sys.exit({evalue}) ended the notebook; the cells after it did not run"
        elif ename == _NO_ANSWER:
            message = "the cell asks for input, and nobody is there at night to answer"
        else:
            message = f"{ename}: {evalue}" if evalue else ename
        self._end(Cause.NOTEBOOK_ERROR, position, message, ename=ename, evalue=evalue)
        self._outcome.traceback = traceback

    def _kernel_gone(self, error: Exception) -> None:
        if isinstance(error, _StoppedError):
            self._end(Cause.TERMINATED, error.position, self._stopping, ename="Interrupted")
        elif self._stopping:
            self._cut_short(Cause.TERMINATED, "Interrupted", self._stopping)
        elif isinstance(error, DeadKernelError):
            self._cut_short(Cause.KERNEL_DIED, "KernelDied", "the kernel process ended by itself")
        else:
            self._cut_short(Cause.KERNEL_DIED, "KernelNotReady", str(error))

    def _cut_short(self, cause: Cause, ename: str, evalue: str) -> None:
        """Say in the running cell what the kernel can no longer report."""
        position = self._ledger.running
        if position is not None:
            self._ledger.add_error(position, ename, evalue)
            self._ledger.cell_ended(position, CellState.INTERRUPTED)
        self._end(cause, position, evalue, ename=ename, evalue=evalue)

    def _end(self, cause: Cause, position: int | None, message: str, **more: str) -> None:
        self._outcome.cause, self._outcome.message = cause, message
        self._outcome.ename, self._outcome.evalue = more.get("ename"), more.get("evalue")
        if position is not None:
            mine = self.nb.cells[position].metadata["nightmill"]
            self._outcome.cell, self._outcome.title = mine["number"], mine["title"]

    def _last_failed(self) -> int | None:
        states = [cell.metadata["nightmill"].get("state") for cell in self.nb.cells]
        return states.index(CellState.FAILED) if CellState.FAILED in states else None

    def _traceback(self, position: int | None) -> list[str]:
        outputs = self.nb.cells[position].get("outputs", []) if position is not None else []
        errors = [output for output in outputs if output.output_type == "error"]
        return list(errors[-1].traceback) if errors else []


class _StoppedError(RuntimeError):
    """The cell ended because we were asked to stop; nothing further runs."""

    def __init__(self, position: int | None) -> None:
        super().__init__("stopped")
        self.position = position


def _papermill_sees_it(ended: Outcome) -> bool:
    """Whether papermill will raise by itself: it takes sys.exit(0) for a good end."""
    exited_well = ended.ename == "SystemExit" and ended.evalue in ("", "0")
    return ended.cell is not None and not exited_well


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _nothing() -> None:
    """Do nothing at the end."""
