"""What needs a person: one line each, with a link straight to where it can be understood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime

from nightmill.causes import SUMMARY, Cause
from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.lateness import day_in_words
from nightmill.review.pages.partitions import FOR_PEOPLE, Course, Partition, PartitionState
from nightmill.review.pages.unindexed import damaged_of
from nightmill.review.visit import Visit
from nightmill.review.words import moment
from nightmill.spec.names import label
from nightmill.spec.progress import SILENT_AFTER
from nightmill.spec.summary import Summary
from nightmill.spec.words import span
from nightmill.store.index_line import Line


class Need(Fact):
    """Partitions of a pipeline that stand in the same bad way; the newest one is told.

    `address` leads to the notebook, at its failing cell where there is one, `run_address` to the
    run. `more` counts the other partitions, at `more_address`.
    """

    state: PartitionState
    pipeline: str
    owner: str
    partition: str
    partition_in_words: str
    step: str
    cause: Cause | None
    cell: int | None
    message: str
    at: AwareDatetime
    zone: str
    address: str
    run_address: str | None
    more: int
    more_address: str


class Broken(Fact):
    """A pipeline.yaml of the project that gives no pipeline, and why: it stops every run of it.

    `address` is None where nobody knows more of the pipeline than that.
    """

    pipeline: str
    message: str
    address: str | None


def broken_of(visit: Visit, known: Collection[str]) -> tuple[Broken, ...]:
    """Tell which files of the project are broken; `known` are the pipelines that have a page."""
    return tuple(
        Broken(
            pipeline=name,
            message=f"{said}; `nightmill check` tells all",
            address=visit.links.page("pipelines", name) if name in known else None,
        )
        for name, said in sorted(visit.site.specs.broken().items())
        if visit.may_read(name)
    )


@dataclass(frozen=True)
class Needs:
    """What of a pipeline needs a person, the gravest first.

    Of the attempts in `damaged` the index should tell why, and does not.
    """

    told: tuple[Need, ...]
    damaged: tuple[Line, ...]


def needs_of(visit: Visit, course: Course, since: datetime) -> Needs:
    """Find what of a pipeline needs a person; raises StoreError.

    What failed before that time is history; what is held or silent waits until somebody comes.
    """
    found: dict[PartitionState, list[Partition]] = defaultdict(list)
    for one in course.partitions.values():
        if not (one.state == "failed" and one.ran and one.ran.gravest.started_at < since):
            found[one.state].append(one)
    newest = [found[state][0] for state in FOR_PEOPLE if state in found]
    lines = [one.ran.gravest for one in newest if one.ran]
    summaries = visit.site.index.summaries(lines)
    teller = _Teller(visit, course, summaries)
    needs = tuple(teller.need(one, more=len(found[one.state]) - 1) for one in newest)
    return Needs(needs, damaged_of(visit, lines, summaries))


@dataclass(frozen=True)
class _Teller:
    """Tells the needs of one pipeline."""

    visit: Visit
    course: Course
    summaries: Mapping[str, Summary]

    def need(self, one: Partition, *, more: int) -> Need:
        """Tell what is wrong with a partition."""
        line = one.ran.gravest if one.ran else None
        summary = self.summaries.get(line.prefix) if line else None
        cell = summary.cell if summary else None
        is_late = one.state == "late"
        return Need(
            state=one.state,
            pipeline=one.pipeline,
            owner=self.course.owner,
            partition=one.name,
            partition_in_words=day_in_words(one.name),
            step=label(line.step, line.member) if line and not is_late else "",
            cause=line.cause if line else None,
            cell=cell,
            message=self._message(one, line, summary),
            at=_at(one, line),
            zone=self.course.zone,
            address=self._address(one, line, cell),
            run_address=self.visit.links.run(line.prefix) if line else None,
            more=more,
            more_address=self._more(one),
        )

    def _message(self, one: Partition, line: Line | None, summary: Summary | None) -> str:
        zone = self.course.zone
        if one.state == "late":
            why = f" ({one.grace.why})" if one.grace else ""
            what = one.in_words().removeprefix("late, ")
            return f"{what}, expected by {moment(one.expected_by, zone)}{why}"
        if one.state == "unindexed":
            return f"{one.in_words()}: run `nightmill reindex`"
        if line is None:
            return ""
        if one.state == "silent":
            silence = span(SILENT_AFTER.total_seconds())
            since = moment(line.started_at, zone)
            advice = "`nightmill sweep` writes down its end"
            return f"running since {since}, no sign of life for {silence} or longer; {advice}"
        if one.state == "held":
            return f"waits for a decision since {moment(line.ended_at, zone)}"
        known = SUMMARY[line.cause] if line.cause else "failed"
        return summary.message if summary and summary.message else known

    def _address(self, one: Partition, line: Line | None, cell: int | None) -> str:
        links = self.visit.links
        if line is None:
            return links.page("pipelines", one.pipeline)
        if one.state == "late":
            return links.run(line.prefix)
        return links.attempt(RUNS, line.prefix, cell=cell)

    def _more(self, one: Partition) -> str:
        links = self.visit.links
        if one.state in ("late", "unindexed"):
            return links.page("pipelines", one.pipeline)
        return links.page(RUNS, pipeline=one.pipeline, state=one.state)


def _at(one: Partition, line: Line | None) -> datetime:
    """Tell since when it needs somebody."""
    if one.due_at and (one.state == "late" or line is None):
        return one.due_at
    return (line.ended_at or line.started_at) if line else datetime.now(UTC)
