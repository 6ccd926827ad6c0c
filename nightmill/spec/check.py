"""Steps held against their notebooks: each must declare what it will be given.

Apart from `project`, which Airflow loads all the time and which reads no notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nightmill.errors import ContractError, SpecError
from nightmill.spec.contract import Contract, Parameter, read_contract
from nightmill.spec.names import RESERVED
from nightmill.spec.notebook import read_notebook
from nightmill.spec.parameters import check_given, parameter_error
from nightmill.spec.pipeline import PipelineSpec, StepSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import KeyPath, each, gather, shown, suggest


def read_step_contract(pipeline: Pipeline, step: str) -> Contract:
    """Read the contract of a step's notebook; raises ContractError."""
    return read_contract(read_notebook(pipeline.notebook(step)))


def given_parameters(spec: PipelineSpec, step: str, contract: Contract) -> dict[str, Any]:
    """Merge what pipeline.yaml gives a step: the pipeline's where declared, then the step's own."""
    shared = {name: v for name, v in spec.parameters.items() if name in contract.parameters}
    return shared | dict(spec.steps[step].parameters)


def check_pipeline(
    pipeline: Pipeline, read: Callable[[Pipeline, str], Contract] = read_step_contract
) -> list[SpecError]:
    """Find everything that is wrong between a pipeline.yaml and its notebooks, each fault once.

    A notebook that is missing is none of it: that takes no look inside, and `project` tells it.
    """
    errors: list[SpecError] = []
    contracts: list[Contract] = []
    for step in pipeline.spec.steps:
        if not pipeline.notebook(step).is_file():
            continue
        try:
            contract = read(pipeline, step)
        except SpecError as error:
            errors += each(error)
            continue
        contracts.append(contract)
        errors += check_step(pipeline, step, contract)
    if len(contracts) == len(pipeline.spec.steps):
        errors += _unused_parameters(pipeline, contracts)
    return _each_once(pipeline, errors)


def _each_once(pipeline: Pipeline, errors: list[SpecError]) -> list[SpecError]:
    """Take one value for many steps as one fault, and a notebook that several steps run."""
    found: dict[tuple[str, str], SpecError] = {}
    for error in errors:
        is_given = f"(given in {pipeline.file}:" in error.problem
        found.setdefault((error.key if is_given else error.where, error.problem), error)
    return list(found.values())


def require_step(pipeline: Pipeline, step: str) -> Contract:
    """Read a step's contract and raise whatever is wrong with it before anything runs."""
    contract = read_step_contract(pipeline, step)
    if errors := check_step(pipeline, step, contract):
        raise gather(errors)
    return contract


def check_step(pipeline: Pipeline, step: str, contract: Contract) -> list[SpecError]:
    """Find what a step gives that its notebook does not declare, or declares otherwise."""
    errors: list[SpecError] = [
        *_address_errors(pipeline.spec, step, contract),
        *_partition_errors(pipeline.spec, contract),
    ]
    errors += _value_errors(pipeline, step, contract)
    return errors


def _address_errors(spec: PipelineSpec, step: str, contract: Contract) -> Iterator[ContractError]:
    """Check that every input and output is declared as a parameter that takes an address."""
    made = spec.steps[step]
    for name in (*made.inputs, *made.outputs):
        optional = name in made.inputs and made.inputs[name].optional
        annotation = "str | None" if optional else "str"
        kind = "input" if name in made.inputs else "output"
        parameter = contract.parameters.get(name)
        if parameter is None:
            yield _undeclared(contract, name, f"the {kind} {shown(name)}", annotation)
        elif _is_mapped(spec, made, name):
            if parameter.type.kind not in ("dict", "any"):
                yield parameter_error(
                    contract.notebook,
                    parameter,
                    f"wanted {parameter.type}, but the input of this name comes from a step with "
                    "members: it is a mapping from member to address",
                    f"declare it as `{name}: dict[str, str] = ...`",
                )
        elif parameter.type.kind == "dict" and name in made.inputs:
            continue  # from another pipeline's members, perhaps: the run tells
        elif not parameter.type.takes_text or (optional and not parameter.type.takes_none):
            yield parameter_error(
                contract.notebook,
                parameter,
                f"wanted {parameter.type}, but the {'optional ' if optional else ''}{kind} "
                f"of this name is an address{' or None' if optional else ''}",
                f"declare it as `{name}: {annotation} = ...`",
            )


