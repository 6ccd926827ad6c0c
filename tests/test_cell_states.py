"""The ledger of an executing notebook: true at every moment, whole on disk, whatever the text."""

from __future__ import annotations

import json

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papermill.execute import remove_error_markers

from nightmill.causes import Cause
from nightmill.spec.executed import valid_unicode
from nightmill.spec.record import CellState
from nightmill.step.cell_states import CellLedger
from nightmill.step.outcome import Outcome
from nightmill.step.redaction import Redactor


def make_notebook(*sources: str, injected: int | None = None):
    """Build a notebook of code cells; `injected` is the position of papermill's own cell."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])
    if injected is not None:
        nb.cells[injected].metadata["tags"] = ["injected-parameters"]
    return nb


def own_cells(path) -> list[dict]:
    """Read the cells of a file that must be valid, less those that mark its end."""
    nb = nbformat.read(path, 4)
    nbformat.validate(nb)
    return [cell for cell in nb.cells if "nightmill" in cell["metadata"]]


def on_disk(path) -> list[str]:
    """Read the states of all cells from the file."""
    return [cell["metadata"]["nightmill"]["state"] for cell in own_cells(path)]


def test_the_file_tells_the_truth_after_each_step(tmp_path):
    """Started, ended, skipped, failed: the file says what is true now, and says it at once."""
    path = tmp_path / "n.ipynb"
    ledger = CellLedger(make_notebook("a", "", "b", "c"), path)
    ledger.start()
    assert on_disk(path) == ["not_run"] * 4
    ledger.cell_started(0)
    assert on_disk(path) == ["running", "not_run", "not_run", "not_run"]
    ledger.cell_ended(0, CellState.COMPLETED)
    ledger.cell_skipped(1)
    ledger.cell_started(2)
    assert on_disk(path) == ["completed", "skipped", "running", "not_run"]
    ledger.cell_ended(2, CellState.FAILED)
    assert on_disk(path) == ["completed", "skipped", "failed", "not_run"]
    ledger.finish(Outcome(Cause.NOTEBOOK_ERROR, "ValueError: no", cell=3))
    assert on_disk(path) == ["completed", "skipped", "failed", "not_run"]
    assert json.loads(path.read_bytes())["metadata"]["papermill"]["exception"] is True


def test_nothing_that_other_tools_read_says_completed_of_a_cell_that_did_not(tmp_path):
    """Papermill's own status field is as true as ours: pending and failed, never completed."""
    ledger = CellLedger(make_notebook("a", "b", "c"), tmp_path / "n.ipynb")
    ledger.start()
    ledger.cell_started(0)
    ledger.cell_ended(0, CellState.INTERRUPTED)
    ledger.finish(Outcome(Cause.TERMINATED, "stopped", cell=1))
    cells = own_cells(tmp_path / "n.ipynb")
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == [
        "failed",
        "pending",
        "pending",
    ]


def test_outputs_of_an_earlier_execution_are_forgotten(tmp_path):
    """A source saved with outputs starts clean: no old result can pass for tonight's."""
    nb = make_notebook("a", "b")
    nb.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    nb.cells[1].execution_count = 9
    CellLedger(nb, tmp_path / "n.ipynb").start()
    cell = json.loads((tmp_path / "n.ipynb").read_bytes())["cells"][1]
    assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize(
    ("injected", "numbers"), [(None, [1, 2, 3]), (1, [1, 1, 2]), (0, [1, 1, 2])]
)
def test_cells_are_numbered_as_their_author_counts(injected, numbers):
    """Papermill's injected cell takes the number of the cell before it, and shifts no other."""
    nb = make_notebook("a", "b", "c", injected=injected)
    CellLedger(nb, None).start()
    assert [cell.metadata["nightmill"]["number"] for cell in nb.cells] == numbers


