"""Connections to the review pages: silent ones are closed, and shut nobody out; on real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from nightmill.review import connections, server
from nightmill.review.server import Listening
from nightmill.store.open import open_store

HEAD = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"\r\n"
FORM = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
TOKEN = "0123456789abcdef"


@contextmanager
def served(store, **options):
    """Serve a store in this process; give its port."""
    began, running = threading.Event(), []

    class Server(server._Server):
        """Can be told to end, which a signal cannot in a thread."""

        def __init__(self, *given):
            super().__init__(*given)
            running.append(self)

    place = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_Server", Server)
        arguments = {
            "owner": "Ada",
            "root": None,
            "tell": lambda at: (place.append(at), began.set()),
        }
        thread = threading.Thread(
            target=server.serve,
            args=(store, Listening(port=0, token=TOKEN, **options)),
            kwargs=arguments,
        )
        thread.start()
        assert began.wait(20)
        try:
            yield int(place[0].split(":")[2].partition("/")[0])
        finally:
            running[0].should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def patience_s():
    """Have patience with silent clients for a second."""
    return 1.0


@pytest.fixture
def port(tmp_path, monkeypatch, patience_s):
    """Serve an empty store with little patience with silent clients."""
    monkeypatch.setattr(connections, "REQUEST_S", patience_s)
    monkeypatch.setattr(connections, "STALLED_S", patience_s)
    with served(open_store("store", base=tmp_path)) as one:
        yield one


def connect(port):
    """Open a connection, which fails where it is waited for in vain."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def wait_until_closed(one):
    """Read until the other side closes."""
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionError:
        pass


def is_shut_out(one, *parts):
    """Send bytes bit by bit and take none; tell whether the other side closes before the end."""
    try:
        for part in parts:
            one.sendall(part)
            time.sleep(0.02)
    except ConnectionError:
        return True
    return False


def code_of(port, path="/static/style.css"):
    """Ask for something on a connection of its own."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked.request("GET", path)
    code = asked.getresponse().status
    asked.close()
    return code


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, FORM, FORM + b"token=", WHOLE + HEAD],
    ids=["nothing", "half a head", "no body", "half a body", "half a second one"],
)
def test_a_request_that_does_not_come_is_not_waited_for(sent, port):
    """Whatever part of it was sent, its connection is closed after some seconds, not at once."""
    began = time.monotonic()
    with connect(port) as silent:
        silent.sendall(sent)
        wait_until_closed(silent)
    assert time.monotonic() - began > 0.8


def test_a_request_that_drips_is_not_waited_for(port):
    """The time counts from its beginning: a byte now and then prolongs nothing."""
    with connect(port) as dripping:
        dripping.sendall(WHOLE)
        answer = http.client.HTTPResponse(dripping)
        answer.begin()
        answer.read()
        assert is_shut_out(dripping, HEAD + b"X: ", *[b"x"] * 500)


@pytest.mark.parametrize("patience_s", [5.0])  # more than this machine may stand still
def test_a_connection_that_is_used_stays(port, patience_s):
    """One request after another is answered for longer than a silent one would be kept."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.monotonic()
    asked.connect()
    first = asked.sock
    while time.monotonic() - began < 1.3 * patience_s:
        asked.request("GET", "/static/style.css")
        assert asked.getresponse().read()
        time.sleep(0.1)
    assert asked.sock is first
    asked.close()


def test_an_answer_that_nobody_takes_is_given_up(port):
    """Whoever asks again and again and reads nothing does not keep its connection."""
    with connect(port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert is_shut_out(deaf, *[WHOLE * 20] * 500)


@pytest.mark.parametrize("sent", [b"", HEAD, FORM])
def test_idle_connections_shut_nobody_out(sent, tmp_path):
    """More of them than there may be are open, and others are answered at once, again and again."""
    with served(open_store("store", base=tmp_path)) as port, ExitStack() as many:
        for number in range(2 * server._CONNECTIONS):
            many.enter_context(connect(port)).sendall(sent)
            if number % 50 == 0:
                assert code_of(port) == 200
        assert {code_of(port) for _ in range(20)} == {200}
