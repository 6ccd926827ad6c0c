"""What works and is hardly meant: found in a step beside its notebook, without running it.

These are remarks: each may be on purpose, and none keeps a pipeline from running.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from nightmill.spec.cell_source import CellSyntaxError, parse_cell
from nightmill.spec.contract import Computed, Contract, Parameter
from nightmill.spec.lint import LintWarning
from nightmill.spec.names import RESERVED
from nightmill.spec.notebook import SourceNotebook
from nightmill.spec.parameter_type import ParameterType, UnfitError, check
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.problems import shown
from nightmill.spec.validation import describe

_SCALARS = ("int", "float", "str", "bool", "date", "literal")
_CONTAINERS: Mapping[str, type | tuple[type, ...]] = {"list": (list, tuple), "dict": dict}


def lint_step(
    name: str, step: StepSpec, notebook: SourceNotebook, contract: Contract
) -> Iterator[LintWarning]:
    """Find what is odd between a step, the parameters of its notebook and the rest of it."""
    if step.members and "member" not in contract.parameters:
        yield _same_for_all(name, step, notebook, contract)
    for parameter in contract.parameters.values():
        if parameter.name not in (*RESERVED, *step.inputs, *step.outputs):
            yield from _about_default(parameter)


def _same_for_all(
    name: str, step: StepSpec, notebook: SourceNotebook, contract: Contract
) -> LintWarning:
    """Say what a step with members does whose notebook is not told which one it is."""
    read = _read_unassigned(notebook)
    does = "so all of them do the same" if read is None else "and nothing assigns what is read here"
    place = "to the cell" if contract.cell else "to a cell and tag that cell `parameters`"
    return LintWarning(
        "members",
        "warning" if read is None else "error",
        f"the step {shown(name)} has {len(step.members)} members and no parameter `member`, {does}",
        f"add `member: str = ...` {place}",
        contract.cell if read is None else read,
    )


def _read_unassigned(notebook: SourceNotebook) -> int | None:
    """Give the cell that first reads `member`, where no cell gives it a value."""
    first: int | None = None
    for cell in notebook.code_cells():
        with suppress(CellSyntaxError):  # told by `lint`
            module = parse_cell(cell.source)
            for node in ast.walk(module) if module else ():
                match node:
                    case ast.Name(id="member", ctx=ast.Load()):
                        first = first or cell.number
                    case ast.Name(id="member") | ast.arg(arg="member") | ast.alias(name="*"):
                        return None
                    case ast.alias(name=name, asname=alias) if "member" in (name, alias):
                        return None
    return first


def _about_default(parameter: Parameter) -> Iterator[LintWarning]:
    """Find a default that is not what its annotation says; None may stand for none given."""
    default = parameter.default
    if parameter.annotation is None or default is None or isinstance(default, Computed):
        return
    if not _fits(parameter.type, default):
        yield LintWarning(
            "default",
            "warning",
            f"the default of {shown(parameter.name)} is {describe(default)}, "
            f"and its annotation says {parameter.type}",
            "change one of them: a value that is given is held to the annotation",
            parameter.cell,
            parameter.line,
        )


def _fits(wanted: ParameterType, default: Any) -> bool:
    if wanted.kind not in _SCALARS:
        return isinstance(default, _CONTAINERS.get(wanted.kind, object))
    try:
        check(wanted, default)
    except UnfitError:
        return False
    return True
