"""Kills whole steps at random moments and reads what the store says of them after one sweep.

The notebook has twenty cells, and each appends its number to a file of the test's as its very last
act: what is not in that file did not complete, whatever anybody says. The moments are drawn from a
seed and spread evenly over the time that a run takes, from its first import to after its end.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from nightmill.spec.steprun import StepRun
from tests.conftest import ProjectFiles, notebook_json
from tests.deaths.acts import TOKEN, Running, kill_all, wait_until
from tests.deaths.surroundings import Ground, Surrounding

CELLS = 20
_MEASURED = 2
_SEED = 20130101
_END_S = 120
_BEYOND = 1.1
_FIRST = """\
import os, time
def done(number):
    with open(os.environ["NM_DEATH"] + "/done", "a") as file: file.write(f"{number}\\n")"""


@dataclass(frozen=True)
class Killing:
    """How often to kill a run, how long each of its cells takes, and how many runs go at once."""

    count: int
    cell_s: float
    at_once: int

    def __str__(self) -> str:
        return str(self.count)


@dataclass(frozen=True)
class Killed:
    """A run that was killed: when, whether it still lived then, and the cells that had ended."""

    partition: str
    after_s: float
    was_alive: bool
    proven: tuple[int, ...]

    @property
    def prefix(self) -> str:
        """Where its one attempt writes."""
        return f"runs/p/{self.partition}/run-1/step/1"


def kill_at_random(project: ProjectFiles, folder: Path, how: Killing) -> list[Killed]:
    """Run the notebook again and again, each time killed whole at another moment."""
    _write_project(project, how.cell_s)
    days = [str(date(2013, 1, 1) + timedelta(number)) for number in range(_MEASURED + how.count)]

    def run(day: str, after_s: float) -> Killed:
        return _run(project, folder, day, after_s)

    with ThreadPoolExecutor(how.at_once) as pool:
        whole = list(pool.map(run, days[:_MEASURED], [_END_S] * _MEASURED))
        span_s = _BEYOND * max(one.after_s for one in whole)
        return list(pool.map(run, days[_MEASURED:], _moments(span_s, how.count)))


def _write_project(project: ProjectFiles, cell_s: float) -> None:
    bodies = [_FIRST, *[f"time.sleep({cell_s})\nprint('x' * 2000)"] * (CELLS - 1)]
    cells = [f"{body}\ndone({number})" for number, body in enumerate(bodies, start=1)]
    project.pipeline("p", "step: {notebook: step.ipynb}", step=notebook_json(cells))


def _moments(span_s: float, count: int) -> list[float]:
    """Draw one moment from each of `count` equal parts of a span, and mix them."""
    chance = random.Random(_SEED)  # noqa: S311 - no secret
    moments = [span_s * (number + chance.random()) / count for number in range(count)]
    chance.shuffle(moments)
    return moments


def _run(project: ProjectFiles, parent: Path, day: str, after_s: float) -> Killed:
    folder, token = parent / day, uuid4().hex
    folder.mkdir()
    run = StepRun(
        pipeline="p",
        step="step",
        partition=day,
        as_of=day,
        run="run-1",
        order=1,
        store=str(project.store),
    )
    env = {"NM_DEATH": str(folder), "NIGHTMILL_SCRATCH": str(folder), TOKEN: token}
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "nightmill", *run.to_argv()],
        cwd=project.root,
        env={**project.env, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running = Running(process, folder, token, Surrounding(Ground(folder, None)), lambda: None)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    took_s, was_alive = time.monotonic() - begun, process.poll() is None
    _kill(running)
    proof = folder / "done"
    lines = proof.read_text().split() if proof.exists() else []
    return Killed(day, took_s, was_alive, tuple(int(line) for line in lines))


def _kill(run: Running) -> None:
    """Kill all at once, and whatever was being born meanwhile."""

    def gone() -> bool:
        kill_all(run)
        return not run.processes()

    wait_until(gone, "the end of all processes")
    run.process.wait()


def objects(store: Path) -> Iterator[tuple[str, Any]]:
    """Read every object of the store; raises ValueError for JSON that is half-written.

    What the store itself has not finished carries its own name, and no reader sees it.
    """
    for file in sorted(store.rglob("*")):
        key = str(file.relative_to(store))
        if file.is_file() and "/.nightmill" not in f"/{key}":
            is_json = file.suffix in {".json", ".ipynb"}
            yield key, json.loads(file.read_bytes()) if is_json else file.read_bytes()
