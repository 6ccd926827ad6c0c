"""A step that is asked to stop while its store hangs: it ends in time all the same."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from nightmill.errors import StoreConflict, StoreError
from nightmill.spec.steprun import StepRun
from nightmill.step import patience
from nightmill.step.patience import PatientStore, StoppedError
from nightmill.step.stop import StopRequest
from nightmill.store.directory import DirectoryStore
from tests.tcp_line import line_to

SOON = patience._Limit(first_s=0.5, second_s=0.1)
NEVER = patience._Limit(first_s=600, second_s=0.1)


class HangingStore(DirectoryStore):
    """A store whose calls wait for an event that may never come."""

    def __init__(self, root):
        super().__init__(root)
        self.answer = threading.Event()

    def read(self, key):
        """Hang, then read."""
        self.answer.wait()
        return super().read(key)

    def list(self, prefix, **options):
        """Hang, then list."""
        self.answer.wait()
        yield from super().list(prefix, **options)

    def put_file(self, key, path, *, moved=None):
        """Hang, then write."""
        self.answer.wait()
        return super().put_file(key, path, moved=moved)

    def get_file(self, key, path, *, sha256=None, moved=None):
        """Hang, then read."""
        self.answer.wait()
        super().get_file(key, path, sha256=sha256, moved=moved)


@pytest.fixture
def hanging(tmp_path):
    """Make a store that hangs until the test is over."""
    store = HangingStore(tmp_path / "store")
    yield store
    store.answer.set()


@pytest.fixture
def stop():
    """Make a request that nobody has made yet."""
    return StopRequest()


def test_without_a_request_a_slow_store_is_waited_for(hanging, stop, tmp_path):
    """Patience has no limit as long as nobody asks to stop: a large upload takes its time."""
    store = PatientStore(hanging, stop)
    (tmp_path / "file").write_text("x")
    threading.Timer(0.5, hanging.answer.set).start()
    assert store.put_file("k", tmp_path / "file").size == 1
    assert not store.gave_up


@pytest.mark.parametrize(
    ("times", "limit", "least_s"),
    [(1, SOON, 0.5), (2, NEVER, 0.1)],
    ids=["the grace is over", "somebody hurries"],
)
def test_after_a_request_a_hanging_store_is_given_up(
    hanging, stop, monkeypatch, tmp_path, times, limit, least_s
):
    """Once the time is over the call fails as any failure of the store, with its address."""
    monkeypatch.setattr(patience, "_LARGE", limit)
    monkeypatch.setattr(patience, "_LEAST_S", 0.1)
    begun = time.monotonic()
    for _ in range(times):
        stop.ask("stopped by SIGTERM")
    store = PatientStore(hanging, stop)
    with pytest.raises(StoreError, match="had not answered") as caught:
        store.put_file("a/b", tmp_path / "file")
    assert least_s <= time.monotonic() - begun < 10
    assert caught.value.address == hanging.address("a/b")
    assert store.gave_up


def test_a_late_question_still_gets_a_moment(hanging, stop, monkeypatch, tmp_path):
    """The record is written after all else, and gets its time although the grace is over."""
    monkeypatch.setattr(patience, "_LARGE", patience._Limit(0, 0))
    monkeypatch.setattr(patience, "_LEAST_S", 60.0)
    stop.ask("stopped by SIGTERM")
    (tmp_path / "file").write_text("x")
    threading.Timer(0.5, hanging.answer.set).start()
    assert PatientStore(hanging, stop).put_file("k", tmp_path / "file").size == 1


def test_an_input_under_way_is_left_at_once(hanging, stop, tmp_path):
    """Before its first cell a step that is asked to stop has nothing to wait for."""
    store = PatientStore(hanging, stop)
    threading.Timer(0.3, stop.ask, ("stopped by SIGTERM",)).start()
    with pytest.raises(StoppedError, match="stopped by SIGTERM") as caught:
        store.get_file("k", tmp_path / "file")
    assert caught.value.cause == "terminated"


def test_answers_and_errors_come_through(stop, tmp_path):
    """What the store says is what the caller gets, errors with their own class."""
    behind = DirectoryStore(tmp_path / "store")
    store = PatientStore(behind, stop)
    assert store.read("k") is None
    etag = store.write_if("k", b"one", etag=None)
    assert store.read("k").etag == etag
    with pytest.raises(StoreConflict):
        store.write_if("k", b"two", etag=None)
    assert (store.url, store.address("k")) == (behind.url, behind.address("k"))
    assert [entry.key for entry in store.list("")] == list(store.children("")) == ["k"]
    store.delete("k")
    assert store.local_path("k") == behind.local_path("k")
    assert store.read("k") is None
    store.preflight()


# -- the whole of it, with a real S3 server behind a line that goes dead --------------------------


def wait_for(condition, timeout_s=60.0):
    """Poll until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)  # a poll with a deadline


