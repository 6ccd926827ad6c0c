"""A store that is not waited for much longer once the step has been asked to stop.

Whoever asks a step to stop kills it after a grace (60 s for a pod), while a store that hangs may
take minutes to say so. So every call is made in a thread of its own, which can be given up. What is
small and matters most, the record, is waited for longest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from nightmill.causes import Cause
from nightmill.errors import NightmillError, StoreError
from nightmill.step.stop import StopRequest
from nightmill.store.interface import LISTED_AT_ONCE, Blob, Entry, Moved, Stat, Store, StoredFile

_LOOK_EVERY_S = 0.1
_LEAST_S = 2.0  # also for a call that comes when its time is over already

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Limit:
    """Seconds since the first request to stop, and since the second, which hurries."""

    first_s: float
    second_s: float

    def is_over(self, stop: StopRequest) -> bool:
        return stop.since_s(1) > self.first_s or stop.since_s(2) > self.second_s


# The kernel's end comes before and takes up to 16 s; the process ends well before 60 s are over.
_LARGE = _Limit(35.0, 3.0)
_SMALL = _Limit(45.0, 6.0)


class StoppedError(NightmillError):
    """The step was asked to stop before its first cell ran."""

    cause = Cause.TERMINATED


class PatientStore:
    """The given store with a limit to every wait; `gave_up` says that a thread may still wait."""

    def __init__(self, store: Store, stop: StopRequest) -> None:
        self.gave_up = False
        self._store = store
        self._stop = stop

    @property
    def url(self) -> str:
        """The store's own."""
        return self._store.url

    def read(self, key: str) -> Blob | None:
        """Read a small object, as the store does."""
        return self._await(_SMALL, "read", key, self._store.read)

    def write(self, key: str, data: bytes) -> str:
        """Replace an object, as the store does."""
        return self._await(_SMALL, "write", key, lambda one: self._store.write(one, data))

    def write_if(self, key: str, data: bytes | BinaryIO, *, etag: str | None) -> str:
        """Write on a condition, as the store does."""
        return self._await(
            _SMALL, "write_if", key, lambda one: self._store.write_if(one, data, etag=etag)
        )

    def put_file(self, key: str, path: Path, *, moved: Moved | None = None) -> StoredFile:
        """Upload a file, as the store does."""
        return self._await(
            _LARGE, "write", key, lambda one: self._store.put_file(one, path, moved=moved)
        )

    def get_file(
        self, key: str, path: Path, *, sha256: str | None = None, moved: Moved | None = None
    ) -> None:
        """Fetch a file, as the store does; raises StoppedError at once when asked to stop."""
        call = self._call(
            lambda one: self._store.get_file(one, path, sha256=sha256, moved=moved), key
        )
        while not wait([call], _LOOK_EVERY_S).done:
            if self._stop.times:
                self.gave_up = True
                raise StoppedError(self._stop.reason)
        call.result()

    def stat(self, key: str) -> Stat | None:
        """Look at an object, as the store does."""
        return self._await(_SMALL, "read", key, self._store.stat)

    def copy_if(self, key: str, source: StoredFile, *, etag: str | None) -> None:
        """Copy on a condition, as the store does."""
        self._await(
            _LARGE, "write_if", key, lambda one: self._store.copy_if(one, source, etag=etag)
        )

    def list(
        self, prefix: str, *, start_after: str = "", at_once: int = LISTED_AT_ONCE
    ) -> Iterator[Entry]:
        """List objects, as the store does; each request of it can be given up."""
        entries = self._store.list(prefix, start_after=start_after, at_once=at_once)

        def batch(_prefix: str) -> list[Entry]:
            return list(islice(entries, at_once))

        while found := self._await(_SMALL, "list", prefix, batch):
            yield from found

    def children(self, prefix: str) -> Sequence[str]:
        """Name what comes next, as the store does."""
        return self._await(_SMALL, "list", prefix, self._store.children)

    def address(self, key: str) -> str:
        """Give the store's own address."""
        return self._store.address(key)

    def library_options(self) -> Mapping[str, str]:
        """Give the store's own."""
        return self._store.library_options()

    def local_path(self, key: str) -> Path | None:
        """Give the store's own path."""
        return self._store.local_path(key)

    def delete(self, key: str) -> None:
        """Remove an object, as the store does."""
        self._await(_SMALL, "delete", key, self._store.delete)

    def preflight(self) -> None:
        """Try the rights, as the store does."""
        self._store.preflight()

    def _await(
        self, limit: _Limit, operation: str, key: str, ask: Callable[[str], _Answer]
    ) -> _Answer:
        begun, call = time.monotonic(), self._call(ask, key)
        while not wait([call], _LOOK_EVERY_S).done:
            if limit.is_over(self._stop) and time.monotonic() - begun > _LEAST_S:
                self.gave_up = True
                raise StoreError(
                    "the store had not answered when the step had to end",
                    address=self.address(key),
                    operation=operation,
                    advice="see whether the store is up and quick enough",
                )
        return call.result()

    def _call(self, ask: Callable[[str], _Answer], key: str) -> Future[_Answer]:
        answer: Future[_Answer] = Future()

        def settle() -> None:
            try:
                answer.set_result(ask(key))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                answer.set_exception(error)

        threading.Thread(target=settle, daemon=True).start()
        return answer
