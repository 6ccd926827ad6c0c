"""One request after it was let in: who asks for what, and what a page needs to answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request

from nightmill.review.access import User
from nightmill.review.links import RUN_PARTS, RUNS, Links
from nightmill.review.signing import form_proof
from nightmill.review.site import Site
from nightmill.store.keys import decode, encode

API = "/api"

_ATTEMPT_PARTS = (*RUN_PARTS, "step", "member", "attempt")
_QUERY_CHARACTERS = 500
_MAX_PART = 200  # as `keys.encode` has it


class _Part(Convertor[str]):
    """A name as `keys.encode` writes it: no slash, no percent sign, no leading dot.

    Written in any other way it becomes empty, and is not let in: else who may see a name and where
    it is read could be told by different ones.
    """

    regex = r"[A-Za-z0-9_=~-][A-Za-z0-9_=.~-]*"

    def convert(self, value: str) -> str:
        is_shortened = "~~" in value  # then its hash cannot be made from what is left of the name
        is_right = len(value) <= _MAX_PART and (is_shortened or encode(decode(value)) == value)
        return value if is_right else ""

    def to_string(self, value: str) -> str:
        return value


class _Plain(Convertor[str]):
    """A name as others write it into an address: whatever it holds, it becomes a part of a key."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return encode(value)

    def to_string(self, value: str) -> str:
        return decode(value)


class _Count(Convertor[int]):
    """A number from 1 on, in its one way of writing."""

    regex = "[1-9][0-9]{0,8}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


class _Place(_Count):
    """A number from 0 on: Python refuses to read one of thousands of digits."""

    regex = "[0-9]{1,9}"


register_url_convertor("part", _Part())
register_url_convertor("plain", _Plain())
register_url_convertor("count", _Count())
register_url_convertor("place", _Place())


@dataclass(frozen=True)
class Visit:
    """A request that may be answered. `parts` are the names of its address as they are in keys."""

    site: Site
    user: User
    links: Links
    parts: Mapping[str, str]
    given: Mapping[str, str]
    session: str
    path: str
    is_for_programs: bool = False

    def name(self, part: str) -> str:
        """Return a name of the address: `pipeline`, `step`, ...; empty where it has none."""
        return decode(self.parts[part]) if part in self.parts else ""

    def query(self, name: str, default: str = "") -> str:
        """Return what the query says, cut to 500 characters."""
        return self.given.get(name, default)[:_QUERY_CHARACTERS]

    @property
    def prefix(self) -> str:
        """The prefix in the store that the address names: of a run, or of an attempt."""
        return prefix_in(self.parts)

    @property
    def proof(self) -> str:
        """What a form of this page must hold."""
        return form_proof(self.site.secret, self.session, self.user.name)

    @property
    def address(self) -> str:
        """The address of this very page, with its query."""
        return self.links.base + self.path

    def may_read(self, pipeline: str) -> bool:
        """Say whether whoever asks may see a pipeline."""
        return self.site.access.may_read(self.user, pipeline)

    def may_act(self, pipeline: str) -> bool:
        """Say whether whoever asks may decide and write about a pipeline."""
        return self.site.access.may_act(self.user, pipeline)

    def pipelines(self) -> list[str]:
        """Name the pipelines that have run and that whoever asks may see."""
        return [one for one in self.site.index.pipelines() if self.may_read(one)]

    def unindexed(self) -> list[str]:
        """Name those that have run while the index knows nothing of it; raises StoreError."""
        return [one for one in self.site.index.unindexed_pipelines() if self.may_read(one)]


def prefix_in(parts: Mapping[str, str]) -> str:
    """Return the prefix that the names of an address make, which are as they are in keys."""
    return "/".join([RUNS, *(parts[one] for one in _ATTEMPT_PARTS if one in parts)])


async def enter(request: Request, site: Site) -> Visit:
    """Let a request in; raises HTTPException 401 for nobody, 403 for the wrong somebody.

    What exists is not told to who may not see it: nothing is read before this.
    """
    user = await site.access.user(request)
    if user is None:
        raise HTTPException(401)
    visit = Visit(
        site=site,
        user=user,
        links=Links(base_of(request)),
        parts={name: str(value) for name, value in request.path_params.items()},
        given=dict(request.query_params),
        session=session_of(request, site) or secrets.token_urlsafe(24),
        path=path_of(request),
        is_for_programs=is_for_programs(request),
    )
    if "" in visit.parts.values():
        raise HTTPException(404)
    if "pipeline" in visit.parts and not await run_in_threadpool(
        visit.may_read,
        visit.name("pipeline"),  # it may ask a database
    ):
        raise HTTPException(403)
    return visit


def base_of(request: Request) -> str:
    """Return the path that the application is mounted at."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def route_of(request: Request) -> str:
    """Return the path below that, by which the request found its route.

    Never from `request.url`: in that the header Host has a part.
    """
    return str(request.scope["path"]).removeprefix(base_of(request))


def query_of(request: Request) -> str:
    """Return the query as it was sent."""
    return bytes(request.scope.get("query_string", b"")).decode("latin-1")


def is_for_programs(request: Request) -> bool:
    """Tell whether JSON is asked for."""
    return route_of(request).startswith(f"{API}/")


def path_of(request: Request) -> str:
    """Return path and query of the page, as an address has them, also where JSON is asked for."""
    path, query = route_of(request), query_of(request)
    page = quote(path.removeprefix(API) if is_for_programs(request) else path, safe="/~=")
    return f"{page}?{query}" if query else page


def session_of(request: Request, site: Site) -> str:
    """Return the session's cookie if it can be one of ours."""
    found = request.cookies.get(site.session_cookie, "")
    return found if re.fullmatch(r"[A-Za-z0-9_-]{32}", found) else ""
