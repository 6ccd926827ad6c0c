from __future__ import annotations

import io
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nightmill.cli import display, terminal
from nightmill.cli.display import LiveDisplay, PlainDisplay, open_display, print_result
from nightmill.errors import NightmillError
from nightmill.run.plan import PlannedStep
from nightmill.run.status import StepState, StepStatus
from nightmill.spec.steprun import StepRun

DAY = "2013-03-01"
ESCAPE = "\x1b"

HOSTILE = [
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b]0;title\x07",  # renames the window
    "\x9b31m",  # the same in one byte
    "a\rb",  # overwrites the line
    "a\x08b",
    "\u202eetirw",  # writes right to left
    "\u2066x\u2069",
    "\ud800",  # half a character
    "\x00",
]

FOREIGN = {
    **dict.fromkeys(("message", "partition", "cause", "notebook", "decision"), str),
    **dict.fromkeys(("warnings", "tail"), lambda text: (text,)),
}


def status(step: str = "features", state: StepState = StepState.RUNNING, **facts) -> StepStatus:
    """Make what the launcher knows of a step."""
    run = StepRun(pipeline="p", step=step, partition=DAY, as_of=DAY, run="r", order=1, store="/s")
    # Unchecked: the display must hold even where a name has come past the door.
    run = run.model_copy(update={"partition": facts.pop("partition", DAY)})
    return StepStatus(PlannedStep(run), state=state, **facts)


def cell(title: str, event: str = "cell_started") -> dict[str, object]:
    """Make the event of a cell."""
    return {"event": event, "position": 3, "of": 9, "number": 2, "title": title}


@pytest.fixture
def screen(monkeypatch):
    """Return a function that puts a console of a kind in the place of the standard output."""

    def make(width: int = 200, *, is_terminal: bool = False) -> io.StringIO:
        file = io.StringIO()
        file.isatty = lambda: is_terminal
        console = Console(
            file=file, width=width, height=24, force_terminal=is_terminal, highlight=False
        )
        for module in (display, terminal):
            monkeypatch.setattr(module, "out", console)
        monkeypatch.setattr(terminal, "err", console)
        return file

    return make


@given(st.text())
def test_inert_text_can_only_be_read(text):
    """Whatever is shown keeps its printable characters, and gets no other but line breaks."""
    shown = terminal.inert(text)
    assert all(character.isprintable() or character == "\n" for character in shown)
    shown.encode()  # and any terminal of UTF-8 can print it
    if all(character.isprintable() for character in text):
        assert shown == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", [*FOREIGN, "title"])
def test_no_control_character_of_others_reaches_the_terminal(screen, text, place):
    """Titles, messages and names that a notebook's author chose cannot order a terminal about."""
    file = screen(is_terminal=False)
    facts = {} if place == "title" else {place: FOREIGN[place](text)}
    facts = {"message": "m"} | facts
    one = status(state=StepState.FAILED, cell=cell(text if place == "title" else "t"), **facts)
    shown = PlainDisplay()
    for event in ("started", "cell_started", "warning", "over"):
        shown(one, {"event": event, "text": text})
    print_result([one, status("other")])
    assert not set(file.getvalue()) & {*text} - {*string.printable[:-5]}


@pytest.mark.parametrize(
    "title", ["[bold]x[/bold]", "[/]", "[/nope]", "[link=https://x]y", "a [0]"]
)
def test_markup_of_others_is_text(screen, title):
    """A title that looks like markup is shown letter by letter, live and plain."""
    plain = screen()
    one = status(cell=cell(title), message=title, cause=title)
    PlainDisplay()(one, {"event": "cell_started"})
    one.state = StepState.FAILED
    print_result([one])
    assert plain.getvalue().count(title) == 3  # the title of a cell, the cause, the message
    live = screen(is_terminal=True)
    with LiveDisplay([status(cell=cell(title))]):
        pass
    assert title in live.getvalue()


def test_hostile_titles_are_inert_in_live_rows(screen):
    """In live rows, too, the only escape sequences are those that draw the rows."""
    file = screen(is_terminal=True)
    with LiveDisplay([status(cell=cell("".join(HOSTILE)))]):
        pass
    ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert not set(ours) & set("\x1b\x07\x9b\x08\u202e\u2066\x00")
    assert "2J" not in file.getvalue().replace(r"\x1b[2J", "")


def test_a_plain_display_is_a_line_a_change(screen):
    """Without a terminal there is one line for each change, and none for what only repeats."""
    file = screen()
    one = status(state=StepState.SUCCEEDED, cell=cell("Join"), duration_s=61)
    shown = PlainDisplay()
    with shown:
        for event in ("started", "cell_started", "memory", "cell_ended", "over"):
            shown(one, {"event": event})
    assert file.getvalue().splitlines() == [
        "2013-03-01 features: started",
        "2013-03-01 features: 3/9 cell 2: Join",
        "2013-03-01 features: succeeded in 1 min 01 s",
    ]


