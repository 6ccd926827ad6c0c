"""`nightmill check`: everything that would fail at night, found by day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nightmill.cli.terminal import address, complain, counted, say
from nightmill.errors import EXIT_FAILED, KernelError, SpecError, UsageError
from nightmill.spec.check import check_pipeline
from nightmill.spec.contract import Contract, read_contract
from nightmill.spec.lint import LintWarning, lint_notebook
from nightmill.spec.notebook_index import INDEX, NotebookIndex
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.project import Project, find_root

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check(
    path: Annotated[
        Path | None, typer.Argument(help="A project, a pipeline's folder or its pipeline.yaml.")
    ] = None,
) -> None:
    """Check pipelines and notebooks; run nothing.

    Finds what would fail at night: pipeline.yaml, the graph, notebooks, parameters and the names of
    kernels. Remarks are advice and fail nothing. Exit codes: 0 no errors, 1 errors, 2 wrong usage.
    """
    place = (path or Path.cwd()).resolve()
    if not place.exists():
        raise UsageError("there is nothing at this path", where=str(path))
    root = find_root(place)
    project = Project.load(root)
    pipelines = [one for one in project.pipelines.values() if _concerns(place, one.file, root)]
    errors = [
        error
        for file, some in project.errors.items()
        if _concerns(place, file, root)
        for error in some
    ]
    if place not in _wholes(root):  # else the broken files themselves have told it
        errors += [error for one in pipelines for error in project.blocked.get(one.file, ())]
    index = NotebookIndex(root / INDEX)
    for pipeline in pipelines:
        errors += check_pipeline(pipeline, partial(_contract, index))
    warnings = [one for pipeline in pipelines for one in _lint(project, pipeline, index)]
    for error in errors:
        complain(error)
    faults = len(errors) + sum(one.level == "error" for one in warnings)
    remarks = len(errors) + len(warnings) - faults
    if not pipelines and not errors:
        raise UsageError(
            "there is no pipeline to check here",
            where=address(str(place)),
            advice="name the project, a folder notebooks/<pipeline>, or its pipeline.yaml",
        )
    steps = sum(len(pipeline.spec.steps) for pipeline in pipelines)
    found = f"{counted(faults, 'error')}, {counted(remarks, 'remark')}"
    say(f"checked {counted(len(pipelines), 'pipeline')}, {counted(steps, 'step')}: {found}")
    raise typer.Exit(EXIT_FAILED if faults else 0)


def _concerns(place: Path, file: Path, root: Path) -> bool:
    """Whether a file belongs to what was asked for; the project's root asks for everything."""
    return place in _wholes(root) or place == file or place in file.parents


def _wholes(root: Path) -> tuple[Path, ...]:
    """Name what asks for everything."""
    return root, root / "notebooks"


def _contract(index: NotebookIndex, pipeline: Pipeline, step: str) -> Contract:
    return read_contract(index.read(pipeline.notebook(step)))


def _lint(project: Project, pipeline: Pipeline, index: NotebookIndex) -> Iterable[LintWarning]:
    for step, spec in pipeline.spec.steps.items():
        try:
            kernel = project.kernel(spec).name
            notebook = index.read(pipeline.notebook(step))
        except (SpecError, KernelError):
            continue  # reported as an error already
        for found in lint_notebook(notebook, kernel):
            _print(notebook.path, found)
            yield found


def _print(notebook: Path, found: LintWarning) -> None:
    place = address(str(notebook))
    place += f", cell {found.cell}" if found.cell else ""
    place += f", line {found.line}" if found.line else ""
    level = Text(f"{found.level}: ", style=_STYLES[found.level])
    say(level, f"{place}: {found.problem}")
    if found.advice:
        say(f"   -> {found.advice}")
