"""All runs of many pipelines, kept between requests: a search looks at every one of them.

What has not changed in the index since is neither put together nor judged again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from weakref import WeakKeyDictionary

from nightmill.review.pages.run_lines import RunLines, newest_first, runs_of, silent_of
from nightmill.review.site import Site
from nightmill.store.index import Index
from nightmill.store.index_line import Line
from nightmill.store.parallel import in_parallel


@dataclass(frozen=True)
class _Kept:
    """The runs of a pipeline, as these lines of the index tell them."""

    lines: tuple[Line, ...] = ()
    runs: tuple[RunLines, ...] = ()


_KEPT: WeakKeyDictionary[Index, dict[str, _Kept]] = WeakKeyDictionary()


def all_runs(site: Site, pipelines: Iterable[str]) -> list[RunLines]:
    """Tell every run of these pipelines, the newest first; raises StoreError."""
    found = in_parallel(lambda name: _runs(site.index, name), pipelines)
    runs = sorted(chain.from_iterable(found), key=newest_first, reverse=True)
    silent = silent_of(site.store, (line for run in runs for line in run.attempts))
    return [_heard_of(run, silent) for run in runs] if silent else runs


def _runs(index: Index, pipeline: str) -> tuple[RunLines, ...]:
    kept, lines = _KEPT.setdefault(index, {}), index.attempts(pipeline)
    before = kept.get(pipeline, _Kept())
    if before.lines is not lines:
        known = {(run.partition, run.run): run for run in before.runs}
        runs = (_same(known.get((run.partition, run.run)), run) for run in runs_of(lines))
        before = kept[pipeline] = _Kept(lines, tuple(runs))
    return before.runs


def _same(before: RunLines | None, run: RunLines) -> RunLines:
    """Keep what is known of a run that has not changed."""
    return before if before is not None and before.attempts == run.attempts else run


def _heard_of(run: RunLines, silent: frozenset[str]) -> RunLines:
    is_silent = any(line.prefix in silent for line in run.attempts)
    return replace(run, silent=silent) if is_silent else run
