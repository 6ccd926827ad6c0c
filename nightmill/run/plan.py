"""What a run has to do, decided before anything starts.

Pure but for reading pointers: which steps are committed already, which run, what each waits for,
and whether every input and parameter from outside is there. All that can fail early fails here.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nightmill.errors import UsageError
from nightmill.spec.graph import InputSource
from nightmill.spec.held import review_line
from nightmill.spec.outputs import reviewed
from nightmill.spec.partition import previous_partition
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import suggest
from nightmill.spec.project import Project
from nightmill.spec.record import Record
from nightmill.spec.retry import Retries
from nightmill.spec.steprun import StepRun
from nightmill.store.inputs import find_lack
from nightmill.store.interface import Store
from nightmill.store.pointer import Pointer, read_pointer
from nightmill.store.versions import partition_records

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
USUAL_DELAY = timedelta(seconds=10)  # between attempts, where somebody may be looking

Key = tuple[str, str, str]  # partition, step, member ("" for a step without)


@dataclass(frozen=True)
class PlannedStep:
    """One step for one partition: committed already, held for review (in words how), or to run.

    It runs after everything in `needs` has succeeded and everything in `waits_for` has ended, and
    when those inputs that it may wait for, `awaits`, are there.
    """

    run: StepRun
    needs: frozenset[Key] = frozenset()
    waits_for: frozenset[Key] = frozenset()
    awaits: tuple[InputSource, ...] = ()
    committed: Pointer | None = None
    held: str = ""
    retries: Retries = field(default_factory=Retries)

    @property
    def key(self) -> Key:
        """Partition, step and member."""
        return self.run.partition, self.run.step, self.run.member


@dataclass(frozen=True)
class Request:
    """What somebody asked for: partitions in order, steps (all if empty), values for each step.

    `retries` and `retry_delay` stand above pipeline.yaml. Where neither says anything a step is not
    tried again: somebody is looking.
    """

    pipeline: Pipeline
    partitions: Sequence[str]
    steps: Collection[str] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    as_of: str | None = None
    rerun: bool = False
    retries: int | None = None
    retry_delay: timedelta | None = None

    def retries_of(self, step: str) -> Retries:
        """Return how a step is tried again in this run."""
        spec = self.pipeline.spec
        one = spec.steps[step]
        usual = spec.retries_of(one)
        count = usual.count if spec.written(one, "retries") else 0
        delay = usual.delay if spec.written(one, "retry_delay") else USUAL_DELAY
        return replace(
            usual,
            count=count if self.retries is None else self.retries,
            delay=self.retry_delay or delay,
        )


@dataclass(frozen=True)
class _Past:
    """What the store knows of earlier runs; the records of a partition are read once."""

    store: Store
    seen: dict[Key, Pointer | None] = field(default_factory=dict)
    _records: dict[str, list[Record]] = field(default_factory=dict)

    def committed(self, run: StepRun) -> Pointer | None:
        """Read what is current of a step, and keep it."""
        key = run.partition, run.step, run.member
        pointer = read_pointer(self.store, run.pipeline, run.step, run.partition, member=run.member)
        self.seen[key] = pointer
        return pointer

    def held(self, request: Request, run: StepRun) -> str:
        """Say how the review stands that the step's last attempt waits for; empty if for none."""
        if not reviewed(request.pipeline.spec.steps[run.step].outputs):
            return ""
        if run.partition not in self._records:
            found = partition_records(self.store, run.pipeline, run.partition)
            self._records[run.partition] = found
        records = self._records[run.partition]
        own = (one for one in records if (one.step, one.member) == (run.step, run.member))
        newest = next(own, None)
        return review_line(newest) if newest is not None and newest.is_held else ""


def build_plan(project: Project, request: Request, store: Store) -> list[PlannedStep]:
    """Return every planned step, in an order in which each comes after what it needs.

    A step that is committed, or whose last attempt is held for review, is left alone unless
    `rerun`, or unless a step that it reads in the same partition is to run (optional inputs count).
    Raises InputError for an input that nobody has committed or will make, unless the step may wait
    for it.
    """
    chosen = _chosen_steps(project, request)
    sources = {step: project.inputs(request.pipeline, step) for step in chosen}
    planned: list[PlannedStep] = []
    running: set[Key] = set()
    now, past = datetime.now(UTC), _Past(store)
    for offset, partition in enumerate(request.partitions):
        identity = new_run(now, offset)
        own: list[PlannedStep] = []
        for step in chosen:
            for member in request.pipeline.spec.steps[step].members or ("",):
                run = _step_run(request, (partition, step, member), store, identity)
                own.append(_plan_step(request, run, sources[step], running, past))
            running |= {one.key for one in own if one.committed is None}
        planned += _above_wrong_clocks(own, past)
    return planned


