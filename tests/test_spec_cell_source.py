"""The Python inside a code cell, with IPython's own syntax replaced line by line."""

from __future__ import annotations

import ast
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.spec.cell_source import CellSyntaxError, comments, parse_cell, python_source

REPLACED = {
    "line magic": ("%matplotlib inline\nx = 1", "pass\nx = 1"),
    "shell": ("!pip install x\nx = 1", "pass\nx = 1"),
    "help": ("?len\nlen?\nx.y??\nx = 1", "pass\npass\npass\nx = 1"),
    "indented": ("if x:\n    !ls\n    %time f()\n", "if x:\n    pass\n    pass\n"),
    "assigned shell": ("files = !ls\nx = 1", "files = ...\nx = 1"),
    "assigned magic": ("t = %timeit -o f()\nx = 1", "t = ...\nx = 1"),
    "continued": ("!echo a \\\n  b \\\n  c\nx = 1", "pass\n\n\nx = 1"),
    "time": ("%%time\nx = 1", "\nx = 1"),
    "time after blanks": ("\n\n%%time -n\nx = 1", "\n\n\nx = 1"),
    "capture and line magic": ("%%capture out\n%cd x\nx = 1", "\npass\nx = 1"),
    "in a string": (
        '%cd x\ny = """\n%not\n!magic\nwhat?\n"""',
        'pass\ny = """\n%not\n!magic\nwhat?\n"""',
    ),
    "in brackets": ("%cd x\ny = (5\n% 3\n)", "pass\ny = (5\n% 3\n)"),
    "after a backslash": ("%cd x\ny = 5 \\\n% 3", "pass\ny = 5 \\\n% 3"),
    "comment asking": ("%cd x\n#why?\ny = 1", "pass\n#why?\ny = 1"),
    "plain Python": ("x = 'a?'\ny = 5 % 3", "x = 'a?'\ny = 5 % 3"),
    "in an indented block": (
        "%cd x\ndef f():\n    return '''\n%no\n'''",
        "pass\ndef f():\n    return '''\n%no\n'''",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "python"), REPLACED.values(), ids=REPLACED)
def test_replaced(source, python):
    """Magics are replaced and every other line stays where and as it was."""
    assert python_source(source) == python
    assert parse_cell(source) is not None


@pytest.mark.parametrize("magic", ["bash", "sql", "html", "writefile x.py", "script perl", "R"])
def test_other_languages(magic):
    """A cell in another language is none of ours."""
    assert parse_cell(f"%%{magic}\nSELECT (") is None


@pytest.mark.parametrize(
    ("source", "line"),
    [("x = 1\ny = (", 2), ("x = 1\nif x\n  y", 2), ("x = 1\n\ny = = 2", 3), ("%cd x\ny = = 2", 2),
     ("a = '\n", 1), ("x = '\0'", 1), ("(" * 5000, 1), ("x = '\ud800'\ny = (", 1)],
)  # fmt: skip
def test_syntax_errors(source, line):
    """What is no Python says so with the line in the cell."""
    with pytest.raises(CellSyntaxError) as caught:
        parse_cell(source)
    assert caught.value.line == line


def test_await_and_odd_escapes():
    """A kernel takes `await` at the top level and odd escapes; so do we, without a warning."""
    assert parse_cell("await f()\nx = '\\d'") is not None


def test_comments():
    """Comments are found by line, not inside strings, and known to stand alone or not."""
    source = "# one\nx = '# no'  # two\n  # three\n"
    assert comments(source) == {1: ("one", True), 2: ("two", False), 3: ("three", True)}


@given(lines=st.lists(st.sampled_from(["x = 1", "%m", "!s", "f?", '"""', "(", ")", "  y", "a \\"])))
def test_lines_stay(lines):
    """Whatever is mixed, the number of lines never changes, so errors point at the right one."""
    source = "\n".join(lines)
    assert (python_source(source) or "").count("\n") == source.count("\n")


@given(source=st.text(alphabet="ab=1 \n\t%!?'\"\\#()[]{}:,."))
def test_valid_python_is_untouched(source):
    """What Python can read is not changed, and what it cannot is at worst our own error."""
    try:
        ast.parse(source)
    except SyntaxError:
        with suppress(CellSyntaxError):
            parse_cell(source)
    else:
        assert python_source(source) == source
