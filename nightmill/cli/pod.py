"""`nightmill pod`: the manifest of a step's pod, to read or to give to kubectl."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.syntax import Syntax

from nightmill.cli.terminal import out
from nightmill.cluster.platform import load_platform
from nightmill.cluster.pod import pod_manifest
from nightmill.run.plan import new_run
from nightmill.spec.check import require_step
from nightmill.spec.partition import check_partition
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
    """Print the manifest of a step's pod; with --partition and --image, one that kubectl can run."""
    root = find_root(Path.cwd())
    found = Project.load(root).pipeline(pipeline)
    require_step(found, step)
    platform = load_platform(root / DAGS, env)
    arguments: list[str] = []
    if partition is not None:
        day = check_partition(found, partition)
        run, order = new_run(datetime.now(UTC))
        arguments = StepRun(
            pipeline=pipeline,
            step=step,
            partition=day,
            as_of=day if found.spec.partition == "date" else datetime.now(UTC).date().isoformat(),
            run=run,
            order=order,
            store=platform.store,
        ).to_argv()
    manifest = pod_manifest(platform, found, step, image=image, arguments=arguments)
    text = yaml.safe_dump(manifest, sort_keys=False, width=10_000)
    if out.is_terminal:
        out.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    else:
        out.file.write(text)
