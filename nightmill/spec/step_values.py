"""Which value each parameter of a step's notebook gets, and where it comes from.

The later wins: defaults in the notebook, `parameters:` of the pipeline (for notebooks that declare
the name), `parameters:` of the step, values of the command line. The runner adds `partition` and
`as_of` where they are declared, and the addresses of inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nightmill.errors import UsageError
from nightmill.spec.check import given_parameters, read_step_contract
from nightmill.spec.contract import Contract
from nightmill.spec.graph import InputSource
from nightmill.spec.names import RESERVED
from nightmill.spec.parameters import check_given, check_parameters, parse_text, unknown_parameter
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown, suggest

Address = str | dict[str, str] | None

PLACEHOLDER = "set by the runner"


def step_values(  # noqa: PLR0913 - one value from each place it can come from
    pipeline: Pipeline,
    step: str,
    contract: Contract,
    *,
    given: Mapping[str, Any],
    built_in: Mapping[str, str],
    addresses: Mapping[str, Address],
) -> dict[str, Any]:
    """Return the checked, JSON-able value of every parameter that is passed.

    `built_in` holds partition, as_of and, for a step with members, member. Placeholders for
    `addresses` are enough to find every error before anything runs. Raises ContractError.
    """
    clock = {
        name: built_in[name]
        for name in RESERVED
        if name in contract.parameters and name in built_in
    }
    fixed = given_parameters(pipeline.spec, step, contract)
    merged = {**clock, **fixed, **given, **addresses}
    return check_parameters(contract, merged)


def placeholders(outputs: Iterable[str], sources: Iterable[InputSource]) -> dict[str, Address]:
    """Return something of the right kind for every address that is not known yet."""
    found: dict[str, Address] = dict.fromkeys(outputs, PLACEHOLDER)
    for source in sources:
        found[source.parameter] = dict.fromkeys(source.members, PLACEHOLDER) or PLACEHOLDER
    return found


def read_overrides(
    pipeline: Pipeline, steps: Iterable[str], texts: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Read `name=value` and `step.name=value` of a command line, for each step it concerns.

    Raises UsageError for text that is no assignment, ContractError for what no notebook takes.
    """
    contracts = {step: read_step_contract(pipeline, step) for step in steps}
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{shown(text)} is no parameter", advice="write -p name=value")
        step, dot, inner = name.partition(".")
        concerned = {step: contracts[step]} if dot and step in contracts else contracts
        inner = inner if dot and step in contracts else name
        _refuse_runners_own(pipeline, inner)
        for target in _declaring(inner, concerned):
            parameter = contracts[target].parameters[inner]
            typed = parse_text(parameter, value, contracts[target].notebook)
            found.setdefault(target, {})[inner] = typed
    return found


def _refuse_runners_own(pipeline: Pipeline, name: str) -> None:
    if name in RESERVED:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{shown(name)} is no parameter to pass", advice=f"use {flag}")
    for step, spec in pipeline.spec.steps.items():
        if name in spec.inputs or name in spec.outputs:
            raise UsageError(
                f"{shown(name)} is an input or output of the step {shown(step)}: its address is "
                "set by the runner",
                advice="change `inputs` or `outputs` in pipeline.yaml",
            )


def _declaring(name: str, contracts: Mapping[str, Contract]) -> list[str]:
    """Return the steps whose notebook declares the name; raises ContractError if none does."""
    declaring = [step for step, contract in contracts.items() if name in contract.parameters]
    if declaring:
        return declaring
    for contract in contracts.values():
        if contract.cell is None and (len(contracts) == 1 or name in contract.assigned_elsewhere):
            check_given(contract, {name: ""})  # raises, and names the cell that looks like the one
    known = sorted({known for contract in contracts.values() for known in contract.parameters})
    error = unknown_parameter(next(iter(contracts.values())), name)
    if len(contracts) > 1:
        error.where = f"-p {name}"
        error.advice = suggest(name, known, noun="parameters of its notebooks")
    raise error
