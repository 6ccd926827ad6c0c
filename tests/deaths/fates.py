"""How steps end: what the table of ways to die expects, written out for every kind of end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WHOLE = ("completed", "completed", "completed")
RAISED = ("completed", "failed", "not_run")
CUT = ("completed", "interrupted", "not_run")
UNTOUCHED = ("not_run", "not_run", "not_run")
UNREAD = ()  # no notebook was begun, so there is none to see

Retry = Literal["", "never", "backoff", "more_memory"]


@dataclass(frozen=True)
class Fate:
    """How a step ends: cause, exit code, the states of its cells, and what the policy says then.

    The exit code is that of the step's process or of its container; None: nobody was left to ask.
    """

    cause: str | None
    exit: int | None
    states: tuple[str, ...]
    retry: Retry


RAISES = Fate("notebook_error", 10, RAISED, "never")
LIVES = Fate(None, 0, WHOLE, "")
KERNEL_DIES = Fate("kernel_died", 13, CUT, "backoff")
KERNEL_NEVER_LIVES = Fate("kernel_died", 13, UNTOUCHED, "backoff")
OUT_OF_MEMORY = Fate("out_of_memory", 14, CUT, "more_memory")
CHILD_OUT_OF_MEMORY = Fate("out_of_memory", 14, RAISED, "more_memory")
CONTAINER_OUT_OF_MEMORY = Fate("out_of_memory", 137, CUT, "more_memory")
CELL_TIMEOUT = Fate("cell_timeout", 15, CUT, "backoff")
DEADLINE = Fate("deadline", 16, CUT, "backoff")
POD_DEADLINE = Fate("deadline", 17, CUT, "backoff")
STOPPED_EARLY = Fate("terminated", 17, UNTOUCHED, "backoff")
STOPPED = Fate("terminated", 17, CUT, "backoff")
EVICTED = Fate("evicted", 17, CUT, "backoff")
KILLED = Fate("terminated", -9, CUT, "backoff")
NODE_LOST = Fate("node_lost", None, CUT, "backoff")
NO_STORE = Fate("store", 21, UNREAD, "backoff")
STORE_LOST = Fate("store", 21, CUT, "backoff")
STORE_LOST_LATE = Fate("store", 21, WHOLE, "backoff")
NO_KERNEL = Fate("image", 20, UNREAD, "backoff")
NO_IMAGE = Fate("image", None, UNREAD, "backoff")
REFUSED = Fate("bad_parameters", 12, UNREAD, "never")
INCOMPLETE = Fate("check_failed", 11, WHOLE, "never")
