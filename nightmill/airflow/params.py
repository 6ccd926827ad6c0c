"""The form of a manual run: one field for each parameter that a person may change.

The fields are the union of what the notebooks of a pipeline declare, less what the runner sets.
Where notebooks agree on a parameter it is one field; where their types or defaults differ it is one
field a step, named `step.parameter`, as on the command line. Only what differs from the default
shown is passed on, so that a form sent as it was changes nothing. Pure: `dags` makes Airflow's
`Param` of each field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightmill.airflow.partition import PARTITION
from nightmill.errors import UsageError
from nightmill.spec.check import given_parameters
from nightmill.spec.contract import Computed, Contract, Parameter
from nightmill.spec.names import RESERVED
from nightmill.spec.parameter_type import UnfitError, check
from nightmill.spec.parameters import parse_text
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown, suggest

Contracts = Mapping[str, Contract]

_ANYTHING = ["string", "number", "boolean", "array", "object", "null"]
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "list": {"type": "array"},
    "dict": {"type": "object"},
    "any": {"type": _ANYTHING},
    "none": {"type": "null"},
}


@dataclass(frozen=True)
class FormField:
    """A field: the parameter and the steps it is for, and the default shown, which JSON can hold.

    A required parameter without a default has none here either.
    """

    parameter: Parameter
    steps: tuple[str, ...]
    default: Any = None
    has_default: bool = True
    help: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)


def form_fields(pipeline: Pipeline, contracts: Contracts) -> dict[str, FormField]:
    """Make the fields of a pipeline, by name, in the order of its steps and their cells."""
    wanted: dict[str, dict[str, FormField]] = {}
    for step, contract in contracts.items():
        made = pipeline.spec.steps[step]
        fixed = given_parameters(pipeline.spec, step, contract)
        for name, parameter in contract.parameters.items():
            if name not in (*RESERVED, *made.inputs, *made.outputs):
                wanted.setdefault(name, {})[step] = _field(parameter, step, fixed)
    return dict(pair for name, by_step in wanted.items() for pair in _together(name, by_step))


def overrides(
    pipeline: Pipeline, contracts: Contracts, step: str, conf: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the values of a run's `conf` that a step is to take; raises UsageError, ContractError.

    A value equal to the default shown is none. A name that no notebook declares is an error, and
    the same for every step, so that no part of the pipeline runs with a misspelt one ignored.
    """
    fields = form_fields(pipeline, contracts)
    found: dict[str, Any] = {}
    for name, value in conf.items():
        if name == PARTITION:
            continue
        only = name.rpartition(".")[0]
        for target in _targets(fields, name):
            is_meant = step in target.steps and only in ("", step)
            if is_meant and _is_changed(target, value):
                found[target.parameter.name] = _typed(target, value, contracts[step])
    return found


def _targets(fields: Mapping[str, FormField], name: str) -> list[FormField]:
    """Find the fields a name of `conf` means: one, or those of all steps that declare it."""
    if name in fields:
        return [fields[name]]
    step, _, inner = name.rpartition(".")
    alike = [
        one
        for one in fields.values()
        if one.parameter.name == inner and (not step or step in one.steps)
    ]
    if not alike:
        advice = suggest(name, [PARTITION, *fields], noun="parameters")
        raise UsageError(f"unknown parameter {shown(name)}", where="conf", advice=advice)
    return alike


def _is_changed(target: FormField, value: Any) -> bool:
    """Compare with the default shown; a form sends null for a text that was left empty."""
    if value is None and not target.parameter.type.takes_none:
        return False
    return not (target.has_default and value == target.default)


def _typed(target: FormField, value: Any, contract: Contract) -> Any:
    """Read the text that a form gives where the type is unknown, as the command line would."""
    if target.parameter.type.kind == "any" and isinstance(value, str):
        return parse_text(target.parameter, value, contract.notebook)
    return value


def _field(parameter: Parameter, step: str, fixed: Mapping[str, Any]) -> FormField:
    default = fixed.get(parameter.name, parameter.default)
    known = parameter.name in fixed or parameter.has_default
    shown_default, remark = _as_json(parameter, default)
    nullable = parameter.type.takes_none or (known and shown_default in (None, ""))
    return FormField(
        parameter=parameter,
        steps=(step,),
        default=shown_default,
        has_default=known,
        help=" ".join(part for part in (parameter.help, remark) if part),
        schema=_schema(parameter, nullable=nullable),
    )


def _as_json(parameter: Parameter, default: Any) -> tuple[Any, str]:
    """Give a default as a form can show it, and what to say where it cannot."""
    if isinstance(default, Computed):
        return None, f"Default: {default.source}, computed by the notebook."
    try:
        value = check(parameter.type, default)
        json.dumps(value, allow_nan=False)
    except (UnfitError, ValueError, TypeError):
        return None, "" if default is None else f"Default: {default!r}."
    return value, ""


def _schema(parameter: Parameter, *, nullable: bool) -> dict[str, Any]:
    kind = parameter.type
    if kind.kind == "literal":
        return {"enum": [*kind.choices, *([None] if nullable else [])]}
    schema = dict(_SCHEMAS[kind.kind])
    if kind.kind == "list" and kind.items:
        schema["items"] = {"type": _SCHEMAS.get(kind.items[0].kind, {}).get("type", _ANYTHING)}
    if nullable and isinstance(schema["type"], str) and schema["type"] != "null":
        schema["type"] = [schema["type"], "null"]
    return schema


def _together(name: str, by_step: Mapping[str, FormField]) -> list[tuple[str, FormField]]:
    """Join the fields of one name where type and default are the same, else name them by step."""
    first = next(iter(by_step.values()))
    if any(_face(one) != _face(first) for one in by_step.values()):
        return [(f"{step}.{name}", one) for step, one in by_step.items()]
    help_text = next((one.help for one in by_step.values() if one.help), "")
    joined = FormField(
        parameter=first.parameter,
        steps=tuple(by_step),
        default=first.default,
        has_default=first.has_default,
        help=help_text,
        schema=first.schema,
    )
    return [(name, joined)]


def _face(one: FormField) -> str:
    return json.dumps([one.schema, one.default, one.has_default])
