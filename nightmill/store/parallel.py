"""Waiting for the store for several things at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")

_THREADS = 16


def in_parallel(function: Callable[[_Asked], _Told], items: Iterable[_Asked]) -> list[_Told]:
    """Call a function for each item, and return what it returned, in the order of the items."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, items))
