"""The index as a server reads it: what it tells, how soon, and how little it asks of the store."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.errors import StoreError
from nightmill.spec.record import AttemptState, Record
from nightmill.spec.summary import Standing, summarize
from nightmill.store import index_book
from nightmill.store.active import mark, unmark
from nightmill.store.history import prefix_of
from nightmill.store.index import Index, note
from nightmill.store.index_bodies import Bodies
from nightmill.store.index_line import entry_key, milliseconds
from nightmill.store.open import open_store
from tests.faulty_store import Fault, FaultyStore
from tests.many_runs import Ended, attempts, fill, write
from tests.tcp_line import line_to

NIGHTS = [one for one, _number in zip(attempts(), range(1_800), strict=False)]
FLIGHTS = [one for one in NIGHTS if one.record.pipeline == "flights"]


@dataclass
class Clock:
    """A clock that goes when it is told to; seconds."""

    now: float = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def local(tmp_path):
    """Open an empty store for what does not depend on the backend."""
    return open_store("store", base=tmp_path)


@pytest.fixture
def clock():
    """Make a clock that stands still."""
    return Clock()


def fresh(number: int = 0, **facts: object) -> Record:
    """Make the record of an attempt that ends just now, of a run younger than all others."""
    now = datetime.now(UTC)
    names = {"run": f"fresh-{number}", "order": milliseconds(now) * 1000 + number}
    times = {"started_at": now - timedelta(seconds=9), "ended_at": now, "duration_s": 9.0}
    ended = {"state": AttemptState.SUCCEEDED, "failure": None, "committed": True, "review": None}
    return FLIGHTS[0].record.model_copy(update={**names, **times, **ended, **facts})


def write_at(store, record: Record, moment: datetime) -> str:
    """Write an entry as a machine does whose clock says so."""
    return write(store, Ended(record, milliseconds(moment)), with_record=False)


def test_it_tells_every_attempt_the_newest_run_first(store, clock):
    """Of each pipeline all that ended is told as its record says, and what runs as running."""
    made = fill(store, 35, with_records=False)
    index = Index(store, clock=clock)
    assert index.pipelines() == ("flights", "taxis")
    for pipeline in index.pipelines():
        first, *ended = index.attempts(pipeline)
        assert (first.standing, first.key, first.ended_at) == (Standing.RUNNING, "", None)
        assert first.run.startswith("20140101T")
        own = [one for one in made if one.pipeline == pipeline]
        expected = sorted(own, key=lambda one: (one.order, one.started_at), reverse=True)
        assert [(one.run, one.step) for one in ended] == [(one.run, one.step) for one in expected]
        for line, record in zip(ended, expected, strict=True):
            cause = record.failure.cause if record.failure else None
            assert (line.standing, line.cause) == (Standing.of(record), cause)
            assert (line.started_at, line.ended_at) == (record.started_at, record.ended_at)
            assert (line.prefix, line.order) == (prefix_of(record), record.order)
    lines = index.attempts("flights") + index.attempts("taxis")
    counts = Counter(line.standing for line in lines)
    assert counts == {"running": 2, "failed": 5, "held": 1, "rejected": 2, "succeeded": 27}


def test_a_store_without_attempts_is_empty(local):
    """Nothing ran: there are no pipelines, and a pipeline nobody knows has no attempts."""
    index = Index(local)
    assert (index.pipelines(), index.attempts("flights")) == ((), ())


def test_nothing_is_asked_twice_within_two_seconds(local, clock):
    """A page that is loaded again at once costs nothing; two seconds later it tells what is new."""
    fill(local, 10, with_records=False)
    counted = FaultyStore(local)
    index = Index(counted, clock=clock)
    before = index.attempts("flights")
    calls = len(counted.calls)
    note(local, fresh())
    clock.now += 1.9
    assert index.attempts("flights") is before
    assert len(counted.calls) == calls
    clock.now += 0.1
    assert index.attempts("flights")[0].run == "fresh-0"
    assert len(counted.calls) == calls + 2  # the marks, and the first page of the entries


def test_what_has_expired_is_asked_at_once(local, clock):
    """Whoever changed something himself sees it in the next look, two seconds or not."""
    fill(local, 10, with_records=False)
    index = Index(local, clock=clock)
    index.attempts("flights")
    note(local, fresh())
    clock.now += 0.1
    index.expire()
    assert index.attempts("flights")[0].run == "fresh-0"


def test_a_refresh_that_brings_nothing_changes_nothing(local, clock):
    """The same tuple comes back, so that whoever made something of it need not do so again."""
    fill(local, 10, with_records=False)
    index = Index(local, clock=clock)
    before = index.attempts("flights")
    clock.now += 2
    assert index.attempts("flights") is before


def test_what_is_marked_runs_until_it_is_noted(store, clock):
    """A mark alone means running; with an entry it has ended, whether or not the mark is gone."""
    index = Index(store, clock=clock)
    record = fresh()
    mark(store, prefix_of(record), order=record.order)
    (line,) = index.attempts("flights")
    assert (line.standing, line.order, line.prefix) == (
        Standing.RUNNING, record.order, prefix_of(record)
    )  # fmt: skip
    assert line.started_at.tzinfo is not None
    assert index.pipelines() == ("flights",)
    for act in (lambda: note(store, record), lambda: unmark(store, prefix_of(record))):
        act()
        clock.now += 2
        assert [one.standing for one in index.attempts("flights")] == [Standing.SUCCEEDED]


def test_a_mark_of_an_earlier_version_is_sorted_by_its_time(local):
    """A mark that does not tell the run's order stands where its beginning puts it."""
    note(local, fresh(order=1_000))
    prefix = prefix_of(fresh(1))
    mark(local, prefix)
    assert Index(local).attempts("flights")[0].prefix == prefix


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]"])
def test_a_mark_that_cannot_be_read_tells_that_something_runs(local, text):
    """The name of a mark says which attempt it is, whatever is in it."""
    local.write("active/runs/flights/d/r/score/1.json", text)
    local.write("active/stray.json", b"?")
    (line,) = Index(local).attempts("flights")
    assert (line.run, line.standing) == ("r", Standing.RUNNING)