def test_a_step_ends_in_time_although_its_store_is_dead(project, s3_server, s3_url, tmp_path):
    """Told twice to stop, with a store that answers no more: the exit code is still the cause's.

    The launcher gets its termination message, and the notebook stays on the local disk.
    """
    mark, told, scratch = tmp_path / "mark", tmp_path / "told", tmp_path / "scratch"
    scratch.mkdir()
    cell = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(300)"
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["1", cell])
    with line_to(s3_server.endpoint) as line:
        run = StepRun(
            pipeline="p",
            step="s",
            partition="2013-01-01",
            as_of="2013-01-01",
            run="r",
            order=1,
            store=s3_url.replace(s3_server.endpoint, line.endpoint),
        )
        names = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
        places = {"NIGHTMILL_TERMINATION_LOG": str(told), "NIGHTMILL_SCRATCH": str(scratch)}
        process = project.start(*run.to_argv(), env=names | places)
        wait_for(mark.exists)
        line.dead.set()
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: process.poll() is not None or "interrupted" in read(scratch))
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
    assert process.returncode == 17, out + err
    assert time.monotonic() - begun < 30
    assert '"cause": "terminated"' in told.read_text()
    assert "interrupted" in read(scratch)


def read(scratch):
    """Read the executed notebook, as far as there is one."""
    return "".join(file.read_text() for file in scratch.glob("*/notebook.ipynb"))


def test_a_good_step_is_sparing_with_requests(project, s3_server, s3_url):
    """Twenty cells cost nine requests and the notebook, where plain papermill makes forty-three."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=[f"print({n})" for n in range(20)])
    with line_to(s3_server.endpoint) as line:
        run = StepRun(
            pipeline="p",
            step="s",
            partition="2013-01-01",
            as_of="2013-01-01",
            run="r",
            order=1,
            store=s3_url.replace(s3_server.endpoint, line.endpoint),
        )
        names = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
        ended = project.run(*run.to_argv(), env=names)
    assert ended.code == 0, ended
    views = ("progress.json", "notebook.ipynb")  # on a slow machine the mirror shows both
    spent = [head for head in line.heads if not head.endswith(views)]
    assert len(spent) <= 9, line.heads


def test_a_listing_that_hangs_is_given_up(hanging, stop, monkeypatch):
    """A listing is waited for no longer than any small call, and is whole where it is answered."""
    monkeypatch.setattr(patience, "_SMALL", SOON)
    monkeypatch.setattr(patience, "_LEAST_S", 0.1)
    store = PatientStore(hanging, stop)
    for number in range(5):
        hanging.write(f"a/{number}", b"x")
    stop.ask("stopped by SIGTERM")
    with pytest.raises(StoreError, match="had not answered"):
        list(store.list("a"))
    monkeypatch.setattr(patience, "_LEAST_S", 60.0)
    hanging.answer.set()
    assert [entry.key for entry in store.list("a", at_once=2)] == [f"a/{n}" for n in range(5)]
