"""`nightmill review`: where it listens, to whom it answers, and how it ends."""

from __future__ import annotations

import http.client
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from nightmill.errors import UsageError
from nightmill.review import server
from nightmill.review.access import HeaderAccess, OwnerAccess, TokenAccess
from nightmill.review.app import Based, make_app
from nightmill.review.server import LOCAL_NAMES, Listening, guard
from nightmill.review.site import Site
from nightmill.store.index_running import EVERY_S
from nightmill.store.open import open_store
from tests.review_routes import SHOWN, entangled

LONG = "0123456789abcdef"  # a token of the least length
ALL = "0.0.0.0"  # noqa: S104 - the address of every interface, as people type it


@contextmanager
def serving(folder, *arguments, **env):
    """Serve an empty store by the real command; give the process and the address it prints."""
    command = [sys.executable, "-m", "nightmill", "review", "--port", "0", *arguments]
    clean = {name: text for name, text in os.environ.items() if not name.startswith("NIGHTMILL_")}
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**clean, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ask(address, path=None, *, method="GET", headers=None, body=None):
    """Send one request, exactly as it is given; return code, headers and body."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    whole = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection.request(method, whole if path is None else path, headers=headers or {}, body=body)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


# -- who is let in --------------------------------------------------------------------------------


def test_on_loopback_the_owner_is_let_in():
    """Nobody has to sign in on their own machine, by names of this machine alone."""
    found = guard(Listening(), "ada")
    assert isinstance(found.access, OwnerAccess)
    assert (found.hosts, found.first_page) == (LOCAL_NAMES, "/")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1"])
def test_addresses_of_loopback(host):
    """They are reached from this machine alone."""
    assert Listening(host=host).is_loopback


@pytest.mark.parametrize("host", [ALL, "::", "10.0.0.1", "example.org", "localhost.evil", ""])
def test_elsewhere_a_token_is_made(host):
    """Where others may reach it, a token lets in, made anew each time and long."""
    first, second = (guard(Listening(host=host), "ada") for _ in range(2))
    assert isinstance(first.access, TokenAccess)
    assert re.fullmatch(r"/sign-in\?token=[\w-]{43}", first.first_page)
    assert first.first_page != second.first_page
    assert first.access.is_token(first.first_page.partition("=")[2])


def test_a_token_counts_on_loopback_too():
    """Whoever gives one shares the machine with others."""
    found = guard(Listening(token=LONG), "ada")
    assert isinstance(found.access, TokenAccess)
    assert found.first_page == "/"  # it is known, and need not be on a screen


@pytest.mark.parametrize(
    ("listening", "where"),
    [
        (Listening(token=LONG[:-1]), "--token"),
        (Listening(token=""), "--token"),
        (Listening(token="sixteen letters "), "--token"),
        (Listening(token="sixteen\nletters"), "--token"),
        (Listening(token="s\u00e9cr\u00e9t-s\u00e9cr\u00e9t-s\u00e9cr\u00e9t"), "--token"),
        (Listening(secret=LONG[:-1]), "NIGHTMILL_REVIEW_SECRET"),
        (Listening(host=ALL, user_header="X-User"), "--user-header"),
        (Listening(base_path="x"), "--base-path"),
        (Listening(base_path="//evil.example"), "--base-path"),
        (Listening(base_path="/a b"), "--base-path"),
        (Listening(base_path="/a/../b?"), "--base-path"),
        (Listening(base_path="/\u00fc"), "--base-path"),
    ],
)
def test_what_does_not_fit_together(listening, where):
    """It is refused before anything listens, with what to do instead."""
    with pytest.raises(UsageError) as error:
        guard(listening, "ada")
    assert error.value.where == where
    assert error.value.advice


@pytest.mark.parametrize(
    "listening",
    [
        Listening(user_header="X-User"),
        Listening(user_header="X-User", token=LONG),
        Listening(host=ALL, user_header="X-User", token=LONG),
    ],
)
def test_a_header_is_believed_from_this_machine_or_with_a_token(listening):
    """A name in a header counts where only the proxy can have written it."""
    assert isinstance(guard(listening, "ada").access, HeaderAccess)


def test_servers_behind_one_address():
    """Those with one secret, or one token, know each other's forms; others make a secret each."""
    made = Listening(secret=LONG).signing_secret
    assert Listening(secret=LONG, token=LONG[::-1], port=1).signing_secret == made
    assert Listening(token=LONG, user_header="X-User").signing_secret == made
    assert Listening(token=LONG[::-1]).signing_secret not in (made, None)
    assert Listening().signing_secret is None
    assert LONG not in repr(Listening(secret=LONG))


def test_names_that_are_allowed():
    """They come beside those of this machine; with a token any name will do.

    A browser would send a header of their own choice for those who point a name to this machine.
    """
    for header in (None, "X-User"):
        given = Listening(user_header=header, allowed_hosts=("Review.Example",))
        assert guard(given, "ada").hosts == LOCAL_NAMES | {"review.example"}
        assert guard(Listening(user_header=header), "ada").hosts == LOCAL_NAMES
        assert guard(Listening(user_header=header, token=LONG), "ada").hosts == frozenset()
    assert guard(Listening(host=ALL), "ada").hosts == frozenset()


