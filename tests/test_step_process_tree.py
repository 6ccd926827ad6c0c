"""The processes below a supervisor, and those that are none of its business."""

from __future__ import annotations

import subprocess
import sys
import textwrap

# In a process of its own: a subreaper adopts orphans for the rest of its life.
PROGRAM = textwrap.dedent(
    """
    import subprocess, sys, time
    import psutil
    from nightmill.step.process_tree import ProcessTree

    SLEEP = [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"]
    DEAF = [sys.executable, "-c", "import signal, time; "
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"]
    ORPHAN = ["sh", "-c", "setsid sleep 60 & echo 1"]

    def start(command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    other = start(SLEEP)
    early = start(SLEEP)
    tree = ProcessTree(early.pid)
    alone = tree.survey(0)
    assert alone > 0, "the engine was started before and is ours"
    assert tree.survey(early.pid) == 0, "what others started is none of ours"
    ours, deaf, parent = start(SLEEP), start(DEAF), start(ORPHAN)
    parent.wait()
    while "sleep" not in [one.name() for one in psutil.Process().children()]:
        time.sleep(0.01)  # the orphan is still the shell that made it
    assert tree.survey(0) > tree.survey(early.pid) > alone
    ended = sorted(tree.end_all())
    assert len(ended) == 4 and "sleep" in ended, "the engine, ours, the deaf one and the orphan"
    assert tree.end_all() == []
    assert other.poll() is None, "a child from before was ended"
    other.kill()
    """
)


def test_all_of_ours_are_ended_and_nobody_else():
    """Polite, deaf and orphaned descendants end; children that were there before live on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
