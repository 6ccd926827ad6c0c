"""The early start: engine and kernel come before all is checked, and go if it comes to nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from nightmill.spec.steprun import StepRun
from nightmill.step import engine_process
from nightmill.step.engine_process import EngineProcess
from nightmill.step.kernel_start import KernelOrder, start_kernel
from nightmill.step.plan import Plan
from nightmill.step.stop import StopRequest
from nightmill.step.supervisor import Supervisor


def wait_for(condition, timeout_s=30.0):
    """Poll until the condition holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)  # a poll with a deadline
    return found


def carrying(token: str) -> list[psutil.Process]:
    """Find the processes whose environment holds the token."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NM_TOKEN") == token:
                found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
        except psutil.Error:
            continue
    return found


@pytest.fixture
def order(tmp_path):
    """Return a function that orders a program to be started as if it were a kernel."""

    def make(*argv: str, folder: Path = tmp_path) -> KernelOrder:
        spec = tmp_path / "kernels" / "fake"
        spec.mkdir(parents=True, exist_ok=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "env": {"FROM_SPEC": "1"}}))
        return KernelOrder(
            kernelspec=str(spec),
            env={"PATH": os.environ["PATH"], "NM_TOKEN": uuid4().hex, "PYTHONEXECUTABLE": "no"},
            cwd=str(tmp_path),
            connection_file=str(folder / "connection.json"),
        )

    return make


@pytest.fixture
def plan(tmp_path):
    """Make a plan that the engine refuses: the notebook is another one by now."""
    source = tmp_path / "source.ipynb"
    source.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    return Plan(
        notebook=str(source),
        notebook_sha256="0" * 64,
        executed=str(tmp_path / "notebook.ipynb"),
        kernel="fake",
        kernelspec={"name": "fake", "display_name": "fake", "language": "python"},
        parameters={},
        expressions={},
        spilled=str(tmp_path / "spilled"),
        spilled_address="spilled",
    )


def watch(engine: EngineProcess, plan: Plan):
    """Run the plan under a supervisor that nobody stops."""
    return Supervisor(engine, StopRequest(), lambda _event: None).run(plan)


def test_what_a_kernel_is_given(order, tmp_path):
    """The kernelspec's variables are added, PYTHONEXECUTABLE is left out, the folder is right."""
    said = tmp_path / "said"
    started = start_kernel(order("sh", "-c", f"env > {said}; pwd >> {said}; echo $0 >> {said}"))
    assert started.process.wait(30) == 0
    lines = said.read_text().splitlines()
    assert "FROM_SPEC=1" in lines
    assert f"JPY_PARENT_PID={os.getpid()}" in lines
    assert not any(line.startswith("PYTHONEXECUTABLE") for line in lines)
    assert lines[-2] == str(tmp_path)
    assert started.kernelspec.name == "fake"


@pytest.mark.parametrize(("length", "transport"), [(1, "ipc"), (90, "tcp")])
def test_how_a_kernel_can_be_talked_to(order, tmp_path, length, transport):
    """Sockets are files of this user alone where a path can be so short, else ports of loopback."""
    folder = tmp_path / ("d" * length)
    folder.mkdir()
    started = start_kernel(order("true", folder=folder))
    started.process.wait(30)
    facts = json.loads(started.connection_file.read_bytes())
    assert stat.S_IMODE(started.connection_file.stat().st_mode) == 0o600
    assert facts["transport"] == transport
    assert facts["ip"] in ("127.0.0.1", str(folder / "kernel"))
    assert len({facts[name] for name in facts if name.endswith("_port")}) == 5
    assert len(facts["key"]) == 32


def step_run(project) -> StepRun:
    """Ask for the step `s` of the pipeline `p`."""
    return StepRun(
        pipeline="p",
        step="s",
        partition="2013-01-01",
        as_of="2013-01-01",
        run="r",
        order=1,
        store=str(project.store),
    )


def test_a_step_whose_scratch_folder_has_a_long_path(project, tmp_path):
    """Where no socket's path fits, the kernel is reached over loopback and the step succeeds."""
    scratch = tmp_path / ("s" * 90)
    scratch.mkdir()
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["print(1)"])
    ended = project.run(*step_run(project).to_argv(), env={"NIGHTMILL_SCRATCH": str(scratch)})
    assert ended.code == 0, ended
    assert list(scratch.iterdir()) == []


