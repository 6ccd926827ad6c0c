"""What runs, as pages show it and ask for it again every few seconds.

A page holds a `LiveView`; the same view below /live/ answers its script, which puts the new facts
in the place of the old. A run's answer is made from the index and from what runs alone, since it is
asked for often: `seen` in its address stands for what the page shows of the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pydantic import AwareDatetime

from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.stored import record_at
from nightmill.review.views import ATTEMPT, RUN, View
from nightmill.review.visit import Visit
from nightmill.spec.progress import SILENT_AFTER, Progress
from nightmill.spec.record import AttemptState, Record
from nightmill.spec.summary import Standing
from nightmill.spec.words import one_line
from nightmill.store.amend import read_progress, read_record
from nightmill.store.history import prefix_of
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK
from nightmill.store.parallel import in_parallel

SHOWN = 20
"""How many attempts of a run are shown at work; the others are counted."""

Heard = tuple[Record, Progress | None]
"""A record without an end, and what its attempt last said of itself."""

_SEEN_CHARACTERS = 16
_AS_TOLD = {
    "position", "of", "cell", "cell_elapsed_s", "usual_s", "elapsed_s", "usual_total_s",
    "memory_bytes", "memory_limit_bytes",
}  # fmt: skip


class LiveAttempt(Fact):
    """An attempt at work: its cell, time and memory, and when it was last heard of.

    Spans are seconds, as they were at the heartbeat; `usual` is the median of earlier attempts.
    """

    label: str
    attempt: int
    address: str
    is_silent: bool
    heartbeat: AwareDatetime
    position: int | None = None
    of: int | None = None
    cell: int | None = None
    title: str | None = None
    cell_elapsed_s: float | None = None
    usual_s: float | None = None
    elapsed_s: float | None = None
    usual_total_s: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    last_line: str = ""

    @property
    def state(self) -> str:
        """How it stands in one word."""
        return "silent" if self.is_silent else "running"


class LiveView(Fact):
    """What runs, of a run or of one attempt. `address` answers with the same, fresh.

    `said` is for whoever listens to the page: it changes with states only. `at` is when this was
    so, and `sign_in` where one becomes somebody again. `has_ended` says that the page at the
    address `page` has more to tell by now. `stamp` changes with the notebook of an attempt, which
    is at the address `notebook`, and there at the cell at work.
    """

    is_running: bool
    address: str
    page: str
    said: str
    at: AwareDatetime
    sign_in: str
    zone: str = "UTC"
    has_ended: bool = False
    attempts: tuple[LiveAttempt, ...] = ()
    left_out: int = 0
    stamp: str | None = None
    notebook: str | None = None


def live_of(visit: Visit, record: Record, progress: Progress | None) -> LiveView:
    """Tell how far an attempt is; `progress` is what it last said itself."""
    links, prefix = visit.links, prefix_of(record)
    is_running = record.state is AttemptState.RUNNING
    attempts = (_at_work(visit, record, progress),) if is_running else ()
    found = visit.site.store.stat(f"{prefix}/{NOTEBOOK}") if is_running else None
    return LiveView(
        is_running=is_running,
        address=links.attempt("live", prefix),
        page=links.attempt(RUNS, prefix),
        said=_said(attempts) or f"{record.label} has ended: {Standing.of(record)}",
        at=datetime.now(UTC),
        sign_in=_sign_in(visit, links.attempt(RUNS, prefix)),
        zone=visit.site.specs.zone_of(record),
        has_ended=not is_running,
        attempts=attempts,
        stamp=found.etag if found else None,
        notebook=links.attempt("notebook", prefix, cell=progress.cell if progress else None),
    )


def live_of_run(visit: Visit, running: Sequence[Heard], *, count: int, seen: str) -> LiveView:
    """Tell how far the attempts of a run are that have no end, of which there are so many.

    `seen` is what `seen_of` said of the whole run.
    """
    attempts = tuple(_at_work(visit, *one) for one in running[:SHOWN])
    return LiveView(
        is_running=count > 0,
        address=visit.links.attempt("live", visit.prefix, seen=seen),
        page=visit.links.run(visit.prefix),
        said=_said(attempts) or "Nothing of this run is at work any more.",
        at=datetime.now(UTC),
        sign_in=_sign_in(visit, visit.links.run(visit.prefix)),
        zone=visit.site.specs.zone_of(running[0][0]) if running else "UTC",
        attempts=attempts,
        left_out=count - len(attempts),
    )


def hear(store: Store, running: Sequence[Record]) -> list[Heard]:
    """Read how far attempts are."""
    heard = in_parallel(lambda one: read_progress(store, prefix_of(one)), running)
    return list(zip(running, heard, strict=True))


def seen_of(lines: Iterable[Line]) -> str:
    """Return a mark that changes when an attempt begins or ends, or is decided about."""
    text = "\n".join(sorted(f"{line.prefix} {line.key}" for line in lines))
    return hashlib.sha256(text.encode()).hexdigest()[:_SEEN_CHARACTERS]


def lines_of_run(visit: Visit) -> list[Line]:
    """Read what the index has of the run that the address names."""
    lines, below = visit.site.index.attempts(visit.name("pipeline")), f"{visit.prefix}/"
    return [line for line in lines if line.prefix.startswith(below)]


def is_silent(record: Record, progress: Progress | None) -> bool:
    """Say whether an attempt without an end ought to have been heard of since."""
    return datetime.now(UTC) - _heartbeat(record, progress) > SILENT_AFTER


def _run(visit: Visit) -> LiveView:
    """Answer the page of a run: without a listing of all that the run has stored."""
    lines, seen = lines_of_run(visit), visit.query("seen")
    running, count = _running(visit, lines)
    heard = hear(visit.site.store, running[:SHOWN])
    view = live_of_run(visit, heard, count=count, seen=seen)
    return view.model_copy(update={"has_ended": not count or seen_of(lines) != seen})


def _running(visit: Visit, lines: Iterable[Line]) -> tuple[list[Record], int]:
    """Read those of a run's records that have no end, as many as are shown, and count all."""
    store = visit.site.store
    marked = [line for line in lines if line.standing is Standing.RUNNING]
    if marked:
        read = in_parallel(lambda line: read_record(store, line.prefix), marked[:SHOWN])
        running = [one for one in read if one and one.state is AttemptState.RUNNING]
        return running, len(running) + len(marked[SHOWN:])
    # The mark may be gone while the record still says that it runs.
    found = visit.site.records.below(visit.prefix).records
    running = [one for one in found if one.state is AttemptState.RUNNING]
    return running, len(running)


