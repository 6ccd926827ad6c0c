"""The tracker of an attempt: what it says of the events it was told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightmill.errors import StoreError
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, CellRecord, CellState, Record
from nightmill.step.progress import Clock, ProgressTracker, UsualTimes, last_line

START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)


class Time:
    """Two clocks that a test moves: one that only runs on, and one that can be set."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = START
        self.clock = Clock(lambda: self.seconds, lambda: self.wall)

    def pass_(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def time():
    """Make clocks of this test's own."""
    return Time()


def cell(event: str, number: int, title: str = "Load", *, of: int = 22, position: int = 0):
    """Make an event of a cell as the engine tells it."""
    place = {"position": position or number + 1, "of": of}
    return {"event": event, **place, "number": number, "title": title, "state": "running"}


def record(seconds: float | None, *cells: CellRecord, state: AttemptState = AttemptState.SUCCEEDED):
    """Make the record of an earlier attempt that took so long."""
    names = {"pipeline": "p", "step": "s", "partition": "d", "as_of": "d", "run": "r"}
    facts = {"nightmill": "0", "host": "h", "store": "s", "parameters": {}, "started_at": START}
    return Record(
        **names, **facts, order=1, attempt=1, state=state, duration_s=seconds, cells=cells
    )


def ran(number: int, seconds: float | None, title: str = "Load", state: str = "completed"):
    """Make the record of a cell."""
    return CellRecord(number=number, title=title, state=CellState(state), duration_s=seconds)


def test_an_attempt_that_has_just_begun_has_no_cell_yet(time):
    """Before the first event, the time runs and nothing else is claimed."""
    tracker = ProgressTracker(START, clock=time.clock)
    time.pass_(3)
    assert tracker.snapshot() == Progress(
        state=AttemptState.RUNNING,
        started_at=START,
        heartbeat=START + timedelta(seconds=3),
        elapsed_s=3.0,
    )


def test_a_running_cell_is_told_with_its_time_and_memory(time):
    """Position, number, title, both times, memory with its limit, and the last line are there."""
    tracker = ProgressTracker(START, memory_limit_bytes=8 << 30, clock=time.clock)
    time.pass_(10)
    tracker.take(cell("cell_started", 9, "Score the day"))
    tracker.take({"event": "memory", "bytes": 4 << 30})
    tracker.take({"event": "line", "text": "1200 of 2000\n"})
    tracker.take({"event": "warning", "text": "no matter of the progress"})
    time.pass_(7)
    seen = tracker.snapshot()
    assert (seen.position, seen.of, seen.cell, seen.title) == (10, 22, 9, "Score the day")
    assert (seen.elapsed_s, seen.cell_elapsed_s) == (17.0, 7.0)
    assert (seen.memory_bytes, seen.memory_limit_bytes) == (4 << 30, 8 << 30)
    assert seen.last_line == "1200 of 2000"
    assert Progress.from_json(seen.to_json()) == seen


def test_the_time_of_a_cell_ends_with_it(time):
    """After a cell's end its time stands still, while outputs are stored for instance."""
    tracker = ProgressTracker(START, clock=time.clock)
    tracker.take(cell("cell_started", 1))
    time.pass_(2)
    tracker.take(cell("cell_ended", 1))
    time.pass_(60)
    assert (tracker.snapshot().cell_elapsed_s, tracker.snapshot().elapsed_s) == (2.0, 62.0)
    tracker.take(cell("cell_started", 2, "Next"))
    time.pass_(1)
    assert (tracker.snapshot().cell, tracker.snapshot().cell_elapsed_s) == (2, 1.0)


def test_the_end_of_another_cell_is_not_this_ones():
    """An end that comes late, for a cell before, leaves the present one running."""
    tracker = ProgressTracker(START)
    tracker.take(cell("cell_ended", 1))
    tracker.take(cell("cell_started", 2, "Next"))
    tracker.take(cell("cell_ended", 1))
    assert tracker.snapshot().cell == 2


def test_a_clock_set_back_makes_no_span_negative(time):
    """When the machine's clock steps back by 90 s in a cell, spans go on; stamps have a zone."""
    tracker = ProgressTracker(START, clock=time.clock)
    tracker.take(cell("cell_started", 1))
    time.pass_(5)
    time.wall -= timedelta(seconds=90)
    time.pass_(5)
    seen = tracker.snapshot()
    assert (seen.elapsed_s, seen.cell_elapsed_s) == (10.0, 10.0)
    assert seen.heartbeat.utcoffset() == timedelta(0)


@pytest.mark.parametrize("state", [AttemptState.SUCCEEDED, AttemptState.FAILED])
def test_the_end_is_told(time, state):
    """Once the attempt has ended, its state is there and its time stands still."""
    tracker = ProgressTracker(START, clock=time.clock)
    time.pass_(4)
    tracker.end(state)
    time.pass_(100)
    assert (tracker.snapshot().state, tracker.snapshot().elapsed_s) == (state, 4.0)


def test_usual_times_are_medians_of_what_succeeded():
    """The whole and each cell have the median of the successes; other attempts do not count."""
    usual = UsualTimes.of(
        [
            record(10.0, ran(1, 1.0), ran(2, 5.0, "Score")),
            record(30.0, ran(1, 3.0), ran(2, 6.0, "Score")),
            record(11.0, ran(1, 2.0), ran(2, None, "Score"), ran(3, 9.0, "Moved")),
            record(999.0, ran(1, 999.0), state=AttemptState.FAILED),
            record(None, ran(1, 999.0)),
            record(12.0, ran(1, 999.0, state="skipped")),
        ]
    )
    assert usual.total_s == 11.5  # of 10, 11, 12 and 30
    assert usual.cells == {(1, "Load"): 2.0, (2, "Score"): 5.5, (3, "Moved"): 9.0}


def test_without_earlier_attempts_nothing_is_usual():
    """Where nothing succeeded before, no usual time is made up."""
    assert UsualTimes.of([record(9.0, state=AttemptState.FAILED)]) == UsualTimes()


def test_a_cell_is_compared_with_itself_only():
    """The usual time is that of the same number and title: a changed cell has none."""
    tracker = ProgressTracker(START, earlier=lambda: [record(60.0, ran(1, 9.0), ran(2, 4.0, "X"))])
    tracker.take(cell("cell_started", 1))
    assert tracker.snapshot().usual_total_s is None  # the store has not been asked
    tracker.learn()
    assert (tracker.snapshot().usual_total_s, tracker.snapshot().usual_s) == (60.0, 9.0)
    tracker.take(cell("cell_started", 2, "Changed"))
    assert tracker.snapshot().usual_s is None


def test_the_store_is_asked_once():
    """Earlier records are read once, also where the store did not answer, which is no error."""
    asked = []

    def earlier():
        asked.append(1)
        raise StoreError("gone", address="a", operation="list")

    tracker = ProgressTracker(START, earlier=earlier)
    tracker.learn()
    tracker.learn()
    assert (len(asked), tracker.snapshot().usual_total_s) == (1, None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("one\ntwo\n", "two"),
        ("one\n\n  \n", "one"),
        ("10%\r20%\r30%", "30%"),
        ("10%\r20%\r\n", "20%"),
        ("\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain", "red and plain"),
        ("\x1b[2K\x1b[1G7/9 [====>  ]", "7/9 [====>  ]"),
        ("tab\there", "tab here"),
        ("\x00\u202e", r"\x00\u202e"),
        ("broken \udcff", r"broken \udcff"),
        ("é 山 🙂", "é 山 🙂"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        ("x" * 5_000_000, "x" * 197 + "..."),
    ],
)
def test_the_last_line_is_one_plain_line(text, shown):
    """Whatever was printed, one line of at most 200 characters is left, as a terminal shows it."""
    assert last_line(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "x" * 190 + " hunter2hunter2",  # the cut would leave half of it
        "key hunter2\x1b[0mhunter2 is red",
        "hunter2hunter2\nhunter2hunter2",
        "key\nhunter2",  # a secret of two lines
    ],
)
def test_no_half_of_a_secret_is_left(text):
    """What the redactor knows is gone from the last line, also where it is cut or coloured."""

    def redact(text):
        for secret in ("hunter2hunter2", "key\nhunter2"):
            text = text.replace(secret, "[redacted: KEY]")
        return text

    shown = last_line(text, redact=redact)
    assert "hunter2" not in shown


def test_a_title_is_redacted_and_one_line():
    """A cell's title is the notebook's own words as well."""
    tracker = ProgressTracker(START, redact=lambda text: text.replace("hunter2", "[redacted: K]"))
    tracker.take(cell("cell_started", 1, "key = 'hunter2' \x1b[1m\nmore"))
    assert tracker.snapshot().title == "key = '[redacted: K]'"