def test_an_engine_that_is_not_needed(order, monkeypatch):
    """Closed before it has a plan, the engine goes by itself and takes its idle kernel along."""
    monkeypatch.setattr(engine_process, "_PATIENCE_S", 60.0)
    engine, wanted = EngineProcess(), order("sh", "-c", "sleep 300")
    engine.start_kernel(wanted)
    wait_for(lambda: carrying(wanted.env["NM_TOKEN"]))
    engine.close()
    engine.close()  # once more does nothing
    assert engine.process.returncode == 0
    wait_for(lambda: not carrying(wanted.env["NM_TOKEN"]))


def test_a_supervisor_that_dies_before_the_first_cell(order):
    """When the supervisor is gone while the kernel idles, engine and kernel go as well."""
    wanted = order("sh", "-c", "sleep 300")
    program = f"""
        import os
        from nightmill.step.engine_process import EngineProcess
        from nightmill.step.kernel_start import KernelOrder
        engine = EngineProcess()
        engine.start_kernel(KernelOrder(**{wanted.__dict__!r}))
        print(engine.process.pid, flush=True)
        input()
        os._exit(1)
    """
    token = wanted.env["NM_TOKEN"]
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as supervisor:
        engine = psutil.Process(int(supervisor.stdout.readline()))
        wait_for(lambda: len(carrying(token)) >= 1)
        supervisor.stdin.write(b"\n")
    wait_for(lambda: not carrying(token))
    wait_for(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_a_kernel_whose_program_is_missing(order, plan):
    """A program that cannot be started is the image's fault, and named."""
    engine = EngineProcess()
    engine.start_kernel(order("/nowhere/python", "-m", "ipykernel_launcher"))
    seen = watch(engine, plan)
    assert seen.outcome["cause"] == "image"
    assert "/nowhere/python" in seen.outcome["message"]


def test_only_the_end_of_what_an_engine_says_is_kept(order, plan):
    """However much is written past Jupyter, the supervisor keeps the last 64 KiB, in order."""
    Path(plan.notebook).unlink()
    os.mkfifo(plan.notebook)  # which the engine opens, and waits
    engine = EngineProcess()
    flood = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end; kill -9 $PPID"
    engine.start_kernel(order("sh", "-c", flood))
    seen = watch(engine, plan)
    assert (seen.returncode, seen.outcome) == (-9, None)
    assert len(seen.log_tail) == 1 << 16
    assert seen.log_tail.endswith("xxx\nthe end\n")


@pytest.mark.parametrize("arguments", [("step",), ("step", "--help"), ("step", "--step=a b")])
def test_a_command_that_comes_to_nothing_leaves_nothing(project, arguments):
    """An engine that was started for a command that is refused, or only asks, ends with it."""
    token = uuid4().hex
    ended = project.run(*arguments, env={"NM_TOKEN": token})
    assert ended.code in (0, 2)
    assert carrying(token) == []


def catches_sigterm(pid: int) -> bool:
    """Tell from the system whether the process has a handler for SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


HOLDS = """
import pathlib, sys, time

class Holds:
    def find_spec(self, name, path=None, target=None):
        while name == "nightmill.step.attempt" and not pathlib.Path("told").exists():
            time.sleep(0.01)

sys.meta_path.insert(0, Holds())
"""


def test_a_stop_in_the_first_moment_is_not_lost(project):
    """A step that is told to end while it still imports says so in its record: no cell has run."""
    project.pipeline("p", "s: {notebook: s.ipynb}", s=["print(1)"])
    project.write("held/sitecustomize.py", HOLDS)  # it imports until it has been told
    env = {"PYTHONPATH": str(project.root / "held")}
    process = project.start(*step_run(project).to_argv(), env=env)
    wait_for(lambda: catches_sigterm(process.pid))
    process.send_signal(signal.SIGTERM)
    project.write("told", "")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 17, out + err
    record = project.record("p", "s")
    assert record["failure"]["message"].endswith("stopped by SIGTERM")
    assert {cell["state"] for cell in record["cells"]} <= {"not_run"}
