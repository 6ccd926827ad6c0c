"""A store that is silent: pages say so in time, and what needs no store does not wait for them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from nightmill.review.access import OwnerAccess
from nightmill.review.app import make_app
from nightmill.review.deadline import PLACES, Deadline, Patience
from nightmill.review.site import Site
from nightmill.store.open import open_store
from tests.test_review_connections import TOKEN, served

SHORT = Patience(page_s=0.5, action_s=60.0, file_s=60.0)


class Silent:
    """A store that answers nothing until it may."""

    def __init__(self, store):
        self._store = store
        self.may = threading.Event()
        self.waiting = 0
        self.asked = 0

    def __getattr__(self, name):
        """Wrap what asks the store."""
        found = getattr(self._store, name)
        if name in ("url", "address", "local_path", "library_options"):
            return found

        def waited(*arguments, **options):
            self.asked += 1
            self.waiting += 1
            self.may.wait(120)
            self.waiting -= 1
            return found(*arguments, **options)

        return waited


@pytest.fixture
def silent(tmp_path):
    """Make a store that is silent, and let it answer in the end."""
    store = Silent(open_store("store", base=tmp_path))
    yield store
    store.may.set()


def ask(port, path):
    """Ask as whoever is signed in; return code and text."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    asked.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = asked.getresponse()
    text = answer.read().decode()
    asked.close()
    return answer.status, text