# -- the real thing -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder that is no project."""
    return tmp_path_factory.mktemp("served")


def test_it_serves_until_ctrl_c(folder):
    """It prints one line, the address, and answers there, to no other name.

    A head without an end is not read for ever. Ctrl-C is its end, also while a connection is open.
    """
    with serving(folder) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        code, headers, body = ask(address)
        assert code == 200
        assert "nightmill run" in body  # an empty store says what to do
        assert "server" not in {name.lower() for name in headers}
        assert ask(address, headers={"Host": "evil.example"})[0] == 421
        place = (urlsplit(address).hostname, urlsplit(address).port)
        with socket.create_connection(place) as endless:
            endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000)
            assert endless.recv(100).startswith(b"HTTP/1.1 400 ")
        with socket.create_connection(place) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == "Invalid HTTP request received.\n"


def test_it_asks_for_a_token_elsewhere(folder):
    """The printed address signs in, and a browser is given it; nothing of it is in the log."""
    opened = folder / "opened"
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    arguments = ("--host", ALL, "--open")
    with serving(folder, *arguments, BROWSER=f"{browser} %s") as (process, address):
        port = urlsplit(address).port
        here = f"http://127.0.0.1:{port}"
        assert ask(here, "/")[0] == 401
        code, headers, _body = ask(here, address.partition(f":{port}")[2])
        assert (code, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"].partition(";")[0]
        assert ask(here, "/", headers={"Cookie": cookie})[0] == 200
        deadline = time.monotonic() + 20
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # a poll with a deadline
        assert opened.read_text().strip() == address
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert process.stdout.read() + process.stderr.read() == ""


def test_what_the_command_takes(project, cli, monkeypatch):
    """Its options say where and to whom; the project around it tells what ought to run."""
    told = {}
    monkeypatch.setattr(server, "serve", lambda *given, **more: told.update(more, given=given))
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setenv("NIGHTMILL_REVIEW_SECRET", LONG[::-1])
    options = ["--host", "::1", "--port", "1", "--base-path", "/x", "--token", LONG]
    options += ["--user-header", "X-User", "--allow-host", "a", "--allow-host", "b"]
    ended = cli("review", *options, cwd=project.root / "notebooks")
    assert (ended.code, ended.err) == (0, "")
    store, listening = told["given"]
    assert store.url == str(project.store)
    assert listening == Listening("::1", 1, "/x", LONG, "X-User", ("a", "b"), LONG[::-1])
    assert (told["owner"], told["root"]) == ("ada", project.root)


@pytest.mark.parametrize("by_env", [False, True])
def test_a_store_that_was_named_has_to_be_there(by_env, tmp_path):
    """A folder that is not there is told at the start and by every page, until it is there."""
    named = tmp_path / "mistyped"
    arguments = () if by_env else ("--store", "mistyped")
    env = {"NIGHTMILL_STORE": str(named)} if by_env else {}
    with serving(tmp_path, *arguments, **env) as (process, address):
        for page in ("", "runs", "runs/a/b/c", "api/runs"):
            code, _headers, body = ask(address + page)
            assert code == 502, page
            assert str(named) in body
            assert "file system is mounted" in body
        named.mkdir()
        assert ask(address)[0] == 200
        named.rmdir()
        time.sleep(EVERY_S)  # so long the pages ask nothing again
        assert ask(address)[0] == 502
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read().startswith(f"there is no folder {named}: ")


def test_a_user_without_a_name_and_no_project(folder, cli, monkeypatch):
    """A container's user has none, and a store can be looked at from anywhere."""
    told = {}
    monkeypatch.setattr(server, "serve", lambda *_given, **more: told.update(more))
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=KeyError("uid not found: 10001")))
    assert cli("review", cwd=folder).code == 0
    assert (told["owner"], told["root"]) == ("", None)


