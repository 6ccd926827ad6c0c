"""The bodies of the index's entries: each is read once, since none ever changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Lock

from nightmill.spec.summary import Summary
from nightmill.store.interface import Blob, Store
from nightmill.store.parallel import in_parallel

_KEPT = 10_000  # about 4 kB each in memory


class Bodies:
    """Reads bodies in parallel and keeps those that were asked for last; thread-safe."""

    def __init__(self, store: Store, *, kept: int = _KEPT) -> None:
        self._store = store
        self._most = kept
        self._kept: OrderedDict[str, Summary] = OrderedDict()
        self._lock = Lock()

    def read(self, keys: Iterable[str]) -> tuple[Mapping[str, Summary], frozenset[str]]:
        """Return the bodies by their keys, and which keys are gone; damaged ones are neither.

        Raises StoreError.
        """
        wanted = list(keys)
        with self._lock:
            found = {key: self._kept[key] for key in wanted if key in self._kept}
        missing = [key for key in wanted if key not in found]
        blobs = dict(zip(missing, in_parallel(self._store.read, missing), strict=True))
        found |= {key: summary for key, blob in blobs.items() if (summary := _summary(blob))}
        self._keep(found)
        return found, frozenset(key for key, blob in blobs.items() if blob is None)

    def _keep(self, found: Mapping[str, Summary]) -> None:
        with self._lock:
            for key, summary in found.items():
                self._kept[key] = summary
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _summary(blob: Blob | None) -> Summary | None:
    with suppress(ValueError):  # damaged, or of a later Nightmill
        return Summary.from_json(blob.data) if blob else None
    return None
