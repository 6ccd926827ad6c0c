"""What an attempt has left in the store, as several pages read it: its record and its notebook."""

from __future__ import annotations

from collections.abc import Callable

from nightmill.errors import UsageError
from nightmill.review.links import Links
from nightmill.review.signing import signed
from nightmill.review.visit import Visit
from nightmill.spec.record import Record
from nightmill.store.history import record_of
from nightmill.store.interface import Entry, Store
from nightmill.store.keys import NOTEBOOK, RECORD, encode

PartAddress = Callable[[int, int, str], str]
"""Makes an address of a large output by its cell, its place there and its mimetype."""


def record_at(store: Store, prefix: str) -> Record:
    """Read an attempt's record; raises UsageError where there is none, or none to be read."""
    blob = store.read(f"{prefix}/{RECORD}")
    if blob is None:
        raise no_record(prefix)
    try:
        return record_of(blob.data, prefix)
    except ValueError as error:
        raise UsageError(
            "the record of this attempt cannot be read",
            where=prefix,
            advice="a later Nightmill may have written it: update this one; else restore it",
        ) from error


def no_record(prefix: str) -> UsageError:
    """Make the error that says so."""
    return UsageError(
        "there is no record of this attempt",
        where=prefix,
        advice="`nightmill gc` may have deleted it; `nightmill runs` lists what there is",
    )


def notebook_at(store: Store, prefix: str) -> Entry | None:
    """Look at the executed notebook without reading it; None where there is none."""
    key = f"{prefix}/{NOTEBOOK}"
    entry = next(iter(store.list(prefix, start_after=key[:-1])), None)
    return entry if entry and entry.key == key else None


def part_addresses(visit: Visit, prefix: str) -> PartAddress:
    """Return what signs the addresses of the large outputs of an attempt's notebook."""
    path = Links().attempt("part", prefix)

    def address(cell: int, output: int, mimetype: str) -> str:
        place = f"{path}/{cell}/{output}/{encode(mimetype)}"
        return visit.links.base + signed(visit.site.secret, place)

    return address
