"""Ways to die that begin inside: the notebook, its kernel, memory and time."""

from __future__ import annotations

from tests.deaths.acts import (
    kill_all,
    kill_kernel,
    sigterm,
    when_kernel_starts,
    when_reached,
    when_saved,
)
from tests.deaths.cells import (
    DATA,
    FIRST,
    FLOOD,
    LAST,
    SLEEPS,
    TAKE_ALL,
    TAKE_ALL_WITH_THE_CONTAINER,
    TAKES_ALL_IN_A_CHILD,
)
from tests.deaths.fates import (
    CELL_TIMEOUT,
    CHILD_OUT_OF_MEMORY,
    CONTAINER_OUT_OF_MEMORY,
    DEADLINE,
    INCOMPLETE,
    KERNEL_DIES,
    KERNEL_NEVER_LIVES,
    LIVES,
    OUT_OF_MEMORY,
    POD_DEADLINE,
    RAISES,
)
from tests.deaths.surroundings import memory_limit, process_limit
from tests.deaths.way import Plain, Way

NO_DEADLINE = Plain(act=when_reached(sigterm), note="has no deadline; here stopped by SIGTERM")

NOTEBOOK_ENDS = (
    Way(
        "cell-raises",
        "A cell raises an exception",
        RAISES,
        'raise ValueError("no rows")',
        cheap=True,
    ),
    Way(
        "endless-recursion", "A cell recurses without end", RAISES, "def again(): again()\nagain()"
    ),
    Way(
        "keyboard-interrupt", "A cell raises `KeyboardInterrupt`", RAISES, "raise KeyboardInterrupt"
    ),
    Way("sys-exit-0", "A cell calls `sys.exit(0)`", RAISES, "sys.exit(0)", cheap=True),
    Way("sys-exit-3", "A cell calls `sys.exit(3)`", RAISES, "sys.exit(3)"),
    Way("asks-for-input", "A cell asks for input", RAISES, 'input("User name: ")'),
    Way(
        "child-killed",
        "A process that a cell waits for is killed by signal 9, not for memory",
        RAISES,
        'subprocess.run(["sh", "-c", "kill -9 $$"], check=True)',
    ),
    Way(
        "process-leak",
        "A cell starts processes up to the limit of the pod",
        RAISES,
        'kept = []\nwhile True: kept.append(subprocess.Popen(["sleep", "300"]))',
        within=process_limit,
    ),
    Way(
        "thread-raises",
        "A thread fails while no cell waits for it",
        LIVES,
        "threading.Thread(target=lambda: 1 / 0).start()",
        warns="ZeroDivisionError",
    ),
    Way(
        "module-in-the-way",
        "A module beside the notebook has the name of one of Python's own",
        LIVES,
        files={"fnmatch.py": 'raise RuntimeError("not the real fnmatch")\n'},
    ),
    Way(
        "output-missing",
        "A declared output is not written",
        INCOMPLETE,
        cells=(DATA, FIRST, LAST),
        step="outputs: {data: data.txt}",
    ),
    Way("flood", "A cell prints 40 MB and 20,000 lines", LIVES, FLOOD),
)

KERNEL_ENDS = (
    Way(
        "kernel-killed",
        "The kernel is killed by SIGKILL",
        KERNEL_DIES,
        SLEEPS,
        act=when_reached(kill_kernel),
        cheap=True,
    ),
    Way(
        "segfault",
        "Native code touches memory that is not there (SIGSEGV)",
        KERNEL_DIES,
        "import ctypes\nctypes.string_at(0)",
    ),
    Way(
        "stack-overflow",
        "Native code overflows its stack",
        KERNEL_DIES,
        "import faulthandler\nfaulthandler._stack_overflow()",
    ),
    Way("os-exit-0", "A cell calls `os._exit(0)`", KERNEL_DIES, "os._exit(0)"),
    Way("os-exit-3", "A cell calls `os._exit(3)`", KERNEL_DIES, "os._exit(3)"),
    Way(
        "kernel-killed-starting",
        "The kernel is killed while it starts",
        KERNEL_NEVER_LIVES,
        act=when_kernel_starts(kill_kernel),
    ),
)

MEMORY_ENDS = (
    Way(
        "kernel-out-of-memory",
        "The kernel takes more memory than the limit",
        OUT_OF_MEMORY,
        TAKE_ALL,
        within=memory_limit,
        evidence=("oom_kills",),
    ),
    Way(
        "thread-out-of-memory",
        "A thread of the kernel takes more memory than the limit",
        OUT_OF_MEMORY,
        f'one = threading.Thread(target=exec, args=("{TAKE_ALL}",))\none.start()\none.join()',
        within=memory_limit,
        evidence=("oom_kills",),
    ),
    Way(
        "child-out-of-memory",
        "A process that a cell waits for is killed for memory, and the cell raises",
        CHILD_OUT_OF_MEMORY,
        f"{TAKES_ALL_IN_A_CHILD}\nchild.check_returncode()",
        within=memory_limit,
        evidence=("oom_kills",),
    ),
    Way(
        "child-out-of-memory-survived",
        "A process that a cell waits for is killed for memory, and the cell copes",
        LIVES,
        TAKES_ALL_IN_A_CHILD,
        within=memory_limit,
        evidence=("oom_kills",),
    ),
    Way(
        "container-out-of-memory",
        "The whole container is killed for memory (as cgroup v2 does)",
        CONTAINER_OUT_OF_MEMORY,
        TAKE_ALL_WITH_THE_CONTAINER,
        where="pod",
        plain=Plain(act=when_saved(kill_all), note="all its processes killed at once"),
    ),
)

TIME_ENDS = (
    Way(
        "cell-timeout",
        "A cell runs longer than its timeout",
        CELL_TIMEOUT,
        SLEEPS,
        step="cell_timeout: 2s",
        plain=Plain(arguments=("--execution-timeout", "2")),
        cheap=True,
    ),
    Way(
        "deadline",
        "The step runs longer than its timeout",
        DEADLINE,
        SLEEPS,
        step="timeout: 8s",
        plain=NO_DEADLINE,
    ),
    Way(
        "pod-deadline",
        "The pod runs longer than its own deadline (`activeDeadlineSeconds`)",
        POD_DEADLINE,
        SLEEPS,
        where="pod",
        plain=Plain(act=when_saved(sigterm)),
    ),
)
