"""The attempts that count of a step: one for each of its partitions and members, the newest first.

What a step did in a night is told by the newest attempt that committed or is held for review; where
there is none, by the newest that ended otherwise. Days are in the order of the calendar, whenever
they were run; other partitions in the order of their runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from typing import TypeVar
from zoneinfo import ZoneInfo

from nightmill.review.current import current_beside
from nightmill.review.pages.lateness import day_of, due_times
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.summary import Standing
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.parallel import in_parallel

_Found = TypeVar("_Found")

COUNTING = (Standing.SUCCEEDED, Standing.HELD)

_RANKS = {Standing.RUNNING: 0, Standing.FAILED: 1, Standing.REJECTED: 1}
_BEST = 2
_MOST_LINES = 2000  # whose summaries one page opens
_SPARSE = 3  # a window with fewer than every third night is no series of them
_MOST_DAYS = 4000  # that a window may span


@dataclass(frozen=True)
class Nights:
    """Partitions of a step, the newest first, and the attempt that counts of each and member.

    `are_days` says that all partitions are dates. `newer` and `older` count those left out, and
    `before` is the newest of the older ones. `committed` are all attempts that did, where it is the
    newest of several that counts.
    """

    partitions: tuple[str, ...]
    members: tuple[str, ...]
    lines: Mapping[tuple[str, str], Line]
    are_days: bool
    committed: Mapping[tuple[str, str], tuple[Line, ...]] = field(default_factory=dict)
    newer: int = 0
    older: int = 0
    before: str = ""

    @property
    def noun(self) -> str:
        """What people call one of the partitions."""
        return "night" if self.are_days else "partition"

    @property
    def newest(self) -> Standing:
        """How the newest partition went: what failed or still runs comes before what counts."""
        found = (self.lines.get((self.partitions[0], member)) for member in self.members)
        ended = [line.standing for line in found if line is not None]
        return min(ended, key=lambda one: (one in COUNTING, one is Standing.RUNNING))

    def window(self, last: int, until: str = "") -> Nights:
        """Keep so many partitions, the newest or those up to `until`; fewer of a wide step."""
        first = self.partitions.index(until) if until in self.partitions else 0
        most = min(last, max(1, _MOST_LINES // max(1, len(self.members))))
        kept = self.partitions[first : first + most]
        rest = self.partitions[first + most :]
        return replace(
            self,
            partitions=kept,
            lines=_of(self.lines, kept),
            committed=_of(self.committed, kept),
            newer=first,
            older=len(rest),
            before=rest[0] if rest else "",
        )

    def of_member(self, member: str) -> Nights:
        """Keep the attempts of one member, in the same partitions."""
        return replace(
            self,
            members=(member,),
            lines={key: one for key, one in self.lines.items() if key[1] == member},
            committed={key: one for key, one in self.committed.items() if key[1] == member},
        )


def nights_of(lines: Iterable[Line], step: str) -> Nights:
    """Choose the attempts that count of a step, from lines with the newest run first."""
    chosen: dict[tuple[str, str], Line] = {}
    committed: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.step == step:
            key = line.partition, line.member
            if line.standing is Standing.SUCCEEDED:
                committed.setdefault(key, []).append(line)
            known = chosen.get(key)
            if known is None or _rank(line) > _rank(known):
                chosen[key] = line
    names = list(dict.fromkeys(partition for partition, _member in chosen))
    are_days = bool(names) and all(map(day_of, names))
    return Nights(
        partitions=tuple(sorted(names, reverse=True) if are_days else names),
        members=tuple(sorted({member for _partition, member in chosen})),
        lines=chosen,
        are_days=are_days,
        committed={
            key: tuple(found)
            for key, found in committed.items()
            if len(found) > 1 and chosen[key].standing is Standing.SUCCEEDED
        },
    )


def as_current(store: Store, every: Sequence[Nights]) -> list[Nights]:
    """Let of several attempts that committed the one count that is current.

    One pointer is read of each partition and member that has several, some at once: so this is for
    those that a page shows. Where a pointer cannot be read, the newest counts.
    """
    asked = [found[0] for nights in every for found in nights.committed.values()]
    pairs = zip(asked, in_parallel(lambda line: _current(store, line), asked), strict=True)
    current = {line.prefix: prefix for line, prefix in pairs}
    return [
        replace(
            nights,
            lines={**nights.lines, **dict(_chosen(nights.committed, current))},
        )
        for nights in every
    ]


def by_step(lines: Iterable[Line]) -> Mapping[str, list[Line]]:
    """Part the lines of a pipeline by their steps, in the order of the names."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.step, []).append(line)
    return {step: found[step] for step in sorted(found)}


def slots_of(nights: Nights, spec: PipelineSpec | None) -> list[str]:
    """Return the partitions, the oldest first, with those between them that were due and never ran.

    Where far more are missing than there are, it is a backfill of some, and none is called missing.
    """
    known = list(reversed(nights.partitions))
    first, last = (day_of(known[0]), day_of(known[-1])) if nights.are_days else (None, None)
    if spec is None or first is None or last is None or (last - first).days > _MOST_DAYS:
        return known
    noon = datetime.combine(last, time(12), ZoneInfo(spec.timezone))
    due = due_times(spec, (last - first).days, noon)
    slots = sorted({*known, *due})
    return slots if len(slots) <= _SPARSE * len(known) else known


def _of(
    found: Mapping[tuple[str, str], _Found], partitions: Iterable[str]
) -> Mapping[tuple[str, str], _Found]:
    kept = set(partitions)
    return {key: one for key, one in found.items() if key[0] in kept}


def _current(store: Store, line: Line) -> str:
    """Return the prefix of what is current where an attempt committed; empty if nobody knows."""
    current = current_beside(store, line.prefix)
    return current.pointer.attempt_prefix if current and current.pointer else ""


def _chosen(
    committed: Mapping[tuple[str, str], Sequence[Line]], current: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str], Line]]:
    for key, found in committed.items():
        prefix = current[found[0].prefix]
        yield from ((key, line) for line in found if line.prefix == prefix)


def _rank(line: Line) -> int:
    return _RANKS.get(line.standing, _BEST)
