"""Values for parameters: checked before anything runs, read from text, and written as Python."""

from __future__ import annotations

import datetime as dt
import json
import math
import shlex
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import ContractError
from nightmill.spec.contract import read_contract
from nightmill.spec.notebook import Cell, SourceNotebook
from nightmill.spec.parameter_type import UnfitError
from nightmill.spec.parameters import check_given, check_parameters, parse_text, python_literal
from nightmill.spec.problems import each

PATH = Path("score.ipynb")
NAMESPACE = {"date": date, "datetime": dt, "dt": dt}


def contract(source: str, tag: str = "parameters"):
    """Read a parameters cell, the second cell of its notebook."""
    cells = (Cell(1, "markdown", "# Score"), Cell(2, "code", source, (tag,)))
    return read_contract(SourceNotebook(PATH, "", cells))


def parameter(declared: str):
    """Make the parameter that a line declares."""
    (found,) = contract(declared).parameters.values()
    return found


FITS = {
    # declaration: (a value, how it travels as JSON)
    "x: int": [(5, 5), (-1, -1), (10**30, 10**30)],
    "x: float": [(0.5, 0.5), (3, 3.0), (-0.0, -0.0), (math.inf, math.inf)],
    "x: str": [("007", "007"), ("", ""), ("a\nb", "a\nb"), ("\ud800", "\ud800")],
    "x: bool": [(True, True), (False, False)],
    "x: date": [("2013-03-01", "2013-03-01"), (date(2013, 3, 1), "2013-03-01")],
    "x: list": [([1, "a", None], [1, "a", None]), ((1, 2), [1, 2]),
                ([date(2013, 3, 1)], ["2013-03-01"])],
    "x: list[float]": [([1, 2.5], [1.0, 2.5]), ([], [])],
    "x: dict": [({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]})],
    "x: dict[str, date]": [({"a": date(2013, 3, 1)}, {"a": "2013-03-01"})],
    "x: dict[int, str]": [({1: "a"}, {"1": "a"}), ({"1": "a"}, {"1": "a"})],
    "x: dict[date, int]": [({date(2013, 3, 1): 1}, {"2013-03-01": 1})],
    "x: int | None": [(None, None), (5, 5)],
    "x: Optional[date]": [(None, None), ("2013-03-01", "2013-03-01")],
    "x: Literal['a', 1]": [("a", "a"), (1, 1)],
    "x: Literal['a', None]": [(None, None)],
    "x: Any": [(None, None), ([1], [1]), ({"a": date(2013, 3, 1)}, {"a": "2013-03-01"})],
    "x = None": [(5, 5), ("a", "a"), (None, None)],
    "x = 5": [(6, 6)],
    "x = 0.5": [(1, 1.0)],
    "x = f()": [(True, True)],
    "x: list[list[int]]": [([[1], []], [[1], []])],
}  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "value", "checked"), [(d, v, c) for d, pairs in FITS.items() for v, c in pairs]
)
def test_fits(declared, value, checked):
    """A value that fits comes out as JSON can hold it, with the type the annotation says."""
    found = check_parameters(contract(declared), {"x": value})
    assert found == {"x": checked}
    assert type(found["x"]) is type(checked)
    assert json.loads(json.dumps(found)) == found


