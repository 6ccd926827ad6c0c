"""The parameters cell read by ast: names, types, defaults, help, and every fault with its place."""

from __future__ import annotations

import json
import keyword
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import ContractError
from nightmill.spec.contract import Computed, read_contract
from nightmill.spec.notebook import Cell, SourceNotebook, read_notebook
from nightmill.spec.problems import each

PATH = Path("n.ipynb")


def notebook(*cells) -> SourceNotebook:
    """Make a notebook; a cell is its source, or (source, tags)."""
    pairs = [cell if isinstance(cell, tuple) else (cell, ()) for cell in cells]
    made = tuple(Cell(n, "code", source, tags) for n, (source, tags) in enumerate(pairs, 1))
    return SourceNotebook(PATH, "0" * 64, made)


def contract(source: str):
    """Read a parameters cell, the second cell of its notebook."""
    return read_contract(notebook("import x", (source, ("parameters",))))


def parameter(source: str):
    """Read a cell's only parameter."""
    (found,) = contract(source).parameters.values()
    return found


def fault(*cells) -> ContractError:
    """Read a notebook that is wrong."""
    with pytest.raises(ContractError) as caught:
        read_contract(notebook(*cells))
    return caught.value


def test_a_real_cell():
    """A cell as people write them: imports, comments, docstring, magics, annotations."""
    found = contract(
        '"""What tonight needs."""\n'
        "from datetime import date\n"
        "%matplotlib inline\n"
        "# The day to score,\n"
        "# in local time.\n"
        "partition: date = date(2013, 3, 1)\n"
        "\n"
        "# --- thresholds ---\n"
        "\n"
        "cut: float = 0.5  # above it is late\n"
        "airlines: list[str] = [\n"
        '    "AA",  # American\n'
        '    "UA",\n'
        "]  # carriers to score\n"
        'label = "a = b"\n'
        "limit: int\n"
    )
    assert found.cell == 2
    rows = [
        (p.name, str(p.type), p.default, p.has_default, p.help, p.line)
        for p in found.parameters.values()
    ]
    assert rows == [
        ("partition", "date", date(2013, 3, 1), True, "The day to score, in local time.", 6),
        ("cut", "float", 0.5, True, "above it is late", 10),
        ("airlines", "list[str]", ["AA", "UA"], True, "carriers to score", 11),
        ("label", "str", "a = b", True, "", 15),
        ("limit", "int", None, False, "", 16),
    ]
    assert found.parameters["airlines"].annotation == "list[str]"


ANNOTATIONS = {
    # annotation: what it is understood as
    "int": "int", "float": "float", "str": "str", "bool": "bool", "date": "date",
    "list": "list", "dict": "dict", "object": "any", "Any": "any", "typing.Any": "any",
    "datetime.date": "date", "dt.date": "date", "List[int]": "list[int]",
    "typing.List[date]": "list[date]", "dict[str, float]": "dict[str, float]",
    "Dict[int, list[str]]": "dict[int, list[str]]", "Optional[int]": "int or None",
    "typing.Optional[date]": "date or None", "int | None": "int or None",
    "None | str": "str or None", "Union[str, None]": "str or None", "None": "None",
    "Literal['a', 'b']": "one of 'a', 'b'", "typing.Literal[1, -2]": "one of 1, -2",
    "Literal['a', None]": "one of 'a' or None", "Optional[Literal[True]]": "one of True or None",
    "list[int | None]": "list[int or None]", "'int'": "int", "'date | None'": "date or None",
    "Annotated[int, 'help']": "int", "list[list[int]] | None": "list[list[int]] or None",
}  # fmt: skip


@pytest.mark.parametrize(("annotation", "understood"), ANNOTATIONS.items())
def test_annotations(annotation, understood):
    """Every annotation of the contract is understood, with any prefix and nested."""
    assert str(parameter(f"x: {annotation}").type) == understood


