"""What lies in a store: every attempt with its size, its age, and what its record still needs.

One listing of `runs/` is read as it streams in, and each record once. What stays in memory is one
or two kilobytes for an attempt, however many files it has and however large they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, groupby, islice
from typing import NamedTuple, TypeVar

from nightmill.spec.record import AttemptState, Record
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import NOTEBOOK, RECORD, SPILLED, attempt_of, attempts_at, part_of

THREADS = 16
BATCH = 256

_CLOCKS_DIFFER = timedelta(minutes=10)  # between this machine and the store, at most
_RUN_PARTS = 4
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


class Size(NamedTuple):
    """How much it is: objects, and bytes in all of them."""

    objects: int = 0
    bytes: int = 0

    def plus(self, other: Size) -> Size:
        """Return the sum."""
        return Size(self.objects + other.objects, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Told:
    """What a record says that matters to keeping: `pins` are the prefixes of attempts it read."""

    token: tuple[int, int]
    has_ended: bool
    committed: bool
    is_held: bool
    ended_at: datetime | None
    pins: tuple[str, ...]
    bundle: str | None


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """An attempt as it lies in the store. `told` is None where its record is missing or unreadable.

    `touched` is when any of its objects was last written.
    """

    prefix: str
    whole: Size
    notebook: Size
    spilled: Size
    touched: datetime
    has_record: bool
    told: Told | None

    @property
    def ended_at(self) -> datetime:
        """When it ended, as far as anything tells."""
        return (self.told and self.told.ended_at) or self.touched

    @property
    def is_unreadable(self) -> bool:
        """Whether it has a record that says nothing to this version of Nightmill."""
        return self.has_record and self.told is None


@dataclass
class Survey:
    """All attempts by their prefixes, and how many objects below `runs/` are of no attempt.

    `begun` is when it began, by this machine's clock.
    """

    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    attempts: dict[str, StoredAttempt] = field(default_factory=dict)
    strays: int = 0


@dataclass
class _Listed:
    """An attempt while its objects are listed."""

    prefix: str
    parts: dict[str, Size] = field(default_factory=dict)
    touched: datetime = _LONG_AGO
    record_written: datetime | None = None

    def add(self, part: str, entry: Entry) -> None:
        self.parts[part] = self.parts.get(part, Size()).plus(Size(1, entry.size))
        self.touched = max(self.touched, entry.modified)
        if part == RECORD:
            self.record_written = entry.modified


def survey(store: Store) -> Survey:
    """Look at every attempt, then once more at those whose records were written meanwhile.

    Raises StoreError where the store fails.
    """
    found = Survey()
    for one in each(partial(_read, store), _listed(store, found)):
        found.attempts[one.prefix] = one
    for one in fresh(store, found.begun):
        found.attempts[one.prefix] = one
    return found


def fresh(store: Store, begun: datetime) -> Iterator[StoredAttempt]:
    """Look at the attempts whose records were written since a survey began, or shortly before."""
    since = begun - _CLOCKS_DIFFER
    again = (one for one in _listed(store, Survey()) if one.record_written)
    written = (one for one in again if one.record_written and one.record_written >= since)
    return each(partial(_read, store), written)


def each(do: Callable[[_Item], _Done], items: Iterable[_Item]) -> Iterator[_Done]:
    """Do something to each item as they come, some at once, in their order."""
    iterator = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(iterator, BATCH)):
            yield from pool.map(do, batch)


def _listed(store: Store, found: Survey) -> Iterator[_Listed]:
    """List the attempts run by run: the files of one may stand between those of another."""
    for _run, entries in groupby(store.list("runs"), key=_run_of):
        attempts: dict[str, _Listed] = {}
        for entry in entries:
            prefix = attempt_of(entry.key)
            if prefix is None:
                found.strays += 1
            else:
                attempts.setdefault(prefix, _Listed(prefix)).add(part_of(entry.key), entry)
        yield from attempts.values()


def _run_of(entry: Entry) -> list[str]:
    return entry.key.split("/", _RUN_PARTS)[:_RUN_PARTS]


def _read(store: Store, listed: _Listed) -> StoredAttempt:
    blob = store.read(f"{listed.prefix}/{RECORD}") if RECORD in listed.parts else None
    whole = Size()
    for size in listed.parts.values():
        whole = whole.plus(size)
    return StoredAttempt(
        prefix=listed.prefix,
        whole=whole,
        notebook=listed.parts.get(NOTEBOOK, Size()),
        spilled=listed.parts.get(SPILLED, Size()),
        touched=listed.touched,
        has_record=blob is not None,
        told=_told(blob.data) if blob else None,
    )


def _told(data: bytes) -> Told | None:
    try:
        record = Record.from_json(data)
    except (ValueError, RecursionError):
        return None
    # The address of an input, not its names: they lack the step. The store may have moved since.
    # Of several attempts that it may mean all are kept.
    pins = (attempts_at(one.address) for one in record.inputs.values() if one)
    return Told(
        token=(record.order, record.attempt),
        has_ended=record.state is not AttemptState.RUNNING,
        committed=record.committed,
        is_held=record.is_held,
        ended_at=record.ended_at,
        pins=tuple(sorted(set(chain.from_iterable(pins)))),
        bundle=record.code.bundle if record.code else None,
    )
