"""Which causes are worth another attempt: the one table, and a step's own words on top of it.

The same code meets the same data again after an error of the notebook, so a retry would only burn
an hour; a lost node or a store that was away is another matter; and what ran out of memory needs
more of it. Launchers (here and in Airflow) ask this module and count the attempts themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from nightmill.causes import Cause

MAX_DOUBLINGS = 5  # the longest wait is 32 times the first


class Retry(StrEnum):
    """What to do after a failure, as long as attempts are left."""

    NEVER = "never"
    BACKOFF = "backoff"
    MORE_MEMORY = "more_memory"


POLICY: Mapping[Cause, Retry] = {
    Cause.NOTEBOOK_ERROR: Retry.NEVER,
    Cause.CHECK_FAILED: Retry.NEVER,
    Cause.BAD_PARAMETERS: Retry.NEVER,
    Cause.KERNEL_DIED: Retry.BACKOFF,
    Cause.OUT_OF_MEMORY: Retry.MORE_MEMORY,
    Cause.CELL_TIMEOUT: Retry.BACKOFF,
    Cause.DEADLINE: Retry.BACKOFF,
    Cause.TERMINATED: Retry.BACKOFF,
    Cause.EVICTED: Retry.BACKOFF,
    Cause.NODE_LOST: Retry.BACKOFF,
    Cause.IMAGE: Retry.BACKOFF,
    Cause.STORE: Retry.BACKOFF,
    Cause.FENCED: Retry.NEVER,
    Cause.NIGHTMILL_BUG: Retry.NEVER,
}

NO_ATTEMPTS_LEFT = "no attempts left"

_SAME_AGAIN = "the same code would meet the same data"
_WHY_NEVER = {
    Cause.NOTEBOOK_ERROR: _SAME_AGAIN,
    Cause.CHECK_FAILED: _SAME_AGAIN,
    Cause.BAD_PARAMETERS: "what was given must be put right first",
    Cause.FENCED: "a newer attempt has committed",
    Cause.NIGHTMILL_BUG: "please report it",
}
_OUTLOOK = {
    Retry.BACKOFF: "another attempt may help",
    Retry.MORE_MEMORY: "another attempt with more memory may help",
}


def retry_of(cause: Cause, own: Mapping[Cause, Retry] | None = None) -> Retry:
    """Return the policy for a cause: the step's own word, else the table's."""
    return (own or {}).get(cause, POLICY[cause])


def outlook(cause: Cause, retry: Retry) -> str:
    """Say of an attempt that failed whether another one is worth it, by what its record says."""
    if retry is Retry.NEVER:
        return f"no retry: {_WHY_NEVER.get(cause, 'pipeline.yaml says so')}"
    return _OUTLOOK[retry]


@dataclass(frozen=True)
class Retries:
    """How often a step is tried again, how long it waits before, and its own words on causes."""

    count: int = 0
    delay: timedelta = timedelta(minutes=5)
    backoff: bool = True
    own: Mapping[Cause, Retry] = field(default_factory=dict)

    def of(self, cause: Cause) -> Retry:
        """Return the policy for a cause."""
        return retry_of(cause, self.own)

    def refusal(self, cause: Cause, *, left: int) -> str:
        """Say why no attempt follows a failure, with so many retries left; empty if one does."""
        if self.of(cause) is Retry.NEVER:
            return outlook(cause, Retry.NEVER)
        if left > 0:
            return ""
        return NO_ATTEMPTS_LEFT if self.count else "no retry: none was asked for"

    def wait_s(self, attempt: int) -> float:
        """Return the seconds between this attempt and the next; twice as many each time."""
        doublings = min(attempt - 1, MAX_DOUBLINGS) if self.backoff else 0
        return float(self.delay.total_seconds() * 2**doublings)
