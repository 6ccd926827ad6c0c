"""The engine: each way in which an execution can end, told as what it is. Real kernels."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import nbformat
import pytest

from nightmill.causes import Cause
from nightmill.errors import NotebookError
from nightmill.step.redaction import Redactor
from tests.executing import make_execute, own_cells, states

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture
def execute(kernel_environment, monkeypatch, tmp_path):
    """Return a function that executes cells in a real kernel: (file's cells, outcome)."""
    return make_execute(kernel_environment, monkeypatch, tmp_path)


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
        "exit()",
        ("notebook_error", "SystemExit", "0"),
        "sys.exit(0) ended the notebook; the cells after it did not run",
        id="exit()",
    ),
    pytest.param(
        "import sys; sys.exit('no flights')",
        ("notebook_error", "SystemExit", "no flights"),
        "sys.exit(no flights) ended the notebook; the cells after it did not run",
        id="exit with words",
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
    assert (outcome.message, outcome.cells) == (message, 3)
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
            "import ctypes; ctypes.string_at(0)",
            {},
            "kernel_died",
            "the kernel process was killed by SIGSEGV, as when a native library crashes",
            id="crash of a native library",
        ),
        pytest.param(
            "import time; time.sleep(60)",
            {"execution_timeout": 1, "tags": [(0, "timeout=1m")]},
            "cell_timeout",
            "no end after 1 s (the limit for a cell)",
            id="timeout",
        ),
        pytest.param(
            "import time; time.sleep(60)",
            {"execution_timeout": 60, "tags": [(1, "timeout=0.5s")]},
            "cell_timeout",
            "no end after 0.5 s (the cell's own limit, from its tag)",
            id="timeout of its own",
        ),
        pytest.param(
            "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)",
            {"execution_timeout": 1, "tags": [(0, "timeout=1m")]},
            "cell_timeout",
            "no end after 1 s (the limit for a cell)",
            id="timeout of a cell that will not listen",
        ),
    ],
)
def test_an_end_that_the_kernel_cannot_report(execute, source, options, cause, evalue):
    """A dead kernel or a cell without end is told in the cell itself, and nothing is completed."""
    cells, outcome = execute("1 + 1", source, "print('after')", **options)
    assert (outcome.cause, outcome.cell) == (Cause(cause), 2)
    assert states(cells) == ["completed", "interrupted", "not_run"]
    assert cells[1]["outputs"][-1]["evalue"] == evalue
    assert outcome.message == evalue


def test_a_timeout_shows_where_the_cell_was(execute):
    """The kernel is interrupted, so the traceback names the line; a longer limit of its own holds.

    What the cell printed before is there.
    """
    hangs = "print('begun')\nimport time\ntime.sleep(60)"
    cells, outcome = execute(
        "import time; time.sleep(3.5)", hangs, execution_timeout=3, tags=[(0, "timeout=1m")]
    )
    assert (outcome.cause, outcome.cell) == (Cause.CELL_TIMEOUT, 2)
    assert states(cells) == ["completed", "interrupted"]
    printed, interrupted, timeout = cells[1]["outputs"]
    assert printed["text"] == "begun\n"
    assert "time.sleep(" in "".join(interrupted["traceback"])
    assert timeout["ename"] == "CellTimeout"


@pytest.mark.parametrize("tag", ["timeout=soon", "timeout"])
def test_a_limit_that_cannot_be_read_stops_it_before_anything_runs(execute, tmp_path, tag):
    """A tag that was meant as a limit is an error that names the cell, and no kernel starts."""
    with pytest.raises(NotebookError, match=r"cell 2: the tag `timeout.*` is no time limit"):
        execute("1", "2", tags=[(1, tag)])
    assert list((tmp_path / "out").iterdir()) == []


STUBBORN = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
HERE = "import time; print('here', flush=True)\n"


@pytest.mark.parametrize(
    ("source", "errors"),
    [
        (f"{HERE}time.sleep(600)", ["KeyboardInterrupt", "Interrupted"]),
        ("while True: print('flood' * 1000)", ["KeyboardInterrupt", "Interrupted"]),
        (f"{STUBBORN}{HERE}time.sleep(600)", ["Interrupted"]),
    ],
    ids=["idle", "in a flood", "stubborn"],
)
def test_a_stop_from_outside(execute, source, errors):
    """SIGTERM ends a cell within seconds, whatever it does, and is told as what it is."""
    told = []

    def stop(event):
        if event["event"] == "line" and not told:  # the cell is where it stays
            told.append(event)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    begun = time.monotonic()
    cells, outcome = execute("1", source, "2", listener=stop)
    assert time.monotonic() - begun < 120
    assert (outcome.cause, outcome.cell) == (Cause.TERMINATED, 2)
    assert outcome.message == "stopped by SIGTERM"
    assert states(cells) == ["completed", "interrupted", "not_run"]
    assert [o["ename"] for o in cells[1]["outputs"] if "ename" in o] == errors


