"""Limits: threads and memory follow the pod's limits, in every layout of cgroups."""

from __future__ import annotations

import os

import pytest

from nightmill.step import limits
from nightmill.step.limits import THREAD_VARIABLES, cpu_quota, decide_threads, memory_limit

CORES = 16


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """Be a node of 16 cores, whatever this machine is."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)), raising=False)


@pytest.fixture
def cgroups(tmp_path):
    """Return a function that writes a tree of cgroup files: path=content, and our membership."""

    def write(membership: str, files: dict[str, str]):
        (tmp_path / "self.cgroup").write_text(membership)
        for path, content in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")
        return tmp_path

    return write


V2 = "0::/kubepods/pod1/c1\n"
V1 = "4:memory:/kubepods/pod1/c1\n3:cpu,cpuacct:/kubepods/pod1/c1\n1:name=systemd:/x\n"
HYBRID = V1 + "0::/system.slice\n"
NO_LIMIT_V1 = "9223372036854771712"
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"

CPU = [
    pytest.param(V2, {"kubepods/pod1/c1/cpu.max": "50000 100000"}, 0.5, id="v2"),
    pytest.param(V2, {"kubepods/pod1/c1/cpu.max": "max 100000"}, None, id="v2 unlimited"),
    pytest.param(
        V2,
        {"kubepods/pod1/cpu.max": "200000 100000", "kubepods/pod1/c1/cpu.max": "max 100000"},
        2.0,
        id="v2, the pod's limit holds for its container",
    ),
    pytest.param(
        V2,
        {"kubepods/pod1/cpu.max": "100000 100000", "kubepods/pod1/c1/cpu.max": "800000 100000"},
        1.0,
        id="v2, the tightest of nested limits",
    ),
    pytest.param(V2, {"cpu.max": "150000 50000"}, 3.0, id="v2 seen from inside a container"),
    pytest.param(
        V1,
        {f"cpu/kubepods/pod1/c1/{QUOTA}": "250000", f"cpu/kubepods/pod1/c1/{PERIOD}": "100000"},
        2.5,
        id="v1",
    ),
    pytest.param(
        V1,
        {f"cpu/kubepods/pod1/c1/{QUOTA}": "-1", f"cpu/kubepods/pod1/c1/{PERIOD}": "100000"},
        None,
        id="v1 unlimited",
    ),
    pytest.param(
        V1, {f"cpu/{QUOTA}": "100000", f"cpu/{PERIOD}": "100000"}, 1.0, id="v1 in a container"
    ),
    pytest.param(
        HYBRID,
        {
            f"cpu/kubepods/{QUOTA}": "400000",
            f"cpu/kubepods/{PERIOD}": "100000",
            "unified/system.slice/cgroup.procs": "1",
        },
        4.0,
        id="hybrid",
    ),
    pytest.param("", {}, None, id="none at all"),
    pytest.param("0::/../../elsewhere\n", {}, None, id="a path outside our namespace"),
]


@pytest.mark.parametrize(("membership", "files", "cores"), CPU)
def test_cpu_quota(cgroups, membership, files, cores):
    """The tightest CPU limit from our cgroup up to the root counts, in cores."""
    assert cpu_quota(cgroups(membership, files)) == cores


MEMORY = [
    pytest.param(V2, {"kubepods/pod1/c1/memory.max": "1073741824"}, 1 << 30, id="v2"),
    pytest.param(V2, {"kubepods/pod1/c1/memory.max": "max"}, None, id="v2 unlimited"),
    pytest.param(
        V2,
        {"kubepods/pod1/memory.max": "1000", "kubepods/pod1/c1/memory.max": "3000"},
        1000,
        id="v2 nested",
    ),
    pytest.param(
        V1,
        {
            "memory/kubepods/pod1/c1/memory.limit_in_bytes": "2000",
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
        },
        2000,
        id="v1",
    ),
    pytest.param(
        V1, {"memory/memory.limit_in_bytes": NO_LIMIT_V1}, None, id="v1's huge number is no limit"
    ),
    pytest.param(HYBRID, {"memory/kubepods/memory.limit_in_bytes": "7"}, 7, id="hybrid"),
]


@pytest.mark.parametrize(("membership", "files", "size"), MEMORY)
def test_memory_limit(cgroups, membership, files, size):
    """The tightest memory limit counts, in bytes, and "no limit" is None in both versions."""
    assert memory_limit(cgroups(membership, files)) == size


@pytest.mark.parametrize(
    ("membership", "files", "kills"),
    [
        (V2, {"kubepods/pod1/c1/memory.events": "low 0\noom 3\noom_kill 2"}, 2),
        (V1, {"memory/kubepods/pod1/c1/memory.oom_control": "under_oom 0\noom_kill 1"}, 1),
        (
            V2,
            {
                "kubepods/pod1/c1/memory.events": "oom_kill 0",
                "kubepods/memory.events": "oom_kill 9",
            },
            0,  # what happened to neighbours
        ),
        ("", {}, 0),
    ],
)
def test_memory_events_of_our_own_cgroup_count(cgroups, membership, files, kills):
    """Processes that the kernel killed for memory are counted in our cgroup, not in others."""
    assert limits.oom_kills(cgroups(membership, files)) == kills


@pytest.mark.parametrize(
    ("author", "step_cpu", "quota", "count", "source"),
    [
        ({}, None, None, 16, "cores of this machine"),
        ({}, 0.5, None, 1, "cpu of the step"),
        ({}, 2.0, None, 2, "cpu of the step"),
        ({}, 2.5, None, 3, "cpu of the step"),
        ({}, 64.0, None, 16, "cores of this machine"),
        ({}, None, "150000 100000", 2, "cgroup quota"),
        ({}, 4.0, "100000 100000", 1, "cgroup quota"),
        ({"OMP_NUM_THREADS": "7"}, 2.0, "100000 100000", 7, "OMP_NUM_THREADS set by the author"),
        ({"OMP_NUM_THREADS": "4,2"}, 2.0, None, 4, "OMP_NUM_THREADS set by the author"),
        ({"OMP_NUM_THREADS": "0"}, 2.0, None, 2, "cpu of the step"),
        ({"OMP_NUM_THREADS": "many"}, 2.0, None, 2, "cpu of the step"),
        ({"OMP_NUM_THREADS": "²"}, 2.0, None, 2, "cpu of the step"),
    ],
)
def test_number_of_threads_and_where_it_comes_from(cgroups, author, step_cpu, quota, count, source):
    """The tightest of machine, cgroup and step decides, unless the author has decided."""
    tree = cgroups("0::/\n", {"cpu.max": quota} if quota else {})
    threads = decide_threads(author, step_cpu=step_cpu, cgroups=tree)
    assert (threads.count, threads.source) == (count, source)


def test_every_variable_of_the_author_wins(cgroups):
    """Variables that somebody has set are left alone, and all others get the number."""
    author = {"POLARS_MAX_THREADS": "5"}
    threads = decide_threads(author, step_cpu=2.0, cgroups=cgroups("", {}))
    assert threads.variables == dict.fromkeys(set(THREAD_VARIABLES) - set(author), "2")


@pytest.mark.parametrize(
    ("membership", "files", "peak"),
    [
        (V2, {"kubepods/pod1/c1/memory.peak": "700", "memory.peak": "9000"}, 700),
        (V1, {"memory/kubepods/pod1/c1/memory.max_usage_in_bytes": "800"}, 800),
        ("", {}, None),
    ],
)
def test_the_memory_peak_of_our_own_cgroup(cgroups, membership, files, peak):
    """The most that our cgroup ever held is read in both versions; an old system tells nothing."""
    assert limits.memory_peak(cgroups(membership, files)) == peak


def test_a_real_machine_answers():
    """On the machine that runs this test, whatever it is, limits are positive or None."""
    assert (memory_limit() or 1) > 0
    assert (cpu_quota() or 1) > 0
    assert limits.oom_kills() >= 0
