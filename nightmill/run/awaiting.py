"""Waiting for inputs that somebody else makes, while other steps run.

A step that waits holds no worker. What it waits for is looked for now and then, and given up when
the time that its pipeline.yaml allows is over: then the attempt has failed, and a record says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from nightmill.run.status import StepState, StepStatus, Wait
from nightmill.store.inputs import find_lack
from nightmill.store.interface import Store

LOOK_EVERY_S = 10.0


@dataclass(frozen=True)
class Awaited:
    """Whether the inputs are there that planned steps may wait for."""

    store: Store
    look_every_s: float = LOOK_EVERY_S

    def are_there(self, status: StepStatus) -> bool:
        """Look whether a step may begin; while not, its status says what it waits for.

        When the wait is given up, the status is that of an attempt that failed. A store that cannot
        be asked is waited for as well.
        """
        now, planned = time.monotonic(), status.planned
        if status.wait is not None and now < status.wait.look_at:
            return False
        since = status.wait.since if status.wait else now
        waited = timedelta(seconds=now - since)
        status.wait = None
        lack = find_lack(
            self.store, planned.awaits, planned.run.partition, waited=waited, patiently=True
        )
        if lack is None:
            return True
        if left_s := lack.left.total_seconds():
            look_at = now + min(left_s, self.look_every_s)
            status.wait = Wait(lack.told, since, until=now + left_s, look_at=look_at)
        else:
            status.state = StepState.FAILED
            status.cause, status.message = lack.error.cause.value, lack.message
        return False
