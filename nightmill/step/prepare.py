"""Everything before the first cell: what can be wrong is found here, and nothing has run.

Parameters are checked before inputs are fetched, inputs are resolved once and pinned, and what is
known goes into the record even if the kernel never lives to see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill.errors import UsageError
from nightmill.spec.check import require_step
from nightmill.spec.contract import Contract
from nightmill.spec.parameters import python_literal
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.project import Project
from nightmill.spec.record import Code
from nightmill.spec.step_values import Address, placeholders, step_values
from nightmill.spec.steprun import StepRun
from nightmill.step import findings, staging
from nightmill.step.ground import Ground
from nightmill.step.kept_code import bundle_code
from nightmill.step.lent import Lent
from nightmill.step.outputs import DeclaredOutput
from nightmill.step.plan import Plan
from nightmill.step.secret_parameters import check_secrets
from nightmill.step.transfer import Listener
from nightmill.store.bundle import Bundle
from nightmill.store.inputs import ResolvedInput, left_out, resolve_inputs
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, SPILLED


@dataclass(frozen=True)
class Prepared:
    """All that is known before the first cell runs; `facts` are fields of the record."""

    spec: StepSpec
    plan: Plan
    bundle: Bundle
    outputs: tuple[DeclaredOutput, ...]
    inputs: Mapping[str, ResolvedInput | None]
    lent: Lent
    facts: Mapping[str, Any]


def prepare(  # noqa: PLR0913 - the step, what it stands on, its place, and whom to tell
    run: StepRun,
    project: Project,
    ground: Ground,
    *,
    store: Store,
    prefix: str,
    listener: Listener,
) -> Prepared:
    """Check, resolve and stage everything a step needs; `prefix` is the attempt's in the store.

    Raises the error of whatever is wrong: SpecError, ContractError, KernelError, InputError,
    StoreError or UsageError.
    """
    pipeline, spec, scratch = ground.pipeline, ground.spec, ground.scratch
    _check_member(run, spec.members)
    contract = require_step(pipeline, run.step)
    sources = project.inputs(pipeline, run.step)
    built_in = {"partition": run.partition, "as_of": run.as_of, "member": run.member}
    values: dict[str, Any] = {"given": run.parameters, "built_in": built_in}
    unset = placeholders(spec.outputs, sources)
    given = step_values(pipeline, run.step, contract, **values, addresses=unset)
    told = {name: value for name, value in given.items() if name not in unset}
    check_secrets(contract, told, ground.order.env)
    inputs = resolve_inputs(store, sources, run.partition)
    outputs = _make_room(spec, scratch / "outputs")
    addresses = _stage_all(store, inputs, scratch / "inputs", lent := Lent(), listener)
    addresses |= {output.name: str(output.address) for output in outputs}
    checked = step_values(pipeline, run.step, contract, **values, addresses=addresses)
    code, bundle = bundle_code(project, pipeline, run.step)
    facts = {
        "parameters": checked,
        "code": code,
        "kernel": findings.describe_kernel(ground.kernel, ground.threads),
        "inputs": staging.describe_inputs(store, inputs),
        "warnings": left_out(store, sources, inputs, run.partition),
    }
    spilled = store.address(f"{prefix}/{SPILLED}")
    plan = make_plan(contract, checked, ground, code=code, spilled_address=spilled)
    return Prepared(spec, plan, bundle, outputs=outputs, inputs=inputs, lent=lent, facts=facts)


def _make_room(spec: StepSpec, folder: Path) -> tuple[DeclaredOutput, ...]:
    """Make the folders that the notebook writes its outputs into."""
    outputs = tuple(
        DeclaredOutput(name, output.path, folder / name) for name, output in spec.outputs.items()
    )
    for output in outputs:
        output.prepare()
    return outputs


def _stage_all(
    store: Store,
    inputs: Mapping[str, ResolvedInput | None],
    folder: Path,
    lent: Lent,
    listener: Listener,
) -> dict[str, Address]:
    places = {name: folder / name for name in inputs}
    return {
        name: staging.stage(store, one, places[name], lent=lent, listener=listener) if one else None
        for name, one in inputs.items()
    }


def make_plan(
    contract: Contract,
    values: Mapping[str, Any],
    ground: Ground,
    *,
    code: Code,
    spilled_address: str,
) -> Plan:
    """Return the plan for a notebook with these checked values in this kernel.

    `code` is what the record says of the notebook; the child runs these bytes or nothing.
    """
    kernel, timeout = ground.kernel.kernel, ground.spec.cell_timeout
    return Plan(
        notebook=str(contract.notebook.absolute()),
        notebook_sha256=code.notebook_sha256,
        executed=str(ground.scratch / NOTEBOOK),
        spilled=str(ground.scratch / SPILLED),
        spilled_address=spilled_address,
        kernel=kernel.name,
        kernelspec={
            "name": kernel.name,
            "display_name": kernel.display_name,
            "language": "python",
        },
        parameters=dict(values),
        expressions={
            name: python_literal(contract.parameters[name], value) for name, value in values.items()
        },
        cell_timeout_s=max(1, round(timeout.total_seconds())) if timeout else None,
    )


def _check_member(run: StepRun, members: Sequence[str]) -> None:
    if run.member not in (members or ("",)):
        known = ", ".join(members) or "none"
        raise UsageError(
            f"the step {run.step} has no member {run.member!r}", advice=f"its members: {known}"
        )
