"""One connection to a client: what is idle costs little, and never keeps anybody else out.

uvicorn counts every open connection, and waits for ever for a first request. Here a request has to
arrive whole within some seconds, an answer has to be taken, and where there are too many
connections the one that has been idle for the longest makes room.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0
"""How long a request may take to arrive, from its connection or its first byte on."""

STALLED_S = 60.0
"""How long nothing of an answer may be taken."""

_MANY = 0.9  # of the connections there may be: above it the idle make room


class Connection(H11Protocol):
    """A connection that is closed where its client says nothing, or takes nothing."""

    _request_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, so long; where there are too many who wait, no longer."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._expect_request()
        if len(self.connections) > _MANY * (self.limit_concurrency or len(self.connections)):
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request: the time for all of it began with the first of them."""
        if self.is_idle:
            self._expect_request()
        super().data_received(data)
        if not self.is_idle:
            self._request_timer = _stop(self._request_timer)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.idle_since = self.loop.time()
        super().on_response_complete()
        if self.is_idle and self.conn.trailing_data[0]:  # the next one came in part meanwhile
            self._expect_request()

    def pause_writing(self) -> None:
        """Have it closed where the client takes nothing of what was sent."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Send more: what was sent has been taken."""
        self._answer_timer = _stop(self._answer_timer)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget about it."""
        self._request_timer = _stop(self._request_timer)
        self._answer_timer = _stop(self._answer_timer)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no whole request is there that waits for its answer."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _make_room(self) -> None:
        idle = [one for one in self.connections if isinstance(one, Connection) and one.is_idle]
        oldest = min(idle, key=lambda one: one.idle_since)  # this one, if there is no other
        if oldest is not self:
            self.connections.discard(oldest)  # it is counted until the loop has closed it
            oldest.transport.abort()

    def _expect_request(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        self._request_timer = None
        if self.is_idle:  # else the request has come, and this was not stopped
            self.transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