UNFIT = {
    # declaration: (a value, what came, what is wanted)
    "x: int": [(True, "the truth value `true`", "int"), (5.0, "the number `5.0`", "int"),
               ("5", "the text `5`", "int"), (None, "nothing", "int"), ([], "a list", "int")],
    "x: float": [(True, "`true`", "float"), ("0.5", "`0.5`", "float"),
                 (10**400, "too large", "float")],
    "x: str": [(7, "the number `7`", "str"), (date(2013, 3, 1), "date", "str")],
    "x: bool": [(1, "the number `1`", "bool"), ("true", "the text", "bool")],
    "x: date": [("2013-3-1", "`2013-3-1`", "date"), ("20130301", "", "date"),
                (dt.datetime(2013, 3, 1, tzinfo=dt.UTC), "datetime", "date"),
                (20130301, "", "date")],
    "x: list[int]": [("abc", "the text `abc`", "list[int]"), ([1, "b"], "in item 2", "list[int]"),
                     ({1}, "set", "list[int]")],
    "x: list[list[int]]": [([[1], [2, True]], "`true` in item 2 in item 2", "list[list[int]]")],
    "x: dict": [([], "a list", "dict"), ({1: 2}, "the number `1` in a key", "dict")],
    "x: dict[str, int]": [({"a": "b"}, "in key `a`", "dict[str, int]")],
    "x: dict[int, int]": [({"a": 1}, "no whole number", "dict[int, int]")],
    "x: int | None": [("null", "the text `null`", "int or None")],
    "x: Literal['a', 1]": [(True, "", "one of 'a', 1"), ("b", "", "one of 'a', 1")],
    "x: Any": [({1, 2}, "set", "any"), (b"a", "bytes", "any"), ({1: 1}, "as a key", "any"),
               (dt.datetime(2013, 3, 1, tzinfo=dt.UTC), "datetime", "any")],
    "x: None": [(0, "`0`", "None")],
    "x = 5": [(5.5, "", "int"), (None, "", "int")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "value", "came", "wanted"),
    [(d, *row) for d, rows in UNFIT.items() for row in rows],
)
def test_unfit(declared, value, came, wanted):
    """A value of another type names its place in the notebook, what came, what is wanted."""
    with pytest.raises(ContractError) as caught:
        check_parameters(contract(f"\n{declared}"), {"x": value})
    error = caught.value
    assert (error.notebook, error.cell, error.line, error.parameter) == (PATH, 2, 2, "x")
    assert error.problem.startswith(f"wanted {wanted}, got ")
    assert came in error.problem


def test_unknown():
    """A misspelt parameter is an error that offers the right name."""
    with pytest.raises(ContractError) as caught:
        check_parameters(contract("alpha = 0.5"), {"alhpa": 0.1})
    error = caught.value
    assert (error.cell, error.parameter) == (2, "alhpa")
    assert (error.problem, error.advice) == ("unknown parameter `alhpa`", "did you mean `alpha`?")


def test_hostile_name():
    """A name of a megabyte or with control characters is shown short and on one line."""
    for name in ("x" * 10**6, "a\n\x1b[2Jb"):
        with pytest.raises(ContractError) as caught:
            check_parameters(contract("alpha = 0.5"), {name: 1})
        assert len(caught.value.problem) < 100
        assert caught.value.problem.isprintable()


def test_missing():
    """A parameter without a default must be given, now or, for a check of a part, later."""
    declared = contract("a: int\nb: int = 1")
    with pytest.raises(ContractError) as caught:
        check_parameters(declared, {"b": 2})
    assert (caught.value.line, caught.value.parameter) == (1, "a")
    assert "is required" in caught.value.problem
    assert check_given(declared, {"b": 2}) == {"b": 2}
    assert check_parameters(declared, {"a": 2}) == {"a": 2}


def test_all_at_once():
    """Every wrong parameter is reported, and each stays a ContractError."""
    with pytest.raises(ContractError) as caught:
        check_parameters(contract("a: int\nb: int = 1\nc: int"), {"b": "x", "d": 1, "a": 1})
    assert [e.parameter for e in each(caught.value)] == ["b", "d", "c"]
    assert (caught.value.cell, caught.value.line) == (2, 2)
    assert str(caught.value).count(str(PATH)) == 3


def test_no_parameters_cell():
    """Values for a notebook without tagged cell: the cell that looks like the one is named."""
    with pytest.raises(ContractError) as caught:
        check_parameters(contract("alpha = 0.5", "keep"), {"beta": 1, "alpha": 0.1})
    error = caught.value
    assert error.problem == "no cell is tagged `parameters`, so `beta`, `alpha` cannot be passed"
    assert (error.cell, error.parameter) == (2, "alpha")
    assert "cell 2 assigns `alpha` and looks like the one" in error.advice