class _EndsWhileItIsRead:
    """A store in which an attempt ends right after the marks were listed."""

    def __init__(self, store, record: Record) -> None:
        self._store = store
        self._record = record

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def list(self, prefix: str, **options: object):
        found = list(self._store.list(prefix, **options))
        if prefix == "active":
            note(self._store, self._record)
            unmark(self._store, prefix_of(self._record))
        return iter(found)


def test_an_attempt_that_ends_just_then_does_not_vanish(store, clock):
    """Between two looks, at the marks and at the entries, an attempt is there all the time."""
    record = fresh()
    mark(store, prefix_of(record), order=record.order)
    index = Index(_EndsWhileItIsRead(store, record), clock=clock)
    assert [line.standing for line in index.attempts("flights")] == [Standing.SUCCEEDED]


def test_pipelines_that_are_looked_at_in_turns_lose_nothing(local, clock):
    """The marks are listed for all pipelines at once; each one's entries are read after that."""
    fill(local, 10, with_records=False)
    first, second = fresh(1), fresh(2)
    for record in (first, second):
        mark(local, prefix_of(record), order=record.order)
    index = Index(local, clock=clock)
    index.attempts("taxis")
    for record in (first, second):
        note(local, record)
        unmark(local, prefix_of(record))
        index.attempts("taxis")  # whose look at the marks counts for flights as well
        ended = {line.run: line.standing for line in index.attempts("flights")}
        assert ended[record.run] is Standing.SUCCEEDED
        clock.now += 2


