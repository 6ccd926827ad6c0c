"""The index of notebooks: the same notebook, sooner; never stale, never in the way."""

from __future__ import annotations

import json
import os
import sys

import pytest

from nightmill.errors import ContractError
from nightmill.spec.notebook import read_notebook
from nightmill.spec.notebook_index import MAX_ENTRIES, SMALL_BYTES, NotebookIndex, title_of

PERCENT = """\
# %% [markdown]
# # The title

# %% tags=["parameters"]
top_n: int = 3

# %%
print(top_n)
"""


@pytest.fixture
def large(project):
    """Write a notebook that was saved with large outputs."""

    def write(parameters: str = "top_n: int = 3"):
        project.pipeline("p", "", s=[("# Heading", "markdown"), (parameters, "parameters")])
        path = project.root / "notebooks/p/s.ipynb"
        content = json.loads(path.read_text())
        text = "x" * SMALL_BYTES
        content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Name the index's folder, which is not there yet."""
    return tmp_path / "index" / "notebooks"


def test_same_notebook(large, folder):
    """A notebook from the index is the one that reading it gives, outputs and all that is told."""
    path = large()
    wanted = read_notebook(path)
    assert NotebookIndex(folder).read(path) == wanted
    assert len(list(folder.iterdir())) == 1
    assert NotebookIndex(folder).read(path) == wanted
    (entry,) = folder.iterdir()
    assert entry.stat().st_size < 2000


def test_content_decides(large, folder):
    """A changed notebook is read anew, whatever its time says; the same content serves copies."""
    path = large()
    NotebookIndex(folder).read(path)
    times = path.stat()
    large("top_n: int = 4")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "top_n: int = 4" in NotebookIndex(folder).read(path).cells[1].source
    copy = path.with_name("copy.ipynb")
    copy.write_bytes(path.read_bytes())
    assert NotebookIndex(folder).read(copy).path == copy
    assert len(list(folder.iterdir())) == 2


def test_small_notebooks_need_none(project, folder):
    """A small notebook is simply read."""
    project.pipeline("p", "", s=["1"])
    path = project.root / "notebooks/p/s.ipynb"
    assert NotebookIndex(folder).read(path) == read_notebook(path)
    assert not folder.exists()


def test_scripts_need_jupytext_once(project, folder, monkeypatch):
    """A script that is in the index is read without jupytext, as on a scheduler without it."""
    path = project.write("notebooks/p/s.py", PERCENT)
    wanted = NotebookIndex(folder).read(path)
    assert wanted.cells[1].tags == ("parameters",)
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert NotebookIndex(folder).read(path) == wanted
    with pytest.raises(ContractError, match="needs jupytext"):
        NotebookIndex(folder / "other").read(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"cells": [{}]}', b"\xff"])
def test_a_damaged_entry(large, folder, content):
    """An entry that cannot be read is replaced."""
    path = large()
    wanted = NotebookIndex(folder).read(path)
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(content)
    assert NotebookIndex(folder).read(path) == wanted
    assert entry.read_bytes() == whole


def test_a_place_that_cannot_be_written(large, folder):
    """Where the index cannot be written, notebooks are read all the same."""
    folder.parent.mkdir()
    folder.write_text("a file, where the folder should be")
    path = large()
    assert NotebookIndex(folder).read(path) == read_notebook(path)


def test_it_stays_small(large, folder):
    """The oldest entries go when there are too many."""
    folder.mkdir(parents=True)
    for number in range(MAX_ENTRIES):
        entry = folder / f"{number}.json"
        entry.write_text("{}")
        os.utime(entry, (number, number))
    NotebookIndex(folder).read(large())
    left = {entry.name for entry in folder.iterdir()}
    assert len(left) == MAX_ENTRIES
    assert "0.json" not in left
    assert "1.json" in left


def test_missing(folder, tmp_path):
    """A notebook that is not there is an error of the notebook, as without an index."""
    with pytest.raises(ContractError, match="cannot be read"):
        NotebookIndex(folder).read(tmp_path / "none.ipynb")


TITLES = {
    "first": ([("# One\ntext", "markdown"), ("# Two", "markdown")], "One"),
    "deeper": ([("text\n### Three #", "markdown")], "Three"),
    "comment": (["# no title", ("## Yes", "markdown")], "Yes"),
    "empty heading": ([("#\n# Real", "markdown")], "Real"),
    "none": (["1"], ""),
}


@pytest.mark.parametrize(("cells", "title"), TITLES.values(), ids=TITLES)
def test_title(project, cells, title):
    """The title is the first heading of a text cell."""
    project.pipeline("p", "", s=cells)
    assert title_of(read_notebook(project.root / "notebooks/p/s.ipynb")) == title
