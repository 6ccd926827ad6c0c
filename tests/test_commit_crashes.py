"""A commit that is cut off at any of its store calls: readers see the old version or the new.

The calls are those of a real attempt, counted in an undisturbed one, so that a new call is covered
by itself. Networks and servers that misbehave are in `e2e/test_commit_network.py`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from nightmill.errors import StoreError
from nightmill.spec.record import AttemptState, Record
from nightmill.spec.retention import Keep
from nightmill.spec.summary import Standing
from nightmill.store.collect import Order, collect
from nightmill.store.index import Index
from nightmill.store.interface import Backend, Store
from nightmill.store.keys import NOTEBOOK, PROGRESS, RECORD, code_key
from nightmill.store.sweep import sweep
from tests.commit_attempt import (
    NEW,
    OLD,
    Mortal,
    Site,
    check_published,
    check_whole,
    no_engine,
    plant,
    read_current,
    read_record,
    run_attempt,
)
from tests.faulty_store import Fault, FaultyStore

POINTER = "write_if current/p/make/2013-01-01.json #1"
FIRST_TRACE = 2  # the calls before: the pointer is read, the mark is about to be written
WORKERS = 2
RETRIED = 4  # one in so many of the attempts that failed; all of the killed ones are


@dataclass(frozen=True)
class Place:
    """A backend, and the calls that a commit makes there."""

    site: Site
    calls: tuple[str, ...]

    def faults(self, act: str) -> Iterator[Fault]:
        """Give the faults of a kind at every call, but for those that are the same as another.

        A process killed after one call is killed before the next, and a store that is down after
        one call is down before the next; but not for whoever still waits for the pointer's reply.
        """
        for call in self.calls:
            yield Fault(call, "before", act)
            if call == POINTER or (act == "raise" and not call.startswith("read")):
                yield Fault(call, "after", act)
        if act == "kill":
            yield Fault(self.calls[-1], "after", act)

    def has_committed(self, fault: Fault) -> bool:
        """Tell whether the pointer is written by then."""
        here, pointer = self.calls.index(fault.call), self.calls.index(POINTER)
        return here > pointer or (here == pointer and fault.when == "after")


@pytest.fixture(scope="module", params=["directory", "s3"])
def place(request, make_project, tmp_path_factory):
    """Find the calls of an undisturbed attempt that replaces another's outputs."""
    project = make_project()
    url = str(tmp_path_factory.mktemp("crashes") / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTMILL_KERNELS", project.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        if request.param == "s3":
            server = request.getfixturevalue("s3_server")
            url = server.url(uuid4().hex)
            for name, value in server.credentials.items():
                patch.setenv(name, value)
        site = Site.of(project, url)
        stores: list[FaultyStore] = []
        with no_engine():
            plant(site.at("dry").open(), OLD)
            run_attempt(
                site.at("dry"),
                NEW,
                wrap=lambda store: stores.append(FaultyStore(store)) or stores[0],
            )
            yield Place(site, tuple(stores[0].calls))


def in_parallel(act: Callable[[Sequence[Fault], int], None], faults: Sequence[Fault]) -> None:
    """Share faults out among a few threads, since most of the time is waiting for the store."""
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda first: act(faults[first::WORKERS], first), range(WORKERS)))


def test_the_calls_of_a_commit_are_those_of_the_promise(place):
    """Outputs and record are stored before the pointer, which is written once, on a condition."""
    calls = [call for call in place.calls if not call.startswith("read")]
    outputs = [number for number, call in enumerate(calls) if "/outputs/" in call]
    records = [number for number, call in enumerate(calls) if "/record.json" in call]
    assert len(outputs) == 3
    assert max(outputs) < records[-2] < calls.index(POINTER) < records[-1]
    assert [call for call in calls if "current/" in call and "children" not in call] == [POINTER]


def test_a_process_killed_at_any_call(place):
    """Readers have the old version or the new whole, a sweep tells the truth, a retry completes."""

    def kill(some: Sequence[Fault], worker: int) -> None:
        with Mortal(place.site) as mortal:
            for number, fault in enumerate(some):
                site = place.site.at(f"kill-{worker}-{number}")
                store = site.open()
                old = plant(store, OLD)
                assert mortal.run(site.store_url, fault) == -signal.SIGKILL, fault
                check_killed(place, store, fault)
                check_whole(store, old)
                check_retry(site, fault)
                check_no_orphan(store, fault)

    in_parallel(kill, list(place.faults("kill")))


def check_killed(place: Place, store: Store, fault: Fault) -> None:
    """See what is left: a whole version, and once a sweep was there a record that is true."""
    pointer, has_committed = read_current(store), place.has_committed(fault)
    assert (pointer.run == f"run-{NEW}") is has_committed, fault
    check_whole(store, pointer)
    check_published(store, (OLD, 1), (NEW, 1))
    record = read_record(store, NEW)
    if record is not None and record.state is not AttemptState.RUNNING:
        assert record.committed is has_committed, fault
    assert [
        one.problem for one in sweep(store, silent_for=timedelta(0), by="test") if one.problem
    ] == []
    assert list(store.list("active")) == []
    record = read_record(store, NEW)
    check_index(store, fault)
    if record is None:
        assert place.calls.index(fault.call) < FIRST_TRACE, "it left neither mark nor record"
    else:
        ended = AttemptState.SUCCEEDED if has_committed else AttemptState.FAILED
        assert (record.state, record.committed) == (ended, has_committed), fault


