"""What is current, where a page has other things to say if that cannot be read."""

from __future__ import annotations

from nightmill.errors import StoreError
from nightmill.store.interface import Store
from nightmill.store.keys import pointer_key_of
from nightmill.store.pointer import Current, read_current


def current_beside(store: Store, prefix: str) -> Current | None:
    """Read what is current where an attempt commits, by its prefix; None if nobody can tell.

    That is where the pointer is damaged, or of a later Nightmill.
    """
    return current_at(store, pointer_key_of(prefix))


def current_at(store: Store, key: str) -> Current | None:
    """Do the same by the pointer's own key."""
    try:
        return read_current(store, key)
    except StoreError:
        return None
