"""Runs the cells of a notebook in a kernel, with an answer to every way in which that can end.

nbclient with the ledger on its hooks. We end an execution ourselves when we are asked to stop, or
when a cell is over its limit: then the kernel is interrupted, so that the traceback shows where it
was, and ended if it will not listen.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import signal
from collections.abc import Callable, Mapping
from queue import Empty
from typing import Any

from nbclient.exceptions import CellExecutionError, DeadKernelError

from nightmill.causes import Cause
from nightmill.spec.cell_tags import own_timeout
from nightmill.spec.states import CellState
from nightmill.step.cell_outputs import NotebookOutputs
from nightmill.step.cell_states import CellLedger
from nightmill.step.ending import Ending
from nightmill.step.kernel_hook import KERNEL_ARGUMENTS, settle_threads, thread_warnings
from nightmill.step.outcome import describe_death, describe_timeout
from nightmill.step.output_client import OutputClient

_TICK_S = 0.5
_TICKS_A_SAVE = 10
_LINE_CHARACTERS = 500
_INTERRUPT_GRACE_S = 5.0
_THREADS_S = 30.0  # what is still at work after the last cell may take so long
_ANSWER_S = 10.0
_IOPUB_TIMEOUT_S = 600  # nbclient's 4 s give up on a kernel that only has much to print


class CellClient(OutputClient):
    """Runs all cells and fills in the outcome. `limit_s` is seconds a cell without its own."""

    def __init__(
        self, ledger: CellLedger, outputs: NotebookOutputs, ending: Ending, **traits: Any
    ) -> None:
        limit_s = traits.pop("limit_s")
        super().__init__(
            ledger,
            outputs,
            iopub_timeout=_IOPUB_TIMEOUT_S,
            shutdown_kernel="graceful",
            timeout_func=self._limit_of,
            **traits,
        )
        self._ending = ending
        self._limit_s: float | None = limit_s
        self._cut: tuple[Cause, str, str] | None = None  # how we ended it ourselves
        self._stopper: asyncio.Future[None] | None = None
        self._returncode: int | None = None
        self._last: int | None = None  # the cell that ran last
        self._line = ""  # told last
        self.on_cell_start = self._cell_seen
        self.on_cell_execute = self._cell_started
        self.on_cell_executed = self._cell_executed

    async def run(self, on_end: Callable[[], None]) -> None:
        """Execute all cells; the outcome and the ledger say how it ended."""
        try:
            try:
                await self._run_cells()
            finally:
                self._outputs.close()
                self._tell_line()
                self._ledger.finish(self._ending.outcome)
            on_end()
        finally:
            if self.km is not None:
                await self._async_cleanup_kernel()
            atexit.unregister(self._cleanup_kernel)

    async def _run_cells(self) -> None:
        ticking = asyncio.ensure_future(self._tick())
        try:
            await self.async_execute(cleanup_kc=False)
        except CellExecutionError as error:
            self._ending.failed(error.ename or "", error.evalue or "")
        except (DeadKernelError, RuntimeError) as error:
            self._ending.cut_short(*(self._cut or self._death(error)))
        except OSError as error:  # of the disk that we save to
            said = f"the scratch disk: {error.strerror or error}"
            self._ending.cut_short(Cause.STORE, "DiskError", said)
            raise
        except Exception as error:
            self._ending.cut_short(Cause.NIGHTMILL_BUG, type(error).__name__, str(error))
            raise
        finally:
            for task in filter(None, (ticking, self._stopper)):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _death(self, error: Exception) -> tuple[Cause, str, str]:
        if isinstance(error, DeadKernelError):
            return Cause.KERNEL_DIED, "KernelDied", describe_death(self._returncode)
        return Cause.KERNEL_DIED, "KernelNotReady", str(error)

    async def _tick(self) -> None:
        """Tell the last line, and keep the file fresh while a long cell prints or is silent."""
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            self._tell_line()
            if ticks % _TICKS_A_SAVE == 0:
                self._outputs.settle()
                with contextlib.suppress(OSError):  # the end of the cell will tell
                    self._ledger.save()

    def _tell_line(self) -> None:
        line = self._outputs.last_line()[:_LINE_CHARACTERS]
        if line != self._line:
            self._line = line
            self._ledger.tell({"event": "line", "text": line})

    # -- the kernel -------------------------------------------------------------------------------

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        """Replace nbclient's signal handlers, which kill the kernel and leave the cell running."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, number)
        if any("ipykernel" in part for part in self.km.kernel_spec.argv):
            self.extra_arguments = list(KERNEL_ARGUMENTS)
        await super().async_start_new_kernel(**kwargs)

    async def _async_check_alive(self) -> None:
        try:
            await super()._async_check_alive()
        except DeadKernelError:
            self._returncode = await self.km.provisioner.poll()
            raise

    def _stop(self, number: signal.Signals) -> None:
        """Interrupt the kernel; if it will not listen, kill it."""
        if self._stopper is None:
            said = f"stopped by {signal.Signals(number).name}"
            self._cut = self._cut or (Cause.TERMINATED, "Interrupted", said)
            self._stopper = asyncio.ensure_future(self._interrupt_then_kill())

    async def _interrupt_then_kill(self) -> None:
        for number, pause_s in ((signal.SIGINT, _INTERRUPT_GRACE_S), (signal.SIGKILL, 0)):
            await self._signal_kernel(number)
            await asyncio.sleep(pause_s)

    async def _signal_kernel(self, number: int) -> None:
        if self.km is not None and self.km.has_kernel:
            await self.km.signal_kernel(number)

    # -- cells: nbclient calls the hooks with keywords --------------------------------------------

    async def async_execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        """Execute one cell, and hear of the kernel's threads where it was the last."""
        try:
            executed = await super().async_execute_cell(cell, cell_index, **options)
        except CellExecutionError:
            with contextlib.suppress(DeadKernelError, _CutError):
                await self._hear_of_threads(wait_s=0.0)
            raise
        if cell_index == len(self.nb.cells) - 1:
            await self._hear_of_threads(min(_THREADS_S, self._limit_s or _THREADS_S))
        return executed

    def _cell_seen(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code":
            tagged = self.skip_cells_with_tag in cell.metadata.get("tags", [])
            if tagged or not cell.source.strip():
                self._ledger.cell_skipped(cell_index)

    def _cell_started(self, cell: Any, cell_index: int) -> None:  # noqa: ARG002
        if self._cut:
            raise _CutError
        self._ledger.cell_started(cell_index)
        self._last = cell_index

    def _cell_executed(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        content = execute_reply["content"]
        is_good = content["status"] == "ok"
        self._outputs.close()
        if self._cut and not (is_good and self._cut[0] is Cause.TERMINATED):
            self._ending.cut_short(*self._cut)
        elif is_good and _asks_to_exit(content):
            self._ledger.add_error(cell_index, "SystemExit", "0")
            self._ledger.cell_ended(cell_index, CellState.FAILED)
            raise CellExecutionError("", "SystemExit", "0")
        elif is_good or "raises-exception" in cell.metadata.get("tags", []):
            self._ledger.cell_ended(cell_index, CellState.COMPLETED)
        else:
            self._ledger.cell_ended(cell_index, CellState.FAILED)
        if self._cut:
            raise _CutError

    def _limit_of(self, cell: Any) -> float | None:
        return own_timeout(cell.metadata.get("tags", [])) or self._limit_s

    async def _async_handle_timeout(  # nbclient decides this signature
        self,
        timeout: float,  # noqa: ASYNC109 - as above
        cell: Any = None,
    ) -> Any:
        """Interrupt the cell, so that its traceback shows where it was."""
        is_own = own_timeout(cell.metadata.get("tags", [])) is not None
        self._cut = (Cause.CELL_TIMEOUT, "CellTimeout", describe_timeout(timeout, is_own=is_own))
        await self._signal_kernel(signal.SIGINT)
        with contextlib.suppress(Empty):
            return await self.kc.shell_channel.get_msg(timeout=_INTERRUPT_GRACE_S)
        raise _CutError

    async def _hear_of_threads(self, wait_s: float) -> None:
        """Warn of threads that failed or are still at work; what they print is of the last cell."""
        if self._last is None:
            return
        self.record_timing = False  # this is no cell's time
        expressions = {"threads": settle_threads(wait_s)}
        asked = self.kc.execute("", silent=True, store_history=False, user_expressions=expressions)
        cell = self.nb.cells[self._last]
        heard = asyncio.ensure_future(self._async_poll_output_msg(asked, cell, self._last))
        alive = asyncio.ensure_future(self._async_poll_kernel_alive())
        self.task_poll_for_reply = asyncio.ensure_future(
            self._async_poll_for_reply(asked, cell, None, heard, alive)
        )
        try:
            reply = await asyncio.wait_for(self.task_poll_for_reply, wait_s + _ANSWER_S)
        except asyncio.CancelledError:  # by the watch over the kernel's life, as in nbclient
            raise DeadKernelError("Kernel died") from None
        except TimeoutError:
            reply = {"content": {}}
        finally:
            heard.cancel()
            alive.cancel()
        answers = reply["content"].get("user_expressions", {})
        for warning in thread_warnings(answers.get("threads", {})):
            self._ledger.tell({"event": "warning", "text": warning})
        if self._cut:
            raise _CutError


class _CutError(RuntimeError):
    """We ended the execution ourselves; nothing further runs."""


def _asks_to_exit(content: Mapping[str, Any]) -> bool:
    """Whether a cell called exit() or quit(), which end the kernel and raise nothing."""
    payload = content.get("payload") or []
    return any(each.get("source") == "ask_exit" for each in payload)
