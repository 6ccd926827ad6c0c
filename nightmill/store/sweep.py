"""Attempts that died without a word: found by their marks, told from the living by a heartbeat.

A sweep reads the marks and, for each, a record and a `progress.json`; it lists nothing else of the
store, so it may run every few minutes over years of runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.store.active import MarkFacts, active, unmark
from nightmill.store.amend import amend, read_progress, read_record
from nightmill.store.index import note
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, PROGRESS, RECORD, attempt_of, part_of, run_prefix


@dataclass(frozen=True)
class Standing:
    """How an attempt stands: its record if it can be read, and its last sign of life."""

    prefix: str
    record: Record | None
    last_sign: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether its record tells its end."""
        return self.record is not None and self.record.state is not AttemptState.RUNNING

    def is_silent(self, span: timedelta) -> bool:
        """Say whether nothing was heard of it for so long; nothing at all is silence too."""
        return self.last_sign is None or datetime.now(UTC) - self.last_sign > span

    def failure(self) -> Failure:
        """Return what is known of a silent attempt: it was ended, and nobody saw by what.

        That is `terminated`, the one cause that a witness who knows more may still refine.
        """
        since = f" since {self.last_sign:%Y-%m-%d %H:%M:%S} UTC" if self.last_sign else ""
        message = f"no sign of life{since}, and no last word"
        return Failure(cause=Cause.TERMINATED, message=message)


class Fate(StrEnum):
    """What a sweep found, or did."""

    ALIVE = "alive"
    AMENDED = "amended"
    TO_AMEND = "to be amended"
    MARK_REMOVED = "mark removed"
    MARK_TO_REMOVE = "mark to be removed"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Swept:
    """What became of one marked attempt; `problem` says why it could not be swept."""

    prefix: str
    fate: Fate
    record: Record | None = None
    last_sign: datetime | None = None
    problem: str = ""


def look(store: Store, prefix: str, facts: MarkFacts | None = None) -> Standing:
    """Read how an attempt stands; `facts` are those of its mark.

    Raises StoreError where the store fails, or the record is another version's.
    """
    record, progress = read_record(store, prefix), read_progress(store, prefix)
    signs = [
        progress.heartbeat if progress else None,
        record.started_at if record else None,
        facts.started_at if facts else None,
    ]
    last = max(filter(None, signs), default=None)
    return Standing(prefix, record, last.astimezone(UTC) if last else None)


def attempts(store: Store, pipeline: str, partition: str, run: str) -> list[str]:
    """Name the prefixes of a run's attempts, also of those whose record is missing."""
    keys = (entry.key for entry in store.list(run_prefix(pipeline, partition, run)))
    found = (attempt_of(key) for key in keys if part_of(key) in (RECORD, NOTEBOOK, PROGRESS))
    return list(dict.fromkeys(filter(None, found)))


def sweep(
    store: Store, *, silent_for: timedelta, by: str, dry_run: bool = False
) -> Iterator[Swept]:
    """Amend each marked attempt whose heartbeat stopped; unmark, and index, those that have ended.

    One that cannot be swept stops no other. Raises StoreError where the marks cannot be read.
    """
    for mark in active(store):
        try:
            standing = look(store, mark.prefix, mark.facts)
            yield _sweep_one(store, standing, silent_for=silent_for, by=by, dry_run=dry_run)
        except NightmillError as error:
            yield Swept(mark.prefix, Fate.PROBLEM, problem=str(error))


def _sweep_one(
    store: Store, standing: Standing, *, silent_for: timedelta, by: str, dry_run: bool
) -> Swept:
    prefix, record, last_sign = standing.prefix, standing.record, standing.last_sign
    if record is not None and standing.has_ended:
        if dry_run:
            return Swept(prefix, Fate.MARK_TO_REMOVE, record, last_sign)
        note(store, record, prefix=prefix)  # it died, or the store failed, before it could itself
        unmark(store, prefix)
        return Swept(prefix, Fate.MARK_REMOVED, record, last_sign)
    if not standing.is_silent(silent_for):
        return Swept(prefix, Fate.ALIVE, record, last_sign)
    if dry_run:
        return Swept(prefix, Fate.TO_AMEND, record, last_sign)
    amended = amend(store, prefix, standing.failure(), by=by)
    return Swept(prefix, Fate.AMENDED, amended, last_sign)