@pytest.mark.parametrize(
    ("source", "above", "title"),
    [
        ("# Load the data\nx = 1", "", "Load the data"),
        ("x = 1", "## Fit\nprose", "Fit"),
        ("x = 1", "no heading", "x = 1"),
        ("%%time\nx = 1", "", "x = 1"),
        ("#%% Plot", "", "Plot"),
        ("x" * 100, "", "x" * 59 + "…"),
        ("", "", ""),
    ],
)
def test_a_cell_has_a_title_for_people(source, above, title):
    """A cell is called by its first comment, the heading above it, or its first line."""
    cells = [nbformat.v4.new_markdown_cell(above), nbformat.v4.new_code_cell(source)]
    nb = nbformat.v4.new_notebook(cells=cells)
    CellLedger(nb, None).start()
    assert nb.cells[1].metadata["nightmill"]["title"] == title


def test_listeners_hear_of_each_cell():
    """Whoever watches hears of each start and end, with number, place and duration."""
    heard = []
    ledger = CellLedger(make_notebook("a", "b"), None, heard.append)
    ledger.start()
    ledger.cell_started(1)
    ledger.cell_ended(1, CellState.COMPLETED)
    facts = [(e["event"], e["position"], e["of"], e["number"], e["state"]) for e in heard]
    assert facts == [("cell_started", 2, 2, 2, "running"), ("cell_ended", 2, 2, 2, "completed")]
    assert heard[0]["duration_s"] is None
    assert heard[1]["duration_s"] >= 0


def test_a_notebook_that_failed_leads_to_the_cell(tmp_path):
    """At the top stands what happened, with a link to right above the cell it happened in.

    papermill takes these cells away before another run, by its own tag.
    """
    ledger = CellLedger(make_notebook("a", "b", "c"), tmp_path / "n.ipynb")
    ledger.start()
    ledger.cell_started(1)
    ledger.cell_ended(1, CellState.FAILED)
    ledger.finish(Outcome(Cause.NOTEBOOK_ERROR, "ValueError: <b>no</b>", cell=2))
    nb = nbformat.read(tmp_path / "n.ipynb", 4)
    nbformat.validate(nb)
    top, first, here, failed, _last = nb.cells
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in top.source
    assert 'href="#papermill-error-cell"' in top.source
    assert 'id="papermill-error-cell"' in here.source
    assert first.metadata["nightmill"]["state"] == "not_run"
    assert failed.metadata["nightmill"]["state"] == "failed"
    assert len(remove_error_markers(nb).cells) == 3


def test_a_good_notebook_has_no_such_cells(tmp_path):
    """What ended well is just the author's cells."""
    ledger = CellLedger(make_notebook("a"), tmp_path / "n.ipynb")
    ledger.start()
    ledger.finish(Outcome())
    assert len(nbformat.read(tmp_path / "n.ipynb", 4).cells) == 1


def test_a_title_holds_no_part_of_a_secret():
    """A title is cut after it was redacted: half a secret would be known to nobody."""
    secret = "hunter2-hunter2-hunter2-hunter2"
    nb = make_notebook("#" + "-" * 50 + secret)
    heard = []
    ledger = CellLedger(nb, None, heard.append, redactor=Redactor({"TOKEN": secret}))
    ledger.start()
    ledger.cell_started(0)
    assert "hunter2" not in json.dumps(heard)
    assert secret in nb.cells[0].source


@settings(deadline=None)
@given(st.text())
def test_valid_text_is_left_alone(text):
    """Only broken text is changed: every valid character, of any plane, stays."""
    assert valid_unicode(text) == text


@pytest.mark.parametrize(
    ("text", "mended"), [("a\ud800b", "a\ufffdb"), ("\udce9", "\ufffd"), ("\ud83d\ude00", "😀")]
)
def test_broken_text_gets_the_replacement_character(text, mended):
    """A lone surrogate becomes U+FFFD; two halves that belong together become their character."""
    assert valid_unicode(text) == mended
