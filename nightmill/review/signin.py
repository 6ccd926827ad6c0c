"""Signing in with a token, where the pages are bound to more than loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nightmill.review.access import SIGN_IN, TokenAccess
from nightmill.review.html import environment
from nightmill.review.links import Links
from nightmill.review.site import Site
from nightmill.review.views import read_form
from nightmill.review.visit import base_of

_PAGE = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}")  # a path of ours: no host can be in it


def sign_in_routes(site: Site) -> Iterator[Route]:
    """Return the route of the form, where there is a token to be asked for."""
    access = site.access
    if not isinstance(access, TokenAccess):
        return

    async def sign_in(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else request.query_params
        links, given = Links(base_of(request)), form.get("token")
        found = _PAGE.fullmatch(form.get("next", ""))
        page = found[0] if found else "/"
        if given is None or not access.is_token(given.strip()):
            template = environment().get_template("signin.html")
            is_wrong = given is not None
            text = template.render(links=links, user=None, store="", page=page, is_wrong=is_wrong)
            return Response(text, 401 if is_wrong else 200, media_type="text/html")
        answer = RedirectResponse(links.base + page, status_code=303)
        answer.set_cookie(
            access.cookie_name,
            access.cookie,
            path=links.base or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # a shared link opens; forms have a proof of their own
        )
        return answer

    yield Route(f"/{SIGN_IN}", sign_in, methods=["GET", "POST"])
