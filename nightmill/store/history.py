"""What ran before: the records of a store, newest run first."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from nightmill.errors import UsageError
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.store.interface import Store
from nightmill.store.keys import (
    RECORD,
    attempt_of,
    attempt_prefix,
    decode,
    encode,
    part_of,
    pipeline_prefix,
    run_prefix,
)
from nightmill.store.latest import newest_pointers

_THREADS = 16


@dataclass(frozen=True)
class RunRecords:
    """The records of a run in the order in which its attempts started.

    `unreadable` holds the addresses of records that are damaged, or of a later Nightmill.
    """

    records: tuple[Record, ...]
    unreadable: tuple[str, ...] = ()


def prefix_of(attempt: Record | StepRun) -> str:
    """Name the prefix of the attempt that a record tells of, or a StepRun describes."""
    names = (attempt.pipeline, attempt.partition, attempt.run, attempt.step)
    return attempt_prefix(*names, attempt.attempt, member=attempt.member)


def record_of(data: bytes, prefix: str) -> Record:
    """Read the record of the attempt at a prefix; raises ValueError for what is not that.

    One that names another attempt is damaged: whoever follows its names would read the other's
    files, or decide about it.
    """
    record = Record.from_json(data)
    inputs = [one for one in record.inputs.values() if one]
    names = [name for one in inputs for name in (one.pipeline, one.output, one.partition, one.run)]
    try:
        is_own = prefix == prefix_of(record)
        for name in (*record.outputs, *names):
            encode(name)
    except UsageError as error:
        raise ValueError(f"a name in it {error.problem}") from error
    if not is_own:
        raise ValueError("it is of another attempt")
    return record


def pipelines(store: Store) -> list[str]:
    """Name the pipelines that have run."""
    return [decode(name) for name in store.children("runs")]


def runs(store: Store, pipeline: str, *, without: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return run and partition of every run of a pipeline, the newest run first.

    Asks once for each partition, but not for those `without`, named as they are in keys.
    """
    prefix = pipeline_prefix(pipeline)
    found = [
        (decode(run), decode(partition))
        for partition in store.children(prefix)
        if partition not in without
        for run in store.children(f"{prefix}/{partition}")
    ]
    return sorted(found, reverse=True)


def records(store: Store, pipeline: str, partition: str, run: str) -> RunRecords:
    """Read the record of every attempt of a run."""
    return records_below(store, run_prefix(pipeline, partition, run))


def records_below(store: Store, prefix: str) -> RunRecords:
    """Read the record of every attempt of the run with this prefix, some at once."""
    attempts = [attempt_of(one.key) for one in store.list(prefix) if part_of(one.key) == RECORD]
    keys = [f"{attempt}/{RECORD}" for attempt in attempts]
    found: list[Record] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for key, blob in zip(keys, pool.map(store.read, keys), strict=True):
            try:
                attempt = key.removesuffix(f"/{RECORD}")
                found += [record_of(blob.data, attempt)] if blob else []
            except ValueError:  # no JSON, or another shape: pydantic's error is one too
                unreadable.append(store.address(key))
    return RunRecords(tuple(sorted(found, key=lambda one: one.started_at)), tuple(unreadable))


def recent_records(
    store: Store, pipeline: str, step: str, *, member: str = "", count: int = 5
) -> list[Record]:
    """Read the records of the attempts that committed a step's newest partitions, newest first.

    Two requests each and one or two listings of bounded length: cheap also where years have run.
    What cannot be read is left out.
    """
    found: list[Record] = []
    for pointer in islice(newest_pointers(store, pipeline, step, member=member), count):
        blob = store.read(f"{pointer.attempt_prefix}/{RECORD}")
        with suppress(ValueError):
            found += [Record.from_json(blob.data)] if blob else []
    return found
