"""Fixtures that many tests share: a real S3 server, a store on each backend, a small project."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nightmill import kernels
from nightmill.__main__ import main
from nightmill.spec.kernel import load_kernel
from nightmill.store.open import open_store

BUCKET = "nightmill-tests"
START_TIMEOUT_S = 60
PORTS = ("s3", "master", "filer", "volume", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running S3 server: its endpoint, and an identity for each set of rights.

    `admin` may do everything; `reader` may read and list; `writer` may only write and delete.
    Every identity's access key is its name, and the secret is its name and "-secret".
    """

    endpoint: str
    bucket: str = BUCKET

    def url(self, prefix: str, **settings: object) -> str:
        """Name a store below a prefix of the bucket."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        base = f"s3://{self.bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"
        return f"{base}&{query}" if query else base

    def client(self):
        """Make a plain client of the admin's, to look at what is really there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="admin",
            aws_secret_access_key="admin-secret",
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
            ),
        )


def _free_ports(count: int) -> list[int]:
    """Find ports that are free now; all are held until the last is found, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _identities() -> str:
    rights = {
        "admin": ["Admin", "Read", "List", "Tagging", "Write"],
        "reader": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        "writer": [f"Write:{BUCKET}"],
    }
    return json.dumps(
        {
            "identities": [
                {
                    "name": name,
                    "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
                    "actions": actions,
                }
                for name, actions in rights.items()
            ]
        }
    )


def _command(directory: Path, ports: dict[str, int]) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    identities = directory / "identities.json"
    identities.write_text(_identities())
    # Every port is given, and every socket lies in the directory: several servers run side by side.
    return [
        str(weed),
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        f"-s3.config={identities}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory}/s3.sock",
        f"-filer.localSocket={directory}/filer.sock",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


def _wait_until_ready(server: S3Server, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            server.client().create_bucket(Bucket=BUCKET)
            server.client().put_object(Bucket=BUCKET, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            time.sleep(0.1)  # a poll with a deadline
        else:
            return
    pytest.fail(f"the S3 server was not ready in {START_TIMEOUT_S} s:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def s3_server():
    """Run a real S3 server on free ports of loopback for the whole session."""
    directory = Path(tempfile.mkdtemp(prefix="nm-s3-"))  # short: socket paths have 107 characters
    names = [*(f"{name}.port" for name in PORTS), *(f"{name}.port.grpc" for name in PORTS)]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}")
    log = directory / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(_command(directory, ports), stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            process.kill()  # nothing of it is kept, so it need not tidy up
    shutil.rmtree(directory)


@pytest.fixture
def act_as(monkeypatch):
    """Return a function that puts an identity of the S3 server into the AWS environment."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")

    def act(identity: str, secret: str = "") -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret or f"{identity}-secret")

    return act


@pytest.fixture
def s3_url(s3_server, act_as):
    """Name an S3 store of this test's own, with the admin's credentials in the environment."""
    act_as("admin")
    return s3_server.url(uuid4().hex)


@pytest.fixture(params=["directory", "s3"])
def store(request, tmp_path):
    """Open an empty store on each backend."""
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3_url"), base=tmp_path)
    return open_store("store", base=tmp_path)


# -- projects, kernels and the command line -----------------------------------------------------

REPOSITORY = Path(__file__).parents[1]
KERNEL = "tabular"  # the shipped kernel: its environment is built once and serves every test

Cell = str | tuple[str, str]  # source, or source and a tag ("markdown" makes it a text cell)


def notebook_json(cells: Sequence[Cell], **metadata: object) -> str:
    """Write a notebook as an editor would: one cell for each source or (source, tag)."""
    return json.dumps(
        {
            "cells": [_cell_json(number, cell) for number, cell in enumerate(cells)],
            "metadata": metadata,
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def _cell_json(number: int, cell: Cell) -> dict[str, object]:
    source, tag = (cell, "") if isinstance(cell, str) else cell
    if tag == "markdown":
        return {"cell_type": "markdown", "id": f"c{number}", "metadata": {}, "source": source}
    return {
        "cell_type": "code",
        "id": f"c{number}",
        "metadata": {"tags": [tag]} if tag else {},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code and all it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class ProjectFiles:
    """A small project on disk, and the means to run Nightmill in it as a process of its own."""

    root: Path
    env: Mapping[str, str]

    @property
    def store(self) -> Path:
        """The directory store that these commands use when they name no other."""
        return self.root / ".nightmill" / "store"

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def pipeline(self, name: str, steps: str, **notebooks: Sequence[Cell] | str) -> None:
        """Write a pipeline: the YAML below `steps:`, and step=cells for each notebook file."""
        text = f"pipeline: {name}\nsteps:\n{textwrap.indent(textwrap.dedent(steps), '  ')}"
        self.write(f"notebooks/{name}/pipeline.yaml", text)
        for step, cells in notebooks.items():
            content = cells if isinstance(cells, str) else notebook_json(cells)
            self.write(f"notebooks/{name}/{step}.ipynb", content)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **options: object):
        """Start `nightmill` with these arguments in the project's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "nightmill", *arguments],
            cwd=self.root,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run `nightmill` with these arguments to its end."""
        with self.start(*arguments, env=env) as process:
            out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    def attempts(self, pipeline: str, step: str) -> list[Path]:
        """Find the folders of a step's attempts in the project's own store, oldest first."""
        found = self.store.glob(f"runs/{pipeline}/*/*/{step}/*/record.json")
        return [record.parent for record in sorted(found, key=lambda file: file.stat().st_mtime)]

    def record(self, pipeline: str, step: str) -> dict[str, Any]:
        """Read the newest record of a step."""
        return json.loads((self.attempts(pipeline, step)[-1] / "record.json").read_bytes())

    def notebook(self, pipeline: str, step: str) -> dict[str, Any]:
        """Read the newest executed notebook of a step."""
        return json.loads((self.attempts(pipeline, step)[-1] / "notebook.ipynb").read_bytes())


@pytest.fixture(scope="session")
def kernel_environment():
    """Return the built environment of the shipped kernel."""
    return kernels.install(load_kernel(REPOSITORY / "kernels" / KERNEL), REPOSITORY)[0]


@pytest.fixture(scope="session")
def kernel_python(kernel_environment):
    """Return the interpreter of the shipped kernel."""
    return kernel_environment.python


@pytest.fixture(scope="session")
def make_project(tmp_path_factory, kernel_environment):
    """Return a function that makes an empty project with the shipped kernel, installed."""

    def make(name: str = "project") -> ProjectFiles:
        root = tmp_path_factory.mktemp(name)
        folder = root / "kernels" / KERNEL
        folder.mkdir(parents=True)
        for file in ("requirements.txt", "kernel.yaml"):
            shutil.copy(kernel_environment.kernel.folder / file, folder / file)
        (root / "notebooks").mkdir()
        env = {name: text for name, text in os.environ.items() if not name.startswith("NIGHTMILL_")}
        env |= {"NIGHTMILL_KERNELS": str(kernel_environment.path.parent), "COLUMNS": "200"}
        return ProjectFiles(root, env)

    return make


@pytest.fixture
def project(make_project):
    """Make an empty project with the shipped kernel, for one test."""
    return make_project()


@pytest.fixture
def cli(monkeypatch, capfd):
    """Return a function that runs `nightmill` inside this process, for what starts no kernel."""

    def call(*arguments: str, cwd: Path | None = None) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nightmill", *arguments])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return Ended(ended.value.code or 0, said.out, said.err)

    monkeypatch.setenv("COLUMNS", "200")
    return call
