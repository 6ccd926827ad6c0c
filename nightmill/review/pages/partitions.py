"""How the partitions of a pipeline stand: by all that ran of them, and by when they were due.

A partition is told by the newest attempt of each step, of whichever run: one that failed at night
and was run again by hand is done. Steps that have not run at all make a partition unfinished, and
late once its time is over. What ran and is not in the index stands as that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from nightmill.review.pages.lateness import (
    Grace,
    day_in_words,
    day_of,
    due_times,
    grace_of,
    next_due,
)
from nightmill.review.pages.run_lines import RunLines, RunState, spec_of, unindexed_of
from nightmill.review.pages.triggers import Lines, triggered_times
from nightmill.review.site import Site
from nightmill.review.specs import zone_of
from nightmill.review.words import clock, counted, zone_name
from nightmill.spec.names import label
from nightmill.spec.pipeline import PipelineSpec
from nightmill.store.index_line import Line

PartitionState = RunState | Literal["late", "unfinished", "due", "unindexed"]
GRAVEST_FIRST: tuple[PartitionState, ...] = (
    "failed", "silent", "late", "held", "unindexed", "rejected", "running", "unfinished", "due",
    "succeeded",
)  # fmt: skip
FOR_PEOPLE: tuple[PartitionState, ...] = ("failed", "silent", "late", "held", "unindexed")
"""What somebody has to look after."""

_NOT_EVERY_NIGHT = ("one_failed", "all_failed", "all_skipped")  # trigger rules


@dataclass(frozen=True)
class Partition:
    """One partition. `ran` is all that ran of it, if anything did; the newest attempt counts.

    `missing` names the steps, members counted, that have not run. `due_at` is in the pipeline's
    zone, None where no schedule asks for it.
    """

    pipeline: str
    name: str
    state: PartitionState
    ran: RunLines | None = None
    missing: tuple[str, ...] = ()
    due_at: datetime | None = None
    grace: Grace | None = None

    @property
    def expected_by(self) -> datetime | None:
        """When it should be done."""
        return self.due_at + self.grace.span if self.due_at and self.grace else None

    @property
    def warnings(self) -> int:
        """How many warnings its steps have."""
        return self.ran.warnings if self.ran else 0

    @property
    def steps(self) -> int:
        """How many steps it has, members counted."""
        return len(self.missing) + (len(self.ran.newest) if self.ran else 0)

    def in_words(self) -> str:
        """Say how it stands: failed, out_of_memory in score."""
        match self.state:
            case "late":
                return f"late, {self._progress()}, due {_at(self.due_at)}"
            case "unfinished":
                return f"unfinished, {self._progress()}"
            case "due":
                return f"due {_at(self.due_at)}"
            case "unindexed":
                return "what ran is not in the index"
            case "succeeded":
                return "succeeded" + with_warnings(self.warnings)
        return self._steps_in_words()

    def sentence(self) -> str:
        """Say so with its names: flight_delays, 1 March 2013: failed, out_of_memory in score."""
        return f"{self.pipeline}, {day_in_words(self.name)}: {self.in_words()}"

    def _progress(self) -> str:
        if self.ran is None:
            return "nothing has run"
        return f"{self.ran.done} of {counted(self.steps, 'step')} done"

    def _steps_in_words(self) -> str:
        if self.ran is None:
            return self.state
        line = self.ran.gravest
        others = sum(state == self.state for state in self.ran.states.values()) - 1
        cause = f", {line.cause}" if line.cause else ""
        more = f" and {counted(others, 'more step')}" if others else ""
        return (
            f"{_WORDS.get(self.state, self.state)}{cause} in {label(line.step, line.member)}{more}"
        )


def with_warnings(number: int) -> str:
    """Return what follows the state of something that has so many warnings."""
    return f", {counted(number, 'warning')}" if number else ""


_WORDS = {"held": "held for review", "silent": "no sign of life"}


@dataclass(frozen=True)
class Course:
    """A pipeline and its newest partitions, the newest first; one elsewhere is in no project here.

    `are_days` says that they are dates; then they are in the order of the calendar.
    """

    pipeline: str
    spec: PipelineSpec | None
    partitions: Mapping[str, Partition]
    is_elsewhere: bool = False

    @property
    def zone(self) -> str:
        """The pipeline's time zone."""
        return zone_of(self.spec)

    @property
    def owner(self) -> str:
        """Who looks after the pipeline."""
        return self.spec.owner if self.spec else ""

    @property
    def is_unindexed(self) -> bool:
        """Whether some of what ran is not in the index."""
        return any(one.state == "unindexed" for one in self.partitions.values())

    @property
    def are_days(self) -> bool:
        """Whether its partitions are dates."""
        if self.spec is not None:
            return self.spec.partition == "date"
        return all(day_of(name) for name in self.partitions)

    def next_due(self, now: datetime) -> datetime | None:
        """Tell when it is due next."""
        return next_due(self.spec, now) if self.spec else None


