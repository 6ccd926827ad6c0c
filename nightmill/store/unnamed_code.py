"""Deletes bundles that no attempt names, but none that an attempt has just found in its place.

An attempt names its bundle in its record first, and looks for it in the store then. So whoever
found one that is gone now has a record by now: gc deletes, looks at what records were written since
its survey, and puts back what they name. What an attempt does not find it writes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from nightmill.errors import NightmillError, StoreConflict
from nightmill.store.doomed import absolve
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import code_key
from nightmill.store.survey import StoredAttempt, Survey, fresh

_HELD_BYTES = 64 << 20  # of bundles that may have to be put back; one alone may have 60 MiB


def named_by(attempts: Iterable[StoredAttempt]) -> set[str]:
    """Name the bundles that attempts may be repeated with, by their keys."""
    return {code_key(one.told.bundle) for one in attempts if one.told and one.told.bundle}


def batches(bundles: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide bundles into as many at a time as are held in memory."""
    some: list[Entry] = []
    for one in bundles:
        if some and sum(each.size for each in some) + one.size > _HELD_BYTES:
            yield some
            some = []
        some.append(one)
    if some:
        yield some


class Taken:
    """Bundles that were deleted, and are held until it is known that nobody needs them.

    Their keys are added to `deleted`.
    """

    def __init__(self, store: Store, deleted: set[str]) -> None:
        self._store = store
        self._deleted = deleted
        self._held: dict[str, bytes] = {}

    def take(self, key: str) -> None:
        """Delete a bundle, whose mark stays for now."""
        blob = self._store.read(key)
        if blob is not None:
            self._held[key] = blob.data
        self._store.delete(key)
        self._deleted.add(key)

    def needed(self, found: Survey) -> set[str]:
        """Name those that records since a survey name; all of them where nobody can tell."""
        if not self._held:
            return set()
        try:
            since = list(fresh(self._store, found.begun))
        except NightmillError:
            return set(self._held)
        if any(one.is_unreadable for one in since):
            return set(self._held)
        return named_by(since) & self._held.keys()

    def put_back(self, key: str) -> None:
        """Write a bundle again, unless its attempt has done so, and take its mark away."""
        with suppress(StoreConflict):
            self._store.write_if(key, self._held[key], etag=None)
        absolve(self._store, key)