def test_a_failure_is_told_in_full_on_one_line(screen):
    """The line of a failed step says why; without a duration it does not speak of one."""
    file = screen(width=40)
    one = status(state=StepState.FAILED, message="terminated: killed " + "x" * 100)
    PlainDisplay()(one, {"event": "over"})
    assert file.getvalue() == f"2013-03-01 features: failed: terminated: killed {'x' * 100}\n"


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_live_row_is_one_line(screen, width):
    """However narrow the terminal and long the title, a step takes one line and keeps its name."""
    file = screen(width=width, is_terminal=True)
    rows = [status("a", cell=cell("long " * 50)), status("b", StepState.WAITING)]
    with LiveDisplay(rows):
        pass
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in file.getvalue().split("\n")]
    drawn = [line for line in lines if DAY in line]
    assert len(drawn) % 2 == 0
    assert all(len(line.rstrip("\r")) <= width for line in drawn)
    if width >= 80:
        assert all("running" in line or "waiting" in line for line in drawn)


def test_many_steps_show_those_that_run(screen):
    """A plan longer than the screen shows the running steps, and how many are done."""
    file = screen(is_terminal=True)
    rows = [status(f"s{n}", StepState.WAITING) for n in range(100)]
    rows += [status("busy"), status("done", StepState.SUCCEEDED)]
    with LiveDisplay(rows):
        pass
    assert "busy" in file.getvalue()
    assert "s50" not in file.getvalue()
    assert "1 of 102 steps done" in file.getvalue()


def test_a_live_row_measures_time_and_memory(screen):
    """A running step shows the time since its start and its memory now; an ended one its peak."""
    file = screen(is_terminal=True)
    facts = {"memory_bytes": 3 << 20, "peak_bytes": 5 << 20}
    one, other = status("one", **facts), status("two", StepState.SUCCEEDED, duration_s=2, **facts)
    shown = LiveDisplay([one, other])
    shown(one, {"event": "started"})
    with shown:
        pass
    assert re.search(r"one.*running.*0\.\d s.*3\.0 MiB", file.getvalue())
    assert re.search(r"two.*succeeded.*2\.0 s.*5\.0 MiB", file.getvalue())


def test_the_result_is_a_table(screen):
    """The closing table tells step, state, cause, time, peak memory and executed notebook."""
    file = screen()
    place = "s3://bucket/runs/p/2013-03-01/r/features/1/notebook.ipynb"
    good = status("features", StepState.SUCCEEDED, duration_s=4.2, peak_bytes=3 << 30)
    good.notebook = place
    bad = status("score", StepState.FAILED, cause="kernel_died", message="kernel_died: gone")
    print_result([good, bad, status("evaluate", StepState.BLOCKED)])
    header, *rows = file.getvalue().splitlines()
    assert re.split(r"\s{2,}", header) == [
        *("step", "state", "cause", "time", "peak memory", "executed notebook")
    ]
    assert rows[0].split() == ["features", "succeeded", "4.2", "s", "3.0", "GiB", place]
    assert rows[1].split() == ["score", "failed", "kernel_died"]
    assert rows[2].split() == ["evaluate", "not", "run"]
    assert rows[-1] == "score 2013-03-01 kernel_died: gone"


def test_the_end_of_a_failed_cell_stands_above_the_line(screen):
    """Below the table comes what the cell said last, and then the one line about it all."""
    file = screen()
    bad = status("score", StepState.FAILED, cause="store", message="store in cell 2: gone")
    bad.tail, bad.decision = ("read 5 files", "  OSError: gone"), "no attempts left"
    bad.notebook, bad.failed_cell, bad.warnings = "s3://b/n.ipynb", 2, ("a thread failed",)
    print_result([bad])
    assert file.getvalue().splitlines()[2:] == [
        "score 2013-03-01 warning: a thread failed",
        "",
        "  | read 5 files",
        "  |   OSError: gone",
        "score 2013-03-01 store in cell 2: gone; no attempts left; notebook: s3://b/n.ipynb#cell-2",
    ]


def test_attempts_are_counted_and_each_tells_why_it_failed(screen):
    """Where a step was tried again the table has its newest attempt, and a line for each before."""
    file = screen()
    good = status("score", StepState.FAILED, cause="store", message="store: gone")
    good.decision = "next attempt in 10 s"
    good.begin_again()
    good.state = StepState.SUCCEEDED
    print_result([good, status("report", StepState.SUCCEEDED)])
    header, *rows = file.getvalue().splitlines()
    assert header.split()[:3] == ["step", "attempt", "state"]
    assert rows[0].split() == ["score", "2", "succeeded"]
    assert rows[1].split() == ["report", "1", "succeeded"]
    assert rows[2:] == ["", "score 2013-03-01 attempt 1 store: gone; next attempt in 10 s"]