def test_clocks_may_differ_by_ten_minutes(local, clock):
    """An entry of a machine whose clock is slow is found, though it sorts behind known ones."""
    for number in range(3):
        note(local, fresh(number))
    index = Index(local, clock=clock)
    assert len(index.attempts("flights")) == 3
    write_at(local, fresh(7), datetime.now(UTC) - timedelta(minutes=9))
    write_at(local, fresh(8), datetime.now(UTC) + timedelta(hours=5))
    clock.now += 2
    assert {line.run for line in index.attempts("flights")} >= {"fresh-7", "fresh-8"}
    note(local, fresh(9))
    clock.now += 2
    assert len(index.attempts("flights")) == 6


def test_more_may_have_ended_than_a_page_tells(store, clock, monkeypatch):
    """A refresh asks for few at once, and for more until it has all that is new."""
    monkeypatch.setattr(index_book, "_FEW", 2)
    for one in FLIGHTS[:4]:
        write(store, one, with_record=False)
    index = Index(store, clock=clock)
    assert len(index.attempts("flights")) == 4
    for number in range(5):
        note(store, fresh(number))
    clock.now += 2
    assert len(index.attempts("flights")) == 9


def until(condition) -> None:
    """Wait for what another thread does; fails when it takes long."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_is_listed_again_now_and_then(local, clock):
    """Every quarter of an hour, behind the back of whoever asks, what was deleted is forgotten."""
    keys = [write(local, one, with_record=False) for one in FLIGHTS[:5]]
    index = Index(local, clock=clock)
    assert len(index.attempts("flights")) == 5
    local.delete(keys[1])
    long_ago = write(local, FLIGHTS[20], with_record=False)
    clock.now += index_book.WHOLE_EVERY_S - 1
    assert len(index.attempts("flights")) == 5
    clock.now += 2
    index.attempts("flights")
    expected = {keys[0], *keys[2:], long_ago}
    until(lambda: {line.key for line in index.attempts("flights")} == expected)


def test_summaries_are_those_of_the_records(store):
    """A summary is told by the attempt's prefix, and says what was made of its record."""
    made = [one.record for one in FLIGHTS[:4]]
    for one in FLIGHTS[:4]:
        write(store, one, with_record=False)
    mark(store, prefix_of(fresh()))
    index = Index(store)
    found = index.summaries(index.attempts("flights"))
    assert found == {prefix_of(one): summarize(one, prefix_of(one)) for one in made}


def test_a_line_whose_body_is_gone_is_dropped(store, clock):
    """What `nightmill gc` took since is in no summary, and in no later list."""
    keys = [write(store, one, with_record=False) for one in FLIGHTS[:4]]
    index = Index(store, clock=clock)
    lines = index.attempts("flights")
    store.delete(keys[2])
    assert len(index.summaries(lines)) == 3
    assert {line.key for line in index.attempts("flights")} == {*keys[:2], keys[3]}
    clock.now += 2
    assert len(index.attempts("flights")) == 3


def test_a_line_whose_body_cannot_be_read_just_then_stays(local, clock):
    """Only a listing says that an entry is gone: a read may find nothing just then.

    The same holds where the name does not tell all, and the body is what the line is made of.
    """
    named = [write(local, one, with_record=False) for one in FLIGHTS[:2]]
    long = fresh(1, run="long-" + "r" * 400, step="s" * 300)
    keys = {*named, write_at(local, long, datetime.now(UTC))}

    class Blind(FaultyStore):
        """A store that finds nothing for a while, but lists all."""

        is_blind = True

        def read(self, key):
            return None if self.is_blind else self.store.read(key)

    blind = Blind(local)
    index = Index(blind, clock=clock)
    lines = index.attempts("flights")
    assert index.summaries(lines) == {}
    assert {line.key for line in index.attempts("flights")} == {*named}
    blind.is_blind = False
    clock.now += 2
    assert {line.key for line in index.attempts("flights")} == keys
    assert len(index.summaries(index.attempts("flights"))) == 3


