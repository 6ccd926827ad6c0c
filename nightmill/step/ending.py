"""Says how an execution ended early: in the notebook's cell, and in the outcome."""

from __future__ import annotations

from typing import Any

from nightmill.causes import Cause
from nightmill.spec.executed import valid_unicode
from nightmill.spec.states import CellState
from nightmill.step.cell_outputs import NotebookOutputs
from nightmill.step.cell_states import CellLedger
from nightmill.step.outcome import Outcome, describe_error
from nightmill.step.redaction import Redactor
from nightmill.step.streams import head_of

_ERROR_BYTES = 4000  # of an error's value in the outcome; the notebook has more


class Ending:
    """Fills in one outcome; what ended first is what counts."""

    def __init__(
        self, ledger: CellLedger, outputs: NotebookOutputs, outcome: Outcome, redactor: Redactor
    ) -> None:
        self._ledger = ledger
        self._outputs = outputs
        self.outcome = outcome
        self._redactor = redactor

    def failed(self, ename: str, evalue: str) -> None:
        """Say that a cell raised an error; the ledger knows which."""
        position = self._ledger.failed()
        if position is not None and not self._errors(position):  # the kernel had no words for it
            self._ledger.add_error(position, valid_unicode(ename), valid_unicode(evalue))
        errors = self._errors(position) if position is not None else []
        error: dict[str, Any] = (
            errors[-1] if errors else {"ename": ename, "evalue": evalue, "traceback": []}
        )
        message = describe_error(error["ename"], error["evalue"])
        self._end(Cause.NOTEBOOK_ERROR, position, message, error=error)

    def cut_short(self, cause: Cause, ename: str, message: str) -> None:
        """Say why the execution was ended, and in the running cell too, if there is one."""
        if self.outcome.cause is not None:
            return
        position = self._ledger.running
        self._end(cause, position, message, error={"ename": ename, "evalue": message})
        self._outputs.close()
        if position is not None:
            self._ledger.add_error(position, ename, message)
            self._ledger.cell_ended(position, CellState.INTERRUPTED)

    def _end(
        self, cause: Cause, position: int | None, message: str, *, error: dict[str, Any]
    ) -> None:
        outcome, nb = self.outcome, self._ledger.nb
        error = self._redactor.tree(error)
        outcome.cause, outcome.message = cause, head_of(self._redactor.text(message), _ERROR_BYTES)
        outcome.ename, outcome.evalue = error["ename"], head_of(error["evalue"], _ERROR_BYTES)
        outcome.traceback = list(error.get("traceback", []))
        if position is not None:
            mine = nb.cells[position].metadata["nightmill"]
            outcome.cell, outcome.title = mine["number"], mine["title"]

    def _errors(self, position: int) -> list[Any]:
        outputs = self._ledger.nb.cells[position].get("outputs", [])
        return [output for output in outputs if output["output_type"] == "error"]
