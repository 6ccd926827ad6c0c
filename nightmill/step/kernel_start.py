"""Starts the kernel's process before anything that could talk to it is imported.

A kernel needs a few tenths of a second to come up, and so do papermill and the libraries below it:
here the first of the two is started, so that they come up side by side. The engine takes the
process over afterwards (see `kernel_manager`). Imports no Jupyter, which is the point.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from nightmill.step.kernel_hook import KERNEL_ARGUMENTS

# As `-m ipykernel_launcher` does, but without the debugger that nobody uses at night: it takes a
# third of the start, and would make breakpoint() do nothing (see `in_kernel`).
_LAUNCHER = """
import sys
if sys.path[0] == "": del sys.path[0]
sys.modules["debugpy"] = None
import ipykernel_launcher
sys.argv[0] = ipykernel_launcher.__file__
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
_MODULE = ["-m", "ipykernel_launcher"]

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")

_LONGEST_SOCKET_PATH = 95  # a Unix socket's path holds 107 bytes, and a number is appended


@dataclass(frozen=True)
class KernelOrder:
    """What is needed to start a kernel. Paths are absolute.

    `kernelspec` is the folder of its kernel.json, `env` the whole environment but for what the
    kernelspec adds, `connection_file` where to write how to talk to it.
    """

    kernelspec: str
    env: Mapping[str, str]
    cwd: str
    connection_file: str

    @property
    def killed_children(self) -> Path:
        """Where the kernel notes its children that were killed, a line each (see `in_kernel`)."""
        return Path(self.connection_file).with_name("killed-children")


@dataclass(frozen=True)
class StartedKernel:
    """A kernel's process, the file that says how to talk to it, and its kernelspec's folder."""

    process: subprocess.Popen[bytes]
    connection_file: Path
    kernelspec: Path


def start_kernel(order: KernelOrder) -> StartedKernel:
    """Start the kernel in a session of its own; raises OSError if its program cannot be started."""
    spec = json.loads(Path(order.kernelspec, "kernel.json").read_bytes())
    file = Path(order.connection_file)
    _write_connection_file(file, Path(order.kernelspec).name)
    order.killed_children.touch()
    command = [part.replace("{connection_file}", str(file)) for part in spec["argv"]]
    if command[1:3] == _MODULE:
        command[1:3] = ["-c", _LAUNCHER]
    env = {name: text for name, text in order.env.items() if name != "PYTHONEXECUTABLE"}
    process = subprocess.Popen(
        [*command, *KERNEL_ARGUMENTS],
        env={**env, **spec["env"], "JPY_PARENT_PID": str(os.getpid())},
        cwd=order.cwd,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    return StartedKernel(process, file, Path(order.kernelspec))


def _write_connection_file(file: Path, kernel_name: str) -> None:
    facts = {
        **_addresses(file.with_name("kernel")),
        "key": uuid4().hex,
        "signature_scheme": "hmac-sha256",
        "kernel_name": kernel_name,
    }
    file.touch(mode=0o600, exist_ok=False)  # it holds the key: closed before it is written
    file.write_text(json.dumps(facts), encoding="ascii")


def _addresses(sockets: Path) -> dict[str, Any]:
    """Choose sockets that only this user can open, if their path is short enough, else ports."""
    if len(str(sockets)) < _LONGEST_SOCKET_PATH:
        numbers = {name: number for number, name in enumerate(PORTS, start=1)}
        return {"transport": "ipc", "ip": str(sockets), **numbers}
    with ExitStack() as stack:  # all are held until the last is found, so they differ
        held = [stack.enter_context(socket.socket()) for _ in PORTS]
        for each in held:
            each.bind(("127.0.0.1", 0))
        ports = {name: each.getsockname()[1] for name, each in zip(PORTS, held, strict=True)}
    return {"transport": "tcp", "ip": "127.0.0.1", **ports}
