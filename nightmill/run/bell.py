"""A bell that other threads ring, for a loop that sleeps in a selector."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Bell:
    """Wakes whoever selects on `heard`; rung after its end it is silent."""

    def __init__(self) -> None:
        self.heard, self._rope = socket.socketpair()
        self.heard.settimeout(0)
        self._rope.settimeout(0)
        self._lock = threading.Lock()  # a socket's number may be another file's once it is closed

    def close(self) -> None:
        """End it."""
        with self._lock:
            self.heard.close()
            self._rope.close()

    def ring(self) -> None:
        """Wake the loop, from any thread; never waits."""
        with self._lock, suppress(OSError):  # full: it rings already; closed: nobody listens
            self._rope.send(b"\0")

    def quiet(self) -> None:
        """Stop its ringing, before what it rang for is looked at."""
        with suppress(BlockingIOError):
            self.heard.recv(1 << 16)
