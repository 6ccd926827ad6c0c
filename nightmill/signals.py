"""Signals: SIGTERM and SIGINT handed to one function for a while, and the name of any of them.

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


def signal_name(number: int) -> str:
    """Name a signal as people know it; a real-time signal has a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
