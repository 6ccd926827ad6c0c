"""Serves the pages on a port of this machine, for as long as somebody wants them.

What is bound to loopback needs no sign-in: whoever reaches it is on this machine. Bound to more, a
token is asked for. A header that names the user is believed from a proxy on this machine, or with
the token: whoever else reached the port could write it as well. Where no token is asked for only
names of this machine are answered to, or a page elsewhere could point a name of its own to it, and
let the browser of somebody here ask anything.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread
import uvicorn

from nightmill.errors import NightmillError, UsageError
from nightmill.review.access import SIGN_IN, Access, HeaderAccess, OwnerAccess, TokenAccess
from nightmill.review.app import Based, make_app
from nightmill.review.connections import Connection
from nightmill.review.deadline import PLACES, Deadline, Patience
from nightmill.review.signing import derived
from nightmill.review.site import Site
from nightmill.spec.problems import shown
from nightmill.store.interface import Store

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN = 16
SHARED_VARIABLE = "NIGHTMILL_REVIEW_SECRET"

_HEAD_BYTES = 32 << 10
_CONNECTIONS = 200
_IDLE_S = 15
_STOP_S = 3
_BASE = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class Listening:
    """Where and to whom the pages are served; `port` 0 takes a free one.

    `base_path` is what a proxy in front has put before our addresses, `user_header` the header in
    which it names the user. `allowed_hosts` are names to answer to, beside those of this machine.
    Servers behind one address share `secret`, or the token, to know each other's forms.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    base_path: str = ""
    token: str | None = None
    user_header: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)

    @property
    def signing_secret(self) -> bytes | None:
        """What forms and addresses are signed with; None for one that is made at the start."""
        given = self.secret or self.token
        return derived(given) if given else None

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can reach it."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host.lower() == "localhost"


@dataclass(frozen=True)
class Guard:
    """Who is let in, the names that are answered to, and the page that one begins with."""

    access: Access
    hosts: frozenset[str]
    first_page: str


def guard(listening: Listening, owner: str) -> Guard:
    """Decide who is let in; `owner` names whoever started this. Raises UsageError."""
    _check(listening)
    token, header = listening.token, listening.user_header
    trusts_port = token is None and listening.is_loopback
    hosts = frozenset(name.lower() for name in listening.allowed_hosts)
    if hosts or trusts_port:
        hosts |= {*LOCAL_NAMES, listening.host.lower()}
    if header:
        return Guard(HeaderAccess(header, TokenAccess(token) if token else None), hosts, "/")
    if trusts_port:
        return Guard(OwnerAccess(owner), hosts, "/")
    if token is None:
        token = secrets.token_urlsafe(32)
        return Guard(TokenAccess(token), hosts, f"/{SIGN_IN}?token={token}")
    return Guard(TokenAccess(token), hosts, "/")


def serve(
    store: Store,
    listening: Listening,
    *,
    owner: str,
    root: Path | None,
    tell: Callable[[str], None],
) -> None:
    """Serve the pages of a store until SIGINT or SIGTERM.

    `tell` is called with the address once they can be opened. Raises UsageError for what does not
    fit together, NightmillError where the port cannot be had.
    """
    chosen = guard(listening, owner)
    site = Site.open(
        store, chosen.access, root=root, secret=listening.signing_secret, hosts=chosen.hosts
    )
    site.warm()
    app = Deadline(make_app(site), Patience())
    with closing(_listen(listening)) as listener:
        config = uvicorn.Config(
            Based(app, listening.base_path) if listening.base_path.strip("/") else app,
            http=Connection,
            ws="none",
            lifespan="off",
            access_log=False,  # an address may hold the token
            log_config=None,
            server_header=False,
            forwarded_allow_ips="127.0.0.1,::1",
            h11_max_incomplete_event_size=_HEAD_BYTES,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_STOP_S,
        )
        base = listening.base_path.rstrip("/")
        address = f"{_origin(listening.host, listener)}{base}{chosen.first_page}"
        with suppress(KeyboardInterrupt):
            _Server(config, lambda: tell(address)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Each request is in one thread at a time: so none that needs no store waits for one.
        anyio.to_thread.current_default_thread_limiter().total_tokens = PLACES + 2 * _CONNECTIONS
        await super().startup(sockets)
        if self.started:
            self._told()


def _check(listening: Listening) -> None:
    token, base = listening.token, listening.base_path.rstrip("/")
    if not _BASE.fullmatch(base):
        raise UsageError(
            f"{shown(listening.base_path)} is no path",
            where="--base-path",
            advice="write it like /nightmill",
        )
    if token is not None and (len(token) < MIN_TOKEN or not re.fullmatch(r"[!-~]+", token)):
        raise UsageError(
            f"the token is too easy to guess, or has other characters than visible ASCII: "
            f"it needs at least {MIN_TOKEN}",
            where="--token",
            advice="leave it out, and one is made",
        )
    if listening.secret is not None and len(listening.secret) < MIN_TOKEN:
        raise UsageError(
            f"the secret is too easy to guess: it needs at least {MIN_TOKEN} characters",
            where=SHARED_VARIABLE,
            advice="make one with `openssl rand -hex 32`, the same for all servers of one address",
        )
    if listening.user_header and token is None and not listening.is_loopback:
        raise UsageError(
            f"whoever reaches {listening.host} could name himself anybody by the header "
            f"{listening.user_header}",
            where="--user-header",
            advice="bind to 127.0.0.1, or let the proxy send a --token as `Authorization: Bearer`",
        )


def _listen(listening: Listening) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_others, address = found[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        advice = "choose a name or an address of this machine"
        raise UsageError(
            f"{shown(listening.host)} is no host", where="--host", advice=advice
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # Python's own text repeats the address
        problem = f"cannot listen on {listening.host}, port {listening.port}: {reason}"
        advice = "choose a name or an address of this machine"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            advice = "choose another port: --port 8091, or --port 0 for a free one"
        raise NightmillError(problem, advice=advice) from error


def _origin(host: str, listener: socket.socket) -> str:
    """Return the address to open: of a wildcard that of this machine by its name."""
    name, port = host, listener.getsockname()[1]
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        name = socket.gethostname() if address.is_unspecified else str(address)
        name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}"
