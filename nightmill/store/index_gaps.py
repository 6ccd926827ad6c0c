"""What ran and is not in the index: told by the names below `runs/`, of whole partitions.

Nothing is opened. Each listing is remembered for a minute: what runs since then is marked, and what
is marked is in the index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Lock

from nightmill.store.interface import Store
from nightmill.store.parallel import in_parallel

RUNS = "runs"

_EVERY_S = 60.0
_MENDED_S = 10.0  # whoever makes the index anew must not wait long to see it
_TRIED = 20


@dataclass
class _Listed:
    """The names below a prefix, as they were; `has_some` says of some whether objects are there."""

    at: float
    names: frozenset[str]
    has_some: dict[str, bool] = field(default_factory=dict)


class Gaps:
    """The names below `runs/` as they are in keys; thread-safe. Methods raise StoreError."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._listed: dict[str, _Listed] = {}
        self._mended: dict[str, float] = {}

    def names(self, prefix: str = RUNS) -> frozenset[str]:
        """Name what lies below a prefix, by a listing of the last minute."""
        return self._look(prefix).names

    def may_be_mended(self, prefix: str) -> bool:
        """Say whether the index is to be read anew, as it should know what is below a prefix.

        So it is once after each listing, and every 10 s.
        """
        at, now = self._look(prefix).at, self._clock()
        with self._lock:
            last = self._mended.get(prefix)
            if last is not None and last >= at and now - last < _MENDED_S:
                return False
            self._mended[prefix] = now
            return True

    def filled(self, prefix: str, names: Collection[str]) -> frozenset[str]:
        """Leave out names below which there is nothing: some stores keep directories.

        Of many only 20 are looked at; the others count where one of those does.
        """
        listed = self._look(prefix)
        tried = sorted(names, reverse=True)[:_TRIED]
        new = [name for name in tried if name not in listed.has_some]
        if new:
            found = in_parallel(lambda name: self._has_some(f"{prefix}/{name}"), new)
            listed.has_some |= dict(zip(new, found, strict=True))
        empty = {name for name in tried if not listed.has_some[name]}
        return frozenset(names) - empty if len(empty) < len(tried) else frozenset()

    def _has_some(self, prefix: str) -> bool:
        return any(True for _entry in self._store.list(prefix, at_once=1))

    def _look(self, prefix: str) -> _Listed:
        with self._lock:
            kept = self._listed.get(prefix)
        if kept is None or self._clock() - kept.at >= _EVERY_S:
            at = self._clock()
            kept = _Listed(at, frozenset(self._store.children(prefix)))
            with self._lock:
                self._listed[prefix] = kept
        return kept