@pytest.mark.parametrize(
    "annotation",
    ["Path", "pd.DataFrame", "datetime", "datetime.datetime", "int | str", "Union[int, str]",
     "tuple[int, int]", "list[int, str]", "dict[str]", "dict[float, int]", "dict[str | None, int]",
     "Literal[1.5]", "Literal[X]", "Literal[b'a']", "Callable[[], int]", "'a b'", "f()", "np.int",
     "set[int]", "list[Path]", "int | str | None"],
)  # fmt: skip
def test_annotations_nobody_can_give(annotation):
    """An annotation that no value from outside satisfies is an error at its line."""
    error = fault("", (f"a = 1\nx: {annotation} = None", ("parameters",)))
    assert (error.cell, error.line, error.parameter) == (2, 2, "x")
    assert "use int, float" in error.advice


DEFAULTS = {
    "5": (5, "int"), "-5": (-5, "int"), "1_000": (1000, "int"), "0.5": (0.5, "float"),
    "1e6": (1e6, "float"), "'a'": ("a", "str"), "'a' 'b'": ("ab", "str"), "True": (True, "bool"),
    "None": (None, "any"), "[1, 'a']": ([1, "a"], "list"), "{'a': 1}": ({"a": 1}, "dict"),
    "(1, 2)": ((1, 2), "any"), "{1}": ({1}, "any"), "b'a'": (b"a", "any"),
    "date(2013, 1, 1)": (date(2013, 1, 1), "date"),
    "datetime.date(2013, month=1, day=1)": (date(2013, 1, 1), "date"),
    "date.fromisoformat('2013-01-01')": (date(2013, 1, 1), "date"),
    "datetime.date.fromisoformat('2013-01-01')": (date(2013, 1, 1), "date"),
    "date.today()": (Computed("date.today()"), "any"),
    "date(2013, 2, 30)": (Computed("date(2013, 2, 30)"), "any"),
    "date(year, 1, 1)": (Computed("date(year, 1, 1)"), "any"),
    "f'{x}'": (Computed("f'{x}'"), "any"), "1 + 1": (Computed("1 + 1"), "any"),
    "os.environ['A']": (Computed("os.environ['A']"), "any"), "f(1)": (Computed("f(1)"), "any"),
    "...": (Computed("..."), "any"), "!ls": (Computed("..."), "any"),
    "[x]": (Computed("[x]"), "any"), "{'a': '=', # c\n 'b': 2}": ({"a": "=", "b": 2}, "dict"),
    "'''a\n# no help\nb = 3'''": ("a\n# no help\nb = 3", "str"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), DEFAULTS.items())
def test_defaults(source, expected):
    """A default is its plain value, and tells the type where nothing is annotated."""
    found = parameter(f"x = {source}")
    default, kind = expected
    assert found.default == default
    assert type(found.default) is type(default)
    assert str(found.type) == kind
    assert found.has_default


def test_what_declares_nothing():
    """Only plain assignments at the top of the cell are parameters."""
    source = (
        "import os\nos.environ['A'] = '1'\nx.y = 2\nx.z: int = 3\nprint('a = 1')\n"
        "if True:\n    a = 1\nfor b in []:\n    c = 1\ndef f(d=1):\n    e = 2\n"
        "class G:\n    h = 1\nunknown += 1\n"
    )
    assert contract(source).parameters == {}


def test_chained_and_repeated():
    """`a = b = 3` declares both; a later assignment wins and keeps annotation and place."""
    found = contract("a: float = 1\nb = c = 3\na = 2").parameters
    assert list(found) == ["a", "b", "c"]
    assert (str(found["a"].type), found["a"].default, found["a"].line) == ("float", 2, 3)
    assert found["b"].default == found["c"].default == 3


def test_augmented():
    """A default that is changed after it was set is computed, and its annotation stays."""
    found = contract("a: int = 1  # help\na += 1\nb = 1\nb *= 2").parameters
    assert (str(found["a"].type), found["a"].default) == ("int", Computed("a += 1"))
    assert found["a"].help == "help"
    assert str(found["b"].type) == "any"


def test_tuple():
    """Unpacking into several names cannot be told apart, and every such line is reported."""
    error = fault(("a, b = 1, 2\nok = 1\n[c, d] = 3, 4", ("parameters",)))
    assert [(one.cell, one.line) for one in each(error)] == [(1, 1), (1, 3)]
    assert "its own line" in each(error)[0].advice


