"""Everything before the kernel starts: what can be wrong is found here, and nothing has run.

Parameters are checked before inputs are fetched, inputs are resolved once and pinned, and what is
known goes into the record even if the kernel never lives to see it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill import kernels
from nightmill.errors import UsageError
from nightmill.spec.check import require_step
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.project import Project
from nightmill.spec.step_values import Address, placeholders, step_values
from nightmill.spec.steprun import StepRun
from nightmill.step import environment, findings, staging
from nightmill.step.limits import Threads, decide_threads
from nightmill.step.outputs import DeclaredOutput
from nightmill.step.plan import Plan, make_plan
from nightmill.step.provenance import describe_code
from nightmill.store.inputs import ResolvedInput, resolve_inputs
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK


@dataclass(frozen=True)
class Prepared:
    """All that is known before the kernel starts; `facts` are fields of the record."""

    spec: StepSpec
    plan: Plan
    env: Mapping[str, str]
    outputs: tuple[DeclaredOutput, ...]
    inputs: Mapping[str, ResolvedInput | None]
    facts: Mapping[str, Any]


def prepare(run: StepRun, project: Project, store: Store, scratch: Path) -> Prepared:
    """Check, resolve and stage everything a step needs.

    Raises the error of whatever is wrong: SpecError, ContractError, KernelError, InputError,
    StoreError or UsageError.
    """
    pipeline = project.pipeline(run.pipeline)
    if run.step not in pipeline.spec.steps:
        raise UsageError(f"{run.pipeline} has no step {run.step!r}")
    spec = pipeline.spec.steps[run.step]
    _check_member(run, spec.members)
    kernel = kernels.require(project.kernel(spec), project.root)
    contract = require_step(pipeline, run.step)
    sources = project.inputs(pipeline, run.step)
    built_in = {"partition": run.partition, "as_of": run.as_of, "member": run.member}
    values: dict[str, Any] = {"given": run.parameters, "built_in": built_in}
    step_values(
        pipeline, run.step, contract, **values, addresses=placeholders(spec.outputs, sources)
    )
    inputs = resolve_inputs(store, sources, run.partition)
    outputs = tuple(
        DeclaredOutput(name, path, scratch / "outputs" / name)
        for name, path in spec.outputs.items()
    )
    addresses = _addresses(store, inputs, outputs, scratch)
    checked = step_values(pipeline, run.step, contract, **values, addresses=addresses)
    code = describe_code(pipeline.notebook(run.step), project.root)
    author = {**kernel.kernel.env, **spec.env}
    threads = _threads(author, spec.cpu_millicores)
    return Prepared(
        spec=spec,
        plan=make_plan(
            contract, checked, kernel, executed=scratch / NOTEBOOK, code=code, step=spec
        ),
        env=environment.for_kernel(kernel, {**threads.variables, **author}, scratch),
        outputs=outputs,
        inputs=inputs,
        facts={
            "parameters": checked,
            "code": code,
            "kernel": findings.describe_kernel(kernel, threads),
            "inputs": staging.describe_inputs(store, inputs),
        },
    )


def _addresses(
    store: Store,
    inputs: Mapping[str, ResolvedInput | None],
    outputs: Sequence[DeclaredOutput],
    scratch: Path,
) -> dict[str, Address]:
    addresses: dict[str, Address] = {}
    for name, found in inputs.items():
        addresses[name] = staging.stage(store, found, scratch / "inputs" / name) if found else None
    for output in outputs:
        output.prepare()
        addresses[output.name] = str(output.address)
    return addresses


def _check_member(run: StepRun, members: Sequence[str]) -> None:
    if run.member not in (members or ("",)):
        known = ", ".join(members) or "none"
        raise UsageError(
            f"the step {run.step} has no member {run.member!r}", advice=f"its members: {known}"
        )


def _threads(author: Mapping[str, str], cpu_millicores: int | None) -> Threads:
    cpu = cpu_millicores / 1000 if cpu_millicores else None
    return decide_threads({**os.environ, **author}, step_cpu=cpu)
