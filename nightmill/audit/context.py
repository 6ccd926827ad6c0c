"""What an audit is told: whose outputs these are, where it may work, and how much it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightmill.store.interface import Store

_MEMORY_IF_UNKNOWN = 1 << 30
_MOST_MEMORY = 2 << 30  # more would not make an audit faster, and somebody pays for it
_LEAST_MEMORY = 64 << 20
_MEMORY_A_THREAD = 64 << 20  # below, DuckDB's buffers alone fill the limit


def _never() -> bool:
    return False


@dataclass(frozen=True)
class KernelPython:
    """The kernel's interpreter, its environment, and the folder its modules are imported from."""

    python: Path
    env: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class AuditContext:
    """What is audited, and within which bounds.

    `as_of` is an ISO date, `timezone` says when its day begins and ends. `memory_bytes` is the
    limit of this process's cgroup, None for none; half of it is taken at most. A check that takes
    longer than `timeout_s` ends in an error; when `stopping` says so, the whole audit ends.
    """

    store: Store
    pipeline: str
    step: str
    partition: str
    as_of: str
    scratch: Path
    kernel: KernelPython
    member: str = ""
    timezone: str = "UTC"
    threads: int = 1
    memory_bytes: int | None = None
    timeout_s: float = 900.0
    stopping: Callable[[], bool] = _never

    @property
    def query_memory_bytes(self) -> int:
        """How much memory a query may take before it spills to the scratch disk."""
        if self.memory_bytes is None:
            return _MEMORY_IF_UNKNOWN
        return min(max(self.memory_bytes // 2, _LEAST_MEMORY), _MOST_MEMORY)

    @property
    def query_threads(self) -> int:
        """How many threads a query may take within that memory."""
        return max(1, min(self.threads, self.query_memory_bytes // _MEMORY_A_THREAD))
