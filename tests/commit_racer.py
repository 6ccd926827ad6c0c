"""One contender of many races for a pointer, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from nightmill.errors import FencedError
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit, read_current, read_pointer

PIPELINE, STEP = "flights", "score"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Write:
    """A write that took effect: the etag it replaced, and its own."""

    token: Pair
    replaced: str | None
    etag: str


@dataclass
class Report:
    """How the races ended for one contender, `committed` or `fenced`, and what it wrote."""

    ends: dict[int, str] = field(default_factory=dict)
    writes: dict[int, Write] = field(default_factory=dict)


class Witness:
    """A store that notes which conditional write took effect."""

    def __init__(self, store: Store, token: Pair) -> None:
        self.write: Write | None = None
        self._store = store
        self._token = token

    def __getattr__(self, name: str) -> Any:
        """Pass everything else on."""
        return getattr(self._store, name)

    def write_if(self, key: str, data: bytes, *, etag: str | None) -> str:
        """Write, and note what was replaced."""
        after = self._store.write_if(key, data, etag=etag)
        self.write = Write(self._token, etag, after)
        return after


def partition(race: int) -> str:
    """Name the partition for which a race is run."""
    return f"p{race}"


def winner(store: Store, race: int) -> Pair:
    """Read who is current after a race."""
    token = read_pointer(store, PIPELINE, STEP, partition(race)).token
    return token.order, token.attempt


def contend(
    url: str,
    env: Mapping[str, str],
    token: Pair,
    races: int,
    starts: list[Barrier],
    reports: Any,
) -> None:
    """Run in every race against the others that wait at the same barriers; report in the end.

    Whoever has looked at the pointer before the start trusts what it saw.
    """
    os.environ.update(env)
    store = open_store(url, base=Path())
    report = Report()

    def run(first: int) -> None:
        for race in range(first, races, len(starts)):
            pointer = Pointer(
                pipeline=PIPELINE,
                step=STEP,
                partition=partition(race),
                run=f"run-{token[0]}",
                token=Token(order=token[0], attempt=token[1]),
                attempt_prefix=f"runs/flights/{partition(race)}/run-{token[0]}/score/{token[1]}",
                outputs={},
            )
            witness = Witness(store, token)
            seen = read_current(store, pointer.key) if race % 2 else None
            starts[first].wait()
            try:
                made = commit(witness, pointer, seen=seen)
                report.ends[race] = "committed" if made == pointer else "another's"
            except FencedError:
                report.ends[race] = "fenced"
            if witness.write is not None:
                report.writes[race] = witness.write

    with ThreadPoolExecutor(len(starts)) as pool:
        list(pool.map(run, range(len(starts))))
    reports.put((token, report))
