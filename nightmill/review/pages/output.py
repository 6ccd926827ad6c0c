"""One output over its partitions: which version is current, how that came, and who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import AwareDatetime, Field

from nightmill.errors import StoreError, UsageError
from nightmill.review.links import RUNS
from nightmill.review.pages.asked import page_of
from nightmill.review.pages.catalog import Catalog, Reader
from nightmill.review.pages.chart import Chart
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.lateness import schedule_in_words
from nightmill.review.pages.nights import Nights, as_current, nights_of, slots_of
from nightmill.review.pages.tracks import Figure, Series
from nightmill.review.pages.unindexed import Unindexed, damaged_of
from nightmill.review.pages.usual import Told
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import CheckState
from nightmill.spec.summary import Scalar, Standing, SummarizedOutput, Summary
from nightmill.store.index_line import Line
from nightmill.store.keys import attempt_names, pointer_key_of
from nightmill.store.parallel import in_parallel
from nightmill.store.pointer import Move, Pointer, read_current

_ROWS = 50
_CHARTED = 60  # partitions
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_DECIMALS = 3


class MoveRow(Fact):
    """A decision about what is current: a rollback, a promotion or an approval."""

    kind: str
    by: str
    at: AwareDatetime
    reason: str
    replaced: str


class PartitionRow(Fact):
    """A partition, and member, of an output. `version` is current; empty where nothing is.

    `standing` is that of the newest attempt, which may be another one. `checks` counts those of the
    whole step by state. `address` leads to the versions, where there is one.
    """

    partition: str
    member: str
    standing: Standing
    newest_address: str
    version: str = ""
    version_address: str | None = None
    address: str | None = None
    committed_at: AwareDatetime | None = None
    rows: int | None = None
    size: int | None = None
    checks: dict[CheckState, int] = Field(default_factory=dict)
    moves: tuple[MoveRow, ...] = ()
    problem: str = ""


class OutputPage(Fact):
    """An output: its partitions, the newest first, and its readers.

    `figure` says of what the words and the chart tell: rows, or the size where nobody counts them.
    """

    pipeline: str
    output: str
    step: str
    step_address: str | None
    path: str
    schedule: str
    zone: str
    noun: str
    has_members: bool
    is_reviewed: bool
    figure: str
    told: tuple[Told, ...]
    chart: Chart | None = Field(exclude=True)
    partitions: tuple[PartitionRow, ...]
    first: int
    known: int
    newer: str | None
    older: str | None
    readers: tuple[Reader, ...]
    unindexed: Unindexed | None


@dataclass(frozen=True)
class _Made:
    """The attempts of the step that makes an output."""

    visit: Visit
    output: str
    nights: Nights
    newest: Mapping[tuple[str, str], Line]
    by_prefix: Mapping[str, Line]

    @classmethod
    def of(cls, catalog: Catalog, pipeline: str, output: str) -> _Made:
        step = catalog.maker(pipeline, output)
        lines = catalog.steps.get((pipeline, step), [])
        newest: dict[tuple[str, str], Line] = {}
        for line in lines:
            newest.setdefault((line.partition, line.member), line)
        by_prefix = {line.prefix: line for line in lines}
        return cls(catalog.visit, output, nights_of(lines, step), newest, by_prefix)

    def keys(self) -> list[tuple[str, str]]:
        """Partitions with their members, the newest partition first."""
        nights = self.nights
        every = ((p, member) for p in nights.partitions for member in nights.members)
        return [key for key in every if key in nights.lines]


def build(visit: Visit) -> OutputPage:
    """Show an output; raises UsageError for one that nothing is known of, and StoreError."""
    pipeline, output = visit.name("pipeline"), visit.name("output")
    catalog = Catalog.of(visit)
    made = _Made.of(catalog, pipeline, output)
    spec, step = catalog.specs[pipeline], catalog.maker(pipeline, output)
    meant = spec.steps[step].outputs.get(output) if spec and step in spec.steps else None
    keys = made.keys()
    page = page_of(visit, keys, _ROWS)
    figure = _figure(made, spec) if keys else None
    return OutputPage(
        pipeline=pipeline,
        output=output,
        step=step,
        step_address=visit.links.page("metrics", pipeline, step) if keys else None,
        path=meant.path if meant else "",
        schedule=_schedule(visit, pipeline, spec),
        zone=catalog.zone(pipeline),
        noun=made.nights.noun,
        has_members=any(made.nights.members),
        is_reviewed=bool(meant and meant.review),
        figure=figure.name if figure else "",
        told=figure.told if figure else (),
        chart=figure.chart if figure else None,
        partitions=tuple(_rows(made, page.items)),
        first=page.begin + 1,
        known=len(keys),
        newer=page.before,
        older=page.after,
        readers=catalog.readers.get((pipeline, output), ()),
        unindexed=Unindexed.of(visit, [] if keys else [pipeline], _damaged(made, page.items)),
    )


def _schedule(visit: Visit, pipeline: str, spec: PipelineSpec | None) -> str:
    """Say when a pipeline runs; of one that is not in the project nobody knows here."""
    return schedule_in_words(spec) if spec and not visit.site.specs.is_elsewhere(pipeline) else ""


def _damaged(made: _Made, keys: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
    """Choose what the index should tell of these partitions and does not."""
    lines = [made.nights.lines[key] for key in keys]
    return damaged_of(made.visit, lines, made.visit.site.index.summaries(lines))


def _figure(made: _Made, spec: PipelineSpec | None) -> Figure:
    """Follow the rows of the newest partitions, or the size where nobody counts rows."""
    (nights,) = as_current(made.visit.site.store, [made.nights.window(_CHARTED)])
    series = Series(nights, slots_of(nights, spec), made.visit.links)
    summaries = made.visit.site.index.summaries(list(nights.lines.values()))

    def stored(line: Line) -> SummarizedOutput | None:
        summary = summaries.get(line.prefix)
        return summary.outputs.get(made.output) if summary else None

    def rows(line: Line) -> Scalar:
        found = stored(line)
        return found.rows if found else None

    if any(rows(line) is not None for line in nights.lines.values()):
        return series.figure("Rows", rows)
    sizes = [found.size for line in nights.lines.values() if (found := stored(line))]
    unit, scale = _unit(max(sizes, default=0))

    def size(line: Line) -> Scalar:
        found = stored(line)
        return round(found.size / scale, _DECIMALS if scale > 1 else None) if found else None

    return series.figure(f"Size in {unit}", size)


def _unit(most: int) -> tuple[str, int]:
    """Choose in which unit sizes are told that go up to this one."""
    return next(((name, scale) for name, scale in _UNITS if most >= scale), ("bytes", 1))


def _rows(made: _Made, keys: Sequence[tuple[str, str]]) -> Iterator[PartitionRow]:
    """Read what is current of each partition and member, some at once."""
    pointers = in_parallel(lambda key: _pointer(made, key), keys)
    current = [
        made.by_prefix.get(one.attempt_prefix) for one in pointers if isinstance(one, Pointer)
    ]
    counted = [made.nights.lines[key] for key in keys]
    summaries = made.visit.site.index.summaries([*filter(None, current), *counted])
    for key, found in zip(keys, pointers, strict=True):
        yield _row(made, key, found, summaries)


def _pointer(made: _Made, key: tuple[str, str]) -> Pointer | str | None:
    """Return the pointer, or what is wrong with it."""
    line = made.newest[key]
    try:
        return read_current(made.visit.site.store, pointer_key_of(line.prefix)).pointer
    except StoreError as error:
        return error.problem


def _row(
    made: _Made,
    key: tuple[str, str],
    found: Pointer | str | None,
    summaries: Mapping[str, Summary],
) -> PartitionRow:
    newest, links = made.newest[key], made.visit.links
    counting = summaries.get(made.nights.lines[key].prefix)
    has_version = bool(counting and made.output in counting.outputs)
    row = PartitionRow(
        partition=newest.partition,
        member=newest.member,
        standing=newest.standing,
        newest_address=links.attempt(RUNS, newest.prefix),
        problem=found if isinstance(found, str) else "",
        address=_versions(made, newest) if has_version else None,
    )
    if not isinstance(found, Pointer) or made.output not in found.outputs:
        return row
    facts = _facts(found, made.output, summaries.get(found.attempt_prefix))
    addresses = {
        "version_address": links.attempt(RUNS, found.attempt_prefix),
        "address": _versions(made, newest),
    }
    return row.model_copy(update={**facts, **addresses})


def _versions(made: _Made, line: Line) -> str:
    member = line.member or None
    return made.visit.links.page(
        "outputs", line.pipeline, made.output, line.partition, member=member
    )


def _facts(pointer: Pointer, output: str, summary: Summary | None) -> dict[str, object]:
    stored = summary.outputs.get(output) if summary else None
    return {
        "version": f"{pointer.run}:{pointer.attempt}",
        "committed_at": pointer.committed_at,
        "rows": stored.rows if stored else None,
        "size": sum(file.size for file in pointer.outputs[output].files),
        "checks": dict(summary.checks) if summary else {},
        "moves": tuple(map(move_row, pointer.moves)),
    }


def move_row(move: Move) -> MoveRow:
    """Tell who decided what is current, when and why."""
    return MoveRow(
        kind=move.kind,
        by=move.by,
        at=move.at,
        reason=move.reason,
        replaced=_name_of(move.replaced) if move.replaced else "",
    )


def _name_of(prefix: str) -> str:
    """Name a version by its attempt's prefix; what is none, as it is."""
    with suppress(UsageError):
        names = attempt_names(prefix)
        return f"{names.run}:{names.attempt}"
    return prefix


OUTPUT = View("/outputs/{pipeline:part}/{output:part}", "output.html", build)
