"""A pipeline: when it runs, how its steps did in the newest partitions, and its newest runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import chain

from pydantic import AwareDatetime

from nightmill.errors import UsageError
from nightmill.review.links import RUNS
from nightmill.review.pages.asked import number_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.grid import Cell, Column
from nightmill.review.pages.kept_runs import all_runs
from nightmill.review.pages.lateness import schedule_in_words
from nightmill.review.pages.needs import Need, needs_of
from nightmill.review.pages.partitions import Course, Window, course_of
from nightmill.review.pages.run_lines import lines_of, silent_of
from nightmill.review.pages.runs import RunRow, rows_of
from nightmill.review.pages.unindexed import Unindexed
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.problems import shown, suggest

_LAST, _MOST = 14, 92
_RUNS = 20
_TEXT = 4000


class OutputLink(Fact):
    """An output and its page."""

    name: str
    address: str


class StepRow(Fact):
    """A step in the grid. What is not in pipeline.yaml, or no longer, has no `notebook`.

    What never ran has no page of metrics.
    """

    step: str
    notebook: str
    members: int
    outputs: tuple[OutputLink, ...]
    metrics_address: str | None
    cells: tuple[Cell | None, ...]


class PipelinePage(Fact):
    """A pipeline. `expected` says how long after it is due a partition may take, and why.

    `has_spec` is false where no pipeline.yaml of it was found. With `is_elsewhere` the project has
    none, and what is told is as its newest run had it; `schedule` is empty then.
    """

    pipeline: str
    has_spec: bool
    is_elsewhere: bool
    owner: str
    description: str
    tags: tuple[str, ...]
    schedule: str
    zone: str
    next_due: AwareDatetime | None
    expected: str
    unindexed: Unindexed | None
    needs: tuple[Need, ...]
    last: int
    columns: tuple[Column, ...]
    partitions: tuple[Cell, ...]
    steps: tuple[StepRow, ...]
    runs: tuple[RunRow, ...]
    runs_address: str


def build(visit: Visit) -> PipelinePage:
    """Tell all about a pipeline; raises UsageError for an unknown one, StoreError."""
    name, now = visit.name("pipeline"), datetime.now(UTC)
    every = lines_of(visit.site, _with_upstream(visit, name))
    lines = every[name]
    silent = silent_of(visit.site.store, lines)
    window = Window(number_of(visit, "last", _LAST, most=_MOST), now, every, silent)
    course = course_of(visit.site, name, window)
    spec = course.spec
    if spec is None and not course.partitions:
        raise _unknown(visit, name)
    needs = needs_of(visit, course, window.since)
    return PipelinePage(
        pipeline=name,
        has_spec=spec is not None,
        is_elsewhere=course.is_elsewhere,
        owner=course.owner,
        description=spec.description[:_TEXT] if spec else "",
        tags=spec.tags if spec else (),
        schedule=schedule_in_words(spec) if spec and not course.is_elsewhere else "",
        zone=course.zone,
        next_due=course.next_due(now),
        expected=_expected(course),
        unindexed=Unindexed.of(visit, [name] if course.is_unindexed else [], needs.damaged),
        needs=needs.told,
        last=window.most,
        columns=Column.all_of(course.partitions),
        partitions=tuple(Cell.of(visit, one) for one in course.partitions.values()),
        steps=tuple(_steps(visit, course, {line.step for line in lines})),
        runs=rows_of(visit, all_runs(visit.site, [name])[:_RUNS]),
        runs_address=visit.links.page(RUNS, pipeline=name),
    )


def _expected(course: Course) -> str:
    """Say how long after it is due a partition may take; empty where none is due."""
    return next((one.grace.in_words() for one in course.partitions.values() if one.grace), "")


def _with_upstream(visit: Visit, name: str) -> set[str]:
    """Name a pipeline, and those that it runs after and whoever asks may see."""
    spec = visit.site.specs.now().get(name)
    others = {reference.partition(".")[0] for reference in spec.after} if spec else set()
    return {name, *filter(visit.may_read, others)}


def _unknown(visit: Visit, name: str) -> UsageError:
    known = {*visit.pipelines(), *filter(visit.may_read, visit.site.specs.now())}
    problem = f"no pipeline {shown(name)} has run, and none is in the project"
    return UsageError(problem, advice=suggest(name, sorted(known), noun="pipelines"))


def _steps(visit: Visit, course: Course, known: Collection[str]) -> Iterator[StepRow]:
    """Tell the steps in the order of the file, then others that ran, as they started."""
    specs = course.spec.steps if course.spec else {}
    ran = [one.ran.newest.values() for one in course.partitions.values() if one.ran]
    for name in dict.fromkeys([*specs, *(line.step for line in chain.from_iterable(ran))]):
        yield _step(visit, course, name, has_run=name in known)


def _step(visit: Visit, course: Course, name: str, *, has_run: bool) -> StepRow:
    links, pipeline = visit.links, course.pipeline
    spec = course.spec.steps.get(name) if course.spec else None
    outputs = spec.outputs if spec else ()
    return StepRow(
        step=name,
        notebook=spec.notebook if spec else "",
        members=len(spec.members) if spec else 0,
        outputs=tuple(
            OutputLink(name=one, address=links.page("outputs", pipeline, one)) for one in outputs
        ),
        metrics_address=links.page("metrics", pipeline, name) if has_run else None,
        cells=tuple(Cell.of_step(visit, one, name) for one in course.partitions.values()),
    )


ROUTES = (View("/pipelines/{pipeline:part}", "pipeline.html", build),)
