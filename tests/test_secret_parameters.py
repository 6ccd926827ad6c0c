"""`secret://NAME` as a parameter: a reference everywhere, a secret only inside the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nightmill.airflow.params import form_fields, overrides
from nightmill.errors import ContractError, SpecError
from nightmill.spec.check import check_pipeline
from nightmill.spec.contract import Contract, read_contract
from nightmill.spec.notebook import read_notebook
from nightmill.spec.parameters import check_given, check_parameters, parse_text, python_literal
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import each
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml
from nightmill.step.secret_parameters import check_secrets
from tests.conftest import notebook_json

TOKEN = "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a"
CELL = """\
text: str = "t"
maybe: str | None = None
bare = None
number: int = 1
day: date = date(2013, 3, 1)
names: list[str] = []
table: dict[str, str] = {}
choice: Literal["a", "b"] = "a"
free: dict = {}
"""


@pytest.fixture
def contract(tmp_path) -> Contract:
    """Read the contract of a notebook with a parameter of each type."""
    return contract_of(tmp_path, CELL)


def contract_of(folder: Path, cell: str) -> Contract:
    """Read the contract of a notebook with this parameters cell."""
    path = folder / "n.ipynb"
    path.write_text(notebook_json([(cell, "parameters")]), encoding="utf-8")
    return read_contract(read_notebook(path))


@pytest.mark.parametrize("name", ["text", "maybe", "bare"])
def test_a_reference_stays_one(contract, name):
    """From the command line and a file the value is the reference; the kernel reads a variable."""
    parameter = contract.parameters[name]
    read = parse_text(parameter, "secret://DB_PASSWORD", contract.notebook)
    assert check_parameters(contract, {name: read}) == {name: "secret://DB_PASSWORD"}
    assert python_literal(parameter, read) == '__import__("os").environ["DB_PASSWORD"]'


def test_the_expression_gives_the_secret_and_leaves_no_name(contract, monkeypatch):
    """What the notebook runs sets its parameter and nothing else."""
    monkeypatch.setenv("DB_PASSWORD", 'it\'s "so"')
    names: dict[str, object] = {"__builtins__": __builtins__}
    code = python_literal(contract.parameters["text"], "secret://DB_PASSWORD")
    exec(f"text = {code}", names)  # noqa: S102 - what the kernel does with it
    assert names.keys() == {"__builtins__", "text"}
    assert names["text"] == os.environ["DB_PASSWORD"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("number", "secret://N", "wanted int, got a reference to a secret"),
        ("day", "secret://N", "wanted date, got a reference to a secret"),
        ("choice", "secret://N", "a reference to a secret"),
        ("names", ["a", "secret://N"], "item 2, where only a whole value can be one"),
        ("table", {"k": "secret://N"}, "key `k`, where only a whole value can be one"),
        ("free", {"k": ["secret://N"]}, "item 1, where only a whole value can be one"),
        ("bare", ["secret://N"], "item 1, where only a whole value can be one"),
        ("text", "secret://", "names no variable: write secret://NAME"),
        ("text", 'secret://N"]; import os #', "names no variable"),
        ("text", "secret://a b", "names no variable"),
    ],
)
def test_a_reference_in_the_wrong_place_is_an_error(contract, name, value, says):
    """Only a parameter that takes text takes a reference, and only as a whole."""
    with pytest.raises(ContractError) as raised:
        check_given(contract, {name: value})
    assert says in raised.value.problem
    assert raised.value.parameter == name


@pytest.mark.parametrize(("name", "text"), [("number", "secret://N"), ("names", "secret://N")])
def test_so_it_is_on_the_command_line(contract, name, text):
    """`-p number=secret://N` says that the parameter takes no reference."""
    with pytest.raises(ContractError, match="a reference to a secret"):
        parse_text(contract.parameters[name], text, contract.notebook)


def test_a_default_is_no_reference(tmp_path):
    """A default is read by the kernel as text, so one that refers to a secret is an error."""
    with pytest.raises(ContractError, match="no reference to a secret") as raised:
        contract_of(tmp_path, 'password: str = "secret://DB_PASSWORD"')
    assert "os.environ" in raised.value.advice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", TOKEN),
        ("text", f"see {TOKEN}."),
        ("bare", {"a": [TOKEN]}),
        ("free", {TOKEN: 1}),
        ("number", TOKEN),
        ("text", "postgresql://me:hunter@db/x"),
        ("text", "-----BEGIN PRIVATE KEY-----\nMIIB"),
    ],
)
def test_a_typed_secret_is_an_error_that_does_not_repeat_it(contract, name, value):
    """What looks like a secret is refused as a value, with advice, and is not shown."""
    with pytest.raises(ContractError) as raised:
        check_given(contract, {name: value})
    assert "secret://NAME" in raised.value.advice
    assert "platform.yaml" in raised.value.advice
    for secret in (TOKEN, "hunter", "MIIB"):
        assert secret not in str(raised.value)


@pytest.mark.parametrize("name", ["text", "number", "names", "day", "choice"])
def test_a_typed_secret_is_refused_on_the_command_line(contract, name):
    """`-p name=<token>` is refused before its type is looked at, and is not shown."""
    with pytest.raises(ContractError) as raised:
        parse_text(contract.parameters[name], TOKEN, contract.notebook)
    assert "was given a secret itself" in raised.value.problem
    assert TOKEN not in str(raised.value)


def pipeline_of(folder: Path, parameters: str) -> Pipeline:
    """Read a pipeline of one step that gives these parameters."""
    (folder / "n.ipynb").write_text(notebook_json([(CELL, "parameters")]), encoding="utf-8")
    text = f"pipeline: p\nsteps:\n  s:\n    notebook: n.ipynb\n    parameters: {parameters}\n"
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    source = read_yaml(folder / "pipeline.yaml")
    return Pipeline(validate(PipelineSpec, source), source)


def test_check_refuses_a_secret_in_the_file(tmp_path):
    """`nightmill check` finds a secret in pipeline.yaml, says where, and does not repeat it."""
    (error,) = check_pipeline(pipeline_of(tmp_path, f"{{text: {TOKEN}}}"))
    assert "was given a secret itself" in error.problem
    assert "pipeline.yaml:5" in error.problem
    assert TOKEN not in str(error)


def test_check_takes_a_reference_in_the_file(tmp_path):
    """A reference in pipeline.yaml is no fault."""
    assert check_pipeline(pipeline_of(tmp_path, '{text: "secret://DB", maybe: secret://X}')) == []


def test_airflows_form_shows_and_passes_references(tmp_path):
    """The form shows the reference as default; one that is typed there arrives as a reference."""
    pipeline = pipeline_of(tmp_path, "{text: secret://DB}")
    contracts = {"s": read_contract(read_notebook(tmp_path / "n.ipynb"))}
    assert form_fields(pipeline, contracts)["text"].default == "secret://DB"
    given = overrides(pipeline, contracts, "s", {"maybe": "secret://A", "bare": "secret://B"})
    assert given == {"maybe": "secret://A", "bare": "secret://B"}
    assert check_given(contracts["s"], given) == given


# -- against the environment ----------------------------------------------------------------------


def test_what_is_there_passes(contract):
    """References to variables that are set, and ordinary values, are right."""
    values = {"text": "secret://DB_PASSWORD", "maybe": "plain", "number": 3, "names": ["x"]}
    check_secrets(contract, values, {"DB_PASSWORD": "hunter-two"})


@pytest.mark.parametrize("environ", [{}, {"DB_PASSWORD": ""}, {"OTHER": "x"}])
def test_a_variable_that_is_missing_is_named(contract, environ):
    """The error names parameter and variable, and platform.yaml as the place to add it."""
    with pytest.raises(ContractError) as raised:
        check_secrets(contract, {"text": "secret://DB_PASSWORD"}, environ)
    assert raised.value.parameter == "text"
    assert "`DB_PASSWORD`" in raised.value.problem
    assert "`environment` in platform.yaml" in raised.value.advice


@pytest.mark.parametrize(
    "values",
    [
        {"text": "hunter-two"},
        {"text": "postgres://db?x=hunter-two"},
        {"names": ["a", "hunter-two"]},
        {"free": {"a": {"b": "hunter-two"}}},
    ],
)
def test_a_known_secret_is_refused_as_a_value(contract, values):
    """The value of a secret of the environment is no parameter, and is not repeated."""
    with pytest.raises(SpecError) as raised:
        check_secrets(contract, values, {"DB_PASSWORD": "hunter-two"})
    assert "secret://NAME" in raised.value.advice
    assert "hunter-two" not in str(raised.value)


@pytest.mark.parametrize(
    ("secret", "text"), [("test", "test"), ("ab12x", "s3://bucket/ab12xy"), ("", "")]
)
def test_chance_is_no_secret(contract, secret, text):
    """A weak secret, or a short one inside another text, refuses no run."""
    check_secrets(contract, {"text": text}, {"DB_PASSWORD": secret})


def test_all_faults_are_told_at_once(contract):
    """Two missing variables are two errors in one look."""
    values = {"text": "secret://ONE", "maybe": "secret://TWO"}
    with pytest.raises(ContractError) as raised:
        check_secrets(contract, values, {})
    assert [error.parameter for error in each(raised.value)] == ["text", "maybe"]
