"""Fixtures that many tests share: a real S3 server, a store on each backend, a small project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nightmill import kernels
from nightmill.__main__ import run as run_command_line
from nightmill.spec.kernel import load_kernel
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml
from nightmill.store.open import open_store
from tests.s3_server import run_s3_server

# Airflow reads its settings when it is first imported, and would make itself a home in the user's.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="nm-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
}


def pytest_unconfigure():
    """Remove Airflow's home."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server():
    """Run a real S3 server on free ports of loopback for the whole session."""
    with run_s3_server("127.0.0.1") as server:
        yield server


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
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL, **options},
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run `nightmill` with these arguments to its end."""
        with self.start(*arguments, env=env) as process:
            out, err = process.communicate(timeout=280)
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
def load_spec(tmp_path):
    """Validate the text of a pipeline.yaml."""

    def load(text: str) -> PipelineSpec:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text, encoding="utf-8")
        return validate(PipelineSpec, read_yaml(path))

    return load


@pytest.fixture
def cli(monkeypatch, capfd):
    """Return a function that runs `nightmill` inside this process, for what starts no kernel."""

    def call(*arguments: str, cwd: Path | None = None) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nightmill", *arguments])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            sys.exit(run_command_line())
        said = capfd.readouterr()
        return Ended(ended.value.code or 0, said.out, said.err)

    monkeypatch.setenv("COLUMNS", "200")
    return call