def test_no_parameters_cell_and_no_guess():
    """Where no cell assigns the name, the advice is to tag one; without values all is well."""
    bare = contract("print(1)", "keep")
    with pytest.raises(ContractError) as caught:
        check_parameters(bare, {"alpha": 0.1})
    assert (caught.value.cell, caught.value.parameter) == (None, "alpha")
    assert caught.value.advice.startswith("tag the cell")
    assert check_parameters(bare, {}) == {}


def test_other_path():
    """Errors name the notebook as the caller knows it."""
    with pytest.raises(ContractError) as caught:
        check_parameters(contract("a = 1"), {"b": 1}, Path("elsewhere.ipynb"))
    assert caught.value.notebook == Path("elsewhere.ipynb")


TEXTS = {
    "x: int": [("5", 5), ("-5", -5), ("007", 7)],
    "x: float": [("5", 5.0), (".5", 0.5), ("1e-3", 0.001), ("-inf", -math.inf)],
    "x: str": [(text, text) for text in ("007", "null", "", " a ", "{{ ds }}")],
    "x: bool": [("true", True), ("false", False)],
    "x: date": [("2013-03-01", "2013-03-01")],
    "x: list[str]": [('["a", "1"]', ["a", "1"])],
    "x: dict[str, float]": [('{"a": 1}', {"a": 1.0})],
    "x: str | None": [("null", None), ("None", "None")],
    "x: Optional[list[int]]": [("null", None), ("[1]", [1])],
    "x: Literal['a', 1, True]": [("a", "a"), ("1", 1), ("true", True)],
    "x: Literal[1, '1']": [("1", 1)],
    "x: Any": [("5", 5), ("[1]", [1]), ("null", None), ("a b", "a b"), ("007", "007")],
    "x = None": [("true", True), ("2013-03-01", "2013-03-01")],
    "x: None": [("null", None)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "text", "value"), [(d, t, v) for d, pairs in TEXTS.items() for t, v in pairs]
)
def test_text(declared, text, value):
    """The text of a command line is read by the declared type."""
    found = parse_text(parameter(declared), text, PATH)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("declared", "text", "advice"),
    [("x: int", "5.0", ""), ("x: int", "1_000", ""), ("x: int", " 5", ""), ("x: int", "\u0665", ""),
     ("x: int", "null", ""), ("x: int", "9" * 5000, ""), ("x: float", "half", ""),
     ("x: float", "1_0.0", ""), ("x: bool", "1", "write true or false"),
     ("x: bool", "True", "write true or false"),
     ("x: date", "1 March", "write it like 2013-03-01"),
     ("x: date", "2013-02-30", "2013-02 has 28 days"),
     ("x: date | None", "1 March", "write it like 2013-03-01 or null"),
     ("x: int | None", "", "write null"), ("x: list", "a,b", 'write JSON like ["a", "b"]'),
     ("x: list[int]", '["a"]', 'write JSON like ["a", "b"]'),
     ("x: list", "[" * 100_000, 'write JSON like ["a", "b"]'),
     ("x: dict", "[1]", 'write JSON like {"a": 1}'), ("x: Literal['a', 'b']", "c", ""),
     ("x: None", "0", "write null")],
)  # fmt: skip
def test_bad_text(declared, text, advice):
    """A text that does not fit names the place, what is wanted, and how to write it."""
    with pytest.raises(ContractError) as caught:
        parse_text(parameter(declared), text, PATH)
    error = caught.value
    assert (error.notebook, error.cell, error.line, error.parameter) == (PATH, 2, 1, "x")
    assert error.problem.startswith("wanted ")
    assert error.advice == advice


