"""Which committed version an input means, and what is said when there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from nightmill.errors import InputError, StoreError
from nightmill.spec.graph import InputSource
from nightmill.spec.record import AttemptState, Review
from nightmill.store.current import current_pointers
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
from tests.stored_versions import DAY, add_version

DAYS = ("2013-01-01", "2013-01-03", "2013-01-05")
HOUR = timedelta(hours=1)


def make(
    store,
    day: str,
    *,
    order: int = 0,
    member: str = "",
    output: str = "model",
    step: str = "train",
) -> Pointer:
    """Commit the output of the step `train` for a day, as a run of this order would."""
    prefix = f"runs/m/{day}/r{order}/{step}/" + (f"{member}/1" if member else "1")
    made = CommittedOutput(name=output, kind="file", prefix=prefix, files=())
    pointer = Pointer(
        pipeline="m",
        step=step,
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


def test_what_is_held_is_told_with_the_command_that_decides(store):
    """Where the last attempt awaits a person, another run would only be held again."""
    wanted = InputSource("scores", "flights", "score", "scores", "same_partition", inclusive=True)
    held = {"state": AttemptState.SUCCEEDED, "failure": None}
    add_version(store, 1, commits=False, **held, review=Review(required=("scores",)))
    advice = find_lack(store, [wanted], DAY).error.advice
    assert "is held for review: `nightmill approve run-1 --step score` makes it current" in advice
    add_version(store, 2, commits=False)
    advice = find_lack(store, [wanted], DAY).error.advice
    assert advice == f"run `nightmill run flights --partition {DAY}`"


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
    wanted = "run `nightmill run m --partition 2013-01-03 --step train --rerun`"
    assert caught.value.advice == wanted


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


# -- steps that were renamed, outputs that moved --------------------------------------------------


def renamed(version="same_partition", **more) -> InputSource:
    """Want the output that the step `fit` makes now, which was `train` before."""
    return replace(source(version, inclusive=False, **more), step="fit")


@pytest.mark.parametrize("moved_to_a_step_that_ran", [False, True])
@pytest.mark.parametrize(
    ("version", "partition", "found"),
    [
        ("same_partition", "2013-01-03", "2013-01-03"),
        ("previous_partition", "2013-01-04", "2013-01-03"),
        ("latest_before_partition", "2013-01-06", "2013-01-05"),
        ("latest_before_partition", "2013-03-06", "2013-01-05"),
        ("latest", "2013-01-02", "2013-01-05"),
    ],
)
def test_an_output_is_found_below_the_step_that_made_it(
    filled, moved_to_a_step_that_ran, version, partition, found
):
    """A renamed step's partitions are still there, and so are those of an output that moved.

    A warning names both steps.
    """
    if moved_to_a_step_that_ran:
        for day in DAYS:
            make(filled, day, order=9, step="fit", output="figures")
    wanted = renamed(version, optional=True)
    resolved = resolve_inputs(filled, [wanted], partition)
    pointer = resolved["model"].versions[""].pointer
    assert (pointer.step, pointer.partition) == ("train", found)
    (told,) = left_out(filled, [wanted], resolved, partition)
    assert told == (
        f"input model: m.model {found} is of the step train; "
        f"fit, which makes it now, has not committed it for {found}"
    )
    assert find_lack(filled, [replace(wanted, optional=False)], partition) is None


def test_the_present_step_counts_where_both_have_the_partition(filled):
    """What the step of today made is read, although the former one committed with a newer run."""
    make(filled, "2013-01-05", order=1, step="fit")
    make(filled, "2013-01-05", order=7)
    for version, day in (("same_partition", "05"), ("latest_before_partition", "06"),
                         ("latest_before_partition", "09"), ("latest", "05")):  # fmt: skip
        wanted = renamed(version)
        found = resolve_inputs(filled, [wanted], f"2013-01-{day}")
        assert found["model"].versions[""].pointer.step == "fit"
        assert left_out(filled, [wanted], found, f"2013-01-{day}") == ()


@pytest.mark.parametrize("version", ["latest", "latest_before_partition"])
def test_a_newer_partition_counts_whichever_step_made_it(filled, version):
    """An old partition that the renamed step made again hides no newer one of its former name."""
    make(filled, "2013-01-01", order=9, step="fit")
    found = resolve_input(filled, renamed(version), "2013-01-09").versions[""].pointer
    assert (found.step, found.partition) == ("train", "2013-01-05")


@pytest.mark.parametrize("version", ["latest", "latest_before_partition"])
def test_a_former_step_may_have_run_without_the_output(filled, version):
    """The step that an output was taken from goes on, and its last version of it is found yet."""
    for day in ("2013-01-06", "2013-01-07", "2013-01-08"):
        make(filled, day, output="figures")
    found = resolve_input(filled, renamed(version), "2013-01-09").versions[""].pointer
    assert (found.step, found.partition) == ("train", "2013-01-05")


def test_of_two_former_steps_the_last_commit_counts(store):
    """Of two steps that used to make an output, `nightmill where` and an input name the same."""
    make(store, DAYS[0], order=9, step="first")
    make(store, DAYS[0], order=1, step="second")
    found = resolve_input(store, renamed(), DAYS[0]).versions[""].pointer
    assert found.step == "second" == current_pointers(store, "m", "model", DAYS[0])[0].step


def test_members_of_two_steps_are_never_mixed(store):
    """Until each member of a renamed step has committed, all of them are the former step's."""
    for member in ("north", "south"):
        make(store, DAYS[0], member=member)
    make(store, DAYS[0], member="south", step="fit", order=5)
    wanted = renamed(members=("north", "south"))
    found = resolve_input(store, wanted, DAYS[0])
    assert {one.pointer.step for one in found.versions.values()} == {"train"}
    make(store, DAYS[0], member="north", step="fit", order=5)
    found = resolve_input(store, wanted, DAYS[0])
    assert {one.pointer.step for one in found.versions.values()} == {"fit"}


