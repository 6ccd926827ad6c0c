"""Tries a store before the night: one probe object goes through every operation that is needed.

Apart from the backends because the trial is the same for both. It also finds stores that accept
conditional writes and ignore the condition, on which a commit would not be safe.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.interface import Store
from nightmill.store.keys import RESERVED


def probe(store: Store) -> None:
    """Write, read, list, conditionally rewrite and delete a probe; StoreError if one fails."""
    key = f"{RESERVED}/preflight-{uuid4().hex}"
    first = store.write(key, b"first")
    try:
        _try_reads(store, key)
        _try_conditions(store, key, first)
    except StoreError:
        with suppress(StoreError):  # the first error is the one to hear about
            store.delete(key)
        raise
    store.delete(key)
    if store.read(key) is not None:
        raise _broken(store, key, "delete", "an object that was deleted is still there")


def _try_reads(store: Store, key: str) -> None:
    blob = store.read(key)
    if blob is None or blob.data != b"first":
        raise _broken(store, key, "read", "other bytes came back than were written")
    if not any(entry.key == key for entry in store.list(RESERVED)):
        raise _broken(store, key, "list", "an object that was written is not listed")


def _try_conditions(store: Store, key: str, first: str) -> None:
    store.write_if(key, b"second", etag=first)
    for etag in (first, None):
        try:
            store.write_if(key, b"third", etag=etag)
        except StoreConflict:
            continue
        raise _broken(store, key, "write_if", "a write went through against its condition")


def _broken(store: Store, key: str, operation: str, problem: str) -> StoreError:
    return StoreError(
        problem,
        address=store.address(key),
        operation=operation,
        advice="use a store with read-after-write consistency and If-Match / If-None-Match on PUT",
    )
