"""Errors: their message and their way through process boundaries."""

import pickle

import pytest

from nightmill.causes import SUMMARY, Cause
from nightmill.errors import ContractError, NightmillError, SpecError, StoreConflict

ERRORS = [
    NightmillError("a", where="b", advice="c"),
    SpecError("a", file="f.yaml", line=3, key="k", advice="c"),
    ContractError("a", notebook="n.ipynb", cell=2, line=1, parameter="p"),
    StoreConflict("a", address="s3://x", operation="write", advice="c"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_with_its_fields(error):
    """A worker process may hand any of our errors to its parent."""
    restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(restored) is type(error)
    assert vars(restored) == vars(error)
    assert str(restored) == str(error)


def test_a_message_says_what_where_and_what_to_do():
    """The place comes first, the advice on a line of its own."""
    assert str(ERRORS[0]) == "b: a\n  -> c"
    assert str(ERRORS[1]) == "f.yaml:3: k: a\n  -> c"
    assert str(ERRORS[2]) == "n.ipynb, cell 2, line 1: p: a"


def test_every_cause_has_its_own_exit_code_and_a_summary():
    """Exit codes begin at 10, so none is taken by the shell, Python or click."""
    codes = [cause.exit_code for cause in Cause]
    assert codes == list(range(10, 24))
    assert set(SUMMARY) == set(Cause)
