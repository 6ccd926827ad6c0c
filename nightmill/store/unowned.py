"""Published data that no pointer stands for: somebody deleted a pointer, or a publish outlived it.

So has whoever renamed an output or took it out, once its step has run again for the partition.

Looked for by names: nothing is listed that a pointer stands for. Pointers are read of the newest
partition of each step, and of every partition of an output that this one lacks. An output that only
an older version lacks is withdrawn by whoever publishes that, or by a repair. A table (Delta) says
itself what belongs to it, so its files are never touched from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from nightmill.errors import StoreError
from nightmill.store.current import generation, pointers_at
from nightmill.store.doomed import absolve
from nightmill.store.interface import Store
from nightmill.store.keys import decode, encode
from nightmill.store.survey import Size

_PARTITION = "partition="
_TABLE = "_delta_log"


def unowned_data(store: Store, pipelines: Iterable[str]) -> Iterator[str]:
    """Name the prefixes of published partitions that no step of their pipeline has committed.

    Also those of outputs that no current version of the partition has. A pointer that cannot be
    read stands for everything.
    """
    for pipeline in pipelines:
        root = f"data/{encode(pipeline)}"
        outputs = store.children(root)
        if outputs:
            owners = _Owners(store, pipeline)
            for output in outputs:
                yield from _unowned(store, f"{root}/{output}", output, owners)


def _unowned(store: Store, prefix: str, output: str, owners: _Owners) -> Iterator[str]:
    names = store.children(prefix)
    for name in names if _TABLE not in names else ():
        own = name.removeprefix(_PARTITION)
        if name.startswith(_PARTITION) and not owners.has(output, own):
            yield f"{prefix}/{name}"


def measure(store: Store, prefix: str) -> tuple[Size, datetime | None]:
    """Return how much lies below a prefix, and when the last of it was written."""
    size, newest = Size(), None
    for entry in store.list(prefix):
        size = size.plus(Size(1, entry.size))
        newest = max(newest or entry.modified, entry.modified)
    return size, newest


def withdraw(store: Store, prefix: str) -> None:
    """Delete what lies below a prefix, and then the mark on it."""
    for entry in store.list(prefix):
        store.delete(entry.key)
    absolve(store, prefix)


class _Owners:
    """What is current of a pipeline; names are those in keys. Pointers are read when needed."""

    def __init__(self, store: Store, pipeline: str) -> None:
        self._store = store
        root = f"current/{encode(pipeline)}"
        self._partitions: dict[str, set[str]] = {}
        for step in store.children(root):
            children = store.children(f"{root}/{step}")
            self._partitions[f"{root}/{step}"] = {name.removesuffix(".json") for name in children}
        self._newest = {
            step: f"{step}/{max(names, key=decode)}"
            for step, names in self._partitions.items()
            if names
        }
        self._read: dict[str, frozenset[str] | None] = {}

    def has(self, output: str, partition: str) -> bool:
        """Tell whether a current version of a partition has an output.

        What the newest version of a step has is taken for an output of its older ones.
        """
        steps = [step for step, names in self._partitions.items() if partition in names]
        places = [self._newest[step] for step in steps] + [f"{step}/{partition}" for step in steps]
        return any(self._may_have(output, place) for place in places)

    def _may_have(self, output: str, place: str) -> bool:
        if place not in self._read:
            self._read[place] = self._outputs(place)
        known = self._read[place]
        return known is None or output in known

    def _outputs(self, place: str) -> frozenset[str] | None:
        """Name the outputs of a step's partition, of any member; None where nobody can tell."""
        try:
            found = generation(pointers_at(self._store, place))
        except StoreError:
            return None
        return frozenset(encode(name) for one in found for name in one.outputs)
