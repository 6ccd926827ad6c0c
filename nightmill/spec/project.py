"""A project: the pipelines and kernels below one root folder.

A broken pipeline.yaml hides nothing else: its errors wait in `Project.errors` until that pipeline
is asked for. A sound pipeline that reads its outputs keeps its place, so that Airflow keeps its
DAG; only whoever runs it is told why it cannot (`Project.blocked`). Notebooks are only looked for
here; `check` reads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightmill.errors import SpecError, UsageError
from nightmill.spec import graph
from nightmill.spec.crosscheck import cross_errors, unread
from nightmill.spec.kernel import Kernel, find_kernel, load_kernels_kindly, unlocked_folders
from nightmill.spec.pipeline import PipelineSpec, StepSpec
from nightmill.spec.pipeline_file import FILE, Pipeline
from nightmill.spec.problems import each, gather, shown, suggest
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml


@dataclass(frozen=True, slots=True)
class Project:
    """All pipelines and kernels; `broken` names the files that gave no pipeline.

    `blocked` are sound files whose pipelines need a broken one, with the faults of that.
    """

    root: Path
    pipelines: Mapping[str, Pipeline]
    kernels: Mapping[str, Kernel]
    errors: Mapping[Path, tuple[SpecError, ...]]
    broken: Mapping[str, Path] = field(default_factory=dict)
    blocked: Mapping[Path, tuple[SpecError, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path) -> Project:
        """Read notebooks/*/pipeline.yaml and kernels/; a broken file raises nothing here."""
        errors: dict[Path, list[SpecError]] = defaultdict(list)
        kernels, kernel_errors = load_kernels_kindly(root)
        for file, error in kernel_errors.items():
            errors[file] += each(error)
        found, broken = _load_pipelines(root, errors)
        # A kernel with a broken kernel.yaml is still known: one fault, one error.
        names = {*kernels, *(file.parent.name for file in kernel_errors)}
        specs = _specs(found, broken)
        for pipeline, error in cross_errors(found, specs, sorted(names), unlocked_folders(root)):
            errors[pipeline.file].append(error)
        return cls(
            root=root,
            pipelines={p.name: p for p in sorted(found, key=lambda p: p.name)},
            kernels=kernels,
            errors={file: tuple(errors[file]) for file in sorted(errors) if errors[file]},
            broken=broken,
            blocked={p.file: some for p in found if (some := _blocked(p, specs, broken, errors))},
        )

    def pipeline(self, name: str) -> Pipeline:
        """Find a pipeline that can run; raises what is wrong, or UsageError for an unknown name."""
        pipeline = self.pipelines.get(name)
        file = pipeline.file if pipeline else self.broken.get(name)
        errors = self.errors.get(file) or self.blocked.get(file) if file else None
        if errors:
            raise gather(errors)
        if pipeline is None:
            advice = suggest(name, [*self.pipelines, *self.broken], noun="pipelines")
            raise UsageError(f"unknown pipeline {shown(name)}", advice=advice)
        return pipeline

    def raise_errors(self) -> None:
        """Raise everything that is wrong with any file at once."""
        if self.errors:
            raise gather([error for some in self.errors.values() for error in some])

    def kernel(self, step: StepSpec) -> Kernel:
        """Find a step's kernel; without a name it is the only one. Raises KernelError."""
        if step.kernel is None and len(self.kernels) == 1:
            return next(iter(self.kernels.values()))
        return find_kernel(self.kernels, step.kernel or "")

    def inputs(self, pipeline: Pipeline, step: str) -> tuple[graph.InputSource, ...]:
        """Resolve a step's inputs, in the order of the file; raises SpecError."""
        return pipeline.inputs(_specs(self.pipelines.values(), self.broken), step)

    def upstream(self, pipeline: Pipeline, step: str) -> tuple[str, ...]:
        """Name the steps of the same pipeline that must be done before this one."""
        specs = _specs(self.pipelines.values(), self.broken)
        return graph.upstream(pipeline.spec, pipeline.inputs(specs, step, unread={}))

    def step_order(self, pipeline: Pipeline) -> list[str]:
        """Sort the steps so that each comes after those it needs, else as in the file."""
        return graph.ordered({name: self.upstream(pipeline, name) for name in pipeline.spec.steps})


def find_root(start: Path) -> Path:
    """Walk up to the folder that holds notebooks/; raises UsageError."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "notebooks").is_dir():
            return folder
    raise UsageError(
        f"no project here: no folder above {start.resolve()} holds notebooks/",
        advice="change into the project's folder",
    )


def _load_pipelines(
    root: Path, errors: dict[Path, list[SpecError]]
) -> tuple[list[Pipeline], dict[str, Path]]:
    found: list[Pipeline] = []
    broken: dict[str, Path] = {}
    for file in sorted((root / "notebooks").glob(f"*/{FILE}")):
        name: object = file.parent.name
        try:
            source = read_yaml(file)
            name = source.data.get("pipeline", name)
            found.append(Pipeline(validate(PipelineSpec, source), source))
        except SpecError as error:
            errors[file] += each(error)
            broken[str(name)] = file
    return found, broken


def _blocked(
    pipeline: Pipeline,
    specs: graph.Specs,
    broken: Mapping[str, Path],
    errors: Mapping[Path, Sequence[SpecError]],
) -> tuple[SpecError, ...]:
    """Say what stops a sound pipeline: the first fault of each broken one that it needs."""
    found: list[SpecError] = []
    for name, path in unread(pipeline, specs).items():
        cause = errors[broken[name]][0]
        problem = f"needs the pipeline {shown(name)}, which is broken: {cause.where}: "
        advice = f"mend that first{f'; {cause.advice}' if cause.advice else ''}"
        found.append(pipeline.error(problem + cause.problem, path, advice=advice))
    return tuple(found)


def _specs(pipelines: Iterable[Pipeline], broken: Mapping[str, Path]) -> graph.Specs:
    return dict.fromkeys(broken) | {p.name: p.spec for p in pipelines}
