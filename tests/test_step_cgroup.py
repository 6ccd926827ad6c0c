"""A step inside real limits of the operating system: needs root and writable cgroups of v1."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from nightmill.spec.steprun import StepRun

LIMIT = 400 << 20
TAKE_ALL = "held = [bytearray(b'x') * (50 << 20) for _ in range(40)]"


@contextmanager
def cgroup(controller: str, **limits: int):
    """Make a cgroup below the root of a v1 controller, and give the file that takes members."""
    folder = Path(f"/sys/fs/cgroup/{controller}/nightmill-test-{uuid4().hex}")
    try:
        folder.mkdir()
        for name, value in limits.items():
            (folder / f"{controller}.{name}").write_text(str(value))
    except OSError as error:
        pytest.skip(f"no cgroup of v1 can be made here: {error}")
    try:
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


@pytest.fixture(scope="module")
def limited(make_project):
    """Run a step that takes too much memory, within 400 MiB and a quota of one and a half CPUs."""
    project = make_project("limited")
    cells = ["import os; print(os.environ['OMP_NUM_THREADS'])", TAKE_ALL, "print('after')"]
    project.pipeline("p", "s: {notebook: s.ipynb}", s=cells)
    run = StepRun(
        pipeline="p",
        step="s",
        partition="2013-01-01",
        as_of="2013-01-01",
        run="r",
        order=1,
        store=str(project.store),
    )
    with ExitStack() as stack:
        places = [
            stack.enter_context(cgroup("memory", limit_in_bytes=LIMIT)),
            stack.enter_context(cgroup("cpu", cfs_period_us=100_000, cfs_quota_us=150_000)),
        ]

        def join():
            for place in places:
                place.write_text("0")  # whoever writes joins

        process = project.start(*run.to_argv(), preexec_fn=join)
        out, err = process.communicate(timeout=60)
    return project, process.returncode, out + err


def test_out_of_memory_is_told_from_the_memory_events(limited):
    """A kernel killed for memory is out_of_memory, because the controller counted it."""
    project, code, said = limited
    assert code == 14, said
    failure = project.record("p", "s")["failure"]
    assert failure["cause"] == "out_of_memory"
    assert failure["cell"] == 2
    assert failure["evidence"]["oom_kills"] >= 1


def test_the_limits_are_in_the_record(limited):
    """The record tells the memory limit, and the threads that the real quota allows."""
    record = limited[0].record("p", "s")
    assert record["memory"]["limit_bytes"] == LIMIT
    assert 0 < record["memory"]["peak_bytes"] <= LIMIT
    assert (record["kernel"]["threads"], record["kernel"]["threads_from"]) == (2, "cgroup quota")
    outputs = limited[0].notebook("p", "s")["cells"]
    texts = [output.get("text") for cell in outputs for output in cell.get("outputs", [])]
    assert "2\n" in ["".join(text) for text in texts if text]
