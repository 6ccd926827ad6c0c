"""Makes the index anew from the records: for a store that is older than the index, or lost it.

An entry is written as if at its attempt's end, so that the order of the names is that of the
nights. What is written is true whenever it is stopped, and the next time goes on from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from nightmill.spec.record import AttemptState
from nightmill.store.history import record_of
from nightmill.store.index import attempt_told, note
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, attempt_of, decode, index_prefix, part_of
from nightmill.store.survey import each


class Fate(StrEnum):
    """What was done about an attempt."""

    WRITTEN = "written"
    KNOWN = "known"
    NO_END = "without an end"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Reindexed:
    """One attempt that has a record."""

    pipeline: str
    prefix: str
    fate: Fate


def reindex(store: Store, *, anew: bool = False) -> Iterator[Reindexed]:
    """Tell the index of every attempt that it does not know, or `anew` of all.

    Raises StoreError.
    """
    for name in store.children("runs"):
        pipeline = decode(name)
        known = _known(store, pipeline)
        one = partial(_reindex_one, store, pipeline, known, anew=anew)
        yield from each(one, _recorded(store, f"runs/{name}"))


def _known(store: Store, pipeline: str) -> Mapping[str, Sequence[str]]:
    """Find the entries that there are, by the prefixes of their attempts."""
    found: dict[str, list[str]] = defaultdict(list)
    for entry in store.list(index_prefix(pipeline)):
        prefix = attempt_told(store, entry.key, pipeline)
        if prefix is not None:
            found[prefix].append(entry.key)
    return found


def _recorded(store: Store, root: str) -> Iterator[str]:
    for entry in store.list(root):
        prefix = attempt_of(entry.key)
        if prefix is not None and part_of(entry.key) == RECORD:
            yield prefix


def _reindex_one(
    store: Store, pipeline: str, known: Mapping[str, Sequence[str]], prefix: str, *, anew: bool
) -> Reindexed:
    before = known.get(prefix, ())
    if before and not anew:
        return Reindexed(pipeline, prefix, Fate.KNOWN)
    blob = store.read(f"{prefix}/{RECORD}")
    try:
        record = record_of(blob.data if blob else b"", prefix)
    except ValueError:
        return Reindexed(pipeline, prefix, Fate.UNREADABLE)
    if record.state is AttemptState.RUNNING:
        return Reindexed(pipeline, prefix, Fate.NO_END)
    key = note(store, record, prefix=prefix, at=record.ended_at)
    for other in before:
        if other != key:
            store.delete(other)
    return Reindexed(pipeline, prefix, Fate.WRITTEN)
