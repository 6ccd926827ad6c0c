"""What has been read of one pipeline's entries, and how it is brought up to date.

Names sort by the time of writing, so what is new stands on the first page of a listing, whatever
lies behind it. Clocks of writers differ, so each refresh reads back to some time before the last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from threading import Thread

from nightmill.errors import StoreError
from nightmill.store.index_bodies import Bodies
from nightmill.store.index_line import Entry, Line, entry_of, last_key, milliseconds, newest, told
from nightmill.store.interface import LISTED_AT_ONCE, Store
from nightmill.store.keys import index_prefix
from nightmill.store.together import Together

WHOLE_EVERY_S = 900.0
"""When all is listed again, since what was deleted leaves no trace on the first page."""

_FEW = 200  # more than usually end in that time; to read a thousand takes 50 ms of a CPU
_CLOCKS_DIFFER_MS = 600_000  # between any two machines, at most


class Book:
    """The entries of one pipeline; thread-safe. `clock` gives seconds that never go back."""

    def __init__(
        self, store: Store, pipeline: str, bodies: Bodies, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._bodies = bodies
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._lines: Mapping[str, Line] = {}
        self._read_at: float | None = None
        self._read_ms = 0
        self._whole_at = clock()
        self._together = Together()

    def lines(self, moment: float) -> Mapping[str, Line]:
        """Tell by their prefixes the attempts that had ended at a moment of the clock, or later.

        The same mapping comes back until something changes. Raises StoreError.
        """
        with self._together.alone():
            if self._read_at is None or self._read_at < moment:
                self._refresh()
            return self._lines

    def forget_gone(self) -> None:
        """List all again, and forget what is gone; raises StoreError.

        Only a listing tells: a body that is not there may be one that could not be read just then.
        """
        before = frozenset(self._entries)
        keys = list(self._keys(LISTED_AT_ONCE))
        with self._together.alone():
            self._change(self._new(keys), without=before.difference(keys))

    def _refresh(self) -> None:
        read_at, read_ms = self._clock(), milliseconds(datetime.now(UTC))
        last = last_key(self._pipeline, self._read_ms - _CLOCKS_DIFFER_MS)
        at_once = LISTED_AT_ONCE if self._read_at is None else _FEW
        self._change(self._new(takewhile(lambda key: key <= last, self._keys(at_once))))
        if self._read_at is None:
            self._whole_at = read_at
        elif read_at - self._whole_at >= WHOLE_EVERY_S:
            self._whole_at = read_at
            Thread(target=self._list_all, daemon=True).start()  # nobody waits for it
        self._read_at, self._read_ms = read_at, read_ms

    def _list_all(self) -> None:
        with suppress(StoreError):  # it is tried again
            self.forget_gone()

    def _keys(self, at_once: int) -> Iterable[str]:
        listed = self._store.list(index_prefix(self._pipeline), at_once=at_once)
        return (entry.key for entry in listed)

    def _new(self, keys: Iterable[str]) -> Mapping[str, Entry]:
        """Read the entries that are not known yet; a body only where the name does not tell all."""
        found = [entry_of(key, self._pipeline) for key in keys if key not in self._entries]
        new = {entry.key: entry for entry in found if entry}
        bodies, gone = self._bodies.read(key for key, entry in new.items() if entry.line is None)
        told_now = {key: told(new[key], summary) for key, summary in bodies.items()}
        return {key: one for key, one in (new | told_now).items() if key not in gone}

    def _change(
        self, new: Mapping[str, Entry] | None = None, *, without: Collection[str] = ()
    ) -> None:
        known = {key: one for key, one in self._entries.items() if key not in without}
        known |= new or {}
        if known.keys() != self._entries.keys():
            self._entries, self._lines = known, newest(known.values())
