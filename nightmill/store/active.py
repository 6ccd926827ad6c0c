"""Marks of the attempts that run: what a sweep reads to find those that died without a word.

A mark is set before the attempt does anything and removed after its record has its end. What is
left is either running or dead; the heartbeat in its `progress.json` tells which.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from nightmill.store.interface import Store
from nightmill.store.keys import active_key

_FOLDER, _SUFFIX = "active", ".json"


class MarkFacts(BaseModel):
    """Who set a mark and when, and the order of the run; marks of earlier versions lack that."""

    model_config = ConfigDict(frozen=True)

    started_at: AwareDatetime
    host: str
    pid: int
    order: int | None = None


@dataclass(frozen=True)
class Mark:
    """An attempt that runs or died; `facts` is None where they cannot be read."""

    prefix: str
    address: str
    facts: MarkFacts | None


def mark(store: Store, prefix: str, *, order: int | None = None) -> None:
    """Note that this process runs the attempt with this prefix; `order` is its run's."""
    now, host = datetime.now(UTC), platform.node()
    facts = MarkFacts(started_at=now, host=host, pid=os.getpid(), order=order)
    store.write(active_key(prefix), facts.model_dump_json(indent=1).encode() + b"\n")


def unmark(store: Store, prefix: str) -> None:
    """Note that the attempt runs no more; nothing happens where there is no mark."""
    store.delete(active_key(prefix))


def active(store: Store) -> Iterator[Mark]:
    """Find the attempts that are marked, sorted by prefix.

    The key names the attempt, so a mark that cannot be read still tells which one it is.
    """
    for prefix in marked_prefixes(store):
        found = read_mark(store, prefix)
        if found is not None:  # else it ended just now
            yield found


def read_mark(store: Store, prefix: str) -> Mark | None:
    """Read the mark of an attempt; None where there is none."""
    key = active_key(prefix)
    blob = store.read(key)
    return Mark(prefix, store.address(key), _facts(blob.data)) if blob else None


def marked_prefixes(store: Store) -> Iterator[str]:
    """Name the attempts that are marked, without a look at the marks themselves."""
    for entry in store.list(_FOLDER):
        yield entry.key.removeprefix(f"{_FOLDER}/").removesuffix(_SUFFIX)


def _facts(data: bytes) -> MarkFacts | None:
    try:
        return MarkFacts.model_validate_json(data)
    except ValidationError:
        return None
