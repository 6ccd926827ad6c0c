"""Waiting for inputs that somebody else makes, while other steps run.

A step that waits holds no worker. What it waits for is looked for now and then, and given up when
the time that its pipeline.yaml allows is over: then the attempt has failed, and a record says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from nightmill.errors import NightmillError, StoreError
from nightmill.run.status import StepState, StepStatus, Wait
from nightmill.spec import words
from nightmill.store.inputs import Lack, find_lack
from nightmill.store.interface import Store

LOOK_EVERY_S = 10.0
_LONG_S = 120  # from here on seconds are not worth a word


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
        now = time.monotonic()
        if status.wait is not None and now < status.wait.look_at:
            return False
        since = status.wait.since if status.wait else now
        lack = self._lack(status, timedelta(seconds=now - since))
        status.wait = None
        if lack is None:
            return True
        left_s = lack.left.total_seconds()
        if left_s:
            look_at = now + min(left_s, self.look_every_s)
            status.wait = Wait(_told(lack.error), since, until=now + left_s, look_at=look_at)
        else:
            _give_up(status, lack.error, waited_s=now - since)
        return False

    def _lack(self, status: StepStatus, waited: timedelta) -> Lack | None:
        awaited = status.planned.awaits
        try:
            return find_lack(self.store, awaited, status.planned.run.partition, waited=waited)
        except StoreError as error:
            longest = max(source.wait for source in awaited if source.wait)
            return Lack(error, max(longest - waited, timedelta()))


def _give_up(status: StepStatus, error: NightmillError, *, waited_s: float) -> None:
    status.state, status.cause = StepState.FAILED, error.cause.value
    whole_s = round(waited_s / 60) * 60 if waited_s >= _LONG_S else waited_s
    told = f"waited {words.span(whole_s)}: {_told(error)}"
    status.message = words.describe(error.cause, told)


def _told(error: NightmillError) -> str:
    return " ".join(str(error).split())
