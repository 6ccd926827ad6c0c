"""An executed notebook as plain JSON: what its cells say, and the truth after a kill."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.spec import executed
from nightmill.spec.executed import End
from nightmill.spec.record import CellState, Spilled

AT = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)
STATES = [state.value for state in CellState]


def code(number: int, state: str, *outputs: object, source: str = "x = 1", **mine: object) -> dict:
    """Make a code cell as the ledger leaves it."""
    status = {"not_run": "pending", "interrupted": "failed"}.get(state, state)
    times = {"start_time": None, "end_time": None, "duration": None, "exception": None}
    return {
        "cell_type": "code",
        "id": f"c{number}",
        "execution_count": None,
        "metadata": {
            "nightmill": {"number": number, "title": f"Cell {number}", "state": state, **mine},
            "papermill": {"status": status, **times},
        },
        "outputs": list(outputs),
        "source": source,
    }


def text(number: int) -> dict:
    """Make a text cell as the ledger leaves it."""
    mine = {"nightmill": {"number": number}, "papermill": {"status": "completed"}}
    return {"cell_type": "markdown", "id": f"t{number}", "metadata": mine, "source": "# T"}


def notebook(*cells: object) -> dict:
    """Make an executed notebook."""
    metadata = {"papermill": {"start_time": AT.isoformat(), "end_time": None, "exception": None}}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def states(book: dict) -> list[str]:
    """Tell the state of each code cell."""
    return [cell.state.value for cell in executed.describe_cells(book)]


def errors(book: dict, place: int) -> list[tuple[str, str]]:
    """Tell the errors that a cell shows."""
    outputs = book["cells"][place]["outputs"]
    return [(one["ename"], one["evalue"]) for one in outputs if one["output_type"] == "error"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"cells"', b'{"cells": 3}', b"[" * 200_000]
)
def test_what_is_no_notebook(data):
    """Half a file, another encoding or another kind of JSON is no notebook, and no error."""
    assert executed.parse(data) is None


def test_bytes_and_back():
    """A notebook survives the way to disk; a lone surrogate does not, and stops nothing."""
    book = notebook(code(1, "completed", source="s = '\ud800é'"))
    found = executed.parse(executed.notebook_bytes(book))
    assert found["cells"][0]["source"] == "s = '\ufffdé'"
    assert found["metadata"] == book["metadata"]


def test_the_running_cell_was_interrupted():
    """After a kill the running cell is interrupted and says why; the others keep their states."""
    book = notebook(text(1), code(2, "completed"), code(3, "running"), code(4, "not_run"))
    before = deepcopy(book)
    closed = executed.close(book, "node_lost", "the node n1 was lost", at=AT)
    assert states(closed) == ["completed", "interrupted", "not_run"]
    assert errors(closed, 2) == [("node_lost", "the node n1 was lost")]
    assert closed["cells"][2]["metadata"]["papermill"] == {
        "status": "failed",
        "start_time": None,
        "end_time": "2013-03-01T02:30:00.000+00:00",
        "duration": None,
        "exception": True,
    }
    assert closed["metadata"]["papermill"]["exception"] is True
    assert closed["metadata"]["papermill"]["end_time"] == "2013-03-01T02:30:00.000+00:00"
    assert executed.end_of(closed).number == 3
    assert book == before  # what was given is not touched
    nbformat.validate(nbformat.from_dict(closed))


def test_closing_twice_changes_nothing():
    """Whoever closes a notebook once more, after a crash in between, finds it as it must be."""
    book = notebook(code(1, "completed"), code(2, "running"), code(3, "not_run"))
    once = executed.close(book, "evicted", "m", reached=3, at=AT)
    assert executed.close(once, "evicted", "m", reached=3) == once


def test_a_kill_between_cells_blames_no_cell():
    """When no cell was running, none is said to have been interrupted."""
    closed = executed.close(notebook(code(1, "completed"), code(2, "not_run")), "terminated", "m")
    assert states(closed) == ["completed", "not_run"]
    assert executed.end_of(closed) is None
    assert closed["metadata"]["papermill"]["exception"] is True


@pytest.mark.parametrize(
    ("before", "reached", "after"),
    [
        ("running not_run not_run not_run", 3, "interrupted interrupted interrupted not_run"),
        ("completed running not_run not_run", 3, "completed interrupted interrupted not_run"),
        ("completed not_run not_run not_run", 2, "completed interrupted not_run not_run"),
        ("completed completed completed running", 2, "completed completed completed interrupted"),
        ("completed completed not_run not_run", 2, "completed completed not_run not_run"),
        ("completed skipped running not_run", 9, "completed skipped interrupted interrupted"),
        ("completed failed not_run not_run", 2, "completed failed not_run not_run"),
    ],
)
def test_a_notebook_older_than_the_end(before, reached, after):
    """Cells known to have begun, of whose end the notebook knows nothing, are interrupted."""
    cells = [code(number, state) for number, state in enumerate(before.split(), 1)]
    assert states(executed.close(notebook(*cells), "oom", "m", reached=reached)) == after.split()


def test_the_last_cell_that_began_says_why():
    """The cell that was reached has the cause; those passed over say that their end is unknown."""
    cells = [code(1, "running"), text(2), code(3, "not_run"), code(4, "not_run", source=" \n")]
    closed = executed.close(notebook(*cells, code(5, "not_run")), "evicted", "drained", reached=5)
    assert states(closed) == ["interrupted", "interrupted", "not_run", "interrupted"]
    assert errors(closed, 4) == [("evicted", "drained")]
    assert errors(closed, 3) == []  # an empty cell does nothing
    for passed in (0, 2):
        ((ename, evalue),) = errors(closed, passed)
        assert ename == "evicted"
        assert "a later cell had begun" in evalue


def test_a_better_cause_stands_beside_the_first():
    """A cell that was interrupted for one reason shows also the one that was found afterwards."""
    own = executed.error_output("Interrupted", "stopped by SIGTERM")
    closed = executed.close(notebook(code(1, "interrupted", own)), "evicted", "drained")
    assert errors(closed, 0) == [("Interrupted", "stopped by SIGTERM"), ("evicted", "drained")]


def test_a_failed_cell_keeps_its_own_error():
    """An exception of the notebook's stays the last word of its cell, and is what ended it."""
    own = {"output_type": "error", "ename": "KeyError", "evalue": "'d'", "traceback": ["a", "b"]}
    book = notebook(code(1, "completed"), code(2, "failed", own), code(3, "not_run"))
    closed = executed.close(book, "node_lost", "m")
    assert errors(closed, 1) == [("KeyError", "'d'")]
    end = End(2, "Cell 2", CellState.FAILED, "KeyError", "'d'", ("a", "b"))
    assert executed.end_of(closed) == end


