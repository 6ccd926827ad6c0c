"""The executing notebook on disk: whole, without secrets, and cheap to keep."""

from __future__ import annotations

import json
import resource
import threading
import time
from contextlib import contextmanager

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4

from nightmill.spec.executed import notebook_bytes
from nightmill.spec.record import CellState
from nightmill.step.cell_states import CellLedger
from nightmill.step.notebook_file import NotebookFile, replace_file
from nightmill.step.redaction import Redactor

SECRET = "hunter2-hunter2-hunter2"
NOTHING = Redactor({})


def make_notebook(*sources):
    """Build a notebook of code cells with ids that stay the same."""
    cells = [v4.new_code_cell(text, id=f"c{n}") for n, text in enumerate(sources)]
    return v4.new_notebook(cells=cells)


@contextmanager
def disk_of(size):
    """Let this process write no file larger than this: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("sources", [(), ("a",), ("a\nb", "c")])
def test_the_file_is_what_nbformat_would_write(tmp_path, sources):
    """Written piece by piece, the file is byte for byte the notebook as JSON."""
    nb = make_notebook(*sources)
    for cell in nb.cells:
        cell.outputs = [v4.new_output("stream", text="line\n\n é \U0001f989\t\n")]
    NotebookFile(nb, tmp_path / "n.ipynb", NOTHING).write()
    data = (tmp_path / "n.ipynb").read_bytes()
    assert data == notebook_bytes(nb)
    assert nbformat.reads(data.decode(), 4) == nb


def test_only_a_change_is_written(tmp_path):
    """A save without a change leaves the file alone; one with a change replaces it."""
    nb = make_notebook("a", "b")
    path = tmp_path / "n.ipynb"
    file = NotebookFile(nb, path, NOTHING)
    file.write()
    first = path.stat().st_ino
    file.write()
    assert path.stat().st_ino == first
    nb.cells[1].source = "changed"
    file.changed(1)
    nb.metadata["x"] = 1
    file.write()
    assert json.loads(path.read_bytes()) == nb


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_saved(text):
    """Lone surrogates in source, output, names or error values never stop a save."""
    nb = make_notebook(text)
    ledger = CellLedger(nb, None)
    ledger.start()
    ledger.add_error(0, text, text)
    nb.metadata["author"] = {text: text}
    saved = ledger.file.notebook()
    assert saved["cells"][0]["source"] == text.encode("utf-16", "surrogatepass").decode(
        "utf-16", "replace"
    )


def test_no_secret_is_in_the_file_and_the_notebook_is_as_it_was(tmp_path):
    """Source, outputs and metadata are redacted in the file alone: what runs is never altered."""
    nb = make_notebook(f"connect('{SECRET}')")
    nb.metadata["papermill"] = {"parameters": {"token": SECRET}}
    nb.cells[0].outputs = [
        v4.new_output("display_data", data={"application/json": {SECRET: [SECRET]}})
    ]
    before = json.dumps(nb)
    file = NotebookFile(nb, tmp_path / "n.ipynb", Redactor({"TOKEN": SECRET}))
    file.write()
    saved = (tmp_path / "n.ipynb").read_text()
    assert "hunter2" not in saved
    assert saved.count("[redacted: TOKEN]") == 4
    assert json.dumps(nb) == before
    assert "hunter2" not in json.dumps(file.notebook())


def test_marks_are_shown_in_the_file_only(tmp_path):
    """Cells that lead to an error stand in the file, before the cells they belong to."""
    nb = make_notebook("a", "b")
    file = NotebookFile(nb, tmp_path / "n.ipynb", NOTHING)
    for position, text in [(0, "top"), (1, "here"), (1, "and here")]:
        file.mark(position, v4.new_markdown_cell(text))
    file.write()
    cells = nbformat.read(tmp_path / "n.ipynb", 4).cells
    assert [cell.source for cell in cells] == ["top", "a", "here", "and here", "b"]
    assert [cell["source"] for cell in file.notebook()["cells"]] == ["a", "b"]


def test_a_large_notebook_costs_a_cell_little(tmp_path):
    """300 cells and 20 MB of outputs: far from a second a cell, which is what JSON would take."""
    nb = make_notebook(*(f"cell {number}" for number in range(300)))
    ledger = CellLedger(nb, tmp_path / "n.ipynb")
    ledger.start()
    for position in range(200):
        nb.cells[position].outputs = [v4.new_output("stream", text="line of it\n" * 10_000)]
        ledger.file.changed(position)
    ledger.save()
    begun = time.process_time()
    for position in range(200, 230):
        ledger.cell_started(position)
        ledger.cell_ended(position, CellState.COMPLETED)
    assert (time.process_time() - begun) / 30 < 0.2
    assert (tmp_path / "n.ipynb").stat().st_size > 20_000_000


def test_a_reader_never_sees_half_a_file(tmp_path):
    """While the file is replaced again and again, whoever reads it reads a whole notebook."""
    nb = make_notebook(*"abc")
    path = tmp_path / "n.ipynb"
    file = NotebookFile(nb, path, NOTHING)
    file.write()
    ended = threading.Event()

    def write():
        for number in range(60):
            nb.cells[0].source = "x" * number * 1000
            file.changed(0)
            file.write()
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    lengths = set()
    while not ended.is_set():
        lengths.add(len(json.loads(path.read_bytes())["cells"][0]["source"]))
    writer.join()
    assert len(lengths) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    """A full disk costs the new version, never the old one, and no half-written file stays."""
    path = tmp_path / "n.ipynb"
    replace_file(path, [b"o", b"ld"])
    with disk_of(1000), pytest.raises(OSError, match="too large"):
        replace_file(path, [b"x" * 600] * 5)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
