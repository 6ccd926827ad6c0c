"""Processes below a supervisor or an engine, each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PRELUDE = """
import subprocess, sys, time
import psutil
from nightmill.step.process_tree import ProcessTree

tree = ProcessTree()
kernel = subprocess.Popen(
    ["sh", "-c", "(sh -c 'exit 0' &); (sh -c 'exit 0' &); sleep 0.3; exit 7"],
    start_new_session=True,
)

def zombies():
    states = {child.pid: child.status() for child in psutil.Process().children()}
    return [pid for pid, status in states.items() if status == psutil.STATUS_ZOMBIE]

deadline = time.monotonic() + 20
while len(zombies()) < 3 and time.monotonic() < deadline:
    time.sleep(0.02)
assert len(zombies()) == 3, zombies()
"""


def _run(code: str) -> None:
    script = PRELUDE + textwrap.dedent(code)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_engine_reaps_orphans_and_leaves_its_kernel():
    """Orphans are collected; the kernel, which leads its session, keeps its exit code for us."""
    _run("""
        tree.reap_adopted()
        assert zombies() == [kernel.pid]
        assert kernel.wait() == 7
    """)


def test_a_supervisor_reaps_orphans_and_leaves_its_engine():
    """Orphans are collected; the engine, known by its number, keeps its exit code for us."""
    _run("""
        tree.survey(kernel.pid)
        assert zombies() == [kernel.pid]
        assert kernel.wait() == 7
    """)
