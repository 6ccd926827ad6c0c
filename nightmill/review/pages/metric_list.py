"""The steps whose notebooks report metrics, each with those of its newest night."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from pydantic import AwareDatetime

from nightmill.review.pages.asked import page_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.nights import Nights, as_current, by_step, nights_of
from nightmill.review.pages.run_lines import lines_of, spec_of
from nightmill.review.pages.unindexed import Unindexed, damaged_of
from nightmill.review.specs import zone_of
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.summary import Scalar, Summary
from nightmill.store.index_line import Line

_PIPELINES = 50  # on a page
_TRIED = 3  # newest partitions of a step, of which one should have reported
_NAMED = 6  # metrics of a step


class Reporter(Fact):
    """A step that reported metrics: those of its newest night, the first few of them."""

    pipeline: str
    step: str
    address: str
    partition: str
    ended_at: AwareDatetime | None
    zone: str
    metrics: dict[str, Scalar]
    left_out: int


class MetricList(Fact):
    """The steps that reported metrics, pipeline by pipeline; `before` and `more` lead to others."""

    steps: tuple[Reporter, ...]
    has_runs: bool
    unindexed: Unindexed | None
    before: str | None
    more: str | None


def build_list(visit: Visit) -> MetricList:
    """List the steps that reported metrics in one of their newest nights."""
    pipelines = visit.pipelines()
    page = page_of(visit, pipelines, _PIPELINES)
    lines = lines_of(visit.site, page.items)
    newest = {
        (pipeline, step): _newest(found, step)
        for pipeline in page.items
        for step, found in by_step(lines[pipeline]).items()
    }
    current = as_current(visit.site.store, list(newest.values()))
    tried = {key: _lines(nights) for key, nights in zip(newest, current, strict=True)}
    summaries = visit.site.index.summaries([line for some in tried.values() for line in some])
    damaged = damaged_of(visit, (line for some in tried.values() for line in some), summaries)
    zones = {one: zone_of(spec_of(visit.site, one, lines[one])) for one in page.items}
    steps = (
        _reporter(visit, line, summaries[line.prefix], zones[pipeline])
        for (pipeline, _step), some in tried.items()
        for line in islice((one for one in some if _has_metrics(summaries, one)), 1)
    )
    return MetricList(
        steps=tuple(steps),
        has_runs=bool(pipelines),
        unindexed=Unindexed.of_all(
            visit, (name for name in page.items if not lines[name]), damaged
        ),
        before=page.before,
        more=page.after,
    )


def _newest(lines: Iterable[Line], step: str) -> Nights:
    nights = nights_of(lines, step)
    return nights.window(_TRIED).of_member(nights.members[0])


def _lines(nights: Nights) -> list[Line]:
    keys = ((partition, member) for partition in nights.partitions for member in nights.members)
    return [line for key in keys if (line := nights.lines.get(key)) is not None]


def _has_metrics(summaries: Mapping[str, Summary], line: Line) -> bool:
    found = summaries.get(line.prefix)
    return found is not None and bool(found.metrics)


def _reporter(visit: Visit, line: Line, summary: Summary, zone: str) -> Reporter:
    return Reporter(
        pipeline=line.pipeline,
        step=line.step,
        address=visit.links.page("metrics", line.pipeline, line.step),
        partition=line.partition,
        ended_at=line.ended_at,
        zone=zone,
        metrics=dict(islice(summary.metrics.items(), _NAMED)),
        left_out=max(len(summary.metrics) - _NAMED, 0),
    )


LIST = View("/metrics", "metric_list.html", build_list)
