"""A publish into a Delta table that is cut off at any request, or at any change to a folder.

The calls are deltalake's own, and not those of our store: to a real S3 server behind a proxy, and
to the file system. Whatever happens: readers see the partition as it was or as it is now, whoever
comes next completes it, and a gc leaves nothing that is no part of the table.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote
from uuid import uuid4

import duckdb
import pytest
from deltalake.exceptions import TableNotFoundError

from nightmill.errors import StoreError
from nightmill.publish.publish import Published, complete, publish_current, repair
from nightmill.publish.target import State as Done
from nightmill.publish.upkeep import collect_from_tables
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.retention import Keep
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml
from nightmill.store import s3
from nightmill.store.collect import Fate, collect
from nightmill.store.collect import Order as Collecting
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from tests.commit_attempt import _shared_client
from tests.e2e import traced
from tests.e2e.delta_cases import CASES, FIRST, NEW, NEWER, REPLACES, UPKEEP, WITHDRAWS, Case, Rows
from tests.e2e.mortal_publisher import Mortal, Order
from tests.published import TABLE
from tests.s3_proxy import Fault, Proxy, Request, run_proxy
from tests.s3_server import ServerProcess, run_server_process
from tests.stored_versions import PIPELINE, current
from tests.test_publish_delta import open_table

pytestmark = pytest.mark.e2e

LANES = 2
READS = {"GET", "HEAD"}
FAULTS = (Fault.LOSE_REPLY, Fault.CUT_REPLY, Fault.LOSE_REQUEST, Fault.DOUBLE, Fault.DELAY)
MID_WRITE_S = 0.002  # a write to a server on this machine takes a little longer
LOG = re.compile(r"\d{20}\.(json|checkpoint\.parquet)|_last_checkpoint")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)


@dataclass
class Trap:
    """Kills whoever publishes at one of its requests, before that arrives or once it was served."""

    number: int
    when: str
    victim: Future[int] = field(default_factory=Future)
    dead: threading.Event = field(default_factory=threading.Event)
    caught: Request | None = None

    def fault(self, request: Request) -> Fault | None:
        """Kill, or have the reply be lost."""
        if request.number != self.number:
            return None
        self.caught = request
        if self.when == "before":
            self.kill(request)
        return Fault.LOSE_REQUEST if self.when == "before" else Fault.LOSE_REPLY

    def kill(self, _request: Request) -> None:
        """Kill, and wait until it is dead."""
        os.kill(self.victim.result(timeout=30), signal.SIGKILL)
        assert self.dead.wait(timeout=30)


@dataclass(frozen=True)
class Lane:
    """A publisher that may be killed and its way to the server: for one trial at a time."""

    mortal: Mortal
    proxy: Proxy

    def publish(self, order: Order, trap: Trap) -> int:
        """Publish through the proxy; return how it ended."""
        self.proxy.seen.clear()
        self.proxy.fault, self.proxy.served = trap.fault, trap.kill
        try:
            return self.mortal.run(order, trap.victim.set_result)
        finally:
            trap.dead.set()


def behind(proxy: Proxy, url: str) -> str:
    """Name the same store behind a proxy."""
    return url.replace(proxy.upstream, proxy.endpoint)


def load(text: str, folder: Path) -> tuple[Path, PipelineSpec]:
    """Write a pipeline.yaml and validate it."""
    path = folder / f"{uuid4().hex}.yaml"
    path.write_text(text)
    return path, validate(PipelineSpec, read_yaml(path))


@pytest.fixture(scope="module")
def server(s3_server, tmp_path_factory):
    """Have the server's rights in the environment, and share clients: they take a while to make."""
    with pytest.MonkeyPatch.context() as patched, patch.object(s3, "_client", _shared_client):
        patched.setenv("NIGHTMILL_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        for name, value in s3_server.credentials.items():
            patched.setenv(name, value)
        yield s3_server


@pytest.fixture(scope="module")
def lanes(server):
    """Run publishers, each with a proxy of its own."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(run_proxy(server.endpoint)) for _ in range(LANES)]
        urls = [behind(one, server.url("x")) for one in proxies]
        mortals = [stack.enter_context(Mortal(server.credentials, url)) for url in urls]
        yield [Lane(*pair) for pair in zip(mortals, proxies, strict=True)]


@dataclass
class Stage:
    """A case whose store can be copied, and the states that killed publishers have left."""

    case: Case
    pipeline: Path
    spec: PipelineSpec
    template: str
    copy: Callable[[str], str]
    known: set[State] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, url: str) -> Order:
        """Order the publish."""
        return Order(str(self.pipeline), url, self.case.place)

    def check(self, url: str, place: object) -> None:
        """See that a reader finds a whole version; complete each state once in every way."""
        store = open_store(url, base=Path())
        found, state = read(store), state_of(store)
        assert found in (self.case.old(), self.case.new()), place
        with self.lock:
            self.seen.add("old" if found == self.case.old() else "new")
            is_known = state in self.known
            self.known.add(state)
        if not is_known:  # the last one is told by more than a copy has: unfinished uploads
            urls = [*(self.copy(url) for _ in WAYS[1:]), url]
            for each, come in zip(urls, WAYS, strict=True):
                self.complete(open_store(each, base=Path()), come, place)

    def complete(self, store: Store, come: Come, place: object) -> None:
        """See that whoever comes next completes the table, and that a gc leaves nothing else."""
        order = come(self, store)
        assert read(store) == self.case.new(order), (place, come)
        check_no_orphan(store, place)
        assert read(store) == self.case.new(order), (place, come)


Come = Callable[[Stage, Store], int]
State = tuple[object, ...]


def state_of(store: Store) -> State:
    """Tell what lies in a store: all that deltalake names by chance has one name."""
    names = [(re.sub(r"part-[0-9a-f-]+", "PART", one.key), one.size > 0) for one in store.list("")]
    return (*sorted(names), *("upload" for _ in store.remnants()))


@contextmanager
def on_s3(case: Case, server, folder: Path) -> Iterator[Stage]:
    """Plant the case once; its objects are copied for trials."""
    client, template = server.client(), server.url(uuid4().hex)
    case.plant(open_store(template, base=Path()), lambda text: load(text, folder)[1])

    def copy(url: str) -> str:
        old, new = re.search(r"[0-9a-f]{32}", url)[0], uuid4().hex
        for entry in open_store(url, base=Path()).list(""):
            source = {"Bucket": server.bucket, "Key": f"{old}/{entry.key}"}
            client.copy_object(Bucket=server.bucket, Key=f"{new}/{entry.key}", CopySource=source)
        return server.url(new)

    yield Stage(case, *load(case.declare(), folder), template, copy)


@contextmanager
def in_folder(case: Case, folder: Path) -> Iterator[Stage]:
    """Plant the case once; its folder is copied for trials."""
    template = str(folder / "template")
    case.plant(open_store(template, base=folder), lambda text: load(text, folder)[1])

    def copy(url: str) -> str:
        return str(shutil.copytree(url, folder / uuid4().hex))

    yield Stage(case, *load(case.declare(), folder), template, copy)


@each_case
def test_killed_at_any_request_to_s3(case, server, lanes, tmp_path):
    """Before it arrives, or served and unanswered: what arrived is whole, and the rest follows."""
    with on_s3(case, server, tmp_path) as stage, ThreadPoolExecutor(LANES) as pool:
        ends = list(pool.map(lambda n: kill_at_every(stage, lanes[n], n), range(LANES)))
    caught = dict(chain.from_iterable(ends))
    assert set(range(max(caught) - 1)) <= set(caught)  # some publishes ask once more than others
    assert stage.seen == {"old", "new"}


def kill_at_every(stage: Stage, lane: Lane, first: int) -> list[tuple[int, str]]:
    """Kill at every request of this lane's share, until a publish ends by itself."""
    caught, url = [], stage.copy(stage.template)
    for number in count(first, LANES):
        for when in ("before", "after"):
            trap, before = Trap(number, when), contents(url)
            kill_at(stage, lane, url, trap)
            if trap.caught is None:
                return caught
            if contents(url) != before:
                url = stage.copy(stage.template)
            if trap.caught.command in READS:  # it leaves all as it was, whether served or not
                break
        caught.append((number, trap.caught.command))
    raise AssertionError


def contents(url: str) -> list[object]:
    """List all that lies in a store."""
    store = open_store(url, base=Path())
    return [*store.list(""), *store.remnants()]


def kill_at(stage: Stage, lane: Lane, url: str, trap: Trap) -> None:
    """Kill at one request, if it is ever made, and see what is left."""
    code = lane.publish(stage.order(behind(lane.proxy, url)), trap)
    place = f"{trap.when} {trap.number}: {trap.caught}"
    assert code == (0 if trap.caught is None else -signal.SIGKILL), place
    stage.check(url, place)


def read(store: Store) -> Rows:
    """Let DuckDB read all rows; none where there is no table yet."""
    try:
        published = open_table(store).to_pyarrow_dataset()  # noqa: F841 - DuckDB finds it by name
    except TableNotFoundError:
        return []
    with duckdb.connect() as connection:
        return sorted(connection.sql("SELECT * FROM published").fetchall())


def the_next_run(stage: Stage, store: Store) -> int:
    """Complete what is committed, as a run does before it plans."""
    found = list(
        complete(store, stage.spec, [current(store, member=stage.case.place.get("member", ""))])
    )
    assert [one.problem for one in found if one.problem] == []
    return NEW


def a_repair(stage: Stage, store: Store) -> int:
    """Compare all with what is committed."""
    found = list(repair(store, stage.spec))
    assert [one.problem for one in found if one.problem] == []
    assert all(one.state is Done.CURRENT for one in repair(store, stage.spec))
    return NEW


def a_newer_commit(stage: Stage, store: Store) -> int:
    """Publish what another run has committed meanwhile."""
    stage.case.commit_newer(store)
    (found,) = publish_current(store, stage.spec, **stage.case.place)
    assert (found.state, found.problem) == (Done.PUBLISHED, "")
    return NEWER


WAYS = (the_next_run, a_repair, a_newer_commit)


def check_no_orphan(store: Store, place: object) -> None:
    """See that a gc leaves of the table what its newest version is made of, and its log."""
    now = datetime.now(UTC) + timedelta(days=8)
    order = Collecting({PIPELINE: Keep()}, by="test", acts=True, now=now)
    found = list(chain(collect(store, order), collect_from_tables(store, order)))
    assert [one for one in found if one.fate is Fate.PROBLEM] == [], place
    left = {entry.key.removeprefix(f"{TABLE}/") for entry in store.list(TABLE)}
    log = {key for key in left if key.startswith("_delta_log/")}
    strange = {key for key in log if not LOG.fullmatch(key.removeprefix("_delta_log/"))}
    assert strange == set(), place
    table = open_table(store)
    known = table.get_add_actions(flatten=True).column("path").to_pylist()
    assert left - log == set(known), place
    assert list(store.remnants()) == [], place


@dataclass
class Disturbance:
    """A fault at one of the requests for the table."""

    number: int
    fault: Fault
    only_writes: bool
    caught: Request | None = None
    seen: Iterator[int] = field(default_factory=count)

    def __call__(self, request: Request) -> Fault | None:
        """Count, and disturb the one that is meant."""
        if not re.search(r"/data/|\?delete$", unquote(request.path)):
            return None
        is_meant = not (self.only_writes and request.command in READS)
        if not is_meant or next(self.seen) != self.number:
            return None
        self.caught = request
        return self.fault


@pytest.mark.parametrize("case", [FIRST, REPLACES, WITHDRAWS, UPKEEP], ids=lambda one: one.name)
def test_any_request_to_s3_may_be_disturbed_on_its_way(case, server, lanes, tmp_path):
    """One fault at any request is mended, by deltalake or by us, and leaves nothing behind."""

    def disturb_every(first: int) -> list[Published]:
        ends = []
        for number in count(first, LANES):
            for fault in FAULTS:
                disturbance = Disturbance(number, fault, case in {REPLACES, UPKEEP})
                ends += disturb(stage, lanes[first].proxy, disturbance)
                if disturbance.caught is None:
                    return ends
                if fault is Fault.CUT_REPLY and disturbance.caught.command in READS:
                    break  # late, twice or lost on the way there, it is the same
        raise AssertionError

    with on_s3(case, server, tmp_path) as stage, ThreadPoolExecutor(LANES) as pool:
        ends = list(chain.from_iterable(pool.map(disturb_every, range(LANES))))
    assert [one.problem for one in ends if one.problem] == []
    assert stage.seen == {"new"}


def disturb(stage: Stage, proxy: Proxy, disturbance: Disturbance) -> tuple[Published, ...]:
    """Publish with a fault, and return what is told of it; see that the table is whole."""
    url = stage.copy(stage.template)
    store = open_store(behind(proxy, url), base=Path())
    proxy.fault, proxy.served = disturbance, lambda _request: None
    found = publish_current(store, stage.spec, **stage.case.place)
    stage.check(url, disturbance)
    return found


@dataclass
class Outage:
    """Kills the server at one write to the table, and starts it again over the same data.

    Within the write; or once it has taken effect, and whoever publishes still waits for the answer.
    """

    process: ServerProcess
    number: int
    is_within: bool
    look: Callable[[], None]
    caught: Request | None = None
    seen: Iterator[int] = field(default_factory=count)
    over: Future[None] = field(default_factory=Future)

    def fault(self, request: Request) -> Fault | None:
        """Count, and kill at the one that is meant."""
        is_meant = request.command not in READS and "/data/" in unquote(request.path)
        if not is_meant or next(self.seen) != self.number:
            return None
        self.caught = request
        if not self.is_within:
            return Fault.LOSE_REPLY
        threading.Timer(MID_WRITE_S, self.happen, [request]).start()
        return None

    def happen(self, _request: Request) -> None:
        """Kill, start again, and look at what there is."""
        try:
            self.process.kill()
            self.process.start()
            self.over.set_result(self.look())
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.over.set_exception(error)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("case", "is_within"), [(REPLACES, False), (UPKEEP, True)], ids=["after", "within"]
)
def test_the_server_is_killed_at_any_write(case, is_within, tmp_path):
    """It comes back with the old or the new version whole, and whoever comes next completes it."""
    with (
        run_server_process("127.0.0.1") as process,
        run_proxy(process.server.endpoint) as proxy,
        on_s3(case, process.server, tmp_path) as stage,
    ):
        for number in count():
            url = stage.copy(stage.template)

            def look(url: str = url) -> None:
                settle(stage.template, url)
                assert read(open_store(url, base=Path())) in (case.old(), case.new())

            outage = Outage(process, number, is_within, look)
            proxy.fault, proxy.served = outage.fault, outage.happen
            store = open_store(behind(proxy, url), base=Path())
            (found,) = publish_current(store, stage.spec, **case.place)
            if outage.caught is None:
                break
            outage.over.result(timeout=120)
            assert (found.state is Done.FAILED) == ("the store " in found.problem), found.problem
            stage.check(url, outage.caught)
    assert number > 3


