"""pipeline.yaml as frozen models: everything one file can promise without looking at another.

What needs the other files (inputs, kernels, notebooks) is checked in `project` and `check`.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from croniter import CroniterError, croniter
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nightmill.spec.checks import StepChecks, check_faults
from nightmill.spec.inputs import Inputs, check_reference
from nightmill.spec.names import Name, RelativePath, Variable
from nightmill.spec.outputs import Outputs, paths
from nightmill.spec.problems import Fault, Faults, fail_if, shown, suggest
from nightmill.spec.scheduling import PipelineScheduling, StepScheduling
from nightmill.spec.units import Cpu, Day, Duration, Memory

PartitionKind = Literal["date", "text"]

MAX_MEMBERS = 1000
PRESETS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")


def _check_schedule(text: str) -> str:
    if text.startswith("@"):
        if text not in PRESETS:
            raise Faults([Fault(f"unknown preset {shown(text)}", suggest(text, PRESETS))])
        return text
    advice = 'five fields: minute hour day month weekday, like "30 2 * * *", or @daily'
    if len(text.split()) != 5 or len(text) > 200:  # noqa: PLR2004 - the five fields of cron
        raise Faults([Fault(f"{shown(text)} is no schedule", advice)])
    try:
        next(croniter(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CroniterError, ValueError, KeyError) as error:
        raise Faults([Fault(f"{shown(text)} never comes due: {error}", advice)]) from error
    return text


def _check_timezone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        advice = suggest(text, sorted(zoneinfo.available_timezones()), noun="for example")
        raise Faults([Fault(f"unknown time zone {shown(text)}", advice)]) from error
    return text


def _check_notebook(text: str) -> str:
    if not text.endswith((".ipynb", ".py")):
        advice = "name an .ipynb file or a .py percent script"
        raise Faults([Fault(f"{shown(text)} is no notebook", advice)])
    return text


def _check_after(text: str) -> str:
    if "." not in check_reference(text):
        raise Faults([Fault(f"{shown(text)} names no output", "write `pipeline.output`")])
    return text


def _check_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let through only what JSON can hold, and dates."""
    fail_if(
        Fault(
            f"a value of the type {type(value).__name__} cannot be a parameter",
            "put it between quotes to pass it as text",
            (name,),
        )
        for name, value in values.items()
        if not _is_plain(value)
    )
    return values


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return value is None or type(value) in (bool, int, float, str, date)


