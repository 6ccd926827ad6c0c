"""The engine's process as its supervisor holds it: orders go in, events and output come out.

It is the first thing that `nightmill step` starts: papermill takes as long to import as all that
the supervisor needs, and so they load side by side. It waits for its orders, and ends by itself
when their pipe closes: then nothing is to be run, or the supervisor is gone. Imports next to
nothing, so that it can be started at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightmill.step.kernel_start import KernelOrder
    from nightmill.step.plan import Plan

_PATIENCE_S = 5.0


class EngineProcess:
    """A started engine. `events` and `output` are descriptors to read from."""

    def __init__(self) -> None:
        self._kernel: KernelOrder | None = None
        self.events, events_in = os.pipe()
        try:
            self.process = subprocess.Popen(
                # The environment and the folder are the notebook's: they shall not alter our Python
                # (-E: PYTHONWARNINGS and its like; -P: a json.py that lies in the folder).
                [sys.executable, "-EP", "-m", f"{__package__}.child", str(events_in)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(events_in,),
                start_new_session=True,
            )
        finally:
            os.close(events_in)

    @property
    def output(self) -> int:
        """What the engine itself, not a cell, says on its standard output and error."""
        assert self.process.stdout is not None  # noqa: S101 - stdout=PIPE always gives one
        return self.process.stdout.fileno()

    def start_kernel(self, order: KernelOrder) -> None:
        """Have the kernel started; no cell runs."""
        self._kernel = order
        self._send({"order": "kernel", **asdict(order)})

    def killed_children(self) -> int:
        """Count the children of the kernel that were killed so far, as far as it knows."""
        try:
            noted = self._kernel.killed_children.read_bytes() if self._kernel else b""
        except OSError:
            return 0
        return noted.count(b"\n")

    def execute(self, plan: Plan) -> None:
        """Have the notebook run."""
        self._send({"order": "plan", **asdict(plan)})

    def _send(self, order: dict[str, object]) -> None:
        assert self.process.stdin is not None  # noqa: S101 - as above
        with suppress(BrokenPipeError):  # an engine that died is noticed by whoever watches it
            self.process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """End the engine, unless it has ended, and let go of its pipes."""
        orders, output = self.process.stdin, self.process.stdout
        if orders is None or output is None or orders.closed:
            return
        with suppress(BrokenPipeError):
            orders.close()
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.events)
        output.close()
