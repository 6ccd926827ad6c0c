"""The attempts that count of a step: one for each of its partitions and members, the newest first.

What a step did in a night is told by the newest attempt that committed or is held for review; where
there is none, by the newest that ended otherwise. Days are in the order of the calendar, whenever
they were run; other partitions in the order of their runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.summary import Standing
from nightmill.store.index_line import Line

COUNTING = (Standing.SUCCEEDED, Standing.HELD)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_RANKS = {Standing.RUNNING: 0, Standing.FAILED: 1, Standing.REJECTED: 1}
_BEST = 2
_MOST_LINES = 2000  # whose summaries one page opens
_DIGITS = 10  # far more than there are
_SPARSE = 3  # a window with fewer than every third day is no series of nights
_EVERY_DAY = ("@daily", "@midnight", "@hourly")


@dataclass(frozen=True)
class Nights:
    """Partitions of a step, the newest first, and the attempt that counts of each and member.

    `are_days` says that all partitions are dates. `newer` and `older` count those left out, and
    `before` is the newest of the older ones.
    """

    partitions: tuple[str, ...]
    members: tuple[str, ...]
    lines: Mapping[tuple[str, str], Line]
    are_days: bool
    newer: int = 0
    older: int = 0
    before: str = ""

    @property
    def noun(self) -> str:
        """What people call one of the partitions."""
        return "night" if self.are_days else "partition"

    def window(self, last: int, until: str = "") -> Nights:
        """Keep so many partitions, the newest or those up to `until`; fewer of a wide step."""
        first = self.partitions.index(until) if until in self.partitions else 0
        most = min(last, max(1, _MOST_LINES // max(1, len(self.members))))
        kept = self.partitions[first : first + most]
        rest = self.partitions[first + most :]
        return replace(
            self,
            partitions=kept,
            lines={key: line for key, line in self.lines.items() if key[0] in set(kept)},
            newer=first,
            older=len(rest),
            before=rest[0] if rest else "",
        )


def nights_of(lines: Iterable[Line], step: str) -> Nights:
    """Choose the attempts that count of a step, from lines with the newest run first."""
    chosen: dict[tuple[str, str], Line] = {}
    for line in lines:
        if line.step == step:
            key = line.partition, line.member
            known = chosen.get(key)
            if known is None or _rank(line) > _rank(known):
                chosen[key] = line
    names = list(dict.fromkeys(partition for partition, _member in chosen))
    are_days = bool(names) and all(map(_DAY.fullmatch, names))
    return Nights(
        partitions=tuple(sorted(names, reverse=True) if are_days else names),
        members=tuple(sorted({member for _partition, member in chosen})),
        lines=chosen,
        are_days=are_days,
    )


def by_step(lines: Iterable[Line]) -> Mapping[str, list[Line]]:
    """Part the lines of a pipeline by their steps, in the order of the names."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.step, []).append(line)
    return {step: found[step] for step in sorted(found)}


def number_in(text: str, default: int = 0) -> int:
    """Return the number that a query holds, from 0 on; the default for anything else."""
    is_number = text.isascii() and text.isdigit() and len(text) < _DIGITS
    return int(text) if is_number else default


def zone_of(spec: PipelineSpec | None) -> str:
    """Return the time zone of a pipeline; UTC where nobody knows it."""
    return spec.timezone if spec else "UTC"


def slots_of(nights: Nights, spec: PipelineSpec | None) -> list[str]:
    """Return the partitions, the oldest first, with the nights between them that did not run.

    Only of a pipeline that is due every day is it known which are missing.
    """
    known = list(reversed(nights.partitions))
    if not (nights.are_days and spec and _is_daily(spec)):
        return known
    try:
        first, last = date.fromisoformat(known[0]), date.fromisoformat(known[-1])
    except ValueError:  # digits, and no day of the calendar
        return known
    days = (last - first).days + 1
    if days > _SPARSE * len(known):
        return known
    return [(first + timedelta(days=number)).isoformat() for number in range(days)]


def _rank(line: Line) -> int:
    return _RANKS.get(line.standing, _BEST)


def _is_daily(spec: PipelineSpec) -> bool:
    schedule = spec.schedule or ""
    return schedule in _EVERY_DAY or schedule.split()[2:] == ["*", "*", "*"]
