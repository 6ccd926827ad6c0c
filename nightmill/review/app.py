"""The application: all routes, what every answer carries, and what a reader sees of an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nightmill.errors import NightmillError, StoreError, UsageError
from nightmill.review.access import UnnamedError
from nightmill.review.html import STATIC, Trouble, show_error
from nightmill.review.links import Links
from nightmill.review.pages import PAGES
from nightmill.review.refused import page_of_form, with_way_back
from nightmill.review.signin import sign_in_routes
from nightmill.review.site import Site
from nightmill.review.visit import base_of, is_for_programs, path_of, query_of, route_of

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
"""What every answer carries that does not say otherwise itself."""

_HOST = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::\d{1,5})?", re.ASCII)

_TITLES = {
    400: ("This cannot be shown", "The address has a part that means nothing here."),
    401: ("Please sign in", "These pages are for people who are signed in."),
    403: ("Not for you", "You have no permission to see this pipeline."),
    404: ("Nothing here", "There is no page at this address."),
    405: ("Not like this", "This address is to be looked at, and takes no form."),
}
_OLD = "This page is too old"
_UNNAMED = "Nobody can be signed in"
_SAYS_OLD = ("This form is too old", "This address is not valid, or no longer")  # see `views`
_FOR_FORMS = "This address is for the form of a page."
_TITLE_CHARACTERS = 100


def make_app(site: Site) -> Starlette:
    """Make the application that serves a site, at whatever path it is mounted."""
    app = Starlette(
        routes=list(_routes(site)),
        exception_handlers={
            HTTPException: _http_error,
            NightmillError: _nightmill_error,
            Exception: _bug,
        },
    )
    app.router.redirect_slashes = False  # it would redirect to the host that the request names
    app.state.site = site
    app.add_middleware(Guarded, hosts=site.hosts)
    return app


def _routes(site: Site) -> Iterator[BaseRoute]:
    yield Mount("/static", StaticFiles(directory=STATIC))
    yield from sign_in_routes(site)
    for one in PAGES:
        yield from one.routes(site)


class Guarded:
    """Refuses requests for other hosts, and adds the headers that every answer carries.

    The names matter where nobody signs in: else a page elsewhere, whose name somebody points to
    loopback, would be let in by the browser.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        if self._hosts and host_of(request) not in self._hosts:
            text = f"These pages answer to {', '.join(sorted(self._hosts))} only."
            advice = "start them with --allow-host NAME"
            answer = await _answer(request, Trouble(421, "Wrong name", text, advice))
            await answer(scope, receive, guarded)
            return
        if base_of(request) and not route_of(request):  # the base itself: only a slash is missing
            query = query_of(request)
            place = Links(base_of(request)).home + (f"?{query}" if query else "")
            await RedirectResponse(place, 308)(scope, receive, guarded)
            return
        if place := _without_slash(request):
            await RedirectResponse(place, 308)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _without_slash(request: Request) -> str:
    """Return the address that was meant, where a page's has a slash at its end; else nothing.

    It is a path of a route of ours: no host can be in it.
    """
    path = route_of(request)
    if request.method not in ("GET", "HEAD") or not path.endswith("/") or path.endswith("//"):
        return ""
    meant = {**request.scope, "path": request.scope["path"][:-1]}
    routes = (one for one in request.app.routes if isinstance(one, Route))
    if not any(one.matches(meant)[0] is Match.FULL for one in routes):
        return ""
    query = query_of(request)
    return base_of(request) + quote(path[:-1], safe="/~=") + (f"?{query}" if query else "")


def host_of(request: Request) -> str:
    """Return the host that a request names, without its port; empty for none, or for no name."""
    given = request.headers.getlist("host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    return (found["name"] or found["ipv6"]).lower() if found else ""


class Based:
    """Serves an application below a path, whether the proxy in front takes that away or not."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app = app
        self._base = base.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            if path != self._base and not path.startswith(f"{self._base}/"):
                path = self._base + path
            scope = {**scope, "path": path, "root_path": self._base}
        await self._app(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    """Say what was refused; only nobody is led to where they sign in."""
    found = error if isinstance(error, HTTPException) else HTTPException(500)
    code, detail, headers = found.status_code, found.detail, dict(found.headers or {})
    title, text = _TITLES.get(code, ("This did not work", "The request was refused."))
    if code == 405:  # noqa: PLR2004 - the code of HTTP
        allowed = headers.setdefault("Allow", "GET, HEAD")
        text = _FOR_FORMS if "POST" in allowed and "GET" not in allowed else text
    if detail.startswith(_SAYS_OLD):
        title = _OLD
    if detail not in ("", "Not Found", "Unauthorized", "Forbidden", "Method Not Allowed"):
        text = detail
    trouble = Trouble(code, title, text, sign_in=_sign_in(request) if code == 401 else None)  # noqa: PLR2004
    if isinstance(found, UnnamedError):
        trouble = replace(trouble, title=_UNNAMED, advice=found.advice)
    answer = await _answer(request, trouble)
    answer.headers.update(headers)
    return answer


def _sign_in(request: Request) -> str | None:
    """Name where to sign in, to come back to the page; a form's address is none to come back to."""
    links, page = Links(base_of(request)), path_of(request)
    if request.method == "POST":
        form, _, _ = page_of_form(request).partition("#")
        page = form.removeprefix(links.base) or "/"
    found: str | None = request.app.state.site.access.sign_in(links, page)
    return found


async def _nightmill_error(request: Request, error: Exception) -> Response:
    found = error if isinstance(error, NightmillError) else NightmillError(str(error))
    text = f"{found.where}: {found.problem}" if found.where else found.problem
    if isinstance(found, StoreError):
        title = "The store has not given what this page needs"
        return await _answer(request, Trouble(502, title, text, found.advice))
    if request.method == "POST":
        return await _answer(request, _not_done(request, found, text))
    code = 404 if isinstance(found, UsageError) else 409
    return await _answer(request, Trouble(code, "This cannot be shown", text, found.advice))


def _not_done(request: Request, error: NightmillError, text: str) -> Trouble:
    """Say what is the matter with a form: to people in the title, where that is short."""
    problem, title = error.problem, "This was not done"
    is_short = 0 < len(problem) <= _TITLE_CHARACTERS and problem.isprintable()
    if is_short and not is_for_programs(request):
        where = f" ({error.where})" if error.where else ""
        title, text = problem[0].upper() + problem[1:], f"{title}{where}."
    return Trouble(409, title, text, error.advice)


async def _bug(request: Request, error: Exception) -> Response:
    text = f"A bug in Nightmill: {type(error).__name__}. The log of the server has the traceback."
    return await _answer(request, Trouble(500, "This page failed", text, "please report it"))


async def _answer(request: Request, trouble: Trouble) -> Response:
    if is_for_programs(request):
        return JSONResponse({"error": asdict(trouble)}, trouble.code, HEADERS)
    page = show_error(Links(base_of(request)), await with_way_back(request, trouble))
    return Response(page, trouble.code, HEADERS, "text/html")  # a bug is told outside `Guarded`
