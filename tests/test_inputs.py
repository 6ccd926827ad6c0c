"""Which committed version an input means, and what is said when there is none."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightmill.errors import InputError, StoreError
from nightmill.spec.graph import InputSource
from nightmill.store.inputs import check_sha256, resolve_input, resolve_inputs, version_notes
from nightmill.store.pointer import CommittedOutput, Pointer, Token, commit

DAYS = ("2013-01-01", "2013-01-03", "2013-01-05")


@pytest.fixture
def filled(store):
    """Commit the output `model` for three days, two days apart."""
    for order, day in enumerate(DAYS):
        prefix = f"runs/m/{day}/r/train/1"
        output = CommittedOutput(name="model", kind="file", prefix=prefix, files=())
        commit(
            store,
            Pointer(
                pipeline="m",
                step="train",
                partition=day,
                run="r",
                token=Token(order=order, attempt=1),
                attempt_prefix=prefix,
                outputs={"model": output},
            ),
        )
    return store


def source(version="same_partition", *, output="model", inclusive=True, **more) -> InputSource:
    """Want the output of the step `train` of the pipeline `m`."""
    return InputSource("model", "m", "train", output, version, inclusive=inclusive, **more)


@pytest.mark.parametrize(
    ("version", "inclusive", "partition", "found"),
    [
        ("same_partition", True, "2013-01-03", "2013-01-03"),
        ("previous_partition", True, "2013-01-04", "2013-01-03"),
        ("latest_before_partition", True, "2013-01-03", "2013-01-03"),
        ("latest_before_partition", False, "2013-01-03", "2013-01-01"),
        ("latest_before_partition", False, "2013-01-09", "2013-01-05"),
        ("latest", True, "2013-01-02", "2013-01-05"),
    ],
)
def test_the_version_that_is_meant(filled, version, inclusive, partition, found):
    """Each way to choose a version finds exactly that day's pointer, on either backend."""
    resolved = resolve_input(filled, source(version, inclusive=inclusive), partition)
    assert resolved.versions[""].pointer.partition == found
    assert resolved.versions[""].output.name == "model"


@pytest.mark.parametrize(
    ("version", "inclusive", "partition", "words", "command"),
    [
        ("same_partition", True, "2013-01-02", "for 2013-01-02", "--partition 2013-01-02"),
        ("previous_partition", True, "2013-01-03", "for the day before", "--partition 2013-01-02"),
        ("latest_before_partition", False, "2013-01-01", "before 2013-01-01", "2013-01-01"),
        ("latest_before_partition", True, "2012-12-31", "up to 2012-12-31", "2012-12-31"),
    ],
)
def test_an_input_that_was_never_committed(filled, version, inclusive, partition, words, command):
    """What was looked for is named, with the command that makes it; optional ones are None."""
    wanted = source(version, inclusive=inclusive)
    with pytest.raises(InputError, match=f"m.model was never committed {words}") as caught:
        resolve_input(filled, wanted, partition)
    assert command in caught.value.advice
    assert caught.value.where == "input model"
    optional = source(version, inclusive=inclusive, optional=True)
    assert resolve_inputs(filled, [optional], partition) == {"model": None}


def test_latest_of_nothing(store):
    """An input that no partition ever had is missing for any partition."""
    with pytest.raises(InputError, match="for any partition"):
        resolve_input(store, source("latest"), "2013-01-01")


@pytest.mark.parametrize(("partition", "fresh"), [("2013-01-07", True), ("2013-01-08", False)])
def test_a_version_may_be_too_old(filled, partition, fresh):
    """An input older than `max_age` is refused, with its age; at the limit it is good."""
    wanted = source("latest_before_partition", max_age=timedelta(days=2))
    if fresh:
        assert (
            resolve_input(filled, wanted, partition).versions[""].pointer.partition == "2013-01-05"
        )
    else:
        with pytest.raises(InputError, match=r"3 days before 2013-01-08; at most 2"):
            resolve_input(filled, wanted, partition)


def test_an_output_that_the_committed_run_did_not_make(filled):
    """A step that committed before the output was declared must run again, and this is said."""
    with pytest.raises(InputError, match="committed no output extra") as caught:
        resolve_input(filled, source(output="extra"), "2013-01-03")
    assert caught.value.advice.endswith("--rerun")


def test_versions_tell_what_was_read(filled):
    """The pointer keeps a line for each input: the attempt that made it, or that there was none."""
    found = resolve_input(filled, source(), "2013-01-03")
    assert version_notes({"model": found, "other": None}) == {
        "model": "runs/m/2013-01-03/r/train/1#model",
        "other": "none",
    }


def test_hashes_are_compared():
    """Equal hashes pass in silence, others are an error of the store at that address."""
    check_sha256("a", "a", "/x")
    with pytest.raises(StoreError) as caught:
        check_sha256("a", "b", "/x")
    assert caught.value.address == "/x"
