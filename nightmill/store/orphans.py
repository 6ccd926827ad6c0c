"""What was written about attempts that are gone: entries of the index, and notes on their runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nightmill.spec.summary import Summary
from nightmill.store.index_line import entry_of
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import encode, index_prefix

_RUN = slice(1, 4)  # of the parts of a key: pipeline, partition and run


def orphans(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[tuple[str, Entry]]:
    """Find what tells of no attempt among these prefixes, and say what each thing is."""
    yield from (("index entry", one) for one in _entries(store, pipeline, attempts))
    yield from (("note on a run", one) for one in _notes(store, pipeline, attempts))


def _entries(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[Entry]:
    for listed in store.list(index_prefix(pipeline)):
        prefix = _attempt_of(store, listed.key, pipeline)
        if prefix and prefix not in attempts:
            yield listed


def _notes(store: Store, pipeline: str, attempts: Collection[str]) -> Iterator[Entry]:
    runs = {tuple(prefix.split("/")[_RUN]) for prefix in attempts}
    for listed in store.list(f"notes/{encode(pipeline)}"):
        if tuple(listed.key.split("/")[_RUN]) not in runs:
            yield listed


def _attempt_of(store: Store, key: str, pipeline: str) -> str | None:
    """Name the attempt that an entry tells of; None where it cannot be read: it stays."""
    entry = entry_of(key, pipeline)
    if entry is not None and entry.line is not None:
        return entry.line.prefix
    blob = store.read(key) if entry else None
    try:
        return Summary.from_json(blob.data).prefix if blob else None
    except ValueError:
        return None
