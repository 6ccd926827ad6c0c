"""Thousands of attempts in a store, made quickly: records by the real models, real index entries.

Two pipelines run a partition a day, the newest last night. Most attempts succeed; every state and
many causes occur, and the newest night's last step still runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from starlette.testclient import TestClient

from nightmill.causes import SUMMARY, Cause
from nightmill.review.access import OwnerAccess
from nightmill.review.app import make_app
from nightmill.review.site import Site
from nightmill.spec.record import (
    AttemptState,
    CellRecord,
    CellState,
    CheckResult,
    CheckState,
    Code,
    Decision,
    Failure,
    FileRecord,
    InputRecord,
    KernelRecord,
    Memory,
    OutputRecord,
    Record,
    Review,
)
from nightmill.spec.summary import summarize
from nightmill.store.active import mark
from nightmill.store.history import prefix_of
from nightmill.store.index import Index
from nightmill.store.index_line import entry_key
from nightmill.store.index_running import EVERY_S
from nightmill.store.interface import Store
from nightmill.store.open import open_store
from tests.review_client import Asked

LAST_NIGHT = datetime(2013, 12, 31, 2, 30, tzinfo=UTC)
STEPS = {"flights": ("features", "score", "report"), "taxis": ("load", "train")}

_CELLS = tuple(
    CellRecord(number=number, title=f"Cell {number}", state=CellState.COMPLETED, duration_s=1.0)
    for number in range(1, 21)
)
_CAUSES = tuple(Cause)
_HASH = "0" * 64


@dataclass(frozen=True)
class Ended:
    """An attempt, and how long after the run's creation its record was written."""

    record: Record
    written_ms: int


def fill(store: Store, count: int, *, with_records: bool = True, threads: int = 8) -> list[Record]:
    """Write so many attempts that ended, newest night first, and the marks of two that run."""
    made = [one for one, _number in zip(attempts(), range(count), strict=False)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda one: write(store, one, with_record=with_records), made))
    for pipeline, steps in STEPS.items():
        running = _record(pipeline, steps[-1], -1, AttemptState.RUNNING)
        _put(store, f"{prefix_of(running)}/record.json", running.to_json())
        mark(store, prefix_of(running), order=running.order)
    return [one.record for one in made]


def write(store: Store, one: Ended, *, with_record: bool = True) -> str:
    """Write an attempt's record and what the index has of it; return the entry's key."""
    prefix = prefix_of(one.record)
    if with_record:
        _put(store, f"{prefix}/record.json", one.record.to_json())
    summary = summarize(one.record, prefix)
    key = entry_key(summary, written_ms=one.written_ms)
    _put(store, key, summary.to_json())
    return key


def _put(store: Store, key: str, data: bytes) -> None:
    """Write as the store does, but for the care that a power cut asks of a directory."""
    path = store.local_path(key)
    if path is None:
        store.write(key, data)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def attempts() -> Iterator[Ended]:
    """Make attempts night by night, from the last one back, without end."""
    number = 0
    for night in range(date.max.year):
        for pipeline, steps in STEPS.items():
            for step in steps:
                record = _record(pipeline, step, night, AttemptState.SUCCEEDED)
                record = record.model_copy(update=dict(_end(number)))
                ended_at = record.ended_at or record.started_at
                yield Ended(record, int(ended_at.timestamp() * 1000) + 40)
                number += 1


def _record(pipeline: str, step: str, night: int, state: AttemptState) -> Record:
    created = LAST_NIGHT - timedelta(days=night)
    begun = created + timedelta(minutes=10 * STEPS[pipeline].index(step))
    day = f"{created - timedelta(days=1):%Y-%m-%d}"
    ended = {} if state is AttemptState.RUNNING else _whole(pipeline, step, day, begun)
    return Record(
        pipeline=pipeline,
        step=step,
        partition=day,
        as_of=day,
        run=f"{created:%Y%m%dT%H%M%S}-{pipeline}",
        order=int(created.timestamp()) * 10**6,
        attempt=1,
        state=state,
        started_at=begun,
        nightmill="0.1.0",
        host="pod-1",
        pool="highmem",
        store="s3://bucket/store",
        parameters={"partition": day, "threshold": 0.5},
        **ended,
    )


