"""Signing in with a token, where the pages are bound to more than loopback."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from nightmill.review.access import COOKIE, TokenAccess
from nightmill.review.html import environment
from nightmill.review.links import Links
from nightmill.review.site import Site
from nightmill.review.views import read_form
from nightmill.review.visit import base_of

PATH = "/sign-in"


def sign_in_routes(site: Site) -> Iterator[Route]:
    """Return the route of the form, where there is a token to be asked for."""
    access = site.access
    if not isinstance(access, TokenAccess):
        return

    async def sign_in(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else request.query_params
        links, given = Links(base_of(request)), form.get("token")
        if given is None:
            page = environment().get_template("signin.html")
            text = page.render(links=links, user=None, store="")
            return Response(text, media_type="text/html")
        if not access.is_token(given.strip()):
            raise HTTPException(401, "This is not the token that the command printed.")
        answer = RedirectResponse(links.home, status_code=303)
        answer.set_cookie(
            COOKIE,
            access.cookie,
            path=links.base or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # a shared link opens; forms have a proof of their own
        )
        return answer

    yield Route(PATH, sign_in, methods=["GET", "POST"])
