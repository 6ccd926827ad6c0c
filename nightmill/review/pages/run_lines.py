"""Runs, put together from the lines of the index: how each stands, how long it took, where it is.

A step stands as its newest attempt does, and a run as the gravest of its steps. Whether a running
attempt is silent only its heartbeat tells, so that has to be asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from nightmill.causes import Cause
from nightmill.review.site import Site
from nightmill.spec.names import label
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.progress import SILENT_AFTER
from nightmill.store.amend import read_progress
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.keys import run_prefix_of
from nightmill.store.parallel import in_parallel

RunState = Literal["failed", "rejected", "silent", "running", "held", "succeeded"]
GRAVEST_FIRST: tuple[RunState, ...] = (
    "failed", "rejected", "silent", "running", "held", "succeeded"
)  # fmt: skip
DONE = ("held", "succeeded")

_RANK = {state: rank for rank, state in enumerate(GRAVEST_FIRST)}
_ASKED = 200  # heartbeats on a page; whoever has more at once has a page that is slow, not wrong
_TRIED = 3  # newest attempts, of which one should have kept its code


@dataclass(frozen=True)
class RunLines:
    """One run: its attempts, the one that started last first.

    `silent` holds the prefixes of attempts, of this run or of others, that ought to have been heard
    of. Spans are in seconds.
    """

    attempts: tuple[Line, ...]
    silent: frozenset[str] = frozenset()

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self.attempts[0].pipeline

    @property
    def partition(self) -> str:
        """The partition that it is for."""
        return self.attempts[0].partition

    @property
    def run(self) -> str:
        """Its name."""
        return self.attempts[0].run

    @property
    def prefix(self) -> str:
        """Where its attempts lie in the store."""
        return run_prefix_of(self.attempts[0].prefix)

    @property
    def order(self) -> int:
        """When it was created, in microseconds since the epoch; 0 where nobody knows."""
        return self.attempts[0].order

    @cached_property
    def newest(self) -> Mapping[str, Line]:
        """The newest attempt of each step, or member of one, by its label, as they first began."""
        return {label(line.step, line.member): line for line in reversed(self.attempts)}

    @cached_property
    def states(self) -> Mapping[str, RunState]:
        """How each step, or member of one, stands."""
        return {name: state_of(line, self.silent) for name, line in self.newest.items()}

    @cached_property
    def state(self) -> RunState:
        """How the whole stands: as the gravest of its steps."""
        return gravest(self.states.values())

    @property
    def gravest(self) -> Line:
        """The attempt that made the run stand as it does: of several the first to start."""
        return next(self.newest[name] for name, one in self.states.items() if one == self.state)

    @property
    def warnings(self) -> int:
        """How many warnings its steps have: what succeeded with some is no plain good news."""
        return sum(line.warnings for line in self.newest.values())

    @property
    def done(self) -> int:
        """How many steps, each member counted, have done their work."""
        return sum(state in DONE for state in self.states.values())

    @cached_property
    def causes(self) -> tuple[Cause, ...]:
        """Why steps failed, the most frequent cause first."""
        found = [line.cause for line in self.newest.values() if line.cause]
        return tuple(cause for cause, _count in Counter(found).most_common()) if found else ()

    @cached_property
    def words(self) -> str:
        """All that a search looks through, in lower case."""
        said = [self.pipeline, self.partition, self.run, self.state, *self.newest, *self.causes]
        return "\n".join(said).casefold()

    @property
    def started_at(self) -> datetime:
        """When its first attempt began."""
        return min(line.started_at for line in self.attempts)

    @property
    def ended_at(self) -> datetime | None:
        """When its last attempt ended; None while one runs."""
        ends = [line.ended_at for line in self.attempts]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    @cached_property
    def duration_s(self) -> float:
        """How long at least one attempt was at work; what lies between two of them counts not."""
        now, first = datetime.now(UTC), self.started_at
        total = until = 0.0
        for line in sorted(self.attempts, key=lambda one: one.started_at):
            begun = (line.started_at - first).total_seconds()
            end = begun + _seconds(line, now)
            total += max(end - max(begun, until), 0.0)
            until = max(until, end)
        return total


def runs_of(lines: Iterable[Line], silent: frozenset[str] = frozenset()) -> list[RunLines]:
    """Put the lines of the index together into runs, the newest run first.

    The lines may be of several pipelines; those of one run come in the index's own order.
    """
    attempts: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        attempts[line.pipeline, line.partition, line.run].append(line)
    runs = [RunLines(tuple(found), silent) for found in attempts.values()]
    return sorted(runs, key=newest_first, reverse=True)


def newest_first(run: RunLines) -> tuple[int, str]:
    """Return what to sort runs by, in reverse."""
    return run.order, run.run


def lines_of(site: Site, pipelines: Iterable[str]) -> Mapping[str, tuple[Line, ...]]:
    """Read the index of several pipelines side by side; raises StoreError."""
    names = list(pipelines)
    return dict(zip(names, in_parallel(site.index.attempts, names), strict=True))


def silent_of(store: Store, lines: Iterable[Line]) -> frozenset[str]:
    """Name by their prefixes the running attempts whose heartbeat stopped; raises StoreError.

    The store is asked about those only that run for longer than a heartbeat may stay away: about
    the 200 that began last, to keep a page from waiting for thousands.
    """
    now = datetime.now(UTC)
    asked = [line for line in lines if not line.key and now - line.started_at > SILENT_AFTER]
    asked = sorted(asked, key=lambda line: line.started_at, reverse=True)[:_ASKED]
    found = in_parallel(lambda line: read_progress(store, line.prefix), asked)
    return frozenset(
        line.prefix
        for line, progress in zip(asked, found, strict=True)
        if progress is None or now - progress.heartbeat > SILENT_AFTER
    )


def state_of(line: Line, silent: frozenset[str]) -> RunState:
    """Tell how an attempt stands."""
    return "silent" if line.prefix in silent else line.standing.value


def gravest(states: Iterable[RunState]) -> RunState:
    """Choose the state that a reviewer must hear of first; there has to be one."""
    return min(states, key=_RANK.__getitem__)


def unindexed_of(
    site: Site, pipeline: str, lines: Iterable[Line], expected: Iterable[str]
) -> frozenset[str]:
    """Name the partitions of a pipeline that ran and are not in the index; raises StoreError.

    Where the index has all that is expected nobody asks the store: whoever runs keeps the index.
    """
    ran = {line.partition for line in lines}
    if ran and ran.issuperset(expected):
        return frozenset()
    return frozenset(site.index.unindexed(pipeline)) - ran


def spec_of(site: Site, pipeline: str, lines: Iterable[Line]) -> PipelineSpec | None:
    """Find a pipeline as it is now: in the project, else as its newest run had it.

    Of one that is not in the project nothing is due here: it is another project's, or was taken
    out, and nobody knows which. None where no code was kept. Raises StoreError.
    """
    if pipeline in site.specs.now():
        return site.specs.now()[pipeline]
    ended = [line for line in lines if line.key][:_TRIED]
    summaries = site.index.summaries(ended)
    bundles = [summaries[line.prefix].bundle for line in ended if line.prefix in summaries]
    found = (site.specs.ran(pipeline, bundle) for bundle in dict.fromkeys(bundles))
    spec = next((spec for spec in found if spec), None)
    return _not_due(spec) if spec and site.specs.is_elsewhere(pipeline) else spec


def _not_due(spec: PipelineSpec) -> PipelineSpec:
    """Return what a pipeline was, without what would make it due."""
    nothing = dict.fromkeys(("schedule", "start", "end", "expect_by"))
    return spec.model_copy(update={**nothing, "after": ()})


def _seconds(line: Line, now: datetime) -> float:
    """Return how long an attempt took, or has taken so far."""
    if line.ended_at is None:
        return max((now - line.started_at).total_seconds(), 0.0)
    return line.duration_s or 0.0