def test_a_damaged_body_costs_its_summary_only(local):
    """The line stays, since its name tells it; other summaries are told."""
    keys = [write(local, one, with_record=False) for one in FLIGHTS[:3]]
    local.write(keys[1], b"{")
    index = Index(local)
    lines = index.attempts("flights")
    assert len(index.summaries(lines)) == 2
    assert len(index.attempts("flights")) == 3


def test_bodies_are_read_once_and_bounded_in_number(local):
    """A body is asked for once; of more than are kept, those that were used last stay."""
    keys = [write(local, one, with_record=False) for one in FLIGHTS[:4]]
    counted = FaultyStore(local)
    bodies = Bodies(counted, kept=3)
    for asked, reads in ((keys[:3], 3), (keys[:3], 3), (keys[:1], 3), (keys[3:], 4)):
        bodies.read(asked)
        assert len(counted.calls) == reads
    bodies.read([keys[0], keys[2], keys[3]])  # the second is what was used longest ago
    assert len(counted.calls) == 4
    bodies.read(keys[1:2])
    assert len(counted.calls) == 5


def test_a_name_too_long_for_a_key_is_told_by_the_body(store, clock):
    """The body is read where the name is a hash, once; a damaged one costs that line only."""
    long = fresh(run="r" * 230)
    note(store, long)
    note(store, fresh(1))
    store.write("index/flights/8637808504459+" + "0" * 32 + ".json", b"?")
    counted = FaultyStore(store)
    index = Index(counted, clock=clock)
    assert {line.run for line in index.attempts("flights")} == {long.run, "fresh-1"}
    assert {line.prefix for line in index.attempts("flights")} == {
        prefix_of(long),
        prefix_of(fresh(1)),
    }
    reads = [call for call in counted.calls if call.startswith("read index")]
    assert len(reads) == 2
    clock.now += 2
    index.attempts("flights")
    assert [call for call in counted.calls if call.startswith("read index")] == reads


def test_what_is_no_entry_is_passed_over(local):
    """A stray object in the index disturbs nobody."""
    write(local, FLIGHTS[0], with_record=False)
    local.write("index/flights/README.md", b"mine")
    local.write("index/flights/deeper/x.json", b"{}")
    assert len(Index(local).attempts("flights")) == 1


def test_nothing_is_noted_of_an_attempt_that_runs(local):
    """An entry means an end: a record without one leaves none."""
    running = fresh(state=AttemptState.RUNNING, committed=False, ended_at=None)
    assert note(local, running) is None
    assert list(local.list("index")) == []


def test_the_prefix_that_is_given_counts(local):
    """Where a record's names are cut, the entry still leads to where the attempt lies."""
    note(local, fresh(), prefix="runs/flights/cut~~0/r/score/1")
    index = Index(local)
    (line,) = index.attempts("flights")
    assert line.prefix == "runs/flights/cut~~0/r/score/1"
    assert index.summaries([line]).keys() == {line.prefix}


def test_a_store_that_fails_is_told_and_asked_again(local, clock):
    """The error reaches whoever asks; what was known is not lost, and the next look is complete."""
    write(local, FLIGHTS[0], with_record=False)
    failing = FaultyStore(local)
    index = Index(failing, clock=clock)
    assert len(index.attempts("flights")) == 1
    note(local, fresh())
    failing.is_down = True
    clock.now += 2
    with pytest.raises(StoreError):
        index.attempts("flights")
    failing.is_down = False
    assert len(index.attempts("flights")) == 2


def test_a_failure_between_marks_and_entries_loses_nothing(local, clock):
    """An error in the middle of a refresh leaves the next one to do all of it."""
    write(local, FLIGHTS[0], with_record=False)
    failing = FaultyStore(local, Fault("list index/flights #2", "before", "raise"))
    index = Index(failing, clock=clock)
    index.attempts("flights")
    note(local, fresh())
    clock.now += 2
    with pytest.raises(StoreError):
        index.attempts("flights")
    assert len(index.attempts("flights")) == 2


