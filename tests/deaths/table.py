"""The table of ways to die. docs/deaths.md is made of it, and every row is run for real."""

from __future__ import annotations

from tests.deaths.acts import (
    hang_up,
    kill_all,
    kill_engine,
    kill_first,
    kill_kernel,
    lose_store,
    lose_store_at_commit,
    lose_store_for_a_while,
    sigint,
    sigterm,
    when_kernel_starts,
    when_reached,
    when_saved,
)
from tests.deaths.surroundings import (
    memory_limit,
    no_kernels,
    process_limit,
    s3_store,
    s3_store_away,
    tiny_disk,
)
from tests.deaths.way import CUT, FIRST, LAST, RAISED, UNREAD, UNTOUCHED, WHOLE, Plain, Way

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
DATA = ('data: str = "data.txt"', "parameters")
NO_DEADLINE = Plain(act=when_reached(sigterm), note="has no deadline; here stopped by SIGTERM")
ONE_PROCESS = "papermill itself"

NOTEBOOK_ENDS = (
    Way(
        name="cell-raises",
        title="A cell raises an exception",
        deadly='raise ValueError("no rows")',
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
        cheap=True,
    ),
    Way(
        name="endless-recursion",
        title="A cell recurses without end",
        deadly="def again(): again()\nagain()",
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="keyboard-interrupt",
        title="A cell raises `KeyboardInterrupt`",
        deadly="raise KeyboardInterrupt",
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="sys-exit-0",
        title="A cell calls `sys.exit(0)`",
        deadly="sys.exit(0)",
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
        cheap=True,
    ),
    Way(
        name="sys-exit-3",
        title="A cell calls `sys.exit(3)`",
        deadly="sys.exit(3)",
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="asks-for-input",
        title="A cell asks for input",
        deadly='input("User name: ")',
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="child-killed",
        title="A process that a cell waits for is killed by signal 9, not for memory",
        deadly='subprocess.run(["sh", "-c", "kill -9 $$"], check=True)',
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="process-leak",
        title="A cell starts processes up to the limit of the pod",
        deadly='kept = []\nwhile True: kept.append(subprocess.Popen(["sleep", "300"]))',
        within=process_limit,
        cause="notebook_error",
        exit=10,
        states=RAISED,
        retry="never",
    ),
    Way(
        name="thread-raises",
        title="A thread fails while no cell waits for it",
        deadly="threading.Thread(target=lambda: 1 / 0).start()",
        cause=None,
        exit=0,
        states=WHOLE,
        retry="",
        warns="ZeroDivisionError",
    ),
    Way(
        name="flood",
        title="A cell prints 40 MB and 20,000 lines",
        deadly=FLOOD,
        cause=None,
        exit=0,
        states=WHOLE,
        retry="",
    ),
)

KERNEL_ENDS = (
    Way(
        name="kernel-killed",
        title="The kernel is killed by SIGKILL",
        deadly=SLEEPS,
        act=when_reached(kill_kernel),
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
        cheap=True,
    ),
    Way(
        name="segfault",
        title="Native code touches memory that is not there (SIGSEGV)",
        deadly="import ctypes\nctypes.string_at(0)",
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="stack-overflow",
        title="Native code overflows its stack",
        deadly="import faulthandler\nfaulthandler._stack_overflow()",
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="os-exit-0",
        title="A cell calls `os._exit(0)`",
        deadly="os._exit(0)",
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="os-exit-3",
        title="A cell calls `os._exit(3)`",
        deadly="os._exit(3)",
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="kernel-never-ready",
        title="A module beside the notebook breaks the kernel's start",
        files={"fnmatch.py": 'raise RuntimeError("not the real fnmatch")\n'},
        cause="kernel_died",
        exit=13,
        states=UNTOUCHED,
        retry="backoff",
    ),
)

