"""`nightmill doctor`: a preflight of the platform; `nightmill probe`: its trial of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.pod import DAGS
from nightmill.cli.terminal import address, counted, say
from nightmill.cluster.findings import Finding, Level, PlannedPod, fail, ok, warning
from nightmill.cluster.platform import Platform, load_platform
from nightmill.cluster.pod import place, pod_manifest
from nightmill.errors import EXIT_FAILED, NightmillError, SpecError
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import each
from nightmill.spec.project import Project, find_root
from nightmill.store.open import open_store
from nightmill.store.s3_settings import S3Settings

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAIL: "bold red"}
_WIDTH = max(len(level) for level in Level)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody asked the preflight to do."""

    pipeline: str | None
    env: str | None
    image: str | None
    starts_pod: bool
    timeout_s: int
    acts_as: str | None
    kubeconfig: Path | None
    context: str | None


def doctor(
    pipeline: Annotated[
        str | None, typer.Option(help="Only what this pipeline needs; all by default.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(envvar="NIGHTMILL_ENV", help="The overlay of platform.yaml.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="The image to try, where platform.yaml names a Variable.")
    ] = None,
    starts_pod: Annotated[
        bool, typer.Option("--pod/--no-pod", help="Try image and store in a short pod.")
    ] = True,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to wait for that pod.")] = 120,
    acts_as: Annotated[
        str | None,
        typer.Option("--as", help="Act as, say, system:serviceaccount:nightmill:airflow."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Another kubeconfig than platform.yaml's.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Another of its contexts.")] = None,
) -> None:
    """Try, by day, whatever would fail at night.

    Files, cluster, rights, secrets, nodes, image.
    """
    wishes = Wishes(pipeline, env, image, starts_pod, timeout, acts_as, kubeconfig, context)
    levels = [_show(finding) for finding in _findings(find_root(Path.cwd()), wishes)]
    failed = levels.count(Level.FAIL)
    warned = counted(levels.count(Level.WARNING), "warning")
    say(f"{counted(len(levels), 'check')}: {failed} failed, {warned}")
    raise typer.Exit(EXIT_FAILED if failed else 0)


def probe(store: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix.")]) -> None:
    """Write, read, list and delete a probe in a store.

    `nightmill doctor` runs it in a pod.
    """
    open_store(store, base=Path.cwd()).preflight()
    say("the store can be read and written")


def _findings(root: Path, wishes: Wishes) -> Iterator[Finding]:
    project = Project.load(root)
    chosen = [wishes.pipeline] if wishes.pipeline else [*project.pipelines, *project.broken]
    try:
        platform = load_platform(root / DAGS, wishes.env)
    except SpecError as error:
        yield from _told(error)
        return
    yield ok(f"platform: launcher {platform.launcher}, {len(platform.pools)} pools")
    pods: list[PlannedPod] = []
    for name in chosen:
        try:
            pipeline = project.pipeline(name)
            pods += _plan(platform, pipeline, wishes.image)
            yield ok(f"pipeline {name}: {len(pipeline.spec.steps)} steps")
        except SpecError as error:
            yield from _told(error)
    if platform.launcher == "local":
        yield _try_store(root, platform.store)
        return
    yield from _read_store(platform.store)
    yield from _ask_cluster(platform, pods, wishes)


def _plan(platform: Platform, pipeline: Pipeline, image: str | None) -> list[PlannedPod]:
    """Make the pods of a pipeline; on this machine a step needs none. Raises SpecError."""
    if platform.launcher == "local":
        return []
    return [
        PlannedPod(
            f"{pipeline.name}.{step}",
            place(platform, pipeline, step),
            pod_manifest(platform, pipeline, step, image=image),
        )
        for step in pipeline.spec.steps
    ]


def _read_store(store: str) -> Iterator[Finding]:
    try:
        yield ok(f"store: {S3Settings.parse(store).address}")
    except NightmillError as error:
        yield fail(f"store: {error.problem}", error.advice)


def _try_store(root: Path, store: str) -> Finding:
    try:
        open_store(store, base=root).preflight()
    except NightmillError as error:
        return fail(f"store: {error.where}: {error.problem}", error.advice)
    return ok(f"store: {store} can be read and written from this machine")


def _ask_cluster(platform: Platform, pods: list[PlannedPod], wishes: Wishes) -> Iterator[Finding]:
    # Only here: who has no cluster needs no client for one.
    from nightmill.cluster.client import Cluster, ClusterError, Identity  # noqa: PLC0415
    from nightmill.cluster.doctor import examine  # noqa: PLC0415
    from nightmill.cluster.trial import try_pod  # noqa: PLC0415

    failed = False
    image = wishes.image or platform.image
    identity = Identity(wishes.kubeconfig, wishes.context, wishes.acts_as)
    try:
        cluster = Cluster.connect(platform.access, identity)
        for finding in examine(cluster, platform, pods):
            failed |= finding.level == Level.FAIL
            yield finding
        if not wishes.starts_pod:
            return
        if failed:
            yield warning("image, store: not tried", "mend what failed above first")
        elif "{{" in image:
            advice = "name one: nightmill doctor --image NAME"
            yield warning("image, store: not tried, the image is an Airflow Variable", advice)
        else:
            yield from try_pod(cluster, platform, image, timeout_s=wishes.timeout_s)
    except ClusterError as error:
        yield fail(f"cluster: {error.problem}", error.advice)


def _told(error: SpecError) -> Iterator[Finding]:
    for one in each(error):
        place, _, rest = one.where.partition(":")
        located = f"{address(place)}:{rest}" if rest else address(place)
        yield fail(f"{located}: {one.problem}", one.advice)


def _show(finding: Finding) -> Level:
    level = Text(f"{finding.level:{_WIDTH}}", style=_STYLES[finding.level])
    say(level, f"  {finding.what}")
    if finding.advice:
        say(f"{'':{_WIDTH}}  -> {finding.advice}")
    return finding.level
