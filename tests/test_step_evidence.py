"""What a record tells of the processes, also where every cell completed. Real kernels."""

from __future__ import annotations

import pytest

from tests.conftest import notebook_json

IMPORTS = """
import multiprocessing, os, signal, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
"""
POOL = """
def shard(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # stands for the system's own killer
    return number

def total():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        return sum(pool.map(shard, range(4)))
"""
FALLBACK = """
try:
    print(total())
except BrokenProcessPool:
    print("alone", sum(range(4)))
"""
LEAVE = """
subprocess.run([sys.executable, "-c", "raise SystemExit(3)"])  # failed by itself: not killed
subprocess.Popen(["sleep", "300"], start_new_session=True)
"""
STEPS = "good: {notebook: good.ipynb}\nbad: {notebook: bad.ipynb}"


@pytest.fixture(scope="module")
def records(make_project):
    """Run a notebook that outlives a killed child, and one that does not; return both records."""
    project = make_project("evidence")
    good = notebook_json([IMPORTS + POOL, FALLBACK, LEAVE])
    bad = notebook_json([IMPORTS + POOL, "total()"])
    project.pipeline("p", STEPS, good=good, bad=bad)
    ended = project.run("run", "p", "--partition", "2013-01-01", env={"NIGHTMILL_POOL": "highcpu"})
    assert ended.code == 1, ended
    return {step: project.record("p", step) for step in ("good", "bad")}


def test_a_killed_child_is_counted_although_the_notebook_went_on(records):
    """The author's fallback completed, and the record still tells that a child was killed."""
    record = records["good"]
    assert record["state"] == "succeeded"
    assert record["evidence"]["killed_children"] == 1
    (warning,) = record["warnings"]
    assert warning.startswith("a child process of the kernel was killed by SIGKILL")


def test_a_killed_child_is_no_proof_of_memory(records):
    """Without a memory event the error is the notebook's own, whatever signal 9 may hint at."""
    failure = records["bad"]["failure"]
    assert (failure["cause"], failure["ename"]) == ("notebook_error", "BrokenProcessPool")
    assert records["bad"]["evidence"]["killed_children"] == 1
    assert "oom_kills" not in records["bad"]["evidence"]


def test_processes_that_were_left_behind_are_named(records):
    """What the notebook left running was ended with it, and the evidence names it."""
    assert records["good"]["evidence"]["left_behind"] == ["sleep"]


def test_the_pool_is_in_the_record(records):
    """The pool that the pod was told of stands in the record, whatever became of the attempt."""
    assert {record["pool"] for record in records.values()} == {"highcpu"}
