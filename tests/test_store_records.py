"""The records of runs for a server: read once, told anew as soon as they change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightmill.store.history import prefix_of, records_below
from nightmill.store.keys import RECORD, run_prefix
from nightmill.store.open import open_store
from nightmill.store.records import Records
from tests.many_runs import attempts
from tests.review_client import Asked

RECORD_OF = next(one.record for one in attempts() if one.record.pipeline == "flights")
MEMBERS = [RECORD_OF.model_copy(update={"member": f"m{number}"}) for number in range(40)]
PREFIX = run_prefix(RECORD_OF.pipeline, RECORD_OF.partition, RECORD_OF.run)


def later():
    """Tell the time when nothing that a test writes is new any more."""
    return datetime.now(UTC) + timedelta(hours=1)


def put(store, *records):
    """Write records; return their keys."""
    keys = [f"{prefix_of(one)}/{RECORD}" for one in records]
    for key, one in zip(keys, records, strict=True):
        store.write(key, one.to_json())
    return keys


@pytest.fixture
def asked(tmp_path):
    """Make a store with a run of forty members that counts what it is asked."""
    store = open_store("store", base=tmp_path)
    put(store, *MEMBERS)
    return Asked(store)


def test_a_second_look_reads_nothing_again(asked):
    """It costs one listing however many members there are, and tells the same as the first."""
    records = Records(asked, now=later)
    first = records.below(PREFIX)
    assert (asked.count()["read"], len(first.records)) == (40, 40)
    asked.calls.clear()
    assert records.below(PREFIX) == first == records_below(asked, PREFIX)
    assert asked.count() == {"list": 2, "read": 40}  # those are the comparison's


def test_what_changes_is_read_again(asked):
    """A record that was amended, added, deleted or damaged is told as it is now."""
    records = Records(asked, now=later)
    records.below(PREFIX)
    changed = MEMBERS[3].model_copy(update={"duration_s": 12345.678})
    added = RECORD_OF.model_copy(update={"member": "added"})
    keys = put(asked, changed, added)
    asked.delete(f"{prefix_of(MEMBERS[5])}/{RECORD}")
    asked.write(f"{prefix_of(MEMBERS[7])}/{RECORD}", b"{")
    asked.calls.clear()
    found = records.below(PREFIX)
    assert asked.count() == {"list": 1, "read": 3}
    told = {one.member: one for one in found.records}
    assert (told["m3"], told["added"]) == (changed, added)
    assert told.keys() == {one.member for one in MEMBERS if one.member not in ("m5", "m7")} | {
        "added"
    }
    assert [one.rpartition("/runs/")[2] for one in found.unreadable] == [
        f"{prefix_of(MEMBERS[7])}/{RECORD}".removeprefix("runs/")
    ]
    assert keys[0] in {key for _name, key in asked.calls}


def test_what_was_written_just_now_is_read_again(asked):
    """Within a minute something else may stand there that a listing cannot tell apart."""
    records = Records(asked)
    for _ in range(2):
        asked.calls.clear()
        records.below(PREFIX)
        assert asked.count()["read"] == 40


def test_what_is_kept_is_bounded(asked):
    """Of more than may be kept, what was looked at last stays."""
    size = len(MEMBERS[0].to_json())
    records = Records(asked, kept_bytes=10 * size + 50, now=later)
    records.below(PREFIX)
    assert sum(records.find(one) is not None for one in asked.list(PREFIX)) in (9, 10)


def test_a_record_that_grew_while_it_was_read_is_not_kept(asked):
    """What is read after the listing may be newer than that: it is told, and read again."""
    records = Records(asked, now=later)
    read = asked.read
    longer = MEMBERS[0].model_copy(update={"duration_s": 12345.678})

    def meanwhile(key):
        if key == f"{prefix_of(longer)}/{RECORD}":
            put(asked, longer)
        return read(key)

    asked.read = meanwhile
    assert longer in records.below(PREFIX).records
    del asked.read
    asked.calls.clear()
    assert longer in records.below(PREFIX).records
    assert asked.count()["read"] == 1
