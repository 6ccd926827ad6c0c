"""StepRun: what crosses from launcher to step arrives as it was sent, or is refused by name."""

from __future__ import annotations

import base64
import json

import click
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.cli.app import app
from nightmill.errors import UsageError
from nightmill.spec.steprun import StepRun, decode_parameters, encode_parameters

IDENTITY = {
    "pipeline": "p",
    "step": "s",
    "partition": "2013-01-01",
    "as_of": "2013-01-01",
    "run": "r",
    "order": 7,
    "store": "/somewhere",
}
# An argument of a process can hold any character but NUL and unpaired surrogates.
ARGUMENT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
HOSTILE = st.sampled_from(
    ["{{ ds }}", "{day}", "$HOME", "--help", "-p", "a=b", "a\nb", '"', "'", "\\", " ", "é", "🦉"]
)
TEXT = ARGUMENT | HOSTILE
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None))  # values may even hold lone surrogates
    | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
STEP_RUNS = st.builds(
    StepRun,
    pipeline=TEXT,
    step=TEXT,
    partition=TEXT,
    as_of=TEXT,
    run=TEXT,
    order=st.integers(min_value=0, max_value=2**63),
    attempt=st.integers(min_value=1, max_value=10**6),
    store=TEXT,
    parameters=st.dictionaries(st.text(), JSON, max_size=4),
)


@settings(deadline=None)  # a busy machine is no failure
@given(STEP_RUNS)
def test_argv_carries_every_value_unchanged(run):
    """Whatever the names and values hold, a step receives exactly what its launcher meant."""
    assert StepRun.from_argv(run.to_argv()) == run


@settings(deadline=None)  # a busy machine is no failure
@given(STEP_RUNS)
def test_the_command_line_reads_the_same_argv(run):
    """The real option parser of `nightmill step` reads what `to_argv` writes, dashes and all."""
    command = typer.main.get_command(app).commands["step"]
    with click.Context(click.Command("nightmill")) as parent:
        given = command.make_context("step", run.to_argv()[1:], parent=parent).params
    expected = run.model_dump(exclude={"parameters"})
    assert {name: given[name] for name in expected} == expected
    assert decode_parameters(given["parameters"]) == run.parameters


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_parameters_travel_as_letters_no_shell_or_template_knows(parameters):
    """Encoded parameters hold nothing that a shell, YAML or Jinja would change."""
    encoded = encode_parameters(parameters)
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert json.loads(base64.urlsafe_b64decode(encoded)) == parameters


def test_no_parameters_are_an_empty_argument():
    """A step without parameters gets an empty argument, which means none."""
    argv = StepRun(**IDENTITY).to_argv()
    assert argv[-1] == "--parameters="
    assert StepRun.from_argv(argv).parameters == {}


@pytest.mark.parametrize(
    "text",
    [
        "{{ params }}",
        "e3!0=",  # base64 of {} but for a character that is none of its alphabet
        "é",
        "e30",  # cut off
        base64.urlsafe_b64encode(b"not JSON").decode(),
        base64.urlsafe_b64encode(b"[1]").decode(),
        base64.urlsafe_b64encode(b'"text"').decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_damaged_parameters_are_refused(text):
    """Text that is not base64url of a JSON object is refused whole, never read in part."""
    with pytest.raises(UsageError) as caught:
        decode_parameters(text)
    assert caught.value.where == "--parameters"


@pytest.mark.parametrize(
    ("argv", "where"),
    [
        ([], ""),
        (["run"], "run"),
        (["step", "--pipelin=p"], "--pipelin=p"),
        (["step", "--pipeline"], "--pipeline"),
        (["step", "pipeline=p"], "pipeline=p"),
        (["step", "--pipeline=p"], "--step"),
        ([*StepRun(**IDENTITY).to_argv(), "--order=soon"], "--order"),
        ([*StepRun(**IDENTITY).to_argv(), "--order=-1"], "--order"),
        ([*StepRun(**IDENTITY).to_argv(), "--attempt=0"], "--attempt"),
        ([*StepRun(**IDENTITY).to_argv(), "--as-of="], "--as-of"),
        ([*StepRun(**IDENTITY).to_argv(), "--model-config=1"], "--model-config=1"),
    ],
)
def test_a_wrong_argument_is_named(argv, where):
    """Arguments that are unknown, missing or ill-formed are refused, and the first is named."""
    with pytest.raises(UsageError) as caught:
        StepRun.from_argv(argv)
    assert caught.value.where == where


def test_parameters_too_long_for_an_argument_are_refused_with_their_size():
    """What the operating system would refuse as an argument is refused with size and advice."""
    run = StepRun(**IDENTITY, parameters={"text": "🦉" * 20_000})  # twelve bytes each, as JSON
    with pytest.raises(UsageError, match="320,0") as caught:
        run.to_argv()
    assert "file" in caught.value.advice
