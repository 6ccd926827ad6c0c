"""Which committed version an input means, and what is said when there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nightmill.errors import InputError, StoreError
from nightmill.spec.graph import InputSource
from nightmill.store.inputs import (
    check_sha256,
    find_lack,
    left_out,
    resolve_input,
    resolve_inputs,
    version_notes,
)
from nightmill.store.pointer import CommittedOutput, Move, Pointer, Token, commit
from tests.counting import Counting

DAYS = ("2013-01-01", "2013-01-03", "2013-01-05")
HOUR = timedelta(hours=1)


def make(store, day: str, *, order: int = 0, member: str = "", output: str = "model") -> Pointer:
    """Commit the output of the step `train` for a day, as a run of this order would."""
    prefix = f"runs/m/{day}/r{order}/train/" + (f"{member}/1" if member else "1")
    made = CommittedOutput(name=output, kind="file", prefix=prefix, files=())
    pointer = Pointer(
        pipeline="m",
        step="train",
        partition=day,
        member=member,
        run=f"r{order}",
        token=Token(order=order, attempt=1),
        attempt_prefix=prefix,
        outputs={output: made},
    )
    return commit(store, pointer)


@pytest.fixture
def filled(store):
    """Commit the output `model` for three days, two days apart."""
    for order, day in enumerate(DAYS):
        make(store, day, order=order)
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
    ("version", "inclusive", "partition", "words", "day"),
    [
        ("same_partition", True, "2013-01-02", ("for 2013-01-02; the newest is of 2013-01-05, "
         "3 days after"), "2013-01-02"),
        ("same_partition", True, "2013-01-06", ("for 2013-01-06; the newest is of 2013-01-05, "
         "1 day before"), "2013-01-06"),
        ("previous_partition", True, "2013-01-05", ("for 2013-01-04, the day before; the newest is "
         "of 2013-01-05, the same day"), "2013-01-04"),
        ("latest_before_partition", False, "2013-01-01", ("before 2013-01-01; the newest is of "
         "2013-01-05, 4 days after"), "2013-01-01"),
        ("latest_before_partition", True, "2012-12-31", ("up to 2012-12-31; the newest is of "
         "2013-01-05, 5 days after"), "2012-12-31"),
    ],
)  # fmt: skip
def test_an_input_that_was_never_committed(filled, version, inclusive, partition, words, day):
    """What was looked for and what there is are named, with the command; optional ones are None."""
    wanted = source(version, inclusive=inclusive)
    with pytest.raises(InputError) as caught:
        resolve_input(filled, wanted, partition)
    assert caught.value.problem == f"m.model was never committed {words}"
    assert caught.value.advice == f"run `nightmill run m --partition {day}`"
    assert caught.value.where == "input model"
    optional = source(version, inclusive=inclusive, optional=True)
    assert resolve_inputs(filled, [optional], partition) == {"model": None}


def test_latest_of_nothing(store):
    """An input that no partition ever had is missing for any partition."""
    with pytest.raises(InputError, match="for any partition; no partition has it"):
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


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (
            source("latest_before_partition", max_age=timedelta(days=2)),
            "the newest m.model is of 2013-01-05, 3 days before 2013-01-08; at most 2 are allowed",
        ),
        (
            source("latest_before_partition", output="extra"),
            "the step train committed no output extra for 2013-01-05",
        ),
    ],
)
def test_an_optional_input_that_is_unusable_is_none(filled, wanted, reason):
    """What is too old, or was made before the output was declared, is None, and a line says why."""
    optional = replace(wanted, optional=True)
    never = source(optional=True)
    sources = [optional, replace(never, parameter="never"), replace(never, parameter="other")]
    resolved = resolve_inputs(filled, sources, "2013-01-08")
    assert resolved == {"model": None, "never": None, "other": None}
    told = left_out(filled, sources, resolved, "2013-01-08")
    assert told == (f"input model is None: {reason}",)
    assert find_lack(filled, [optional], "2013-01-08") is None
    waiting = replace(optional, wait=HOUR)
    assert find_lack(filled, [waiting], "2013-01-08").left == HOUR
    assert find_lack(filled, [waiting], "2013-01-08", waited=HOUR) is None
    with pytest.raises(InputError, match=reason.split(";", maxsplit=1)[0]):
        resolve_input(filled, wanted, "2013-01-08")


def test_an_optional_input_that_is_there_needs_no_word(filled):
    """Of an input that was found nothing is told, and nothing more is asked."""
    sources = [source("latest", optional=True)]
    resolved = resolve_inputs(filled, sources, "2013-01-08")
    assert left_out(None, sources, resolved, "2013-01-08") == ()


def test_versions_tell_what_was_read(filled):
    """The pointer keeps a line for each input: the attempt that made it, or that there was none."""
    found = resolve_input(filled, source(), "2013-01-03")
    assert version_notes({"model": found, "other": None}) == {
        "model": "runs/m/2013-01-03/r1/train/1#model",
        "other": "none",
    }


def test_hashes_are_compared():
    """Equal hashes pass in silence, others are an error of the store at that address."""
    check_sha256("a", "a", "/x")
    with pytest.raises(StoreError) as caught:
        check_sha256("a", "b", "/x")
    assert caught.value.address == "/x"


# -- partitions that are no days, members, versions taken back ------------------------------------


def test_text_partitions(store):
    """Text partitions are found by name; `latest` is the last commit, and there is no distance."""
    for order, name in enumerate(("v9", "eu [west]", "v10")):
        make(store, name, order=order)
    found = resolve_input(store, source(dated=False), "eu [west]")
    assert found.versions[""].pointer.partition == "eu [west]"
    newest = resolve_input(store, source("latest", dated=False), "eu [west]")
    assert newest.versions[""].pointer.partition == "v10"
    with pytest.raises(InputError) as caught:
        resolve_input(store, source(dated=False), "asia")
    assert caught.value.problem == "m.model was never committed for asia"


@pytest.mark.parametrize(
    ("version", "partition", "words"),
    [
        ("same_partition", "2013-01-02", ("for 2013-01-02 by 1 of 2 members (north); the newest is "
         "of 2013-01-01, 1 day before")),
        ("latest_before_partition", "2012-12-31", ("up to 2012-12-31 by all 2 members; the newest "
         "is of 2013-01-01, 1 day after")),
    ],
)  # fmt: skip
def test_members_that_are_missing(store, version, partition, words):
    """A partition counts when every member has committed it; who has not is named."""
    for member in ("north", "south"):
        make(store, "2013-01-01", member=member)
    make(store, "2013-01-02", member="south")
    with pytest.raises(InputError) as caught:
        resolve_input(store, source(version, members=("north", "south")), partition)
    assert caught.value.problem == f"m.model was never committed {words}"


def test_the_newest_whole_partition_of_members(store):
    """Where a member of the newest day is missing, the day before is read, for all of them."""
    for member in ("north", "south"):
        make(store, "2013-01-01", member=member)
    make(store, "2013-01-02", member="south")
    wanted = source("latest_before_partition", members=("north", "south"))
    found = resolve_input(store, wanted, "2013-01-02")
    assert {one.pointer.partition for one in found.versions.values()} == {"2013-01-01"}
    assert set(found.versions) == {"north", "south"}


def test_a_version_that_was_taken_back(filled):
    """After a rollback an input is the version that was chosen, of the same partition."""
    newer = make(filled, "2013-01-05", order=9)
    older = newer.model_copy(
        update={
            "run": "r2",
            "attempt_prefix": "runs/m/2013-01-05/r2/train/1",
            "token": newer.token.overruled(),
            "moves": (Move(kind="rollback", by="ann", replaced=newer.attempt_prefix),),
            "commit_id": "f" * 32,
        }
    )
    commit(filled, older)
    for version in ("same_partition", "latest_before_partition", "latest"):
        found = resolve_input(filled, source(version), "2013-01-05")
        assert found.versions[""].pointer.run == "r2"
        assert version_notes({"model": found})["model"].startswith(older.attempt_prefix)


# -- waiting --------------------------------------------------------------------------------------


def test_nothing_lacks(filled):
    """A step whose inputs are all there, or optional and not waited for, may begin."""
    there = [source("latest"), source(optional=True)]
    assert find_lack(filled, there, "2013-01-02") is None
    assert find_lack(filled, [], "2013-01-02") is None


@pytest.mark.parametrize(
    ("wait", "waited", "left"),
    [(None, HOUR, 0 * HOUR), (3 * HOUR, HOUR, 2 * HOUR), (HOUR, 2 * HOUR, 0 * HOUR)],
)
def test_how_long_an_input_is_waited_for(filled, wait, waited, left):
    """What is missing or too old may come, as long as the step says; then its error counts."""
    missing = source(wait=wait)
    stale = source("latest_before_partition", max_age=timedelta(days=1), wait=wait)
    for one, words in ((missing, "for 2013-02-01"), (stale, "the newest m.model is of 2013-01-05")):
        lack = find_lack(filled, [source("latest"), one], "2013-02-01", waited=waited)
        assert lack.left == left
        assert words in lack.error.problem


def test_what_is_not_waited_for_ends_all_waiting(filled):
    """Of several inputs that are missing, the one that is given up first is told."""
    several = [source(wait=HOUR), replace(source(), parameter="other"), source(wait=2 * HOUR)]
    assert find_lack(filled, several, "2013-01-02").error.where == "input other"
    del several[1]
    assert find_lack(filled, several, "2013-01-02").left == HOUR


def test_an_optional_input_may_be_waited_for(filled):
    """An optional input with `wait` is waited for, and done without when its time is over."""
    wanted = source(optional=True, wait=HOUR)
    assert find_lack(filled, [wanted], "2013-01-02").left == HOUR
    assert find_lack(filled, [wanted], "2013-01-02", waited=HOUR) is None
    assert find_lack(filled, [wanted], "2013-01-03") is None


# -- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition", "asked"),
    [
        ("2013-01-05", {"read": 1}),
        ("2013-01-07", {"read": 3}),
        ("2013-01-08", {"read": 4, "list": 1}),
    ],
)
def test_the_last_days_need_no_listing(filled, partition, asked):
    """The newest version is found without a listing if it is of one of the last three days."""
    counting = Counting(filled)
    found = resolve_input(counting, source("latest_before_partition"), partition)
    assert found.versions[""].pointer.partition == "2013-01-05"
    assert counting.asked == asked
