"""Which failures are tried again, when, and the words for both."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.retry import Retries, Retry

SAME = "no retry: the same code would meet the same data"

# As the issue decides it: what fails at once, what waits, what needs more memory.
TABLE = {
    "notebook_error": SAME,
    "check_failed": SAME,
    "bad_parameters": "no retry: what was given must be put right first",
    "fenced": "no retry: a newer attempt has committed",
    "nightmill_bug": "no retry: please report it",
    "kernel_died": "",
    "out_of_memory": "",
    "cell_timeout": "",
    "deadline": "",
    "terminated": "",
    "evicted": "",
    "node_lost": "",
    "image": "",
    "store": "",
}


def test_every_cause_is_in_this_table():
    """A new cause must be given its policy, here as there."""
    assert set(TABLE) == set(Cause)


@pytest.mark.parametrize(("cause", "refusal"), TABLE.items())
def test_the_cause_decides_while_attempts_are_left(cause, refusal):
    """What can be helped is tried again; why anything else is not, is said."""
    assert Retries(count=2).refusal(Cause(cause), left=1) == refusal


@pytest.mark.parametrize(
    ("count", "left", "refusal"),
    [(2, 2, ""), (2, 1, ""), (2, 0, "no attempts left"), (0, 0, "no retry: none was asked for")],
)
def test_retries_are_bounded(count, left, refusal):
    """After so many attempts it is over, and a step without retries says that it has none."""
    assert Retries(count=count).refusal(Cause.STORE, left=left) == refusal


def test_a_steps_own_words_stand_above_the_table():
    """A step may try again what the table gives up, and give up what the table tries again."""
    own = {Cause.NOTEBOOK_ERROR: Retry.BACKOFF, Cause.KERNEL_DIED: Retry.NEVER}
    retries = Retries(count=1, own=own)
    assert retries.refusal(Cause.NOTEBOOK_ERROR, left=1) == ""
    assert retries.refusal(Cause.KERNEL_DIED, left=1) == "no retry: pipeline.yaml says so"
    assert retries.of(Cause.OUT_OF_MEMORY) is Retry.MORE_MEMORY


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [(True, [10, 20, 40, 80, 160, 320, 320]), (False, [10] * 7)],
)
def test_waits_double_up_to_a_limit(backoff, waits):
    """Each wait is twice the one before, up to 32 times the first; or all are alike."""
    retries = Retries(count=9, delay=timedelta(seconds=10), backoff=backoff)
    assert [retries.wait_s(attempt) for attempt in range(1, 8)] == waits
