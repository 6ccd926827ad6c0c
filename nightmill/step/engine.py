"""The papermill engine that tells the truth: `papermill --engine nightmill` or a Nightmill step.

papermill's own engine catches only exceptions of cells and then marks every cell it never reached
as completed. This one overrides the engine's outer method, keeps a `CellLedger`, and turns each
way in which an execution can end (an exception, a dead kernel, a timeout, a stop from outside)
into an `Outcome`, see `client`. Only these two and their neighbours `output_client`, `execute` and
`injection` import papermill or nbclient.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import run_sync
from papermill.engines import Engine
from papermill.iorw import LocalHandler, papermill_io, write_ipynb
from papermill.log import logger as papermill_logger

from nightmill.errors import NotebookError
from nightmill.spec.cell_tags import TagError, own_timeout
from nightmill.spec.executed import notebook_bytes
from nightmill.step.cell_outputs import NotebookOutputs
from nightmill.step.cell_states import CellLedger, Listener
from nightmill.step.client import CellClient
from nightmill.step.ending import Ending
from nightmill.step.kernel_manager import StartedKernelManager
from nightmill.step.kernel_start import StartedKernel
from nightmill.step.outcome import Outcome
from nightmill.step.redaction import Redactor
from nightmill.step.spill import SpillTo


class NightmillEngine(Engine):  # type: ignore[misc]  # papermill ships no types
    """Executes a notebook cell by cell and keeps its states true on disk."""

    @classmethod
    def execute_notebook(  # noqa: PLR0913 - papermill decides this signature
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        start_timeout: int = 60,
        execution_timeout: float | None = None,
        save_to: Path | None = None,
        listener: Listener | None = None,
        outcome: Outcome | None = None,
        redactor: Redactor | None = None,
        spill: SpillTo | None = None,
        kernel: StartedKernel | None = None,
        on_end: Callable[[], None] | None = None,
        **_options: object,
    ) -> Any:
        """Run the notebook and return it as saved. papermill raises if a cell holds an error.

        `execution_timeout` is seconds a cell, where its tags say nothing else. `save_to` overrides
        papermill's output path, `listener` hears of every cell, `outcome` is filled in; without it
        every end but a good one raises, since papermill knows of some only. What is saved or told
        passes the `redactor` (of this process's environment if none is given); what is too large
        for a notebook goes to `spill`. `kernel` is taken over where it is given, else one is
        started. `on_end` is called once the outcome is known and the notebook saved; the kernel is
        ended after that. Raises NotebookError for a time limit that cannot be read.
        """
        nb = nbformat.from_dict(json.loads(notebook_bytes(nb)))  # text that every encoder takes
        _check_tags(nb)
        redactor = redactor or Redactor.of(os.environ)
        path = save_to or _local(output_path)
        ledger = CellLedger(nb, path, listener or _log_warnings, redactor=redactor)
        ended = Outcome() if outcome is None else outcome
        outputs = NotebookOutputs(
            nb, redactor, spill_to=spill, listener=ledger.tell, changed=ledger.file.changed
        )
        client = CellClient(
            ledger,
            outputs,
            Ending(ledger, outputs, ended, redactor),
            limit_s=execution_timeout,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
        )
        if kernel is not None:
            client.km = StartedKernelManager(kernel, kernel_name)
        ledger.start()
        for text in redactor.warnings():
            ledger.tell({"event": "warning", "text": text})
        ended.cells = ledger.count()
        run_sync(client.run)(on_end or _nothing)
        saved = nbformat.from_dict(ledger.file.notebook())
        if outcome is None and ended.cause is not None and not ended.seen_by_papermill:
            if path is None:  # papermill writes nothing once we raise
                write_ipynb(saved, output_path)
            raise NotebookError(ended.message, where=f"cell {ended.cell}" if ended.cell else "")
        return saved


def _local(output_path: str | None) -> Path | None:
    """Return papermill's output as a file of this machine, where it is one."""
    handler = papermill_io.get_handler(output_path)
    if output_path is None or not isinstance(handler, LocalHandler):
        return None
    return Path(handler._cwd or "", output_path)  # noqa: SLF001 - it goes by the folder it began in


def _check_tags(nb: Any) -> None:
    for number, cell in enumerate(nb.cells, start=1):
        try:
            own_timeout(cell.metadata.get("tags", []))
        except TagError as error:
            where = f"cell {number}"
            raise NotebookError(error.problem, where=where, advice=error.advice) from error


def _log_warnings(event: Mapping[str, Any]) -> None:
    if event["event"] == "warning":
        papermill_logger.warning(event["text"])


def _nothing() -> None:
    """Do nothing at the end."""