def lacking_outputs(
    spec: PipelineSpec, planned: Iterable[PlannedStep]
) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Find what steps that are left alone have not made, as it was declared after their commit.

    For each step and its missing outputs these are the partitions, in order. Such a step does not
    run again by itself, as it does not when its notebook changes.
    """
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in planned:
        declared = spec.steps[one.run.step].outputs
        made = one.committed.outputs if one.committed else declared
        if lacking := tuple(name for name in declared if name not in made):
            partitions = found.setdefault((one.run.step, lacking), [])
            if one.run.partition not in partitions[-1:]:
                partitions.append(one.run.partition)
    return found


def _above_wrong_clocks(planned: list[PlannedStep], past: _Past) -> list[PlannedStep]:
    """Put a run above what it is to replace, where a clock that was ahead has committed that.

    Runs that are started one after the other stay in that order, a millisecond apart or more, and
    what is current still fences all that are older.
    """
    seen = [past.seen[one.key] for one in planned if one.committed is None]
    ahead = [one.token.order for one in seen if one is not None and one.token.ahead]
    if not ahead:
        return planned
    own = planned[0].run.order
    order = max(ahead) + own // 1000 + 1
    name = _run_name(order)
    return [
        replace(one, run=one.run.model_copy(update={"run": name, "order": order}))
        for one in planned
    ]


def new_run(created: datetime, offset: int = 0) -> tuple[str, int]:
    """Return the name and the order of a new run; `offset` keeps runs of one request apart.

    Names sort as their orders do, so that a listing by name is one by age.
    """
    order = (created - _EPOCH) // timedelta(microseconds=1) + offset
    return _run_name(order), order


def _run_name(order: int) -> str:
    try:
        stamp = f"{_EPOCH + timedelta(microseconds=order):%Y%m%dT%H%M%S%f}"
    except OverflowError:  # above a clock that counted in nanoseconds; letters sort after digits
        stamp = f"past9999-{order:020}"
    return f"{stamp}-{secrets.token_hex(3)}"


def _chosen_steps(project: Project, request: Request) -> list[str]:
    order = project.step_order(request.pipeline)
    for step in request.steps:
        if step not in order:
            advice = suggest(step, order, noun="its steps")
            raise UsageError(f"{request.pipeline.name} has no step {step!r}", advice=advice)
    return [step for step in order if not request.steps or step in request.steps]


def _step_run(request: Request, key: Key, store: Store, identity: tuple[str, int]) -> StepRun:
    partition, step, member = key
    return StepRun(
        pipeline=request.pipeline.name,
        step=step,
        member=member,
        partition=partition,
        as_of=request.as_of or default_as_of(request.pipeline, partition),
        run=identity[0],
        order=identity[1],
        store=store.url,
        parameters=request.parameters.get(step, {}),
    )


def default_as_of(pipeline: Pipeline, partition: str) -> str:
    """Return the partition's own day; where partitions are no days, today, which is recorded."""
    if pipeline.spec.partition == "date":
        return partition
    return datetime.now(UTC).date().isoformat()


def _plan_step(
    request: Request,
    run: StepRun,
    sources: Iterable[InputSource],
    running: Collection[Key],
    past: _Past,
) -> PlannedStep:
    needs: set[Key] = set()
    waits_for: set[Key] = set()
    outside: list[InputSource] = []
    for source in sources:
        makers = _makers(source, run, running)
        (needs if _must_succeed(source) else waits_for).update(makers)
        if not makers:
            outside.append(source)
    committed = past.committed(run)
    upstream_runs = any(key[0] == run.partition for key in needs | waits_for)
    is_settled = not request.rerun and not upstream_runs
    if is_settled and committed is not None:
        return PlannedStep(run, committed=committed)
    if is_settled and (held := past.held(request, run)):
        return PlannedStep(run, held=held)
    lack = find_lack(past.store, outside, run.partition)
    if lack is not None and not lack.left:
        raise lack.error
    return PlannedStep(
        run,
        needs=frozenset(needs),
        waits_for=frozenset(waits_for),
        awaits=tuple(source for source in sources if source.wait),
        retries=request.retries_of(run.step),
    )


def _must_succeed(source: InputSource) -> bool:
    """Whether the step cannot run without the version that a planned step is to make."""
    return not source.optional and source.version in ("same_partition", "previous_partition")


def _makers(source: InputSource, run: StepRun, running: Collection[Key]) -> set[Key]:
    """Return the planned steps that make this input, or may make a newer version of it."""
    if source.pipeline != run.pipeline:
        return set()
    makers = {key for key in running if key[1] == source.step}
    match source.version:
        case "same_partition":
            return {key for key in makers if key[0] == run.partition}
        case "previous_partition":
            day = previous_partition(run.partition)
            return {key for key in makers if key[0] == day}
        case "latest_before_partition":
            return {key for key in makers if key[0] < run.partition}
        case "latest":
            return makers
