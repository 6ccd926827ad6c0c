"""Runs a way to die on this machine with `nightmill step`, and reads all that is left of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from nightmill.spec.steprun import StepRun
from tests.conftest import ProjectFiles
from tests.deaths.acts import TOKEN, Running, wait_until
from tests.deaths.surroundings import Ground, Surrounding
from tests.deaths.way import Way

DAY = "2013-01-01"
ATTEMPT = f"runs/p/{DAY}/run-1/step/1"
_POINTER = f"current/p/step/{DAY}.json"
_END_S = 60
SILENCE_S = 1.1


@dataclass(frozen=True)
class Seen:
    """What is left after a death: of the process, in the store, and what the notebook says itself.

    `proven` are the numbers of the cells that told the test of their own end.
    """

    exit: int
    said: str
    record: dict[str, Any] | None
    notebook: dict[str, Any] | None
    pointer: dict[str, Any] | None
    result: dict[str, Any] | None
    proven: tuple[int, ...]
    left: tuple[str, ...]
    scratch: tuple[str, ...]


def run_here(way: Way, project: ProjectFiles, ground: Ground) -> Seen:
    """Let a step die in this way, sweep up if its own process could not, and look around."""
    _write_project(way, project)
    with way.within(ground) as surrounding:
        run = _start(way, project, surrounding)
        try:
            if way.act:
                way.act(run)
            code = run.process.wait(_END_S)
            if way.mended_by:  # nobody waited for those that end by themselves
                wait_until(lambda: not run.processes(), "the end of all processes")
            left = tuple(one.name() for one in run.processes())
        finally:
            _end(run)
        if surrounding.gate:
            surrounding.gate.shut_at = b""
            surrounding.gate.open()
        if way.mended_by:
            _mend(way, project, surrounding)
        return _look(run, project, code, left)


def _write_project(way: Way, project: ProjectFiles) -> None:
    keys = ", ".join(filter(None, ["notebook: step.ipynb", way.step]))
    project.pipeline("p", f"step: {{{keys}}}\n{way.others}", step=way.file)
    for file, text in way.files.items():
        project.write(f"notebooks/p/{file}", text)


def _start(way: Way, project: ProjectFiles, surrounding: Surrounding) -> Running:
    folder, token = surrounding.ground.folder, uuid4().hex
    run = StepRun(
        pipeline="p",
        step="step",
        partition=DAY,
        as_of=DAY,
        run="run-1",
        order=1,
        store=surrounding.store or str(project.store),
        parameters=dict(way.given),
    )
    (folder / "scratch").mkdir()
    env = {
        "NM_DEATH": str(folder),
        TOKEN: token,
        "NIGHTMILL_SCRATCH": str(folder / "scratch"),
        "NIGHTMILL_TERMINATION_LOG": str(folder / "result"),
    }
    command = [*surrounding.wrap, sys.executable, "-m", "nightmill", *run.to_argv(), *way.flags]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=project.root,
            env={**project.env, **env, **surrounding.env},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
        )
    read = _reader(project, surrounding)
    return Running(process, folder, token, surrounding, lambda: read(f"{ATTEMPT}/notebook.ipynb"))


def _end(run: Running) -> None:
    run.process.stdin.close()
    for process in run.processes():
        process.kill()
    run.process.wait()
    wait_until(lambda: not run.processes(), "the end of all processes")


def _mend(way: Way, project: ProjectFiles, surrounding: Surrounding) -> None:
    store = ["--store", surrounding.store] if surrounding.store else []
    if way.mended_by == "sweep":
        time.sleep(SILENCE_S)  # a sweep minds only what has been silent for a while
    command = {
        "sweep": ["sweep", "--older-than", "1s"],
        "amend": ["amend", "run-1", "--cause", way.cause, "--force"],
    }[way.mended_by]
    done = project.run(*command, *store, env=surrounding.env)
    assert done.code == 0, done


def _look(run: Running, project: ProjectFiles, code: int, left: tuple[str, ...]) -> Seen:
    read = _reader(project, run.surrounding)
    proof, result = run.folder / "done", run.folder / "result"
    scratch = Path(run.surrounding.env.get("NIGHTMILL_SCRATCH") or run.folder / "scratch")
    return Seen(
        exit=code,
        said=(run.folder / "said").read_text(errors="replace"),
        record=_json(read(f"{ATTEMPT}/record.json")),
        notebook=_json(read(f"{ATTEMPT}/notebook.ipynb")),
        pointer=_json(read(_POINTER)),
        result=_json(result.read_bytes()) if result.exists() else None,
        proven=tuple(int(line) for line in proof.read_text().split()) if proof.exists() else (),
        left=left,
        scratch=tuple(sorted(file.name for file in scratch.iterdir())),
    )


def _reader(project: ProjectFiles, surrounding: Surrounding) -> Callable[[str], bytes | None]:
    def read(key: str) -> bytes | None:
        file = project.store / key
        return file.read_bytes() if file.exists() else None

    return surrounding.read_s3 if surrounding.store else read


def _json(data: bytes | None) -> Any:
    return None if data is None else json.loads(data)