MEMORY_ENDS = (
    Way(
        name="kernel-out-of-memory",
        title="The kernel takes more memory than the limit",
        deadly=TAKE_ALL,
        within=memory_limit,
        cause="out_of_memory",
        exit=14,
        states=CUT,
        retry="more_memory",
        evidence=("oom_kills",),
    ),
    Way(
        name="thread-out-of-memory",
        title="A thread of the kernel takes more memory than the limit",
        deadly=f'one = threading.Thread(target=exec, args=("{TAKE_ALL}",))\n'
        "one.start()\none.join()",
        within=memory_limit,
        cause="out_of_memory",
        exit=14,
        states=CUT,
        retry="more_memory",
        evidence=("oom_kills",),
    ),
    Way(
        name="child-out-of-memory",
        title="A process that a cell waits for is killed for memory, and the cell raises",
        deadly=f"{TAKES_ALL_IN_A_CHILD}\nchild.check_returncode()",
        within=memory_limit,
        cause="out_of_memory",
        exit=14,
        states=RAISED,
        retry="more_memory",
        evidence=("oom_kills",),
    ),
    Way(
        name="child-out-of-memory-survived",
        title="A process that a cell waits for is killed for memory, and the cell copes",
        deadly=TAKES_ALL_IN_A_CHILD,
        within=memory_limit,
        cause=None,
        exit=0,
        states=WHOLE,
        retry="",
        evidence=("oom_kills",),
    ),
    Way(
        name="container-out-of-memory",
        title="The whole container is killed for memory (as cgroup v2 does)",
        where="pod",
        deadly=TAKE_ALL_WITH_THE_CONTAINER,
        cause="out_of_memory",
        exit=137,
        states=CUT,
        retry="more_memory",
        plain=Plain(act=when_saved(kill_all), note="all its processes killed at once"),
    ),
)

TIME_ENDS = (
    Way(
        name="cell-timeout",
        title="A cell runs longer than its timeout",
        deadly=SLEEPS,
        step="cell_timeout: 2s",
        cause="cell_timeout",
        exit=15,
        states=CUT,
        retry="backoff",
        plain=Plain(arguments=("--execution-timeout", "2")),
        cheap=True,
    ),
    Way(
        name="deadline",
        title="The step runs longer than its timeout",
        deadly=SLEEPS,
        step="timeout: 8s",
        cause="deadline",
        exit=16,
        states=CUT,
        retry="backoff",
        plain=NO_DEADLINE,
    ),
    Way(
        name="pod-deadline",
        title="The pod runs longer than its own deadline (`activeDeadlineSeconds`)",
        where="pod",
        deadly=SLEEPS,
        cause="deadline",
        exit=17,
        states=CUT,
        retry="backoff",
        plain=Plain(act=when_saved(sigterm)),
    ),
)

STOPS = (
    Way(
        name="sigterm-starting",
        title="SIGTERM while the kernel starts",
        act=when_kernel_starts(sigterm),
        cause="terminated",
        exit=17,
        states=UNTOUCHED,
        retry="backoff",
    ),
    Way(
        name="sigterm-waiting",
        title="SIGTERM while a cell waits",
        deadly=SLEEPS,
        act=when_reached(sigterm),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
        cheap=True,
    ),
    Way(
        name="sigterm-computing",
        title="SIGTERM while a cell computes",
        deadly=COMPUTES,
        act=when_reached(sigterm),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="sigterm-native",
        title="SIGTERM while native code computes and hears no interrupt",
        deadly=NATIVE,
        act=when_reached(sigterm),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="sigterm-deaf",
        title="SIGTERM while a cell ignores the interrupt",
        deadly=DEAF,
        act=when_reached(sigterm),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="ctrl-c",
        title="Ctrl-C (SIGINT)",
        deadly=SLEEPS,
        act=when_reached(sigint),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
    ),
    Way(
        name="launcher-gone",
        title="The launcher dies",
        deadly=SLEEPS,
        flags=("--die-with-stdin",),
        act=when_reached(hang_up),
        cause="terminated",
        exit=17,
        states=CUT,
        retry="backoff",
        plain=Plain(runs=False, note="never knows"),
    ),
    Way(
        name="evicted",
        title="The cluster evicts the pod",
        where="pod",
        deadly=SLEEPS,
        cause="evicted",
        exit=17,
        states=CUT,
        retry="backoff",
        plain=Plain(act=when_saved(sigterm)),
    ),
)

