"""A step that is killed whole, at any moment, leaves nothing that is not true."""

from __future__ import annotations

import time

import pytest

from tests.deaths.here import SILENCE_S
from tests.deaths.random_kills import CELLS, Killing, kill_at_random, objects
from tests.deaths.way import states_of

FEW = Killing(12, cell_s=0.05, at_once=2)
MANY = Killing(200, cell_s=1.0, at_once=12)  # long enough to have half a notebook in the store


@pytest.fixture(
    scope="module",
    params=[FEW, pytest.param(MANY, marks=[pytest.mark.e2e, pytest.mark.timeout(1800)])],
    ids=str,
)
def aftermath(request, make_project, tmp_path_factory):
    """Kill many runs, sweep once, and return them with every object of the store."""
    project = make_project("random-kills")
    killed = kill_at_random(project, tmp_path_factory.mktemp("killed"), request.param)
    before = dict(objects(project.store))
    time.sleep(SILENCE_S)  # a sweep minds only what has been silent for a while
    swept = project.run("sweep", "--older-than", "1s")
    assert swept.code == 0, swept
    return killed, before, dict(objects(project.store))


def test_the_kills_are_spread(aftermath):
    """Runs were killed before, in and after their cells, many with half a notebook in the store."""
    killed, before, _after = aftermath
    assert any(not one.proven for one in killed)
    assert any(0 < len(one.proven) < CELLS for one in killed)
    assert sum(one.was_alive for one in killed) > len(killed) / 2
    if len(killed) == MANY.count:
        notebooks = [before.get(f"{one.prefix}/notebook.ipynb") for one in killed]
        halves = [one for one in notebooks if one and {"completed", "running"} <= {*states_of(one)}]
        assert len(halves) > len(killed) / 10


def test_no_cell_is_called_completed_that_did_not_complete(aftermath):
    """Neither before nor after the sweep does a record or notebook claim what a cell did not do."""
    killed, before, after = aftermath
    for one in killed:
        for found in (before, after):
            record = found.get(f"{one.prefix}/record.json", {"cells": ()})
            notebook = found.get(f"{one.prefix}/notebook.ipynb", {"cells": ()})
            for states in ([c["state"] for c in record["cells"]], states_of(notebook)):
                claimed = {n for n, state in enumerate(states, 1) if state == "completed"}
                assert claimed <= set(one.proven), one


def test_whatever_began_has_a_record_with_an_end(aftermath):
    """After the sweep no attempt is left that has written something and has no ended record."""
    killed, _before, after = aftermath
    for one in killed:
        mine = [key for key in after if key.startswith(f"{one.prefix}/")]
        record = after.get(f"{one.prefix}/record.json")
        assert (record is not None) == bool(mine or one.proven), one
        if record is not None:
            assert record["state"] in ("failed", "succeeded"), one
            assert record["ended_at"], one
            assert "running" not in [cell["state"] for cell in record["cells"]], one
    assert [key for key in after if key.startswith("active/")] == []


def test_record_notebook_and_pointer_agree(aftermath):
    """After the sweep all three say the same of every attempt."""
    killed, _before, after = aftermath
    for one in killed:
        record = after.get(f"{one.prefix}/record.json")
        if record is None:
            continue
        notebook = after.get(f"{one.prefix}/notebook.ipynb")
        assert (record["notebook"] is not None) == (notebook is not None), one
        if notebook is not None:
            assert states_of(notebook) == [c["state"] for c in record["cells"]], one
        pointer = after.get(f"current/p/step/{one.partition}.json")
        assert record["committed"] == (pointer is not None) == (record["state"] == "succeeded"), one
        if record["committed"]:
            assert len(one.proven) == CELLS, one


def test_a_run_that_was_killed_has_a_cause(aftermath):
    """Every attempt that did not commit says why, with a cause that is worth a retry."""
    killed, _before, after = aftermath
    records = [after.get(f"{one.prefix}/record.json") for one in killed]
    failures = [one["failure"] for one in records if one and not one["committed"]]
    assert {failure["retry"] for failure in failures} == {"backoff"}