def test_two_cells():
    """Two tagged cells are an error that names both: the second would undo what is passed."""
    error = fault(("top_n = 3", ("parameters",)), "x = 1", ("cut = 0.9", ("parameters",)))
    assert "cells 1 and 3 are both tagged" in error.problem
    assert error.cell == 3
    error = fault(*[("a = 1", ("parameters",))] * 3)
    assert "cells 1 and 2 and 3 are all tagged" in error.problem


@pytest.mark.parametrize("tag", ["parameter", "Parameters", "PARAMETERS", "params", " parameters"])
def test_misspelt_tag(tag):
    """A tag that was meant to be `parameters` is an error that shows how to write it."""
    error = fault("", ("a = 1", (tag,)))
    assert (error.cell, "`parameters`" in error.advice) == (2, True)


def test_misspelt_tag_beside_the_right_one():
    """Where the right tag is there, other tags are the author's own business."""
    assert read_contract(notebook(("a = 1", ("parameters",)), ("", ("params",)))).cell == 1


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [("a = 1\nb = = 2", 2, "no valid Python"), ("%cd x\n\nb = (", 3, "no valid Python"),
     ("%%bash\na=1", 1, "is no Python")],
)  # fmt: skip
def test_broken_cell(source, line, words):
    """A cell that is no Python names cell and line."""
    error = fault("", "", (source, ("parameters",)))
    assert (error.notebook, error.cell, error.line) == (PATH, 3, line)
    assert words in error.problem


def test_tagged_markdown():
    """A tag on a markdown cell is an error, not an empty contract."""
    book = SourceNotebook(PATH, "", (Cell(1, "markdown", "# a", ("parameters",)),))
    with pytest.raises(ContractError, match="it is a markdown cell"):
        read_contract(book)


def test_no_cell():
    """Without a tagged cell there are no parameters, and what other cells assign is known."""
    found = read_contract(notebook("alpha = 0.5", "%%bash\nls", "x = (", "alpha = 1\nb: int = 2"))
    assert (found.cell, found.parameters) == (None, {})
    assert found.assigned_elsewhere == {"alpha": 1, "b": 4}


def test_empty_cell():
    """A tagged cell without assignments is a contract without parameters."""
    assert contract("# later\n").cell == 2


def test_case_3(tmp_path):
    """The real file of two parameters cells, read from disk, is refused."""
    path = tmp_path / "two.ipynb"
    tagged = {"tags": ["parameters"]}
    cells = [
        {"cell_type": "code", "metadata": tagged, "source": ["top_n = 3\n", "cut = 0.5"]},
        {"cell_type": "markdown", "metadata": {}, "source": "Between."},
        {"cell_type": "code", "metadata": tagged, "source": "cut = 0.9"},
    ]
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    with pytest.raises(ContractError, match="cells 1 and 3") as caught:
        read_contract(read_notebook(path))
    assert caught.value.notebook == path


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(values=st.dictionaries(NAMES, VALUES, min_size=1, max_size=5))
def test_any_literals(values):
    """Whatever literals a cell assigns, the reader tells their names, order, lines and values."""
    source = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    found = contract(source).parameters
    assert list(found) == list(values)
    assert {name: p.default for name, p in found.items()} == values
    assert [p.line for p in found.values()] == list(range(1, len(values) + 1))


@given(day=st.dates(), name=NAMES, comment=st.text(alphabet="abc =#'\"", max_size=12))
def test_any_date_and_comment(day, name, comment):
    """Any day and any comment come through, also with `=` and quotes in the comment."""
    source = f"{name}: date = date({day.year}, {day.month}, {day.day})  # {comment}"
    found = parameter(source)
    assert found.default == day
    assert found.help == comment.lstrip("#").strip() or comment.startswith((" ", "#"))


@given(source=st.text(alphabet="ab=1 \n:,.'\"#()[]{}%!?+-", max_size=60))
def test_any_cell(source):
    """Whatever stands in the cell, the answer is a contract or errors inside this cell."""
    errors = ()
    try:
        contract(source)
    except ContractError as error:
        errors = each(error)
    assert all(one.cell == 2 and one.line is not None for one in errors)