def test_cells_are_described_as_the_ledger_left_them():
    """Number, title, state, times, memory and spilled outputs of each code cell are told."""
    spilled = [{"address": "s3://b/cell-2-1.txt", "size": 7}]
    full = code(2, "completed", spilled=spilled)
    full["metadata"]["papermill"] |= {"start_time": "2013-03-01T02:30:00Z", "duration": 2}
    injected = code(1, "completed")
    injected["metadata"]["tags"] = ["injected-parameters"]
    banner = {"cell_type": "markdown", "metadata": {"tags": ["papermill-error"]}, "source": ""}
    book = notebook(banner, code(1, "completed"), injected, text(2), full)
    first, given_values, second = executed.describe_cells(book, {1: 10, 4: 40})
    assert (first.number, first.injected, first.peak_memory_bytes) == (1, False, 10)
    assert (given_values.number, given_values.injected) == (1, True)
    assert (second.title, second.started_at, second.duration_s) == ("Cell 2", AT, 2.0)
    assert second.spilled == (Spilled(address="s3://b/cell-2-1.txt", size=7),)
    assert second.peak_memory_bytes == 40
    assert executed.count_cells(book) == 3


@pytest.mark.parametrize(
    "mine",
    [
        {"state": 5, "number": 0, "title": None, "spilled": 3},
        {"state": "gone", "number": True, "title": ["\ud800"], "spilled": [{}]},
        {"state": [], "number": "2", "title": {}, "spilled": ["x"]},
    ],
)
def test_odd_metadata_is_taken_for_the_worse(mine):
    """What is no state, number, time or size is survived, and nothing is called completed."""
    odd = code(1, "completed")
    odd["metadata"]["nightmill"] = mine
    odd["metadata"]["papermill"] = {"start_time": "2013-03-01", "duration": 10**400}
    closed = executed.close(notebook(odd), "terminated", "m")
    assert closed["cells"][0]["metadata"]["nightmill"]["state"] == "interrupted"
    (cell,) = executed.describe_cells(closed)
    assert (cell.state, cell.number, cell.spilled) == (CellState.INTERRUPTED, 1, ())
    assert (cell.started_at, cell.duration_s) == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(STATES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def altered(draw) -> dict:
    """Draw a notebook after a kill, with parts of it lost or replaced by anything."""
    drawn = draw(st.lists(st.sampled_from(STATES), max_size=5))
    book = notebook(*(code(number, state) for number, state in enumerate(drawn, 1)), text(9))
    for _ in range(draw(st.integers(0, 4))):
        place: object = book
        for _ in range(draw(st.integers(0, 4))):
            inner = [key for key, part in _items(place) if isinstance(part, dict | list)]
            if inner:
                place = place[draw(st.sampled_from(inner))]
        keys = [key for key, _part in _items(place) if key != "cells"]
        if keys:
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(JSON)
    return book


def _items(place: object) -> list[tuple[object, object]]:
    return list(place.items() if isinstance(place, dict) else enumerate(place))


@given(altered(), st.integers(0, 9))
@settings(max_examples=300, deadline=None)
def test_whatever_was_done_to_it(book, reached):
    """However a notebook was altered, it is closed, and no cell is left running or made good."""
    closed = executed.close(book, "node_lost", "m", reached=reached, at=AT)
    cells = executed.describe_cells(closed)
    executed.end_of(closed)
    assert CellState.RUNNING not in [cell.state for cell in cells]
    assert executed.parse(executed.notebook_bytes(closed)) is not None
    assert executed.close(closed, "node_lost", "m", reached=reached, at=AT) == closed
    made_good = [cell.state for cell in cells].count(CellState.COMPLETED)
    assert made_good <= json.dumps(book).count('"state": "completed"')


@given(st.binary(max_size=60) | st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_whatever_is_left_of_the_file(cut):
    """Of any bytes, and of any part of a real file, either a notebook is read or none is."""
    real = executed.notebook_bytes(notebook(code(1, "completed"), code(2, "running")))
    book = executed.parse(real[:cut] if isinstance(cut, int) else cut)
    if book is not None:
        assert "running" not in states(executed.close(book, "node_lost", "m"))