def _is_mapped(spec: PipelineSpec, made: StepSpec, name: str) -> bool:
    """Tell whether an input is made by a step of this pipeline that has members."""
    if name not in made.inputs:
        return False
    maker = spec.maker(made.inputs[name].source.rpartition(".")[2])
    return maker is not None and bool(spec.steps[maker].members)


def _undeclared(contract: Contract, name: str, what: str, annotation: str) -> ContractError:
    place = "to the cell" if contract.cell else "to a cell and tag that cell `parameters`"
    return ContractError(
        f"{what} is not declared",
        notebook=contract.notebook,
        cell=contract.cell,
        parameter=name,
        advice=f"add `{name}: {annotation} = ...` {place}",
    )


def _partition_errors(spec: PipelineSpec, contract: Contract) -> Iterator[ContractError]:
    """Check that `partition` and `as_of`, where declared, take what the runner gives."""
    partition = ("date", "str", "any") if spec.partition == "date" else ("str", "any")
    member = ("str", "literal", "any")
    kinds_of = {"partition": partition, "as_of": ("date", "str", "any"), "member": member}
    for name, kinds in kinds_of.items():
        parameter = contract.parameters.get(name)
        if parameter and parameter.type.kind not in kinds:
            yield parameter_error(
                contract.notebook,
                parameter,
                f"wanted {parameter.type}, but the runner gives {kinds[0]}",
                f"declare it as `{name}: {kinds[0]} = ...`",
            )


def _value_errors(pipeline: Pipeline, step: str, contract: Contract) -> Iterator[SpecError]:
    given = given_parameters(pipeline.spec, step, contract)
    for name, value in given.items():
        try:
            check_given(contract, {name: value})
        except ContractError as error:
            yield _given_at(pipeline, step, error)
    if pipeline.spec.schedule or pipeline.spec.after:
        yield from _never_given(pipeline.spec, step, contract, given)


def _given_at(pipeline: Pipeline, step: str, error: ContractError) -> ContractError:
    """Add where in pipeline.yaml the value stands: the fault may be on either side."""
    path: KeyPath = ("steps", step, "parameters", error.parameter)
    if error.parameter not in pipeline.spec.steps[step].parameters:
        path = ("parameters", error.parameter)
    return ContractError(
        f"{error.problem} (given in {pipeline.file}:{pipeline.source.line(path)})",
        notebook=error.notebook,
        cell=error.cell,
        line=error.line,
        parameter=error.parameter,
        advice=error.advice,
    )


def _never_given(
    spec: PipelineSpec, step: str, contract: Contract, given: Mapping[str, Any]
) -> Iterator[ContractError]:
    """Find required parameters of a nightly step: nobody is there to pass `-p`."""
    made = spec.steps[step]
    set_by_us = {*RESERVED, *made.inputs, *made.outputs, *given}
    for parameter in contract.parameters.values():
        if not parameter.has_default and parameter.name not in set_by_us:
            yield _needs_value(contract, parameter)


def _needs_value(contract: Contract, parameter: Parameter) -> ContractError:
    return parameter_error(
        contract.notebook,
        parameter,
        "has no default, and pipeline.yaml gives no value",
        f"add `parameters: {{{parameter.name}: ...}}` to the step, or a default to the cell",
    )


def _unused_parameters(pipeline: Pipeline, contracts: list[Contract]) -> Iterator[SpecError]:
    declared = sorted({name for contract in contracts for name in contract.parameters})
    for name in pipeline.spec.parameters:
        if name not in declared:
            yield pipeline.error(
                f"no notebook of this pipeline declares the parameter {shown(name)}",
                ("parameters", name),
                advice=suggest(name, declared, noun="parameters"),
            )
