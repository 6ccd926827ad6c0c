"""The names of the index's entries: a table that nobody has to open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.causes import Cause
from nightmill.spec.summary import Standing, Summary
from nightmill.store.index_line import (
    Entry,
    entry_key,
    entry_of,
    last_key,
    milliseconds,
    newest,
    told,
)
from nightmill.store.keys import attempt_prefix

ENDED = datetime(2013, 3, 2, 2, 31, 35, 500000, tzinfo=UTC)
ENDED_MS = 1_362_191_495_500  # seconds of `date -ud "2013-03-02 02:31:35" +%s`, and 500 ms
LATER_MS = ENDED_MS + 40

names = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12
)  # a lone surrogate is no name


def make_summary(**fields: object) -> Summary:
    """Make the summary of an attempt that failed."""
    known = {
        "pipeline": "flights",
        "partition": "2013-03-01",
        "run": "r1",
        "order": 1_362_191_400_000_000,
        "step": "score",
        "member": "",
        "attempt": 2,
        "standing": Standing.FAILED,
        "cause": Cause.OUT_OF_MEMORY,
        "started_at": ENDED - timedelta(seconds=95.5),
        "ended_at": ENDED,
        "duration_s": 95.5,
    } | fields
    where = (known["pipeline"], known["partition"], known["run"], known["step"], known["attempt"])
    return Summary(**({"prefix": attempt_prefix(*where, member=known["member"])} | known))


def test_the_name_tells_the_essentials():
    """A name is what its documentation says, so that other programs may read a listing."""
    key = entry_key(make_summary(), written_ms=LATER_MS)
    assert key == (
        "index/flights/8637808504459+0+1362191400000000+2013-03-01+r1+score++2"
        "+failed+out_of_memory+95.500++40.json"
    )


def test_a_name_is_read_back_as_a_line():
    """All that a list shows of an attempt comes from the name of its entry alone."""
    key = entry_key(make_summary(), written_ms=LATER_MS)
    line = entry_of(key, "flights").line
    assert (line.key, line.prefix) == (key, "runs/flights/2013-03-01/r1/score/2")
    assert (line.pipeline, line.partition, line.run) == ("flights", "2013-03-01", "r1")
    assert (line.step, line.member, line.attempt) == ("score", "", 2)
    assert (line.order, line.standing) == (1_362_191_400_000_000, Standing.FAILED)
    assert (line.cause, line.duration_s) == (Cause.OUT_OF_MEMORY, 95.5)
    assert line.ended_at == datetime(2013, 3, 2, 2, 31, 35, 500000, tzinfo=UTC)
    assert line.started_at == datetime(2013, 3, 2, 2, 30, tzinfo=UTC)


@given(names, names, names, st.one_of(st.just(""), names))
def test_any_name_survives(partition, run, step, member):
    """Whatever a partition, run, step or member is called, its line tells it and where it lies."""
    summary = make_summary(partition=partition, run=run, step=step, member=member)
    entry = entry_of(entry_key(summary, written_ms=LATER_MS), "flights")
    line = (entry if entry.line else told(entry, summary)).line
    assert (line.partition, line.run, line.step, line.member) == (partition, run, step, member)
    assert line.prefix == summary.prefix


@pytest.mark.parametrize("field", ["partition", "run", "step", "member"])
def test_a_long_name_gives_way_to_a_hash(field):
    """A name that fits no component of a key is a hash: short, of its own, told by the body."""
    summaries = [make_summary(**{field: letter * 230}) for letter in "ab"]
    keys = [entry_key(summary, written_ms=LATER_MS) for summary in summaries]
    assert len(set(keys)) == 2
    for key, summary in zip(keys, summaries, strict=True):
        assert len(key) < 100
        entry = entry_of(key, "flights")
        assert (entry.line, entry.written_ms) == (None, LATER_MS)
        line = told(entry, summary).line
        assert (getattr(line, field), line.prefix) == (getattr(summary, field), summary.prefix)
        assert (line.ended_at, line.cause) == (ENDED, Cause.OUT_OF_MEMORY)


def test_a_hash_and_a_name_tell_the_same():
    """A line that is made from a body is the line that the name would have told."""
    summary = make_summary(member="eu west")
    key = entry_key(summary, written_ms=LATER_MS)
    bare = Entry(key, LATER_MS, 0, None)
    assert told(bare, summary) == entry_of(key, "flights")


@pytest.mark.parametrize("length", range(150, 260, 10))
def test_every_name_fits_into_a_file_system(length):
    """No name is longer than file systems allow, a suffix of a writer's own included."""
    key = entry_key(make_summary(run="r" * length), written_ms=LATER_MS)
    assert len(key.rpartition("/")[2]) <= 250


