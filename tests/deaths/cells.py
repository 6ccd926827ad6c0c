"""The cells of the notebooks that die: the first one, the deadly ones, and the last."""

from __future__ import annotations

FIRST = """\
import os, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path
HERE = Path(os.environ.get("NM_DEATH") or tempfile.gettempdir())
def done(number):
    with (HERE / "done").open("a") as file: file.write(f"{number}\\n")
def reached(): (HERE / "reached").touch()
def wait():
    while not (HERE / "go").exists(): time.sleep(0.02)
print("before")"""
LAST = 'print("after")'
DATA = ('data: str = "data.txt"', "parameters")

SLEEPS = "reached()\ntime.sleep(300)"
COMPUTES = "reached()\nwhile True: pass"
NATIVE = "reached()\nsum(range(10**12))"  # one call into C: an interrupt waits for its return
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nreached()\nwhile True: time.sleep(1)"
WAITS = "reached()\nwait()"
TAKE_ALL = "held = [bytearray(b'x') * (50 << 20) for _ in range(40)]"
# The child offers itself to the killer, which would otherwise choose by size.
TAKES_ALL_IN_A_CHILD = f"""\
greedy = "open('/proc/self/oom_score_adj', 'w').write('1000')\\n{TAKE_ALL}"
child = subprocess.run([sys.executable, "-c", greedy])"""
# Once the store knows of the cell, the container's first process offers itself: with it all end, as
# on a node whose kernel kills whole groups.
TAKE_ALL_WITH_THE_CONTAINER = f"""\
reached()
time.sleep(20)
Path("/proc/1/oom_score_adj").write_text("1000")
{TAKE_ALL}"""
FLOOD = """\
for number in range(40): print("x" * 1_000_000)
for number in range(20_000): print("line", number)"""
FILL_DISK = """\
with open(Path(tempfile.gettempdir()) / "fill", "wb", buffering=0) as file:
    try:
        while file.write(b"x" * 4096): pass
    except OSError: pass
print("the disk is full" * 10_000)"""
