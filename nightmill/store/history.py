"""What ran before: the records of a store, newest run first."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from nightmill.spec.record import Record
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, decode, pipeline_prefix, run_prefix


def pipelines(store: Store) -> list[str]:
    """Name the pipelines that have run."""
    return [decode(name) for name in store.children("runs")]


def runs(store: Store, pipeline: str) -> list[tuple[str, str]]:
    """Return run and partition of every run of a pipeline, the newest run first."""
    prefix = pipeline_prefix(pipeline)
    found = [
        (decode(run), decode(partition))
        for partition in store.children(prefix)
        for run in store.children(f"{prefix}/{partition}")
    ]
    return sorted(found, reverse=True)


def records(store: Store, pipeline: str, partition: str, run: str) -> Iterator[Record]:
    """Yield the record of every attempt of a run, in the order in which they started."""
    prefix = run_prefix(pipeline, partition, run)
    keys = [entry.key for entry in store.list(prefix) if entry.key.endswith(f"/{RECORD}")]
    found = []
    for key in keys:
        blob = store.read(key)
        if blob is not None:
            try:
                found.append(Record.from_json(blob.data))
            except (ValidationError, ValueError):
                continue  # an output may have the name of a record
    yield from sorted(found, key=lambda record: record.started_at)
