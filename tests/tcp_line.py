"""A line to a real server for tests and benchmarks: it passes on, counts, and can go dead."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_HEAD = re.compile(rb"([A-Z]+ /\S*) HTTP/1\.1\r\n")


@dataclass
class Line:
    """The line's own endpoint, what clients sent through it, and whether it passes on at all.

    `heads` are the first lines of requests: method and path.
    """

    endpoint: str
    heads: list[str] = field(default_factory=list)
    bytes: int = 0
    dead: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        """How many requests clients sent."""
        return len(self.heads)

    def send(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what a client says; it writes the head of a request in one piece."""
        for data in self._pass_on(source, target):
            with self._lock:
                self.heads += [one.decode() for one in _HEAD.findall(data)]
                self.bytes += len(data)

    def answer(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on what the server says."""
        for _data in self._pass_on(source, target):
            pass

    def _pass_on(self, source: socket.socket, target: socket.socket) -> Iterator[bytes]:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                yield data
                if self.dead.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def line_to(endpoint: str) -> Iterator[Line]:
    """Open a line to a server of plain HTTP; all of its connections are closed at the end."""
    host, port = endpoint.removeprefix("http://").split(":")
    ends: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _address = listener.accept()
                server = socket.create_connection((host, int(port)))
                ends.extend((client, server))
                for pump, pair in ((line.send, (client, server)), (line.answer, (server, client))):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=serve, daemon=True).start()
        yield line
    for each in ends:
        each.close()
