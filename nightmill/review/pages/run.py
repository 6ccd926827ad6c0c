"""The page of a run: what happened, why, what it made and from what, and what is left to decide.

Made from the records below the run's own prefix, so it is right also where the index is not there.
What needs a person comes first; everything else is there, but folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import AwareDatetime

from nightmill.errors import UsageError
from nightmill.review.commands import Command, shows
from nightmill.review.pages.asked import Filtered, one_of, page_of
from nightmill.review.pages.decide import BEHIND, DecisionView, decision_of, is_behind
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.live import (
    Heard,
    LiveView,
    hear,
    is_silent,
    lines_of_run,
    live_of_run,
    seen_of,
)
from nightmill.review.pages.no_longer import NoLonger, no_longer_of
from nightmill.review.pages.notes import NotesView, notes_of_run
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.pages.run_findings import (
    MOST,
    AmendmentFact,
    FailureFact,
    PoolCost,
    Remark,
    amendments_of,
    costs_of,
    failures_of,
    remarks_of,
    span_of,
)
from nightmill.review.pages.run_graph import RunGraph
from nightmill.review.pages.run_lines import RunState, gravest
from nightmill.review.pages.run_steps import (
    PAGED,
    SHOWN,
    StepCard,
    StepRecords,
    StepSection,
    by_step,
    section_of,
)
from nightmill.review.pages.run_words import sentence_of
from nightmill.review.pages.step_graph import Drawing, draw
from nightmill.review.specs import zone_of
from nightmill.review.views import RUN, View
from nightmill.review.visit import Visit
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import AttemptState, Record
from nightmill.store.history import prefix_of

_HEARD = 200  # heartbeats that are read; of more attempts at once the others count as running


class RunPage(Filtered):
    """One run. `failures` and what follows tell the newest attempts, `sections` all of them.

    Spans are seconds. With `only` the sections are those of one step, a page of them at a time.
    """

    pipeline: str
    partition: str
    run: str
    as_of: str
    owner: str
    zone: str
    nightmill: str
    state: RunState
    sentence: str
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    span_s: float
    failures: tuple[FailureFact, ...]
    decisions: tuple[DecisionView, ...]
    remarks: tuple[Remark, ...]
    amendments: tuple[AmendmentFact, ...]
    taken_back: tuple[NoLonger, ...]
    replaced: tuple[NoLonger, ...]
    replaced_left_out: int
    left_out: tuple[str, ...]
    is_behind: bool | None
    cards: tuple[StepCard, ...]
    drawing: Drawing
    costs: tuple[PoolCost, ...]
    pod_seconds: float
    sections: tuple[StepSection, ...]
    only: str
    earlier_page: str | None
    later_page: str | None
    show: Command
    notes: NotesView
    live: LiveView
    unreadable: tuple[str, ...]
    unreadable_left_out: int


@dataclass(frozen=True)
class _Found:
    """A run as it was read."""

    records: Sequence[Record]
    heard: Sequence[Heard]
    spec: PipelineSpec | None

    @cached_property
    def steps(self) -> Mapping[str, StepRecords]:
        """Its attempts by step."""
        silent = frozenset(prefix_of(one) for one, told in self.heard if is_silent(one, told))
        return by_step(self.records, silent, tuple(self.spec.steps) if self.spec else ())

    @cached_property
    def newest(self) -> list[Record]:
        """The newest attempt of each step and member."""
        return [
            record
            for step in self.steps.values()
            for record in step.in_order
            if step.newest[record.member] is record
        ]


def run_page(visit: Visit) -> RunPage:
    """Tell everything about the run that the address names."""
    seen = seen_of(lines_of_run(visit))  # before the records: what changes since is asked for again
    read = visit.site.records.below(visit.prefix)
    if not read.records:
        raise _unknown(visit, read.unreadable)
    found = _found(visit, read.records)
    graph = RunGraph.of(found.spec, found.records)
    unclear: list[str] = []
    only = one_of(visit, "step", found.steps, unclear)
    return RunPage(
        not_understood=tuple(unclear),
        **_head(found, graph),
        **_findings(visit, found),
        cards=graph.cards(visit, found.steps),
        drawing=draw(graph.needs),
        costs=costs_of(found.records),
        pod_seconds=sum(one.pod_seconds for one in costs_of(found.records)),
        **_sections(visit, found, only),
        show=shows(found.records[0]),
        notes=notes_of_run(visit, found.records[0]),
        live=live_of_run(visit, found.heard, count=_at_work(found.records), seen=seen),
        unreadable=read.unreadable[:MOST],
        unreadable_left_out=max(len(read.unreadable) - MOST, 0),
        is_behind=bool(visit.query(BEHIND)) and is_behind(visit, found.records),
    )


def _found(visit: Visit, records: Sequence[Record]) -> _Found:
    running = [one for one in records if one.state is AttemptState.RUNNING]
    bundles = [one.code.bundle for one in reversed(records) if one.code and one.code.bundle]
    spec = visit.site.specs.ran(records[0].pipeline, next(iter(bundles), None))
    return _Found(records, hear(visit.site.store, running[:_HEARD]), spec)


def _head(found: _Found, graph: RunGraph) -> dict[str, object]:
    first = found.records[0]
    ends = [one.ended_at for one in found.records if one.ended_at]
    others = [step for step in graph.needs if step not in found.steps]
    return {
        **first.model_dump(include={"pipeline", "partition", "run", "as_of", "nightmill"}),
        "owner": found.spec.owner if found.spec else "",
        "zone": zone_of(found.spec),
        "state": gravest(step.state for step in found.steps.values()),
        "sentence": sentence_of(found.steps, others),
        "started_at": first.started_at,
        "ended_at": None if _at_work(found.records) else max(ends, default=None),
        "span_s": span_of(found.records),
    }


def _findings(visit: Visit, found: _Found) -> dict[str, object]:
    """Tell what a person must know or do; each list as long as a page can be read."""
    told = [one for record in found.newest if (one := decision_of(visit, record))]
    reviews = sorted(told, key=lambda one: not one.is_open)
    lists: dict[str, Sequence[Fact]] = {
        "failures": failures_of(visit, found.newest),
        "decisions": reviews,
        "remarks": remarks_of(visit, found.newest),
        "amendments": amendments_of(found.records),
    }
    left_out = [
        f"{len(facts) - MOST:,} more {_NOUNS[name]}"
        for name, facts in lists.items()
        if len(facts) > MOST
    ]
    shown = {name: tuple(facts[:MOST]) for name, facts in lists.items()}
    return {**shown, "left_out": tuple(left_out)}


_NOUNS = {
    "failures": "failed attempts",
    "decisions": "reviews",
    "remarks": "warnings",
    "amendments": "amendments",
}


def _sections(visit: Visit, found: _Found, only: str) -> dict[str, object]:
    """Tell the attempts of all steps, the first of each; or of one step, page by page."""
    page = page_of(visit, found.steps[only].in_order, PAGED) if only else None
    steps = [found.steps[only]] if only else list(found.steps.values())
    shown = {one.step: page.items if page else one.in_order[:SHOWN] for one in steps}
    told = [record for records in shown.values() for record in records]
    now = NowCurrent.of(visit, told)
    return {
        **_not_current(visit, found, told, now),
        "sections": tuple(section_of(visit, one, now, shown=shown[one.step]) for one in steps),
        "only": only,
        "earlier_page": page and page.before,
        "later_page": page and page.after,
    }


def _not_current(
    visit: Visit, found: _Found, told: Sequence[Record], now: NowCurrent
) -> dict[str, object]:
    """Tell what a person has taken back; else of the newest attempts, what others replaced."""
    every = no_longer_of(visit, told, now)
    newest = {(one.label, one.attempt) for one in found.newest}
    replaced = [one for one in every if not one.kind and (one.label, one.attempt) in newest]
    return {
        "taken_back": tuple(one for one in every if one.kind)[:MOST],
        "replaced": tuple(replaced[:MOST]),
        "replaced_left_out": max(len(replaced) - MOST, 0),
    }


def _at_work(records: Sequence[Record]) -> int:
    return sum(one.state is AttemptState.RUNNING for one in records)


def _unknown(visit: Visit, unreadable: Sequence[str]) -> UsageError:
    if unreadable:
        return UsageError(
            f"none of this run's {len(unreadable)} records can be read",
            where=unreadable[0],
            advice="a later Nightmill may have written them: update this one; else restore them",
        )
    return UsageError(
        f"there is no record of the run {visit.name('run')}",
        where=f"{visit.name('pipeline')} {visit.name('partition')}",
        advice="it may be about to start: load this page again; `nightmill gc` may have deleted "
        "it; `nightmill runs` lists what there is",
    )


ROUTES = (View(f"/runs/{RUN}", "run.html", run_page),)
