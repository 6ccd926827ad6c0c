"""Pairs the items of two sequences by keys, in linear time, and tells which of them moved."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Key = Callable[[Item], Hashable | None]
Pairs = dict[int, int]
"""Places of the later sequence, each with its partner's place in the earlier one."""


def pair(before: Sequence[Item], after: Sequence[Item], *keys: Key[Item]) -> Pairs:
    """Pair what has the same key: all by the first one, then what is left by the next.

    Of several items with one key the first goes to the first. An item whose key is None stays for
    later keys.
    """
    pairs: Pairs = {}
    for key in keys:
        pairs |= by_key(_left(before, set(pairs.values())), _left(after, set(pairs)), key)
    return pairs


def by_key(before: dict[int, Item], after: dict[int, Item], key: Key[Item]) -> Pairs:
    """Pair items, given by their places, that have the same key and come equally often before."""
    partners: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, item in reversed(before.items()):
        partners[key(item)].append(place)
    partners.pop(None, None)
    found: Pairs = {}
    for at, candidate in after.items():
        if waiting := partners.get(key(candidate)):
            found[at] = waiting.pop()
    return found


def _left(items: Sequence[Item], taken: set[int]) -> dict[int, Item]:
    return {place: item for place, item in enumerate(items) if place not in taken}


def moved(pairs: Pairs) -> set[int]:
    """Return the later places of pairs that stand in another order: as few as explain it all."""
    places = sorted(pairs)
    ends: list[int] = []  # the smallest end of an ordered run, by the run's length
    lengths = []
    for place in places:
        length = bisect_left(ends, pairs[place])
        ends[length : length + 1] = [pairs[place]]
        lengths.append(length)
    kept, wanted = set(), len(ends) - 1
    for place, length in zip(reversed(places), reversed(lengths), strict=True):
        if length == wanted:
            kept.add(place)
            wanted -= 1
    return set(places) - kept


def in_order(pairs: Pairs, before: int, after: int) -> Iterator[tuple[int | None, int | None]]:
    """Go through the places of both (there are so many), what is gone beside what it followed."""
    gone: defaultdict[int | None, list[int]] = defaultdict(list)
    partners = {earlier: later for later, earlier in pairs.items()}
    anchor: int | None = None
    for place in range(before):
        if place in partners:
            anchor = partners[place]
        else:
            gone[anchor].append(place)
    yield from ((place, None) for place in gone[None])
    for place in range(after):
        yield pairs.get(place), place
        yield from ((left, None) for left in gone[place] if place in pairs)
