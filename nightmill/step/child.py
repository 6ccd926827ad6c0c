"""The child of the supervisor, which waits for orders while it loads and then runs a notebook.

Started as ``python -m nightmill.step.child EVENTS_FD``. Orders are JSON lines on standard input: to
start a kernel, then to run a plan. Events go as JSON lines to EVENTS_FD, the last of them the
outcome. When standard input closes, there is nothing to run or the supervisor is gone: the child
stops its kernel and itself. Imports no Jupyter before its thread listens.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NoReturn

from nightmill.step.kernel_start import KernelOrder, StartedKernel, start_kernel
from nightmill.step.plan import Plan
from nightmill.step.process_tree import ProcessTree

# What papermill and jsonschema would import for other uses: filesystems in clouds, and formats of
# times and addresses (a grammar that JupyterLab brings for these takes 0.7 s to compile).
_UNUSED = (
    *("azure", "boto3", "gcsfs", "github", "pyarrow"),
    *("fqdn", "isoduration", "jsonpointer", "rfc3339_validator", "rfc3986_validator"),
    *("rfc3987_syntax", "uri_template", "webcolors"),
)
_RARELY_USED = "requests"  # papermill reads notebooks from the web with it

_REAP_EVERY_S = 1.0
_POSTPONED_S = 0.02
_GRACE_S = 10.0  # to interrupt the kernel or kill it, and to save


class Orders(threading.Thread):
    """Takes the supervisor's orders, and does its work when it is gone: nothing is left behind."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.kernel: StartedKernel | OSError = OSError("nobody asked for it")
        self._tree = ProcessTree()
        self._plans: SimpleQueue[Plan] = SimpleQueue()
        self._is_running = False

    def plan(self) -> Plan:
        """Wait for the plan."""
        return self._plans.get()

    def run(self) -> None:
        """Take order after order until there are no more."""
        for line in self._lines(sys.stdin.fileno()):
            order: dict[str, Any] = json.loads(line)
            match order.pop("order"):
                case "kernel":
                    self._start_kernel(KernelOrder(**order))
                case "plan":
                    self._is_running = True
                    self._plans.put(Plan(**order))
        self._stop()

    def _start_kernel(self, order: KernelOrder) -> None:
        """Start it, in the environment that is this process's own from now on."""
        os.environ.update(order.env)
        for name in os.environ.keys() - order.env.keys():
            del os.environ[name]
        try:
            self.kernel = start_kernel(order)
        except OSError as error:
            self.kernel = error

    def _lines(self, descriptor: int) -> Iterator[bytes]:
        rest = b""
        while True:
            while not select.select([descriptor], [], [], _REAP_EVERY_S)[0]:
                self._tree.reap_adopted()  # what the kernel orphans comes here
            data = os.read(descriptor, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines

    def _stop(self) -> NoReturn:
        """Stop as on any stop, and end all once the notebook is saved or the grace is over."""
        if not self._is_running:  # an idle kernel has nothing to lose
            if isinstance(self.kernel, StartedKernel):
                with suppress(ProcessLookupError):
                    os.killpg(self.kernel.process.pid, signal.SIGKILL)
            os._exit(0)
        atexit.register(self._tree.end_all)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        self._tree.end_all()
        os._exit(1)


def main(events_fd: str) -> int:
    """Serve one plan; 0 when every cell completed, 1 otherwise: the outcome event says more."""
    signal.signal(signal.SIGTERM, _postpone)
    orders = Orders()
    orders.start()
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: import refused
    _import_when_used(_RARELY_USED)
    # Only here: papermill takes long to import, and the kernel is started meanwhile.
    import entrypoints  # type: ignore[import-untyped]  # noqa: PLC0415 - see above

    entrypoints.get_group_all = _no_plugins
    from nightmill.step.execute import execute, warm_up  # noqa: PLC0415 - see above

    warm_up()
    with os.fdopen(int(events_fd), "w", encoding="ascii") as events:
        return execute(orders.plan(), orders.kernel, events)


def _import_when_used(name: str) -> None:
    """Let the module be imported the first time that something is taken from it."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.loader is not None:
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def _no_plugins(*_group: object) -> list[object]:
    """Find none: papermill would look through every package for engines and handlers of others."""
    return []


def _postpone(number: int, _frame: object) -> None:
    """Let a request to stop wait until the engine listens for it: then the notebook tells of it."""
    threading.Timer(_POSTPONED_S, os.kill, (os.getpid(), number)).start()


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is saved and told: taking the modules down would only take time