def _whole(pipeline: str, step: str, day: str, begun: datetime) -> dict[str, object]:
    address = f"s3://bucket/store/runs/{pipeline}/{day}/r/{step}/1"
    file = FileRecord(path="scores.parquet", size=1_000_000, sha256=_HASH, etag=_HASH)
    versions = {"pipeline": pipeline, "partition": day, "run": "r", "attempt": 1}
    source = {"output": "model", "address": f"{address}/outputs/model/m.json", "files": (file,)}
    counted = {"profile": {"rows": 1234}, "message": "1,234 rows", "duration_s": 0.1}
    passed = CheckResult(output="scores", check="rows", state=CheckState.PASSED, **counted)
    output = {"address": f"{address}/outputs/scores/scores.parquet", "size": file.size}
    return {
        "ended_at": begun + timedelta(seconds=95.5),
        "duration_s": 95.5,
        "committed": True,
        "notebook": f"{address}/notebook.ipynb",
        "cells": _CELLS,
        "memory": Memory(peak_bytes=3 << 30, limit_bytes=8 << 30),
        "metrics": {"auc": 0.91, "rmse": 12.25, "rows": 1234, "note": "as usual"},
        "inputs": {"model": InputRecord(**versions, **source)},
        "outputs": {"scores": OutputRecord(kind="file", files=(file,), **output)},
        "checks": (passed,),
        "code": Code(
            notebook=f"notebooks/{pipeline}/{step}.ipynb",
            notebook_sha256=_HASH,
            modules={},
            git_commit="0" * 40,
            git_dirty=False,
            image="registry.example/nightmill:1",
            bundle=_HASH,
        ),
        "kernel": KernelRecord(
            name="tabular",
            lock_sha256=_HASH,
            python="3.12.1",
            libraries={"pandas": "2.2.0"},
            threads=2,
            threads_from="cpus",
        ),
    }


def _end(number: int) -> Iterator[tuple[str, object]]:
    """Let every seventh attempt fail, and every tenth wait for a person or be refused by one."""
    if number % 7 == 0:
        cause = _CAUSES[number // 7 % len(_CAUSES)]
        message = f"{cause} in cell 14/20: {SUMMARY[cause]}"
        failure = Failure(cause=cause, message=message, cell=14, cells=20, title="Score the day")
        yield "failure", failure
        yield "state", AttemptState.FAILED
        yield "committed", False
    elif number % 10 == 0:
        refused = Decision(approved=False, by="ann", at=LAST_NIGHT, comment="too few rows")
        decision = refused if number % 20 else None
        yield "review", Review(required=("scores",), decision=decision)
        yield "committed", False


def asked_for(folder: Path, size: int, path: str, *, after: str) -> Asked:
    """Ask for a page over so many attempts; return the store with the calls of that.

    `after` is the page that was asked for before, by which the index is known. Between the two it
    gets too old to be shown again, and within a page nothing does, however slow this machine is.
    """
    store = Asked(open_store(f"store-{size}", base=folder))
    fill(store, size, with_records=False, threads=2)
    site, moment = Site.open(store, OwnerAccess("Ada")), [0.0]
    client = TestClient(make_app(replace(site, index=Index(store, clock=lambda: moment[-1]))))
    assert client.get(after).status_code == 200
    moment.append(EVERY_S)
    store.calls.clear()
    assert client.get(path).status_code == 200
    return store


def lists_runs(store: Asked) -> bool:
    """Tell whether any call of a store lists what is below runs/."""
    return any(name in ("list", "children") and "runs" in key for name, key in store.calls)
