"""What was written about attempts that are gone: entries of the index, and notes on their runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nightmill.store.index import attempt_told
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import encode, index_prefix

_RUN = slice(1, 4)  # of the parts of a key: pipeline, partition and run


def orphans(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[tuple[str, Entry]]:
    """Find what tells of no attempt among these prefixes, and say what each thing is."""
    yield from (("index entry", one) for one in _entries(store, pipeline, attempts))
    yield from (("note on a run", one) for one in _notes(store, pipeline, attempts))


def _entries(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[Entry]:
    """Find entries; one that cannot be read tells of nobody, and stays."""
    for listed in store.list(index_prefix(pipeline)):
        prefix = attempt_told(store, listed.key, pipeline)
        if prefix and prefix not in attempts:
            yield listed


def _notes(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[Entry]:
    runs = {tuple(prefix.split("/")[_RUN]) for prefix in attempts}
    for listed in store.list(f"notes/{encode(pipeline)}"):
        if tuple(listed.key.split("/")[_RUN]) not in runs:
            yield listed
