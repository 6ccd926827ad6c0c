"""The index of the attempts that ended: kept by those who write their ends, read by the pages.

Whoever writes the last word about an attempt (itself, whoever amends, approves or promotes) notes a
summary under a name that tells the essentials (see `index_line`). So a page reads one listing where
it would have to open thousands of records, and nothing ever lists all runs. What runs is told by
the marks (see `index_running`). The index is a view: a note that is missing is made by the next
sweep, and `nightmill reindex` makes all of them anew from the records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from nightmill.spec.record import AttemptState, Record
from nightmill.spec.summary import Summary, summarize
from nightmill.store.history import prefix_of
from nightmill.store.index_bodies import Bodies
from nightmill.store.index_book import Book
from nightmill.store.index_gaps import Gaps
from nightmill.store.index_line import INDEX, Line, entry_key, entry_of, milliseconds
from nightmill.store.index_running import Running, Snapshot
from nightmill.store.interface import Store
from nightmill.store.keys import decode, encode, pipeline_prefix
from nightmill.store.together import Together


def note(
    store: Store, record: Record, *, prefix: str = "", at: datetime | None = None
) -> str | None:
    """Tell the index how an attempt ended, by its record as it is in the store; one request.

    `prefix` is the attempt's, where the names in its record do not tell it; `at` is when that is
    said to have been told, by default now. Return the key of the entry: None for an attempt that
    runs, of which nothing is noted. Raises StoreError.
    """
    if record.state is AttemptState.RUNNING:
        return None
    summary = summarize(record, prefix or prefix_of(record))
    key = entry_key(summary, written_ms=milliseconds(at or datetime.now(UTC)))
    store.write(key, summary.to_json())
    return key


def attempt_told(store: Store, key: str, pipeline: str) -> str | None:
    """Name the attempt that the entry with this key tells of; None where nothing can be read.

    The store is asked only where the name of the entry does not tell. Raises StoreError.
    """
    entry = entry_of(key, pipeline)
    if entry is not None and entry.line is not None:
        return entry.line.prefix
    blob = store.read(key) if entry else None
    try:
        return Summary.from_json(blob.data).prefix if blob else None
    except ValueError:
        return None


@dataclass(frozen=True)
class _Merged:
    """What was put together of a pipeline, and of what."""

    marked: tuple[Line, ...]
    ended: Mapping[str, Line]
    lines: tuple[Line, ...]


class Index:
    """The attempts of a store for a server that is asked again and again; thread-safe.

    What was read stays in memory. Nothing is asked twice within 2 s, and a refresh asks only for
    what was written since the last, however much there is. Methods raise StoreError.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._running = Running(store, clock=clock)
        self._bodies = Bodies(store)
        self._gaps = Gaps(store, clock=clock)
        self._books: dict[str, Book] = {}
        self._merged: dict[str, _Merged] = {}
        self._named: tuple[float, tuple[str, ...]] | None = None
        self._lock = Lock()
        self._naming = Together()

    def pipelines(self) -> tuple[str, ...]:
        """Name the pipelines that have attempts, sorted."""
        running = self._running.snapshot()
        with self._naming.alone():
            if self._named is None or self._named[0] < running.listed_at:
                began = self._clock()
                ended = {decode(name) for name in self._store.children(INDEX)}
                self._named = began, tuple(sorted(ended | running.lines.keys()))
            return self._named[1]

    def attempts(self, pipeline: str) -> tuple[Line, ...]:
        """Tell every attempt of a pipeline, those that run included: the newest run first.

        Within a run the attempt that started last comes first. The same tuple comes back until
        something changes.
        """
        running = self._running.snapshot()  # first: what ends from here on is in the book by then
        ended = self._book(pipeline).lines(running.listed_at)
        return self._merge(pipeline, running, ended)

    def expire(self) -> None:
        """Have the next look ask the store: for whoever has just changed what the index tells."""
        self._running.expire()

    def summaries(self, lines: Sequence[Line]) -> Mapping[str, Summary]:
        """Read the summaries of attempts, by their prefixes.

        One that runs has none. One that is not there is left out, and where a listing confirms that
        it is gone (`nightmill gc`) also from now on.
        """
        ended = {line.key: line for line in lines if line.key}
        found, gone = self._bodies.read(ended)
        for pipeline in {ended[key].pipeline for key in gone}:
            self._book(pipeline).forget_gone()
        own = ((ended[key].prefix, summary) for key, summary in found.items())
        return {prefix: summary for prefix, summary in own if summary.prefix == prefix}

    def unindexed_pipelines(self) -> tuple[str, ...]:
        """Name the pipelines that ran, and of which the index knows no attempt."""
        known = set(map(encode, self.pipelines()))
        names = sorted(map(decode, self._gaps.names() - known))
        return tuple(name for name in names if self.unindexed(name))

    def unindexed(self, pipeline: str) -> tuple[str, ...]:
        """Name the partitions of a pipeline that ran, and of which the index knows no attempt.

        Sorted. Costs one listing of their names a minute, and more only where there are some.
        """
        prefix = pipeline_prefix(pipeline)
        missing = self._gaps.names(prefix) - self._partitions(pipeline)
        if missing and self._gaps.may_be_mended(prefix):
            self.expire()  # what has begun is marked, what was made anew looks as old as its end
            self._book(pipeline).forget_gone()
            missing = self._gaps.names(prefix) - self._partitions(pipeline)
        return tuple(sorted(map(decode, self._gaps.filled(prefix, missing)))) if missing else ()

    def _partitions(self, pipeline: str) -> set[str]:
        return {line.prefix.split("/")[2] for line in self.attempts(pipeline)}

    def _book(self, pipeline: str) -> Book:
        with self._lock:
            if pipeline not in self._books:
                book = Book(self._store, pipeline, self._bodies, clock=self._clock)
                self._books[pipeline] = book
            return self._books[pipeline]

    def _merge(
        self, pipeline: str, running: Snapshot, ended: Mapping[str, Line]
    ) -> tuple[Line, ...]:
        """Put both together; what is in the book has ended, whatever mark there still is."""
        marked = running.lines.get(pipeline, ())
        before = self._merged.get(pipeline)
        if before is not None and before.marked == marked and before.ended is ended:
            return before.lines
        running_still = (one for one in marked if one.prefix not in ended)
        lines = tuple(sorted((*ended.values(), *running_still), key=_newest_run, reverse=True))
        self._merged[pipeline] = _Merged(marked, ended, lines)
        return lines


def _newest_run(line: Line) -> tuple[int, str, datetime]:
    return line.order, line.run, line.started_at
