"""The records of runs for a server that is asked again and again: what did not change is kept.

A run of thousands of members is one listing and thousands of small reads. The listing tells size
and time of each record, so the second look needs no read of what stands as it stood.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import cast

from nightmill.store.history import RunRecords, records_below
from nightmill.store.interface import Blob, Entry, Store

_KEPT_BYTES = 64 << 20
_SETTLED = timedelta(minutes=1)
"""S3 tells the time of a change in seconds: what changed just now may change again unseen."""


class Records:
    """Reads runs, and keeps the bytes of those that were looked at last; thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        kept_bytes: int = _KEPT_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._most = kept_bytes
        self._now = now
        self._kept: OrderedDict[Entry, Blob] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def below(self, prefix: str) -> RunRecords:
        """Read the record of every attempt of the run with this prefix, as `records_below` does."""
        settled = self._now() - _SETTLED
        return records_below(cast("Store", _Look(self._store, self, settled)), prefix)

    def find(self, entry: Entry) -> Blob | None:
        """Return what stands where a listing has this entry, if it is kept."""
        with self._lock:
            found = self._kept.get(entry)
            if found is not None:
                self._kept.move_to_end(entry)
            return found

    def keep(self, entry: Entry, blob: Blob) -> None:
        """Keep what was read after a listing had this entry."""
        with self._lock:
            if entry not in self._kept:
                self._kept[entry] = blob
                self._bytes += entry.size
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[0].size


class _Look:
    """What one look at a run asks of the store: a listing, and then what it does not know yet."""

    def __init__(self, store: Store, records: Records, settled: datetime) -> None:
        self._store = store
        self._records = records
        self._settled = settled
        self._entries: dict[str, Entry] = {}
        self.address = store.address

    def list(self, prefix: str) -> Iterator[Entry]:
        """List what is below a prefix, and note it."""
        for entry in self._store.list(prefix):
            self._entries[entry.key] = entry
            yield entry

    def read(self, key: str) -> Blob | None:
        """Read what was listed."""
        entry = self._entries[key]
        found = self._records.find(entry)
        if found is None:
            found = self._store.read(key)
            if found and entry.modified < self._settled and len(found.data) == entry.size:
                self._records.keep(entry, found)
        return found
