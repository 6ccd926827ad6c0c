"""Which partition of a step is the newest: the one rule for all who ask for no partition by name.

Days are ordered by their date. Text has no order of its own (v10 sorts before v9), so there the
newest is what was committed last. A rollback does not make a version newer: what it made current
counts from its own commit.

Neither costs more requests the older a store is: days are looked for among the last ones first, and
of texts, which are few, one listing says which pointers need to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from heapq import heappop, heappush

from pydantic import AwareDatetime, BaseModel

from nightmill.spec.record import Record
from nightmill.spec.units import iso_date
from nightmill.store.interface import LISTED_AT_ONCE, Entry, Store
from nightmill.store.keys import RECORD

_SPANS = (32, 512, 8192)  # days that are looked through at a time, before all the rest
_AT_ONCE = 100  # keys at least: of members there are several a day
_SUFFIX = ".json"
_UNKNOWN = datetime.max.replace(tzinfo=UTC)


class _Move(BaseModel):
    kind: str


class _Facts(BaseModel):
    """What of a pointer tells when its version was committed."""

    committed_at: AwareDatetime
    attempt_prefix: str
    moves: tuple[_Move, ...] = ()


@dataclass(frozen=True, order=True)
class _Place:
    """Where a partition stands among others: `at` is never later than the store's own clock says.

    `committed` tells apart what the store wrote in the same second.
    """

    at: datetime
    committed: datetime
    name: str


def newest_first(
    store: Store,
    prefixes: Sequence[str],
    *,
    dated: bool | None = None,
    by_member: bool | None = None,
) -> Iterator[str]:
    """Name the partitions below these steps' pointers as they are in keys, the newest first.

    Whether they are days (`dated`) is seen by the first of them if nobody says so. `by_member` is
    whether only steps with members, or only those without, are meant. What comes later is looked
    for only when it is asked for.
    """
    if dated is None:
        dated = all(_begins_with_day(store, prefix) for prefix in prefixes)
    if dated:
        return _days(store, prefixes, date.max, by_member=by_member)
    return _texts(store, prefixes, by_member=by_member)


def earlier_first(
    store: Store, prefix: str, before: str, *, inclusive: bool = False, by_member: bool | None
) -> Iterator[str]:
    """Name the partitions before another one as they are in keys, the newest first.

    Before a day are earlier days; before a text is what was committed before it, or everything if
    it has not been committed itself.
    """
    if not is_day(before):
        return _texts(store, [prefix], before=before, by_member=by_member)
    last = iso_date(before).toordinal() - (0 if inclusive else 1)
    if not last:
        return iter(())
    return _days(store, [prefix], date.fromordinal(last), by_member=by_member)


def is_day(partition: str) -> bool:
    """Tell whether a partition is a day."""
    with suppress(ValueError):
        return iso_date(partition).isoformat() == partition
    return False


def _begins_with_day(store: Store, prefix: str) -> bool:
    """Look at one name: the partitions of a pipeline are all days, or all text."""
    first = next(iter(store.list(prefix, at_once=1)), None)
    return first is None or is_day(_name(first, prefix))


def _days(
    store: Store, prefixes: Sequence[str], last: date, *, by_member: bool | None
) -> Iterator[str]:
    """Look through the last days first, up to today's if any is meant, then farther back."""
    upper = last.toordinal()
    recent = min(upper, datetime.now(UTC).date().toordinal())
    for span in (*_SPANS, recent):
        lower = max(recent - span, 0)
        found = {
            name
            for one in prefixes
            for name in _between(store, one, lower, upper, by_member=by_member)
        }
        yield from sorted(found, reverse=True)
        if not lower:
            return
        upper = recent = lower


def _between(
    store: Store, prefix: str, lower: int, upper: int, *, by_member: bool | None
) -> Iterator[str]:
    """Name the days after one and up to another, both as ordinals."""
    # "~" follows whatever may come behind the name of a day, however the store sorts.
    after = f"{prefix}/{date.fromordinal(lower).isoformat()}~" if lower else ""
    last = date.fromordinal(upper).isoformat()
    at_once = min(max(upper - lower, _AT_ONCE), LISTED_AT_ONCE)
    for entry in store.list(prefix, start_after=after, at_once=at_once):
        name = _name(entry, prefix)
        if is_day(name) and name > last:
            return
        if is_day(name) and _is_meant(entry, prefix, by_member=by_member):
            yield name


def _texts(
    store: Store,
    prefixes: Sequence[str],
    *,
    before: str | None = None,
    by_member: bool | None,
) -> Iterator[str]:
    """Read the pointers that were written last, until none that is left can be newer."""
    listed = [
        (entry, _name(entry, prefix))
        for prefix in prefixes
        for entry in store.list(prefix)
        if _is_meant(entry, prefix, by_member=by_member)
    ]
    own = [_place(store, *one) for one in listed if one[1] == before]
    limit = max((one.modified for one, name in listed if name == before), default=None)
    listed = [one for one in listed if limit is None or one[0].modified <= limit]
    for place in _in_order(store, listed):
        if not own or place < max(own):
            yield place.name


def _in_order(store: Store, listed: Sequence[tuple[Entry, str]]) -> Iterator[_Place]:
    """Give each partition once, the one committed last first; of members the last counts."""
    seen: set[str] = set()
    waiting: list[tuple[float, float, str, _Place]] = []

    def settled(until: datetime | None) -> Iterator[_Place]:
        while waiting and (until is None or waiting[0][-1].at > until):
            place = heappop(waiting)[-1]
            if place.name not in seen:
                seen.add(place.name)
                yield place

    for entry, name in sorted(listed, key=lambda one: one[0].modified, reverse=True):
        yield from settled(entry.modified)
        if name not in seen:
            place = _place(store, entry, name)
            by_age = (-place.at.timestamp(), -place.committed.timestamp(), name)
            heappush(waiting, (*by_age, place))
    yield from settled(None)


def _place(store: Store, entry: Entry, name: str) -> _Place:
    """Say when what is current was committed, by the earlier of two clocks.

    The writer's may be ahead; the store's tells only when the pointer came here, which is later
    where a store was copied.
    """
    committed = _committed_at(store, entry)
    return _Place(min(committed, entry.modified), committed, name)


def _committed_at(store: Store, entry: Entry) -> datetime:
    blob = store.read(entry.key)
    try:
        facts = _Facts.model_validate_json(blob.data if blob else b"")
    except ValueError:  # whoever reads it as a pointer says what is wrong with it
        return _UNKNOWN
    if facts.moves and facts.moves[-1].kind == "rollback":
        record = store.read(f"{facts.attempt_prefix}/{RECORD}")
        with suppress(ValueError):
            ended = Record.from_json(record.data).ended_at if record else None
            return ended or facts.committed_at
    return facts.committed_at


def _name(entry: Entry, prefix: str) -> str:
    return entry.key.removeprefix(f"{prefix}/").partition("/")[0].removesuffix(_SUFFIX)


def _is_meant(entry: Entry, prefix: str, *, by_member: bool | None) -> bool:
    below = entry.key.removeprefix(f"{prefix}/")
    return below.endswith(_SUFFIX) and by_member in (None, "/" in below)
