"""What a page knows of the request that it answers, and the addresses that it makes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from nightmill.review import app as app_module
from nightmill.review.access import OwnerAccess
from nightmill.review.app import Based, make_app
from nightmill.review.links import Links
from nightmill.review.site import Site
from nightmill.review.views import ATTEMPT, RUN, View
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store


class Seen(BaseModel):
    """What a visit says of itself."""

    names: dict[str, str]
    prefix: str
    address: str
    q: str
    session: str
    empty: tuple[()] = ()


def see(visit: Any) -> Seen:
    """Tell what a visit says."""
    parts = ("pipeline", "partition", "run", "step", "member", "attempt")
    return Seen(
        names={part: visit.name(part) for part in parts if part in visit.parts},
        prefix=visit.prefix,
        address=visit.address,
        q=visit.query("q", "none"),
        session=visit.session,
    )


@pytest.fixture
def client(monkeypatch, tmp_path):
    """Open an application with one page, for runs and for attempts."""
    pages = (View(f"/seen/{RUN}", "error.html", see), View(f"/seen/{ATTEMPT}", "error.html", see))
    monkeypatch.setattr(app_module, "PAGES", pages)
    site = Site.open(open_store("store", base=tmp_path), OwnerAccess("Ada"))
    return TestClient(Based(make_app(site), "/base"), base_url="http://localhost")


def seen(client, path, **more):
    """Ask what the page saw."""
    answer = client.get(f"/base/api/seen/{path}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("names", "member"),
    [
        (("p", "2013-03-01", "r", "s", 1), ""),
        (("p", "2013-03-01", "r", "s", 12), "north"),
        (("\u05e9\u05dc\u05d5\u05dd", "a/b", "manual__1:2+00", "100% ~x", 1), ".hidden member"),
        (("p", "..", "<script>", "a'b\"c", 1), "\x00\n"),
    ],
)
def test_names_of_an_address(names, member, client):
    """An attempt's address is its prefix in the store, and gives back the names as they were."""
    prefix = attempt_prefix(*names, member=member)
    found = seen(client, prefix.removeprefix("runs/"))
    pipeline, partition, run, step, attempt = names
    wanted = {"pipeline": pipeline, "partition": partition, "run": run, "step": step}
    wanted |= {"member": member} if member else {}
    assert found["names"] == wanted | {"attempt": str(attempt)}
    assert found["prefix"] == prefix
    assert found["address"] == f"/base/seen/{prefix.removeprefix('runs/')}"


def test_a_name_that_was_cut(client):
    """What is too long for a key is told as far as the key has it, and leads to the same place."""
    prefix = attempt_prefix("p", "2013-03-01", "x" * 300, "s", 1)
    assert seen(client, prefix.removeprefix("runs/"))["prefix"] == prefix


def test_a_query(client):
    """It is cut where it is too long, the last of several counts, and bad bytes do no harm."""
    assert seen(client, "p/d/r")["q"] == "none"
    assert seen(client, "p/d/r?q=a&q=b")["q"] == "b"
    assert seen(client, "p/d/r?q=" + "x" * 5000)["q"] == "x" * 500
    assert seen(client, "p/d/r?q=%ff%00%0a")["q"] == "\ufffd\x00\n"
    assert seen(client, "p/d/r?q=a%20b")["address"] == "/base/seen/p/d/r?q=a%20b"


@pytest.mark.parametrize("given", ["", "short", "x" * 31, "x" * 33, "x" * 31 + ".", "<" * 32])
def test_a_session_that_is_none_of_ours(given, client):
    """Only what we could have made is taken for a session; else there is a new one."""
    found = seen(client, "p/d/r", headers={"Cookie": f"nightmill_session={given}"})["session"]
    assert found != given
    assert len(found) == 32
    assert found != seen(client, "p/d/r")["session"]


def test_a_session_of_ours(client):
    """It stays."""
    headers = {"Cookie": f"nightmill_session={'x' * 32}"}
    assert seen(client, "p/d/r", headers=headers)["session"] == "x" * 32


@pytest.mark.parametrize("base", ["", "/base", "/a/b"])
def test_links(base):
    """Every address begins with the base, and names are written as in keys."""
    links = Links(base)
    prefix = "runs/p/2013-03-01/r/s/m/1"
    assert links.home == f"{base}/"
    assert links.page("metrics", "a b", q="x&y", none=None) == f"{base}/metrics/a~20b?q=x%26y"
    assert links.attempt("compare", prefix, page=2) == f"{base}/compare/p/2013-03-01/r/s/m/1?page=2"
    assert links.run(prefix) == f"{base}/runs/p/2013-03-01/r"
    assert links.api(links.page("runs")) == f"{base}/api/runs"
    assert links.static("style.css") == f"{base}/static/style.css"
