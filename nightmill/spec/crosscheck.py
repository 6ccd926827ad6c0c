"""What a pipeline.yaml says about other files, checked: kernels, notebooks, pipelines, cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from nightmill.errors import SpecError
from nightmill.spec import graph
from nightmill.spec.kernel import not_locked
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import Fault, Faults, KeyPath, each, shown, suggest

_Sources = dict[str, tuple[graph.InputSource, ...]]


def cross_errors(
    pipelines: Sequence[Pipeline],
    specs: graph.Specs,
    kernels: Collection[str],
    unlocked: Mapping[str, Path],
) -> Iterator[tuple[Pipeline, SpecError]]:
    """Find every error that takes more than one file to see, with the pipeline to blame.

    `unlocked` are the folders of kernels that were never locked. What only a broken file would tell
    is no error of the others; `unread` finds that.
    """
    resolved: dict[str, _Sources] = {}
    for pipeline in pipelines:
        sources, errors = _resolve(pipeline, specs)
        resolved[pipeline.name] = sources
        errors += _same_name(pipeline, pipelines)
        errors += _kernel_errors(pipeline, kernels, unlocked)
        errors += _notebook_errors(pipeline)
        errors += _after_errors(pipeline, specs)
        errors += _step_cycle(pipeline, sources)
        yield from ((pipeline, error) for error in errors)
    yield from _pipeline_cycle(pipelines, resolved)


def unread(pipeline: Pipeline, specs: graph.Specs) -> dict[str, KeyPath]:
    """Name the broken pipelines that this one needs, each with the first key that says so."""
    found: dict[str, KeyPath] = {}
    for index, reference in enumerate(pipeline.spec.after):
        name = reference.partition(".")[0]
        if name in specs and specs[name] is None:
            found.setdefault(name, ("after", index))
    for step in pipeline.spec.steps:
        with suppress(SpecError):  # told by `cross_errors`
            pipeline.inputs(specs, step, unread=found)
    return found


def _resolve(pipeline: Pipeline, specs: graph.Specs) -> tuple[_Sources, list[SpecError]]:
    sources: _Sources = {}
    errors: list[SpecError] = []
    for name in pipeline.spec.steps:
        try:
            sources[name] = pipeline.inputs(specs, name, unread={})
        except SpecError as error:
            errors += each(error)
            sources[name] = ()
    return sources, errors


def _same_name(pipeline: Pipeline, pipelines: Sequence[Pipeline]) -> Iterator[SpecError]:
    for other in pipelines:
        if other is not pipeline and other.name == pipeline.name:
            problem = f"{other.file} has the same name {shown(other.name)}"
            yield pipeline.error(problem, ("pipeline",), advice="rename one of them")


def _kernel_errors(
    pipeline: Pipeline, kernels: Collection[str], unlocked: Mapping[str, Path]
) -> Iterator[SpecError]:
    for name, step in pipeline.spec.steps.items():
        at = ("steps", name, "kernel")
        only = next(iter(unlocked)) if len(unlocked) == 1 and not kernels else ""
        wanted = only if step.kernel is None else step.kernel
        if wanted in unlocked and wanted not in kernels:
            error = not_locked(unlocked[wanted])
            yield pipeline.error(error.problem, at, advice=error.advice)
        elif step.kernel is None and len(kernels) != 1:
            advice = suggest("", kernels, noun="kernels")
            yield pipeline.error("`kernel` is missing", at, advice=advice)
        elif step.kernel is not None and step.kernel not in kernels:
            advice = suggest(step.kernel, sorted({*kernels, *unlocked}), noun="kernels")
            problem = f"unknown kernel {shown(step.kernel)}"
            yield pipeline.error(problem, at, advice=advice)


def _notebook_errors(pipeline: Pipeline) -> Iterator[SpecError]:
    for name, step in pipeline.spec.steps.items():
        if not pipeline.notebook(name).is_file():
            yield pipeline.error(
                f"there is no notebook {shown(step.notebook)} in {pipeline.folder}",
                ("steps", name, "notebook"),
                advice=suggest(step.notebook, _notebooks_beside(pipeline), noun="files there"),
            )


def _notebooks_beside(pipeline: Pipeline) -> list[str]:
    return [
        path.relative_to(pipeline.folder).as_posix()
        for path in sorted(pipeline.folder.rglob("*"))
        if path.suffix in (".ipynb", ".py") and ".ipynb_checkpoints" not in path.parts
    ]


def _after_errors(pipeline: Pipeline, specs: graph.Specs) -> Iterator[SpecError]:
    for index, reference in enumerate(pipeline.spec.after):
        name, _, output = reference.partition(".")
        try:
            target = graph.find_spec(specs, name)
            if target.maker(output) is None:
                advice = suggest(output, target.outputs, noun="its outputs")
                problem = f"the pipeline {shown(name)} makes no output {shown(output)}"
                raise Faults([Fault(problem, advice)])  # noqa: TRY301 - one way to place a fault
        except graph.UnreadError:
            continue
        except Faults as faults:
            yield from pipeline.errors(faults, ("after", index))


def _step_cycle(pipeline: Pipeline, sources: _Sources) -> Iterator[SpecError]:
    needs = {name: graph.upstream(pipeline.spec, some) for name, some in sources.items()}
    cycle = graph.find_cycle(needs)
    if cycle:
        step = cycle[1]
        parameter = next(
            s.parameter for s in sources[step] if s.step == cycle[0] and graph.is_edge(s)
        )
        yield pipeline.error(
            f"the steps wait for each other: {' -> '.join(cycle)}",
            pipeline.input_path(step, parameter),
            advice="read an earlier day with `version: previous_partition`, or remove an input",
        )


def _pipeline_cycle(
    pipelines: Sequence[Pipeline], resolved: dict[str, _Sources]
) -> Iterator[tuple[Pipeline, SpecError]]:
    needs = {p.name: _needed_pipelines(p, resolved[p.name]) for p in pipelines}
    cycle = graph.find_cycle({name: tuple(some) for name, some in needs.items()})
    if cycle:
        pipeline = next(p for p in pipelines if p.name == cycle[1])
        yield (
            pipeline,
            pipeline.error(
                f"the pipelines wait for each other: {' -> '.join(cycle)}",
                needs[cycle[1]][cycle[0]],
                advice="read an earlier day with `version: previous_partition`",
            ),
        )


def _needed_pipelines(pipeline: Pipeline, sources: _Sources) -> dict[str, KeyPath]:
    """Map each pipeline that must be done for the same partition to the keys that say so."""
    needed: dict[str, KeyPath] = {}
    for step, some in sources.items():
        for source in some:
            if source.pipeline != pipeline.name and source.version == "same_partition":
                path = pipeline.input_path(step, source.parameter)
                needed.setdefault(source.pipeline, path)
    for index, reference in enumerate(pipeline.spec.after):
        needed.setdefault(reference.partition(".")[0], ("after", index))
    return needed
