"""The mirror: what the store sees while a step runs, on stores that work, fail, hang and are slow.

Schedules are tested on a clock that the test moves, by the same `tick` that the thread calls.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from nightmill.errors import StoreConflict, StoreError
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState
from nightmill.step import mirror as mirror_module
from nightmill.step.mirror import Mirror
from nightmill.step.progress import Clock, ProgressTracker
from nightmill.store.open import open_store

START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)
PREFIX = "runs/p/2013-03-01/r/s/1"
PROGRESS, NOTEBOOK = f"{PREFIX}/progress.json", f"{PREFIX}/notebook.ipynb"


class Time:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(lambda: self.seconds, lambda: START + timedelta(seconds=self.seconds))


class Store:
    """A store that counts what is written to it, and can fail or take its time."""

    def __init__(self, store, time: Time | None = None) -> None:
        self._store = store
        self._time = time
        self.fails: Exception | None = None
        self.loses_reply = False
        self.takes_s = 0.0
        self.written: list[tuple[str, int, float]] = []  # key, bytes, when

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write_if(self, key, data, *, etag):
        """Write as the store does, unless a test wants it otherwise."""
        if self._time:
            self._time.seconds += self.takes_s
        if self.fails and not self.loses_reply:
            raise self.fails
        size = data.seek(0, os.SEEK_END)
        data.seek(0)
        etag = self._store.write_if(key, data, etag=etag)
        if self.fails:
            raise self.fails
        self.written.append((key, size, self._time.seconds if self._time else 0.0))
        return etag

    def times(self, key) -> list[float]:
        """Tell when an object was written."""
        return [when for name, _size, when in self.written if name == key]


class Sink:
    """A store that keeps nothing, so that hours and gigabytes of writes cost no time."""

    def write_if(self, _key, _data, *, etag):
        """Take the bytes and forget them."""
        return etag or "etag"


class Hanging:
    """A store whose writes hang until they are let go, and then arrive after all."""

    def __init__(self, store, *, sent: bool) -> None:
        self._store = store
        self._sent = sent
        self.hangs = threading.Event()
        self.let_go = threading.Event()
        self.refused: list[Exception] = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write_if(self, key, data, *, etag):
        """Hang before the bytes are read, or after (a server that has them all but is slow)."""
        body = data.read() if self._sent else data
        self.hangs.set()
        assert self.let_go.wait(60)
        try:
            return self._store.write_if(key, body, etag=etag)
        except Exception as error:
            self.refused.append(error)
            raise


@pytest.fixture
def now():
    """Make a clock of this test's own."""
    return Time()


@pytest.fixture
def directory(tmp_path):
    """Open an empty store in a directory."""
    return open_store("store", base=tmp_path)


@pytest.fixture
def notebook(tmp_path):
    """Name the file of the executing notebook; there is none yet."""
    return tmp_path / "notebook.ipynb"


def save(path, data: bytes) -> None:
    """Replace the notebook's file as the engine does."""
    path.with_suffix(".tmp").write_bytes(data)
    path.with_suffix(".tmp").replace(path)


def run_until(mirror: Mirror, now: Time, end: float, each=lambda: None) -> None:
    """Let the mirror work until `end` as its thread would, a second at a time."""
    due = 0.0
    while now.seconds < end:
        if now.seconds >= due:
            due = now.seconds + mirror.tick()
        now.seconds += 1
        each()


