"""Where the current version of an output is: an address whose bytes never change.

Whoever reads there sees one version whole, however often it is replaced meanwhile, and needs to
know neither the step nor the project.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from nightmill.errors import UsageError
from nightmill.spec.problems import shown
from nightmill.store.interface import Store
from nightmill.store.keys import encode
from nightmill.store.newest import newest_first
from nightmill.store.pointer import Pointer, read_current

_LOOKED_BACK = 1000  # partitions that lack the output, where none is named


def current_pointers(
    store: Store,
    pipeline: str,
    output: str,
    partition: str | None = None,
    *,
    members: Mapping[str, Sequence[str]] | None = None,
) -> list[Pointer]:
    """Read what is current of an output: one pointer, or one for each member, by their names.

    Without a partition that of the newest which has committed the output. An output that has moved
    to another step is what was committed last; of a step that was given members, or lost them, the
    newest run tells which it has. `members` are those that steps have now, where that is known.
    Raises UsageError where there is none.
    """
    root = f"current/{encode(pipeline)}"
    steps = [f"{root}/{step}" for step in store.children(root)]
    names = newest_first(store, steps) if partition is None else iter((encode(partition),))
    for name in islice(names, _LOOKED_BACK):
        each = (generation(pointers_at(store, f"{step}/{name}"), members) for step in steps)
        found = [one for one in chain.from_iterable(each) if output in one.outputs]
        if found:
            last = max(found, key=lambda one: one.committed_at)
            return [one for one in found if one.step == last.step]
    raise UsageError(
        f"nothing is current of {shown(output)}" + (f" for {partition}" if partition else ""),
        where=f"{pipeline} in {store.url}",
        advice="`nightmill versions` lists what was stored; `nightmill runs` tells what ran",
    )


def pointers_of_partition(store: Store, pipeline: str, partition: str) -> Iterator[Pointer]:
    """Read what is current of a partition, of every step and member."""
    root = f"current/{encode(pipeline)}"
    for step in store.children(root):
        yield from pointers_at(store, f"{root}/{step}/{encode(partition)}")


def generation(
    pointers: Iterable[Pointer], members: Mapping[str, Sequence[str]] | None = None
) -> list[Pointer]:
    """Choose of a step's pointers those that count: of its members, or of the time without."""
    found = list(pointers)
    if not found:
        return []
    newest = max(found, key=lambda one: one.token.order)
    same = [one for one in found if bool(one.member) == bool(newest.member)]
    known = (members or {}).get(newest.step)
    return [one for one in same if one.member in known] if known and newest.member else same


def pointers_at(store: Store, prefix: str) -> Iterator[Pointer]:
    """Read what is current of a step's partition, of every member; `prefix` is that of its keys."""
    keys = [f"{prefix}.json", *(f"{prefix}/{name}" for name in store.children(prefix))]
    pointers = (read_current(store, key).pointer for key in keys)
    return (one for one in pointers if one is not None)
