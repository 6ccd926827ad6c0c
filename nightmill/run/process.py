"""A step's process on this machine, the pipe of its events, and what its exit code alone tells.

It is `nightmill step ...`, the very command of a pod, with its events as JSON lines on standard
output. Its standard input is a lifeline: when the launcher is gone, the step stops.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from nightmill.causes import Cause
from nightmill.run.status import StepState, StepStatus
from nightmill.signals import signal_name
from nightmill.spec import words

# -P: a file in the project's root must not stand in for a module of the runner's.
NIGHTMILL = (sys.executable, "-P", "-m", "nightmill")

_STDERR_TAIL = 2000


class StepProcess:
    """One attempt's process."""

    def __init__(self, status: StepStatus, root: Path, program: Sequence[str]) -> None:
        self.status = status
        self._rest = b""
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in finish
        arguments = [*status.planned.run.to_argv(), "--log-format=json", "--die-with-stdin"]
        self.popen = subprocess.Popen(
            [*program, *arguments],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,  # a selector sees the pipe, not what Python has read ahead
            start_new_session=True,  # Ctrl-C is for the launcher, which asks the step to stop
        )
        if self.popen.stdout is None:  # pragma: no cover - stdout=PIPE always gives one
            raise RuntimeError("no pipe")
        self.output = self.popen.stdout

    def read(self) -> bytes:
        """Read what is there; empty at the end."""
        return self.output.read(1 << 16)

    def events(self, data: bytes) -> list[Mapping[str, Any]]:
        """Return the events that are whole by now; a line that is none was said by a library."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found: list[Mapping[str, Any]] = []
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    found.append(event)
        return found

    def finish(self, *, stopped: bool) -> None:
        """Collect the process, and note how it ended."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        code = self.popen.wait()
        self.output.close()
        self._stderr.seek(0)
        stderr = self._stderr.read()[-_STDERR_TAIL:].decode(errors="replace")
        self._stderr.close()
        status = self.status
        done = StepState.HELD if status.review else StepState.SUCCEEDED
        status.state = done if code == 0 else StepState.FAILED
        if code and not status.cause:
            status.died = True
            cause = Cause.of_exit_code(code)
            said = "stopped" if stopped else _last_words(stderr) or _silence(code)
            status.cause, status.message = cause.value, words.describe(cause, said)


def _last_words(stderr: str) -> str:
    return " ".join(stderr.strip().removeprefix("error: ").split())


def _silence(code: int) -> str:
    if code < 0:
        return f"the step's process was killed by {signal_name(-code)}"
    return f"the step's process ended with exit code {code} and no word"