def wait_until(condition) -> None:
    """Wait for what other threads do; fails when it does not come."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a poll with a deadline


# -- the deadline ---------------------------------------------------------------------------------


def test_a_page_that_does_not_come_is_told(silent):
    """People and programs are told in time that the store does not answer, and what to check."""
    site = Site.open(silent, OwnerAccess("Ada"))
    with TestClient(Deadline(make_app(site), SHORT)) as client:
        page, facts = client.get("/"), client.get("/api/")
        assert (page.status_code, facts.status_code) == (504, 504)
        assert "The store does not answer" in page.text
        assert "within 0.5 seconds" in page.text
        assert "endpoint" in facts.json()["error"]["advice"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
    silent.may.set()
    with TestClient(Deadline(make_app(site), Patience())) as client:
        assert client.get("/").status_code == 200


def test_each_kind_has_its_own_patience():
    """Actions and files that are fetched whole are waited for longer; what flows is never cut."""
    never = threading.Event()

    def flowing():
        yield "begun "
        time.sleep(4)  # longer than a page may take
        yield "ended"

    def slow(_request):
        time.sleep(1)
        return PlainTextResponse("done")

    def stuck(_request):
        never.wait(60)
        return PlainTextResponse("late")

    routes = [
        Route("/flow", lambda _request: StreamingResponse(flowing())),
        Route("/page", stuck),
        Route("/stuck", stuck, methods=["POST"]),
        Route("/act", slow, methods=["POST"]),
        Route("/download/a", slow),
    ]
    with TestClient(Deadline(Starlette(routes=routes), SHORT)) as client:
        assert client.get("/page").status_code == 504
        assert client.post("/act").text == "done"
        assert client.get("/download/a").text == "done"
        never.set()
    never.clear()
    calm = Patience(page_s=3.0, action_s=0.2)
    with TestClient(Deadline(Starlette(routes=routes), calm)) as client:
        assert client.get("/flow").text == "begun ended"
        assert "this may still be done" in client.post("/stuck").text
        never.set()


def test_silent_pages_keep_their_places_and_no_more(silent):
    """However many ask, so many threads wait for the store; nobody else is kept from what is free.

    When it answers, so do the pages.
    """
    site = Site.open(silent, OwnerAccess("Ada"))
    app = Deadline(make_app(site), SHORT, places=3)
    with TestClient(app) as client, ThreadPoolExecutor(20) as pool:
        pages = [pool.submit(client.get, f"/record/a/b/{number}/s/1") for number in range(20)]
        wait_until(lambda: silent.waiting == 3)
        assert client.get("/static/style.css").status_code == 200
        assert {one.result().status_code for one in pages} == {504}
        assert client.get("/record/a/b/c/s/1").status_code == 504
        assert silent.waiting == 3  # in their threads, that nobody can end
        silent.may.set()
        wait_until(lambda: not app._left)
        assert (silent.waiting, silent.asked) == (0, 3)  # what was given up asks nothing any more
        app._patience = Patience()
        assert client.get("/record/a/b/c/s/1").status_code == 404


def test_an_answer_that_flows_keeps_no_place():
    """Long documents that are sent slowly do not keep pages from being made."""
    gate, begun = threading.Event(), []

    def flowing():
        begun.append(1)
        yield "begun "
        gate.wait(60)
        yield "ended"

    routes = [
        Route("/flow", lambda _request: StreamingResponse(flowing())),
        Route("/page", lambda _request: PlainTextResponse("done")),
    ]
    app = Deadline(Starlette(routes=routes), Patience(page_s=30.0), places=1)
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        flows = [pool.submit(client.get, "/flow") for _ in range(2)]
        wait_until(lambda: len(begun) == 2)
        assert client.get("/page").text == "done"
        gate.set()
        assert {one.result().text for one in flows} == {"begun ended"}


def test_pages_that_wait_keep_nothing_else_waiting(silent, monkeypatch):
    """While dozens of pages wait for the store, style sheets and signing in are answered."""
    monkeypatch.setattr("nightmill.review.server.Patience", lambda: Patience(page_s=80.0))
    with served(silent) as port, ThreadPoolExecutor(90) as pool:
        pages = [pool.submit(ask, port, f"/record/a/b/{number}/s/1") for number in range(90)]
        wait_until(lambda: silent.waiting >= PLACES)
        assert [ask(port, path)[0] for path in ("/static/style.css", "/sign-in")] == [200, 200]
        assert not any(page.done() for page in pages)
        silent.may.set()
        assert {page.result()[0] for page in pages} == {404}


def test_the_server_has_a_deadline(silent, monkeypatch):
    """Dozens of pages that nobody can make are all told so, those without a place as well."""
    monkeypatch.setattr("nightmill.review.server.Patience", lambda: Patience(page_s=2.0))
    with served(silent) as port, ThreadPoolExecutor(90) as pool:
        pages = [pool.submit(ask, port, "/runs") for _ in range(90)]
        assert {one.result()[0] for one in pages} == {504}
        silent.may.set()


# -- a store in S3 that is mute -------------------------------------------------------------------


@contextmanager
def mute():
    """Accept connections and never answer; give the endpoint, and those that were taken."""
    taken = []

    def take():
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
        listener.shutdown(socket.SHUT_RDWR)
    for one in taken:
        one.close()


@contextmanager
def reviewing(endpoint):
    """Serve a store in S3 by the real command; give the process and its port."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("NIGHTMILL_")}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}
    url = f"s3://bucket/prefix?endpoint={endpoint}"
    command = [sys.executable, "-m", "nightmill", "review", "--store", url, "--port", "0"]
    with subprocess.Popen(
        [*command, "--token", TOKEN],
        env=clean | keys,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, urlsplit(process.stdout.readline().strip()).port
        finally:
            process.kill()


def test_a_mute_store_is_told_by_its_name():
    """Its client gives up before the page is given up, for all who wait at once, so it is named.

    Ctrl-C ends the server, whoever waits.
    """
    with (
        mute() as (endpoint, taken),
        reviewing(endpoint) as (process, port),
        ThreadPoolExecutor(47) as pool,
    ):
        pages = [pool.submit(ask, port, path) for path in ["/", *["/runs"] * 45]]
        wait_until(lambda: taken)
        assert ask(port, "/static/style.css")[0] == 200
        assert not any(page.done() for page in pages)
        for page in pages:
            code, text = page.result()
            assert code == 502
            assert endpoint in text
            assert "does not answer" in text
        before = len(taken)
        late = pool.submit(ask, port, "/")
        wait_until(lambda: len(taken) > before)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert late.exception() or late.result()


def test_a_hasty_store_still_copies(s3_url, tmp_path):
    """Haste is for questions: what a server copies, as it carries out an approval, arrives."""
    store = open_store(s3_url, base=tmp_path, hasty=True)
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    stored = store.put_file("runs/a", file)
    store.copy_if("data/a", stored, etag=None)
    assert store.stat("data/a").sha256 == stored.sha256
    assert store.read("data/a").data == file.read_bytes()
