"""How many threads and how much memory this attempt may use, read from cgroups v1 and v2.

Libraries count the cores of the node, not of the pod: on a node of 96 cores and a limit of one,
that is a hundred times slower than one thread. So the number is decided here, before the kernel
starts, and handed over in the variables that BLAS, OpenMP, Polars, Numba and Python itself read. A
variable that the author has set wins.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "PYTHON_CPU_COUNT",
)
_LEADING = "OMP_NUM_THREADS"
_THREADS_OF_OPENMP = re.compile(r"([1-9][0-9]*)(,[0-9]+)*")  # a number for each level of nesting
_UNLIMITED_V1 = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True)
class Threads:
    """The number of threads, where it comes from, and the variables that say so."""

    count: int
    source: str
    variables: Mapping[str, str]


def decide_threads(
    author: Mapping[str, str], *, step_cpu: float | None = None, cgroups: Path | None = None
) -> Threads:
    """Return the thread settings for a kernel: the author's own, else the tightest limit.

    `author` is the environment the kernel would get, `step_cpu` the step's `cpu:` in cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = {"cores of this machine": float(cores or 1)}
    quota = cpu_quota(cgroups)
    if quota is not None:
        limits["cgroup quota"] = quota
    if step_cpu is not None:
        limits["cpu of the step"] = step_cpu
    source = min(limits, key=lambda name: limits[name])
    count = max(1, math.ceil(limits[source]))
    if own := _THREADS_OF_OPENMP.fullmatch(author.get(_LEADING, "")):
        source, count = f"{_LEADING} set by the author", int(own[1])
    missing = {name: str(count) for name in THREAD_VARIABLES if name not in author}
    return Threads(count=count, source=source, variables=missing)


def cpu_quota(cgroups: Path | None = None) -> float | None:
    """Return the CPU limit of this process's cgroup in cores, None for no limit."""
    quotas = []
    for folder in _folders("cpu", cgroups):
        v2 = _read(folder / "cpu.max").split()
        if len(v2) == 2 and v2[0] != "max":  # noqa: PLR2004 - "quota period"
            quotas.append(int(v2[0]) / int(v2[1]))
        v1, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if v1 and period and int(v1) > 0:
            quotas.append(int(v1) / int(period))
    return min(quotas, default=None)


def memory_limit(cgroups: Path | None = None) -> int | None:
    """Return the memory limit of this process's cgroup in bytes, None for no limit."""
    limits = []
    for folder in _folders("memory", cgroups):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdigit() and int(text) < _UNLIMITED_V1:
                limits.append(int(text))
    return min(limits, default=None)


def _folders(controller: str, cgroups: Path | None) -> list[Path]:
    """Return our cgroup's folder and its parents, for v2, v1 and the hybrid of both.

    Inside a container the path in /proc/self/cgroup may lead nowhere; the mount's root is ours
    then.
    """
    root = cgroups or Path("/sys/fs/cgroup")
    membership = _read(root / "self.cgroup" if cgroups else Path("/proc/self/cgroup"))
    found: list[Path] = []
    for line in membership.splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            for mount in (root, root / "unified") if controllers == "" else (root / controller,):
                inner = mount / path.strip("/")
                found += [inner, *(up for up in inner.parents if up.is_relative_to(mount))]
    return [folder for folder in [*found, root, root / controller] if folder.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def oom_kills(cgroups: Path | None = None) -> int:
    """Return how many processes of our cgroup the kernel has killed for memory so far."""
    for folder in _folders("memory", cgroups):  # our own first: a parent counts its neighbours too
        for name in ("memory.events", "memory.oom_control"):
            fields = dict(line.split() for line in _read(folder / name).splitlines())
            if "oom_kill" in fields:
                return int(fields["oom_kill"])
    return 0


def memory_peak(cgroups: Path | None = None) -> int | None:
    """Return the most memory in bytes that our cgroup ever held, caches of files included.

    None where the system does not tell.
    """
    for folder in _folders("memory", cgroups):
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            text = _read(folder / name)
            if text.isdigit():
                return int(text)
    return None
