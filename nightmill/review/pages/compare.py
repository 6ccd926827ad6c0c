"""What differs between an attempt and another one: the last good one, unless a reader names it.

Everything that a notebook holds arrives here as plain text, numbers and addresses (see `compare`),
and the template writes it into markup of ours: so this page needs no sandbox.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from datetime import datetime

from nightmill.errors import StoreError, UsageError
from nightmill.review.compare.baseline import Named, find, last_good, peers
from nightmill.review.compare.compare import Side, bundle_files, compare
from nightmill.review.compare.contents import MAX_BYTES, read_cells
from nightmill.review.compare.facts import Files
from nightmill.review.compare.model import Comparison
from nightmill.review.links import RUNS
from nightmill.review.pages.asked import same_page
from nightmill.review.pages.fact import Fact
from nightmill.review.pages.stored import notebook_at, part_addresses, record_at
from nightmill.review.views import ATTEMPT, View
from nightmill.review.visit import Visit
from nightmill.spec.record import AttemptState, Record
from nightmill.spec.summary import Standing
from nightmill.spec.words import amount
from nightmill.store.bundle import fetch
from nightmill.store.index_line import Line
from nightmill.store.interface import Store

_CHOICES = 40
_ATTEMPT_DIGITS = 9


class _Attempt(Fact):
    partition: str
    run: str
    attempt: int
    standing: Standing
    started_at: datetime


class Compared(_Attempt):
    """One of the two attempts; `notebook` is where its executed notebook is, if it has one."""

    prefix: str
    page: str
    notebook: str | None


class Choice(_Attempt):
    """Another attempt that this one may be compared with."""

    address: str
    is_chosen: bool


class ComparePage(Fact):
    """Two attempts and what differs; nothing earlier that was good: `before` is None.

    `is_last_good` tells that nobody chose the earlier one. `other_extent` is this page with all
    that is equal as well, or without.
    """

    pipeline: str
    step: str
    member: str
    label: str
    zone: str
    before: Compared | None
    after: Compared
    is_last_good: bool
    whole: bool
    other_extent: str
    choices: tuple[Choice, ...]
    comparison: Comparison | None


def compare_page(visit: Visit) -> ComparePage:
    """Compare the attempt that the address names with the one that the query names."""
    site, named = visit.site, _named(visit)
    record = record_at(site.store, visit.prefix)
    others = peers(site.index, record, visit.prefix)
    if named is None:
        prefix = last_good(site.store, others, record)
    else:
        prefix = find(site.store, others, named)
    earlier = _earlier(visit, prefix, is_named=named is not None)
    whole = visit.query("all") == "1"
    comparison = None
    if prefix is not None and earlier is not None:
        bundles = _bundles(site.store, earlier, record)
        before = _side(visit, prefix, earlier, bundles[0])
        after = _side(visit, visit.prefix, record, bundles[1])
        comparison = compare(before, after, whole=whole)
    return ComparePage(
        **record.model_dump(include={"pipeline", "step", "member"}),
        label=record.label,
        zone=site.specs.zone_of(record),
        before=None if prefix is None or earlier is None else _told(visit, prefix, earlier),
        after=_told(visit, visit.prefix, record),
        is_last_good=named is None,
        whole=whole,
        other_extent=same_page(visit, all=None if whole else 1),
        choices=tuple(_choices(visit, others, prefix)),
        comparison=comparison,
    )


# -- what the address says ------------------------------------------------------------------------


def _named(visit: Visit) -> Named | None:
    """Return the attempt that the query names; None where it names none."""
    partition, run = visit.query("with_partition"), visit.query("with_run")
    attempt = visit.query("with_attempt")
    if not (partition or run or attempt):
        return None
    is_number = attempt.isascii() and attempt.isdigit() and len(attempt) <= _ATTEMPT_DIGITS
    if attempt and not is_number:
        raise UsageError(f"with_attempt={attempt!r} is no number of an attempt")
    return Named(partition, run, int(attempt or 0))


def _choices(visit: Visit, others: Sequence[Line], chosen: str | None) -> list[Choice]:
    return [
        Choice(
            partition=line.partition,
            run=line.run,
            attempt=line.attempt,
            standing=line.standing,
            started_at=line.started_at,
            address=same_page(
                visit,
                with_partition=line.partition,
                with_run=line.run,
                with_attempt=line.attempt,
            ),
            is_chosen=line.prefix == chosen,
        )
        for line in others[:_CHOICES]
    ]


# -- what the store says --------------------------------------------------------------------------


def _told(visit: Visit, prefix: str, record: Record) -> Compared:
    has_notebook = record.notebook is not None
    return Compared(
        **record.model_dump(include={"partition", "run", "attempt", "started_at"}),
        prefix=prefix,
        standing=Standing.of(record),
        page=visit.links.attempt(RUNS, prefix),
        notebook=visit.links.attempt("notebook", prefix) if has_notebook else None,
    )


def _earlier(visit: Visit, prefix: str | None, *, is_named: bool) -> Record | None:
    """Read the other record; only one that a reader named has to be readable."""
    if prefix is None:
        return None
    try:
        return record_at(visit.site.store, prefix)
    except UsageError:
        if is_named:
            raise
        return None


def _side(visit: Visit, prefix: str, record: Record, files: Files) -> Side:
    """Read one attempt. Its notebook is let go before the other one is read."""
    store, entry = visit.site.store, notebook_at(visit.site.store, prefix)
    if entry is None:
        return Side(record, None, "has left no executed notebook", files)
    if entry.size > MAX_BYTES:
        why = f"has a notebook of {amount(entry.size)}; at most {amount(MAX_BYTES)} are compared"
        return Side(record, None, why, files)
    blob = store.read(entry.key)
    cells = read_cells(blob.data, part_addresses(visit, prefix)) if blob else None
    why = "is running" if record.state is AttemptState.RUNNING else "has a damaged notebook"
    return Side(record, cells, why, files)


def _bundles(store: Store, before: Record, after: Record) -> tuple[Files, Files]:
    """Read what only the bundles know, where they are not the same one."""
    names = [one.code.bundle if one.code else None for one in (before, after)]
    if None in names or names[0] == names[1]:
        return {}, {}
    then, now = (_files(store, name) for name in names if name is not None)
    return ({}, {}) if then is None or now is None else (then, now)


def _files(store: Store, sha256: str) -> Files | None:
    """Return the hashes of the files of a bundle; None where it was not kept, or is damaged."""
    try:
        bundle = fetch(store, sha256)
        return bundle_files(bundle) if bundle else None
    except (StoreError, tarfile.TarError):
        return None


ROUTES = (View(f"/compare/{ATTEMPT}", "compare.html", compare_page),)
