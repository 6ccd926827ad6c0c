"""What a reviewer hears of a run first: failures, warnings, what was amended, what it cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from pydantic import AwareDatetime

from nightmill.causes import SUMMARY
from nightmill.review.links import RUNS
from nightmill.review.pages.fact import Fact, line, text
from nightmill.review.visit import Visit
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.retry import NO_ATTEMPTS_LEFT, Retry, outlook
from nightmill.spec.words import plain
from nightmill.store.history import prefix_of

MOST = 10
"""How many failures, reviews, warnings or amendments a page tells; the others are counted."""

_VALUE_CHARACTERS = 2000
_EVIDENCE_CHARACTERS = 20_000
_TRACEBACK_LINES = 60
_NO_POOL = "no pool"


class FailureFact(Fact):
    """Why the newest attempt at a step failed; `address` leads to the failing cell."""

    label: str
    attempt: int
    address: str
    cause: str
    cause_in_words: str
    cell: int | None
    cells: int | None
    title: str | None
    ename: str | None
    evalue: str | None
    message: str
    outlook: str
    traceback: str
    evidence: str


class Remark(Fact):
    """A warning of an attempt: something went wrong that failed no cell."""

    label: str
    attempt: int
    address: str
    text: str


class AmendmentFact(Fact):
    """What was written into a record from outside."""

    label: str
    attempt: int
    at: AwareDatetime
    by: str
    was: str
    now: str


class PoolCost(Fact):
    """What attempts have taken of one pool; `untimed` ones left no duration."""

    pool: str
    attempts: int
    pod_seconds: float
    untimed: int


def failures_of(visit: Visit, newest: Iterable[Record]) -> tuple[FailureFact, ...]:
    """Tell of each failed attempt why, in the order given."""
    failed = [(one, one.failure) for one in newest if one.failure is not None]
    return tuple(_failure(visit, *both) for both in failed)


def remarks_of(visit: Visit, records: Iterable[Record]) -> tuple[Remark, ...]:
    """Tell what attempts warn of."""
    return tuple(
        Remark(
            label=record.label,
            attempt=record.attempt,
            address=visit.links.attempt(RUNS, prefix_of(record)),
            text=line(warning),
        )
        for record in records
        for warning in record.warnings
    )


def amendments_of(records: Iterable[Record]) -> tuple[AmendmentFact, ...]:
    """Tell what was written into records from outside."""
    return tuple(
        AmendmentFact(
            label=record.label,
            attempt=record.attempt,
            at=one.at,
            by=text(one.by),
            was=one.was or "running",
            now=one.cause or "succeeded",
        )
        for record in records
        for one in record.amendments
    )


def costs_of(records: Iterable[Record]) -> tuple[PoolCost, ...]:
    """Add up what the attempts have taken of each pool, those that failed and that run included."""
    spent: dict[str, list[float | None]] = defaultdict(list)
    for record in records:
        spent[record.pool or _NO_POOL].append(seconds_of(record))
    return tuple(
        PoolCost(
            pool=pool,
            attempts=len(found),
            pod_seconds=sum(filter(None, found)),
            untimed=found.count(None),
        )
        for pool, found in sorted(spent.items())
    )


def seconds_of(record: Record) -> float | None:
    """Return how long an attempt took, or has taken so far; None where nobody knows."""
    if record.state is AttemptState.RUNNING:
        return max((datetime.now(UTC) - record.started_at).total_seconds(), 0.0)
    return record.duration_s


def span_of(records: Sequence[Record]) -> float:
    """Return how many seconds lie between the first start and the last end.

    An end is its start and what a monotonic clock has measured since: nobody sets that one.
    """
    first = min(one.started_at for one in records)
    ends = ((one.started_at - first).total_seconds() + (seconds_of(one) or 0.0) for one in records)
    return max(ends)


def _failure(visit: Visit, record: Record, failure: Failure) -> FailureFact:
    return FailureFact(
        **failure.model_dump(include={"cause", "cell", "cells"}),
        label=record.label,
        attempt=record.attempt,
        address=visit.links.attempt(RUNS, prefix_of(record), cell=failure.cell),
        cause_in_words=SUMMARY[failure.cause],
        title=text(failure.title) if failure.title else None,
        ename=text(failure.ename) if failure.ename else None,
        evalue=text(failure.evalue, _VALUE_CHARACTERS) if failure.evalue else None,
        message=text(failure.message),
        outlook=_outlook(visit, record, failure),
        traceback="\n".join(_traceback(failure)),
        evidence=_evidence(failure),
    )


def _outlook(visit: Visit, record: Record, failure: Failure) -> str:
    """Say whether another attempt is worth it, as the launcher does who counts them."""
    spec = visit.site.specs.of(record)
    step = spec.steps.get(record.step) if spec else None
    count = spec.retries_of(step).count if spec and step else 0
    if failure.retry is not Retry.NEVER and 0 < count < record.attempt:
        return NO_ATTEMPTS_LEFT
    return outlook(failure.cause, failure.retry)


def _traceback(failure: Failure) -> Iterator[str]:
    lines = plain("\n".join(failure.traceback)).split("\n")
    if len(lines) > _TRACEBACK_LINES:
        yield f"... {len(lines) - _TRACEBACK_LINES} lines before ..."
    yield from (text(line, _VALUE_CHARACTERS) for line in lines[-_TRACEBACK_LINES:])


def _evidence(failure: Failure) -> str:
    if not failure.evidence:
        return ""
    told = json.dumps(failure.evidence, indent=1, ensure_ascii=False)
    return text(told, _EVIDENCE_CHARACTERS)
