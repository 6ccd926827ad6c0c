"""Kills whole steps at random moments and reads what the store says of them after one sweep.

The notebook has twenty cells, and each appends its number to a file of the test's as its very last
act: what is not in that file did not complete, whatever anybody says. The moments are drawn from a
seed and spread evenly over the cells, from the first import to after the end, however long they
take: a run is killed some time after so many cells have ended.
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
_SEED = 20130101
_END_S = 300
_START_S = 0.5  # from the first import to the first cell at the least, for each that goes at once
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
    days = [str(date(2013, 1, 1) + timedelta(number)) for number in range(how.count)]

    def run(day: str, moment: tuple[int, float]) -> Killed:
        return _run(project, folder, day, *moment)

    with ThreadPoolExecutor(how.at_once) as pool:
        return list(pool.map(run, days, _moments(how)))


def _write_project(project: ProjectFiles, cell_s: float) -> None:
    bodies = [_FIRST, *[f"time.sleep({cell_s})\nprint('x' * 2000)"] * (CELLS - 1)]
    cells = [f"{body}\ndone({number})" for number, body in enumerate(bodies, start=1)]
    project.pipeline("p", "step: {notebook: step.ipynb}", step=notebook_json(cells))


def _moments(how: Killing) -> list[tuple[int, float]]:
    """Draw after how many cells each run is killed, and how long after; one more is its end."""
    chance = random.Random(_SEED)  # noqa: S311 - no secret
    cells = [number * (CELLS + 2) // how.count for number in range(how.count)]
    start_s = _START_S * how.at_once
    within = [start_s if not one else 2 * how.cell_s if one < CELLS else 1 for one in cells]
    moments = [(one, chance.random() * most) for one, most in zip(cells, within, strict=True)]
    chance.shuffle(moments)
    return moments


def _run(project: ProjectFiles, parent: Path, day: str, cells: int, then_s: float) -> Killed:
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
    wait_until(
        lambda: process.poll() is not None or len(_proven(folder)) >= cells,
        f"{cells} cells",
        _END_S,
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(then_s)
    took_s, was_alive = time.monotonic() - begun, process.poll() is None
    _kill(running)
    return Killed(day, took_s, was_alive, _proven(folder))


def _proven(folder: Path) -> tuple[int, ...]:
    """Read which cells have ended."""
    proof = folder / "done"
    return tuple(int(line) for line in proof.read_text().split()) if proof.exists() else ()


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
