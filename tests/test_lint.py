"""What works by day and fails at night, found without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightmill.spec.lint import lint_notebook
from nightmill.spec.notebook import Cell, SourceNotebook


def lint(*sources, kernel_name="tabular", **cell):
    """Lint a notebook of code cells for the kernel `tabular`."""
    cells = tuple(Cell(n, "code", source, **cell) for n, source in enumerate(sources, 1))
    return lint_notebook(SourceNotebook(Path("n.ipynb"), "", cells, kernel_name), "tabular")


FOUND = {
    "input": ("user = input('user: ')", "asks", 1),
    "getpass": ("from getpass import getpass\ngetpass()", "asks", 2),
    "getpass module": ("import getpass\nx = [getpass.getpass('?')]", "asks", 2),
    "breakpoint": ("def f():\n    breakpoint()", "asks", 2),
    "pdb": ("import pdb; pdb.set_trace()", "asks", 1),
    "asyncio.run": ("import asyncio\nn = asyncio.run(fetch())", "event-loop", 2),
    "loop": ("asyncio.get_event_loop().run_until_complete(f())", "event-loop", 1),
    "named loop": ("loop.run_until_complete(f())", "event-loop", 1),
    "now": ("datetime.now()", "clock", 1),
    "utcnow": ("import datetime as dt\ndt.datetime.utcnow()", "clock", 2),
    "today": ("x = 1\n\ny = date.today()", "clock", 3),
    "pandas": ("pd.Timestamp.now('UTC')", "clock", 1),
    "linux home": ("pd.read_csv('/home/ann/flights.csv')", "home", 1),
    "mac home": ("x = f'/Users/{name}/a'\ny = '/Users/ann/a'", "home", 2),
    "windows home": ("x = r'C:\\Users\\ann\\a.csv'", "home", 1),
    "syntax": ("x = 1\nprint 'x'", "syntax", 2),
    "after magics": ("%matplotlib inline\n!ls\nx = input()", "asks", 3),
    "in a timed cell": ("%%time\nx = input()", "asks", 2),
    "pip as a magic": ("import a\n%pip install -q b", "installs", 2),
    "pip by the shell": ("if x:\n    !pip3 install b", "installs", 2),
    "pip of this Python": ("!{sys.executable} -m pip install b", "installs", 1),
    "pip of uv": ("!uv pip install b", "installs", 1),
    "conda": ("%conda install b", "installs", 1),
    "pip in a cell of the shell": ("%%bash\nset -e\npip install b", "installs", 3),
}


@pytest.mark.parametrize(("source", "rule", "line"), FOUND.values(), ids=FOUND)
def test_found(source, rule, line):
    """Each kind of call or path is found at its cell and line, with advice."""
    (warning,) = lint("import x", source)
    assert (warning.rule, warning.cell, warning.line) == (rule, 2, line)
    assert warning.level == ("error" if rule == "syntax" else "warning")
    assert warning.problem
    assert warning.advice


@pytest.mark.parametrize(
    "source",
    ["x.input()", "inputs(1)", "text = 'input()'", "# input()", "await fetch()",
     "subprocess.run(x)", "%%bash\nread input",
     "time.time()", "partition.today", "x = '/homepage/a'", "x = '/home/'",
     "'see /home/ann'", "df.now()", "%%html\n<p", 'x = """\n!pip install b\n"""',
     "# !pip install b", "!pip list", "%%bash\necho pip install"],
)  # fmt: skip
def test_not_found(source):
    """What only looks alike is left alone."""
    assert lint(source) == []


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("n = asyncio.run(fetch(1))", "write `await fetch(1)` in its place"),
        ("loop.run_until_complete(work)", "write `await work` in its place"),
        ("uvloop.run(f())", "write `await f()` in its place"),
        ("def main():\n    asyncio.run(f())", "use `await`, in a function that is `async` itself"),
        ("asyncio.run(main=f())", "use `await`, in a function that is `async` itself"),
    ],
)
def test_advice_for_the_event_loop(source, advice):
    """What runs an event loop is told apart by what to write instead."""
    (warning,) = lint(source)
    assert warning.advice == advice
    assert "event loop is already running" in warning.problem


def test_a_notebook_that_lets_loops_nest_is_left_alone():
    """With nest_asyncio asyncio.run does work in a kernel, so nothing is said of it."""
    assert lint("import nest_asyncio; nest_asyncio.apply()", "asyncio.run(f())") == []


def test_kernel_drift():
    """A notebook saved with another kernel is a note, and one with none is fine."""
    (note,) = lint("", kernel_name="conda-base")
    assert (note.rule, note.level, note.cell) == ("kernel", "note", None)
    assert "`conda-base`" in note.problem
    assert "`tabular`" in note.problem
    assert lint("", kernel_name="") == lint("", kernel_name="tabular") == []


def test_outputs():
    """Outputs saved in the source are one warning, at the first cell that has some."""
    (warning,) = lint("1", "2", has_outputs=True)
    assert (warning.rule, warning.cell) == ("outputs", 1)
    assert warning.problem == "2 cells hold outputs"
    assert "nbstripout" in warning.advice


def test_order():
    """Findings come in the order a reader meets them."""
    found = lint("def f():\n    input()\ndate.today()", "x = (", "input()")
    assert [(w.cell, w.line) for w in found] == [(1, 2), (1, 3), (2, 1), (3, 1)]


def test_markdown_is_not_code():
    """Text about input() is no call."""
    cells = (Cell(1, "markdown", "input()"), Cell(2, "raw", "input("))
    assert lint_notebook(SourceNotebook(Path("n.ipynb"), "", cells), "tabular") == []


def test_installing_is_told_where_the_packages_are():
    """What installs into the kernel is told with the kernel's own list of packages."""
    (warning,) = lint("%pip install b")
    assert warning.problem.startswith("`%pip install b` installs what is newest that night")
    assert "kernels/tabular/requirements.in" in warning.advice
