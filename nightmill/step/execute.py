"""The child of the supervisor: runs papermill with our engine, in one process that may die.

Started as ``python -m nightmill.step.execute PLAN EVENTS_FD LIFELINE_FD``. It reads what to do from
the plan (a JSON file), writes one JSON line an event to the events pipe, the last of them the
outcome, and leaves the executed notebook on the local disk. When the other end of the lifeline
closes, the supervisor is gone and the child stops its kernel and itself.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

# JupyterLab brings a grammar of web addresses that jsonschema, below nbformat, would compile at
# each start for a second or more; notebooks are valid or not without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: import refused

import nbformat  # noqa: E402 - after the line above
import papermill  # noqa: E402 - as above
from jupyter_core.paths import jupyter_runtime_dir  # noqa: E402 - as above
from papermill.exceptions import PapermillExecutionError  # noqa: E402 - as above

from nightmill.causes import Cause  # noqa: E402 - as above
from nightmill.spec.notebook import to_ipynb  # noqa: E402 - as above
from nightmill.step import injection  # noqa: E402 - as above
from nightmill.step.engine import Outcome  # noqa: E402 - as above
from nightmill.step.plan import Plan  # noqa: E402 - as above
from nightmill.step.process_tree import ProcessTree  # noqa: E402 - as above
from nightmill.step.provenance import file_sha256  # noqa: E402 - as above

_REAP_EVERY_S = 1.0
_GRACE_S = 10.0  # to interrupt the kernel or kill it, and to save
_LONGEST_SOCKET_PATH = 95  # a Unix socket's path holds 107 bytes, and a number is appended


def main(plan_file: str, events_fd: str, lifeline_fd: str) -> int:
    """Run the plan; 0 when every cell completed, 1 otherwise: the outcome event says more."""
    events = os.fdopen(int(events_fd), "w", encoding="ascii")
    _Lifeline(int(lifeline_fd)).start()

    def tell(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    try:
        outcome = run(Plan.read(Path(plan_file)), tell)
    except OSError as error:
        outcome = Outcome(Cause.STORE, f"the scratch disk: {error.strerror or error}")
    tell({"event": "outcome", **asdict(outcome)})
    return 0 if outcome.cause is None else 1


def run(plan: Plan, listener: Any) -> Outcome:
    """Execute the plan's notebook with papermill and return how it ended."""
    outcome = Outcome()
    executed = Path(plan.executed)
    # papermill overwrites its output in place at the end: let it do so beside the true file.
    draft = executed.with_name("papermill.ipynb")
    injection.register(plan.kernel, plan.expressions)
    source = source_node(plan)
    if file_sha256(Path(plan.notebook)) != plan.notebook_sha256:
        said = "the notebook was saved while the step began, so the record would name another one"
        return Outcome(Cause.BAD_PARAMETERS, said)
    try:
        papermill.execute_notebook(
            source,
            str(draft).replace("{", "{{").replace("}", "}}"),  # papermill formats its paths
            parameters=dict(plan.parameters),
            engine_name="nightmill",
            kernel_name=plan.kernel,
            language="python",
            progress_bar=False,
            cwd=str(Path(plan.notebook).parent),
            execution_timeout=plan.cell_timeout_s,
            save_to=executed,
            listener=listener,
            outcome=outcome,
            connection=_unix_sockets(),
        )
    except PapermillExecutionError:
        if outcome.cause is None:  # a cell tagged raises-exception did: papermill minds, we don't
            draft.unlink()
    if draft.is_file():
        draft.replace(executed)
    return outcome


def source_node(plan: Plan) -> Any:
    """Return the source notebook with its real kernel, each cell numbered as its author sees it."""
    nb = nbformat.from_dict(to_ipynb(Path(plan.notebook)))
    for number, cell in enumerate(nb.cells, start=1):
        cell.metadata["nightmill"] = {"number": number}
    nb.metadata["kernelspec"] = dict(plan.kernelspec)
    nb.metadata.pop("papermill", None)  # of an earlier execution
    return nb


def _unix_sockets() -> dict[str, str]:
    """Talk to the kernel over sockets that only this user can open, if their path is short enough.

    jupyter_client's own default would put them into the notebook's folder, for all kernels alike.
    """
    prefix = str(Path(jupyter_runtime_dir()) / "kernel")
    return {"transport": "ipc", "ip": prefix} if len(prefix) < _LONGEST_SOCKET_PATH else {}


class _Lifeline(threading.Thread):
    """Waits for the supervisor's death, then does its work: nothing may be left behind."""

    def __init__(self, lifeline_fd: int) -> None:
        super().__init__(daemon=True)
        self._lifeline_fd = lifeline_fd
        self._tree = ProcessTree()

    def run(self) -> None:
        """Stop as on any stop, and end all once the notebook is saved or the grace is over."""
        while not select.select([self._lifeline_fd], [], [], _REAP_EVERY_S)[0]:
            self._tree.reap_adopted()  # what the kernel orphans comes here, not to the supervisor
        atexit.register(self._tree.end_all)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        self._tree.end_all()
        os._exit(1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # papermill's progress is ours to tell
    sys.exit(main(*sys.argv[1:]))
