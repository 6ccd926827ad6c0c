"""Whether the folder of a store is there: nothing in it, or nothing left of it.

A mount that is gone takes the folder away, or leaves an empty one in its place. Whoever asks then
must not be told that the store is empty, and whoever writes must not begin another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from nightmill.errors import StoreError
from nightmill.store.files import os_errors
from nightmill.store.keys import RESERVED

_Found = TypeVar("_Found")

_ADVICE = (
    "see that its path is right and its file system is mounted; "
    "a new store is made by its first run"
)


class Presence:
    """Watches the folder of one store; thread-safe.

    What it remembers is the most that it saw: the folder, or in it what only a store has.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own = root / RESERVED  # made with the first write, and never removed
        self._seen: Path | None = None

    def expect(self) -> bool:
        """Count on the folder from now on, though nobody saw it yet; say whether it is there."""
        self._seen = self._seen or self._root
        return self._root.is_dir()

    def check(self, operation: str) -> None:
        """Raise StoreError where nothing is left of what was there before."""
        seen = self._seen  # once: another thread may see more in between
        for sign in (self._own, self._root):
            if sign.is_dir():
                self._seen = sign
                return
            if sign == seen:
                raise StoreError(
                    "the folder of the store is not there",
                    address=str(self._root),
                    operation=operation,
                    advice=_ADVICE,
                )

    def look(self, operation: str, path: Path, at: Callable[[Path], _Found]) -> _Found | None:
        """Return what is found at a path; None where nothing is, in a store that is there.

        Raises StoreError where the store is not.
        """
        with os_errors(operation, path):
            for _ in range(2):  # the second time in a store that was seen to be there
                try:
                    found = at(path)
                except (FileNotFoundError, IsADirectoryError):
                    self.check(operation)
                else:
                    if self._seen != self._own:
                        self.check(operation)
                    return found
        return None

    @contextmanager
    def changing(self, operation: str, path: Path) -> Iterator[None]:
        """Give room for a change; StoreError for what goes wrong, and where the store is not."""
        with os_errors(operation, path):
            self.check(operation)
            yield
            if self._seen is None:
                self.check(operation)
