"""What many ask for at once is asked once, and what went wrong with it is told to all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from threading import Lock

from nightmill.errors import StoreError


class Together:
    """A lock for work with the store, whose failure counts for whoever waited meanwhile.

    Else each of them would wait for a silent store again, one after the other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._failure: StoreError | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work alone; raises the StoreError of whoever failed since this was called."""
        before = self._failure
        with self._lock:
            if self._failure is not None and self._failure is not before:
                raise copy(self._failure)
            try:
                yield
            except StoreError as error:
                self._failure = copy(error)  # without its traceback, and all that hangs on that
                raise
            self._failure = None
