"""What the index does not tell, though it should: pages say so, and not that nothing ran.

Whoever has nothing to say of a pipeline asks here first. Those of which the index tells something
are not asked about: it is kept by whoever ran.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Self

from nightmill.review.commands import terminal
from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact
from nightmill.review.visit import Visit
from nightmill.spec.problems import shown
from nightmill.spec.summary import Summary
from nightmill.store.history import record_of
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, attempt_of, encode, part_of, pipeline_prefix
from nightmill.store.parallel import in_parallel

_NAMED = 5
_PIPELINES, _PARTITIONS, _RECORDS = 5, 3, 5  # whose records are looked at, as the index has none
_OBJECTS = 200  # of a partition


class DamagedEntry(Fact):
    """An entry of the index that tells nothing any more, and the page of its attempt."""

    pipeline: str
    partition: str
    step: str
    address: str


class Unindexed(Fact):
    """Pipelines that ran without the index knowing of all of it, and how to mend that.

    `damaged` counts entries of the index that tell nothing any more, and the first few of them are
    in `entries`. `unreadable` are addresses of records of which no entry can be made, found among
    some of those that are not in the index.
    """

    pipelines: tuple[str, ...]
    damaged: int
    entries: tuple[DamagedEntry, ...]
    unreadable: tuple[str, ...]
    command: str

    @classmethod
    def of(
        cls, visit: Visit, pipelines: Iterable[str], damaged: Iterable[Line] = ()
    ) -> Self | None:
        """Tell of pipelines of which a page has nothing to say; None where there is nothing.

        Raises StoreError.
        """
        asked = [one for one in dict.fromkeys(pipelines) if visit.may_read(one)]
        found = zip(asked, in_parallel(visit.site.index.unindexed, asked), strict=True)
        unindexed = {name: partitions for name, partitions in found if partitions}
        return cls._found(visit, unindexed, {line.prefix: line for line in damaged}.values())

    @classmethod
    def of_all(
        cls, visit: Visit, pipelines: Iterable[str] = (), damaged: Iterable[Line] = ()
    ) -> Self | None:
        """Tell likewise of these and of all pipelines that the index does not know at all."""
        return cls.of(visit, [*visit.unindexed(), *pipelines], damaged)

    @classmethod
    def _found(
        cls, visit: Visit, unindexed: Mapping[str, Sequence[str]], damaged: Collection[Line]
    ) -> Self | None:
        if not unindexed and not damaged:
            return None
        store = visit.site.store
        return cls(
            pipelines=tuple(sorted(unindexed)),
            damaged=len(damaged),
            entries=tuple(_entry(visit, line) for line in islice(damaged, _NAMED)),
            unreadable=tuple(islice(_unreadable(store, unindexed), _NAMED)),
            command=terminal("reindex", *(["--all"] if damaged else []), store=store.url),
        )


def damaged_of(
    visit: Visit, lines: Iterable[Line], summaries: Mapping[str, Summary]
) -> tuple[Line, ...]:
    """Choose the attempts that have ended, and of which the index kept nothing that can be read.

    What is gone meanwhile counts not.
    """
    missing = [line for line in lines if line.key and line.prefix not in summaries]
    names = {line.pipeline for line in missing}
    known = {line.key for name in names for line in visit.site.index.attempts(name)}
    return tuple(line for line in missing if line.key in known)


def advice_on(visit: Visit, pipeline: str) -> str:
    """Return what to do where the index knows nothing of what is asked for; empty for nothing."""
    if not visit.site.index.unindexed(pipeline):
        return ""
    return f"what ran of {shown(pipeline)} is not in the index: run `nightmill reindex`"


def _entry(visit: Visit, line: Line) -> DamagedEntry:
    return DamagedEntry(
        pipeline=line.pipeline,
        partition=line.partition,
        step=line.step,
        address=visit.links.attempt(RUNS, line.prefix),
    )


def _unreadable(store: Store, unindexed: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Give the addresses of records that cannot be read, of the last few partitions of a few."""
    prefixes = [
        f"{pipeline_prefix(name)}/{encode(partition)}"
        for name in sorted(unindexed)[:_PIPELINES]
        for partition in unindexed[name][-_PARTITIONS:]
    ]
    found = in_parallel(lambda prefix: _records(store, prefix), prefixes)
    attempts = [attempt for some in found for attempt in some]
    readable = in_parallel(lambda attempt: _is_readable(store, attempt), attempts)
    for attempt, is_fine in zip(attempts, readable, strict=True):
        if not is_fine:
            yield store.address(f"{attempt}/{RECORD}")


def _records(store: Store, prefix: str) -> list[str]:
    """Name the first attempts below a prefix that have a record."""
    entries = islice(store.list(prefix, at_once=_OBJECTS), _OBJECTS)
    names = (attempt_of(entry.key) for entry in entries if part_of(entry.key) == RECORD)
    return list(islice(filter(None, names), _RECORDS))


def _is_readable(store: Store, attempt: str) -> bool:
    blob = store.read(f"{attempt}/{RECORD}")
    try:
        return blob is None or bool(record_of(blob.data, attempt))
    except ValueError:  # damaged, or of a later Nightmill
        return False
