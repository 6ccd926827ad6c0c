"""Steps held against their notebooks before anything runs."""

from __future__ import annotations

import json

import pytest

from nightmill.errors import ContractError
from nightmill.spec.check import (
    check_pipeline,
    given_parameters,
    read_step_contract,
    require_step,
)
from nightmill.spec.problems import each
from nightmill.spec.project import Project

GOOD = "partition = '2013-03-01'\nmodel: str = 'm'\nbefore: str | None = None\nscores: str = 's'\n"
HEAD = (
    "pipeline: p\nsteps:\n  score:\n    notebook: score.ipynb\n"
    "    inputs:\n      model: {from: model}\n"
    "      before: {from: scores, version: previous_partition, optional: true}\n"
    "    outputs: {scores: scores.parquet}\n"
)
TAIL = "  train:\n    notebook: train.ipynb\n    outputs: {model: m.json}\n"


@pytest.fixture
def make(tmp_path):
    """Make the pipeline `p` of two steps; the cell of `score` and extra YAML are given."""

    def _make(cell: str | None = GOOD, *, top: str = "", step: str = "", tag: str = "parameters"):
        folder = tmp_path / "notebooks" / "p"
        folder.mkdir(parents=True)
        (tmp_path / "kernels" / "k").mkdir(parents=True)
        (tmp_path / "kernels" / "k" / "requirements.txt").touch()
        text = HEAD.replace("steps:", f"{top}steps:") + step + TAIL
        (folder / "pipeline.yaml").write_text(text)
        for name, source in (("train", "model: str = 'm'\nthreads: int = 1"), ("score", cell)):
            made = {"cell_type": "code", "metadata": {"tags": [tag]}, "source": source}
            book = {"nbformat": 4, "metadata": {}, "cells": [made]}
            (folder / f"{name}.ipynb").write_text("" if source is None else json.dumps(book))
        return Project.load(tmp_path).pipeline("p")

    return _make


def only(pipeline):
    """Give the only error of a pipeline."""
    (error,) = check_pipeline(pipeline)
    return error


def test_good(make):
    """A step whose notebook declares all that it is given has no errors."""
    pipeline = make()
    assert check_pipeline(pipeline) == []
    assert require_step(pipeline, "score").cell == 1


DECLARED = {
    # the cell, the parameter, its line, words of the problem, words of the advice
    "input": (GOOD.replace("model", "modle"), "model", None, "the input `model` is not declared",
              "add `model: str = ...` to the cell"),
    "output": (GOOD.replace("scores", "score"), "scores", None, "the output `scores`",
               "add `scores: str = ...`"),
    "optional": (GOOD.replace("before", "prior"), "before", None, "the input `before`",
                 "add `before: str | None = ...`"),
    "number": (GOOD.replace("model: str = 'm'", "model = 5"), "model", 2,
               "wanted int, but the input of this name is an address", "`model: str = ...`"),
    "not optional": (GOOD.replace("str | None = None", "str = ''"), "before", 3,
                     "the optional input of this name is an address or None",
                     "`before: str | None"),
    "inferred": (GOOD.replace(": str | None = None", " = ''"), "before", 3, "or None", ""),
    "partition": (GOOD.replace("'2013-03-01'", "5"), "partition", 1,
                  "wanted int, but the runner gives date", "`partition: date = ...`"),
    "as_of": (GOOD + "as_of: list = []", "as_of", 5, "wanted list, but the runner gives date", ""),
}  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "parameter", "line", "words", "advice"), DECLARED.values(), ids=DECLARED
)
def test_declared(make, cell, parameter, line, words, advice):
    """An input, output or partition that the notebook does not take is an error in its cell."""
    pipeline = make(cell)
    error = only(pipeline)
    assert error.notebook == pipeline.notebook("score")
    assert (error.cell, error.line, error.parameter) == (1, line, parameter)
    assert words in error.problem
    assert advice in error.advice
    with pytest.raises(ContractError):
        require_step(pipeline, "score")


