"""The frame of all pages: what every answer carries, and how each kind of trouble is told."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.testclient import TestClient

from nightmill.errors import SpecError, StoreError, UsageError
from nightmill.review import app as app_module
from nightmill.review.access import OwnerAccess
from nightmill.review.app import HEADERS, Based, make_app
from nightmill.review.html import STATIC, environment, static_stamp
from nightmill.review.site import Site
from nightmill.review.views import Action, Document, View
from nightmill.store.open import open_store

ADVICE = "do <b>this</b>"
TROUBLES = {
    "/usage": (UsageError("no such run <i>", where="runs/x", advice=ADVICE), 404),
    "/store": (StoreError("timed out", address="s3://b/k", operation="GET", advice=ADVICE), 502),
    "/spec": (SpecError("wrong <i>", file="a.yaml", line=3, advice=ADVICE), 409),
    "/http": (HTTPException(413, "too <i>large"), 413),
    "/bug": (ZeroDivisionError("secret figures"), 500),
}


class Page(BaseModel):
    """Facts of a page that shows none."""

    text: str = ""


def build(visit):
    """Fail as the address says."""
    raise TROUBLES[visit.path][0]


@pytest.fixture
def client(monkeypatch, tmp_path):
    """Open an application of pages that fail, and of one document with headers of its own."""
    own = Response("x", headers={"content-security-policy": "sandbox", "cache-control": "no-store"})
    pages = (
        *(View(path, "error.html", build) for path in TROUBLES),
        Document("/own", lambda _visit: own),
        View("/named/{step:part}", "error.html", build),
        View("/plain/{step:plain}", "error.html", build),
        Action("/act/{pipeline:part}", lambda visit, _form: visit.links.home),
    )
    monkeypatch.setattr(app_module, "PAGES", pages)
    site = Site.open(open_store("store", base=tmp_path), OwnerAccess("Ada"))
    return TestClient(make_app(site), raise_server_exceptions=False, follow_redirects=False)


@pytest.mark.parametrize(("path", "code"), [(path, code) for path, (_, code) in TROUBLES.items()])
def test_trouble_on_a_page(path, code, client):
    """The page says what, where and what to do, as text; a program reads the same."""
    page, facts = client.get(path), client.get(f"/api{path}")
    assert (page.status_code, facts.status_code) == (code, code)
    told = facts.json()["error"]
    assert told["code"] == code
    assert "<i>" not in page.text
    if "advice" in vars(TROUBLES[path][0]):
        assert told["advice"] == ADVICE
        assert "do &lt;b&gt;this&lt;/b&gt;" in page.text
    assert "secret figures" not in page.text + facts.text


@pytest.mark.parametrize("path", ["/usage", "/bug", "/nothing", "/static/style.css", "/act/p"])
def test_what_every_answer_carries(path, client):
    """No answer may be framed, guessed at, or loaded by another site; no script but ours runs."""
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_an_answer_with_headers_of_its_own(client):
    """They stand, and the others are added."""
    headers = client.get("/own").headers
    assert headers["content-security-policy"] == "sandbox"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["//usage", "/usage//", "//", "//usage/", "/api", "/api/own", "/API/usage", "/act/p/", "/no/"],
)
def test_an_address_has_one_form(path, client):
    """Nothing but a slash at its end is taken for a slip."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("base", ["", "/team/x"])
@pytest.mark.parametrize("page", ["/usage", "/own", "/api/usage", "/named/a~2Fb", "/plain/%C3%A5"])
def test_a_slash_at_the_end(page, base, method, client):
    """It leads to the page without it, below the base, with its query, and never with a host."""
    served = TestClient(Based(client.app, base), follow_redirects=False) if base else client
    for query in ("", "?q=a%2Fb&next=//evil.example/"):
        address = f"{base}{page}/{query}"
        answer = served.request(method, address, headers={"host": "evil.example"})
        assert (answer.status_code, answer.headers["location"]) == (308, f"{base}{page}{query}")
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/%2Fevil.example/", "//evil.example/", "/plain/%5C%5Cevil.example/", "/plain/%0D%0Aa/"],
)
def test_a_slash_at_the_end_leads_to_no_other_host(path, client):
    """What a browser could take for a host, or a header, is no page's address, or is escaped."""
    for base in ("", "/team/x"):
        served = TestClient(Based(client.app, base), follow_redirects=False) if base else client
        answer = served.get(f"http://testserver{base}{path}")
        wanted = base + path[:-1] if "plain" in path else None
        assert answer.headers.get("location") == wanted


def test_a_form_to_an_address_with_a_slash(client):
    """It is not sent on: what acts is asked for by its own address."""
    for path in ("/act/p/", "/usage/", "/api/act/p/"):
        assert client.post(path).status_code == 404


def test_head(client):
    """It answers like GET, without the text."""
    answer = client.head("/own")
    assert (answer.status_code, answer.text) == (200, "")
    assert client.head("/usage").status_code == 404


def test_no_page_brings_styles_or_scripts_of_its_own():
    """The policy forbids both, so that a page with one would be broken, and forbids `|safe` too."""
    names = environment().list_templates()
    assert len(names) > 3
    for name in names:
        source, *_ = environment().loader.get_source(environment(), name)
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|\|\s*safe\b|autoescape", source), name
        assert not re.search(r"<script(?![^>]*\bsrc=)", source), name


def test_static_files_are_told_apart_by_a_stamp():
    """It is part of their addresses, so that no browser keeps an old one."""
    assert re.fullmatch(r"[0-9a-f]{12}", static_stamp())
    assert static_stamp.__wrapped__() == static_stamp()
    assert {"style.css", "icon.svg"} <= {file.name for file in STATIC.iterdir()}