def _members(raw: Any) -> Any:
    """Turn `members: 3` into the names 0, 1 and 2."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        if not 1 <= raw <= MAX_MEMBERS:
            raise Faults([Fault(f"{raw} members, from 1 to {MAX_MEMBERS} are possible")])
        return tuple(str(number) for number in range(raw))
    if not isinstance(raw, list) or not raw:
        advice = "write `members: 4` or `members: [north, south]`"
        raise Faults([Fault("expected a number of members or a list of their names", advice)])
    names = [str(name) for name in raw]
    fail_if(
        Fault(f"{shown(name)} is no name of a member", "use letters, digits, `_` and `-`", (index,))
        for index, name in enumerate(names)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", name, re.ASCII)
    )
    if len(set(names)) < len(names) or len(names) > MAX_MEMBERS:
        raise Faults([Fault(f"the names of members must differ, at most {MAX_MEMBERS} of them")])
    return tuple(names)


Parameters = Annotated[Mapping[Variable, Any], AfterValidator(_check_values)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]


class StepSpec(StepScheduling):
    """One notebook of a pipeline, and what it reads, makes and needs.

    With `members` it runs once for each of them, told apart by the parameter `member`; who reads
    its outputs gets a mapping from member to address.
    """

    notebook: Annotated[RelativePath, AfterValidator(_check_notebook)]
    kernel: Name | None = None
    pool: Name | None = None
    cpu_millicores: Cpu | None = Field(default=None, alias="cpu")
    memory_bytes: Memory | None = Field(default=None, alias="memory")
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    timeout: Duration | None = None
    cell_timeout: Duration | None = None
    inputs: Inputs = Field(default_factory=dict)
    outputs: Outputs = Field(default_factory=dict)
    checks: StepChecks = Field(default_factory=dict)
    members: Annotated[tuple[str, ...], BeforeValidator(_members)] = ()
    parameters: Parameters = Field(default_factory=dict)
    env: Mapping[EnvironmentName, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_and_paths_differ(self) -> StepSpec:
        faults = [*self._name_faults(), *self._path_faults()]
        fail_if([*faults, *check_faults(self.checks, paths(self.outputs))])
        return self

    def _name_faults(self) -> Iterator[Fault]:
        for name in self.outputs:
            if name in self.inputs:
                yield Fault(
                    f"{shown(name)} is an input and an output of this step",
                    f"rename one, as in `inputs: {{{name}_before: {{from: {name}}}}}`",
                    ("outputs", name),
                )
        for name in self.parameters:
            if name in self.inputs or name in self.outputs:
                yield Fault(
                    f"{shown(name)} is an input or output, and its address is set by the runner",
                    "remove it from the parameters",
                    ("parameters", name),
                )

    def _path_faults(self) -> Iterator[Fault]:
        taken: dict[str, str] = {}
        for name, path in paths(self.outputs).items():
            slashed = path.rstrip("/") + "/"
            for other, other_name in taken.items():
                if slashed.startswith(other) or other.startswith(slashed):
                    problem = f"{shown(name)} and {shown(other_name)} would share a path"
                    yield Fault(problem, "give each its own", ("outputs", name))
            taken[slashed] = name


class PipelineSpec(PipelineScheduling):
    """A whole pipeline.yaml. With neither `schedule` nor `after` it runs only by hand."""

    pipeline: Name
    description: str = ""
    owner: str = ""
    tags: Annotated[tuple[str, ...], Field(strict=False)] = ()
    schedule: Annotated[str, AfterValidator(_check_schedule)] | None = None
    timezone: Annotated[str, AfterValidator(_check_timezone)] = "UTC"
    start: Day | None = None
    end: Day | None = None
    partition: PartitionKind = "date"
    after: Annotated[
        tuple[Annotated[str, AfterValidator(_check_after)], ...], Field(strict=False)
    ] = ()
    parameters: Parameters = Field(default_factory=dict)
    steps: Mapping[Name, StepSpec]

    @model_validator(mode="after")
    def _fits_together(self) -> PipelineSpec:
        fail_if(
            [
                *self._time_faults(),
                *self.scheduling_faults(),
                *self._output_faults(),
                *self._version_faults(),
            ]
        )
        return self

    def _time_faults(self) -> Iterator[Fault]:
        if not self.steps:
            yield Fault("no steps", "a pipeline needs at least one", ("steps",))
        if self.schedule and self.after:
            yield Fault("both `schedule` and `after` are given", "keep one", ("after",))
        if self.schedule and not self.start:
            yield Fault("a schedule needs a `start`", "add `start: 2013-01-01`", ("schedule",))
        if self.start and self.end and self.end < self.start:
            yield Fault(f"{self.end} is before the start, {self.start}", at=("end",))
        if self.partition == "text":
            for key in ("schedule", "start", "end"):
                if getattr(self, key) is not None:
                    yield Fault(f"`{key}` needs `partition: date`", "remove one", (key,))

    def _output_faults(self) -> Iterator[Fault]:
        makers: dict[str, str] = {}
        for name, step in self.steps.items():
            for output in step.outputs:
                maker = makers.setdefault(output, name)
                if maker != name:
                    yield Fault(
                        f"the output {shown(output)} is also made by the step {shown(maker)}",
                        "rename one of them",
                        ("steps", name, "outputs", output),
                    )

    def _version_faults(self) -> Iterator[Fault]:
        if self.partition == "date":
            return
        for name, step in self.steps.items():
            for parameter, given in step.inputs.items():
                at = ("steps", name, "inputs", parameter)
                if given.version in ("previous_partition", "latest_before_partition"):
                    yield Fault(
                        f"{shown(given.version)} needs `partition: date`: text has no before",
                        "use same_partition or latest",
                        (*at, "version"),
                    )
                if given.max_age is not None:
                    yield Fault("`max_age` needs `partition: date`", at=(*at, "max_age"))

    def maker(self, output: str) -> str | None:
        """Name the step that makes an output."""
        return next((name for name, step in self.steps.items() if output in step.outputs), None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """All outputs, in the order of the file."""
        return tuple(output for step in self.steps.values() for output in step.outputs)
