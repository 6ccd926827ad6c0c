"""The newest runs of all pipelines, and the search through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from pydantic import AwareDatetime, Field

from nightmill.causes import Cause
from nightmill.review.links import RUNS
from nightmill.review.pages.asked import Filtered, one_of, page_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.kept_runs import all_runs
from nightmill.review.pages.partitions import GRAVEST_FIRST, steps_of
from nightmill.review.pages.run_lines import RunLines, RunState
from nightmill.review.pages.unindexed import Unindexed
from nightmill.review.site import Site
from nightmill.review.specs import zone_of
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.summary import Summary
from nightmill.store.index_line import Line
from nightmill.store.parallel import in_parallel

_ROWS = 50
_OPTIONS = 500
_ENDED = ("failed", "rejected", "silent", "held")
_STATES = get_args(RunState)


class RunRow(Fact):
    """A run in a list. `done` of `steps` have done their work; `steps` is None where unknown.

    `gravest` names the step that made the run stand as it does, where that is no good news, and
    `gravest_address` leads to it, at its failing cell. `duration_s` is how long it was at work.
    """

    state: RunState
    warnings: int
    pipeline: str
    partition: str
    run: str
    done: int
    steps: int | None
    causes: tuple[Cause, ...]
    gravest: str
    gravest_address: str | None
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    duration_s: float
    zone: str
    address: str
    pipeline_address: str


class RunFilters(Fact):
    """What runs are asked for: `first` and `last` bound the partition, all `words` are in it."""

    pipeline: str = ""
    state: str = ""
    cause: str = ""
    step: str = ""
    first: str = Field(default="", alias="from")
    last: str = Field(default="", alias="to")
    words: str = Field(default="", alias="q")

    def test(self) -> Callable[[RunLines], bool]:
        """Return what says of a run whether it is asked for."""
        words = self.words.casefold().split()

        def wants(run: RunLines) -> bool:
            return (
                self.state in ("", run.state)
                and (not self.first or run.partition >= self.first)
                and (not self.last or run.partition <= self.last)
                and (not self.cause or self.cause in run.causes)
                and (not self.step or any(line.step == self.step for line in run.attempts))
                and (not words or all(word in run.words for word in words))
            )

        return wants

    def in_words(self) -> str:
        """Say what is searched: pipeline flights, state failed."""
        given = self.model_dump(by_alias=True)
        names = {"from": "partition from", "to": "partition up to", "q": "the words"}
        return ", ".join(f"{names.get(name, name)} {text}" for name, text in given.items() if text)


class RunsPage(Filtered):
    """A page of runs, the newest first. `found` counts all of them, `first` and `last` these."""

    filters: RunFilters
    searched: str
    found: int
    first: int
    last: int
    rows: tuple[RunRow, ...]
    newer: str | None
    older: str | None
    pipelines: tuple[str, ...]
    states: tuple[str, ...]
    causes: tuple[str, ...]
    unindexed: Unindexed | None


def build(visit: Visit) -> RunsPage:
    """Find the runs that are asked for; raises StoreError."""
    known = visit.pipelines()
    unclear: list[str] = []
    filters = _filters(visit, unclear)
    found = _find(visit, [name for name in known if filters.pipeline in ("", name)], filters)
    page = page_of(visit, found, _ROWS)
    return RunsPage(
        not_understood=tuple(unclear),
        filters=filters,
        searched=filters.in_words(),
        found=len(found),
        first=page.begin + bool(found),
        last=page.begin + len(page.items),
        rows=rows_of(visit, page.items),
        newer=page.before,
        older=page.after,
        pipelines=tuple(known[:_OPTIONS]),
        states=_STATES,
        causes=tuple(Cause),
        unindexed=Unindexed.of_all(visit, [] if found else filter(None, [filters.pipeline])),
    )


def _filters(visit: Visit, unclear: list[str]) -> RunFilters:
    names = ("pipeline", "step", "from", "to", "q")
    texts = {name: visit.query(name).strip() for name in names}
    if partition := visit.query("partition").strip():
        texts |= {"from": partition, "to": partition}
    state = one_of(visit, "state", _STATES, unclear, hint=_hint(visit.query("state")))
    cause = one_of(visit, "cause", list(Cause), unclear)
    return RunFilters.model_validate({**texts, "state": state, "cause": cause})


def _hint(state: str) -> str:
    """Say where one finds what is true of partitions only, whether a run is there or not."""
    is_of_partitions = state in GRAVEST_FIRST and state not in _STATES
    return f"Partitions are {state}, not runs: choose it on Tonight." if is_of_partitions else ""


def _find(visit: Visit, pipelines: Iterable[str], filters: RunFilters) -> list[RunLines]:
    wants = filters.test()
    return [run for run in all_runs(visit.site, pipelines) if wants(run)]


def rows_of(visit: Visit, runs: Sequence[RunLines]) -> tuple[RunRow, ...]:
    """Tell runs as rows of a list; raises StoreError."""
    lines = {run.prefix: line for run in runs if (line := _telling(run))}
    summaries = visit.site.index.summaries(list(lines.values()))
    told = {run: summaries[line.prefix] for run, line in lines.items() if line.prefix in summaries}
    specs = _specs(visit.site, runs, told)
    return tuple(_row(visit, run, specs.get(run.prefix), told.get(run.prefix)) for run in runs)


def _telling(run: RunLines) -> Line | None:
    """Choose the attempt whose summary tells most of a run: the gravest that has ended."""
    ended = (line for line in (run.gravest, *run.attempts) if line.key)
    return next(ended, None)


def _row(visit: Visit, run: RunLines, spec: PipelineSpec | None, summary: Summary | None) -> RunRow:
    line, links = run.gravest, visit.links
    cell = summary.cell if summary and summary.prefix == line.prefix else None
    is_bad = run.state in _ENDED
    name = next(name for name, one in run.newest.items() if one is line)
    return RunRow(
        state=run.state,
        warnings=run.warnings,
        pipeline=run.pipeline,
        partition=run.partition,
        run=run.run,
        done=run.done,
        steps=len({*steps_of(spec), *run.newest}) if spec else None,
        causes=run.causes,
        gravest=name if is_bad else "",
        gravest_address=links.attempt(RUNS, line.prefix, cell=cell) if is_bad else None,
        started_at=run.started_at,
        ended_at=run.ended_at,
        duration_s=run.duration_s,
        zone=zone_of(spec),
        address=links.run(run.prefix),
        pipeline_address=links.page("pipelines", run.pipeline),
    )


def _specs(
    site: Site, runs: Sequence[RunLines], told: Mapping[str, Summary]
) -> Mapping[str, PipelineSpec]:
    """Find the pipeline of each run as it was then, else as it is now, by the run's prefix."""
    kept = {prefix: (summary.pipeline, summary.bundle) for prefix, summary in told.items()}
    every = list(dict.fromkeys(kept.values()))
    then = dict(zip(every, in_parallel(lambda one: site.specs.ran(*one), every), strict=True))
    found = {run.prefix: site.specs.now().get(run.pipeline) for run in runs}
    found |= {prefix: spec for prefix, one in kept.items() if (spec := then[one])}
    return {prefix: spec for prefix, spec in found.items() if spec}


ROUTES = (View("/runs", "runs.html", build),)
