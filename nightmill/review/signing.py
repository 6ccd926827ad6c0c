"""Proofs that these pages made something: forms that act, and addresses that open without a cookie.

A notebook is shown in a document of an opaque origin, to which the browser gives no cookie. What it
loads later (large images) it may load by an address that was signed for whoever saw the page.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qs, urlencode

RENEWED_S = 3600
"""How long a document with signed addresses may be kept and shown again."""
ASSET_S = 2 * RENEWED_S
"""How long an address of a part of a notebook opens: an hour longer than its document is shown."""


_MARK = 8  # characters: enough for the servers of one machine


def derived(key: str) -> bytes:
    """Return a secret to sign with, made from a key that is for something else as well."""
    data = key.encode("utf-8", "surrogateescape")  # a variable may hold any bytes
    return hmac.new(data, b"nightmill review pages", hashlib.sha256).digest()


def mark_of(secret: bytes) -> str:
    """Return a few characters that tell secrets apart, and do not tell them."""
    return _sign(secret, "mark")[:_MARK]


def form_proof(secret: bytes, session: str, user: str) -> str:
    """Return what a form holds so that only a page shown to this user in this session made it."""
    return _sign(secret, "form", session, user)


def is_form_proof(secret: bytes, session: str, user: str, given: str) -> bool:
    """Tell whether a form came from such a page."""
    return bool(session) and _same(form_proof(secret, session, user), given)


def signed(secret: bytes, path: str) -> str:
    """Return the path with a signature that holds for two hours; without the base of the pages."""
    until = str(int(time.time()) + ASSET_S)
    return f"{path}?{urlencode({'until': until, 'sign': _sign(secret, 'asset', path, until)})}"


def is_signed(secret: bytes, path: str, query: str) -> bool:
    """Tell whether a path was signed, and not too long ago."""
    given = {name: values[0] for name, values in parse_qs(query).items()}
    until = given.get("until", "")
    if not (until.isascii() and until.isdigit() and len(until) < 12):  # noqa: PLR2004 - a time
        return False
    sign = _sign(secret, "asset", path, until)
    return _same(sign, given.get("sign", "")) and time.time() <= int(until)


def _sign(secret: bytes, *parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "replace")
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
