"""Signs in a grid: how a partition stands, or a step of one, in one character and one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Self

from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.lateness import day_in_words, day_of
from nightmill.review.pages.partitions import Partition, PartitionState, with_warnings
from nightmill.review.pages.run_lines import gravest
from nightmill.review.visit import Visit
from nightmill.review.words import counted


class Column(Fact):
    """A partition at the head of a grid; `day` where it is a date.

    `month` and `year` are those of a day if they are not the same as of the column before.
    """

    partition: str
    day: date | None
    month: str = ""
    year: str = ""

    @classmethod
    def all_of(cls, partitions: Iterable[str]) -> tuple[Self, ...]:
        """Make the columns of partitions, in their order."""
        found: list[Self] = []
        for partition in partitions:
            found.append(cls._after(found[-1].day if found else None, partition))
        return tuple(found)

    @classmethod
    def _after(cls, before: date | None, partition: str) -> Self:
        day = day_of(partition)
        if day is None:
            return cls(partition=partition, day=None)
        is_same_year = before is not None and before.year == day.year
        is_same_month = before is not None and is_same_year and before.month == day.month
        return cls(
            partition=partition,
            day=day,
            month="" if is_same_month else f"{day:%b}",
            year="" if is_same_year else str(day.year),
        )


class Cell(Fact):
    """A partition of a pipeline, or of a step; `sentence` says all that the sign does."""

    partition: str
    state: PartitionState
    warnings: int
    sentence: str
    address: str

    @classmethod
    def of(cls, visit: Visit, one: Partition) -> Self:
        """Make the cell of a partition; what has not run leads to its pipeline."""
        links = visit.links
        own = links.run(one.ran.gravest.prefix) if one.ran else None
        address = own or links.page("pipelines", one.pipeline)
        return cls(
            partition=one.name,
            state=one.state,
            warnings=one.warnings,
            sentence=one.sentence(),
            address=address,
        )

    @classmethod
    def of_step(cls, visit: Visit, one: Partition, step: str) -> Self | None:
        """Make the cell of a step in a partition: of several members the gravest is told."""
        if one.ran is None:
            return None
        states = {
            name: one.ran.states[name] for name, at in one.ran.newest.items() if at.step == step
        }
        if not states:
            return None
        state = gravest(states.values())
        line = next(one.ran.newest[name] for name, found in states.items() if found == state)
        cause = f", {line.cause}" if line.cause and state == "failed" else ""
        alike = sum(found == state for found in states.values())
        some = f", {alike} of {counted(len(states), 'member')}" if len(states) > 1 else ""
        warnings = sum(one.ran.newest[name].warnings for name in states)
        told = cause or (with_warnings(warnings) if state == "succeeded" else "")
        return cls(
            partition=one.name,
            state=state,
            warnings=warnings,
            sentence=f"{step}, {day_in_words(one.name)}: {state}{told}{some}",
            address=visit.links.attempt(RUNS, line.prefix),
        )
