"""JupyterLab, opened on an interactive copy: the replay's folder, its kernel, the failing cell.

A server of its own on loopback, with a token that no command line shows. Its kernel is the very
environment of the record, also where JupyterLab knows another one under the same name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nightmill.errors import UsageError
from nightmill.replay.interactive import InteractiveCopy
from nightmill.replay.stage import Replay
from nightmill.step.limits import decide_threads

_EXTENSIONS = Path(__file__).with_name("labextensions")
_PATIENCE_S = 90.0
_POLL_S = 0.1
_GRACE_S = 10.0
_LOG_LINES = 10


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; `url` holds its token."""

    process: subprocess.Popen[bytes]
    url: str


def require_lab(copy: InteractiveCopy) -> None:
    """Raise UsageError where JupyterLab is not installed beside Nightmill."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError(
            "JupyterLab is not installed here, so nothing was opened",
            where=str(copy.path),
            advice="pip install 'nightmill[lab]', or open this copy with what you have",
        )


@contextmanager
def open_lab(replay: Replay, copy: InteractiveCopy, *, browser: bool) -> Iterator[Lab]:
    """Start JupyterLab, in a browser where one is wanted, and end it with its kernels.

    Raises UsageError that shows the end of its log where it does not start.
    """
    runtime, log = replay.folder / "jupyter", replay.folder / "jupyter.log"
    token = secrets.token_urlsafe()
    page = f"/lab/tree/{quote(copy.path.relative_to(replay.root).as_posix())}"
    page += f"#cell-id={copy.cell_id}" if copy.cell_id else ""
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(replay, page, browser=browser),
            env=_environment(replay)
            | {"JUPYTER_TOKEN": token, "JUPYTER_RUNTIME_DIR": str(runtime)},
            cwd=replay.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        base = _wait_for(process, runtime / f"jpserver-{process.pid}.json", log)
        path, mark, cell = page.partition("#")
        yield Lab(process, f"{base}{path.lstrip('/')}?token={token}{mark}{cell}")
    finally:
        _end(process)


def _command(replay: Replay, page: str, *, browser: bool) -> list[str]:
    settings = {
        "ServerApp.root_dir": str(replay.root),
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": "0",  # one that is free
        "ServerApp.open_browser": str(browser),
        "ServerApp.answer_yes": "True",  # nobody is asked whether it shall end
        "ServerApp.allow_root": str(os.geteuid() == 0),  # a container's user often is
        "LabApp.default_url": page,
        "LabApp.extra_labextensions_path": str(_EXTENSIONS),
        "LabApp.workspaces_dir": str(replay.folder / "workspaces"),  # not the user's own layout
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-P", "-m", "jupyterlab", *flags]


def _environment(replay: Replay) -> dict[str, str]:
    """Return the variables of the server, which its kernels inherit: what the step's kernel had."""
    author = {**replay.kernel.kernel.env, **replay.spec.env}
    base = {**os.environ, **replay.env, **author}
    data = [str(replay.kernel.jupyter_path), os.environ.get("JUPYTER_PATH", "")]
    return {
        **base,
        **decide_threads(base).variables,
        "JUPYTER_PATH": os.pathsep.join(filter(None, data)),
    }


def _wait_for(process: subprocess.Popen[bytes], facts: Path, log: Path) -> str:
    """Return the server's address as soon as it listens."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        if facts.is_file() and (text := facts.read_text(encoding="utf-8")).endswith("}"):
            return str(json.loads(text)["url"])
        time.sleep(_POLL_S)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    raise UsageError("JupyterLab did not start:\n" + "\n".join(lines), where=str(log))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
