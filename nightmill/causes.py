"""The one table of causes: why an attempt ended as it did, and with which exit code.

Apart from `errors` because records, pods and pages speak of causes without raising anything.
"""

from __future__ import annotations

from enum import StrEnum

_USAGE = 2  # of a command that was used wrongly; `errors`, which names it, stands above
_BY_SIGNAL = 128  # above it shells and container runtimes say "by a signal"; below 0 Python does


class Cause(StrEnum):
    """Why an attempt failed; exactly one for each failure."""

    NOTEBOOK_ERROR = "notebook_error"
    CHECK_FAILED = "check_failed"
    BAD_PARAMETERS = "bad_parameters"
    KERNEL_DIED = "kernel_died"
    OUT_OF_MEMORY = "out_of_memory"
    CELL_TIMEOUT = "cell_timeout"
    DEADLINE = "deadline"
    TERMINATED = "terminated"
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    IMAGE = "image"
    STORE = "store"
    FENCED = "fenced"
    NIGHTMILL_BUG = "nightmill_bug"

    @property
    def exit_code(self) -> int:
        """The exit code of `nightmill step` for this cause: 10 and up, in the order above."""
        return 10 + list(Cause).index(self)

    @staticmethod
    def of_exit_code(code: int) -> Cause:
        """Judge a failed step that left no word by the exit code of its process, or container."""
        if code < 0 or code > _BY_SIGNAL:
            return Cause.TERMINATED
        if code == _USAGE:
            return Cause.BAD_PARAMETERS
        return next((cause for cause in Cause if cause.exit_code == code), Cause.NIGHTMILL_BUG)


SUMMARY: dict[Cause, str] = {
    Cause.NOTEBOOK_ERROR: "a cell raised an exception",
    Cause.CHECK_FAILED: "an output is missing or fails its checks",
    Cause.BAD_PARAMETERS: "a parameter, input or pipeline.yaml is wrong; nothing was run",
    Cause.KERNEL_DIED: "the kernel process ended by itself",
    Cause.OUT_OF_MEMORY: "the memory limit was reached",
    Cause.CELL_TIMEOUT: "a cell ran longer than its timeout",
    Cause.DEADLINE: "the step ran longer than its timeout",
    Cause.TERMINATED: "somebody or something asked the step to stop (SIGTERM, Ctrl-C)",
    Cause.EVICTED: "the cluster evicted the pod",
    Cause.NODE_LOST: "the node under the pod was lost",
    Cause.IMAGE: "the image or a kernel in it is missing or broken",
    Cause.STORE: "the store could not be reached or refused",
    Cause.FENCED: "a newer attempt had committed already",
    Cause.NIGHTMILL_BUG: "Nightmill itself failed; please report it",
}
