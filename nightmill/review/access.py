"""Who asks, and what they may see: the three ways of use differ in this and in nothing else.

On loopback whoever can reach the port is the one who started it. Bound elsewhere, a token is asked
for. Behind a proxy that signs people in, its header names them. In Airflow its own auth manager
decides, pipeline by pipeline (see `nightmill.airflow.pages`).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request

from nightmill.review.links import Links
from nightmill.review.signing import mark_of
from nightmill.spec.words import one_line, shortened

SIGN_IN = "sign-in"

_NAME_CHARACTERS = 200
_SCHEME = "bearer "
_ASK_FOR_PROOF = (
    "open the proxy's address; if you did, ask whoever runs the proxy to send the token of "
    "`nightmill review` as `Authorization: Bearer`"
)
_ASK_FOR_NAME = (
    "open the proxy's address; if you did, ask whoever runs the proxy to set this header once, "
    "in place of what a browser sends, or to start `nightmill review` with another --user-header"
)


@dataclass(frozen=True)
class User:
    """Whoever asks. Without a `name` they are asked for one where it matters.

    `has_session` tells that a cookie signed them in, or nothing had to: then another site could
    have made their browser ask, and actions need proof that it did not.
    """

    name: str = ""
    has_session: bool = True


class UnnamedError(HTTPException):
    """Nobody is let in, since the proxy in front has not said who asks; only others can mend it."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(401, problem)
        self.advice = advice


class Access(Protocol):
    """Decides who may see and do what; `user` is awaited, as Airflow looks it up so."""

    async def user(self, request: Request) -> User | None:
        """Return who asks; None for nobody that is known. May raise HTTPException 401 itself."""

    def may_read(self, user: User, pipeline: str) -> bool:
        """Say whether this user may see a pipeline's runs."""

    def may_act(self, user: User, pipeline: str) -> bool:
        """Say whether this user may decide about a pipeline's outputs, and write notes."""

    def sign_in(self, links: Links, page: str) -> str | None:
        """Return where nobody becomes somebody, to come back to a page; None for nowhere of ours.

        `page` is a path below the base of `links`.
        """


class _Everything:
    """Lets everyone who is known see and do everything."""

    def may_read(self, user: User, pipeline: str) -> bool:
        """Say yes."""
        del user, pipeline
        return True

    may_act = may_read

    def sign_in(self, links: Links, page: str) -> str | None:
        """Name no place."""
        del links, page
        return None


class OwnerAccess(_Everything):
    """Whoever reaches the port is its owner: for loopback."""

    def __init__(self, name: str) -> None:
        self._user = User(name)

    async def user(self, request: Request) -> User | None:
        """Return the owner."""
        del request
        return self._user


class TokenAccess(_Everything):
    """Asks for a token, once by the page and then by a cookie, or in the header Authorization."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def cookie_name(self) -> str:
        """The cookie's name: a browser keeps cookies by host, and other ports have other tokens."""
        return f"nightmill_token_{mark_of(self._token.encode())}"

    @property
    def cookie(self) -> str:
        """What the cookie holds: made from the token, which cannot be made from it."""
        return hmac.new(self._token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Compare in a time that tells nothing."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    async def user(self, request: Request) -> User | None:
        """Return somebody without a name who has the token."""
        if request.headers.get("authorization", "").lower().startswith(_SCHEME):
            return User(has_session=False) if self.is_in_header(request) else None
        given = request.cookies.get(self.cookie_name, "")
        return User() if hmac.compare_digest(given.encode(), self.cookie.encode()) else None

    def is_in_header(self, request: Request) -> bool:
        """Tell whether the header Authorization has the token."""
        header = request.headers.get("authorization", "")
        return header.lower().startswith(_SCHEME) and self.is_token(header[len(_SCHEME) :])

    def sign_in(self, links: Links, page: str) -> str | None:
        """Return the address of the form that asks for the token."""
        return links.page(SIGN_IN, next=page)


class HeaderAccess(_Everything):
    """Takes the name from a header that a proxy in front sets.

    With a token the proxy must send that as well, since others can reach us: `Authorization: Bearer
    TOKEN`. Without one we trust whoever reaches the port.
    """

    def __init__(self, header: str, token: TokenAccess | None = None) -> None:
        self._header = header
        self._token = token

    async def user(self, request: Request) -> User | None:
        """Return whom the proxy names; raises UnnamedError where it names nobody, or several."""
        if self._token is not None and not self._token.is_in_header(request):
            problem = "This request has not the token of the proxy that signs people in."
            raise UnnamedError(problem, _ASK_FOR_PROOF)
        given = request.headers.getlist(self._header)
        name = shortened(one_line(_decoded(given[0])), _NAME_CHARACTERS) if len(given) == 1 else ""
        if not name:
            sent = {0: "is missing", 1: "is empty"}.get(len(given), f"was sent {len(given)} times")
            problem = (
                f"The header {self._header}, in which the proxy names who is signed in, {sent}."
            )
            raise UnnamedError(problem, _ASK_FOR_NAME)
        return User(name)


def _decoded(value: str) -> str:
    """Return the text of a header that was read as latin-1: most proxies write UTF-8."""
    data = value.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return value
