"""The graph that follows from named inputs and outputs: within a pipeline and between pipelines.

Pure functions over the models; places and files are the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter

from nightmill.spec.inputs import InputSpec, Version
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.problems import Fault, Faults, shown, suggest

Graph = Mapping[str, Sequence[str]]
Specs = Mapping[str, PipelineSpec | None]  # None: the pipeline is there, its file is broken


@dataclass(frozen=True, slots=True)
class InputSource:
    """An input, resolved: which step's output it is and which version of it is wanted.

    `latest_before_partition` includes the partition itself when `inclusive`: another pipeline's
    output of the same day counts, a step of the own pipeline looks strictly back. `members` are
    those of the step that makes it: the input is then a mapping from member to address. A launcher
    waits for it as long as `wait` says; a step never does. `dated` is whether the partitions of the
    pipeline that makes it are days.
    """

    parameter: str
    pipeline: str
    step: str
    output: str
    version: Version
    inclusive: bool
    max_age: timedelta | None = None
    wait: timedelta | None = None
    optional: bool = False
    members: tuple[str, ...] = ()
    dated: bool = True


class UnreadError(Faults):
    """Only the file of another pipeline would tell, and that one is broken."""

    def __init__(self, pipeline: str) -> None:
        problem = f"the pipeline {shown(pipeline)} has errors of its own"
        super().__init__([Fault(problem, "mend it first")])
        self.pipeline = pipeline


def resolve_input(
    pipelines: Specs, spec: PipelineSpec, parameter: str, given: InputSpec
) -> InputSource:
    """Find what an input means; raises Faults.

    A bare name is an output of this pipeline, or else a pipeline with an output of the
    parameter's own name.
    """
    target, output = _target(pipelines, spec, parameter, given.source)
    step = target.maker(output)
    if step is None:
        owner = "this pipeline" if target is spec else f"the pipeline {shown(target.pipeline)}"
        known = [name for name in target.outputs if name != parameter or target is not spec]
        advice = suggest(output, known, noun="its outputs")
        raise Faults([Fault(f"no step of {owner} makes the output {shown(output)}", advice)])
    if given.max_age is not None and target.partition == "text":
        what = f"the partitions of {shown(target.pipeline)} are text and have no age"
        raise Faults([Fault(what, "remove `max_age`", ("max_age",))])
    return InputSource(
        parameter=parameter,
        pipeline=target.pipeline,
        step=step,
        output=output,
        version=_version(spec, target, given),
        inclusive=target is not spec,
        max_age=given.max_age,
        wait=given.wait,
        optional=given.optional,
        members=target.steps[step].members,
        dated=target.partition == "date",
    )


def _target(
    pipelines: Specs, spec: PipelineSpec, parameter: str, source: str
) -> tuple[PipelineSpec, str]:
    pipeline, dot, output = source.partition(".")
    if not dot:
        if spec.maker(source) or source not in pipelines:
            return spec, source
        output = parameter
    if pipeline == spec.pipeline:
        return spec, output
    return find_spec(pipelines, pipeline), output


def find_spec(pipelines: Specs, name: str) -> PipelineSpec:
    """Find another pipeline; raises Faults."""
    if name not in pipelines:
        advice = suggest(name, pipelines, noun="pipelines")
        raise Faults([Fault(f"unknown pipeline {shown(name)}", advice)])
    spec = pipelines[name]
    if spec is None:
        raise UnreadError(name)
    return spec


def _version(spec: PipelineSpec, target: PipelineSpec, given: InputSpec) -> Version:
    same_kind = spec.partition == target.partition
    if given.version is None:
        if target is spec or (same_kind and spec.partition == "text"):
            return "same_partition"
        return "latest_before_partition" if same_kind else "latest"
    if given.version != "latest" and not same_kind:
        raise Faults(
            [
                Fault(
                    f"{shown(given.version)} cannot relate {spec.partition} partitions "
                    f"to the {target.partition} partitions of {shown(target.pipeline)}",
                    "use `version: latest`",
                    ("version",),
                )
            ]
        )
    return given.version


def is_edge(source: InputSource) -> bool:
    """Tell whether an input of the own pipeline must be made in the same run."""
    return source.version in ("same_partition", "latest")


def upstream(spec: PipelineSpec, sources: Iterable[InputSource]) -> tuple[str, ...]:
    """Name the steps of this pipeline that must be done first, in the order of the file.

    Earlier partitions make no edge: a step may well read what it made itself the day before.
    """
    wanted = {s.step for s in sources if s.pipeline == spec.pipeline and is_edge(s)}
    return tuple(name for name in spec.steps if name in wanted)


def find_cycle(graph: Graph) -> list[str] | None:
    """Give a cycle as [a, b, a], where b needs a, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return None


def ordered(graph: Graph) -> list[str]:
    """Sort names so that each comes after what it needs, else as they were given.

    The graph must have no cycle.
    """
    done: list[str] = []
    waiting = list(graph)
    while waiting:
        ready = next(name for name in waiting if set(graph[name]) <= set(done))
        waiting.remove(ready)
        done.append(ready)
    return done
