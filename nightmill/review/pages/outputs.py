"""All outputs: how new each is, how large, and who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import AwareDatetime

from nightmill.review.links import RUNS
from nightmill.review.pages import output, versions
from nightmill.review.pages.asked import page_of
from nightmill.review.pages.catalog import Catalog, Key
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.nights import COUNTING, Nights, as_current, nights_of
from nightmill.review.pages.unindexed import Unindexed, damaged_of
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.summary import Standing, SummarizedOutput, Summary
from nightmill.store.index_line import Line
from nightmill.store.interface import Store

_ROWS = 100
_MEMBERS = 100  # whose sizes are summed up


class OutputRow(Fact):
    """An output in the list. `partition` is the newest that ran, `standing` how it stands.

    `made` is the newest partition that has the output, with its size in bytes and its rows, where
    they were counted; of all members together. Where the index lacks what is needed, it `is_known`
    neither whether nor when it was made.
    """

    pipeline: str
    output: str
    step: str
    members: int
    address: str
    partition: str
    standing: Standing | None
    attempt_address: str | None
    is_known: bool
    made: str
    made_at: AwareDatetime | None
    rows: int | None
    size: int | None
    zone: str
    readers: tuple[str, ...]


class OutputList(Fact):
    """Outputs by pipeline; `before` and `more` are addresses of the others."""

    outputs: tuple[OutputRow, ...]
    first: int
    known: int
    has_pipelines: bool
    unindexed: Unindexed | None
    pipelines_left_out: int
    before: str | None
    more: str | None


@dataclass(frozen=True)
class _Step:
    """The partitions of a step, and the lines of the newest that did its work."""

    nights: Nights
    made: tuple[Line, ...]


def build(visit: Visit) -> OutputList:
    """List the outputs that may be seen; raises StoreError."""
    catalog = Catalog.of(visit)
    known = list(catalog.makers.items())
    page = page_of(visit, known, _ROWS)
    steps = _steps(visit.site.store, catalog, [(key[0], step) for key, step in page.items])
    wanted = [line for one in steps.values() for line in one.made[:_MEMBERS]]
    summaries = visit.site.index.summaries(wanted)
    unindexed = Unindexed.of_all(
        visit,
        (pipeline for (pipeline, step), one in steps.items() if not one.nights.partitions),
        (*damaged_of(visit, wanted, summaries), *catalog.damaged),
    )
    return OutputList(
        outputs=tuple(
            _row(catalog, (pipeline, name), steps[pipeline, step], summaries, unindexed)
            for (pipeline, name), step in page.items
        ),
        first=page.begin + 1,
        known=len(known),
        has_pipelines=bool(catalog.specs),
        unindexed=unindexed,
        pipelines_left_out=catalog.left_out,
        before=page.before,
        more=page.after,
    )


def _steps(store: Store, catalog: Catalog, keys: Iterable[Key]) -> Mapping[Key, _Step]:
    """Choose of each step the partition that its outputs are told of, and what is current there."""
    every = {key: nights_of(catalog.steps.get(key, []), key[1]) for key in keys}
    made = as_current(store, [_newest_made(nights) for nights in every.values()])
    return {
        key: _Step(nights, tuple(line for line in found.lines.values() if _counts(line)))
        for (key, nights), found in zip(every.items(), made, strict=True)
    }


def _newest_made(nights: Nights) -> Nights:
    """Keep the newest partition in which a member did its work; none of a step that never did."""
    made = {partition for (partition, _), line in nights.lines.items() if _counts(line)}
    newest = next((one for one in nights.partitions if one in made), None)
    return nights.window(1, newest) if newest is not None else nights.window(0)


def _counts(line: Line) -> bool:
    return line.standing in COUNTING


def _row(
    catalog: Catalog,
    key: tuple[str, str],
    step: _Step,
    summaries: Mapping[str, Summary],
    unindexed: Unindexed | None,
) -> OutputRow:
    (pipeline, name), links = key, catalog.visit.links
    found = [
        summary.outputs[name]
        for line in step.made
        if (summary := summaries.get(line.prefix)) and name in summary.outputs
    ]
    newest = _gravest(step.nights)
    ends = [line.ended_at for line in step.made if line.ended_at]
    return OutputRow(
        pipeline=pipeline,
        output=name,
        step=catalog.makers[key],
        members=len(step.nights.members),
        address=links.page("outputs", pipeline, name),
        partition=newest.partition if newest else "",
        standing=newest.standing if newest else None,
        attempt_address=links.attempt(RUNS, newest.prefix) if newest else None,
        is_known=not (unindexed and (not step.nights.partitions or _lacks(step, summaries))),
        made=step.made[0].partition if found else "",
        made_at=max(ends) if found and ends else None,
        rows=_rows(found),
        size=sum(one.size for one in found) if len(found) == len(step.made) and found else None,
        zone=catalog.zone(pipeline),
        readers=tuple(one.name for one in catalog.readers.get(key, ())),
    )


def _lacks(step: _Step, summaries: Mapping[str, Summary]) -> bool:
    return any(line.prefix not in summaries for line in step.made[:_MEMBERS])


def _rows(found: list[SummarizedOutput]) -> int | None:
    rows = [one.rows for one in found if one.rows is not None]
    return sum(rows) if found and len(rows) == len(found) else None


def _gravest(nights: Nights) -> Line | None:
    """Choose of the newest partition a member that did not do its work, else any."""
    lines = [line for (p, _m), line in nights.lines.items() if p == nights.partitions[0]]
    return next((one for one in lines if one.standing not in COUNTING), next(iter(lines), None))


ROUTES: tuple[View, ...] = (
    View("/outputs", "outputs.html", build),
    output.OUTPUT,
    versions.VERSIONS,
)
