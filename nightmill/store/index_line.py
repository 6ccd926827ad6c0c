"""One line of the index, and the name of the entry that tells it.

    index/<pipeline>/<time>+<revision>+<order>+<partition>+<run>+<step>+<member>+<attempt>
                     +<standing>+<cause>+<duration>+<warnings>+<lag>.json

A listing of names is a table: nothing needs to be opened. `time` is when the entry was written, in
milliseconds before the year 2286, so that the newest come first; `lag` is how many of them lie
between the attempt's end and that. ``+`` cannot occur in an encoded name. Where all this exceeds
the length of a component, or a name was cut where the attempt lies, a hash stands in the place of
all but the time, and the entry's body tells the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from nightmill.causes import Cause
from nightmill.spec.summary import Standing, Summary
from nightmill.store.keys import attempt_prefix, decode, encode, index_prefix, pipeline_prefix

INDEX = "index"

_END_OF_TIME_MS = 9_999_999_999_999
_DIGITS = 13
_MAX_NAME_BYTES = 240  # file systems allow 255, and a writer needs a few for itself
_SUFFIX = ".json"
_FIELDS = 13
_DIGEST_LENGTH = 32
_BELOW = re.compile(r"(?:[\w=~-][\w=.~-]*/){3,4}[1-9]\d*", re.ASCII)  # what an attempt is there
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """What a list tells of one attempt; `prefix` is where it lies in the store.

    `key` is that of its entry, empty for one that runs: of that one `standing` is running, and the
    facts of its end are None. `order` is the run's creation in microseconds since the epoch, 0
    where nobody knows. `started_at` is the end less the duration, where that is known.
    """

    key: str
    prefix: str
    pipeline: str
    partition: str
    run: str
    order: int
    step: str
    member: str
    attempt: int
    standing: Standing
    cause: Cause | None
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    warnings: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the index as its name tells it, written at this time since the epoch.

    `line` is None where only the body tells more. `revision` is that of the summary.
    """

    key: str
    written_ms: int
    revision: int
    line: Line | None


def entry_key(summary: Summary, *, written_ms: int) -> str:
    """Name the entry that tells of an attempt, written at this time since the epoch."""
    time, *others = _fields(summary, written_ms)
    name = "+".join([time, *others])
    is_where = summary.prefix == _prefix(summary)
    if len(name) > _MAX_NAME_BYTES or not is_where:
        name = f"{time}+{sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]}"
    return f"{index_prefix(summary.pipeline)}/{name}{_SUFFIX}"


def _prefix(summary: Summary) -> str:
    """Name where an attempt lies by its names; one that was cut leads elsewhere."""
    names = (summary.pipeline, summary.partition, summary.run, summary.step, summary.attempt)
    return attempt_prefix(*names, member=summary.member)


def entry_of(key: str, pipeline: str) -> Entry | None:
    """Read the key of a pipeline's entry; None for an object that is none."""
    name = key.rpartition("/")[2]
    time, *others = name.removesuffix(_SUFFIX).split("+")
    try:
        written_ms = _END_OF_TIME_MS - int(time)
        if len(others) == _FIELDS - 1:
            line = _line(key, pipeline, others, written_ms)
            return Entry(key, written_ms, int(others[0]), line)
    except (ValueError, OverflowError):  # a number or a time that is none
        return None
    is_short = len(others) == 1 and len(others[0]) == _DIGEST_LENGTH
    return Entry(key, written_ms, 0, None) if is_short else None


def last_key(pipeline: str, written_ms: int) -> str:
    """Return what sorts behind the keys of all entries since a time, and before the others."""
    time = min(_END_OF_TIME_MS - written_ms, _END_OF_TIME_MS)
    return f"{index_prefix(pipeline)}/{time:0{_DIGITS}}~"


def newest(entries: Iterable[Entry]) -> dict[str, Line]:
    """Choose the newest line of each attempt, by its prefix: clocks may differ, revisions not."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.line is not None:
            before = found.setdefault(entry.line.prefix, entry)
            if (before.revision, before.written_ms) < (entry.revision, entry.written_ms):
                found[entry.line.prefix] = entry
    return {prefix: entry.line for prefix, entry in found.items() if entry.line}


def told(entry: Entry, summary: Summary) -> Entry:
    """Complete an entry whose name is a hash by its body, unless that is about something else."""
    is_own = entry.key.startswith(f"{index_prefix(summary.pipeline)}/")
    below = summary.prefix.removeprefix(f"{pipeline_prefix(summary.pipeline)}/")
    if not (is_own and _BELOW.fullmatch(below)):
        return entry
    try:
        return Entry(entry.key, entry.written_ms, summary.revision, _told(entry, summary))
    except OverflowError:
        return entry


def _told(entry: Entry, summary: Summary) -> Line:
    ended = summary.ended_at or _moment(entry.written_ms)
    return Line(
        key=entry.key,
        prefix=summary.prefix,
        pipeline=summary.pipeline,
        partition=summary.partition,
        run=summary.run,
        order=summary.order,
        step=summary.step,
        member=summary.member,
        attempt=summary.attempt,
        standing=summary.standing,
        cause=summary.cause,
        started_at=ended - timedelta(seconds=summary.duration_s or 0),
        ended_at=ended,
        duration_s=summary.duration_s,
        warnings=summary.warnings,
    )


def milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since the epoch."""
    return (moment - _EPOCH) // _MILLISECOND


def _fields(summary: Summary, written_ms: int) -> Iterator[str]:
    ended_at = summary.ended_at or _moment(written_ms)
    yield f"{_END_OF_TIME_MS - written_ms:0{_DIGITS}}"
    yield str(summary.revision)
    yield str(summary.order)
    yield encode(summary.partition)
    yield encode(summary.run)
    yield encode(summary.step)
    yield encode(summary.member) if summary.member else ""
    yield str(summary.attempt)
    yield summary.standing
    yield summary.cause or ""
    yield "" if summary.duration_s is None else f"{summary.duration_s:.3f}"
    yield str(summary.warnings or "")
    yield str(written_ms - milliseconds(ended_at))


def _line(key: str, pipeline: str, others: list[str], written_ms: int) -> Line:
    _revision, order, *names, attempt, standing, cause, duration, warnings, lag = others
    partition, run, step, member = map(decode, names)
    below = "/".join([*filter(None, names), attempt])  # as it is in keys: thousands are read
    if not (all(names[:3]) and _BELOW.fullmatch(below)):
        raise ValueError(below)
    duration_s = float(duration) if duration else None
    ended_at = _moment(written_ms - int(lag))
    return Line(
        key=key,
        prefix=f"{pipeline_prefix(pipeline)}/{below}",
        pipeline=pipeline,
        partition=partition,
        run=run,
        order=int(order),
        step=step,
        member=member,
        attempt=int(attempt),
        standing=Standing(standing),
        cause=Cause(cause) if cause else None,
        started_at=ended_at - timedelta(seconds=duration_s or 0),
        ended_at=ended_at,
        duration_s=duration_s,
        warnings=abs(int(warnings or 0)),
    )


def _moment(written_ms: int) -> datetime:
    return _EPOCH + written_ms * _MILLISECOND
