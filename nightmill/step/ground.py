"""The ground that a kernel stands on: which one it is, its environment, and a folder to work in.

Apart from the rest that is found out before the first cell (see `prepare`), since a kernel can be
started as soon as this is known: it comes up while the store is asked and all else is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightmill import kernels
from nightmill.errors import UsageError
from nightmill.kernels import KernelEnvironment
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun
from nightmill.step import environment
from nightmill.step.engine_process import EngineProcess
from nightmill.step.kernel_start import KernelOrder
from nightmill.step.limits import Threads, decide_threads
from nightmill.step.scratch import make_scratch


@dataclass(frozen=True)
class Ground:
    """What a kernel needs to be started, and nothing of the store."""

    pipeline: Pipeline
    spec: StepSpec
    kernel: KernelEnvironment
    threads: Threads
    order: KernelOrder
    scratch: Path


@dataclass(frozen=True)
class Begun:
    """An engine whose kernel starts, or the error that waits for a record to tell it in."""

    engine: EngineProcess
    scratch: Path | None
    ground: Ground | Exception


def begin(run: StepRun, project: Project, engine: EngineProcess) -> Begun:
    """Have the kernel of a step started; whoever goes on from here closes the engine."""
    scratch = None
    try:
        scratch = make_scratch()
        ground = _find_ground(run, project, scratch)
    except Exception as error:  # noqa: BLE001 - it is raised again once there is a record
        return Begun(engine, scratch, error)
    engine.start_kernel(ground.order)
    return Begun(engine, scratch, ground)


def _find_ground(run: StepRun, project: Project, scratch: Path) -> Ground:
    pipeline = project.pipeline(run.pipeline)
    if run.step not in pipeline.spec.steps:
        raise UsageError(f"{run.pipeline} has no step {run.step!r}")
    spec = pipeline.spec.steps[run.step]
    kernel = kernels.require(project.kernel(spec), project.root)
    author = {**kernel.kernel.env, **spec.env}
    threads = _threads(author, spec.cpu_millicores)
    env = environment.for_kernel(kernel, {**threads.variables, **author}, scratch)
    order = KernelOrder(
        kernelspec=str(kernel.jupyter_path / "kernels" / kernel.kernel.name),
        env=env,
        cwd=str(pipeline.notebook(run.step).absolute().parent),
        connection_file=str(Path(env["JUPYTER_RUNTIME_DIR"], "kernel.json")),
    )
    return Ground(pipeline, spec, kernel, threads, order, scratch)


def _threads(author: Mapping[str, str], cpu_millicores: int | None) -> Threads:
    cpu = cpu_millicores / 1000 if cpu_millicores else None
    return decide_threads({**os.environ, **author}, step_cpu=cpu)
