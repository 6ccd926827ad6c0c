"""Source notebooks read as plain JSON or percent script, and never written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import ContractError
from nightmill.spec import notebook as room
from nightmill.spec.notebook import read_notebook, to_ipynb

PERCENT = """\
# %% [markdown]
# A text notebook.

# %% tags=["parameters"]
top_n = 3

# %%
# %%time
print(top_n)
"""
KERNELSPEC = (
    "#   kernelspec:\n#     display_name: Python 3\n#     language: python\n#     name: py\n"
)
HEADERS = {
    "none": "",
    "kernelspec only": f"# ---\n# jupyter:\n{KERNELSPEC}# ---\n\n",
    "percent": "# ---\n# jupyter:\n#   jupytext:\n#     text_representation:\n"
    "#       extension: .py\n#       format_name: percent\n#       format_version: '1.3'\n"
    f"{KERNELSPEC}# ---\n\n",
    "another format": "# ---\n# jupyter:\n#   jupytext:\n#     formats: ipynb,py:light\n"
    "#     text_representation:\n#       extension: .py\n#       format_name: light\n"
    f"#       format_version: '1.5'\n{KERNELSPEC}# ---\n\n",
    "filter": "# ---\n# jupyter:\n#   jupytext:\n#     cell_metadata_filter: -all\n"
    f"{KERNELSPEC}# ---\n\n",
}


@pytest.fixture
def save(tmp_path):
    """Save a notebook: text, bytes or what JSON can hold."""

    def _save(content, name="n.ipynb"):
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
        return path

    return _save


def code(source, **more):
    """Make a code cell."""
    metadata = more.pop("metadata", {})
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [],
            "execution_count": None} | more  # fmt: skip


def book(*cells, **metadata):
    """Make a notebook of format 4.5."""
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def test_read(save):
    """Cells, tags, ids, kernelspec and the hash of the bytes are read."""
    path = save(
        book(
            {"cell_type": "markdown", "source": ["# A\n", "b"], "metadata": {}, "id": "m"},
            code("x = 1", metadata={"tags": ["parameters", "keep"]}, id="c"),
            code("", outputs=[{"output_type": "stream"}]),
            kernelspec={"name": "tabular", "display_name": "Tables", "language": "python"},
        )
    )
    notebook = read_notebook(path)
    assert notebook.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [c.number for c in notebook.cells] == [1, 2, 3]
    assert [c.kind for c in notebook.cells] == ["markdown", "code", "code"]
    assert [c.number for c in notebook.code_cells()] == [2, 3]
    assert notebook.cells[0].source == "# A\nb"
    assert notebook.cells[1].tags == ("parameters", "keep")
    assert [c.id for c in notebook.cells] == ["m", "c", None]
    assert [c.has_outputs for c in notebook.cells] == [False, False, True]
    assert (notebook.kernel_name, notebook.kernel_display_name) == ("tabular", "Tables")
    assert notebook.language == "python"


@pytest.mark.parametrize("metadata", [{}, None, {"kernelspec": None}, {"kernelspec": {}}])
def test_no_kernelspec(save, metadata):
    """Editors leave kernelspec and language out; nothing is missing then."""
    notebook = read_notebook(save(book(code("top_n = 3")) | {"metadata": metadata}))
    assert (notebook.kernel_name, notebook.language) == ("", "")


@pytest.mark.parametrize("metadata", [None, {"tags": None}, {"tags": "parameters"}, []])
def test_odd_tags(save, metadata):
    """A cell whose tags are no list has none."""
    assert read_notebook(save(book(code("", metadata=metadata)))).cells[0].tags == ()


def test_byte_order_mark(save):
    """A byte order mark does no harm."""
    path = save(b"\xef\xbb\xbf" + json.dumps(book(code("x"))).encode())
    assert read_notebook(path).cells[0].source == "x"


def test_format_3(save):
    """A notebook of format 3 is read, and upgraded to what nbformat finds valid."""
    path = save(
        {
            "nbformat": 3,
            "nbformat_minor": 0,
            "metadata": {"name": "old"},
            "worksheets": [
                {
                    "cells": [
                        {"cell_type": "heading", "level": 2, "source": "Old", "metadata": {}},
                        {"cell_type": "code", "input": ["x = 1\n", "y"], "language": "python",
                         "outputs": [{"output_type": "pyout"}], "metadata": {"tags": ["a"]}},
                    ]
                }
            ],
        }
    )  # fmt: skip
    cells = read_notebook(path).cells
    assert [(c.kind, c.source, c.tags) for c in cells] == [
        ("markdown", "## Old", ()),
        ("code", "x = 1\ny", ("a",)),
    ]
    nbformat.validate(to_ipynb(path))


BROKEN = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n", "the file is empty"),
    "cut off": (b'{"cells": [\n  {"cell_type"', "in line 2, column 15"),
    "not JSON": (b"print(1)\n", "no JSON: Expecting value in line 1, column 1"),
    "a list": (b"[]", "`nbformat` is missing"),
    "other JSON": (b'{"a": 1}', "`nbformat` is missing"),
    "format 2": (b'{"nbformat": 2}', "nbformat `2`, but only 3 and 4"),
    "format text": (b'{"nbformat": "4"}', "nbformat `4`"),
    "no cells": (b'{"nbformat": 4}', "the list `cells` is missing"),
    "no worksheets": (b'{"nbformat": 3}', "the list `worksheets` is missing"),
    "cells null": (b'{"nbformat": 4, "cells": null}', "the list `cells` is missing"),
    "latin-1": (b'{"nbformat": 4,\n"x": "\xe9"}', "byte 0xe9 in line 2"),
    "too deep": (b"[" * 200_000, "too deep"),
    "long number": (b'{"nbformat": ' + b"1" * 5000 + b"}", "too deep or too large"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_broken(save, content, words):
    """A file that is no notebook names itself and where it breaks."""
    path = save(content)
    for read in (read_notebook, to_ipynb):
        with pytest.raises(ContractError) as caught:
            read(path)
        assert caught.value.notebook == path
        assert words in caught.value.problem


@pytest.mark.parametrize(
    "cell", [{}, 5, {"cell_type": "code"}, {"cell_type": "code", "source": [1]},
             {"cell_type": "slide", "source": ""}],
)  # fmt: skip
def test_broken_cell(save, cell):
    """A cell that is none is named by its number."""
    with pytest.raises(ContractError) as caught:
        read_notebook(save(book(code(""), cell)))
    assert caught.value.cell == 2


def test_unreadable(tmp_path):
    """A folder or a file that is not there is an error that names it."""
    for path in (tmp_path, tmp_path / "none.ipynb"):
        with pytest.raises(ContractError, match="cannot be read"):
            read_notebook(path)


def test_huge(save, monkeypatch):
    """A file beyond the limit is refused without reading it whole."""
    monkeypatch.setattr(room, "MAX_BYTES", 1000)
    with pytest.raises(ContractError, match="larger than") as caught:
        read_notebook(save(book(code("x" * 2000))))
    assert "nbstripout" in caught.value.advice


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_percent_script(save, header):
    """A percent script has its cells, tags and magics whatever its header says."""
    path = save(header + PERCENT, "n.py")
    before = path.read_bytes()
    notebook = read_notebook(path)
    assert [(c.kind, c.source, c.tags) for c in notebook.cells] == [
        ("markdown", "A text notebook.", ()),
        ("code", "top_n = 3", ("parameters",)),
        ("code", "%%time\nprint(top_n)", ()),
    ]
    assert notebook.kernel_name == ("py" if header else "")
    assert path.read_bytes() == before


def test_percent_script_as_ipynb(save):
    """A script becomes a valid notebook, the same each time, cell ids included."""
    path = save(HEADERS["kernelspec only"] + PERCENT, "n.py")
    made = to_ipynb(path)
    nbformat.validate(made)
    assert made == to_ipynb(path)
    assert made["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "py"}
    }


def test_script_without_jupytext(save, monkeypatch):
    """Where jupytext is missing, the extra to install is named."""
    monkeypatch.setitem(sys.modules, "jupytext", None)
    with pytest.raises(ContractError, match="needs jupytext") as caught:
        read_notebook(save(PERCENT, "n.py"))
    assert "nightmill[runner]" in caught.value.advice


def test_script_with_broken_header(save):
    """A header that jupytext cannot take is an error, not a traceback."""
    with pytest.raises(ContractError, match="no percent script"):
        read_notebook(save("# ---\n# jupyter:\n#   kernelspec: 5\n# ---\n\n# %%\nx = 1\n", "n.py"))


def test_ipynb_as_it_is(save):
    """A notebook of format 4 is handed on as saved."""
    content = book(code("x = 1", id="a"), custom={"kept": True})
    assert to_ipynb(save(content)) == content


@given(raw=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory, raw):
    """Whatever the bytes, the answer is a notebook or a ContractError."""
    path = tmp_path_factory.mktemp("nb") / "n.ipynb"
    path.write_bytes(raw)
    with pytest.raises(ContractError):
        read_notebook(path)


@pytest.mark.parametrize("line", ["# copy of the table", "# ls", "#cat and dog", "# rm nothing"])
def test_a_comment_in_a_script_stays_a_comment(tmp_path, line):
    """A comment that begins with the name of a command is not run as that command."""
    script = tmp_path / "s.py"
    script.write_text(f"# %%\n{line}\nx = 1\n# %%time\n")
    (cell,) = read_notebook(script).cells
    comment, *rest = cell.source.splitlines()
    assert comment.lstrip("# ") == line.lstrip("# ")
    assert comment.startswith("#")
    assert rest == ["x = 1", "%%time"]


READS_A_SCRIPT = """
import importlib.util, sys
from pathlib import Path
from nightmill.spec.notebook import read_notebook
assert len(read_notebook(Path(sys.argv[1])).cells) == 1
assert "jupytext" in sys.modules
assert "lark" not in sys.modules, "the grammar of addresses was loaded"
assert importlib.util.find_spec("rfc3987_syntax")
"""


def test_a_script_is_read_without_what_takes_long_to_import(save):
    """What jupytext does not need takes no second of a check, and others can import it later."""
    pytest.importorskip("rfc3987_syntax")
    path = save("# %%\nx = 1\n", "a.py")
    subprocess.run([sys.executable, "-c", READS_A_SCRIPT, str(path)], check=True, timeout=60)
