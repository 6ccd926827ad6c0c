"""Which causes are worth another attempt: the one table, and a step's own words on top of it.

The same code meets the same data again after an error of the notebook, so a retry would only burn
an hour; a lost node or a store that was away is another matter; and what ran out of memory needs
more of it. Launchers (here and in Airflow) ask this module and count the attempts themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from nightmill.causes import Cause


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


def retry_of(cause: Cause, own: Mapping[Cause, Retry] | None = None) -> Retry:
    """Return the policy for a cause: the step's own word, else the table's."""
    return (own or {}).get(cause, POLICY[cause])
