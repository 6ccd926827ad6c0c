"""Remarks on a step beside its notebook: members that are all the same, odd defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightmill.spec.contract import read_contract
from nightmill.spec.notebook import Cell, SourceNotebook
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.step_lint import lint_step


def lint(parameters: str, *sources: str, **keys):
    """Lint the step `s`, with these keys, of a notebook with these cells."""
    cells = [Cell(1, "code", parameters, ("parameters",))]
    cells += [Cell(number, "code", source) for number, source in enumerate(sources, 2)]
    notebook = SourceNotebook(Path("n.ipynb"), "", tuple(cells))
    step = StepSpec.model_validate({"notebook": "n.ipynb", **keys})
    return list(lint_step("s", step, notebook, read_contract(notebook)))


def test_members_that_are_not_told_apart():
    """Members of a notebook without the parameter `member` all do the same: a remark."""
    (found,) = lint("x = 1", "print(x)", members=3)
    assert (found.rule, found.level, found.cell) == ("members", "warning", 1)
    assert "the step `s` has 3 members and no parameter `member`, so all" in found.problem
    assert found.advice == "add `member: str = ...` to the cell"


def test_a_member_that_nothing_assigns():
    """A notebook that reads `member` and never gets it fails for certain: an error at its cell."""
    (found,) = lint("x = 1", "y = 1", "print(member)", members=["north", "south"])
    assert (found.level, found.cell) == ("error", 3)
    assert "nothing assigns what is read here" in found.problem


@pytest.mark.parametrize(
    "source",
    ["member = 1\nprint(member)", "for member in x: print(member)", "from m import *\nmember",
     "import member\nmember.f()", "def f(member): return member"],
)  # fmt: skip
def test_a_member_that_is_assigned(source):
    """A notebook with a `member` of its own may be right, and only its steps are alike."""
    assert [found.level for found in lint("x = 1", source, members=2)] == ["warning"]


def test_members_that_are_told_apart():
    """With the parameter, or without members, there is nothing to say."""
    assert lint("member: str = ''", "print(member)", members=2) == []
    assert lint("x = 1", "print(member)") == []


ODD = {
    "text for int": ('x: int = "50"', "the default of `x` is the text `50`", "says int"),
    "float for int": ("x: int = 0.5", "is the number `0.5`", "says int"),
    "int for text": ("x: str = 5", "is the number `5`", "says str"),
    "int for bool": ("x: bool = 1", "is the number `1`", "says bool"),
    "no such choice": ("x: Literal['a'] = 'b'", "is the text `b`", "says one of 'a'"),
    "no date": ("x: date = '1 March'", "is the text `1 March`", "says date"),
    "text for a list": ("x: list[str] = 'a'", "is the text `a`", "says list[str]"),
    "a list for a dict": ("x: dict = []", "is a list", "says dict"),
}


@pytest.mark.parametrize(("source", "problem", "annotation"), ODD.values(), ids=ODD)
def test_a_default_against_its_annotation(source, problem, annotation):
    """A default of another type than the annotation is told at its line."""
    (found,) = lint(f"y = 1\n{source}")
    assert (found.rule, found.level, found.cell, found.line) == ("default", "warning", 1, 2)
    assert problem in found.problem
    assert found.problem.endswith(annotation)
    assert found.advice


@pytest.mark.parametrize(
    "source",
    ["x: int = None", "x: int | None = None", "x: float = 1", "x: int = 5 * 10", "x: int = f()",
     "x = '50'", "x: int", "x: list[int] = (1, 2)", "x: dict = {1: 2}", "x: object = b''",
     "x: Any = {1}", "x: date = date(2013, 3, 1)", "x: str = ...", "partition: date = ''"],
)  # fmt: skip
def test_a_default_that_may_be_meant(source):
    """None, what is computed, what the runner sets and what has no annotation are left alone."""
    assert lint(source) == []


def test_addresses_have_any_default():
    """The default of an input or output is never used at night."""
    assert lint("a: str = 1\nb: str = 1", inputs=["a"], outputs={"b": "b.csv"}) == []
