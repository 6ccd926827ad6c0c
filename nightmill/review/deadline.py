"""How long a page may take to begin: a store that is silent must not hold everything up.

The thread in which a page waits for the store cannot be ended from outside. It ends with the time-
outs of the store's client, and until then it keeps its place: there are so many, and no more. What
needs no store needs no place. Once an answer flows it is not cut off.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nightmill.review.access import SIGN_IN
from nightmill.review.app import HEADERS
from nightmill.review.html import Trouble, show_error
from nightmill.review.links import Links
from nightmill.review.visit import base_of, is_for_programs, route_of

PLACES = 64
"""How many pages are made at once, those included that are not waited for any more."""

_FREE = ("/static/", f"/{SIGN_IN}")
_FETCHED = "/download/"  # a whole file comes from the store before anything is sent


@dataclass(frozen=True)
class Patience:
    """How many seconds may pass before an answer begins.

    The store's client should have given up by then (see `S3Store`): its error says more.
    """

    page_s: float = 15.0
    action_s: float = 60.0
    file_s: float = 300.0


class Deadline:
    """Answers with an error in place of a page that does not begin in time."""

    def __init__(self, app: ASGIApp, patience: Patience, *, places: int = PLACES) -> None:
        self._app = app
        self._patience = patience
        self._places = asyncio.Semaphore(places)
        self._left: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or route_of(Request(scope)).startswith(_FREE):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        page = _Page(self._places, send)
        task = asyncio.create_task(page.make(self._app, scope, receive))
        began = asyncio.create_task(page.began.wait())
        try:
            limit = self._limit(request)
            await asyncio.wait({task, began}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if task.done() or page.began.is_set():
                await task
                return
            page.give_up()
            self._left.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._over)
            await _too_late(request, limit)(scope, receive, send)
        finally:
            began.cancel()

    def _limit(self, request: Request) -> float:
        if request.method == "POST":
            return self._patience.action_s
        is_fetched = route_of(request).startswith(_FETCHED)
        return self._patience.file_s if is_fetched else self._patience.page_s

    def _over(self, task: asyncio.Task[None]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is there to be told


class _Page:
    """One page that is being made, in a place that is free again when it begins or has ended."""

    def __init__(self, places: asyncio.Semaphore, send: Send) -> None:
        self.began = asyncio.Event()
        self._places = places
        self._send = send
        self._holds_place = False
        self._scope = anyio.CancelScope()

    async def make(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Wait for a place, and make the page."""
        with self._scope:  # of anyio: its threads know that they are still at work
            await self._places.acquire()
            self._holds_place = True
            try:
                await app(scope, receive, self._told)
            finally:
                self._leave_place()

    def give_up(self) -> None:
        """Send nothing of it any more, and end it as soon as it comes back from the store."""
        self._scope.cancel()

    async def _told(self, message: Message) -> None:
        if self._scope.cancel_called:
            return
        self.began.set()
        self._leave_place()
        await self._send(message)

    def _leave_place(self) -> None:
        if self._holds_place:
            self._holds_place = False
            self._places.release()


def _too_late(request: Request, limit: float) -> Response:
    text = f"What this page needs from the store has not come within {limit:g} seconds."
    if request.method == "POST":
        text = f"The store has not answered within {limit:g} seconds; this may still be done."
    advice = (
        "see that the store's endpoint, or its file system, answers the machine that serves these "
        "pages; then load the page again"
    )
    trouble = Trouble(504, "The store does not answer", text, advice)
    if is_for_programs(request):
        return JSONResponse({"error": asdict(trouble)}, trouble.code, HEADERS)
    page = show_error(Links(base_of(request)), trouble)
    return Response(page, trouble.code, HEADERS, "text/html")
