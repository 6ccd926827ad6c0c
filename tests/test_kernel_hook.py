"""What a kernel is asked at the end, and how its answer reads."""

from __future__ import annotations

import json

import pytest

from nightmill.step.kernel_hook import KERNEL_ARGUMENTS, settle_threads, thread_warnings

BOTH = "still at work in threads when the last cell ended: a, b"


def answer(**facts):
    """Make the answer of a kernel, as Jupyter's protocol brings it."""
    said = {"waited_s": 0.0, "found": [], "left": [], "errors": [], **facts}
    return {"status": "ok", "data": {"text/plain": repr(json.dumps(said))}}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, []),
        (
            {"errors": ["t: ValueError: it's", "u: KeyError: 1"]},
            [
                "an exception in a thread was seen by no cell: t: ValueError: it's",
                "an exception in a thread was seen by no cell: u: KeyError: 1",
            ],
        ),
        (
            {"found": ["a", "b"], "waited_s": 1.5},
            [f"{BOTH}; waited 1.5 s for them"],
        ),
        (
            {"found": ["a", "b"], "left": ["b"], "waited_s": 30.0},
            [f"{BOTH}; waited 30 s, then ended with the kernel: b"],
        ),
    ],
)
def test_an_answer_in_words(facts, told):
    """Threads are named, with what they died of and how long they were waited for."""
    assert list(thread_warnings(answer(**facts))) == told


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"status": "error", "ename": "KeyboardInterrupt"},
        {"status": "ok", "data": {}},
        {"status": "ok", "data": {"text/plain": "no JSON"}},
    ],
)
def test_a_kernel_that_cannot_answer(said):
    """A kernel that was interrupted, or is no ipykernel, has nothing to tell and stops nothing."""
    assert list(thread_warnings(said)) == []


def test_what_a_kernel_is_told_needs_no_name_of_the_notebook_s():
    """The expressions import what they use: a notebook may have taken any name for itself."""
    assert settle_threads(30.0).startswith("__import__(")
    assert "exec_lines=exec(compile(__import__(" in KERNEL_ARGUMENTS[0]