def settle(*urls: str) -> None:
    """Wait until a restarted server has found all its data again; until then it refuses some."""
    deadline = time.monotonic() + 60
    for url in urls:
        store = open_store(url, base=Path())
        while True:
            try:
                for entry in store.list(""):
                    store.read(entry.key)
                break
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)  # a poll with a deadline


@pytest.mark.parametrize("case", [FIRST, REPLACES, WITHDRAWS], ids=lambda one: one.name)
def test_a_commit_of_the_dead_that_arrives_late_replaces_nothing(case, server, lanes, tmp_path):
    """Sent by a process that is dead by now, it reaches the server after a newer run's."""
    lane, trap = lanes[0], Trap(-1, "before")
    may_arrive, has_arrived = threading.Event(), threading.Event()

    def hold(request: Request) -> Fault | None:
        if request.command != "PUT" or "/_delta_log/" not in request.path:
            return None
        trap.kill(request)
        assert may_arrive.wait(timeout=30)
        return Fault.LOSE_REPLY

    with on_s3(case, server, tmp_path) as stage:
        url = stage.copy(stage.template)
        order = stage.order(behind(lane.proxy, url))
        lane.proxy.fault, lane.proxy.served = hold, lambda _request: has_arrived.set()
        try:
            assert lane.mortal.run(order, trap.victim.set_result) == -signal.SIGKILL
        finally:
            trap.dead.set()
        store = open_store(url, base=Path())
        assert a_newer_commit(stage, store) == NEWER
        may_arrive.set()
        assert has_arrived.wait(timeout=30)
        assert read(store) == case.new(NEWER)
        check_no_orphan(store, case.name)


@pytest.mark.skipif(not traced.IS_POSSIBLE, reason="system calls are known by those of x86-64 only")
@each_case
def test_killed_at_any_change_to_a_folder(case, lanes, tmp_path):
    """Between any two of the system calls by which deltalake changes the table's folder."""

    def kill_at_every(first: int) -> list[int]:
        killed = []
        for number in count(first, LANES):
            url = stage.copy(stage.template)
            code = lanes[first].mortal.run_traced(stage.order(url), Path(url), number)
            stage.check(url, number)
            if code == 0:
                return killed
            assert code == -signal.SIGKILL, number
            killed.append(number)
        raise AssertionError

    with in_folder(case, tmp_path) as stage, ThreadPoolExecutor(LANES) as pool:
        killed = list(chain.from_iterable(pool.map(kill_at_every, range(LANES))))
    assert sorted(killed) == list(range(len(killed)))
    assert stage.seen == {"old", "new"}
    assert any(name.endswith("#1") for state in stage.known for name, _size in state)
