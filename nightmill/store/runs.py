"""Which runs there are: by the index where it knows them, else by what lies in the store."""

from __future__ import annotations

from typing import NamedTuple

from nightmill.store import history
from nightmill.store.index import Index
from nightmill.store.interface import Store
from nightmill.store.keys import encode


class RunNames(NamedTuple):
    """A run; they sort by its own name first."""

    run: str
    pipeline: str
    partition: str


class FoundRuns(NamedTuple):
    """Runs that the index knows, and those that are older than it."""

    indexed: frozenset[RunNames]
    others: frozenset[RunNames]


def find_runs(store: Store, index: Index, pipeline: str) -> FoundRuns:
    """Name the runs of a pipeline; of the partitions that its index knows only what that knows.

    The others are older than it, and cost a request each. Raises StoreError.
    """
    lines = index.attempts(pipeline)
    known = frozenset(encode(line.partition) for line in lines)
    return FoundRuns(
        frozenset(RunNames(line.run, pipeline, line.partition) for line in lines),
        find_all_runs(store, pipeline, without=known),
    )


def find_all_runs(
    store: Store, pipeline: str, *, without: frozenset[str] = frozenset()
) -> frozenset[RunNames]:
    """Name the runs of a pipeline by what lies in the store: a request for each partition.

    Those of the partitions `without`, as they are in keys, are left out. Raises StoreError.
    """
    found = history.runs(store, pipeline, without=without)
    return frozenset(RunNames(run, pipeline, partition) for run, partition in found)
