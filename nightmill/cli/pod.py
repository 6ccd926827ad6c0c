"""`nightmill pod`: the manifest of a step's pod, to read or to give to kubectl."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.syntax import Syntax

from nightmill.cli.terminal import inert, out
from nightmill.cluster.platform import Platform, load_platform
from nightmill.cluster.pod import pod_manifest
from nightmill.errors import UsageError
from nightmill.run.plan import default_as_of, new_run
from nightmill.spec.partition import check_partition
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown, suggest
from nightmill.spec.project import Project, find_root
from nightmill.spec.steprun import StepRun

DAGS = "dags"


def pod(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")],
    step: Annotated[str, typer.Argument(help="The step's name.")],
    partition: Annotated[
        str | None, typer.Option(help="The day (or other key) to run for; adds the arguments.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(envvar="NIGHTMILL_ENV", help="The overlay of platform.yaml.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="An image instead of platform.yaml's.")] = None,
) -> None:
    """Print the pod of a step.

    With --partition and --image it is one that kubectl can create.
    """
    root = find_root(Path.cwd())
    found = Project.load(root).pipeline(pipeline)
    if step not in found.spec.steps:
        advice = suggest(step, found.spec.steps, noun="its steps")
        raise UsageError(f"{shown(pipeline)} has no step {shown(step)}", advice=advice)
    platform = load_platform(root / DAGS, env)
    arguments = _arguments(platform, found, step, partition) if partition else []
    manifest = pod_manifest(platform, found, step, image=image, arguments=arguments)
    text = yaml.safe_dump(manifest, sort_keys=False, width=10_000)
    if out.is_terminal:
        out.print(
            Syntax(
                inert(text), "yaml", theme="ansi_light", background_color="default", word_wrap=True
            )
        )
    else:
        out.file.write(text)


def _arguments(platform: Platform, pipeline: Pipeline, step: str, partition: str) -> list[str]:
    run, order = new_run(datetime.now(UTC))
    checked = check_partition(pipeline, partition)
    return StepRun(
        pipeline=pipeline.name,
        step=step,
        partition=checked,
        as_of=default_as_of(pipeline, checked),
        run=run,
        order=order,
        store=platform.store,
    ).to_argv()
