"""What is done to the processes of a running step, or of papermill: signals and outages."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.deaths.surroundings import Surrounding

TOKEN = "NM_DEATH_TOKEN"
EXECUTED = ("notebook.ipynb", "out.ipynb")  # a step's, and papermill's
_OUTAGE_S = 2.0


@dataclass(frozen=True)
class Running:
    """A notebook being run by a process of ours: the supervisor, or papermill.

    Its kernel reports in `folder`; every process of it carries the token in its environment.
    `saved` reads the executed notebook as it is kept at present.
    """

    process: subprocess.Popen
    folder: Path
    token: str
    surrounding: Surrounding
    saved: Callable[[], bytes | None]

    def reached(self) -> bool:
        """Whether the notebook says that it has come to the deadly cell."""
        return (self.folder / "reached").exists()

    def begun(self) -> bool:
        """Whether there is an executed notebook on the local disk."""
        return any(file.name in EXECUTED for file in self.folder.rglob("*.ipynb"))

    def ended(self) -> bool:
        """Whether the first process has ended."""
        return self.process.poll() is not None

    def processes(self) -> list[psutil.Process]:
        """Find every process that carries the token and is alive, wherever its parent is."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(TOKEN) == self.token:
                    found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
        return found

    def kernel(self) -> psutil.Process | None:
        """Find the kernel's process, which may not be ready yet."""
        found = [one for one in self.processes() if "ipykernel_launcher" in " ".join(_words(one))]
        return found[0] if found else None

    def engine(self) -> psutil.Process:
        """Return the process that talks to the kernel: the supervisor's child, or papermill."""
        for one in psutil.Process(self.process.pid).children():
            if any(word.startswith("nightmill.step.") for word in _words(one)):
                return one
        return psutil.Process(self.process.pid)


Act = Callable[[Running], None]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Poll until a condition holds; fails with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in {timeout_s:g} s"
        time.sleep(0.02)  # a poll with a deadline


def when_reached(act: Act) -> Act:
    """Do it when the notebook says that it has come so far."""

    def do(run: Running) -> None:
        wait_until(lambda: run.reached() or run.ended(), "the deadly cell")
        assert run.reached(), (run.folder / "said").read_text()
        act(run)
        (run.folder / "go").touch()

    return do


def when_saved(act: Act) -> Act:
    """Do it when the notebook that is kept says that the deadly cell runs."""

    def do(run: Running) -> None:
        wait_until(run.reached, "the deadly cell")
        wait_until(lambda: _is_running(run.saved()), "a notebook that says so")
        act(run)
        (run.folder / "go").touch()

    return do


def _is_running(notebook: bytes | None) -> bool:
    cells = json.loads(notebook)["cells"] if notebook else ()
    return "running" in [cell["metadata"]["papermill"]["status"] for cell in cells]


def when_kernel_starts(act: Act) -> Act:
    """Do it while the kernel starts, which is made to take long, once the notebook is begun."""

    def do(run: Running) -> None:
        wait_until(run.kernel, "the kernel's process")
        run.kernel().suspend()
        wait_until(run.begun, "a notebook")
        act(run)

    return do


def sigterm(run: Running) -> None:
    """Ask to stop, as Kubernetes does."""
    run.process.send_signal(signal.SIGTERM)


def sigint(run: Running) -> None:
    """Ask to stop, as Ctrl-C does."""
    run.process.send_signal(signal.SIGINT)


def hang_up(run: Running) -> None:
    """Lose the launcher, which holds the other end of standard input."""
    assert run.process.stdin is not None
    run.process.stdin.close()


def kill_kernel(run: Running) -> None:
    """Kill the kernel alone."""
    run.kernel().kill()


def kill_first(run: Running) -> None:
    """Kill the process that was started: the supervisor, or papermill."""
    run.process.kill()


def kill_engine(run: Running) -> None:
    """Kill the process that talks to the kernel."""
    run.engine().kill()


def kill_all(run: Running) -> None:
    """Kill every process at once, as the end of a whole container does."""
    for process in run.processes():
        with suppress(psutil.Error):
            process.kill()


def lose_store(run: Running) -> None:
    """Take the store away."""
    run.surrounding.gate.shut()


def lose_store_for_a_while(run: Running) -> None:
    """Take the store away, and give it back while the cell still runs."""
    run.surrounding.gate.shut()
    time.sleep(_OUTAGE_S)  # what the promise is about
    run.surrounding.gate.open()


def lose_store_at_commit(run: Running) -> None:
    """Take the store away in the moment in which the step asks for the commit."""
    run.surrounding.gate.shut_at = rb"^PUT \S+/current/"
