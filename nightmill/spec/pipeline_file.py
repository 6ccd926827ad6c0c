"""One pipeline.yaml that was read: the model together with the places of its keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightmill.errors import SpecError
from nightmill.spec import graph
from nightmill.spec.inputs import input_name
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import Faults, KeyPath, gather
from nightmill.spec.yaml_source import YamlSource

FILE = "pipeline.yaml"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline.yaml that is right by itself."""

    spec: PipelineSpec
    source: YamlSource

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.pipeline

    @property
    def file(self) -> Path:
        """The pipeline.yaml."""
        return self.source.file

    @property
    def folder(self) -> Path:
        """The folder of pipeline.yaml and the notebooks."""
        return self.source.file.parent

    def notebook(self, step: str) -> Path:
        """Give the path of a step's notebook."""
        return self.folder / self.spec.steps[step].notebook

    def input_path(self, step: str, parameter: str) -> KeyPath:
        """Give the keys below which an input stands, also where inputs are a list."""
        path: KeyPath = ("steps", step, "inputs")
        inputs = self.source.data["steps"][step]["inputs"]
        if isinstance(inputs, list):
            return (*path, [input_name(item) for item in inputs].index(parameter))
        return (*path, parameter)

    def error(self, problem: str, path: KeyPath, *, advice: str = "") -> SpecError:
        """Make an error at a key of pipeline.yaml."""
        return self.source.error(problem, path, advice=advice)

    def errors(self, faults: Faults, path: KeyPath) -> list[SpecError]:
        """Place faults found below a key."""
        return [
            self.error(fault.problem, (*path, *fault.at), advice=fault.advice)
            for fault in faults.faults
        ]

    def inputs(
        self, specs: graph.Specs, step: str, *, unread: dict[str, KeyPath] | None = None
    ) -> tuple[graph.InputSource, ...]:
        """Resolve a step's inputs, in the order of the file; raises SpecError.

        With `unread`, an input that a broken pipeline makes is no error. It is left out, and noted
        there: where the first of each such pipeline is named.
        """
        sources: list[graph.InputSource] = []
        errors: list[SpecError] = []
        for parameter, given in self.spec.steps[step].inputs.items():
            try:
                sources.append(graph.resolve_input(specs, self.spec, parameter, given))
            except Faults as faults:
                path = self.input_path(step, parameter)
                if unread is not None and isinstance(faults, graph.UnreadError):
                    unread.setdefault(faults.pipeline, path)
                else:
                    errors += self.errors(faults, path)
        if errors:
            raise gather(errors)
        return tuple(sources)
