"""The plan: what the supervisor tells its child to run.

Apart from what makes it (`prepare`), because the child reads plans and needs none of the rest, and
from `execute`, which imports Jupyter, because the supervisor writes plans and must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What the child is to run. Paths are absolute; `cell_timeout_s` None means no limit.

    `expressions` holds, for each parameter, the Python that gives its value in the notebook. What
    is too large for the notebook goes whole into the folder `spilled`, which readers will find at
    `spilled_address`.
    """

    notebook: str
    notebook_sha256: str
    executed: str
    kernel: str
    kernelspec: Mapping[str, str]
    parameters: Mapping[str, Any]
    expressions: Mapping[str, str]
    spilled: str
    spilled_address: str
    cell_timeout_s: int | None = None
