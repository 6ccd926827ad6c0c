"""The engine: each way in which an execution can end, told as what it is. Real kernels."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time

import nbformat
import pytest
from papermill.engines import papermill_engines

from nightmill.causes import Cause
from nightmill.step.outcome import Outcome


@pytest.fixture
def execute(kernel_environment, monkeypatch, tmp_path):
    """Return a function that executes cells in a real kernel: (file's cells, outcome, events)."""
    monkeypatch.setenv("JUPYTER_PATH", str(kernel_environment.jupyter_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(*sources, tags=(), listener=None, **options):
        nb = nbformat.v4.new_notebook()
        nb.cells = [nbformat.v4.new_code_cell(textwrap.dedent(text)) for text in sources]
        for position, tag in tags:
            nb.cells[position].metadata["tags"] = [tag]
        outcome, path = Outcome(), tmp_path / "executed.ipynb"
        name = kernel_environment.kernel.name
        papermill_engines.get_engine("nightmill").execute_notebook(
            nb, name, save_to=path, outcome=outcome, listener=listener, **options
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


ENDS = [
    pytest.param(
        "raise ValueError('no flights')",
        ("notebook_error", "ValueError", "no flights"),
        "ValueError: no flights",
        id="exception",
    ),
    pytest.param(
        "import sys; sys.exit(0)",
        ("notebook_error", "SystemExit", "0"),
        "sys.exit(0) ended the notebook; the cells after it did not run",
        id="exit 0",
    ),
    pytest.param(
        "import sys; sys.exit(3)",
        ("notebook_error", "SystemExit", "3"),
        "sys.exit(3) ended the notebook; the cells after it did not run",
        id="exit 3",
    ),
    pytest.param(
        "user = input('user: ')",
        ("notebook_error", "StdinNotImplementedError", None),
        "the cell asks for input, and nobody is there at night to answer",
        id="input",
    ),
    pytest.param(
        "raise KeyboardInterrupt",
        ("notebook_error", "KeyboardInterrupt", ""),
        "KeyboardInterrupt, raised in the cell: Nightmill did not interrupt it",
        id="the author's own interrupt",
    ),
]


@pytest.mark.parametrize(("source", "end", "message"), ENDS)
def test_an_end_that_the_kernel_reports(execute, source, end, message):
    """A cell that raises, exits or asks has failed; what follows did not run; the words fit."""
    cells, outcome = execute("1 + 1", source, "print('after')")
    cause, ename, evalue = end
    assert (outcome.cause, outcome.ename, outcome.cell) == (Cause(cause), ename, 2)
    assert evalue in (None, outcome.evalue)
    assert outcome.message == message
    assert outcome.traceback
    assert states(cells) == ["completed", "failed", "not_run"]


def test_everything_that_waits_for_an_answer_is_known_as_such(execute):
    """Getpass and the debugger fail as input() does, in seconds; breakpoint() is not passed over.

    What makes breakpoint() speak leaves no name behind that a notebook could use by mistake.
    """
    begun = time.monotonic()
    cells, outcome = execute(
        "assert 'sys' not in globals()",
        "import getpass; getpass.getpass()",
        "import pdb; pdb.set_trace()\nx = 1",
        "breakpoint()\nx = 2",
        tags=[(1, "raises-exception"), (2, "raises-exception")],
    )
    assert time.monotonic() - begun < 30
    assert (outcome.ename, outcome.cell) == ("StdinNotImplementedError", 4)
    errors = [cell["outputs"][-1]["ename"] for cell in cells[1:]]
    assert errors == ["StdinNotImplementedError"] * 3


@pytest.mark.parametrize(
    ("source", "options", "cause", "evalue"),
    [
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            {},
            "kernel_died",
            "the kernel process was killed by SIGKILL",
            id="SIGKILL",
        ),
        pytest.param(
            "import os; os._exit(0)",
            {},
            "kernel_died",
            "the kernel process ended by itself with exit code 0",
            id="exit behind Python's back",
        ),
        pytest.param(
            "import time; time.sleep(60)",
            {"execution_timeout": 1},
            "cell_timeout",
            "no end after 1 s (the limit for a cell)",
            id="timeout",
        ),
    ],
)
def test_an_end_that_the_kernel_cannot_report(execute, source, options, cause, evalue):
    """A dead kernel or a cell without end is told in the cell itself, and nothing is completed."""
    cells, outcome = execute("1 + 1", source, "print('after')", **options)
    assert (outcome.cause, outcome.cell) == (Cause(cause), 2)
    assert states(cells) == ["completed", "interrupted", "not_run"]
    assert cells[1]["outputs"][-1]["evalue"] == evalue


def test_a_good_notebook_and_what_it_may_do(execute, tmp_path):
    """One execution that ends well, with all that must not disturb it.

    The state on disk is true while a cell runs; tagged and empty cells are skipped; an expected
    exception is no failure; broken text, a flood of output and long lines are kept.
    """
    seen = []

    def look(event):
        """Read the file at the moment the next event comes."""
        if event["event"] == "cell_ended":
            data = json.loads((tmp_path / "executed.ipynb").read_bytes())
            seen.append((event["position"], states(data["cells"])[event["position"] - 1]))

    cells, outcome = execute(
        "print('caf\\udce9')",
        "raise RuntimeError('expected \\udce9')",
        "raise RuntimeError('skipped')",
        "",
        "for i in range(10_000): print('x' * 100)",
        "print('caf\ud800é')",  # the lone surrogate is in the source itself
        "display({'text/plain': 'a\\udce9', 'b\\udce9': 1}, raw=True)",  # 1 is no output
        tags=[(1, "raises-exception"), (2, "skip-execution")],
        listener=look,
    )
    assert outcome.cause is None, outcome
    expected = ["completed"] * 7
    expected[2:4] = ["skipped", "skipped"]
    assert states(cells) == expected
    assert seen[0] == (1, "running")
    assert cells[0]["outputs"][0]["text"] == "caf\ufffd\n"
    assert len(cells[4]["outputs"][0]["text"]) == 10_000 * 101
    assert cells[5]["outputs"][0]["text"] == "caf\ufffdé\n"
    assert "left out an output" in cells[6]["outputs"][0]["text"]


def test_an_error_that_the_kernel_cannot_put_into_words(execute):
    """An error value that the kernel fails to send is still an error to read in its cell."""
    cells, outcome = execute("raise RuntimeError('\\ud800')", "1")
    assert (outcome.cause, outcome.cell) == (Cause.NOTEBOOK_ERROR, 1)
    assert cells[0]["outputs"][-1]["output_type"] == "error"


def test_a_kernel_that_cannot_start(execute, monkeypatch):
    """A kernel that dies while it starts is kernel_died at no cell, and no cell has run."""
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    cells, outcome = execute("1 + 1")
    assert (outcome.cause, outcome.cell) == (Cause.KERNEL_DIED, None)
    assert states(cells) == ["not_run"]


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("print('fine')", 0, ["completed", "completed"]),
        ("import os; os._exit(0)", 1, ["interrupted", "not_run"]),
        ("import sys; sys.exit(0)", 1, ["failed", "not_run"]),
    ],
    ids=["good", "dead kernel", "exit 0"],
)
def test_plain_papermill_with_our_engine(kernel_environment, tmp_path, source, code, expected):
    """`papermill --engine nightmill` says by exit code and states what papermill itself hides."""
    cells = [nbformat.v4.new_code_cell(text) for text in (source, "1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "in.ipynb")
    options = "--engine nightmill --kernel tabular --no-progress-bar"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", *options.split()],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "JUPYTER_PATH": str(kernel_environment.jupyter_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    out = json.loads((tmp_path / "out.ipynb").read_bytes())["cells"]
    own = [cell for cell in out if "nightmill" in cell["metadata"]]
    assert states(own) == expected
    assert [cell["metadata"]["nightmill"]["number"] for cell in own] == [1, 2]
