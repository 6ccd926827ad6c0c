"""What is current of the newest partition, or of the newest before a day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nightmill.store.interface import Store
from nightmill.store.keys import encode, pointers_prefix
from nightmill.store.newest import earlier_first, newest_first
from nightmill.store.pointer import Pointer, read_current


def latest_pointers(
    store: Store, pipeline: str, step: str, *, members: Sequence[str], dated: bool = True
) -> dict[str, Pointer]:
    """Read the newest partition that every member has committed (see `newest`); empty if none is.

    `members` is ("",) for a step without; `dated` is whether partitions are days.
    """
    prefix = pointers_prefix(pipeline, step)
    names = newest_first(store, [prefix], dated=dated, by_member=any(members))
    return _first_whole(store, prefix, names, members)


def latest_pointers_before(  # noqa: PLR0913 - a step's name has parts, and so has the question
    store: Store, pipeline: str, step: str, *, members: Sequence[str], before: str, inclusive: bool
) -> dict[str, Pointer]:
    """Read the newest day before another one, or up to it, that every member has committed."""
    prefix = pointers_prefix(pipeline, step)
    names = earlier_first(store, prefix, before, inclusive=inclusive, by_member=any(members))
    return _first_whole(store, prefix, names, members)


def newest_pointers(
    store: Store, pipeline: str, step: str, *, member: str = ""
) -> Iterator[Pointer]:
    """Read what is current of a step's partitions, the newest first, as asked for."""
    prefix = pointers_prefix(pipeline, step)
    for name in newest_first(store, [prefix], by_member=bool(member)):
        pointer = read_current(store, _key(prefix, name, member)).pointer
        if pointer is not None:
            yield pointer


def _first_whole(
    store: Store, prefix: str, names: Iterable[str], members: Sequence[str]
) -> dict[str, Pointer]:
    for name in names:
        keys = {member: _key(prefix, name, member) for member in members}
        found = {member: read_current(store, key).pointer for member, key in keys.items()}
        whole = {member: pointer for member, pointer in found.items() if pointer is not None}
        if len(whole) == len(members):
            return whole
    return {}


def _key(prefix: str, partition: str, member: str) -> str:
    return f"{prefix}/{partition}/{encode(member)}.json" if member else f"{prefix}/{partition}.json"