def test_names_sort_the_newest_first():
    """A listing begins with what was written last, whatever it is about."""
    times = [ENDED_MS + 60_000 * minute for minute in range(3)]
    runs = ["b", "c", "a"]
    keys = [
        entry_key(make_summary(run=run), written_ms=time)
        for time, run in zip(times, runs, strict=True)
    ]
    assert [entry_of(key, "flights").line.run for key in sorted(keys)] == ["a", "c", "b"]


def test_what_was_written_since_a_time_is_the_beginning_of_the_listing():
    """The last key of a time parts what was written since from what was written before."""
    keys = [entry_key(make_summary(), written_ms=ENDED_MS + one) for one in (-1, 0, 1)]
    last = last_key("flights", ENDED_MS)
    assert [key <= last for key in keys] == [False, True, True]
    assert all(key <= last_key("flights", -600_000) for key in keys)


@pytest.mark.parametrize(
    "fields",
    [
        {"standing": Standing.SUCCEEDED, "cause": None},
        {"standing": Standing.HELD, "cause": None, "duration_s": None},
        {"ended_at": None},
        {"ended_at": ENDED + timedelta(minutes=5)},  # of a clock that is fast
        {"order": 0, "attempt": 12, "revision": 3},
        {"standing": Standing.SUCCEEDED, "cause": None, "warnings": 7},
    ],
)
def test_what_is_missing_or_odd_survives(fields):
    """No cause, no duration, no end, an end in the writer's future: all are told as they are."""
    summary = make_summary(**fields)
    entry = entry_of(entry_key(summary, written_ms=LATER_MS), "flights")
    line = entry.line
    assert (line.standing, line.cause) == (summary.standing, summary.cause)
    assert (line.duration_s, line.order) == (summary.duration_s, summary.order)
    assert (line.attempt, entry.revision) == (summary.attempt, summary.revision)
    assert line.warnings == summary.warnings
    assert line.ended_at == summary.ended_at or milliseconds(line.ended_at) == LATER_MS


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        ".json",
        "8637808504459.json",
        "8637808504459+0.json",
        "8637808504459+0+x+2013-03-01+r1+score++2+failed++95.500++40.json",
        "8637808504459+0+1+2013-03-01+r1+score++2+unheard+of+95.500++40.json",
        "8637808504459+0+1+2013-03-01+r1+score++2+failed+unheard_of+95.500++40.json",
        "8637808504459+0+1+2013-03-01+r1+score++2+failed++95.500+many+40.json",
        "8637808504459+0+1+2013-03-01+r1+score++2+failed++95.500++40+more.json",
    ],
)
def test_a_stray_object_is_no_entry(name):
    """What somebody else put beside the entries, or a later Nightmill, is passed over."""
    assert entry_of(f"index/flights/{name}", "flights") is None


def test_of_two_entries_the_one_with_more_revisions_counts():
    """What was amended or decided is newer, though the clock of whoever did so was slow."""
    first = make_summary(standing=Standing.HELD, cause=None)
    decided = make_summary(standing=Standing.SUCCEEDED, cause=None, revision=1)
    made = [(first, LATER_MS), (decided, LATER_MS - 300_000), (first, LATER_MS + 1)]
    entries = [entry_of(entry_key(one, written_ms=ms), "flights") for one, ms in made]
    for order in (entries, entries[::-1]):
        (line,) = newest(order).values()
        assert line.standing is Standing.SUCCEEDED


def test_of_two_entries_of_one_revision_the_later_counts():
    """Two writers who knew the same amount: the last one is believed."""
    entries = [
        entry_of(entry_key(make_summary(cause=cause), written_ms=ms), "flights")
        for cause, ms in ((Cause.TERMINATED, LATER_MS), (Cause.EVICTED, LATER_MS + 5))
    ]
    for order in (entries, entries[::-1]):
        assert newest(order)["runs/flights/2013-03-01/r1/score/2"].cause is Cause.EVICTED
