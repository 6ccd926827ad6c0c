"""The steps of a run: each as a card of the graph, and with its attempts in full below it.

A step stands as the gravest of its members does, each by its newest attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nightmill.review.links import RUNS
from nightmill.review.pages.attempt_facts import AttemptFacts, facts_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.pages.run_findings import seconds_of
from nightmill.review.pages.run_lines import DONE, RunState, gravest
from nightmill.review.visit import Visit
from nightmill.spec.record import Record
from nightmill.spec.summary import Standing
from nightmill.store.history import prefix_of
from nightmill.store.keys import encode

SHOWN = 10
"""How many attempts a step shows on the page of the whole run."""

PAGED = 50
"""How many it shows on a page of its own."""


class StepCard(Fact):
    """A step in short. `note` says what a step that did not run is about; seconds and bytes."""

    step: str
    state: str
    note: str = ""
    address: str = ""
    cause: str | None = None
    attempts: int = 0
    members: int = 0
    members_done: int = 0
    seconds: float | None = None
    peak_bytes: int | None = None
    limit_bytes: int | None = None
    pool: str | None = None
    warnings: int = 0
    needs: tuple[str, ...] = ()


class StepSection(Fact):
    """A step's attempts: those in trouble first, then the newest first. `all_page` has the rest."""

    step: str
    anchor: str
    state: str
    notebook: str
    attempts: tuple[AttemptFacts, ...]
    left_out: int
    all_page: str
    metrics_page: str


@dataclass(frozen=True)
class StepRecords:
    """All attempts of a run at one step; `silent` are prefixes of those not heard of."""

    step: str
    records: Sequence[Record]
    silent: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def newest(self) -> Mapping[str, Record]:
        """The newest attempt of each member."""
        ordered = sorted(self.records, key=lambda one: one.attempt)
        return {one.member: one for one in ordered}

    @cached_property
    def state(self) -> RunState:
        """How the step stands."""
        return gravest(self.state_of(one) for one in self.newest.values())

    @cached_property
    def in_state(self) -> Sequence[Record]:
        """The newest attempts of members that make it stand so, in the members' order."""
        return [one for one in self.in_order if self._makes_state(one)]

    @property
    def gravest(self) -> Record:
        """The first of these."""
        return self.in_state[0]

    def state_of(self, record: Record) -> RunState:
        """Say how an attempt stands."""
        return "silent" if prefix_of(record) in self.silent else Standing.of(record).value

    def _makes_state(self, record: Record) -> bool:
        is_newest = self.newest[record.member] is record
        return is_newest and self.state_of(record) == self.state

    @cached_property
    def in_order(self) -> Sequence[Record]:
        """Give the attempts, those first that a reviewer looks for."""
        return sorted(self.records, key=self._rank)

    def _rank(self, record: Record) -> tuple[bool, bool, int, str, int]:
        is_newest, member = self.newest[record.member] is record, record.member
        is_fine = self.state_of(record) in DONE
        number = int(member) if member.isdecimal() else 0
        return not is_newest or is_fine, not is_newest, number, member, -record.attempt


def card_of(visit: Visit, found: StepRecords, needs: Iterable[str], members: int) -> StepCard:
    """Tell a step that has run, in short; it leads to its notebook, at the failing cell if any.

    `members` is how many it has by pipeline.yaml.
    """
    one, newest = found.gravest, list(found.newest.values())
    failure = one.failure
    memory = [record.memory for record in newest if record.memory]
    times = [seconds for record in newest if (seconds := seconds_of(record)) is not None]
    highest = max(memory, key=lambda one: one.peak_bytes or 0, default=None)
    return StepCard(
        step=found.step,
        state=found.state,
        address=visit.links.attempt(RUNS, prefix_of(one), cell=failure.cell if failure else None),
        cause=failure and failure.cause,
        attempts=len(found.records),
        members=max(members, len(newest)) if one.member else 0,
        members_done=sum(found.state_of(record) in DONE for record in newest),
        seconds=max(times, default=None),
        peak_bytes=highest and highest.peak_bytes,
        limit_bytes=highest and highest.limit_bytes,
        pool=one.pool,
        warnings=sum(len(record.warnings) for record in newest),
        needs=tuple(needs),
    )


def section_of(
    visit: Visit, found: StepRecords, now: NowCurrent, *, shown: Sequence[Record]
) -> StepSection:
    """Tell those attempts at a step in full that are shown."""
    code = found.gravest.code
    return StepSection(
        step=found.step,
        anchor=f"step-{encode(found.step)}",
        state=found.state,
        notebook=code.notebook if code else "",
        attempts=tuple(facts_of(visit, one, now, state=found.state_of(one)) for one in shown),
        left_out=len(found.records) - len(shown),
        all_page=visit.links.attempt(RUNS, visit.prefix, step=found.step),
        metrics_page=visit.links.page("metrics", found.gravest.pipeline, found.step),
    )


def by_step(
    records: Sequence[Record], silent: frozenset[str], order: Sequence[str] = ()
) -> dict[str, StepRecords]:
    """Put the records of a run together by step, in that order; others as they began."""
    found: dict[str, list[Record]] = {step: [] for step in order}
    for record in records:
        found.setdefault(record.step, []).append(record)
    return {step: StepRecords(step, own, silent) for step, own in found.items() if own}
