"""The plan: what the supervisor tells its child to run, as a JSON file between the two.

Apart from `execute`, which imports Jupyter, because the supervisor writes plans and must not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightmill.kernels import KernelEnvironment
from nightmill.spec.contract import Contract
from nightmill.spec.parameters import python_literal
from nightmill.spec.pipeline import StepSpec
from nightmill.spec.record import Code


@dataclass(frozen=True)
class Plan:
    """What the child is to run. Paths are absolute; `cell_timeout_s` None means no limit.

    `expressions` holds, for each parameter, the Python that gives its value in the notebook.
    """

    notebook: str
    notebook_sha256: str
    executed: str
    kernel: str
    kernelspec: Mapping[str, str]
    parameters: Mapping[str, Any]
    expressions: Mapping[str, str]
    cell_timeout_s: int | None = None

    def write(self, path: Path) -> None:
        """Put the plan where the child reads it."""
        path.write_text(json.dumps(asdict(self)), encoding="ascii")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="ascii")))


def make_plan(  # noqa: PLR0913 - a plan is made of what was found out in many places
    contract: Contract,
    values: Mapping[str, Any],
    kernel: KernelEnvironment,
    *,
    executed: Path,
    code: Code,
    step: StepSpec,
) -> Plan:
    """Return the plan for a notebook with these checked values in this kernel.

    `code` is what the record says of the notebook; the child runs these bytes or nothing.
    """
    expressions = {
        name: python_literal(contract.parameters[name], value) for name, value in values.items()
    }
    kernelspec = {
        "name": kernel.kernel.name,
        "display_name": kernel.kernel.display_name,
        "language": "python",
    }
    timeout = step.cell_timeout
    return Plan(
        notebook=str(contract.notebook.absolute()),
        notebook_sha256=code.notebook_sha256,
        executed=str(executed),
        kernel=kernel.kernel.name,
        kernelspec=kernelspec,
        parameters=dict(values),
        expressions=expressions,
        cell_timeout_s=max(1, round(timeout.total_seconds())) if timeout else None,
    )