@pytest.mark.parametrize("annotation", ["date", "'date'", "datetime.date", "Optional[date]", "str"])
def test_date_partition(make, annotation):
    """A date partition arrives as a date or as its text, as the notebook wants it."""
    assert check_pipeline(make(GOOD + f"partition: {annotation}\nas_of: {annotation}")) == []


def test_text_partition(tmp_path, make):
    """A text partition needs a parameter that takes text."""
    step = HEAD.split("    inputs:", maxsplit=1)[0]
    pipeline = make(GOOD)
    text = "partition: text\n" + step + "    outputs: {scores: s}\n"
    (pipeline.folder / "pipeline.yaml").write_text(text)
    book = json.loads((pipeline.folder / "score.ipynb").read_text())
    book["cells"][0]["source"] = "partition: date = None\nscores = ''"
    (pipeline.folder / "score.ipynb").write_text(json.dumps(book))
    error = only(Project.load(tmp_path).pipeline("p"))
    assert "wanted date, but the runner gives str" in error.problem


def test_step_parameters(make):
    """A step's own parameters must be declared and fit; the error tells both places."""
    pipeline = make(
        GOOD + "cut: float = 0.5", step="    parameters:\n      cut: high\n      ctu: 1\n"
    )
    errors = check_pipeline(pipeline)
    assert [e.parameter for e in errors] == ["cut", "ctu"]
    assert (errors[0].cell, errors[0].line) == (1, 5)
    assert errors[0].problem == f"wanted float, got the text `high` (given in {pipeline.file}:10)"
    assert errors[1].problem == f"unknown parameter `ctu` (given in {pipeline.file}:11)"
    assert errors[1].advice == "did you mean `cut`?"


def test_pipeline_parameters(make):
    """A pipeline's parameters go to the steps that declare them, and a step's own win."""
    pipeline = make(
        GOOD + "threads: int = 1\ncut = 0.5",
        top="parameters: {threads: 4}\n",
        step="    parameters: {threads: 2, cut: 0.1}\n",
    )
    assert check_pipeline(pipeline) == []
    given = {
        step: given_parameters(pipeline.spec, step, read_step_contract(pipeline, step))
        for step in ("score", "train")
    }
    assert given == {"score": {"threads": 2, "cut": 0.1}, "train": {"threads": 4}}


def test_pipeline_parameter_nobody_declares(make):
    """A parameter of the pipeline that no notebook declares is an error in pipeline.yaml."""
    error = only(make(top="parameters:\n  threds: 4\n"))
    assert (error.line, error.key) == (3, "parameters.threds")
    assert error.advice == "did you mean `threads`?"


def test_ill_typed_pipeline_parameter(make):
    """A pipeline's value that does not fit points at the pipeline's line."""
    error = only(make(top="parameters:\n  threads: many\n"))
    assert error.notebook.name == "train.ipynb"
    assert error.problem.endswith("pipeline.yaml:3)")


@pytest.mark.parametrize(
    ("top", "count"), [("", 0), ("schedule: '@daily'\nstart: 2013-01-01\n", 1)]
)
def test_required_at_night(make, top, count):
    """A required parameter needs a value in pipeline.yaml where nobody is there to pass one."""
    errors = check_pipeline(make(GOOD + "cut: float", top=top))
    assert len(errors) == count
    assert all("has no default" in e.problem and e.line == 5 for e in errors)


def test_no_tagged_cell(make):
    """Without a tagged cell every name is told, with the advice to tag one."""
    errors = check_pipeline(make(tag="keep"))
    names = [error.parameter for error in errors]
    assert names == ["model", "before", "scores", "model"]
    assert all("tag that cell `parameters`" in error.advice for error in errors)


def test_broken_notebook(make):
    """A notebook that is no JSON is one error, and other steps are still checked."""
    pipeline = make(None, top="parameters: {thredas: 1}\n")
    error = only(pipeline)
    assert "the file is empty" in error.problem
    with pytest.raises(ContractError):
        require_step(pipeline, "score")


def test_several_raise_together(make):
    """All errors of a step are raised at once."""
    with pytest.raises(ContractError) as caught:
        require_step(make("x = 1"), "score")
    assert len(each(caught.value)) == 3
