"""What the store sees while a step runs: its notebook and `progress.json`, on a clock of our own.

One thread of the supervisor copies both, one upload at a time. It is a view for whoever looks, and
the evidence that is left where the container dies whole; so nothing here can slow or fail the step:
errors are counted, told once and tried again later, and an upload that hangs is left behind.

A late upload cannot overwrite what was written after it, wherever it was held up: each one names
the object that it replaces (see `Store.write_if`), and what another writer has put in its place
stays. The record is never touched from here.

How often, and why that is cheap:

    progress   after 2 s, then every 15 s: it is the heartbeat, a few hundred bytes
    notebook   after 4 s, if its bytes changed; then pauses that grow with the time of the run
               (a quarter, up to 2 min), the size (100 kB/s) and the time spent on it (at most 5 %)
    failing    after 15 s, then each pause twice the last: up to 1 min for the progress, 4 min for
               the notebook
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nightmill.errors import StoreConflict
from nightmill.step.progress import ProgressTracker
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, PROGRESS

_PROGRESS_AFTER_S = 2.0
_PROGRESS_EVERY_S = 15.0
_NOTEBOOK_AFTER_S = 4.0
_LOOK_EVERY_S = 5.0  # whether the notebook has changed, once its pause is over
_LONGEST_GROWN_S = 120.0
_BYTES_PER_S = 100_000
_SHARE = 0.05
_AFTER_FAILURE_S = (15.0, 30.0, 60.0, 120.0, 240.0)


@dataclass
class Counts:
    """What the mirror has cost: uploads that arrived, their bytes, and the tries that failed."""

    notebook_uploads: int = 0
    notebook_bytes: int = 0
    progress_uploads: int = 0
    failures: int = 0


class Mirror:
    """Keeps the notebook and the progress of one attempt in the store; no method raises.

    It goes by the tracker's clock. `tell` gets one line the first time that the store fails.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        notebook: Path,
        tracker: ProgressTracker,
        *,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.counts = Counts()
        self._path = notebook
        self._tracker = tracker
        self._tell = tell
        self._clock = tracker.clock
        self._progress = _Copy(store, f"{prefix}/{PROGRESS}", pauses_s=_AFTER_FAILURE_S[:3])
        self._notebook = _Copy(store, f"{prefix}/{NOTEBOOK}", pauses_s=_AFTER_FAILURE_S)
        self._begun = self._clock.monotonic()
        self._progress_due = self._begun + _PROGRESS_AFTER_S
        self._notebook_due = self._begun + _NOTEBOOK_AFTER_S
        self._seen: tuple[int, ...] = ()
        self._last_failure = ""
        self._stopping = threading.Event()
        self._left_behind = threading.Event()
        self._released = threading.Event()
        self._uploading = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin; the thread is a daemon, so that one that hangs keeps no process alive."""
        self._thread.start()

    def release_notebook(self, timeout_s: float = 2.0) -> bool:
        """Upload the notebook no more, since its final version is next; the heartbeat goes on.

        An upload under way is broken off. Returns whether none is left; one that hangs cannot
        replace the final notebook when it wakes up.
        """
        self._released.set()
        ended = self._uploading.acquire(timeout=timeout_s)
        if ended:
            self._uploading.release()
        return ended

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread, and tell the tracker's end if there was any progress in the store.

        Returns whether the thread has ended; one that hangs begins nothing new.
        """
        self._released.set()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._left_behind.set()
        return not self._thread.is_alive()

    @property
    def evidence(self) -> dict[str, Any]:
        """What was uploaded and what failed, for the record; empty if nothing was tried."""
        return {name: count for name, count in asdict(self.counts).items() if count}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for the record if the store failed while the step ran."""
        if not self.counts.failures:
            return ()
        times = "once" if self.counts.failures == 1 else f"{self.counts.failures} times"
        return (f"while the step ran, the store failed {times}: {self._last_failure}",)

    def tick(self) -> float:
        """Do what is due; return the seconds until something is. The thread does only this."""
        if self._clock.monotonic() >= self._progress_due and not self._stopping.is_set():
            self._progress_due = self._after(self._progress, self._beat)
        if self._clock.monotonic() >= self._notebook_due and not self._released.is_set():
            self._notebook_due = self._after(self._notebook, self._send_notebook)
        due = self._progress_due
        if not self._released.is_set():
            due = min(due, self._notebook_due)
        return max(0.0, due - self._clock.monotonic())

    def _run(self) -> None:
        while not self._stopping.wait(min(self.tick(), threading.TIMEOUT_MAX)):
            pass
        if self._progress.may_exist and not self._left_behind.is_set():
            self._after(self._progress, self._send_progress)

    def _after(self, copy: _Copy, send: Callable[[], float]) -> float:
        """Send, and return when to do so again: later and later where the store fails."""
        try:
            pause = send()
        except Exception as error:  # noqa: BLE001 - whatever it is, it may not fail the step
            self._note(error)
            pause = copy.pause_after_failure()
        else:
            copy.failures_in_a_row = 0
        return self._clock.monotonic() + pause

    def _note(self, error: Exception) -> None:
        self.counts.failures += 1
        self._last_failure = str(error).partition("\n")[0] or type(error).__name__
        if self.counts.failures == 1:
            with suppress(Exception):
                self._tell(f"the step goes on, but nobody can see it run: {self._last_failure}")

    def _beat(self) -> float:
        if self.counts.progress_uploads:
            self._tracker.learn()  # only now: a step of a few seconds asks the store for nothing
        return self._send_progress()

    def _send_progress(self) -> float:
        if self._progress.is_anothers:
            return math.inf
        data = self._tracker.snapshot().to_json()
        self._progress.replace(io.BytesIO(data), hashlib.sha256(data).hexdigest())
        self.counts.progress_uploads += 1
        return _PROGRESS_EVERY_S

    def _send_notebook(self) -> float:
        if self._notebook.is_anothers:
            return math.inf
        try:
            with self._uploading, _Body(self._path, self._released) as body:
                return self._send_if_changed(body)
        except FileNotFoundError:  # no cell has begun
            return _LOOK_EVERY_S
        except Exception:
            if self._released.is_set():  # we broke it off ourselves
                return math.inf
            raise

    def _send_if_changed(self, body: _Body) -> float:
        begun = self._clock.monotonic()
        status = os.fstat(body.fileno())
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        if identity == self._seen:
            return _LOOK_EVERY_S
        sha256 = hashlib.file_digest(body, "sha256").hexdigest()
        changed = sha256 != self._notebook.sha256
        if changed:
            self._notebook.replace(body, sha256)
            self.counts.notebook_uploads += 1
            self.counts.notebook_bytes += status.st_size
        self._seen = identity
        if not changed:
            return _LOOK_EVERY_S
        now = self._clock.monotonic()
        return _pause(now - self._begun, status.st_size, now - begun)


def _pause(elapsed_s: float, size: int, spent_s: float) -> float:
    """Return the seconds between two uploads of a notebook; see the table above."""
    grown = min(elapsed_s / 4, _LONGEST_GROWN_S)
    return max(_NOTEBOOK_AFTER_S, grown, size / _BYTES_PER_S, spent_s / _SHARE)


class _Copy:
    """An object in the store that only we replace, and only where it is still ours.

    `sha256` is of what it surely holds. After an error it may hold that, or what was sent since.
    """

    def __init__(self, store: Store, key: str, *, pauses_s: Sequence[float]) -> None:
        self._store = store
        self._key = key
        self._pauses_s = pauses_s
        self._etag: str | None = None
        self._unsure: set[str] = set()
        self.sha256 = ""
        self.is_anothers = False
        self.failures_in_a_row = 0

    def pause_after_failure(self) -> float:
        """Count a failure, and return the seconds until another try is worth it."""
        self.failures_in_a_row += 1
        return self._pauses_s[min(self.failures_in_a_row, len(self._pauses_s)) - 1]

    @property
    def may_exist(self) -> bool:
        """Whether anything of ours is there, or may be."""
        return bool(self.sha256 or self._unsure)

    def replace(self, data: BinaryIO, sha256: str) -> None:
        """Replace the object; raises StoreConflict if it was not what we last saw."""
        self._unsure.add(sha256)
        try:
            self._etag = self._write(data)
        except StoreConflict:
            self._etag, found = self._look()
            self.is_anothers = found not in {*self._unsure, self.sha256}
            self.sha256 = found
            if found != sha256:
                raise
        self.sha256 = sha256
        self._unsure.clear()

    def _write(self, data: BinaryIO) -> str:
        data.seek(0)
        return self._store.write_if(self._key, data, etag=self._etag)

    def _look(self) -> tuple[str | None, str]:
        """Read what is there: etag and hash; where a reply was lost, it is what we sent."""
        blob = self._store.read(self._key)
        return (blob.etag, hashlib.sha256(blob.data).hexdigest()) if blob else (None, "")


class _ReleasedError(Exception):
    """The upload was broken off, since the final notebook comes next."""


class _Body(io.FileIO):
    """The notebook's file, whose end is never reached once the mirror has released it."""

    def __init__(self, path: Path, released: threading.Event) -> None:
        super().__init__(path)
        self._released = released

    def read(self, size: int | None = -1, /) -> bytes:
        if self._released.is_set():
            raise _ReleasedError
        return super().read(-1 if size is None else size)
