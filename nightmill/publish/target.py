"""What can be published to, and how one publisher of several wins: the newest commit's.

Publishers of the same output may overtake each other at any point, and any of them may die. So
each one looks at what is published, *then* reads the pointer, and replaces only what it saw: an
older attempt that wakes up late either sees the newer pointer, or finds another object than it saw.
Afterwards it looks once more, and publishes again if the pointer has moved meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from nightmill.errors import NightmillError, StoreConflict, StoreError
from nightmill.store.pointer import Pointer

_MAX_TRIES = 12
_REPEATS = 2
_PAUSE_S = 0.05  # grows with each try: at most 3 s in all

Replace = Callable[[], None]


class State(StrEnum):
    """What is true of a published output now.

    NOTHING also where a newer run has none of it; WITHDRAWN when that took effect just now.
    """

    NOTHING = "nothing is committed"
    CURRENT = "up to date"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"
    BEHIND = "behind"
    FAILED = "failed"


class PublishError(NightmillError):
    """An output is committed, and cannot be published as pipeline.yaml says."""


class CutOffError(StoreError):
    """The store failed in a request of a library, which asks again only for some of them."""


class Target(Protocol):
    """The place of one output and partition."""

    @property
    def address(self) -> str:
        """What a reader opens."""

    def look(self, pointer: Pointer) -> Replace | State:
        """See whether the pointer's version is published: CURRENT, or NOTHING if it has none.

        Else return what would make it so. Calling that replaces what was seen, and nothing else:
        StoreConflict when it has changed.
        """


def look(target: Target, read: Callable[[], Pointer | None]) -> State:
    """Compare what is published with what is current, as `read` tells it; change nothing."""
    pointer = read()
    if pointer is None:
        return State.NOTHING
    found = target.look(pointer)
    return found if isinstance(found, State) else State.BEHIND


def bring_up_to_date(target: Target, read: Callable[[], Pointer | None]) -> State:
    """Publish what is current, as `read` tells it, and return what had to be done.

    What was cut off is begun anew if the pointer can be read: it may also have taken effect.
    Raises StoreError or PublishError.
    """
    repeats = 0
    while True:
        try:
            return _try(target, read)
        except CutOffError:
            if repeats == _REPEATS:
                raise
            repeats += 1


def _try(target: Target, read: Callable[[], Pointer | None]) -> State:
    pointer, has_replaced = read(), False
    conflict: StoreConflict | None = None
    for tries in range(_MAX_TRIES):
        if pointer is None:
            return State.NOTHING
        found = target.look(pointer)
        if isinstance(found, State) and not has_replaced:
            return found  # who moves the pointer from now on publishes after that
        latest = read()
        if latest is not None and latest.commit_id == pointer.commit_id:
            if isinstance(found, State):
                return State.PUBLISHED if found is State.CURRENT else State.WITHDRAWN
            try:
                found()
                has_replaced = True
            except StoreConflict as error:
                conflict = error
                time.sleep(_PAUSE_S * tries * random.random())  # noqa: S311 - spreads, hides nothing
        pointer = latest
    raise PublishError(
        f"what is published changed under each of {_MAX_TRIES} tries",
        where=target.address,
        advice=f"see what else writes there, then repair ({conflict.problem if conflict else ''})",
    )
