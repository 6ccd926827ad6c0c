"""The attempts that run, as lines of the index: one listing of the marks tells all of them.

Each mark is opened once, for what its name does not tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from nightmill.errors import UsageError
from nightmill.spec.summary import Standing
from nightmill.store.active import MarkFacts, marked_prefixes, read_mark
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_names
from nightmill.store.parallel import in_parallel
from nightmill.store.together import Together

EVERY_S = 2.0
"""How old what is shown may be: the index asks nothing twice within this time."""

_MICROSECONDS = 10**6


@dataclass(frozen=True)
class Snapshot:
    """What ran at a moment, by pipeline. All of it was marked before `listed_at`."""

    listed_at: float
    lines: Mapping[str, tuple[Line, ...]]


class Running:
    """The marks of a store; thread-safe. `clock` gives seconds that never go back."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, Line] = {}
        self._last: Snapshot | None = None
        self._together = Together()

    def snapshot(self) -> Snapshot:
        """Tell what runs, or ran less than 2 s ago; raises StoreError."""
        with self._together.alone():
            if self._last is None or self._clock() - self._last.listed_at >= EVERY_S:
                lines = self._list()
                self._last = Snapshot(self._clock(), lines)
            return self._last

    def expire(self) -> None:
        """Have the next one who asks look again."""
        with self._together.alone():
            self._last = None

    def _list(self) -> Mapping[str, tuple[Line, ...]]:
        prefixes = list(marked_prefixes(self._store))
        new = [prefix for prefix in prefixes if prefix not in self._known]
        read = dict(zip(new, in_parallel(self._line, new), strict=True))
        both = self._known | {prefix: line for prefix, line in read.items() if line}
        self._known = {prefix: both[prefix] for prefix in prefixes if prefix in both}
        lines: dict[str, tuple[Line, ...]] = defaultdict(tuple)
        for line in self._known.values():
            lines[line.pipeline] += (line,)
        return dict(lines)

    def _line(self, prefix: str) -> Line | None:
        mark = read_mark(self._store, prefix)
        with suppress(UsageError):  # a stray file among the marks
            return _line(prefix, mark.facts) if mark else None
        return None


def _line(prefix: str, facts: MarkFacts | None) -> Line:
    names = attempt_names(prefix)
    started_at = facts.started_at if facts else datetime.now(UTC)
    order = facts.order if facts and facts.order is not None else None
    return Line(
        key="",
        prefix=prefix,
        **names._asdict(),
        # A mark of an earlier version lacks it: a run is created shortly before its first step.
        order=order if order is not None else int(started_at.timestamp() * _MICROSECONDS),
        standing=Standing.RUNNING,
        cause=None,
        started_at=started_at,
        ended_at=None,
        duration_s=None,
    )