KILLS = (
    Way(
        name="engine-killed",
        title="The engine is killed by SIGKILL",
        deadly=SLEEPS,
        act=when_reached(kill_engine),
        cause="kernel_died",
        exit=13,
        states=CUT,
        retry="backoff",
        plain=Plain(note="it is one process with its engine"),
    ),
    Way(
        name="supervisor-killed",
        title="The supervisor is killed by SIGKILL",
        deadly=SLEEPS,
        act=when_saved(kill_first),
        cause="terminated",
        exit=-9,
        states=CUT,
        retry="backoff",
        mended_by="sweep",
        plain=Plain(note="it is one process with its engine"),
    ),
    Way(
        name="all-killed",
        title="All processes are killed at once",
        deadly=SLEEPS,
        act=when_saved(kill_all),
        cause="terminated",
        exit=-9,
        states=CUT,
        retry="backoff",
        mended_by="sweep",
    ),
    Way(
        name="node-killed",
        title="The node under the pod dies",
        where="pod",
        deadly=SLEEPS,
        cause="node_lost",
        exit=None,
        states=CUT,
        retry="backoff",
        plain=Plain(act=when_saved(kill_all), note="all its processes killed at once"),
    ),
    Way(
        name="node-cut-off",
        title="The node under the pod is cut off from the network",
        where="pod",
        deadly=SLEEPS,
        cause="node_lost",
        exit=None,
        states=CUT,
        retry="backoff",
        plain=Plain(runs=False, note="not measured"),
    ),
)

STORE_ENDS = (
    Way(
        name="store-away",
        title="The store is away at the start",
        within=s3_store_away,
        cause="store",
        exit=21,
        states=UNREAD,
        retry="backoff",
        recorded=False,
    ),
    Way(
        name="store-away-for-a-while",
        title="The store goes away in the middle and comes back",
        deadly=WAITS,
        act=when_reached(lose_store_for_a_while),
        within=s3_store,
        cause=None,
        exit=0,
        states=WHOLE,
        retry="",
    ),
    Way(
        name="store-lost",
        title="The store goes away in the middle for good",
        deadly=WAITS,
        act=when_saved(lose_store),
        within=s3_store,
        cause="store",
        exit=21,
        states=CUT,
        retry="backoff",
        mended_by="amend",
    ),
    Way(
        name="store-lost-at-commit",
        title="The store goes away just before the commit",
        deadly=WAITS,
        act=when_reached(lose_store_at_commit),
        within=s3_store,
        cause="store",
        exit=21,
        states=WHOLE,
        retry="backoff",
        mended_by="amend",
        plain=Plain(runs=False, note="has no commit"),
    ),
    Way(
        name="disk-full",
        title="The local disk is full",
        deadly=FILL_DISK,
        within=tiny_disk,
        cause="store",
        exit=21,
        states=("completed", "interrupted", "not_run"),
        retry="backoff",
    ),
)

NEVER_STARTED = (
    Way(
        name="kernel-missing",
        title="The kernel is not installed",
        within=no_kernels,
        cause="image",
        exit=20,
        states=UNREAD,
        retry="backoff",
        plain=Plain(arguments=("-k", "no-such-kernel")),
    ),
    Way(
        name="image-missing",
        title="The image is not there",
        where="pod",
        cause="image",
        exit=None,
        states=UNREAD,
        retry="backoff",
        plain=Plain(runs=False, note="the same, if its own pod's status is read"),
    ),
    Way(
        name="not-json",
        title="The notebook is not JSON",
        source='{"cells": [',
        cause="bad_parameters",
        exit=12,
        states=UNREAD,
        retry="never",
    ),
    Way(
        name="unknown-parameter",
        title="A parameter is misspelt",
        cells=(("top: int = 1", "parameters"), FIRST, LAST),
        given={"tpo": 3},
        cause="bad_parameters",
        exit=12,
        states=UNREAD,
        retry="never",
        plain=Plain(arguments=("-p", "tpo", "3")),
        cheap=True,
    ),
    Way(
        name="input-missing",
        title="An input has not been committed",
        cells=(DATA, FIRST, "open(data).read()"),
        step="inputs: [data]",
        others="make: {notebook: step.ipynb, outputs: {data: data.txt}}",
        cause="bad_parameters",
        exit=12,
        states=UNREAD,
        retry="never",
    ),
    Way(
        name="output-missing",
        title="A declared output is not written",
        cells=(DATA, FIRST, LAST),
        step="outputs: {data: data.txt}",
        cause="check_failed",
        exit=11,
        states=WHOLE,
        retry="never",
    ),
)

SECTIONS = {
    "The notebook ends it": NOTEBOOK_ENDS,
    "The kernel ends by itself": KERNEL_ENDS,
    "Memory runs out": MEMORY_ENDS,
    "Time runs out": TIME_ENDS,
    "Somebody asks it to stop": STOPS,
    "Something kills it": KILLS,
    "Store and disk": STORE_ENDS,
    "It never really begins": NEVER_STARTED,
}
WAYS = tuple(way for section in SECTIONS.values() for way in section)
HERE = tuple(way for way in WAYS if way.where == "here")
IN_POD = tuple(way for way in WAYS if way.where == "pod")
