"""SIGTERM and SIGINT handed to one function for a while; what stood there before comes back.

Apart from the rooms because both ends of a run need it: the launcher and the step it launches.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(handle: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `handle` for each SIGTERM and SIGINT inside the block; main thread only."""

    def take(number: int, _frame: object) -> None:
        handle(signal.Signals(number))

    before = {number: signal.signal(number, take) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
