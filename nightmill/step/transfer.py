"""The files of an output or input on their way, and how far a large one has come.

That is told as events: ten of them, whatever its size. Small ones are over before anybody could
read of them, and are not told at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from nightmill.store.parallel import in_parallel

Listener = Callable[[Mapping[str, Any]], None]

LARGE_BYTES = 32 << 20
_STEPS = 10
_SMALL_FILE_BYTES = 4 << 20  # S3's client holds such a file whole in memory: 64 MiB in 16 threads

_File = TypeVar("_File")
_Moved = TypeVar("_Moved")


def move_each(
    move: Callable[[_File], _Moved], files: Sequence[_File], *, size: Callable[[_File], int]
) -> list[_Moved]:
    """Move files by a call for each; return what the calls returned, in the order of the files.

    Small ones go in parallel, since each of them mostly waits for the store. Larger ones follow one
    after another: a store moves the parts of each in parallel. The first error, in the order of
    the files, is raised, and what has not begun by then does not begin.
    """
    small = [number for number, file in enumerate(files) if size(file) <= _SMALL_FILE_BYTES]
    moved = dict(zip(small, in_parallel(lambda one: move(files[one]), small), strict=True))
    return [moved[at] if at in moved else move(file) for at, file in enumerate(files)]


class Transfer:
    """Counts the bytes of one output or input on their way, and tells the listener now and then.

    Called with how many more bytes were moved, from any thread. Every event holds `done` and `of`,
    both in bytes, and under the name of what is moved its name in pipeline.yaml.
    """

    def __init__(
        self,
        kind: Literal["upload", "download"],
        name: str,
        *,
        of: int,
        listener: Listener,
    ) -> None:
        self._event = {"event": kind, "output" if kind == "upload" else "input": name, "of": of}
        self._of = of
        self._listener = listener
        self._done = self._told = 0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """Take notice of bytes that were moved, or are to be moved again."""
        if self._of < LARGE_BYTES:
            return
        with self._lock:
            self._done += count
            step = self._done * _STEPS // self._of
            if step > self._told:
                self._told = step
                self._listener({**self._event, "done": self._done})
