"""The form of a manual run: its fields from the notebooks, and what of it reaches which step."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nightmill.airflow.params import form_fields, overrides
from nightmill.errors import UsageError
from nightmill.spec.check import read_step_contract
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml

FIRST = """\
from datetime import date
from typing import Literal
partition: date = date(2013, 3, 1)
as_of: date = date(2013, 3, 1)
made: str = "made.parquet"
day: date = date(2013, 3, 1)  # a day of the past
mode: Literal["fast", "slow"] = "fast"  # how
names: list[str] = ["a", "b"]
numbers: list[int] = [1]
table: dict = {"a": 1}
note: str | None = None
flag: bool = True
rate: float = 0.5
cut: float = 0.5  # where to cut
anything = None
computed = 3 * len("abc")
endless: float = float("inf")
count: int = 3
"""
SECOND = """\
made: str = "made.parquet"
flag: bool = True
rate: float = 0.7
cut: float = 0.5
seed: int = 1
"""
YAML = """\
pipeline: p
parameters: {seed: 9}
steps:
  one: {notebook: one.ipynb, outputs: {made: made.parquet}, parameters: {count: 4}}
  two: {notebook: two.ipynb, inputs: [made]}
"""


@pytest.fixture
def pipeline(project):
    """Write and read a pipeline of two notebooks."""
    project.pipeline("p", "", one=[(FIRST, "parameters")], two=[(SECOND, "parameters")])
    source = read_yaml(project.write("notebooks/p/pipeline.yaml", YAML))
    return Pipeline(validate(PipelineSpec, source), source)


@pytest.fixture
def contracts(pipeline):
    """Read the contracts of both steps."""
    return {step: read_step_contract(pipeline, step) for step in pipeline.spec.steps}


FIELDS = {
    # name: schema, default, help
    "day": ({"type": "string", "format": "date"}, "2013-03-01", "a day of the past"),
    "mode": ({"enum": ["fast", "slow"]}, "fast", "how"),
    "names": ({"type": "array", "items": {"type": "string"}}, ["a", "b"], ""),
    "numbers": ({"type": "array", "items": {"type": "integer"}}, [1], ""),
    "table": ({"type": "object"}, {"a": 1}, ""),
    "note": ({"type": ["string", "null"]}, None, ""),
    "flag": ({"type": "boolean"}, True, ""),
    "one.rate": ({"type": "number"}, 0.5, ""),
    "two.rate": ({"type": "number"}, 0.7, ""),
    "cut": ({"type": "number"}, 0.5, "where to cut"),
    "anything": (
        {"type": ["string", "number", "boolean", "array", "object", "null"]}, None, ""),
    "computed": (
        {"type": ["string", "number", "boolean", "array", "object", "null"]}, None,
        "Default: 3 * len('abc'), computed by the notebook."),
    "endless": ({"type": ["number", "null"]}, None,
                "Default: float('inf'), computed by the notebook."),
    "count": ({"type": "integer"}, 4, ""),
    "seed": ({"type": "integer"}, 9, ""),
}  # fmt: skip


def test_fields(pipeline, contracts):
    """Each parameter is a field of its type with the default that a run would have.

    What the runner sets is none; what notebooks disagree on is a field of each step.
    """
    fields = form_fields(pipeline, contracts)
    assert {name: (dict(one.schema), one.default, one.help) for name, one in fields.items()} == (
        FIELDS
    )
    assert all(one.has_default for one in fields.values())
    assert fields["flag"].steps == ("one", "two")
    assert fields["one.rate"].steps == ("one",)


def test_a_required_parameter(project):
    """A parameter without a default has none in the form, so the form asks for it."""
    project.pipeline("q", "s: {notebook: s.ipynb}\n", s=[("x: int\ny: str | None", "parameters")])
    source = read_yaml(project.root / "notebooks/q/pipeline.yaml")
    pipeline = Pipeline(validate(PipelineSpec, source), source)
    fields = form_fields(pipeline, {"s": read_step_contract(pipeline, "s")})
    assert [one.has_default for one in fields.values()] == [False, False]
    assert fields["x"].schema == {"type": "integer"}


CHANGED = {
    # conf: what step one gets, what step two gets
    "nothing": ({}, {}, {}),
    "partition": ({"partition": "2013-03-05"}, {}, {}),
    "as shown": ({"day": "2013-03-01", "cut": 0.5, "one.rate": 0.5, "note": None}, {}, {}),
    "shared": ({"cut": 0.6}, {"cut": 0.6}, {"cut": 0.6}),
    "one's own": ({"day": "2013-03-02"}, {"day": "2013-03-02"}, {}),
    "of a step": ({"one.rate": 0.9}, {"rate": 0.9}, {}),
    "of all steps": ({"rate": 0.9}, {"rate": 0.9}, {"rate": 0.9}),
    "of all steps, one as it is": ({"rate": 0.7}, {"rate": 0.7}, {}),
    "shared, of a step": ({"two.cut": 0.6}, {}, {"cut": 0.6}),
    "from the file": ({"count": 3, "seed": 9}, {"count": 3}, {}),
    "text for anything": ({"anything": "[1, 2]"}, {"anything": [1, 2]}, {}),
    "words for anything": ({"anything": "hello"}, {"anything": "hello"}, {}),
    "false is a change": ({"flag": False}, {"flag": False}, {"flag": False}),
    "templates stay text": ({"note": "{{ ds }}"}, {"note": "{{ ds }}"}, {}),
}


@pytest.mark.parametrize(("conf", "one", "two"), CHANGED.values(), ids=CHANGED)
def test_overrides(pipeline, contracts, conf, one, two):
    """A step takes what its notebook declares and somebody changed, and nothing else."""
    assert overrides(pipeline, contracts, "one", conf) == one
    assert overrides(pipeline, contracts, "two", conf) == two


UNKNOWN = {
    "misspelt": ("cutt", "did you mean `cut`?"),
    "misspelt partition": ("partitoin", "did you mean `partition`?"),
    "an output": ("made", ""),
    "the runner's": ("as_of", ""),
    "no such step": ("three.rate", "rate`?"),
}


@pytest.mark.parametrize(("name", "advice"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names(pipeline, contracts, name, advice):
    """A name that no notebook declares is an error of every step."""
    for step in ("one", "two"):
        with pytest.raises(UsageError, match="unknown parameter") as caught:
            overrides(pipeline, contracts, step, {name: 1})
        assert advice in caught.value.advice


def test_bad_text_for_anything_typed(pipeline, contracts):
    """Text is read as JSON only where the type is unknown; elsewhere it stays what was typed."""
    assert overrides(pipeline, contracts, "one", {"note": "5"}) == {"note": "5"}


def test_is_pure():
    """The form is made without a word of Airflow."""
    source = importlib.util.find_spec("nightmill.airflow.params").origin
    assert "from airflow" not in Path(source).read_text(encoding="utf-8")
