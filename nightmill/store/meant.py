"""Which pointers an input means: an input names an output, not the step that makes it.

A step may be renamed, and an output may move to another step. What was committed before stays
current, as `nightmill where` says. So it is looked for below the pipeline's other steps as well,
where the step that makes the output now has none, or only one of an older partition. Where it has
one of the same partition, that counts. A version is of one step, never a mixture of members, and
has every member that there is now: a notebook would take a part of them for the whole. So what was
committed without one of them, or in the other form, with members or without, is not found, whether
the step was renamed or not. Such partitions have to be made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from nightmill.spec.graph import InputSource
from nightmill.spec.partition import previous_partition
from nightmill.spec.units import iso_date
from nightmill.store.interface import Store
from nightmill.store.keys import decode, encode
from nightmill.store.latest import latest_pointers, latest_pointers_before
from nightmill.store.pointer import Pointer, read_pointer

_TRIED_DAYS = 3  # more requests than this are no cheaper than a listing
_LOOKED_BACK = 8  # partitions of another step, which may have lost the output by and by


def meant_pointers(store: Store, source: InputSource, partition: str) -> dict[str, Pointer]:
    """Read the pointers that an input means, by member; empty unless every member has committed.

    They lack the output where the step that makes it now has committed without it, and no other
    step has it. The other steps cost a request each, and only where they may have something newer.
    """
    own = _of_step(store, source, partition)
    has_own = has_output(own, source)
    if has_own and _is_newest(own, source, partition):
        return own
    found = [own] if has_own else []
    for step in other_steps(store, source.pipeline, source.step):
        versions = _newest_first(store, replace(source, step=step), partition)
        few = islice(versions, 1 if has_own else _LOOKED_BACK)
        found += islice((one for one in few if has_output(one, source)), 1)
    return max(found, key=lambda one: _rank(one, source), default=own)


def has_output(pointers: Mapping[str, Pointer], source: InputSource) -> bool:
    """Tell whether every member has committed, and the output that is wanted is among it."""
    return bool(pointers) and all(source.output in one.outputs for one in pointers.values())


def other_steps(store: Store, pipeline: str, step: str) -> list[str]:
    """Name the steps of a pipeline that have ever committed, without one of them."""
    names = store.children(f"current/{encode(pipeline)}")
    return [decode(name) for name in names if name != encode(step)]


def whole_partition(
    store: Store, source: InputSource, partition: str, *members: str
) -> dict[str, Pointer]:
    """Read the pointers of these members, or of all; empty unless every one has committed."""
    found: dict[str, Pointer] = {}
    for member in members or source.members or ("",):
        pointer = read_pointer(store, source.pipeline, source.step, partition, member=member)
        if pointer is None:
            return {}
        found[member] = pointer
    return found


def _of_step(store: Store, source: InputSource, partition: str) -> dict[str, Pointer]:
    """Read what one step has committed."""
    match source.version:
        case "same_partition":
            return whole_partition(store, source, partition)
        case "previous_partition":
            return whole_partition(store, source, previous_partition(partition))
        case "latest_before_partition":
            return _latest_before(store, source, partition)
        case "latest":
            members, dated = source.members or ("",), source.dated
            names = source.pipeline, source.step
            return latest_pointers(store, *names, members=members, dated=dated)


def _latest_before(store: Store, source: InputSource, partition: str) -> dict[str, Pointer]:
    """Try the last days first: most outputs are made daily, and a listing grows with the years."""
    last = iso_date(_last_day(source, partition))
    for days in range(_TRIED_DAYS):
        found = whole_partition(store, source, (last - timedelta(days=days)).isoformat())
        if found:
            return found
    return _before(store, source, partition, inclusive=source.inclusive)


def _last_day(source: InputSource, partition: str) -> str:
    return partition if source.inclusive else previous_partition(partition)


def _before(
    store: Store, source: InputSource, partition: str, *, inclusive: bool = False
) -> dict[str, Pointer]:
    members, names = source.members or ("",), (source.pipeline, source.step)
    return latest_pointers_before(
        store, *names, members=members, before=partition, inclusive=inclusive
    )


def _is_newest(own: Mapping[str, Pointer], source: InputSource, partition: str) -> bool:
    """Tell whether no other step can have a newer partition of what is wanted.

    Partitions that are text have no order by which another step's could be newer.
    """
    match source.version:
        case "latest_before_partition":
            return _partition(own) == _last_day(source, partition)
        case "latest":
            return not source.dated
        case _:
            return True


def _newest_first(
    store: Store, source: InputSource, partition: str
) -> Iterator[dict[str, Pointer]]:
    """Read what a step has committed that could be meant, the newest first, as asked for."""
    found = _of_step(store, source, partition)
    while found:
        yield found
        if source.version in ("same_partition", "previous_partition"):
            return
        found = _before(store, source, _partition(found))


def _rank(pointers: Mapping[str, Pointer], source: InputSource) -> tuple[object, ...]:
    """Order by day, then the present step's before others, then what was committed last."""
    first = next(iter(pointers.values()))
    day = first.partition if source.dated else ""
    last = max(one.committed_at for one in pointers.values())
    return day, first.step == source.step, last


def _partition(pointers: Mapping[str, Pointer]) -> str:
    return next(iter(pointers.values())).partition
