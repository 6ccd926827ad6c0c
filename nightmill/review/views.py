"""The kinds of addresses, and what is common to all of one kind.

A `View` is a page and, below /api, the same facts as JSON. An `Action` changes something, and only
for a form that a page of ours was shown with. A `Document` answers with bytes of its own: notebooks
and their parts, downloads. Whoever asks is let in by `visit.enter` first, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from nightmill.review.html import show
from nightmill.review.links import Links
from nightmill.review.signing import is_form_proof, is_signed
from nightmill.review.site import Site
from nightmill.review.visit import API, SESSION, Visit, base_of, enter, session_of

RUN = "{pipeline:part}/{partition:part}/{run:part}"
ATTEMPT = f"{RUN}/{{step:part}}/{{attempt:int}}"
ATTEMPT_OF_MEMBER = f"{RUN}/{{step:part}}/{{member:part}}/{{attempt:int}}"

_FORM_BYTES = 64 << 10
_TRUSTED_SITES = (None, "same-origin", "none")
"""Values of Sec-Fetch-Site with which a form may come: old browsers send none."""


@dataclass(frozen=True)
class View:
    """A page: its address, its template, and the facts it shows."""

    path: str
    template: str
    build: Callable[[Visit], BaseModel]

    def routes(self, site: Site) -> Iterator[Route]:
        """Return the routes of the page and of its facts as JSON."""

        async def page(request: Request) -> Response:
            visit = await enter(request, site)
            text = await run_in_threadpool(lambda: show(self.template, visit, self.build(visit)))
            return with_session(Response(text, media_type="text/html"), request, visit)

        async def facts(request: Request) -> Response:
            visit = await enter(request, site)
            model = await run_in_threadpool(self.build, visit)
            return JSONResponse(model.model_dump(mode="json"))

        for path in addresses(self.path):
            yield Route(path, page)
            yield Route(f"{API}{path}", facts)


@dataclass(frozen=True)
class Action:
    """Something that a form does; `act` returns the address to see the outcome at."""

    path: str
    act: Callable[[Visit, Mapping[str, str]], str]

    def routes(self, site: Site) -> Iterator[Route]:
        """Return the routes for forms, and for programs below /api."""

        async def act(request: Request) -> Response:
            visit, form = await self._admitted(request, site)
            place = await run_in_threadpool(self.act, visit, form)
            if request.url.path.startswith(f"{base_of(request)}{API}/"):
                return JSONResponse({"done": True, "address": place})
            return RedirectResponse(place, status_code=303)

        for path in addresses(self.path):
            yield Route(path, act, methods=["POST"])
            yield Route(f"{API}{path}", act, methods=["POST"])

    async def _admitted(self, request: Request, site: Site) -> tuple[Visit, Mapping[str, str]]:
        visit = await enter(request, site)
        if not visit.may_act(visit.name("pipeline")):
            raise HTTPException(403, "You may see this, but not decide or write about it.")
        form = await read_form(request)
        if visit.user.has_session:
            _refuse_foreign_form(request, site, visit, form)
        return visit, form


@dataclass(frozen=True)
class Document:
    """Bytes with headers of their own."""

    path: str
    respond: Callable[[Visit], Response]

    def routes(self, site: Site) -> Iterator[Route]:
        """Return its routes."""

        async def respond(request: Request) -> Response:
            return await run_in_threadpool(self.respond, await enter(request, site))

        for path in addresses(self.path):
            yield Route(path, respond)


@dataclass(frozen=True)
class Part:
    """Bytes that the opaque document of a notebook loads: its address alone is the permission."""

    path: str
    respond: Callable[[Site, Mapping[str, str]], Response]

    def routes(self, site: Site) -> Iterator[Route]:
        """Return its routes."""

        async def respond(request: Request) -> Response:
            path = request.url.path.removeprefix(base_of(request))
            if not is_signed(site.secret, path, request.url.query):
                raise HTTPException(403, "This address is not valid, or no longer: open the page.")
            names = {name: str(value) for name, value in request.path_params.items()}
            return await run_in_threadpool(self.respond, site, names)

        for path in addresses(self.path):
            yield Route(path, respond)


def addresses(path: str) -> Iterator[str]:
    """Return a path, and the one with a member where it names an attempt."""
    yield path
    if ATTEMPT in path:
        yield path.replace(ATTEMPT, ATTEMPT_OF_MEMBER)


async def read_form(request: Request) -> Mapping[str, str]:
    """Read the fields of a form, or of a JSON object; raises HTTPException where it is too long."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _FORM_BYTES:
        raise HTTPException(413, "The form is too long.")
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = await request.json()
        except ValueError as error:
            raise HTTPException(400, "The body is no JSON.") from error
        pairs = found.items() if isinstance(found, dict) else ()
        return {str(name): value for name, value in pairs if isinstance(value, str)}
    async with request.form(max_files=0, max_fields=50) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def with_session(response: Response, request: Request, visit: Visit) -> Response:
    """Give the browser its session, which forms are bound to, where it has none."""
    if session_of(request) != visit.session:
        response.set_cookie(
            SESSION,
            visit.session,
            path=Links(base_of(request)).base or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return response


def _refuse_foreign_form(
    request: Request, site: Site, visit: Visit, form: Mapping[str, str]
) -> None:
    """Let no other site act through the browser of somebody who is signed in here."""
    is_ours = request.headers.get("sec-fetch-site") in _TRUSTED_SITES and is_form_proof(
        site.secret, session_of(request), visit.user.name, form.get("proof", "")
    )
    if not is_ours:
        raise HTTPException(403, "This form is too old, or another site made it: open its page.")
