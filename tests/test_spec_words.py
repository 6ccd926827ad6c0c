"""The one line: what it says of each failure, and that nothing others wrote can break it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.causes import Cause
from nightmill.spec import words

GIB = 1 << 30
OOM = Cause.OUT_OF_MEMORY


def test_the_whole_line():
    """Cause, cell of all, title, what happened, what comes next, and where to look."""
    message = words.describe(OOM, "7.9 of 8.0 GiB", cell=14, cells=22, title="Score the day")
    line = words.tell(message, decision="next attempt on highmem", notebook="s3://b/n", cell=14)
    assert line == (
        'out_of_memory in cell 14/22 "Score the day": 7.9 of 8.0 GiB; next attempt on highmem; '
        "notebook: s3://b/n#cell-14"
    )


PARTS = {
    "no cell": ({}, "out_of_memory: x"),
    "a cell alone": ({"cell": 3}, "out_of_memory in cell 3: x"),
    "a cell of all": ({"cell": 3, "cells": 9}, "out_of_memory in cell 3/9: x"),
    "a title needs its cell": ({"title": "T"}, "out_of_memory: x"),
    "a title": ({"cell": 3, "title": "T [b]"}, 'out_of_memory in cell 3 "T [b]": x'),
    "a hostile title": ({"cell": 3, "title": "\x1b[2JT\nU"}, 'out_of_memory in cell 3 "T": x'),
    "an endless title": (
        {"cell": 3, "title": "t" * 1000},
        f'out_of_memory in cell 3 "{"t" * 77}...": x',
    ),
}


@pytest.mark.parametrize(("place", "message"), PARTS.values(), ids=PARTS)
def test_a_message_names_its_place(place, message):
    """Only what is known is told; a title is short and harmless."""
    assert words.describe(OOM, "x", **place) == message


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", "no message"),
        (" \n\t\n", "no message"),
        ("\n\n  first   line \nsecond", "first line"),
        ("out_of_memory: once", "once"),
        ("\x1b[0;31mred\x1b[0m and \x1b]8;;http://x\x07link", "red and link"),
        ("10%\r 50%\r100%", "100%"),
        ("bell \x07 and \u202e", r"bell \x07 and \u202e"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_a_message_is_one_line_that_can_only_be_read(said, kept):
    """The first line that says something stays, without colours, overwritten text or orders."""
    assert words.describe(OOM, said) == f"out_of_memory: {kept}"


def test_the_parts_of_a_line_are_left_out_where_there_are_none():
    """Without decision, notebook or cell the line is what is left."""
    assert words.tell("m") == "m"
    assert words.tell("m", decision="d") == "m; d"
    assert words.tell("m", notebook="n") == "m; notebook: n"


@given(st.text(), st.text())
def test_whatever_is_said_the_line_is_one_line_of_bounded_length(title, said):
    """No title and no error can break the line, flood it, or make it unwritable."""
    message = words.describe(OOM, said, cell=1, cells=2, title=title)
    assert len(message) <= words.MESSAGE_CHARACTERS
    assert message.isprintable()
    assert words.tell(message) == message
    message.encode()


@pytest.mark.parametrize(
    ("count", "limit", "text"),
    [
        (int(7.9 * GIB), 8 * GIB, "7.9 of 8.0 GiB"),
        (GIB // 4, 8 * GIB, "0.2 of 8.0 GiB"),
        (498 << 20, 500 << 20, "498 of 500 MiB"),
        (8 * GIB, 8 * GIB, "8.0 of 8.0 GiB"),
        (0, 100, "0 of 100 B"),
        (3 << 40, 5000 << 40, "3.0 of 5000 TiB"),
    ],
)
def test_memory_beside_its_limit(count, limit, text):
    """What was used is told in the unit of the limit, so that both can be compared."""
    assert words.amount_of(count, limit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (1.4, "1 s"),
        (40, "40 s"),
        (60, "1 min"),
        (90, "90 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (5400, "1 h 30 min"),
        (86400, "24 h"),
    ],
)
def test_spans_are_told_as_somebody_would_write_them(seconds, text):
    """A chosen span is told in the units in which people choose it."""
    assert words.span(seconds) == text