@pytest.mark.parametrize("former", ["train", "former"], ids=["same", "renamed"])
@pytest.mark.parametrize(
    ("had", "has", "is_meant"),
    [
        (("north", "south"), ("north",), True),
        (("north",), ("north", "south"), False),
        (("north", "south"), (), False),
        ((), ("north",), False),
    ],
)
def test_a_version_has_every_member_of_today(store, former, had, has, is_meant):
    """One that lacks some is none, since a notebook would take a part for the whole.

    It does not matter whether the step was renamed as well.
    """
    for member in had or ("",):
        make(store, "2013-01-05", member=member, step=former)
    for version, days in (("same_partition", 0), ("previous_partition", 1), ("latest", 0),
                          ("latest_before_partition", 2),
                          ("latest_before_partition", 9)):  # fmt: skip
        wanted = source(version, inclusive=False, members=has, optional=True)
        found = resolve_input(store, wanted, f"2013-01-{5 + days:02}")
        assert set(found.versions if found else ()) == (set(has) if is_meant else set())


def test_text_partitions_of_a_renamed_step(store):
    """By name, and as the last commit as long as the step of today has none."""
    make(store, "v9")
    make(store, "v10")
    assert resolve_input(store, renamed(dated=False), "v9").versions[""].pointer.partition == "v9"
    newest = resolve_input(store, renamed("latest", dated=False), "v9").versions[""].pointer
    assert (newest.step, newest.partition) == ("train", "v10")
    make(store, "v8", step="fit")
    newest = resolve_input(store, renamed("latest", dated=False), "v9").versions[""].pointer
    assert (newest.step, newest.partition) == ("fit", "v8")


def test_a_message_names_the_newest_of_any_step(filled):
    """What is missing is told with the newest that there is, also where another step made it."""
    with pytest.raises(InputError, match="for 2013-01-02; the newest is of 2013-01-05"):
        resolve_input(filled, renamed(), "2013-01-02")


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
        ("2013-01-07", {"read": 3, "children": 1}),
        ("2013-01-08", {"read": 4, "list": 1, "children": 1}),
    ],
)
def test_the_last_days_need_no_listing(filled, partition, asked):
    """The newest version is found without listing partitions if it is of the last three days."""
    counting = Counting(filled)
    found = resolve_input(counting, source("latest_before_partition"), partition)
    assert found.versions[""].pointer.partition == "2013-01-05"
    assert counting.asked == asked


def test_other_steps_cost_a_request_each_and_only_where_they_may_matter(filled):
    """Years of other steps are not listed: a model of five days ago costs each of them a request.

    What the step itself has for the day before costs nothing more than that.
    """
    for step in ("extract", "score"):
        for number in range(300):
            day = date(2013, 1, 9) - timedelta(days=number)
            make(filled, day.isoformat(), output=step, step=step)
    wanted = source("latest_before_partition", inclusive=False)
    counting = Counting(filled)
    assert resolve_input(counting, wanted, "2013-01-10").versions[""].pointer.partition == DAYS[-1]
    assert counting.asked == {"read": 3 + 1 + 2, "list": 1, "children": 1}
    assert counting.listed < 10
    counting = Counting(filled)
    resolve_input(counting, wanted, "2013-01-06")
    resolve_input(counting, source(), DAYS[0])
    assert counting.asked == {"read": 2}