HOSTILE = [
    r"C:\new\temp", "a\"b'c", "two\nlines", "{day}", "{{ ds }}", "$HOME", "ends in \\", "\u00e9",
    "\U0001f680", "'); import os #", '"""', "'''", "\r\n\t\0\x1b", "\u2028", "\udc80", "%s %(a)s",
    "\\N{BULLET}", "\ufeff", "`id`",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text(text):
    """Any text arrives exactly, as itself, in a list, as a key; the code is plain ASCII."""
    for declared, value in [("x: str", text), ("x: list[str]", [text]), ("x: dict", {text: text}),
                            ("x: Any", text), ("x = None", [text])]:  # fmt: skip
        code = python_literal(parameter(declared), value)
        assert code.isascii()
        assert code.isprintable()
        assert eval(code, {}) == value  # noqa: S307 - that it evaluates to the text is the promise
    assert shlex.split(shlex.quote(text)) == [text]


DATES = {
    "x: date": ("2013-03-01", date(2013, 3, 1), 'date.fromisoformat("2013-03-01")'),
    "x: dt.date": ("2013-03-01", date(2013, 3, 1), 'dt.date.fromisoformat("2013-03-01")'),
    "x: Optional[datetime.date]": ("2013-03-01", date(2013, 3, 1), None),
    "x: 'date | None'": (None, None, "None"),
    "x = datetime.date(2013, 1, 1)": (date(2013, 3, 1), date(2013, 3, 1), None),
    "x = dt.date.fromisoformat('2013-01-01')": ("2013-03-01", date(2013, 3, 1), None),
    "x: list[date]": (["2013-03-01"], [date(2013, 3, 1)], None),
    "x: dict[str, list[dt.date | None]]": (
        {"a": ["2013-03-01", None]},
        {"a": [date(2013, 3, 1), None]},
        None,
    ),
    "x: dict[date, int]": ({"2013-03-01": 1}, {date(2013, 3, 1): 1}, None),
    "x: dict[int, int]": ({"3": 1}, {3: 1}, "{3: 1}"),
    "x: str": ("2013-03-01", "2013-03-01", "'2013-03-01'"),
}


@pytest.mark.parametrize(("declared", "row"), DATES.items())
def test_arrives_as_annotated(declared, row):
    """A date arrives as a date where the annotation says so, by the author's own name for it."""
    value, arrives, code = row
    written = python_literal(parameter(declared), value)
    assert code is None or written == code
    assert eval(written, dict(NAMESPACE)) == arrives  # noqa: S307 - the promise is that it evaluates


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.1, -0.0, 1e300])
def test_floats(value):
    """Every float arrives, also those that have no literal."""
    arrived = eval(python_literal(parameter("x: float"), value), {})  # noqa: S307 - as above
    assert arrived == value or (math.isnan(arrived) and math.isnan(value))
    assert math.copysign(1, arrived) == math.copysign(1, value) or math.isnan(value)


def test_literal_refuses():
    """A value that does not fit is never written."""
    with pytest.raises(UnfitError):
        python_literal(parameter("x: int"), "1")


TEXT = st.text(alphabet=st.characters(exclude_categories=()))  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON)
def test_any_value_arrives(value):
    """Whatever JSON holds arrives equal through check, JSON text and Python code."""
    anything = contract("x = None")
    checked = json.loads(json.dumps(check_parameters(anything, {"x": value})))["x"]
    code = python_literal(anything.parameters["x"], checked)
    assert code.isascii()
    assert eval(code, {"inf": math.inf}) == value  # noqa: S307 - as above


@given(text=TEXT)
def test_any_text_of_the_command_line(text):
    """Text for a str parameter goes from the command line into the notebook unchanged."""
    found = parameter("x: str")
    assert eval(python_literal(found, parse_text(found, text, PATH)), {}) == text  # noqa: S307


@given(days=st.lists(st.dates(), max_size=4))
def test_any_dates(days):
    """Dates go through JSON and come back as dates."""
    found = contract("x: list[date]")
    checked = json.loads(json.dumps(check_parameters(found, {"x": days})))
    assert eval(python_literal(found.parameters["x"], checked["x"]), dict(NAMESPACE)) == days  # noqa: S307