@pytest.mark.parametrize(
    ("from_now_s", "words"), [(39.9, "next attempt in 40 s"), (-5, "next attempt alone")]
)
def test_a_waiting_step_says_what_it_waits_for(screen, from_now_s, words):
    """A row counts down to the next attempt, and says what holds it up once the time has come."""
    file = screen(is_terminal=True)
    one = status(state=StepState.WAITING, decision="next attempt alone on this machine")
    one.retry_at = time.monotonic() + from_now_s
    with LiveDisplay([one]):
        pass
    assert words in file.getvalue()


def test_a_further_attempt_says_which_it_is(screen):
    """In a log it can be seen which attempt started, what is amiss with it, and what comes next."""
    file = screen()
    one = status(state=StepState.FAILED, message="store: gone", decision="no attempts left")
    one.begin_again()
    shown = PlainDisplay()
    shown(one, {"event": "started"})
    shown(one, {"event": "warning", "text": "a thread failed"})
    assert file.getvalue().splitlines() == [
        "2013-03-01 features: attempt 2 started",
        "2013-03-01 features: warning: a thread failed",
    ]


def test_the_table_of_several_days_names_them(screen):
    """Where a run covers more than one partition each row begins with its own."""
    file = screen()
    print_result([status(partition=day, state=StepState.SUCCEEDED) for day in ("d1", "d2")])
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["partition", "d1", "d2"]


def test_a_narrow_terminal_shortens_no_address(screen):
    """An address that is wider than the terminal stays whole, and no row trails blanks."""
    file = screen(width=40)
    long = "s3://bucket/" + "x" * 150
    print_result([status(notebook=long), status("other", StepState.BLOCKED)])
    lines = file.getvalue().splitlines()
    assert any(line.endswith(long) for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_table_of_many_rows_is_shown_whole(screen):
    """A year of nights is a table of as many rows: nothing is elided."""
    file = screen()
    print_result([status(f"s{n}", StepState.SUCCEEDED) for n in range(1500)])
    assert len(file.getvalue().splitlines()) == 1501


@pytest.mark.parametrize(
    ("is_terminal", "variables", "kind"),
    [
        (True, {"TERM": "xterm"}, LiveDisplay),
        (True, {"TERM": "dumb"}, PlainDisplay),
        (False, {"TERM": "xterm"}, PlainDisplay),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, PlainDisplay),
    ],
)
def test_rows_are_live_only_where_they_can_be_redrawn(monkeypatch, is_terminal, variables, kind):
    """Live rows need a terminal; a log stays a log, also where somebody asks for colours."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = io.StringIO()
    file.isatty = lambda: is_terminal
    monkeypatch.setattr(display, "out", Console(file=file))
    assert type(open_display([])) is kind


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_carry_their_unit(seconds, text):
    """A duration is told in the largest unit that fits, and never as 60 of a smaller one."""
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (831_488, "812 KiB"),
        (1_048_500, "1.0 MiB"),
        (3_565_158, "3.4 MiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_sizes_carry_their_unit(count, text):
    """A number of bytes is told in binary units, with three digits."""
    assert terminal.size(count) == text


def test_addresses_are_short_where_they_can_be(monkeypatch, tmp_path):
    """A path below the present folder is told from there; any other, and any URL, in full."""
    monkeypatch.chdir(tmp_path)
    assert terminal.address(str(tmp_path / "a" / "b")) == "a/b"
    assert terminal.address("/x") == "/x"
    assert terminal.address("s3://b/k?endpoint=http://h") == "s3://b/k?endpoint=http://h"


def test_an_error_says_what_where_and_what_to_do(screen, monkeypatch, tmp_path):
    """An error is a line of what is wrong and where, paths as typed here, and a line of advice."""
    file = screen(width=30)
    monkeypatch.chdir(tmp_path)
    place = f"{tmp_path}/notebooks/p/pipeline.yaml:3"
    terminal.complain(NightmillError("no [such] thing\x1b[1m", where=place, advice="do [that]"))
    assert file.getvalue().splitlines() == [
        r"error: notebooks/p/pipeline.yaml:3: no [such] thing\x1b[1m",
        "   -> do [that]",
    ]


def test_no_color_is_honoured(monkeypatch):
    """NO_COLOR takes colours away, also in a terminal."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    monkeypatch.setattr(terminal, "out", Console(file=file, force_terminal=True))
    terminal.say(terminal.state_text("failed"))
    assert "\x1b[31" not in file.getvalue()
    assert ";31m" not in file.getvalue()
