"""Takes over a kernel that was started before jupyter_client was imported.

To jupyter_client a kernel's process belongs to a provisioner; ours is handed one that runs already.
Everything after the start (interrupts, signals, being alive, the end) stays the library's.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from nightmill.step.kernel_start import PORTS, StartedKernel

_POLL_S = 0.01
_IOPUB_WAIT_S = 0.2
_REPLY_WAIT_S = 1.0


class StartedKernelManager(AsyncKernelManager):
    """Manages a kernel of `start_kernel`; its own start is to find that kernel awake."""

    def __init__(self, started: StartedKernel, kernel_name: str) -> None:
        super().__init__(kernel_name=kernel_name)
        self.client_factory = _PromptClient
        self._started = started
        self._found_spec = KernelSpec.from_resource_dir(str(started.kernelspec))

    @property
    def kernel_spec(self) -> KernelSpec:
        """The one it was started by; the library would look through all packages for others."""
        return self._found_spec

    async def start_kernel(self, **_options: Any) -> None:
        """Take over the process, and wait until it listens or has died."""
        file = str(self._started.connection_file)
        self.connection_file = file
        self.load_connection_file(file)
        process = self._started.process
        self.provisioner = _StartedProvisioner(kernel_spec=self.kernel_spec, parent=self)
        self.provisioner.take_over(process, self.get_connection_info())
        sockets = [Path(f"{self.ip}-{getattr(self, name)}") for name in PORTS]
        while self.transport == "ipc" and process.poll() is None:
            if all(socket.exists() for socket in sockets):  # else zmq tries again after 100 ms
                break
            await asyncio.sleep(_POLL_S)

    async def _async_wait(self, pollinterval: float = _POLL_S) -> None:
        """Look more often than the library does, whose 100 ms are most of a kernel's end."""
        await super()._async_wait(min(pollinterval, _POLL_S))


class _StartedProvisioner(LocalProvisioner):
    """The library's provisioner of local processes, given one."""

    def take_over(self, process: Any, connection_info: Any) -> None:
        """Hold this process as if it had been launched here."""
        self.process, self.pid = process, process.pid
        self.pgid = process.pid  # it leads its session
        self.connection_info = connection_info


class _PromptClient(AsyncKernelClient):
    """The library's client, ready as soon as the kernel has answered on both channels."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - theirs
        """Wait for an answer and for a message to all; raises RuntimeError if the kernel died.

        The library goes on to wait until nothing more comes for 0.2 s; what may still come belongs
        to no cell, and the engine passes over it.
        """
        begun = time.monotonic()
        while timeout is None or time.monotonic() - begun < timeout:
            self.kernel_info()
            try:
                await self.get_shell_msg(timeout=_REPLY_WAIT_S)
                await self.get_iopub_msg(timeout=_IOPUB_WAIT_S)
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("the kernel died before it was ready") from None
            else:
                return
        raise RuntimeError(f"the kernel was not ready after {timeout} s")
