"""What is kept of the memory: peaks by cell, and the controller's kills where they belong."""

from __future__ import annotations

import pytest

from nightmill.step import memory_watch
from nightmill.step.memory_watch import MemoryWatch


class System:
    """A system whose figures the test sets."""

    def __init__(self):
        self.kills, self.peak, self.limit, self.resident = 7, 500, None, 0

    def survey(self, _engine_pid):
        """Stand in for the process tree."""
        return self.resident


@pytest.fixture
def system(monkeypatch):
    """Let the watch read the figures of a system that the test controls; no pause between."""
    figures = System()
    monkeypatch.setattr(memory_watch, "oom_kills", lambda: figures.kills)
    monkeypatch.setattr(memory_watch, "memory_peak", lambda: figures.peak)
    monkeypatch.setattr(memory_watch, "memory_limit", lambda: figures.limit)
    monkeypatch.setattr(memory_watch, "_APART_S", 0.0)
    return figures


def test_peaks_are_credited_to_the_cell_that_runs(system):
    """Each cell has the most that was seen while it ran, and the whole has the most of all."""
    watch = MemoryWatch(system, 1)
    for position, resident in ((1, 10), (1, 40), (1, 20), (2, 30)):
        system.resident = resident
        assert watch.sample(position) == resident
    assert watch.cell_peaks == {1: 40, 2: 30}
    assert watch.peak_bytes == 40


def test_a_cell_too_quick_to_be_sampled_has_what_was_seen_last(system, monkeypatch):
    """Between two samples a cell may come and go; it used about what the last one said."""
    watch = MemoryWatch(system, 1)
    system.resident = 10
    watch.sample(1)
    monkeypatch.setattr(watch, "_due", float("inf"))
    system.resident = 99
    assert watch.sample(2) is None
    watch.note(2, completed=True)
    assert watch.cell_peaks == {1: 10, 2: 10}


def test_kills_belong_to_the_cell_in_which_they_are_counted(system):
    """Kills before the run count for nothing; those that a completed cell survived, for its own."""
    watch = MemoryWatch(system, 1)
    watch.note(1, completed=True)
    system.kills += 2
    watch.note(2, completed=True)
    assert watch.kills_since_completed == 0
    system.kills += 1
    watch.note(3)
    watch.note(3)
    assert (watch.kills_by_cell.total(), watch.kills_since_completed) == (3, 1)
    assert {cell: kills for cell, kills in watch.kills_by_cell.items() if kills} == {2: 2, 3: 1}


@pytest.mark.parametrize(
    ("before", "after", "limit", "told"),
    [
        (500, 800, 1000, {"cgroup_peak_bytes": 800, "cgroup_limit_bytes": 1000}),
        (500, 500, None, {}),  # somebody else's peak, of before
        (None, 300, None, {"cgroup_peak_bytes": 300}),
        (None, None, None, {}),
    ],
)
def test_the_system_s_own_peak_is_told_where_it_can_be_ours(system, before, after, limit, told):
    """A peak that was there before this run says nothing of it."""
    system.peak = before
    watch = MemoryWatch(system, 1)
    system.peak, system.limit = after, limit
    assert watch.evidence() == told