def wait_for(condition, seconds: float = 20) -> None:
    """Poll until something is true, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def hasty(monkeypatch):
    """Let the real thread do in tenths of a second what it does in seconds."""
    monkeypatch.setattr(mirror_module, "_PROGRESS_AFTER_S", 0.05)
    monkeypatch.setattr(mirror_module, "_PROGRESS_EVERY_S", 0.1)
    monkeypatch.setattr(mirror_module, "_NOTEBOOK_AFTER_S", 0.05)
    monkeypatch.setattr(mirror_module, "_LOOK_EVERY_S", 0.05)


# -- when ------------------------------------------------------------------------------------------


def test_a_quick_step_costs_nothing(directory, notebook, now):
    """A step of less than two seconds sends nothing, and asks for nothing, before its end."""
    asked = []
    tracker = ProgressTracker(START, clock=now.clock, earlier=lambda: asked.append(1) or [])
    store = Store(directory, now)
    mirror = Mirror(store, PREFIX, notebook, tracker)
    save(notebook, b"x" * 500_000)
    run_until(mirror, now, 2)
    assert mirror.stop()
    assert (store.written, asked, mirror.evidence) == ([], [], {})


def test_forty_quick_cells_with_a_large_output_are_not_sent(directory, notebook, now):
    """40 quick cells after 500 KB of output upload no notebook, but one progress, before the end.

    papermill would have sent 43.8 MB.
    """
    store = Store(directory, now)
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    cells = iter(range(100))
    run_until(mirror, now, 3, lambda: save(notebook, b"x" * 500_000 + b"%d" % next(cells)))
    assert [key for key, _size, _when in store.written] == [PROGRESS]


def test_progress_comes_first_and_then_every_15_s(directory, notebook, now):
    """After 2 s the progress is there, and its heartbeat is never older than 15 s."""
    store = Store(directory, now)
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    run_until(mirror, now, 64)
    assert store.times(PROGRESS) == [2, 17, 32, 47, 62]
    seen = Progress.from_json(directory.read(PROGRESS).data)
    assert (seen.state, seen.elapsed_s) == (AttemptState.RUNNING, 62.0)
    assert seen.heartbeat == START + timedelta(seconds=62)


def test_a_silent_cell_of_two_hours_has_a_fresh_heartbeat(notebook, now):
    """In two hours without output, the heartbeat goes on and the notebook is sent once."""
    store = Store(Sink(), now)
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    save(notebook, b"as it was when the cell began")
    run_until(mirror, now, 7200)
    beats = store.times(PROGRESS)
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 16
    assert now.seconds - beats[-1] <= 16
    assert store.times(NOTEBOOK) == [4]


def test_usual_times_are_asked_for_once_and_late(directory, notebook, now):
    """Earlier records are read after the first heartbeat, so that quick steps never pay for it."""
    asked = []
    tracker = ProgressTracker(
        START, clock=now.clock, earlier=lambda: asked.append(now.seconds) or []
    )
    run_until(Mirror(directory, PREFIX, notebook, tracker), now, 60)
    assert asked == [17]


# -- how much --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "hours", "most_bytes"),
    [
        (10_000, 1, 500_000),
        (500_000, 0.1, 8_000_000),  # papermill: 43.8 MB for 40 cells
        (500_000, 8, 130_000_000),
        (20_000_000, 8, 8 * 3600 * 100_000),
    ],
)
def test_bytes_are_bounded(notebook, now, size, hours, most_bytes):
    """However often the notebook changes, its uploads follow the clock and its size."""
    notebook.write_bytes(b"")
    os.truncate(notebook, size)  # sparse
    changes = iter(range(1 << 60))

    def change():
        if now.seconds % 20 == 0:
            with notebook.open("r+b") as file:
                file.write(b"%d" % next(changes))
            os.utime(notebook, ns=(0, next(changes)))

    mirror = Mirror(Sink(), PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    run_until(mirror, now, hours * 3600, change)
    assert 0 < mirror.counts.notebook_bytes <= most_bytes
    assert mirror.counts.failures == 0


def test_a_slow_store_gets_a_small_share_of_the_time(notebook, now):
    """When an upload takes 10 s, notebooks are sent so rarely that they take 5 % of the time."""
    store = Store(Sink(), now)
    store.takes_s = 10.0
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    run_until(mirror, now, 2 * 3600, lambda: save(notebook, b"%f" % now.seconds))
    spent = 10.0 * len(store.times(NOTEBOOK))
    assert 0.03 * now.seconds < spent <= 0.05 * now.seconds
    beats = store.times(PROGRESS)  # never as late as what counts as dead
    assert max(later - earlier for earlier, later in pairwise(beats)) < 60


def test_the_same_bytes_are_sent_once(store, notebook, now):
    """A file that was written anew with the same content is not sent again; a changed one is."""
    counting = Store(store, now)
    mirror = Mirror(counting, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    run_until(mirror, now, 60, lambda: save(notebook, b"same"))
    assert counting.times(NOTEBOOK) == [4]
    save(notebook, b"changed")
    run_until(mirror, now, 120)
    assert len(counting.times(NOTEBOOK)) == 2
    assert store.read(NOTEBOOK).data == b"changed"
    assert mirror.evidence["notebook_bytes"] == len(b"same") + len(b"changed")


def test_requests_to_s3_are_few(s3_url, notebook, now, tmp_path):
    """A minute of a busy notebook costs S3 one request an upload, counted on the wire."""
    store = open_store(s3_url, base=tmp_path)
    sent = []
    store._client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.append(request.method)
    )
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    run_until(mirror, now, 60, lambda: save(notebook, b"x" * 100_000 + b"%f" % now.seconds))
    uploads = mirror.counts.progress_uploads + mirror.counts.notebook_uploads
    assert (mirror.counts.progress_uploads, mirror.counts.failures) == (4, 0)
    assert sent == ["PUT"] * uploads


def test_a_large_notebook_is_never_whole_in_memory(store, notebook, now):
    """An upload of 40 MB takes a few megabytes of memory."""
    save(notebook, os.urandom(1 << 20) * 40)
    sha256 = hashlib.sha256(notebook.read_bytes()).hexdigest()
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    mirror.tick()
    now.seconds = 11
    tracemalloc.start()
    try:
        mirror.tick()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert hashlib.sha256(store.read(NOTEBOOK).data).hexdigest() == sha256


# -- when the store fails --------------------------------------------------------------------------


def test_a_failing_store_is_told_once_and_tried_again(directory, notebook, now):
    """Errors are counted and told once; tries grow rarer, and go on when the store is back."""
    said = []
    store = Store(directory, now)
    store.fails = StoreError("no such bucket", address="s3://b/k", operation="write")
    tracker = ProgressTracker(START, clock=now.clock)
    mirror = Mirror(store, PREFIX, notebook, tracker, tell=said.append)
    save(notebook, b"{}")
    run_until(mirror, now, 300)
    # progress at 2, 17, 47, 107, 167, 227, 287; notebook at 4, 19, 49, 109, 229
    assert mirror.counts.failures == 7 + 5
    (line,) = said
    assert "the step goes on" in line
    assert "write s3://b/k: no such bucket" in line
    (warning,) = mirror.warnings
    assert "failed 12 times: write s3://b/k: no such bucket" in warning
    assert "\n" not in line + warning
    store.fails = None
    run_until(mirror, now, 600)
    assert directory.read(NOTEBOOK).data == b"{}"
    beats = [when for when in store.times(PROGRESS) if when > 360]
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 16
    store.fails = StoreError("gone again", address="a", operation="write")
    run_until(mirror, now, 630)  # from the shortest pause on
    assert mirror.counts.failures == 12 + 2
    assert len(said) == 1


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError(), RecursionError("deep")])
def test_no_error_leaves_the_mirror(directory, notebook, now, error):
    """Whatever the store raises, and even if nobody can be told, the mirror goes on."""

    def tell(_text):
        raise BrokenPipeError

    store = Store(directory, now)
    store.fails = error
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START, clock=now.clock), tell=tell)
    run_until(mirror, now, 30)
    assert mirror.counts.failures == 2
    store.fails = None
    run_until(mirror, now, 60)
    assert mirror.counts.progress_uploads


@pytest.mark.usefixtures("hasty")
def test_a_store_that_does_not_answer_costs_the_step_nothing(act_as, notebook, tmp_path):
    """With an endpoint that is not there, the thread fails quietly and stops when it is told to."""
    act_as("admin")
    said = []
    url = "s3://bucket/p?endpoint=http://127.0.0.1:1&region=us-east-1&retries=0"
    store = open_store(url, base=tmp_path)
    save(notebook, b"{}")
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START), tell=said.append)
    mirror.start()
    wait_for(lambda: mirror.counts.failures >= 2)
    assert mirror.stop()
    assert len(said) == 1


@pytest.mark.parametrize("lost", [PROGRESS, NOTEBOOK])
def test_a_lost_reply_is_no_foreign_write(store, notebook, now, lost):
    """When a write arrived but its reply did not, the mirror finds its own bytes and goes on."""
    flaky = Store(store, now)
    mirror = Mirror(flaky, PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    save(notebook, b"first")
    run_until(mirror, now, 5 if lost == NOTEBOOK else 1)
    flaky.fails, flaky.loses_reply = StoreError("cut", address="a", operation="write"), True
    run_until(mirror, now, 12)
    assert store.read(lost)
    flaky.fails = None
    save(notebook, b"second")
    run_until(mirror, now, 120)
    assert store.read(NOTEBOOK).data == b"second"
    assert Progress.from_json(store.read(PROGRESS).data).elapsed_s > 100


def test_what_another_wrote_stays(store, notebook, now):
    """A notebook that was amended from outside is not replaced by a mirror that wakes up late."""
    said = []
    tracker = ProgressTracker(START, clock=now.clock)
    mirror = Mirror(store, PREFIX, notebook, tracker, tell=said.append)
    save(notebook, b"first")
    run_until(mirror, now, 12)
    store.write(NOTEBOOK, b"amended")
    save(notebook, b"second")
    run_until(mirror, now, 600, lambda: save(notebook, b"%f" % now.seconds))
    assert store.read(NOTEBOOK).data == b"amended"
    assert (mirror.counts.failures, len(said)) == (1, 1)  # and is not tried again
    assert Progress.from_json(store.read(PROGRESS).data).elapsed_s > 580


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
def test_the_thread_shows_a_step_and_its_end(store, notebook):
    """While a real thread runs, notebook and progress arrive, in the end the last state."""
    tracker = ProgressTracker(START)
    mirror = Mirror(store, PREFIX, notebook, tracker)
    tracker.take({"event": "line", "text": "hello"})
    mirror.start()
    save(notebook, b"first")
    wait_for(lambda: mirror.counts.notebook_uploads and mirror.counts.progress_uploads > 1)
    assert Progress.from_json(store.read(PROGRESS).data).last_line == "hello"
    assert mirror.release_notebook()
    save(notebook, b"second")
    beats = mirror.counts.progress_uploads
    wait_for(lambda: mirror.counts.progress_uploads > beats)  # the heartbeat goes on
    assert store.read(NOTEBOOK).data == b"first"
    tracker.end(AttemptState.SUCCEEDED)
    assert mirror.stop()
    assert Progress.from_json(store.read(PROGRESS).data).state is AttemptState.SUCCEEDED
    assert (mirror.warnings, mirror.counts.failures) == ((), 0)


def test_the_end_of_a_step_without_progress_is_not_told(store, notebook, monkeypatch):
    """A step that ended before its first heartbeat leaves no progress behind."""
    monkeypatch.setattr(mirror_module, "_PROGRESS_AFTER_S", 600.0)
    mirror = Mirror(store, PREFIX, notebook, ProgressTracker(START))
    mirror.start()
    assert mirror.stop()
    assert list(store.list("")) == []


@pytest.mark.parametrize("sent", [False, True], ids=["unsent", "sent"])
@pytest.mark.usefixtures("hasty")
def test_a_late_upload_does_not_replace_the_final_notebook(store, notebook, sent):
    """An upload that hangs keeps nobody waiting, and when it arrives after all it is refused."""
    hanging = Hanging(store, sent=sent)
    hanging.let_go.set()
    save(notebook, b"early")
    mirror = Mirror(hanging, PREFIX, notebook, ProgressTracker(START))
    mirror._progress_due = float("inf")
    mirror.start()
    wait_for(lambda: mirror.counts.notebook_uploads)
    hanging.let_go.clear()
    hanging.hangs.clear()
    mirror._notebook_due = 0.0  # its pause is over
    save(notebook, b"running")
    assert hanging.hangs.wait(20)
    begun = time.monotonic()
    assert not mirror.release_notebook(0.1)
    (notebook.with_name("final")).write_bytes(b"final")
    store.put_file(NOTEBOOK, notebook.with_name("final"))
    assert not mirror.stop(0.1)
    assert time.monotonic() - begun < 30
    hanging.let_go.set()
    wait_for(lambda: not mirror._thread.is_alive())
    assert store.read(NOTEBOOK).data == b"final"
    (refused,) = hanging.refused
    assert isinstance(refused, StoreConflict) or not sent


@pytest.mark.usefixtures("hasty")
def test_a_heartbeat_that_hangs_is_left_behind(directory, notebook):
    """After `stop` has given up on a thread, that thread begins nothing new."""
    hanging = Hanging(directory, sent=True)
    tracker = ProgressTracker(START)
    mirror = Mirror(hanging, PREFIX, notebook, tracker)
    mirror.start()
    assert hanging.hangs.wait(20)
    tracker.end(AttemptState.FAILED)
    assert not mirror.stop(0.05)
    hanging.let_go.set()
    wait_for(lambda: not mirror._thread.is_alive())
    assert mirror.counts.progress_uploads == 1  # the one that hung


@pytest.mark.parametrize("end", [Mirror.release_notebook, Mirror.stop])
def test_a_long_upload_is_broken_off_at_the_end(store, notebook, now, end):
    """A step that ends in the middle of an upload does not wait for the rest of it."""

    class Slow:
        """A store that is told of the end while it reads the file."""

        def write_if(self, key, data, *, etag):
            threading.Timer(0.0, end, [mirror, 0.0]).start()
            wait_for(mirror._released.is_set)
            return store.write_if(key, data, etag=etag)

    mirror = Mirror(Slow(), PREFIX, notebook, ProgressTracker(START, clock=now.clock))
    mirror._progress_due = float("inf")
    save(notebook, os.urandom(1 << 20))
    now.seconds = 11
    mirror.tick()
    assert store.read(NOTEBOOK) is None
    assert (mirror.counts.failures, mirror.counts.notebook_uploads) == (0, 0)


def test_a_hanging_thread_keeps_no_process_alive(tmp_path):
    """A process whose mirror hangs ends all the same."""
    script = """
        import threading, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from nightmill.step import mirror, progress

        class Hanging:
            hangs = threading.Event()
            def write_if(self, key, data, *, etag):
                self.hangs.set()
                threading.Event().wait()

        mirror._PROGRESS_AFTER_S = 0.0
        tracker = progress.ProgressTracker(datetime.now(UTC))
        one = mirror.Mirror(Hanging(), "runs/p", Path("notebook.ipynb"), tracker)
        one.start()
        assert Hanging.hangs.wait(30)
        print(one.stop(0.1))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert ended.stdout == b"False\n"
