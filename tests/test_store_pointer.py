"""The commit: newest token wins, one commit each, and a lost reply is no lost commit."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from nightmill.errors import FencedError, StoreConflict, StoreError
from nightmill.store.latest import latest_pointers_before
from nightmill.store.pointer import (
    CommittedFile,
    CommittedOutput,
    Pointer,
    Token,
    commit,
    read_current,
    read_pointer,
)

SHA = "0" * 64


def latest_pointer(store, pipeline, step, **bounds):
    """Read the latest pointer of a step without members."""
    return latest_pointers_before(store, pipeline, step, members=("",), **bounds).get("")


def make_pointer(order=1, attempt=1, partition="2013-01-01", **fields):
    """Make a pointer of one output whose prefix tells who wrote it."""
    prefix = f"runs/flights/{partition}/run-{order}/score/{attempt}"
    file = CommittedFile(path="scores.parquet", size=3, sha256=SHA, etag='"e"')
    output = CommittedOutput(
        name="scores", kind="file", prefix=f"{prefix}/outputs/scores", files=(file,)
    )
    return Pointer(
        **{
            "pipeline": "flights",
            "step": "score",
            "partition": partition,
            "run": f"run-{order}",
            "token": Token(order=order, attempt=attempt),
            "attempt_prefix": prefix,
            "outputs": {"scores": output},
        }
        | fields
    )


def current(store, partition="2013-01-01"):
    return read_pointer(store, "flights", "score", partition)


def test_nothing_is_current_before_the_first_commit(store):
    """A partition that was never committed has no pointer."""
    assert current(store) is None


def test_a_commit_is_read_back_whole(store):
    """What is committed is what is read: outputs, inputs, token, times."""
    pointer = make_pointer(inputs={"features": "commit 1a"})
    assert commit(store, pointer) == pointer
    assert current(store) == pointer


def test_the_pointer_is_plain_json_with_its_schema(store):
    """Others can read the pointer: JSON under the key of the design, with a schema number."""
    commit(store, make_pointer(order=7))
    content = json.loads(store.read("current/flights/score/2013-01-01.json").data)
    assert content["schema"] == 1
    assert content["token"] == {"order": 7, "attempt": 1}
    assert content["outputs"]["scores"]["files"][0]["sha256"] == SHA
    assert datetime.fromisoformat(content["committed_at"]).utcoffset() is not None


@pytest.mark.parametrize(("old", "new"), [((1, 1), (1, 2)), ((1, 9), (2, 1))])
def test_a_newer_token_replaces_an_older(store, old, new):
    """A later attempt of the run, and any attempt of a later run, become current."""
    commit(store, make_pointer(*old))
    commit(store, make_pointer(*new))
    assert current(store).token == Token(order=new[0], attempt=new[1])


@pytest.mark.parametrize(("new", "old"), [((1, 2), (1, 1)), ((2, 1), (1, 9))])
def test_an_older_token_is_fenced(store, new, old):
    """An attempt that is late is told by whom it was overtaken, and changes nothing."""
    winner = commit(store, make_pointer(*new))
    with pytest.raises(FencedError) as raised:
        commit(store, make_pointer(*old))
    assert f"run-{new[0]} (attempt {new[1]})" in str(raised.value)
    assert f"run-{old[0]} (attempt {old[1]})" in str(raised.value)
    assert current(store) == winner


def test_a_run_of_the_same_order_is_fenced(store):
    """Of two runs that were made in the same microsecond, the second to commit is told so."""
    first = commit(store, make_pointer())
    with pytest.raises(FencedError, match="run-1"):
        commit(store, make_pointer(run="another"))
    assert current(store) == first


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (timedelta(minutes=9), ""),
        (timedelta(minutes=90), "1 h 30 min in the future"),
        (timedelta(days=3650, hours=1), "3,650 days in the future"),
    ],
)
def test_whoever_is_fenced_by_a_wrong_clock_is_told(store, ahead, told):
    """A committed order in the future is told with its run, how far, and the command that helps."""
    now = int(datetime.now(UTC).timestamp() * 1e6)
    commit(store, make_pointer(now + ahead // timedelta(microseconds=1) + 10_000_000))
    with pytest.raises(FencedError) as raised:
        commit(store, make_pointer(now))
    command = "nightmill run flights --partition 2013-01-01 --step score --rerun"
    assert (command in raised.value.advice) is bool(told)
    assert ("start a new run" in raised.value.advice) is not bool(told)
    found = re.search(r"run-\d+ \(attempt 1(; its order lies (.*))?\) has", raised.value.problem)
    assert re.fullmatch(told, found[2] or "")


def test_no_order_is_too_large_to_be_told(store):
    """Whatever number stands in a pointer, being fenced by it is told."""
    commit(store, make_pointer(10**30))
    with pytest.raises(FencedError, match="days in the future"):
        commit(store, make_pointer())


def test_committing_again_changes_nothing(store):
    """The same attempt that commits once more gets the first commit back, and writes nothing."""
    first = commit(store, make_pointer())
    etag = store.read(first.key).etag
    assert commit(store, first) == first
    assert commit(store, make_pointer(outputs={})) == first
    assert store.read(first.key).etag == etag


def test_every_commit_has_an_etag_of_its_own(store):
    """Two attempts with the same outputs write different bytes, so no old etag matches again."""
    etags = set()
    for order in range(1, 4):
        commit(store, make_pointer(order, outputs={}, run="r", attempt_prefix="x"))
        etags.add(store.read(make_pointer().key).etag)
    assert len(etags) == 3


@pytest.mark.parametrize("error", [StoreConflict, StoreError])
def test_a_lost_reply_is_no_lost_commit(store, monkeypatch, error):
    """A write that won although it was answered by an error counts as the commit it is."""
    write_if = type(store).write_if
    calls = []

    def lose_the_reply(self, key, data, *, etag):
        calls.append(key)
        write_if(self, key, data, etag=etag)
        raise error("no reply", address=key, operation="write_if")

    monkeypatch.setattr(type(store), "write_if", lose_the_reply)
    pointer = make_pointer()
    assert commit(store, pointer) == pointer
    assert len(calls) == 1


@pytest.mark.parametrize("is_down", [False, True])
def test_a_write_that_failed_is_an_error(store, monkeypatch, is_down):
    """A write that took no effect, or of which nobody can tell, is the store's own error."""
    older = commit(store, make_pointer(1))
    current = read_current(store, older.key)

    def fail(*_arguments, **_options):
        raise StoreError("no reply", address="k", operation="any")

    with monkeypatch.context() as patch:
        for call in ("write_if", "read") if is_down else ("write_if",):
            patch.setattr(type(store), call, fail)
        with pytest.raises(StoreError, match="no reply"):
            commit(store, make_pointer(2, outputs={}), seen=current)
    assert read_current(store, older.key) == current


