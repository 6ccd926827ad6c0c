"""A commit over a network that loses, delays, doubles and cuts, to a server that is killed.

Whatever happens at whichever request of an attempt: readers see the old version or the new whole,
records say what is so, the next attempt completes, nothing that was committed is lost, and once
gc has run past its grace nothing is left of what was not.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote
from uuid import uuid4

import pytest

from nightmill.errors import FencedError, StoreError
from nightmill.spec.record import AttemptState, Record
from nightmill.store.pointer import commit, read_current
from nightmill.store.sweep import sweep
from tests import commit_attempt
from tests.commit_attempt import (
    NEW,
    OLD,
    Site,
    check_published,
    check_whole,
    no_engine,
    plant,
    read_record,
    run_attempt,
)
from tests.s3_proxy import Fault, Proxy, Request, run_proxy
from tests.s3_server import ServerProcess, run_server_process
from tests.stored_versions import make_pointer
from tests.test_commit_crashes import check_no_orphan

pytestmark = pytest.mark.e2e

WORKERS = 4
MID_WRITE_S = 0.002  # a write to a server on this machine takes a little longer
SETTLED_WITHIN_S = 30


@pytest.fixture(scope="module")
def server():
    """Run a server of this module's own, since it is killed again and again."""
    with run_server_process("127.0.0.1") as process:
        yield process


@pytest.fixture(scope="module")
def site(server, make_project, tmp_path_factory):
    """Set up a project whose attempts reach the server directly."""
    project = make_project()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        for name, value in server.server.credentials.items():
            patch.setenv(name, value)
        with no_engine():
            yield Site.of(project, server.server.url(uuid4().hex))


class Route:
    """A proxy that many attempts share; requests are counted for each store by itself."""

    def __init__(self, proxy: Proxy, server: ServerProcess) -> None:
        self._proxy = proxy
        self._direct = server.server.endpoint
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def behind(self, site: Site) -> Site:
        """Name the same store behind the proxy."""
        return replace(site, store_url=site.store_url.replace(self._direct, self._proxy.endpoint))

    def count(self, request: Request) -> tuple[str, int]:
        """Tell which store a request is for, and how many came before it."""
        name = re.search(r"[0-9a-f]{32}/(\w+-\w+)/", unquote(request.path))[1]
        with self._lock:
            self._counts[name] += 1
            return name, self._counts[name] - 1


@pytest.fixture(scope="module")
def route(server):
    """Run a proxy before the server."""
    with run_proxy(server.server.endpoint) as proxy:
        yield Route(proxy, server)


@pytest.fixture
def proxy(route):
    """Hand out the proxy, and see that it behaves again afterwards."""
    yield route._proxy
    route._proxy.fault = lambda _request: None
    route._proxy.served = lambda _request: None


@pytest.fixture(scope="module")
def requests(site, route) -> list[str]:
    """Find the requests of an undisturbed attempt that replaces another's outputs."""
    here = site.at("dry-run")
    plant(here.open(), OLD)
    assert run_attempt(route.behind(here), NEW).committed
    return [f"{one.command} {one.path}" for one in route._proxy.seen]


def try_attempt(site: Site) -> Record | None:
    """Run the new attempt; return its record, or None where the store could not keep it."""
    with suppress(StoreError):
        return run_attempt(site, NEW)
    return None


def check_site(site: Site, returned: Record | None, place: object) -> None:
    """See what readers see; records, a sweep, the next attempt and a gc agree with it."""
    store = site.open()
    pointer = commit_attempt.read_current(store)
    has_won = pointer.run == f"run-{NEW}"
    check_whole(store, pointer)
    if returned is not None:
        assert returned.committed is has_won, place
    assert [
        one.problem for one in sweep(store, silent_for=timedelta(0), by="test") if one.problem
    ] == []
    kept = read_record(store, NEW)
    if kept is not None:
        assert kept.state is not AttemptState.RUNNING, place
        assert kept.committed is has_won, place
    again = run_attempt(site, NEW, 2)
    assert again.committed, place
    check_whole(store, commit_attempt.read_current(store))
    check_published(store, (NEW, 2))
    check_no_orphan(store, place)
    assert list(store.remnants()) == [], place


@pytest.mark.parametrize("fault", Fault)
def test_any_request_may_be_disturbed_on_its_way(site, route, proxy, requests, fault):
    """One fault at any request of an attempt is mended by asking again, or told as the store's."""
    hits: list[int] = []

    def disturb(request: Request) -> Fault | None:
        name, number = route.count(request)
        if name != f"{fault.name}-{number}x":
            return None
        hits.append(number)
        return fault

    def run(number: int) -> None:
        here = site.at(f"{fault.name}-{number}x")
        old = plant(here.open(), OLD)
        record = try_attempt(route.behind(here))
        if fault is not Fault.CUT_REPLY:  # half of a refusal may say too little to go on
            assert record is not None, requests[number]
            assert (record.committed, record.failure) == (True, None), requests[number]
        check_whole(here.open(), old)
        check_site(here, record, requests[number])

    proxy.fault = disturb
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, range(len(requests))))
    assert sorted(hits) == list(range(len(requests)))


@pytest.mark.parametrize("moment", ["after", "within"])
def test_the_server_may_be_killed_at_any_write(site, route, proxy, server, requests, moment):
    """The server dies after a write took effect, unanswered, or within it: nothing is torn."""
    some = ("/outputs/scores/", "/record.json", "/current/") if moment == "within" else ("",)
    for number in writes_of_the_commit(requests):
        request = requests[number]
        if not any(part in request for part in some):
            continue
        here, back = site.at(f"{moment}-{number}x"), threading.Event()

        def die(back: threading.Event = back) -> None:
            server.kill()
            server.start()
            back.set()

        def disturb(one: Request, number: int = number, die=die) -> Fault | None:
            if route.count(one) != (f"{moment}-{number}x", number):
                return None
            if moment == "after":
                return Fault.LOSE_REPLY
            threading.Timer(MID_WRITE_S, die).start()
            return None

        old = plant(here.open(), OLD)
        proxy.fault, proxy.served = disturb, lambda _request, die=die: die()
        record = try_attempt(route.behind(here))
        assert back.wait(timeout=60), request
        eventually(lambda old=old, here=here: check_whole(here.open(), old))
        check_site(here, record, request)


def writes_of_the_commit(requests: list[str]) -> list[int]:
    """Return the numbers of the writes from the first output on, where a commit can be torn."""
    first = next(number for number, one in enumerate(requests) if "/outputs/" in one)
    return [n for n in range(first, len(requests)) if not requests[n].startswith(("GET", "HEAD"))]


def eventually(check: Callable[[], None]) -> None:
    """Check once the restarted server has found all its data again; until then it refuses."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        try:
            return check()
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # a poll with a deadline


def test_a_zombie_whose_write_is_held_up_is_fenced(site, route, proxy):
    """A commit that was sent before a newer one, and arrives after it, changes nothing."""
    here = site.at("held-up")
    zombie, newer = make_pointer(5, outputs={}), make_pointer(6, outputs={})
    sent, may_arrive = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.is_conditional:
            sent.set()
            assert may_arrive.wait(timeout=30)

    proxy.fault = hold
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(commit, route.behind(here).open(), zombie)
        assert sent.wait(timeout=30)
        commit(here.open(), newer)
        may_arrive.set()
        with pytest.raises(FencedError, match=r"run-6 \(attempt 1\)"):
            end.result(timeout=60)
    assert read_current(here.open(), newer.key).pointer == newer
