"""A JupyterLab that `nightmill replay --open` has started, for tests that talk to it."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.conftest import ProjectFiles

ENOUGH_S = 120  # for JupyterLab to start on a busy machine


@dataclass(frozen=True)
class OpenLab:
    """The command that holds JupyterLab open, what it has said, and the address it gave."""

    process: subprocess.Popen[str]
    said: str
    url: str

    def ask(self, path: str, *, token: str | None = None) -> Any:
        """Return what the server's API answers; with the address's own token by default."""
        parts = urlsplit(self.url)
        known = parse_qs(parts.query)["token"][0] if token is None else token
        request = urllib.request.Request(
            f"http://{parts.netloc}/api/{path}", headers={"Authorization": f"token {known}"}
        )
        with urllib.request.urlopen(request, timeout=ENOUGH_S) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def end(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(ENOUGH_S)


@contextmanager
def opened(project: ProjectFiles, *arguments: str, env: Mapping[str, str]) -> Iterator[OpenLab]:
    """Start `nightmill replay ... --open --no-browser` and wait for the address."""
    settings = project.root / ".jupyter"
    apart = {f"JUPYTER_{name}_DIR": str(settings / name.lower()) for name in ("CONFIG", "DATA")}
    process = project.start("replay", *arguments, "--open", "--no-browser", env={**env, **apart})
    with process:
        try:
            said = _read_until(process, "Ctrl-C")
            (url,) = re.findall(r"http://\S+", said)
            yield OpenLab(process, said, url)
        finally:
            if process.poll() is None:
                process.terminate()  # JupyterLab ends with it


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    said, deadline = "", time.monotonic() + ENOUGH_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while word not in said:
            if not selector.select(deadline - time.monotonic()):
                raise TimeoutError(said)
            data = os.read(process.stdout.fileno(), 1 << 16)  # readline may read ahead
            if not data:
                raise RuntimeError(said + process.stderr.read())
            said += data.decode()
    return said
