"""The end of what a failing cell said: enough to see why, and bounded whatever it said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.spec.tail import LINE_CHARACTERS, LINES, tail_of


def stream(text) -> dict:
    """Make what a cell printed."""
    return {"output_type": "stream", "name": "stdout", "text": text}


def error(*traceback: str, **fields: str) -> dict:
    """Make an error as a kernel reports it."""
    return {
        "output_type": "error",
        "ename": "E",
        "evalue": "v",
        "traceback": [*traceback],
        **fields,
    }


def notebook(*outputs, number=2, before=()) -> dict:
    """Make an executed notebook whose cell of this number has these outputs."""
    cells = [
        {"metadata": {"nightmill": {"number": 1}}, "outputs": [stream("of another cell\n")]},
        {"metadata": {}, "outputs": [stream("papermill's own banner\n")]},
        {"metadata": {"nightmill": {"number": number}}, "outputs": [*before]},
        {"metadata": {"nightmill": {"number": number}}, "outputs": [*outputs]},
        {"metadata": None},
        {"metadata": {"nightmill": {"number": 9}}},
    ]
    return {"cells": cells}


def numbered(word: str, count: int) -> str:
    """Make so many lines."""
    return "".join(f"{word} {number}\n" for number in range(count))


def test_what_was_printed_and_raised_in_order():
    """The cell's last lines come first, then its traceback, without colours or blank lines."""
    outputs = stream("read 5 files\n\n"), error("\x1b[0;31mTraceback\x1b[0m\n  at x", "E: v")
    assert tail_of(notebook(*outputs), 2) == ("read 5 files", "Traceback", "  at x", "E: v")


@pytest.mark.parametrize(
    ("printed", "raised", "kept_printed", "kept_raised"),
    [(100, 0, 20, 0), (0, 100, 0, 20), (100, 100, 8, 12), (3, 100, 3, 17), (100, 5, 15, 5)],
)
def test_both_have_their_share(printed, raised, kept_printed, kept_raised):
    """Of twenty lines neither takes all while the other has some; the last lines are kept."""
    outputs = stream(numbered("out", printed)), error(numbered("tb", raised), ename="", evalue="")
    found = tail_of(notebook(*(outputs if raised else outputs[:1])), 2)
    wanted_out = [f"out {number}" for number in range(printed - kept_printed, printed)]
    wanted_tb = [f"tb {number}" for number in range(raised - kept_raised, raised)]
    assert list(found) == wanted_out + wanted_tb


def test_a_progress_bar_is_one_line():
    """Of a line that was written over and over only its last state is told."""
    assert tail_of(notebook(stream("10%\r50%\r100%\ndone\r\n")), 2) == ("100%", "done")


def test_an_error_without_a_traceback_is_told_by_its_name():
    """Where a kernel could not put it into words, name and value are all there is."""
    assert tail_of(notebook(error(ename="KernelDied", evalue="gone")), 2) == ("KernelDied: gone",)


def test_text_may_be_a_list():
    """A notebook may keep text as a list of pieces."""
    assert tail_of(notebook(stream(["one ", "line\n", "and two"])), 2) == ("one line", "and two")


def test_of_two_cells_with_one_number_the_last_that_said_anything_is_meant():
    """The cell that papermill injects has the number of the one before it."""
    assert tail_of(notebook(stream("injected"), before=[stream("own")]), 2) == ("injected",)
    assert tail_of(notebook(before=[stream("own")]), 2) == ("own",)


def test_a_cell_that_said_nothing():
    """No cell, no outputs, or outputs without text have no tail."""
    assert tail_of(notebook(), 2) == ()
    assert tail_of(notebook(), 77) == ()
    assert tail_of(notebook({"output_type": "display_data", "data": {}}, "odd"), 2) == ()


@given(st.lists(st.one_of(st.text().map(stream), st.text().map(error))))
def test_whatever_was_said_the_tail_is_few_short_readable_lines(outputs):
    """No cell can flood a log, or order the reader's terminal about."""
    found = tail_of(notebook(*outputs), 2)
    assert len(found) <= LINES
    assert all(len(line) <= LINE_CHARACTERS and line.isprintable() for line in found)


def test_a_flood_is_not_read():
    """Of a hundred megabytes on one line the end is told, at once."""
    (line,) = tail_of(notebook(stream("x" * 100_000_000 + "end")), 2)
    assert len(line) == LINE_CHARACTERS