def test_without_the_extra(folder, cli, monkeypatch):
    """What is missing is named, and how to get it."""
    monkeypatch.delitem(sys.modules, "nightmill.review.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ended = cli("review", cwd=folder)
    assert ended.code == 2
    assert "uvicorn" in ended.err
    assert "nightmill[review]" in ended.err


def test_a_port_that_is_taken(folder, cli):
    """The error names it and says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = cli("review", "--port", str(port), cwd=folder)
    assert ended.code == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in ended.err
    assert "--port 0" in ended.err


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours(host, folder, cli):
    """It is refused in words."""
    ended = cli("review", "--port", "0", "--host", host, "--token", LONG, cwd=folder)
    assert ended.code in (1, 2)
    assert "choose a name or an address of this machine" in ended.err


# -- behind a proxy -------------------------------------------------------------------------------


class Proxy(http.server.BaseHTTPRequestHandler):
    """A reverse proxy that serves the pages below a path, and names the user with its token."""

    target = ("", 0)
    strips = False

    def do_GET(self):
        """Hand a request on, and its answer back."""
        path = self.path.removeprefix("/team/nights") if self.strips else self.path
        headers = {
            **self.headers,
            "Authorization": f"Bearer {LONG}",
            "X-Forwarded-User": "Ada",
            "X-Forwarded-Proto": "https",
        }
        connection = http.client.HTTPConnection(*self.target, timeout=20)
        length = int(self.headers.get("Content-Length", 0))
        connection.request(self.command, path, self.rfile.read(length), headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("date", "connection"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - as the server looks for it

    def log_message(self, *_facts):
        """Say nothing."""


@contextmanager
def proxied(address, *, strips):
    """Run the proxy before an address; give its own."""
    parts = urlsplit(address)
    kind = type("Handler", (Proxy,), {"target": (parts.hostname, parts.port), "strips": strips})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_below_a_path_of_a_proxy(folder):
    """Whether the proxy takes its path away or not, every address leads through it again."""
    arguments = ("--base-path", "/team/nights/", "--user-header", "X-Forwarded-User")
    with serving(folder, *arguments, NIGHTMILL_REVIEW_TOKEN=LONG) as (_process, address):
        assert LONG not in address
        assert ask(address, headers={"X-Forwarded-User": "Ada"})[0] == 401  # not by the proxy
        for strips in (True, False):
            with proxied(address, strips=strips) as outside:
                code, headers, body = ask(outside, "/team/nights/")
                assert code == 200
                assert "Signed in as <bdi>Ada</bdi>" in body
                led = set(re.findall(r'(?:href|src|action)="([^"#]+)', body))
                assert len(led) > 4
                assert not [one for one in led if not one.startswith("/team/nights/")]
                cookie = headers["set-cookie"]
                assert {"Path=/team/nights", "Secure"} <= set(cookie.split("; "))
                style = next(one for one in led if "style.css" in one)
                assert ask(outside, style)[0] == 200
                assert ask(outside, "/team/nights/api/")[0] == 200
                assert ask(outside, "/team/nights/no-such-page")[0] == 404


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"NIGHTMILL_REVIEW_SECRET": LONG}, 409),  # let in; it asks for nothing
        ({"NIGHTMILL_REVIEW_TOKEN": LONG}, 409),
        ({"NIGHTMILL_REVIEW_SECRET": ""}, 403),
    ],
)
def test_a_form_goes_to_another_server(env, code, tmp_path):
    """Of two behind one address both take a form, where they share a secret or a token."""
    entangled(tmp_path)
    arguments = ("--user-header", "X-User", "--store", str(tmp_path / "store"))
    proxy = {"X-User": "Ada", "Authorization": f"Bearer {LONG}"}
    with (
        serving(tmp_path, *arguments, **env) as (_one, first),
        serving(tmp_path, *arguments, **env) as (_other, second),
    ):
        run = f"{SHOWN}/2013-03-01/run-0"
        _code, headers, page = ask(first, f"/runs/{run}", headers=proxy)
        session = {"Cookie": headers["set-cookie"].partition(";")[0]}
        form = "proof=" + re.search(r'name="proof" value="(\w+)"', page)[1]
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        for address, wanted in ((first, 409), (second, code)):
            sent = proxy | session | kind
            answer = ask(address, f"/notes/{run}", method="POST", headers=sent, body=form)
            assert answer[0] == wanted


def test_names_that_a_proxy_sends(folder):
    """A name is read as UTF-8, as proxies write it, else as latin-1; no two become one."""
    names = ("M\u00fcller", "\u00c5sa", "\u00c5ke", "\u5c71\u7530", "Ada")  # some with a byte 85
    sent = [(name.encode(), name) for name in names]
    sent += [(name.encode("latin-1"), name) for name in ("M\u00fcller", "\u00c5ke \u00c5sa")]
    with serving(folder, "--user-header", "X-User") as (_process, address):
        for given, name in sent:
            code, _headers, body = ask(address, headers={"X-User": given})
            text = re.sub("<[^>]+>", "", body)
            assert (given, code) == (given, 200)
            assert re.search("Signed in as (.+?) \u00b7", text)[1] == name


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/x/", 200),
        ("/", 200),  # the proxy has taken /x away
        ("/x/api/", 200),
        ("/xy", 404),
        ("/xy/", 404),
        ("/x/x/", 404),
    ],
)
def test_paths_around_the_base(path, code, tmp_path):
    """Only what is below the base, or has lost it, is one of ours."""
    store = open_store("store", base=tmp_path)
    app = Based(make_app(Site.open(store, OwnerAccess("Ada"))), "/x")
    assert TestClient(app).request("GET", path).status_code == code


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("query", ["", "?q=a%2Fb&next=//evil.example"])
def test_the_base_without_its_slash_leads_to_the_first_page(method, query, tmp_path):
    """As a path and never with a host, whatever the request calls itself."""
    store = open_store("store", base=tmp_path)
    app = Based(make_app(Site.open(store, OwnerAccess("Ada"))), "/team/x")
    client = TestClient(app, follow_redirects=False)
    answer = client.request(method, f"/team/x{query}", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (308, f"/team/x/{query}")
    assert "content-security-policy" in answer.headers
    assert client.get("/team/x//evil.example").status_code == 404
