"""What the record says of a finished execution, read from its notebook and from the supervisor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightmill.kernels import KernelEnvironment
from nightmill.spec import executed
from nightmill.spec.record import CellRecord, KernelRecord, Memory
from nightmill.step import verdict
from nightmill.step.limits import Threads
from nightmill.step.scraps import read_metrics
from nightmill.step.supervisor import Watched

__all__ = [
    "describe_cells",
    "describe_evidence",
    "describe_kernel",
    "describe_memory",
    "describe_warnings",
    "read_metrics",
    "read_notebook",
]


def read_notebook(path: Path) -> Mapping[str, Any] | None:
    """Read an executed notebook as plain JSON; None where there is none."""
    return executed.parse(path.read_bytes()) if path.is_file() else None


def describe_cells(notebook: Mapping[str, Any], seen: Watched) -> tuple[CellRecord, ...]:
    """Return a record of each code cell, with the memory that was seen."""
    return executed.describe_cells(notebook, seen.cell_peaks)


def describe_evidence(seen: Watched) -> dict[str, Any]:
    """Return what was seen of the processes, also where all went well."""
    facts = {
        "oom_kills_by_cell": {str(cell): kills for cell, kills in seen.oom_kills_by_cell.items()},
        "killed_children": seen.killed_children,
        "left_behind": seen.left_behind,
    }
    told = {name: value for name, value in facts.items() if value}
    return {**verdict.evidence(seen), **seen.system, **told}


def describe_warnings(seen: Watched) -> tuple[str, ...]:
    """Return what a reviewer should know although it failed no cell."""
    if not seen.killed_children:
        return tuple(seen.warnings)
    one = seen.killed_children == 1
    said = "a child process" if one else f"{seen.killed_children} child processes"
    told = f"{said} of the kernel {'was' if one else 'were'} killed by SIGKILL"
    if seen.oom_kills:
        told += f"; the system killed {seen.oom_kills} for memory"
    return (*seen.warnings, told)


def describe_memory(seen: Watched) -> Memory:
    """Return peak and limit in bytes."""
    return Memory(peak_bytes=seen.peak_bytes, limit_bytes=seen.memory_limit)


def describe_kernel(kernel: KernelEnvironment, threads: Threads) -> KernelRecord:
    """Return the identity of the environment and the threads it was given."""
    return KernelRecord(
        name=kernel.kernel.name,
        lock_sha256=kernel.kernel.lock_sha256,
        python=platform.python_version(),
        libraries=kernel.libraries(),
        threads=threads.count,
        threads_from=threads.source,
    )
