"""The metrics that notebooks reported (`sb.glue`), over the nights: as words, charts and a table.

Everything that is shown comes from the index. Where several attempts of a partition have committed,
its pointer tells which of them counts. Of records only the newest one is opened: it tells what the
index leaves out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import AwareDatetime, Field
from starlette.responses import Response

from nightmill.errors import UsageError
from nightmill.review.pages import metric_list
from nightmill.review.pages.asked import Filtered, number_of, one_of, page_of, same_page
from nightmill.review.pages.chart import Chart
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.left_out import LeftOut
from nightmill.review.pages.nights import Nights, as_current, by_step, nights_of, slots_of
from nightmill.review.pages.run_lines import spec_of
from nightmill.review.pages.tracks import Figure, Series
from nightmill.review.pages.unindexed import Unindexed, advice_on, damaged_of
from nightmill.review.pages.usual import Told
from nightmill.review.specs import zone_of
from nightmill.review.views import Document, View
from nightmill.review.visit import Visit
from nightmill.spec.problems import shown, suggest
from nightmill.spec.summary import Scalar, Standing, Summary
from nightmill.store.index_line import Line
from nightmill.store.keys import encode

SPANS = (30, 60, 120, 365)
"""How many of the newest partitions a reader may choose to see."""

_CHARTS = 24  # on a page
_INFINITE = ("-inf", "-Infinity")  # as summaries have it, and Python
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Metric(Fact):
    """One metric in words; `chart` is drawn on the page, and its numbers are in the rows."""

    name: str
    address: str
    told: tuple[Told, ...]
    is_unusual: bool
    chart: Chart | None = Field(exclude=True)


class Row(Fact):
    """A partition, and member, with the values of its metrics; without a standing it did not run.

    Of more than eight members `label` tells which of their values it is.
    """

    partition: str
    label: str
    standing: Standing | None = None
    run: str = ""
    address: str = ""
    ended_at: AwareDatetime | None = None
    values: tuple[Scalar, ...] = ()


class StepMetrics(Filtered):
    """The metrics of a step: `names` are the columns of the rows, the newest partition first.

    `names_left_out` are on other pages. `older` and `newer` are addresses of other windows; `until`
    is the newest partition of one that was asked for, else empty. `unusual` names metrics of all
    pages, and `newest` says how the newest partition went: its gravest member.
    """

    pipeline: str
    step: str
    zone: str
    noun: str
    spans: tuple[int, ...]
    last: int
    until: str
    metric: str
    members: int
    known: tuple[str, ...]
    names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    unusual: tuple[str, ...]
    newest: Standing
    unindexed: Unindexed | None
    left_out: LeftOut | None
    rows: tuple[Row, ...]
    partitions: int
    missing: int
    names_left_out: int
    more: str | None
    older_count: int
    older: str | None
    newer: str | None
    csv: str


@dataclass(frozen=True)
class _Asked:
    """What a visit asks for, and what the index says about it."""

    pipeline: str
    step: str
    last: int
    until: str
    metric: str
    nights: Nights
    series: Series
    zone: str
    summaries: Mapping[str, Summary]
    unclear: tuple[str, ...]

    @property
    def known(self) -> list[str]:
        """All metrics of the window, those of the newest night first."""
        names: dict[str, None] = {}
        for partition in self.nights.partitions:
            for member in self.nights.members:
                line = self.nights.lines.get((partition, member))
                names |= dict.fromkeys(self._metrics(line))
        return list(names)

    @property
    def chosen(self) -> list[str]:
        """The metrics that are asked for."""
        return [one for one in self.known if self.metric in ("", one)]

    def address(self, visit: Visit, page: str, metric: str) -> str:
        """Return the address of a page about this very window, and one metric or all of them."""
        query = {"until": self.until or None, "metric": metric or None}
        return visit.links.page(page, self.pipeline, self.step, last=self.last, **query)

    def figure(self, name: str) -> Figure:
        """Follow one metric."""
        return self.series.figure(name, lambda line: self._metrics(line).get(name))

    def _metrics(self, line: Line | None) -> Mapping[str, Scalar]:
        summary = self.summaries.get(line.prefix) if line else None
        return summary.metrics if summary else {}


def build_step(visit: Visit) -> StepMetrics:
    """Follow the metrics of a step over its partitions."""
    asked = _ask(visit)
    chosen = asked.chosen
    page = page_of(visit, chosen, _CHARTS)
    every = {name: asked.figure(name) for name in chosen}
    figures = [every[name] for name in page.items]
    nights = asked.nights
    return StepMetrics(
        not_understood=asked.unclear,
        pipeline=asked.pipeline,
        step=asked.step,
        zone=asked.zone,
        noun=nights.noun,
        spans=tuple(sorted({*SPANS, asked.last})),
        last=asked.last,
        metric=asked.metric,
        members=len(nights.members),
        known=tuple(sorted(asked.known)),
        names=tuple(page.items),
        metrics=tuple(_metrics(visit, asked, figures)),
        unusual=tuple(name for name, one in every.items() if one.is_unusual),
        newest=nights.newest,
        unindexed=Unindexed.of(visit, (), _damaged(visit, asked)),
        left_out=LeftOut.of(visit, nights),
        rows=tuple(_rows(asked, figures)),
        partitions=len(nights.partitions),
        missing=len(asked.series.slots) - len(nights.partitions),
        names_left_out=len(chosen) - len(page.items),
        more=page.after,
        older_count=nights.older,
        older=same_page(visit, until=nights.before, page=None) if nights.older else None,
        newer=same_page(visit, until=None, page=None) if nights.newer else None,
        until=asked.until,
        csv=asked.address(visit, "csv", asked.metric),
    )


def _damaged(visit: Visit, asked: _Asked) -> tuple[Line, ...]:
    return damaged_of(visit, asked.nights.lines.values(), asked.summaries)


def respond_csv(visit: Visit) -> Response:
    """Answer with the table of the page, and of those after it, as a file for a spreadsheet."""
    asked = _ask(visit)
    figures = [asked.figure(name) for name in asked.chosen]
    text = io.StringIO()
    writer = csv.writer(text)
    columns = ("partition", "member", "standing", "run", "ended_at")
    writer.writerow([*columns, *(_guarded(one.name) for one in figures)])
    for row in _rows(asked, figures):
        names = (row.partition, row.label, row.standing or "", row.run)
        ended = row.ended_at.isoformat() if row.ended_at else ""
        writer.writerow([*map(_guarded, names), ended, *map(_guarded, row.values)])
    file = f"{encode(asked.pipeline)}-{encode(asked.step)}-metrics.csv"
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{file}"'},
    )


def _ask(visit: Visit) -> _Asked:
    """Read what the index has of the step; raises UsageError where it never ran."""
    pipeline, step = visit.name("pipeline"), visit.name("step")
    lines = visit.site.index.attempts(pipeline)
    known = by_step(lines)
    if step not in known:
        problem = f"no attempt of a step {shown(step)} of {shown(pipeline)} is in the index"
        advice = suggest(step, list(known), noun="its steps") if known else ""
        raise UsageError(problem, advice=advice_on(visit, pipeline) or advice)
    last = number_of(visit, "last", SPANS[1], most=SPANS[-1])
    unclear: list[str] = []
    every = nights_of(known[step], step)
    window = every.window(last, one_of(visit, "until", every.partitions, unclear))
    (nights,) = as_current(visit.site.store, [window])
    until = nights.partitions[0] if nights.newer else ""
    spec = spec_of(visit.site, pipeline, lines)
    return _Asked(
        pipeline=pipeline,
        step=step,
        last=last,
        until=until,
        metric=visit.query("metric"),
        nights=nights,
        series=Series(nights, slots_of(nights, spec), visit.links),
        zone=zone_of(spec),
        summaries=visit.site.index.summaries(list(nights.lines.values())),
        unclear=tuple(unclear),
    )


def _metrics(visit: Visit, asked: _Asked, figures: Sequence[Figure]) -> Iterator[Metric]:
    """Give the metrics in words, the unusual ones first."""
    for one in sorted(figures, key=lambda figure: not figure.is_unusual):
        yield Metric(
            name=one.name,
            address=asked.address(visit, "metrics", one.name),
            told=one.told,
            is_unusual=one.is_unusual,
            chart=one.chart,
        )


def _rows(asked: _Asked, figures: Sequence[Figure]) -> Iterator[Row]:
    for slot in reversed(asked.series.slots):
        there = [number for number, one in enumerate(asked.series.tracks) if slot in one.lines]
        if not there:
            yield Row(partition=slot, label="")
        for number in there:
            track = asked.series.tracks[number]
            line = track.lines[slot]
            yield Row(
                partition=slot,
                label=track.label,
                standing=line.standing,
                run=line.run,
                address=asked.series.address(track, slot),
                ended_at=line.ended_at,
                values=tuple(one.values[number].get(slot) for one in figures),
            )


def _guarded(value: Scalar) -> Scalar:
    """Keep a spreadsheet from taking text for a formula; an infinite number is told as text."""
    if isinstance(value, str) and value not in _INFINITE and value.startswith(_FORMULA):
        return f"'{value}"
    return value


ROUTES: tuple[View | Document, ...] = (
    metric_list.LIST,
    View("/metrics/{pipeline:part}/{step:part}", "metrics.html", build_step),
    Document("/csv/{pipeline:part}/{step:part}", respond_csv),
)
