"""A whole Airflow on this machine, for people without one: `make airflow`.

It starts what `airflow standalone` starts, but listens on loopback alone (that command's log
servers listen on every interface), several side by side, and leaves no process behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from nightmill.cluster.pod import GRACE_S
from nightmill.errors import InterruptedRunError, NightmillError
from nightmill.spec.project import find_root

HOST = "127.0.0.1"
PORT = 8080
USER = "admin"
COMPONENTS: Mapping[str, Sequence[str]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
START_S = 180.0
STOP_S = GRACE_S + 10.0  # running steps save their notebooks
_PORT_VARIABLE = "NIGHTMILL_AIRFLOW_PORT"
_LOG_TAIL = 3000


class StandaloneAirflow:
    """The components of one Airflow, between entering and leaving; logs lie in its home."""

    def __init__(self, root: Path, home: Path, port: int) -> None:
        self.root = root
        self.home = home
        self.port = port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.port}"

    @property
    def password(self) -> str:
        """The password of `USER`, which Airflow made up at its first start."""
        file = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text(encoding="utf-8"))[USER])

    @property
    def environment(self) -> dict[str, str]:
        """What its commands need; variables that are set already win, except for addresses."""
        usual = {
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(os.cpu_count() or 1),
            # After 5 s, which is SQLite's own patience, a busy machine gets "Database error".
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
        }
        addresses = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        return usual | dict(os.environ) | addresses

    def __enter__(self) -> Self:
        """Start everything and wait until it is healthy; raises NightmillError where it is not."""
        self._refuse_taken_port()
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._run("db", "migrate")
            for name, arguments in COMPONENTS.items():
                self._processes[name] = self._start(name, arguments)
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self.stop()

    def wait(self) -> None:
        """Wait until a component ends, which none should; raises NightmillError."""
        while True:
            self._refuse_dead()
            time.sleep(1)

    def processes(self) -> list[psutil.Process]:
        """List the components and all that they started, what detached itself as well."""
        return [process for one in self._processes.values() for process in _family(one.pid)]

    def stop(self) -> None:
        """End all components and all that they started."""
        family = self.processes()
        for one in self._processes.values():
            one.terminate()
        _gone, alive = psutil.wait_procs(family, timeout=STOP_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for one in self._processes.values():
            one.wait()
        self._processes.clear()

    def _run(self, *arguments: str) -> None:
        log = self._log("setup")
        with log.open("ab") as output:
            done = subprocess.run(
                ["airflow", *arguments],
                check=False,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        if done.returncode:
            raise self._failure(f"`airflow {' '.join(arguments)}` failed", log)

    def _start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as output:
            return subprocess.Popen(
                ["airflow", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us, who end them in good order
            )

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self._refuse_dead()
            if self._is_healthy():
                return
            time.sleep(0.5)
        raise self._failure(f"not healthy within {START_S:g} s", self._log("api-server"))

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(  # noqa: S310 - our own http address
                f"{self.address}/api/v2/monitor/health", timeout=5
            ) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def _refuse_dead(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise self._failure(f"{name} ended by itself", self._log(name))

    def _refuse_taken_port(self) -> None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.port)) == 0:
                raise NightmillError(
                    f"port {self.port} is taken",
                    advice=f"stop what listens there, or choose another: {_PORT_VARIABLE}=8081",
                )

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def _failure(self, problem: str, log: Path) -> NightmillError:
        tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        return NightmillError(f"{problem}:\n{tail}", where=str(log))


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def main() -> int:
    """Start an Airflow for the project in this folder; Ctrl-C ends it."""

    def stop(_number: int, _frame: object) -> None:
        raise InterruptedRunError("stopped")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        root = find_root(Path.cwd())
        port = int(os.environ.get(_PORT_VARIABLE) or PORT)
        sys.stdout.write("Starting Airflow, which takes about half a minute ...\n")
        sys.stdout.flush()
        with StandaloneAirflow(root, root / ".nightmill" / "airflow", port) as airflow:
            sys.stdout.write(
                f"Airflow is at {airflow.address}, user {USER}, password {airflow.password}\n"
                f"Its logs are in {airflow.home}. Ctrl-C ends it.\n"
            )
            sys.stdout.flush()
            airflow.wait()
    except InterruptedRunError:
        return 0
    except NightmillError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