def check_index(store: Store, fault: Fault) -> None:
    """See that the index tells of the attempt what its record says, and nothing of one without."""
    record = read_record(store, NEW)
    told = [(one.run, one.attempt, one.standing, one.cause) for one in Index(store).attempts("p")]
    cause = record.failure.cause if record is not None and record.failure else None
    known = [] if record is None else [(f"run-{NEW}", 1, Standing.of(record), cause)]
    assert told == known, fault


def check_retry(site: Site, fault: Fault) -> None:
    """See that the next attempt commits, whatever the one before it left."""
    record = run_attempt(site, NEW, 2)
    assert (record.state, record.committed) == (AttemptState.SUCCEEDED, True), fault
    store = site.open()
    pointer = read_current(store)
    assert (pointer.run, pointer.attempt) == (f"run-{NEW}", 2), fault
    check_whole(store, pointer)
    check_published(store, (NEW, 2))
    newest = Index(store).attempts("p")[0]
    assert (newest.attempt, newest.standing) == (2, Standing.SUCCEEDED), fault


def check_no_orphan(store: Backend, fault: Fault) -> None:
    """See that two gcs, when nothing is kept any more for its age, leave what is current only."""
    rules = {"p": Keep(runs="1d", versions=1, failed="1d")}
    for days in (100, 102):  # the first marks, the second deletes
        now = datetime.now(UTC) + timedelta(days=days)
        list(collect(store, Order(rules, by="test", acts=True, now=now)))
    pointer = read_current(store)
    outputs = {
        f"{output.prefix}/{one.path}" for output in pointer.outputs.values() for one in output.files
    }
    record = read_record(store, NEW, pointer.attempt)
    code = {} if record.code is None else {code_key(record.code.bundle)}
    own = {f"{pointer.attempt_prefix}/{name}" for name in (RECORD, NOTEBOOK, PROGRESS)}
    told = Index(store).attempts("p")
    assert [line.prefix for line in told] == [pointer.attempt_prefix], fault
    own |= {line.key for line in told}
    left = {entry.key for entry in store.list("") if not entry.key.startswith("data/")}
    assert outputs | {pointer.key} <= left <= outputs | {pointer.key} | own | set(code), fault
    check_published(store, (NEW, 2))


def test_a_killed_attempt_that_is_started_again(place):
    """The same attempt, started again after its commit, writes the record that it could not."""
    site = place.site.at("again")
    with Mortal(place.site) as mortal:
        assert mortal.run(site.store_url, Fault(POINTER, "after", "kill")) == -signal.SIGKILL
    assert read_record(site.open(), NEW).state is AttemptState.RUNNING
    record = run_attempt(site, NEW)
    assert (record.state, record.committed) == (AttemptState.SUCCEEDED, True)
    assert read_record(site.open(), NEW) == record


@pytest.mark.parametrize("act", ["raise", "down"])
def test_a_store_that_fails_at_any_call(place, act):
    """Whether one call fails or all from then on: readers see one version, no record is a lie."""

    def fail(some: Sequence[Fault], worker: int) -> None:
        for number, fault in enumerate(some):
            site = place.site.at(f"{act}-{worker}-{number}")
            plant(site.open(), OLD)
            returned: Record | None = None
            with suppress(StoreError):
                returned = run_attempt(
                    site, NEW, wrap=lambda store, fault=fault: FaultyStore(store, fault)
                )
            check_failed(site.open(), returned, fault)
            if number % RETRIED == 0:
                check_retry(site, fault)

    in_parallel(fail, list(place.faults(act)))


def test_a_lost_reply_of_any_conditional_write(place):
    """A write that took effect, and is repeated by the client and refused, fails no attempt."""
    conditional = [call for call in place.calls if call.startswith(("write_if", "copy_if"))]
    assert len(conditional) >= 3
    for number, call in enumerate(conditional):
        site, fault = place.site.at(f"conflict-{number}"), Fault(call, "after", "conflict")
        plant(site.open(), OLD)
        record = run_attempt(site, NEW, wrap=lambda store, fault=fault: FaultyStore(store, fault))
        assert (record.committed, record.failure, record.warnings) == (True, None, ()), fault
        check_whole(site.open(), read_current(site.open()))


def check_failed(store: Store, returned: Record | None, fault: Fault) -> None:
    """See that readers, the record in the store and the one that was returned agree."""
    pointer = read_current(store)
    has_won = pointer.run == f"run-{NEW}"
    check_whole(store, pointer)
    kept = read_record(store, NEW)
    for record in (returned, kept):
        if record is not None and record.state is not AttemptState.RUNNING:
            assert record.committed is has_won, fault