def test_a_pointer_that_never_holds_still_is_an_error(store, monkeypatch):
    """Committing gives up with a clear error when every try meets a conflict."""

    def conflict(*_arguments, **_options):
        raise StoreConflict("busy", address="k", operation="write_if")

    monkeypatch.setattr(type(store), "write_if", conflict)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(StoreError, match="changed under each of 30 tries") as raised:
        commit(store, make_pointer())
    assert not isinstance(raised.value, StoreConflict)


def test_who_lost_a_race_before_writing_is_fenced(store):
    """Whoever starts after the newest has committed is fenced, every time."""
    commit(store, make_pointer(2, 2))
    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(commit, store, make_pointer(1, attempt)) for attempt in range(1, 9)]
    assert all(isinstance(end.exception(), FencedError) for end in ends)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON"),
        (b"{not json", "JSON"),
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (b"{}", "pipeline"),
        (b'{"schema": 2}', "schema"),
    ],
)
def test_a_broken_pointer_is_named(store, content, says):
    """A pointer that is no pointer is a StoreError that names the object, and what is wrong."""
    key = make_pointer().key
    store.write(key, content)
    for act in (
        lambda: current(store),
        lambda: commit(store, make_pointer()),
        lambda: latest_pointer(store, "flights", "score", before="2013-01-02", inclusive=True),
    ):
        with pytest.raises(StoreError, match=f"(?i){says}") as raised:
            act()
        assert raised.value.address == store.address(key)
    assert store.read(key).data == content


@pytest.mark.parametrize(
    ("before", "inclusive", "expected"),
    [
        ("2013-01-09", True, "2013-01-09"),
        ("2013-01-09", False, "2013-01-03"),
        ("2013-01-08", True, "2013-01-03"),
        ("2013-01-02", False, None),
        ("2013-01-02", True, "2013-01-02"),
        ("2099-01-01", False, "2013-02-01"),
        ("2000-01-01", True, None),
    ],
)
def test_the_latest_pointer_up_to_a_partition(store, before, inclusive, expected):
    """The newest partition up to, or before, a partition is found in text order."""
    for partition in ("2013-01-02", "2013-01-03", "2013-01-09", "2013-02-01"):
        commit(store, make_pointer(partition=partition))
    found = latest_pointer(store, "flights", "score", before=before, inclusive=inclusive)
    assert (found.partition if found else None) == expected


def test_the_latest_pointer_reads_only_one(store, monkeypatch):
    """However many partitions there are, one pointer is read; foreign objects are passed over."""
    for day in range(1, 10):
        commit(store, make_pointer(partition=f"2013-01-0{day}"))
    store.write("current/flights/score/README.txt", b"")
    read, reads = type(store).read, []
    monkeypatch.setattr(type(store), "read", lambda self, key: reads.append(key) or read(self, key))
    found = latest_pointer(store, "flights", "score", before="2013-01-06", inclusive=False)
    assert found.partition == "2013-01-05"
    assert len(reads) == 1


def test_the_latest_of_a_step_with_members_is_whole(store):
    """A newer partition that one member has not committed yet is passed over."""
    for partition, members in {"2013-01-01": "ab", "2013-01-02": "ab", "2013-01-03": "a"}.items():
        for member in members:
            commit(store, make_pointer(partition=partition, member=member))
    bounds = {"before": "2013-01-09", "inclusive": True}
    found = latest_pointers_before(store, "flights", "score", members=("a", "b"), **bounds)
    assert {name: (p.partition, p.member) for name, p in found.items()} == {
        "a": ("2013-01-02", "a"),
        "b": ("2013-01-02", "b"),
    }
    assert latest_pointers_before(store, "flights", "score", members=("a", "c"), **bounds) == {}


def test_there_is_no_latest_where_nothing_ran(store):
    """A step that never committed has no latest pointer."""
    assert latest_pointer(store, "flights", "score", before="2013-01-01", inclusive=True) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"committed_at": datetime(2013, 1, 1)},  # noqa: DTZ001 - this is what must be refused
        {"commit_id": "x"},
        {"surprise": 1},
        {"schema_version": 2},
        {"token": {"order": -1, "attempt": 0}},
    ],
)
def test_a_pointer_that_would_mislead_cannot_be_made(fields):
    """Times without zone, ids that are not unique, unknown fields and schemas are refused."""
    with pytest.raises(ValidationError):
        make_pointer(**fields)


def test_pointers_are_unique_and_in_utc():
    """Each pointer has a commit id of its own, and the time of its making in UTC."""
    one, other = make_pointer(), make_pointer()
    assert one.commit_id != other.commit_id
    assert one.committed_at.tzinfo == UTC
