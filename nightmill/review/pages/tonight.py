"""The first page: what needs a person this morning, and how the newest partitions stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from nightmill.review.pages.asked import Filtered, number_of, one_of, page_of
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.grid import Cell, Column
from nightmill.review.pages.lateness import day_of
from nightmill.review.pages.needs import Broken, Need, broken_of, needs_of
from nightmill.review.pages.partitions import (
    FOR_PEOPLE,
    GRAVEST_FIRST,
    Course,
    PartitionState,
    Window,
    course_of,
)
from nightmill.review.pages.run_lines import lines_of, silent_of
from nightmill.review.pages.unindexed import Unindexed
from nightmill.review.views import View
from nightmill.review.visit import Visit
from nightmill.review.words import counted
from nightmill.store.index_line import Line
from nightmill.store.parallel import in_parallel

_DAYS, _MOST_DAYS = 14, 92
_ROWS = 60
_NEEDS = 40
_ZONES = 6
_QUIET: tuple[PartitionState, ...] = ("succeeded", "due", "running")


class Row(Fact):
    """A pipeline in the grid: a cell for each column, None where there is nothing to say.

    `cells` of a pipeline whose partitions are no days are its newest ones, whatever the columns.
    `is_elsewhere` says that the project has no such pipeline.
    """

    pipeline: str
    owner: str
    zone: str
    address: str
    is_quiet: bool
    is_elsewhere: bool
    next_due: AwareDatetime | None
    cells: tuple[Cell | None, ...]


class ZoneClock(Fact):
    """What the clocks of a zone say."""

    zone: str
    now: AwareDatetime


class Filters(Fact):
    """What the page was asked for."""

    pipeline: str
    owner: str
    state: str
    days: int


class TonightPage(Filtered):
    """What needs a person, and the grid of the rest.

    `rows` are of pipelines whose partitions are days, `texts` of the others. `summary` says it in
    one sentence. `hidden_needs` and `hidden_rows` count what is left out. `broken` tells of files
    in the project, whatever ran.
    """

    summary: str
    now: AwareDatetime
    zones: tuple[ZoneClock, ...]
    filters: Filters
    owners: tuple[str, ...]
    states: tuple[str, ...]
    broken: tuple[Broken, ...]
    needs: tuple[Need, ...]
    hidden_needs: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    texts: tuple[Row, ...]
    hidden_rows: int
    previous_page: str | None
    next_page: str | None
    pipelines: int
    unindexed: Unindexed | None


@dataclass(frozen=True)
class _Told:
    """A pipeline, what of it needs a person, and of what the index should tell and does not."""

    course: Course
    needs: tuple[Need, ...]
    damaged: tuple[Line, ...]

    @property
    def rank(self) -> int:
        """Where its row comes: the gravest first, what needs nobody last."""
        states = [FOR_PEOPLE.index(need.state) for need in self.needs]
        return min(states, default=len(FOR_PEOPLE))

    def is_asked_for(self, filters: Filters) -> bool:
        """Say whether the filters let it through."""
        name = filters.pipeline.casefold() in self.course.pipeline.casefold()
        owner = filters.owner in ("", self.course.owner)
        states = {one.state for one in self.course.partitions.values()}
        return name and owner and (not filters.state or filters.state in states)


def build(visit: Visit) -> TonightPage:
    """Tell how all pipelines that whoever asks may see stand; raises StoreError."""
    now = datetime.now(UTC)
    unclear: list[str] = []
    filters = _filters(visit, unclear)
    every = _told(visit, filters.days, now)
    told = [one for one in every if one.is_asked_for(filters)]
    broken = _broken(visit, filters, every)
    needs = [need for one in told for need in one.needs if filters.state in ("", need.state)]
    needs.sort(key=lambda one: (FOR_PEOPLE.index(one.state), -one.at.timestamp()))
    ordered = sorted(told, key=lambda one: (one.rank, one.course.pipeline))
    page = page_of(visit, [one.course for one in ordered], _ROWS)
    shown = page.items
    columns = _columns(shown, filters.days)
    return TonightPage(
        not_understood=tuple(unclear),
        summary=_summary(told, needs, broken),
        now=now,
        zones=_zones(shown, now),
        filters=filters,
        owners=tuple(sorted({one.course.owner for one in every} - {""})),
        states=GRAVEST_FIRST,
        broken=broken,
        needs=tuple(needs[:_NEEDS]),
        hidden_needs=max(len(needs) - _NEEDS, 0),
        columns=columns,
        rows=tuple(_row(visit, one, columns, now) for one in shown if one.are_days),
        texts=tuple(_row(visit, one, None, now) for one in shown if not one.are_days),
        hidden_rows=page.left,
        previous_page=page.before,
        next_page=page.after,
        pipelines=len(every) or len(broken),
        unindexed=_unindexed(visit, every),
    )


def _filters(visit: Visit, unclear: list[str]) -> Filters:
    return Filters(
        pipeline=visit.query("pipeline").strip(),
        owner=visit.query("owner"),
        state=one_of(visit, "state", GRAVEST_FIRST, unclear),
        days=number_of(visit, "days", _DAYS, most=_MOST_DAYS),
    )


def _told(visit: Visit, days: int, now: datetime) -> list[_Told]:
    """Look at every pipeline that ran or is in the project, side by side."""
    planned = [name for name in visit.site.specs.now() if visit.may_read(name)]
    lines = lines_of(visit.site, visit.pipelines())
    silent = silent_of(visit.site.store, chain.from_iterable(lines.values()))
    window = Window(days, now, lines, silent)

    def tell(name: str) -> _Told:
        course = course_of(visit.site, name, window)
        needs = needs_of(visit, course, window.since)
        return _Told(course, needs.told, needs.damaged)

    return in_parallel(tell, sorted({*planned, *lines, *visit.unindexed()}))


def _unindexed(visit: Visit, every: Sequence[_Told]) -> Unindexed | None:
    names = (one.course.pipeline for one in every if one.course.is_unindexed)
    return Unindexed.of(visit, names, chain.from_iterable(one.damaged for one in every))


def _broken(visit: Visit, filters: Filters, every: Iterable[_Told]) -> tuple[Broken, ...]:
    """Choose the broken files that are asked for; one whose owner nobody knows is everyone's."""
    owners = {one.course.pipeline: one.course.owner for one in every}
    return tuple(
        one
        for one in broken_of(visit, owners)
        if not filters.state
        and filters.pipeline.casefold() in one.pipeline.casefold()
        and filters.owner in ("", owners.get(one.pipeline) or filters.owner)
    )


