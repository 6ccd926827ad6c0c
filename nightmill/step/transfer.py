"""How far a large upload or download has come, told as events: ten of them, whatever its size.

Small ones are over before anybody could read of them, and are not told at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

Listener = Callable[[Mapping[str, Any]], None]

LARGE_BYTES = 32 << 20
_STEPS = 10


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
