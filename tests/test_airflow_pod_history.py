"""How a pod ended that was gone before anybody looked, asked over HTTP by both real clients."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import kubernetes_asyncio.client
import pytest
from kubernetes import client

from nightmill.airflow.pods import Pods
from nightmill.airflow.trigger import StepPodTrigger
from tests.http_stand_in import served
from tests.test_airflow_operator import RUN, TRIGGER
from tests.test_airflow_pod_status import STOPPED, disrupted, ended, pod

PLACE = {"name": "p", "namespace": "nightmill", "resourceVersion": "7"}
SEEN = {"metadata": PLACE, "status": {"phase": "Running"}}
EVICTED = disrupted("EvictionByEvictionAPI")
ASKED_TO_STOP = pod("Running", state={"running": {}}, conditions=EVICTED)
GONE = pod("Failed", state=ended(17, said=STOPPED), conditions=EVICTED)


FORBIDDEN = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no watch"}
EXPIRED = {"code": 410, "reason": "Expired", "message": "too old"}


class History:
    """An API server that no longer has a pod, and tells what happened to it."""

    def __init__(self):
        self.events, self.status, self.asked = [], 200, []
        self.released = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Tell all events at once, then stay silent as a watch does."""
        parts = urlsplit(handler.path)
        self.asked.append((parts.path, parse_qs(parts.query)))
        handler.send_response(self.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for event in self.events:
            line = json.dumps(event).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        handler.wfile.flush()
        if any(event.get("type") == "DELETED" for event in self.events):
            assert self.released.wait(60)
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True


@pytest.fixture
def history():
    """Serve a history on loopback."""
    made = History()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.answer(self)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with served(Handler) as made.address:
        yield made
        made.released.set()


class Hook:
    """The triggerer's way to the API server."""

    def __init__(self, history):
        self.history = history

    async def get_pod(self, _name, _namespace):
        """Know of no pod."""
        raise kubernetes_asyncio.client.ApiException(status=404)

    @asynccontextmanager
    async def get_conn(self):
        """Connect."""
        settings = kubernetes_asyncio.client.Configuration(host=self.history.address)
        async with kubernetes_asyncio.client.ApiClient(settings) as connection:
            yield connection


def ask(history: History) -> dict:
    """Ask as a worker does."""
    api = client.CoreV1Api(client.ApiClient(client.Configuration(host=history.address)))
    return Pods(lambda: api, lambda: None, "nightmill", RUN).last_known(SEEN)


def ask_async(history: History) -> dict:
    """Ask as the triggerer does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepPodTrigger, "hook", Hook(history))
        return asyncio.run(StepPodTrigger(**TRIGGER)._last_known(SEEN))


BOTH = pytest.mark.parametrize("how", [ask, ask_async])


@BOTH
def test_the_last_state_is_told(history, how):
    """Of all that happened since a pod was read, its state at its deletion is returned at once."""
    history.events = [
        {"type": "MODIFIED", "object": ASKED_TO_STOP},
        {"type": "DELETED", "object": GONE},
    ]
    assert how(history) == GONE
    ((path, query),) = history.asked
    assert path == "/api/v1/namespaces/nightmill/pods"
    assert query["fieldSelector"] == ["metadata.name=p"]
    assert query["resourceVersion"] == ["7"]
    assert query["watch"] == ["True"]


@BOTH
def test_the_newest_is_told_where_its_end_is_not(history, how):
    """A history that breaks off is told as far as it goes."""
    history.events = [{"type": "MODIFIED", "object": ASKED_TO_STOP}]
    assert how(history) == ASKED_TO_STOP


@BOTH
@pytest.mark.parametrize(
    ("status", "events", "words"),
    [
        (403, [FORBIDDEN], "Airflow may not watch pods.*image/rbac.yaml"),
        (
            200,
            [{"type": "ERROR", "object": EXPIRED}],
            "How the pod ended cannot be read: .*too old",
        ),
        (200, [], ""),
    ],
    ids=["forbidden", "expired", "empty"],
)
def test_what_was_seen_has_to_do(history, how, status, events, words, caplog):
    """Where the history is not to be had, what was last seen stands, and the log says why."""
    history.status, history.events = status, events
    with caplog.at_level(logging.WARNING, "nightmill"):
        assert how(history) == SEEN
    assert re.search(words, "\n".join(caplog.messages))
    assert len(caplog.messages) == (words != "")


def test_the_triggerer_tells_who_stopped_a_pod_that_went(history):
    """A pod that is gone at the triggerer's first look has the cause that its history tells."""
    history.events = [{"type": "DELETED", "object": GONE}]

    async def first():
        return await anext(StepPodTrigger(**TRIGGER).run())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepPodTrigger, "hook", Hook(history))
        payload = SimpleNamespace(**asyncio.run(first()).payload)
    assert payload.result["cause"] == "evicted"
    assert payload.result["record"] == STOPPED["record"]
    assert payload.evidence["pod"]["container"]["exit_code"] == 17