def test_many_threads_ask_once(local):
    """A page that many people open at once costs what it costs one of them."""
    fill(local, 20, with_records=False)
    counted = FaultyStore(local)
    index = Index(counted, clock=Clock())
    barrier = threading.Barrier(8)

    def ask(_number):
        barrier.wait()
        return index.attempts("flights")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(one == answers[0] for one in answers)
    lists = Counter(call.rpartition(" #")[0] for call in counted.calls if call.startswith("list"))
    assert lists == {"list active": 1, "list index/flights": 1}


def test_many_threads_fail_once(local):
    """Who waits while somebody else finds the store silent is told that, and waits no second time.

    Whoever asks after that asks anew.
    """
    fill(local, 20, with_records=False)

    class Queue:
        """A lock that knows how many have come to it."""

        def __init__(self):
            self.lock, self.came = threading.Lock(), []

        def __enter__(self):
            self.came.append(1)
            self.lock.acquire()

        def __exit__(self, *_error):
            self.lock.release()

    class Silent(FaultyStore):
        """A store that fails once all are waiting for it."""

        def list(self, prefix, **options):
            self.calls.append(prefix)
            if self.is_down:
                until(lambda: len(queue.came) == 8)
                raise StoreError("silent", address=prefix, operation="list", advice="wait")
            return list(self.store.list(prefix, **options))

    silent, queue = Silent(local, is_down=True), Queue()
    index = Index(silent, clock=Clock())
    index._running._together._lock = queue

    def ask(_number):
        with pytest.raises(StoreError, match="silent") as error:
            index.attempts("flights")
        return error.value.advice

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"wait"}
    assert silent.calls == ["active"]
    silent.is_down = False
    assert index.attempts("flights")


def requests_of_a_refresh(store, clock, requests) -> int:
    """Count what a look costs that comes two seconds after the first."""
    index = Index(store, clock=clock)
    index.attempts("flights")
    before = requests()
    clock.now += 2
    assert len(index.attempts("flights")) > 0
    return requests() - before


def test_a_refresh_costs_the_same_with_ten_thousand_runs(tmp_path, clock):
    """In a directory: as many calls of the store with 10,000 attempts as with 100."""
    summary = summarize(FLIGHTS[0].record, prefix_of(FLIGHTS[0].record))
    costs = []
    for count in (100, 10_000):
        made = FaultyStore(open_store(f"store-{count}", base=tmp_path))
        (tmp_path / f"store-{count}/index/flights").mkdir(parents=True)
        for number in range(count):
            prefix = summary.prefix.replace(summary.run, f"r{number}")
            facts = {"prefix": prefix, "run": f"r{number}", "order": number}
            one = summary.model_copy(update=facts)
            made.local_path(entry_key(one, written_ms=number)).touch()  # nobody opens it
        costs.append(requests_of_a_refresh(made, clock, lambda made=made: len(made.calls)))
    assert costs == [2, 2]


def test_a_refresh_costs_the_same_when_the_listing_has_pages(s3_server, s3_url, tmp_path, clock):
    """In S3: one page of names tells what is new, however many pages there are."""
    costs, firsts = [], []
    for part, some in (("few", FLIGHTS[:40]), ("many", FLIGHTS)):
        store = open_store(s3_url.replace("?", f"/{part}?"), base=tmp_path)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one, store=store: write(store, one, with_record=False), some))
        with line_to(s3_server.endpoint) as line:
            seen = open_store(store.url.replace(s3_server.endpoint, line.endpoint), base=tmp_path)
            costs.append(requests_of_a_refresh(seen, clock, lambda line=line: line.requests))
            firsts.append(line.requests - costs[-1])
    assert costs == [2, 2]
    assert firsts == [2, 3]  # the marks and one page, or two
