"""What the pages sign: nobody else can make it, and it is for one thing."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from nightmill.review.signing import (
    ASSET_S,
    RENEWED_S,
    derived,
    form_proof,
    is_form_proof,
    is_signed,
    mark_of,
    signed,
)

KEY = b"k" * 32
SESSION = "s" * 32
PATH = "/part/p/2013-01-01/r/s/1/2/0/image~2Fpng"


def test_the_proof_is_an_hmac():
    """It is made from the secret, the session and the user, by a standard construction."""
    wanted = hmac.new(KEY, b"form\0" + SESSION.encode() + b"\0Ada", hashlib.sha256).hexdigest()
    assert form_proof(KEY, SESSION, "Ada") == wanted
    assert is_form_proof(KEY, SESSION, "Ada", wanted)


@pytest.mark.parametrize(
    ("key", "session", "user", "given"),
    [
        (b"x" * 32, SESSION, "Ada", None),
        (KEY, "t" * 32, "Ada", None),
        (KEY, SESSION, "Eve", None),
        (KEY, SESSION, "", None),
        (KEY, SESSION, "Ada", ""),
        (KEY, SESSION, "Ada", "\udcff"),
        (KEY, "", "Ada", form_proof(KEY, "", "Ada")),
    ],
)
def test_a_proof_is_for_one_page(key, session, user, given):
    """Another secret, session or user makes another; without a session there is none."""
    given = form_proof(KEY, SESSION, "Ada") if given is None else given
    assert not is_form_proof(key, session, user, given)


def test_a_signed_path_holds_longer_than_its_document(monkeypatch):
    """It opens until the hour of the document and one more are over, and not a second longer."""
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    address = signed(KEY, PATH)
    path, query = urlsplit(address)[2:4]
    assert path == PATH
    for later, holds in (
        (0, True),
        (RENEWED_S + 1, True),
        (ASSET_S - 1, True),
        (ASSET_S + 1, False),
    ):
        monkeypatch.setattr("time.time", lambda later=later: now + later)
        assert is_signed(KEY, PATH, query) is holds


@pytest.mark.parametrize(
    "change",
    [
        {"path": PATH[:-1]},
        {"path": "/nightmill" + PATH},
        {"key": b"x" * 32},
        {"until": "9999999999"},
        {"until": "99999999999999999999"},
        {"until": "\u0661"},
        {"until": "-1"},
        {"until": ""},
        {"sign": ""},
        {"sign": "0" * 64},
        {"sign": "\u00fc"},
    ],
)
def test_nothing_of_a_signed_address_can_be_changed(change):
    """Neither its path nor its time, and no text in its place is an error."""
    given = {name: found[0] for name, found in parse_qs(urlsplit(signed(KEY, PATH)).query).items()}
    whole = {"path": PATH, "key": KEY, **given, **change}
    query = f"until={whole['until']}&sign={whole['sign']}"
    assert not is_signed(whole["key"], whole["path"], query)


def test_a_secret_made_from_a_token():
    """Who has the same token makes the same one; from the mark in a name neither can be made."""
    token = "a-token-of-the-tests"
    assert derived(token) == derived(token) != derived(token.upper())
    assert len(derived(token)) == 32
    assert derived("\udcff" * 16)  # a variable may hold any bytes
    assert len(mark_of(derived(token))) == 8
    assert mark_of(derived(token)) != mark_of(derived(token.upper()))


def test_a_proof_is_no_signature():
    """What is signed for forms does not open an address that says the same."""
    until = str(int(time.time()) + 60)
    assert not is_signed(KEY, PATH, f"until={until}&sign={form_proof(KEY, PATH, until)}")
