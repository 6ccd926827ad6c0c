"""Published data that no pointer stands for: somebody deleted a pointer, or a publish outlived it.

Looked for by names alone: nothing is listed that a pointer stands for. A table (Delta) says itself
what belongs to it, so its files are never touched from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from nightmill.store.interface import Store
from nightmill.store.keys import encode
from nightmill.store.survey import Size

_PARTITION = "partition="
_TABLE = "_delta_log"


def unowned_data(store: Store, pipelines: Iterable[str]) -> Iterator[str]:
    """Name the prefixes of published partitions that no step of their pipeline has committed."""
    for pipeline in pipelines:
        root = f"data/{encode(pipeline)}"
        outputs = store.children(root)
        committed = set(_committed(store, pipeline)) if outputs else set()
        for output in outputs:
            names = store.children(f"{root}/{output}")
            for name in names if _TABLE not in names else ():
                own = name.removeprefix(_PARTITION)
                if name.startswith(_PARTITION) and own not in committed:
                    yield f"{root}/{output}/{name}"


def measure(store: Store, prefix: str) -> tuple[Size, datetime | None]:
    """Return how much lies below a prefix, and when the last of it was written."""
    size, newest = Size(), None
    for entry in store.list(prefix):
        size = size.plus(Size(1, entry.size))
        newest = max(newest or entry.modified, entry.modified)
    return size, newest


def _committed(store: Store, pipeline: str) -> Iterator[str]:
    """Name the partitions, as they are in keys, that any step of a pipeline has a pointer for."""
    root = f"current/{encode(pipeline)}"
    for step in store.children(root):
        for name in store.children(f"{root}/{step}"):
            yield name.removesuffix(".json")
