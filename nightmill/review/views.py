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
from nightmill.review.visit import (
    API,
    Visit,
    base_of,
    enter,
    is_for_programs,
    query_of,
    route_of,
    session_of,
)
from nightmill.spec.json_text import as_json
from nightmill.spec.remarks import TEXT_CHARACTERS

RUN = "{pipeline:part}/{partition:part}/{run:part}"
ATTEMPT = f"{RUN}/{{step:part}}/{{attempt:count}}"
ATTEMPT_OF_MEMBER = f"{RUN}/{{step:part}}/{{member:part}}/{{attempt:count}}"

_FORM_BYTES = 12 * TEXT_CHARACTERS + (16 << 10)
"""A text of any script as a form sends it, up to 12 bytes a character, and the other fields."""
_TOO_LONG = (
    f"The form is too long. Write at most {TEXT_CHARACTERS:,} characters, and put the rest "
    "behind a link: what you wrote is a step back in your browser."
)
_FORM_FIELDS = 50
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
            data = text.encode("utf-8", "replace")  # a record may hold halves of characters
            return with_session(Response(data, media_type="text/html"), request, visit)

        async def facts(request: Request) -> Response:
            visit = await enter(request, site)
            data = await run_in_threadpool(
                lambda: as_json(self.build(visit).model_dump(mode="json"))
            )
            return Response(data, media_type="application/json")

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
            if is_for_programs(request):
                return JSONResponse({"done": True, "address": place})
            return RedirectResponse(place, status_code=303)

        for path in addresses(self.path):
            yield Route(path, act, methods=["POST"])
            yield Route(f"{API}{path}", act, methods=["POST"])

    async def _admitted(self, request: Request, site: Site) -> tuple[Visit, Mapping[str, str]]:
        visit = await enter(request, site)
        if not await run_in_threadpool(visit.may_act, visit.name("pipeline")):
            raise HTTPException(403, "You may see this, but not decide or write about it.")
        form = await read_form(request)
        if not _is_ours(request, site, visit, form):
            text = "This form is too old, or another site made it: open its page again."
            raise HTTPException(403, text)
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
            if not is_signed(site.secret, route_of(request), query_of(request)):
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
    is_number = length.isascii() and length.isdigit() and len(length) <= len(str(_FORM_BYTES))
    if not is_number or int(length) > _FORM_BYTES:
        raise HTTPException(413, _TOO_LONG)
    if request.headers.get("content-type", "").startswith("application/json"):
        return await _read_json(request)
    async with request.form(max_files=0, max_fields=_FORM_FIELDS) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


async def _read_json(request: Request) -> Mapping[str, str]:
    try:
        found = await request.json()
        pairs = found.items() if isinstance(found, dict) else ()
        fields = {name: value for name, value in pairs if isinstance(value, str)}
        "".join([*fields, *fields.values()]).encode()  # half a character could not be written down
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "The body is no JSON.") from error
    return fields


def with_session(response: Response, request: Request, visit: Visit) -> Response:
    """Give the browser its session, which forms are bound to, where it has none."""
    if session_of(request, visit.site) != visit.session:
        response.set_cookie(
            visit.site.session_cookie,
            visit.session,
            path=Links(base_of(request)).base or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # a link in a mail must not make the forms of other tabs too old
        )
    return response


def _is_ours(request: Request, site: Site, visit: Visit, form: Mapping[str, str]) -> bool:
    """Let no other site act through the browser of somebody who is signed in here.

    Who signs in by a header alone needs no proof: a browser sends that for no other site.
    """
    if request.headers.get("sec-fetch-site") not in _TRUSTED_SITES:
        return False
    proof = form.get("proof", "")
    return not visit.user.has_session or is_form_proof(
        site.secret, session_of(request, site), visit.user.name, proof
    )
