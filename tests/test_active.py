"""Marks of attempts that run, on both backends."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.store.active import MarkFacts, active, mark, unmark
from nightmill.store.keys import attempt_prefix


def prefix(step: str, *, member: str = "", partition: str = "2013-03-01") -> str:
    """Name an attempt."""
    return attempt_prefix("p é", partition, "r1", step, 1, member=member)


def test_a_store_where_nothing_runs_has_no_marks(store):
    """Before the first attempt, and when there is nothing to unmark, there is no error."""
    unmark(store, prefix("a"))
    assert list(active(store)) == []


def test_what_runs_is_found_until_it_ends(store):
    """Each marked attempt is found by its prefix, with and without a member, until unmarked."""
    both = [prefix("a"), prefix("b", member="eu [west]/é")]
    for one in both:
        mark(store, one)
    assert [found.prefix for found in active(store)] == both
    unmark(store, both[0])
    assert [found.prefix for found in active(store)] == both[1:]
    unmark(store, both[1])
    assert list(active(store)) == []


def test_a_mark_says_who_runs_it_and_since_when(store):
    """Host, process and start are there, the start with a zone."""
    mark(store, prefix("a"))
    (found,) = active(store)
    assert (found.facts.host, found.facts.pid) == (platform.node(), os.getpid())
    assert found.facts.started_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - found.facts.started_at) < timedelta(minutes=1)
    assert store.read(f"active/{prefix('a')}.json")
    assert found.address == store.address(f"active/{prefix('a')}.json")


def test_marks_lie_outside_of_what_they_mark(store):
    """A mark is no part of the attempt, nor does anything of an attempt look like a mark."""
    store.write(f"{prefix('a')}/record.json", b"{}")
    mark(store, prefix("b"))
    assert [entry.key for entry in store.list(prefix("b"))] == []
    assert [found.prefix for found in active(store)] == [prefix("b")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"started_at": "2013-03-01T02:30:00", "host": "h", "pid": 1}',
    ],
)
def test_a_mark_that_cannot_be_read_still_names_its_attempt(store, data):
    """A damaged mark, or one whose time has no zone, is found all the same; the others too."""
    mark(store, prefix("b"))
    store.write(f"active/{prefix('a')}.json", data)
    found = list(active(store))
    assert [one.prefix for one in found] == [prefix("a"), prefix("b")]
    assert found[0].facts is None
    assert found[1].facts


def test_a_mark_of_a_later_version_can_be_read():
    """What a later Nightmill adds to a mark does not hide what this one knows."""
    text = b'{"started_at": "2013-03-01T02:30:00Z", "host": "h", "pid": 1, "cluster": "c"}'
    assert MarkFacts.model_validate_json(text).host == "h"


def test_an_attempt_that_ends_while_we_look_is_no_error(store):
    """A mark that goes between listing and reading is passed over."""

    class Vanishing:
        """A store in which the first mark goes as soon as it is listed."""

        address = staticmethod(store.address)
        read = staticmethod(store.read)

        def list(self, folder):
            for entry in list(store.list(folder)):
                if entry.key.endswith("/a/1.json"):
                    store.delete(entry.key)
                yield entry

    for step in ("a", "b"):
        mark(store, prefix(step))
    assert [found.prefix for found in active(Vanishing())] == [prefix("b")]