def _attempt(visit: Visit) -> LiveView:
    """Answer the page of an attempt."""
    record = record_at(visit.site.store, visit.prefix)
    return live_of(visit, record, read_progress(visit.site.store, visit.prefix))


def _at_work(visit: Visit, record: Record, progress: Progress | None) -> LiveAttempt:
    told = progress.model_dump(include=_AS_TOLD) if progress else {}
    return LiveAttempt(
        label=record.label,
        attempt=record.attempt,
        address=visit.links.attempt(RUNS, prefix_of(record)),
        is_silent=is_silent(record, progress),
        heartbeat=_heartbeat(record, progress),
        title=one_line(progress.title) if progress and progress.title else None,
        last_line=one_line(progress.last_line) if progress else "",
        **told,
    )


def _sign_in(visit: Visit, page: str) -> str:
    """Name where to sign in for a page; behind a proxy the page itself leads there."""
    own = page.removeprefix(visit.links.base)
    return visit.site.access.sign_in(visit.links, own) or page


def _heartbeat(record: Record, progress: Progress | None) -> datetime:
    return progress.heartbeat if progress else record.started_at


def _said(attempts: Sequence[LiveAttempt]) -> str:
    return "; ".join(f"{one.label} is {one.state}" for one in attempts)


ROUTES = (
    View(f"/live/{RUN}", "live_answer.html", _run),
    View(f"/live/{ATTEMPT}", "live_answer.html", _attempt),
)
