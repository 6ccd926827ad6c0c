"""Values for a notebook's parameters: checked, read from a command line, written as Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nightmill.errors import ContractError
from nightmill.spec.contract import Contract, Parameter
from nightmill.spec.parameter_type import ParameterType, UnfitError, check, literal
from nightmill.spec.problems import gather, shown, suggest
from nightmill.spec.secret_reference import is_reference
from nightmill.spec.secret_shapes import holds_token
from nightmill.spec.units import ISO_DATE, no_date
from nightmill.spec.validation import describe


def check_parameters(
    contract: Contract, values: Mapping[str, object], path: Path | None = None
) -> dict[str, Any]:
    """Give the values as JSON can hold them, in the order given.

    Raises ContractError, or SpecErrors for several: unknown, missing and ill-typed parameters.
    """
    return _checked(contract, values, path, complete=True)


def check_given(
    contract: Contract, values: Mapping[str, object], path: Path | None = None
) -> dict[str, Any]:
    """Do as `check_parameters`, but let required parameters be given later."""
    return _checked(contract, values, path, complete=False)


def _checked(
    contract: Contract, values: Mapping[str, object], path: Path | None, *, complete: bool
) -> dict[str, Any]:
    path = path or contract.notebook
    if values and contract.cell is None:
        raise _no_cell(contract, values, path)
    checked: dict[str, Any] = {}
    errors: list[ContractError] = []
    for name, value in values.items():
        parameter = contract.parameters.get(name)
        try:
            if parameter is None:
                errors.append(unknown_parameter(contract, name, path))
            elif holds_secret(value):
                errors.append(typed_secret(path, parameter))
            else:
                checked[name] = check(parameter.type, value)
        except UnfitError as error:
            errors.append(_unfit(path, contract.parameters[name], str(error)))
    if complete:
        errors += _missing(contract, values, path)
    if errors:
        raise gather(errors)
    return checked


def holds_secret(value: object, is_secret: Callable[[str], bool] = holds_token) -> bool:
    """Say whether a text somewhere in a value is a secret, by its looks or as `is_secret` knows."""
    match value:
        case str():
            return is_secret(value)
        case list() | tuple():
            return any(holds_secret(item, is_secret) for item in value)
        case Mapping():
            return any(holds_secret(item, is_secret) for pair in value.items() for item in pair)
    return False


def typed_secret(path: Path, parameter: Parameter) -> ContractError:
    """Make the error for a secret given as a value: it would be in every record and log."""
    return parameter_error(
        path,
        parameter,
        "was given a secret itself, and a parameter is shown to everybody",
        "pass secret://NAME, with the name of an environment variable that holds it; "
        "`environment` in platform.yaml brings one into every pod. And change the secret: "
        "it has been seen",
    )


def _missing(contract: Contract, values: Mapping[str, object], path: Path) -> list[ContractError]:
    return [
        parameter_error(
            path, parameter, "is required and was not given", "give it, or a default in the cell"
        )
        for parameter in contract.parameters.values()
        if not parameter.has_default and parameter.name not in values
    ]


def _no_cell(contract: Contract, values: Mapping[str, object], path: Path) -> ContractError:
    names = ", ".join(shown(name) for name in values)
    guess = next((name for name in values if name in contract.assigned_elsewhere), None)
    advice = "tag the cell with the defaults `parameters` and save the notebook"
    cell = None
    if guess is not None:
        cell = contract.assigned_elsewhere[guess]
        advice = f"cell {cell} assigns {shown(guess)} and looks like the one: {advice}"
    return ContractError(
        f"no cell is tagged `parameters`, so {names} cannot be passed",
        notebook=path,
        cell=cell,
        parameter=next(iter(values)) if guess is None else guess,
        advice=advice,
    )


def unknown_parameter(contract: Contract, name: str, path: Path | None = None) -> ContractError:
    """Make the error for a name that the notebook does not declare."""
    return ContractError(
        f"unknown parameter {shown(name)}",
        notebook=path or contract.notebook,
        cell=contract.cell,
        parameter=name if len(name) <= 60 else f"{name[:57]}...",  # noqa: PLR2004 - readable
        advice=suggest(name, contract.parameters, noun="parameters"),
    )


def parameter_error(path: Path, parameter: Parameter, problem: str, advice: str) -> ContractError:
    """Make an error at the line that declares a parameter."""
    return ContractError(
        problem,
        notebook=path,
        cell=parameter.cell,
        line=parameter.line,
        parameter=parameter.name,
        advice=advice,
    )


def _unfit(path: Path, parameter: Parameter, came: str) -> ContractError:
    return parameter_error(path, parameter, f"wanted {parameter.type}, got {came}", "")


def python_literal(parameter: Parameter, value: object) -> str:
    """Write a value as the Python expression that arrives as what the annotation says.

    Raises UnfitError for a value that `check_parameters` would refuse.
    """
    return literal(parameter.type, value)


def parse_text(parameter: Parameter, text: str, path: Path) -> Any:
    """Read the text of `-p name=value` by the parameter's type; raises ContractError.

    Where the type is unknown, JSON is tried first, and what is none is taken as text.
    """
    wanted = parameter.type
    if wanted.optional and text == "null":
        return None
    if holds_secret(text):
        raise typed_secret(path, parameter)
    if is_reference(text):
        return _read_reference(parameter, text, path)
    try:
        return check(wanted, _READERS[wanted.kind](wanted, text))
    except (UnfitError, ValueError, KeyError, RecursionError):
        hint = _HINTS.get(wanted.kind, "")
        advice = " or ".join(part for part in (hint, "null" if wanted.optional else "") if part)
        advice = f"write {advice}" if advice else ""
        if wanted.kind == "date" and ISO_DATE.fullmatch(text):
            advice = no_date(text).advice
        problem = f"wanted {wanted}, got {describe(text)}"
        raise parameter_error(path, parameter, problem, advice) from None


def _read_reference(parameter: Parameter, text: str, path: Path) -> Any:
    try:
        return check(parameter.type, text)
    except UnfitError as error:
        raise _unfit(path, parameter, str(error)) from None


def _number(pattern: str, kind: Callable[[str], Any]) -> Callable[[ParameterType, str], Any]:
    def read(_: ParameterType, text: str) -> Any:
        # int() and float() also take "1_000", " 1 " and other scripts' digits.
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(text)
        return kind(text)

    return read


def _read_bool(_: ParameterType, text: str) -> bool:
    return {"true": True, "false": False}[text]


def _read_choice(wanted: ParameterType, text: str) -> Any:
    return {_choice_text(choice): choice for choice in reversed(wanted.choices)}[text]


def _choice_text(choice: object) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _read_any(_: ParameterType, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_json(_: ParameterType, text: str) -> Any:
    return json.loads(text)


def _read_text(_: ParameterType, text: str) -> str:
    return text


_READERS: Mapping[str, Callable[[ParameterType, str], Any]] = {
    "any": _read_any,
    "int": _number(r"[+-]?\d+", int),
    "float": _number(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", float),
    "str": _read_text,
    "bool": _read_bool,
    "date": _read_text,
    "list": _read_json,
    "dict": _read_json,
    "literal": _read_choice,
    "none": _read_json,
}
_HINTS = {
    "bool": "true or false",
    "date": "it like 2013-03-01",
    "list": 'JSON like ["a", "b"]',
    "dict": 'JSON like {"a": 1}',
    "none": "null",
}
