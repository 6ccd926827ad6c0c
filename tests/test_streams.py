"""Printed text as a terminal shows it in the end, in bounded memory and without secrets."""

from __future__ import annotations

import json
import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.step.redaction import Redactor
from nightmill.step.spill import Spills, SpillTo
from nightmill.step.streams import StreamText, Terminal, head_of, size_in_json

SECRET = "hunter2-hunter2-hunter2"
LIMIT = 2000


def as_shown(text):
    """Return what a terminal shows of the text once all of it is printed."""
    terminal = Terminal()
    return terminal.feed(text) + terminal.line()


def make_stream(folder=None, *, limit=LIMIT, **secrets):
    """Make a stream that spills into a folder, or nowhere."""
    spills = Spills(SpillTo(folder, "s3://b/spilled") if folder else None)
    return StreamText(Redactor(secrets), limit, lambda: spills.make(3, "txt"))


def pieces_of(text, cuts):
    """Cut a text at these places."""
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\nlines\n", "plain\nlines\n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("10%\r50%\r", "50%"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("a\rb\nc\rd", "b\nd"),
        ("a\r\r\nb", "a\nb"),
        ("abc\b\bX", "aX"),
        ("\b\bx\n\b", "x\n"),
        ("ab\rc\bd", "d"),
        ("", ""),
    ],
)
def test_text_is_kept_as_a_terminal_shows_it(text, shown):
    """Carriage returns overwrite the line, backspaces take a character back, newlines stay."""
    assert as_shown(text) == shown


@given(st.text(alphabet="ab\n\r\b", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_messages_do_not_matter_to_the_terminal(text, cuts):
    """However the text is cut into messages, what is shown in the end is the same."""
    terminal = Terminal()
    shown = "".join(terminal.feed(piece) for piece in pieces_of(text, cuts)) + terminal.line()
    assert shown == as_shown(text)


@given(st.text(alphabet="ab\n", max_size=200))
def test_nothing_is_lost_where_nothing_is_overwritten(text):
    """Text without control characters stays as it is."""
    assert as_shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000_000 + "\r" + "y" * 1000,
        "x\b" * 1_000_000,
        "x" * 1_000_000 + "\b" * 1_000_000,
        "50%\r" * 1_000_000,
        "line\r\n" * 500_000,
    ],
    ids=["long line", "spinner", "taken back", "progress bar", "lines of Windows"],
)
def test_the_time_is_linear(text):
    """A million control characters are a matter of seconds, where nbclient takes hours."""
    begun = time.monotonic()
    as_shown(text)
    assert time.monotonic() - begun < 20


def test_a_terminal_forgets_what_can_no_longer_change():
    """A line without end leaves in pieces: it is never in memory as a whole."""
    terminal = Terminal()
    passed = sum(len(terminal.feed("x" * 100_000)) for _ in range(50))
    assert len(terminal.line()) < 70_000
    assert passed + len(terminal.line()) == 5_000_000


def test_a_short_stream_is_shown_whole():
    """What fits is not touched; of an unfinished line the last word waits for its end."""
    stream = make_stream()
    stream.feed("one\ntwo\nand thr")
    assert stream.text() == "one\ntwo\nand "
    stream.close()
    assert stream.text() == "one\ntwo\nand thr"
    assert stream.file is None


def test_a_long_stream_keeps_head_and_tail_and_goes_whole_to_a_file(tmp_path):
    """The notebook shows the first and last lines and says where the whole is; the file has it."""
    stream = make_stream(tmp_path)
    lines = [f"line {number}\n" for number in range(1000)]
    for line in lines:
        stream.feed(line)
    stream.close()
    shown = stream.text().splitlines()
    note = next(line for line in shown if line.startswith("[Nightmill"))
    assert shown[0] == "line 0"
    assert shown[-1] == "line 999"
    assert shown[shown.index(note) - 1].startswith("line ")
    assert note.endswith("the whole: s3://b/spilled/cell-3-1.txt]")
    assert len(stream.text().encode()) < LIMIT + len(note) + 10
    assert (tmp_path / "cell-3-1.txt").read_text() == "".join(lines)


def test_what_is_left_out_is_counted():
    """The note tells the size of what is missing between head and tail, to the byte."""
    stream = make_stream(limit=1000)
    stream.feed("x" * 70_000 + "\n")
    stream.close()
    text = stream.text()
    note = text[text.index("[") : text.index("]") + 1]
    left = 70_001 - (len(text) - len(note) - 2)
    assert note == f"[Nightmill left out {left / 1024:.1f} KiB here]"


