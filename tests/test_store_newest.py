"""Which partition is the newest: days by their date, text by what was committed last."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

import pytest

from nightmill.spec.record import AttemptState, Record
from nightmill.store.latest import latest_pointers, latest_pointers_before, newest_pointers
from nightmill.store.newest import newest_first
from nightmill.store.pointer import Move, Pointer, Token, commit, earlier_pointers
from tests.counting import Counting

NAMES = ("m", "train")
PREFIX = "current/m/train"
TODAY = datetime.now(UTC).date()


def make(store, partition: str, order: int = 1, *, member: str = "", **fields: object) -> Pointer:
    """Commit a partition, as a run of this order would."""
    prefix = f"runs/m/{partition}/r{order}/train/" + (f"{member}/1" if member else "1")
    token = Token(order=order, attempt=1)
    known = {"run": f"r{order}", "token": token, "attempt_prefix": prefix, "outputs": {}} | fields
    place = {"pipeline": "m", "step": "train", "partition": partition, "member": member}
    return commit(store, Pointer(**place, **known))


def roll_back(store, pointer: Pointer) -> None:
    """Make the same version current again, as a rollback does now."""
    move = Move(kind="rollback", by="ann")
    facts = {"moves": (move,), "token": pointer.token.overruled(), "committed_at": move.at}
    commit(store, pointer.model_copy(update=facts | {"commit_id": "f" * 32}))


def write_record(store, pointer: Pointer) -> None:
    """Write the record of the attempt that a pointer names: it ended when it committed."""
    record = Record(
        pipeline="m", step="train", partition=pointer.partition, as_of="2013-01-01",
        run=pointer.run, order=pointer.token.order, attempt=1, state=AttemptState.SUCCEEDED,
        started_at=pointer.committed_at, ended_at=pointer.committed_at, nightmill="0", host="h",
        store="s", parameters={},
    )  # fmt: skip
    store.write(f"{pointer.attempt_prefix}/record.json", record.to_json())


def days_ago(days: int) -> str:
    return (TODAY - timedelta(days=days)).isoformat()


# -- text -----------------------------------------------------------------------------------------


def test_text_is_ordered_by_its_commits(store):
    """v10 is newer than v9 if it was committed later, and v9 is the newest once it is run again."""
    for order, name in enumerate(("v1", "v9", "v10")):
        make(store, name, order)
    assert list(newest_first(store, [PREFIX])) == ["v10", "v9", "v1"]
    make(store, "v9", 9)
    assert list(newest_first(store, [PREFIX])) == ["v9", "v10", "v1"]


def test_a_rollback_makes_no_partition_newer(store):
    """What a rollback made current counts from its own commit; without a record, from the move."""
    old = make(store, "v9", committed_at=datetime.now(UTC) - timedelta(hours=1))
    make(store, "v10", 2)
    write_record(store, old)
    roll_back(store, old)
    assert list(newest_first(store, [PREFIX])) == ["v10", "v9"]
    store.delete(f"{old.attempt_prefix}/record.json")
    assert list(newest_first(store, [PREFIX])) == ["v9", "v10"]


def test_a_wrong_clock_does_not_stay_the_newest(store):
    """A commit of a machine whose clock was years ahead is the newest only until the next one."""
    make(store, "v9", committed_at=datetime.now(UTC) + timedelta(days=3650))
    time.sleep(1.1)  # S3 tells seconds
    make(store, "v10", 2)
    assert list(newest_first(store, [PREFIX])) == ["v10", "v9"]


def test_a_pointer_that_cannot_be_read_is_not_passed_over(store):
    """A broken pointer stands where the store wrote it: whoever reads it says what is wrong."""
    make(store, "v1")
    store.write(f"{PREFIX}/v2.json", b"{")
    assert list(newest_first(store, [PREFIX])) == ["v2", "v1"]


def test_few_of_many_texts_are_read(store):
    """The last commit of a hundred is found by one listing and one read."""
    past = datetime.now(UTC) - timedelta(days=1)
    for number in range(100):
        make(store, f"v{number}", committed_at=past + timedelta(seconds=number))
    time.sleep(1.1)  # S3 tells seconds: all of the same second are read
    make(store, "a")
    counting = Counting(store)
    assert next(newest_first(counting, [PREFIX], dated=False)) == "a"
    assert (counting.asked, counting.listed) == ({"list": 1, "read": 1}, 101)


def test_text_before_text(store):
    """Earlier than a text is what was committed before it, or everything if it never was."""
    past = datetime.now(UTC) - timedelta(hours=1)
    for number, name in enumerate(("v9", "v10", "v11")):
        make(store, name, committed_at=past + timedelta(minutes=number))
    names = [one.partition for one in earlier_pointers(store, *NAMES, before="v10")]
    assert names == ["v9"]
    names = [one.partition for one in earlier_pointers(store, *NAMES, before="v12")]
    assert names == ["v11", "v10", "v9"]


def test_texts_of_members(store):
    """A partition stands where its last member committed it; only whole ones are the latest."""
    for order, (name, member) in enumerate(
        [("v9", "a"), ("v9", "b"), ("v10", "a"), ("v10", "b"), ("v11", "a")]
    ):
        make(store, name, order, member=member)
    assert list(newest_first(store, [PREFIX])) == ["v11", "v10", "v9"]
    found = latest_pointers(store, *NAMES, members=("a", "b"), dated=False)
    assert {one.partition for one in found.values()} == {"v10"}
    assert [one.partition for one in newest_pointers(store, *NAMES, member="b")] == ["v10", "v9"]


# -- days -----------------------------------------------------------------------------------------


def test_days_are_ordered_by_their_date(store):
    """The newest day is the newest whenever it was committed, in whichever of several steps."""
    days = [days_ago(n) for n in (-3, 0, 31, 32, 33, 544, 545, 9000)]
    for order, day in enumerate(reversed(days)):
        make(store, day, order)
    make(store, days[-2], 99)
    make(store, "0001-01-01")
    other = Pointer(
        pipeline="m", step="other", partition="2013-01-01", run="r", outputs={},
        token=Token(order=1, attempt=1), attempt_prefix="runs/m/2013-01-01/r/other/1",
    )  # fmt: skip
    commit(store, other)
    wanted = sorted([*days, "0001-01-01", "2013-01-01"], reverse=True)
    assert list(newest_first(store, [PREFIX, "current/m/other"])) == wanted


def test_what_is_no_day_is_no_partition_among_days(store):
    """Foreign objects between the pointers of days are passed over."""
    make(store, "2013-01-01")
    make(store, "2013-01-02")
    for name in ("README.txt", "2013-01-01-x.json", "2013-01-02.txt"):
        store.write(f"{PREFIX}/{name}", b"")
    assert list(newest_first(store, [PREFIX], dated=True)) == ["2013-01-02", "2013-01-01"]


@pytest.mark.parametrize("member", ["", "a b"])
def test_requests_do_not_grow_with_the_store(store, member):
    """With a hundred and fifty days, one short listing finds the newest, and those before any."""
    for days in range(150):
        make(store, days_ago(days), member=member)
    members = (member,)
    for ask in (
        lambda store: latest_pointers(store, *NAMES, members=members),
        lambda store: latest_pointers_before(
            store, *NAMES, members=members, before=days_ago(70), inclusive=False
        ),
        lambda store: next(earlier_pointers(store, *NAMES, before=days_ago(70), member=member)),
    ):
        counting = Counting(store)
        assert ask(counting)
        assert counting.asked["list"] == 1
        assert counting.asked["read"] == 1
        assert counting.listed <= 34


def test_the_first_of_all_days(store):
    """Before the first day that there can be is nothing, and nothing is asked."""
    make(store, date.min.isoformat())
    assert list(earlier_pointers(store, *NAMES, before=date.min.isoformat())) == []
    assert [one.partition for one in earlier_pointers(store, *NAMES, before="0001-01-02")] == [
        "0001-01-01"
    ]


def test_nothing_was_committed(store):
    """A step that never committed has no newest partition, whatever is asked."""
    assert list(newest_first(store, [PREFIX])) == []
    assert latest_pointers(store, *NAMES, members=("",), dated=False) == {}
    assert list(earlier_pointers(store, *NAMES, before="v1")) == []
