"""`nightmill check`: everything that would fail at night, found by day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.pod import DAGS
from nightmill.cli.terminal import address, complain, counted, say
from nightmill.cluster.platform import FILE as PLATFORM
from nightmill.cluster.platform import Platform, load_platform, overlays
from nightmill.cluster.pod import place as find_nodes
from nightmill.errors import EXIT_FAILED, ContractError, KernelError, SpecError, UsageError
from nightmill.spec.check import check_pipeline
from nightmill.spec.contract import read_contract
from nightmill.spec.lint import SYNTAX, LintWarning, lint_notebook
from nightmill.spec.notebook import read_notebook
from nightmill.spec.pipeline_file import FILE, Pipeline
from nightmill.spec.problems import each, shown, suggest
from nightmill.spec.project import Project, find_root
from nightmill.spec.step_lint import lint_step

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check(
    path: Annotated[
        Path | None, typer.Argument(help="A project, a pipeline's folder or its pipeline.yaml.")
    ] = None,
) -> None:
    """Check pipelines and notebooks; run nothing.

    Finds what would fail at night: pipeline.yaml, the graph, notebooks, parameters, the names of
    kernels and of node pools. Remarks are advice and fail nothing. Exit codes: 0 no errors,
    1 errors, 2 wrong usage.
    """
    place = (path or Path.cwd()).resolve()
    if not place.exists():
        raise UsageError("there is nothing at this path", where=str(path))
    root = find_root(place)
    project = Project.load(root)
    pipelines = [one for one in project.pipelines.values() if _concerns(place, one.file, root)]
    errors = _file_errors(project, place)
    for pipeline in pipelines:
        errors += check_pipeline(pipeline)
    wrong_pools, pool_remarks = _about_pools(root / DAGS, pipelines)
    errors += wrong_pools
    for error in errors:
        complain(error)
    remarks = [*pool_remarks, *_remarks(project, pipelines, errors)]
    for file, found in remarks:
        _print(file, found)
    files = {one.file for one in pipelines}
    files |= {one for one in project.errors if one.name == FILE and _concerns(place, one, root)}
    if not files and not errors:
        raise UsageError(
            "there is no pipeline to check here",
            where=address(str(place)),
            advice="name the project, a folder notebooks/<pipeline>, or its pipeline.yaml",
        )
    faults = len(errors) + sum(one.level == "error" for _, one in remarks)
    steps = sum(len(pipeline.spec.steps) for pipeline in pipelines)
    told = f"{counted(faults, 'error')}, {counted(len(errors) + len(remarks) - faults, 'remark')}"
    say(f"checked {counted(len(files), 'pipeline')}, {counted(steps, 'step')}: {told}")
    raise typer.Exit(EXIT_FAILED if faults else 0)


def _file_errors(project: Project, place: Path) -> list[SpecError]:
    """Gather what is wrong with files as such; a reader's own check also tells what blocks it."""
    files = dict(project.errors)
    if place not in _wholes(project.root):  # else the broken files themselves tell it
        files |= {file: files.get(file, some) for file, some in project.blocked.items()}
    concerned = {file: some for file, some in files.items() if _concerns(place, file, project.root)}
    return [error for some in concerned.values() for error in some]


def _concerns(place: Path, file: Path, root: Path) -> bool:
    """Whether a file belongs to what was asked for; the project's root asks for everything."""
    return place in _wholes(root) or place == file or place in file.parents


def _wholes(root: Path) -> tuple[Path, ...]:
    """Name what asks for everything."""
    return root, root / "notebooks"


def _about_pools(
    dags: Path, pipelines: Sequence[Pipeline]
) -> tuple[list[SpecError], list[tuple[Path, LintWarning]]]:
    """Hold steps against platform.yaml: errors where pods would run, else only remarks."""
    if not (dags / PLATFORM).is_file():
        return [], []
    try:
        platform = load_platform(dags)
    except SpecError as error:
        return list(each(error)), []
    errors: list[SpecError] = []
    remarks: list[tuple[Path, LintWarning]] = []
    known = _known_pools(dags)
    for pipeline in pipelines:
        for name, step in pipeline.spec.steps.items():
            if platform.launcher != "local":
                errors += _misplaced(platform, pipeline, name)
            elif step.pool and step.pool not in known:
                problem = f"steps.{name}.pool: unknown pool {shown(step.pool)}"
                advice = suggest(step.pool, known, noun=f"pools of {DAGS}/{PLATFORM}")
                line = pipeline.source.line(("steps", name, "pool"))
                found = LintWarning("pool", "warning", problem, advice, line=line)
                remarks.append((pipeline.file, found))
    return errors, remarks


def _known_pools(dags: Path) -> list[str]:
    """Name the pools of every environment: those of pods may be in an overlay only."""
    found: dict[str, None] = {}
    for env in ("", *overlays(dags)):
        with suppress(SpecError):  # of an overlay that is not chosen here
            found |= dict.fromkeys(load_platform(dags, env).pools)
    return list(found)


def _misplaced(platform: Platform, pipeline: Pipeline, step: str) -> tuple[SpecError, ...]:
    try:
        find_nodes(platform, pipeline, step)
    except SpecError as error:
        return each(error)
    return ()


def _remarks(
    project: Project, pipelines: Sequence[Pipeline], errors: Sequence[SpecError]
) -> Iterator[tuple[Path, LintWarning]]:
    """Look into notebooks; what errors have told, or another step that runs it, is left out."""
    told = {(error.file, error.cell) for error in errors if isinstance(error, ContractError)}
    seen: set[tuple[Path, LintWarning]] = set()
    for pipeline in pipelines:
        for step in pipeline.spec.steps:
            path = pipeline.notebook(step)
            for found in _lint(project, pipeline, step):
                is_told = found.rule == SYNTAX and (path, found.cell) in told
                if not is_told and (path, found) not in seen:
                    yield path, found
                seen.add((path, found))


def _lint(project: Project, pipeline: Pipeline, step: str) -> Iterator[LintWarning]:
    spec = pipeline.spec.steps[step]
    with suppress(SpecError, KernelError):  # reported as an error already
        kernel = project.kernel(spec).name
        notebook = read_notebook(pipeline.notebook(step))
        yield from lint_notebook(notebook, kernel)
        yield from lint_step(step, spec, notebook, read_contract(notebook))


def _print(file: Path, found: LintWarning) -> None:
    place = address(str(file))
    place += f", cell {found.cell}" if found.cell else ""
    place += f", line {found.line}" if found.line else ""
    level = Text(f"{found.level}: ", style=_STYLES[found.level])
    say(level, f"{place}: {found.problem}")
    if found.advice:
        say(f"   -> {found.advice}")