def _summary(told: Sequence[_Told], needs: Sequence[Need], broken: Sequence[Broken]) -> str:
    """Say it in one sentence: 2 of 9 pipelines need you: 1 failed, 1 late."""
    files = {one.pipeline for one in broken}
    needing = len({need.pipeline for need in needs} | files)
    every = len({one.course.pipeline for one in told} | files)
    if not every:
        return "No pipeline was found"
    if not needing:
        return f"Nothing needs you in {counted(every, 'pipeline')}"
    states = Counter(need.state for need in needs)
    found = [f"{states[state]} {state}" for state in FOR_PEOPLE if states[state]]
    found = [f"{len(broken)} broken", *found] if broken else found
    verb = "needs" if needing == 1 else "need"
    return f"{needing} of {counted(every, 'pipeline')} {verb} you: {', '.join(found)}"


def _columns(courses: Iterable[Course], most: int) -> tuple[Column, ...]:
    """Choose the newest days on which anything ran or was due."""
    names = {name for one in courses if one.are_days for name in one.partitions}
    days = (name for name in sorted(names, reverse=True) if day_of(name))
    return Column.all_of(islice(days, most))


def _row(visit: Visit, course: Course, columns: Sequence[Column] | None, now: datetime) -> Row:
    names = course.partitions if columns is None else [one.partition for one in columns]
    shown = [course.partitions.get(name) for name in names]
    return Row(
        pipeline=course.pipeline,
        owner=course.owner,
        zone=course.zone,
        address=visit.links.page("pipelines", course.pipeline),
        is_quiet=all(one is None or (one.state in _QUIET and not one.warnings) for one in shown),
        is_elsewhere=course.is_elsewhere,
        next_due=course.next_due(now),
        cells=tuple(one and Cell.of(visit, one) for one in shown),
    )


def _zones(courses: Iterable[Course], now: datetime) -> tuple[ZoneClock, ...]:
    zones = Counter(one.zone for one in courses) | Counter({"UTC": 1})
    return tuple(
        ZoneClock(zone=zone, now=now.astimezone(ZoneInfo(zone)))
        for zone, _count in zones.most_common(_ZONES)
    )


ROUTES = (View("/", "tonight.html", build),)
