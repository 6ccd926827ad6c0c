"""Which attempt another one is compared with: the last good one, or one that a reader names.

Attempts are compared with others at the same step, and of the same member. Partitions are ordered
as text, which puts ISO dates in order, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightmill.errors import UsageError
from nightmill.spec.record import Record
from nightmill.spec.summary import Standing
from nightmill.store.index import Index
from nightmill.store.index_line import Line
from nightmill.store.interface import Store
from nightmill.store.pointer import Pointer, Token, earlier_pointers, read_pointer


@dataclass(frozen=True)
class Named:
    """What a reader said of the other attempt; what is empty, or 0, may be any."""

    partition: str = ""
    run: str = ""
    attempt: int = 0


def peers(index: Index, record: Record, prefix: str) -> list[Line]:
    """Return the other attempts at the step, the newest partition first; raises StoreError."""
    found = [
        line
        for line in index.attempts(record.pipeline)
        if (line.step, line.member) == (record.step, record.member) and line.prefix != prefix
    ]
    return sorted(found, key=_place, reverse=True)


def last_good(store: Store, others: list[Line], record: Record) -> str | None:
    """Return the prefix of the newest good attempt before this one; None where there is none.

    That is what committed, for the same partition by an older run, else for the newest earlier
    partition. What the index does not tell the pointers may. Raises StoreError.
    """
    own = (record.partition, record.order, record.attempt)
    earlier = (line for line in others if _place(line) < own)
    found = next((line for line in earlier if line.standing is Standing.SUCCEEDED), None)
    if found is not None:
        return found.prefix
    pointer = _pointer_before(store, record)
    return pointer.attempt_prefix if pointer else None


def find(others: list[Line], named: Named) -> str:
    """Return the prefix of the attempt that a reader named: of several a good one, the newest.

    Raises UsageError where there is none.
    """
    found = [
        line
        for line in others
        if named.partition in ("", line.partition)
        and named.run in ("", line.run)
        and named.attempt in (0, line.attempt)
    ]
    if not found:
        raise UsageError(
            "no such attempt to compare with",
            where=", ".join(filter(None, [named.partition, named.run])),
            advice="choose one of those listed on the page, without `with_...` in its address",
        )
    good = [line for line in found if line.standing is Standing.SUCCEEDED]
    return max(good or found, key=_place).prefix


def _place(line: Line) -> tuple[str, int, int]:
    return line.partition, line.order, line.attempt


def _pointer_before(store: Store, record: Record) -> Pointer | None:
    names = (record.pipeline, record.step)
    own = Token(order=record.order, attempt=record.attempt)
    current = read_pointer(store, *names, record.partition, member=record.member)
    if current is not None and current.token < own:
        return current
    before = earlier_pointers(store, *names, before=record.partition, member=record.member)
    return next(before, None)
