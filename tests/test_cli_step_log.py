"""The log of a step as text: what is worth a line, and how it begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.cli.step_log import log_lines

ENDED = {
    "event": "step_ended",
    "state": "succeeded",
    "cause": None,
    "message": None,
    "cell": None,
    "duration_s": 61.0,
    "peak_bytes": 3 << 30,
    "notebook": "s3://b/n.ipynb",
    "outputs": {},
    "review": "",
}
HELD = "held for review: nightmill approve r1 --step score"
MESSAGE = 'out_of_memory in cell 14/22 "Score the day": 7.9 of 8.0 GiB, the kernel was killed'
FAILED = ENDED | {"state": "failed", "cause": "out_of_memory", "message": MESSAGE, "cell": 14}
CELL = {"event": "cell_started", "position": 3, "of": 9, "number": 2, "title": "Join\x1b[2J\n"}

EVENTS = {
    "a cell begins": (CELL, [r"3/9 cell 2: Join\x1b[2J\n"]),
    "a cell ends": (CELL | {"event": "cell_ended"}, []),
    "a sample of memory": ({"event": "memory", "bytes": 5}, []),
    "a line that a cell printed": ({"event": "line", "text": "row 5"}, []),
    "a warning": ({"event": "warning", "text": "a thread failed\nX"}, ["WARNING a thread failed"]),
    "what a failed cell said": (
        {"event": "tail", "lines": ["read", "ERROR E: v"]},
        ["  | read", "  | ERROR E: v"],
    ),
    "a success": (ENDED, ["succeeded (1 min 01 s, 3.0 GiB); notebook: s3://b/n.ipynb"]),
    "a step that is held": (
        ENDED | {"review": HELD},
        ["succeeded (1 min 01 s, 3.0 GiB); notebook: s3://b/n.ipynb", HELD],
    ),
    "a failure": (
        FAILED,
        ["failed (1 min 01 s, 3.0 GiB)", f"ERROR {MESSAGE}; notebook: s3://b/n.ipynb#cell-14"],
    ),
    "before a kernel": (
        FAILED | {"peak_bytes": None, "notebook": None, "cell": None, "message": "store: gone"},
        ["failed (1 min 01 s, no kernel)", "ERROR store: gone"],
    ),
}


@pytest.mark.parametrize(("event", "lines"), EVENTS.values(), ids=EVENTS)
def test_what_is_worth_a_line(event, lines):
    """Cells, warnings and the end are told, what floods is not; the one line comes last."""
    assert log_lines(event) == lines


@given(st.text(), st.text())
def test_a_line_is_a_line(title, said):
    """Whatever others wrote, each line is one, and only ours begin as an error or a warning."""
    told = [
        *log_lines(CELL | {"title": title}),
        *log_lines({"event": "warning", "text": said}),
        *log_lines({"event": "tail", "lines": [said]}),
    ]
    assert all(line.isprintable() for line in told)
    assert [line.startswith(("ERROR ", "WARNING ")) for line in told] == [False, True, False]
