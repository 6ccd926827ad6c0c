"""A store that dies, fails or falls silent at one call of one's choice; and counts its calls.

A call is named by what it does, to which key, and how often that was done before, so that a list of
calls taken from an undisturbed attempt fits every later attempt, whatever its number.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.interface import Store

LOCAL = {"url", "address", "local_path", "library_options", "preflight"}
CALLS = {name for name in vars(Store) if not name.startswith("_")} - LOCAL  # new ones as well

# What differs from one attempt to the next.
_PLACES = (
    (r"/run-\d+/", "/RUN/"),
    (r"/\d+(?=/|\.json$)", "/N"),
    (r"[0-9a-f]{64}", "SHA"),
    (r"^index/(\w+)/.+", r"index/\1/ENTRY"),
)


@dataclass(frozen=True)
class Fault:
    """What happens at a call, `before` it reaches the store or `after` it took effect.

    `kill` ends the process by SIGKILL; `raise` is one error; `down` is an error from then on;
    `conflict` is what a client is told that repeats a conditional write whose reply was lost.
    """

    call: str
    when: Literal["before", "after"]
    act: Literal["kill", "raise", "down", "conflict"]


@dataclass
class FaultyStore:
    """Passes every call on to a store, but for the fault."""

    store: Store
    fault: Fault | None = None
    calls: list[str] = field(default_factory=list)
    is_down: bool = False
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __getattr__(self, name: str):
        """Wrap the calls that reach the store; the rest is the store's own."""
        method = getattr(self.store, name)
        return self._wrapped(name, method) if name in CALLS else method

    def _wrapped(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            key = next(one for one in arguments if isinstance(one, str))
            with self._lock:
                place = f"{name} {_plain(key)}"
                self._seen[place] += 1
                named = f"{place} #{self._seen[place]}"
                self.calls.append(named)
            if self.is_down:
                raise _error(name, key)
            if self._is_here(named, "before"):
                self._act(name, key)
            try:
                answer = method(*arguments, **options)
                return iter(list(answer)) if name == "list" else answer
            finally:
                if self._is_here(named, "after"):
                    self._act(name, key)

        return call

    def _is_here(self, named: str, when: str) -> bool:
        return self.fault is not None and (self.fault.call, self.fault.when) == (named, when)

    def _act(self, name: str, key: str) -> None:
        if self.fault.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.is_down = self.fault.act == "down"
        raise _error(name, key, StoreConflict if self.fault.act == "conflict" else StoreError)


def _plain(key: str) -> str:
    for pattern, name in _PLACES:
        key = re.sub(pattern, name, key)
    return key


def _error(name: str, key: str, kind: type[StoreError] = StoreError) -> StoreError:
    return kind("the store is planted with a fault", address=key, operation=name)
