"""Figures over the nights: one track for each member, or of many members their spread.

Pages show metrics and counts of rows in the same way: words for what is newest, a chart, and a
table with the same numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nightmill.review.links import RUNS, Links
from nightmill.review.pages.chart import Chart, Curve, Mark, draw
from nightmill.review.pages.nights import COUNTING, Nights
from nightmill.review.pages.usual import Told, Usual, is_number, tell, usual
from nightmill.review.words import counted
from nightmill.spec.summary import Scalar, Standing
from nightmill.store.index_line import Line

MOST_MEMBERS = 8
"""More members than this are shown by their highest, median and lowest value."""

Value = Callable[[Line], Scalar]

_BAD = (Standing.FAILED, Standing.REJECTED)
_SPREAD: Mapping[str, Callable[[Sequence[float]], float]] = {
    "highest": max,
    "median": statistics.median,
    "lowest": min,
}


@dataclass(frozen=True)
class Track:
    """One line of a chart, and a row of each partition in the table.

    `lines` are the attempts that count, by partition. Of a spread it is one of the members': one
    that failed, if any did.
    """

    label: str
    lines: Mapping[str, Line]
    is_spread: bool = False

    def counts(self, slot: str) -> bool:
        """Whether a partition has a value that others are compared with."""
        line = self.lines.get(slot)
        return line is not None and (self.is_spread or line.standing in COUNTING)


@dataclass(frozen=True)
class Figure:
    """One figure: each track's value by partition, the words for its newest, and its chart."""

    name: str
    values: tuple[Mapping[str, Scalar], ...]
    told: tuple[Told, ...]
    chart: Chart | None

    @property
    def is_unusual(self) -> bool:
        """Whether the newest value of a track is unusual."""
        return any(one.is_unusual for one in self.told)


@dataclass(frozen=True)
class Series:
    """What all figures of a step have in common. `slots` are its partitions, the oldest first."""

    nights: Nights
    slots: Sequence[str]
    links: Links

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """The lines of its charts: the members, or the spread of many."""
        nights = self.nights
        if len(nights.members) > MOST_MEMBERS:
            gravest = dict(self._gravest())
            return tuple(Track(label, gravest, is_spread=True) for label in _SPREAD)
        return tuple(
            Track(one, {p: line for (p, member), line in nights.lines.items() if member == one})
            for one in nights.members
        )

    def figure(self, name: str, value: Value) -> Figure:
        """Follow one value of the attempts; those that failed are shown and do not count."""
        values = tuple(
            {slot: self._value(track, slot, value) for slot in track.lines} for track in self.tracks
        )
        counting = [
            [one.get(slot) if track.counts(slot) else None for slot in self.slots]
            for track, one in zip(self.tracks, values, strict=True)
        ]
        return Figure(name, values, tuple(self._told(counting)), self._chart(name, counting))

    def address(self, track: Track, slot: str) -> str:
        """Return where a value comes from: an attempt, or the run where it tells of several."""
        line = track.lines.get(slot)
        if line is None:
            return ""
        return self.links.run(line.prefix) if track.is_spread else self._attempt(line)

    def _attempt(self, line: Line) -> str:
        return self.links.attempt(RUNS, line.prefix)

    def _gravest(self) -> Iterator[tuple[str, Line]]:
        for partition in self.nights.partitions:
            found = self._members_of(partition)
            yield partition, next((one for one in found if one.standing in _BAD), found[0])

    def _members_of(self, partition: str) -> list[Line]:
        keys = ((partition, member) for member in self.nights.members)
        return [line for key in keys if (line := self.nights.lines.get(key)) is not None]

    def _value(self, track: Track, slot: str, value: Value) -> Scalar:
        if not track.is_spread:
            return value(track.lines[slot])
        lines = [one for one in self._members_of(slot) if one.standing in COUNTING]
        return _together([value(line) for line in lines], _SPREAD[track.label])

    def _told(self, counting: Sequence[Sequence[Scalar]]) -> Iterator[Told]:
        for track, values in zip(self.tracks, counting, strict=True):
            pairs = list(zip(self.slots, values, strict=True))
            well = {slot for slot in self.slots if self._went_well(track, slot)}
            told = tell(track.label, pairs, self.nights.noun, well=well)
            if told is not None:
                yield told

    def _went_well(self, track: Track, slot: str) -> bool:
        """Whether a value might be there: of a spread, if a member might have one."""
        found = self._members_of(slot) if track.is_spread else [track.lines.get(slot)]
        return any(one is not None and one.standing in COUNTING for one in found)

    def _chart(self, name: str, counting: Sequence[Sequence[Scalar]]) -> Chart | None:
        curves = [
            Curve(
                label=track.label,
                values=[one if is_number(one) else None for one in values],
                addresses=[self.address(track, slot) for slot in self.slots],
            )
            for track, values in zip(self.tracks, counting, strict=True)
        ]
        marks = tuple(self._marks(counting))
        return draw(name, self.slots, curves=curves, marks=marks, usual=_usual(curves))

    def _marks(self, counting: Sequence[Sequence[Scalar]]) -> Iterator[Mark]:
        """Mark the slots in which an attempt failed or was rejected, or reported no number."""
        for number, slot in enumerate(self.slots):
            for track, values in zip(self.tracks, counting, strict=True):
                line, value = track.lines.get(slot), values[number]
                is_bad = line is not None and line.standing in _BAD
                if line and (is_bad or (value is not None and not is_number(value))):
                    said = line.standing if is_bad else f"{value}, no number"
                    yield Mark(number, f"{slot}: {said}", self.address(track, slot))
                    break


def _together(values: Sequence[Scalar], choose: Callable[[Sequence[float]], float]) -> Scalar:
    """Put the values of many members together; what is no number only where all have the same."""
    numbers = [one for one in values if is_number(one)]
    if numbers:
        return choose(numbers)
    others = {one for one in values if one is not None}
    return next(iter(others), None) if len(others) < 2 else counted(len(others), "different value")  # noqa: PLR2004 - one is not different


def _usual(curves: Sequence[Curve]) -> Usual | None:
    """Say what is usual of a single curve; bands of several would hide each other."""
    if len(curves) > 1:
        return None
    return usual([value for one in curves for value in one.values if value is not None])
