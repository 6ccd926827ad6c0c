"""Pydantic's verdict on a YAML file, put into an author's words with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from nightmill.spec.problems import Fault, Faults, KeyPath, gather, shown, suggest
from nightmill.spec.shapes import advise_list, advise_mapping

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from nightmill.spec.yaml_source import YamlSource

Model = TypeVar("Model", bound=BaseModel)

DOCUMENTED = {"pipeline.yaml": "; all of them are in docs/pipeline.md"}

WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "mapping_type": "keys and values",
    "model_type": "keys and values",
    "list_type": "a list",
    "tuple_type": "a list",
    "date_type": "a date like 2013-03-01",
}


def validate(model: type[Model], source: YamlSource) -> Model:
    """Make the model from the file's data.

    Raises SpecError for one fault, SpecErrors for all of several.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        faults = [fault for one in error.errors() for fault in _faults(one, model, source)]
        faults.sort(key=lambda fault: source.line(fault.at))
        raise gather(
            [source.error(fault.problem, fault.at, advice=fault.advice) for fault in faults]
        ) from None


def _faults(error: ErrorDetails, model: type[BaseModel], source: YamlSource) -> Iterator[Fault]:
    path = _written_path(error["loc"], source)
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, Faults):
        for fault in raised.faults:
            yield fault._replace(at=(*path, *fault.at))
    elif error["type"] == "missing":
        yield Fault(f"{shown(error['loc'][-1])} is missing", "add it", (*path, error["loc"][-1]))
    elif error["type"] == "extra_forbidden":
        word = str(error["loc"][-1])
        rest = DOCUMENTED.get(source.file.name, "")
        advice = suggest(word, _keys_at(model, path[:-1]), noun="known keys", rest=rest)
        yield Fault(f"unknown key {shown(word)}", advice, path)
    else:
        yield _plain(error, model, path)


def _written_path(loc: tuple[int | str, ...], source: YamlSource) -> KeyPath:
    """Drop what pydantic adds to a location (such as "[key]") and no file contains."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in source.values:
            path = (*path, part)
    return path


def _plain(error: ErrorDetails, model: type[BaseModel], path: KeyPath) -> Fault:
    given = error["input"]
    if error["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        advice = suggest(str(given), choices, noun="possible")
        return Fault(f"{shown(given)} is not possible here", advice, path)
    if error["type"] in WANTED:
        wanted = WANTED[error["type"]]
        known = _keys_at(model, path) if error["type"] == "model_type" else []
        problem = f"expected {wanted}, found {describe(given)}"
        return Fault(problem, _advice(wanted, given, path, known), path)
    return Fault(f"{error['msg'].lower()}, found {describe(given)}", at=path)


def _advice(wanted: str, given: Any, path: KeyPath, known: list[str]) -> str:
    if wanted == "keys and values":
        return advise_mapping(path, given, known)
    if wanted == "a list":
        return advise_list(path, given)
    is_one = given is not None and not isinstance(given, list | dict)
    return "put it between quotes" if wanted == "text" and is_one else ""


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    here: Any = model
    for part in path:
        fields = _fields(here)
        here = fields[str(part)] if fields else _inner(here)
    while not _fields(here) and get_args(here):  # a short form names no item of a list
        here = _inner(here)
    return list(_fields(here))


def _inner(here: Any) -> Any:
    """Give what a list or mapping holds; a `tuple[X, ...]` and an `X | None` name it first."""
    kinds = reversed(get_args(here))
    return next((kind for kind in kinds if kind not in (Ellipsis, type(None))), None)


def _fields(here: Any) -> Mapping[str, Any]:
    """Map the keys of a model to their annotations; nothing for what is no model."""
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return {}
    return {field.alias or name: field.annotation for name, field in here.model_fields.items()}


def describe(value: object) -> str:  # noqa: PLR0911 - a table of seven kinds
    """Say what kind of value was found: "the number 3", "a list", "nothing"."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {shown(str(value).lower())}"
        case int() | float():
            return f"the number {shown(value)}"
        case str():
            return f"the text {shown(value)}"
        case list() | tuple():
            return "a list"
        case dict():
            return "keys and values"
        case _:
            return f"{type(value).__name__} {shown(value)}"