@dataclass(frozen=True)
class Window:
    """How much is asked for: so many partitions of each pipeline, as they stand at a moment.

    `lines` are those of all pipelines that may be seen: one may wait for another's output.
    """

    most: int
    now: datetime
    lines: Lines
    silent: frozenset[str] = frozenset()

    @property
    def since(self) -> datetime:
        """When what failed or was due is history."""
        return self.now - timedelta(days=self.most)


def course_of(site: Site, pipeline: str, window: Window) -> Course:
    """Tell how the newest partitions of a pipeline stand; raises StoreError."""
    lines = window.lines.get(pipeline, ())
    spec = spec_of(site, pipeline, lines)
    attempts: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        attempts[line.partition].append(line)
    due = _due(site, spec, attempts, window) if spec else {}
    over = [name for name, at in due.items() if at <= window.now]
    unindexed = unindexed_of(site, pipeline, lines, over)
    names = _newest(spec, [*due, *attempts, *unindexed], window.most)
    ran = {
        name: RunLines(tuple(attempts[name]), window.silent) for name in names if name in attempts
    }
    facts = _Facts(
        pipeline=pipeline,
        now=window.now,
        ran=ran,
        missing=_missing(site, spec, ran),
        due=due,
        grace=grace_of(spec, ran.values()) if spec and due else None,
        unindexed=unindexed,
    )
    stand = {name: facts.partition(name) for name in names}
    return Course(pipeline, spec, stand, site.specs.is_elsewhere(pipeline))


@dataclass(frozen=True)
class _Facts:
    """All that is known of the partitions of a pipeline."""

    pipeline: str
    now: datetime
    ran: Mapping[str, RunLines]
    missing: Mapping[str, tuple[str, ...]]
    due: Mapping[str, datetime]
    grace: Grace | None
    unindexed: frozenset[str]

    def partition(self, name: str) -> Partition:
        """Tell how one of them stands."""
        return Partition(
            pipeline=self.pipeline,
            name=name,
            state=self._state(name),
            ran=self.ran.get(name),
            missing=self.missing.get(name, ()),
            due_at=self.due.get(name),
            grace=self.grace,
        )

    def _state(self, name: str) -> PartitionState:
        if name in self.unindexed:
            return "unindexed"
        state: PartitionState = self.ran[name].state if name in self.ran else "due"
        if state == "succeeded" and self.missing[name]:
            state = "unfinished"
        is_over = self.grace and name in self.due and self.now > self.due[name] + self.grace.span
        return "late" if is_over and state in _LATE_IF_OVER else state


_LATE_IF_OVER = ("running", "unfinished", "due")


def _due(
    site: Site, spec: PipelineSpec, attempts: Mapping[str, Sequence[Line]], window: Window
) -> Mapping[str, datetime]:
    """Tell when which partitions were due, from the pipeline's first run on.

    Of one that never ran only the last one counts: nobody knows since when it is in use.
    """
    found = due_times(spec, window.most, window.now) or triggered_times(
        site, spec, window.lines, window.since
    )
    if not attempts:
        over = [name for name in sorted(found, key=found.__getitem__) if found[name] <= window.now]
        return {name: at for name, at in found.items() if name not in over[:-1]}
    first = min(lines[-1].started_at for lines in attempts.values())
    return {name: at for name, at in found.items() if at >= first or name in attempts}


def _newest(spec: PipelineSpec | None, names: Iterable[str], most: int) -> list[str]:
    """Order days by the calendar, other partitions by their runs, and keep the newest."""
    once = list(dict.fromkeys(names))
    are_days = spec.partition == "date" if spec else all(map(day_of, once))
    return (sorted(once, reverse=True) if are_days else once)[:most]


def _missing(
    site: Site, spec: PipelineSpec | None, ran: Mapping[str, RunLines]
) -> Mapping[str, tuple[str, ...]]:
    """Name the steps that have not run.

    Where all that ran succeeded, the pipeline as it was then tells: steps are added and renamed.
    """
    found = {name: _not_in(spec, lines) for name, lines in ran.items()}
    doubtful = {
        name: next((line for line in ran[name].attempts if line.key), None)
        for name, missing in found.items()
        if missing and ran[name].state == "succeeded"
    }
    summaries = site.index.summaries([line for line in doubtful.values() if line])
    for name, line in doubtful.items():
        summary = summaries.get(line.prefix) if line else None
        then = site.specs.ran(summary.pipeline, summary.bundle) if summary else None
        found[name] = _not_in(then, ran[name]) if then else found[name]
    return found


def steps_of(spec: PipelineSpec) -> tuple[str, ...]:
    """Name the steps that run every night, members one by one."""
    return tuple(
        label(name, member)
        for name, step in spec.steps.items()
        if step.trigger_rule not in _NOT_EVERY_NIGHT
        for member in step.members or ("",)
    )


def _not_in(spec: PipelineSpec | None, lines: RunLines) -> tuple[str, ...]:
    return tuple(name for name in steps_of(spec) if name not in lines.newest) if spec else ()


def _at(when: datetime | None) -> str:
    return f"{clock(when, str(when.tzinfo))} {zone_name(when, str(when.tzinfo))}" if when else ""
