"""Executes cells with our engine in a real kernel, for the tests of the engine."""

from __future__ import annotations

import json
import textwrap

import nbformat
from papermill.engines import papermill_engines

from nightmill.step.outcome import Outcome


def make_execute(kernel_environment, monkeypatch, tmp_path):
    """Return a function that executes cells: (cells of the file `out/executed.ipynb`, outcome).

    `tags` are pairs of a position and a tag; other options go to the engine.
    """
    monkeypatch.setenv("JUPYTER_PATH", str(kernel_environment.jupyter_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(*sources, tags=(), listener=None, **options):
        nb = nbformat.v4.new_notebook()
        nb.cells = [nbformat.v4.new_code_cell(textwrap.dedent(text)) for text in sources]
        for position, tag in tags:
            nb.cells[position].metadata["tags"] = [tag]
        outcome, path = Outcome(), tmp_path / "out" / "executed.ipynb"
        path.parent.mkdir()
        papermill_engines.get_engine("nightmill").execute_notebook(
            nb,
            kernel_environment.kernel.name,
            save_to=path,
            outcome=outcome,
            listener=listener,
            **options,
        )
        return own_cells(path), outcome

    return run


def own_cells(path) -> list[dict]:
    """Read the cells of a notebook, less those that mark where it ended."""
    cells = json.loads(path.read_bytes())["cells"]
    return [cell for cell in cells if "nightmill" in cell["metadata"]]


def states(cells) -> list[str]:
    """Name the state of each cell."""
    return [cell["metadata"]["nightmill"]["state"] for cell in cells]
