"""Attempts whose outputs were current, and are not now: what is, since when, and who decided so."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime

from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact, text
from nightmill.review.pages.now_current import NowCurrent
from nightmill.review.visit import Visit
from nightmill.spec.record import Record
from nightmill.store.history import prefix_of


class NoLonger(Fact):
    """An attempt that was current until another version was, that of `run` and `made_by`.

    `at` is when that became current, at the address `now`. `kind`, `by` and `reason` tell of the
    person who took this one back; empty where nobody did.
    """

    label: str
    attempt: int
    run: str
    made_by: int
    at: AwareDatetime
    now: str
    kind: str = ""
    by: str = ""
    reason: str = ""


def no_longer_of(visit: Visit, records: Iterable[Record], now: NowCurrent) -> tuple[NoLonger, ...]:
    """Tell which attempts were current and are not now, of those that were looked at."""
    return tuple(found for one in records if (found := _no_longer(visit, one, now)))


def _no_longer(visit: Visit, record: Record, now: NowCurrent) -> NoLonger | None:
    prefix = prefix_of(record)
    pointer, move = now.pointer_of(prefix), now.taken_back(prefix)
    if pointer is None or pointer.attempt_prefix == prefix or not record.committed:
        return None
    told = {"kind": move.kind, "by": text(move.by), "reason": text(move.reason)} if move else {}
    return NoLonger(
        label=record.label,
        attempt=record.attempt,
        run=pointer.run,
        made_by=pointer.attempt,
        at=move.at if move else pointer.committed_at,
        now=visit.links.attempt(RUNS, pointer.attempt_prefix),
        **told,
    )