def test_binary_garbage_is_counted_as_it_is_written():
    """Control characters, which take six bytes in JSON, cannot blow the notebook up."""
    stream = make_stream(limit=6000)
    stream.feed("\x00\x01\x1b" * 100_000)
    stream.close()
    assert size_in_json(stream.text()) < 6000 + 200


def test_memory_is_bounded(tmp_path):
    """Fifty megabytes go by in a few: nothing but head, tail and the line is kept."""
    stream = make_stream(tmp_path, limit=100_000)
    tracemalloc.start()
    for _ in range(100):
        stream.feed("x" * 499_999 + "\n")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stream.close()
    assert peak < 10_000_000
    assert (tmp_path / "cell-3-1.txt").stat().st_size == 50_000_000


def test_many_small_pieces_take_no_more_than_what_they_say():
    """A character a message is kept as text, not as a list of characters."""
    stream = make_stream(limit=1_000_000)
    tracemalloc.start()
    for _ in range(20_000):
        stream.feed("x\n")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([SECRET, "a", "\n", "hunter2", " ", "\r", "x" * 300]), max_size=20),
    st.lists(st.integers(0, 3000), max_size=8),
)
def test_no_secret_is_ever_shown(words, cuts):
    """Wherever the messages, the limit and the end cut a secret, no part to know it by is shown."""
    stream, seen = make_stream(limit=400, TOKEN=SECRET), []
    for piece in pieces_of("".join(words), cuts):
        stream.feed(piece)
        seen += [stream.text(), stream.last_line()]
    stream.close()
    assert all(SECRET not in text for text in [*seen, stream.text()])
    assert SECRET[:20] not in "".join(seen)


def test_the_file_holds_no_secret(tmp_path):
    """A secret printed in pieces is known before anything is written."""
    stream = make_stream(tmp_path, TOKEN=SECRET)
    for _ in range(200):
        for piece in ("a token: ", SECRET[:5], SECRET[5:], "\n"):
            stream.feed(piece)
    stream.close()
    kept = (tmp_path / "cell-3-1.txt").read_text()
    assert kept == "a token: [redacted: TOKEN]\n" * 200


@pytest.mark.parametrize("before", range(65_536 - 24, 65_536 + 2, 5))
def test_a_secret_at_the_end_of_what_a_line_keeps(tmp_path, before):
    """Where a very long line leaves in pieces, a secret is not cut in two."""
    stream = make_stream(tmp_path, TOKEN=SECRET)
    text = "-" * before + SECRET + "-" * 100_000
    for piece in pieces_of(text, range(0, len(text), 1000)):
        stream.feed(piece)
    stream.close()
    kept = (tmp_path / "cell-3-1.txt").read_text()
    assert kept == "-" * before + "[redacted: TOKEN]" + "-" * 100_000


def test_a_secret_drawn_over_itself_is_known():
    """What a terminal shows is what is looked at, not the control characters in between."""
    stream = make_stream(TOKEN=SECRET)
    stream.feed("".join(f"?\b{character}" for character in SECRET))
    stream.close()
    assert stream.text() == "[redacted: TOKEN]"


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        (["one\n", "two\n"], "two"),
        (["one\n", "two and "], "two and "),
        (["10% of it\r", "20% of it\r"], "20% of "),
        (["one\n\n  \n"], "one"),
        ([], ""),
        ([f"the token: {SECRET[:-1]}"], "the token: "),
    ],
)
def test_the_last_line(pieces, line):
    """The last line that says something is known at any time, less what may begin a secret."""
    stream = make_stream(TOKEN=SECRET)
    for piece in pieces:
        stream.feed(piece)
    assert stream.last_line() == line


def test_more_may_come_after_the_end(tmp_path):
    """A thread that prints late adds to the output and to its file."""
    stream = make_stream(tmp_path)
    stream.feed("x" * 3000 + "\n")
    stream.close()
    stream.feed("late\n")
    stream.close()
    assert stream.text().endswith("late\n")
    assert (tmp_path / "cell-3-1.txt").read_text() == "x" * 3000 + "\nlate\n"


@given(st.text(), st.integers(0, 50))
def test_a_head_fits(text, limit):
    """A head is a beginning of the text and within the limit, whatever the characters."""
    head = head_of(text, limit)
    assert text.startswith(head)
    assert head == "" or len(json.dumps(head, ensure_ascii=False).encode(errors="replace")) <= limit
