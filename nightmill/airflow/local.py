"""The launcher without a cluster: a step as a subprocess of the Airflow worker.

It is the very command of a pod. Its standard input is a lifeline: when the worker is killed, the
step stops by itself, saves, and writes its record.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from nightmill.airflow.inputs import missing_inputs
from nightmill.airflow.links import NotebookLink
from nightmill.airflow.steprun_operator import StepRunFields, late, result_of_exit_code
from nightmill.cluster.pod import GRACE_S
from nightmill.spec.steprun import StepRun

_RESULT_VARIABLE = "NIGHTMILL_TERMINATION_LOG"


class LocalStepOperator(StepRunFields):
    """Runs a step on this machine.

    `environment` is added to the step's variables. Secrets of a cluster are not among them: a step
    on this machine has those of the worker.
    """

    operator_extra_links = (NotebookLink(),)
    ui_color = "#e8f0e4"

    def __init__(self, *, environment: Mapping[str, str] | None = None, **operator: Any) -> None:
        super().__init__(**operator)
        self.environment = dict(environment or {})

    def execute(self, context: Mapping[str, Any]) -> None:
        """Run the step, its lines in the log; raises AirflowException with the cause."""
        run = self.make_step_run(context)
        try:
            told = (
                self.done_before(run)
                or missing_inputs(context, run, Path(self.project))
                or self._run(run)
            )
        except AirflowTaskTimeout:  # the step is stopped by now; its record knows only that
            told = late()
        if "record" not in told and told["state"] != "succeeded":  # killed before its last word
            told = self.outcome(run).close(told, platform.node())
        self.finish(context, told)

    def _run(self, run: StepRun) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="nightmill-") as folder:
            result = Path(folder) / "result.json"
            with self._started(run.to_argv(), result) as process:
                self.tell(line.rstrip() for line in process.stdout or ())
                code = process.wait()
            return _read_result(result) or result_of_exit_code(code)

    def on_kill(self) -> None:
        """Ask the step to stop; it has `GRACE_S` seconds to save what ran."""
        process = getattr(self, "_process", None)
        if process is not None:
            _stop(process)

    @contextmanager
    def _started(self, argv: Sequence[str], result: Path) -> Iterator[subprocess.Popen[str]]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nightmill", *argv, "--die-with-stdin"],
            cwd=self.project,
            env=step_environment(os.environ) | self.environment | {_RESULT_VARIABLE: str(result)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # signals to the worker are the worker's to hand on
        )
        try:
            yield self._process
        finally:  # also when Airflow's own timeout strikes in the middle of a line
            _stop(self._process)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def step_environment(worker: Mapping[str, str]) -> dict[str, str]:
    """Give a step the worker's environment without Airflow's: it holds connections and keys."""
    return {
        name: value
        for name, value in worker.items()
        if not name.startswith(("AIRFLOW_", "_AIRFLOW_", "AIRFLOW__"))
    }


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read_result(file: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None