def test_a_good_notebook_and_what_it_may_do(execute, tmp_path):
    """One execution that ends well, with all that must not disturb it.

    The state on disk is true while a cell runs; tagged and empty cells are skipped; an expected
    exception is no failure; broken text, a flood of output and long lines are kept.
    """
    seen = []

    def look(event):
        """Read the file at the moment the next event comes."""
        if event["event"] == "cell_ended":
            data = json.loads((tmp_path / "out" / "executed.ipynb").read_bytes())
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


def test_nothing_but_the_true_file_is_on_the_disk(execute, tmp_path):
    """No draft of papermill's lies beside it, and no secret is in it, while cells run and after.

    What the kernel executes is never altered: the secret in the source works.
    """
    found, texts = set(), []

    def look(_event):
        for file in (tmp_path / "out").iterdir():
            found.add(file.name)
            texts.append(file.read_text())

    _cells, outcome = execute(
        f"token = '{SECRET}'; print(token[:9], flush=True); print(token)",
        "display({'application/json': {'a': [token]}}, raw=True)",
        "raise ValueError(token)",
        listener=look,
        redactor=Redactor({"TOKEN": SECRET}),
    )
    look({})
    assert found == {"executed.ipynb"}
    assert all(SECRET not in text for text in texts)
    assert texts[-1].count("[redacted: TOKEN]") > 4
    assert outcome.message == "ValueError: [redacted: TOKEN]"
    assert SECRET not in "".join(outcome.traceback)


def test_a_disk_that_fills_up(execute, tmp_path):
    """When a save fails, the outcome says so with its cell, and the old file is whole."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(OSError, match="too large"):
            execute("print('x' * 50_000)", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert states(own_cells(tmp_path / "out" / "executed.ipynb")) == ["running", "not_run"]


@pytest.mark.parametrize(
    ("source", "code", "expected", "said"),
    [
        ("print('fine')", 0, ["completed", "completed"], ""),
        ("import os; os._exit(0)", 1, ["interrupted", "not_run"], "ended by itself with exit code"),
        ("import sys; sys.exit(0)", 1, ["failed", "not_run"], "cell 1: sys.exit(0) ended"),
        ("exit()", 1, ["failed", "not_run"], "cell 1: sys.exit(0) ended"),
        ("import time; time.sleep(60)", 1, ["interrupted", "not_run"], "no end after 2 s"),
    ],
    ids=["good", "dead kernel", "sys.exit(0)", "exit()", "timeout"],
)
def test_plain_papermill_with_our_engine(
    kernel_environment, tmp_path, source, code, expected, said
):
    """`papermill --engine nightmill` says by exit code and states what papermill itself hides."""
    cells = [nbformat.v4.new_code_cell(text) for text in (source, "1 + 1")]
    cells[0].source += f"\nsecret = '{SECRET}'"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "in.ipynb")
    limit_s = 2 if "no end" in said else 120
    options = f"--engine nightmill --kernel tabular --no-progress-bar --execution-timeout {limit_s}"
    jupyter = str(kernel_environment.jupyter_path)
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", *options.split()],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "JUPYTER_PATH": jupyter, "API_TOKEN": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    own = own_cells(tmp_path / "out.ipynb")
    assert states(own) == expected
    assert [cell["metadata"]["nightmill"]["number"] for cell in own] == [1, 2]
    assert SECRET not in (tmp_path / "out.ipynb").read_text()


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [("1", 0, ["completed"]), ("1/0", 1, ["failed"])],
    ids=["good", "error"],
)
def test_plain_papermill_writing_elsewhere(kernel_environment, tmp_path, source, code, expected):
    """Output that is no file of this folder arrives as well: on standard output, or by --cwd."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(nb, tmp_path / "in.ipynb")
    (tmp_path / "elsewhere").mkdir()
    environ = {"PATH": "/usr/bin:/bin", "JUPYTER_PATH": str(kernel_environment.jupyter_path)}
    for output in ("-", "out.ipynb"):
        options = "--engine nightmill --kernel tabular --no-progress-bar --cwd elsewhere"
        done = subprocess.run(
            [sys.executable, "-m", "papermill", "in.ipynb", output, *options.split()],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        if output == "-":
            (tmp_path / "said.ipynb").write_text(done.stdout)
    assert states(own_cells(tmp_path / "said.ipynb")) == expected
    assert states(own_cells(tmp_path / "out.ipynb")) == expected
    assert list((tmp_path / "elsewhere").iterdir()) == []
