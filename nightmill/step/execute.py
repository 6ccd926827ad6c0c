"""Runs papermill with our engine over a started kernel: what the supervisor's child is for."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import nbformat
import papermill
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillExecutionError

from nightmill.causes import Cause
from nightmill.spec.notebook import to_ipynb
from nightmill.step import injection
from nightmill.step.cell_states import Listener
from nightmill.step.engine import NightmillEngine
from nightmill.step.hashing import file_sha256
from nightmill.step.kernel_start import StartedKernel
from nightmill.step.outcome import Outcome
from nightmill.step.plan import Plan
from nightmill.step.redaction import Redactor
from nightmill.step.spill import SpillTo

_SAVED_MEANWHILE = (
    "the notebook was saved while the step began, so the record would name another one"
)


def warm_up() -> None:
    """Have nbformat compile its schema, which it does once, before there is anything to run."""
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()]))


def execute(plan: Plan, kernel: StartedKernel | OSError, events: IO[str]) -> int:
    """Run the plan; 0 when every cell completed, 1 otherwise: the outcome event says more.

    The outcome is told once it is known and the notebook saved; after that only the kernel ends.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # papermill's progress is ours to tell
    outcome = Outcome()

    def tell(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    def end(cause: Cause, message: str) -> int:
        tell({"event": "outcome", **asdict(Outcome(cause, message))})
        return 1

    if isinstance(kernel, OSError):
        return end(Cause.IMAGE, f"the kernel {plan.kernel} cannot be started: {kernel}")
    try:
        source = source_node(plan)
        if file_sha256(Path(plan.notebook)) != plan.notebook_sha256:
            return end(Cause.BAD_PARAMETERS, _SAVED_MEANWHILE)
        _run(plan, source, kernel, outcome, tell)
    except OSError as error:
        if outcome.cause is None:
            return end(Cause.STORE, f"the scratch disk: {error.strerror or error}")
        tell({"event": "outcome", **asdict(outcome)})  # it knows the cell, but could not save
    return 0 if outcome.cause is None else 1


def _run(plan: Plan, source: Any, kernel: StartedKernel, outcome: Outcome, tell: Listener) -> None:
    papermill_engines.register("nightmill", NightmillEngine)
    injection.register(plan.kernel, plan.expressions)
    # A cell tagged raises-exception did so: papermill minds, and we do not.
    with suppress(PapermillExecutionError):
        papermill.execute_notebook(
            source,
            None,  # our engine alone writes the notebook
            parameters=dict(plan.parameters),
            engine_name="nightmill",
            kernel_name=plan.kernel,
            language="python",
            progress_bar=False,
            cwd=str(Path(plan.notebook).parent),
            execution_timeout=plan.cell_timeout_s,
            save_to=Path(plan.executed),
            listener=tell,
            outcome=outcome,
            redactor=Redactor.of(os.environ),
            spill=SpillTo(Path(plan.spilled), plan.spilled_address),
            kernel=kernel,
            on_end=lambda: tell({"event": "outcome", **asdict(outcome)}),
        )


def source_node(plan: Plan) -> Any:
    """Return the source notebook with its real kernel, each cell numbered as its author sees it."""
    nb = nbformat.from_dict(to_ipynb(Path(plan.notebook)))
    for number, cell in enumerate(nb.cells, start=1):
        cell.metadata["nightmill"] = {"number": number}
    nb.metadata["kernelspec"] = dict(plan.kernelspec)
    nb.metadata.pop("papermill", None)  # of an earlier execution
    return nb
