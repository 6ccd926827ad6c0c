"""Versions as attempts leave them in a store: outputs, a record, and a commit or none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from nightmill.causes import Cause
from nightmill.spec.record import (
    AttemptState,
    CellRecord,
    CellState,
    CheckResult,
    CheckState,
    Failure,
    Record,
)
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_prefix, output_key, output_prefix
from nightmill.store.pointer import (
    CommittedFile,
    CommittedOutput,
    Pointer,
    Token,
    commit,
    describe_outputs,
    read_pointer,
)

START = datetime(2013, 3, 2, 2, 30, tzinfo=UTC)
DAY = "2013-03-01"
PIPELINE, STEP = "flights", "score"

Files = Mapping[str, Mapping[str, bytes]]  # output -> path -> bytes


def usual_files(order: int, attempt: int = 1) -> Files:
    """Make two outputs, a file and a folder, that tell which attempt wrote them."""
    text = f"run {order} attempt {attempt}".encode()
    return {
        "scores": {"scores.parquet": b"scores of " + text},
        "plots": {"a.png": b"a of " + text, "b/c.png": b"c of " + text},
    }


def prefix_of(order: int, attempt: int = 1, *, member: str = "") -> str:
    """Name the prefix of an attempt."""
    return attempt_prefix(PIPELINE, DAY, f"run-{order}", STEP, attempt, member=member)


def store_outputs(store: Store, prefix: str, files: Files) -> dict[str, CommittedOutput]:
    """Put files below an attempt's prefix, as a step does."""
    found: dict[str, CommittedOutput] = {}
    with TemporaryDirectory() as folder:
        for output, content in files.items():
            committed = []
            for path, data in content.items():
                local = Path(folder, "file")
                local.write_bytes(data)
                stored = store.put_file(output_key(prefix, output, path), local)
                facts = {"size": stored.size, "sha256": stored.sha256, "etag": stored.etag}
                committed.append(CommittedFile(path=path, **facts))
            kind = "file" if len(content) == 1 else "directory"
            place = output_prefix(prefix, output)
            found[output] = CommittedOutput(
                name=output, kind=kind, prefix=place, files=tuple(committed)
            )
    return found


def make_pointer(
    order: int,
    attempt: int = 1,
    *,
    outputs: Mapping[str, CommittedOutput],
    member: str = "",
    inputs: Mapping[str, str] | None = None,
    **names: str,
) -> Pointer:
    """Make the pointer by which an attempt commits; `names` are those of another step or day."""
    known = {"step": STEP, "partition": DAY}
    known["attempt_prefix"] = prefix_of(order, attempt, member=member)
    return Pointer(
        **(known | names),
        pipeline=PIPELINE,
        member=member,
        run=f"run-{order}",
        token=Token(order=order, attempt=attempt),
        outputs=dict(outputs),
        inputs=dict(inputs or {}),
    )


def add_version(
    store: Store,
    order: int,
    attempt: int = 1,
    *,
    member: str = "",
    commits: bool = True,
    rows: int | None = None,
    files: Files | None = None,
    **facts: object,
) -> Record:
    """Let an attempt leave its outputs and its record, and commit unless told otherwise."""
    prefix = prefix_of(order, attempt, member=member)
    outputs = store_outputs(store, prefix, files or usual_files(order, attempt))
    counted = () if rows is None else (count_of(rows),)
    known = {
        "as_of": DAY,
        "nightmill": "0",
        "host": "h",
        "store": store.url,
        "parameters": {},
        "state": AttemptState.SUCCEEDED if commits else AttemptState.FAILED,
        "failure": None if commits else Failure(cause=Cause.FENCED, message="fenced: newer"),
        "committed": commits,
        "started_at": START,
        "ended_at": START + timedelta(minutes=order),
        "cells": (CellRecord(number=2, title="Score", state=CellState.COMPLETED),),
        "checks": counted,
    }
    record = Record(
        **(known | facts),
        pipeline=PIPELINE,
        partition=DAY,
        step=STEP,
        member=member,
        run=f"run-{order}",
        order=order,
        attempt=attempt,
        outputs=describe_outputs(store, outputs),
    )
    store.write(f"{prefix}/record.json", record.to_json())
    if commits:
        commit(store, make_pointer(order, attempt, outputs=outputs, member=member))
    return record


def count_of(rows: int, **fields: object) -> CheckResult:
    """Make the result of the check that counts rows."""
    known = {"output": "scores", "check": "rows", "state": CheckState.PASSED, "duration_s": 0.1}
    return CheckResult(**(known | {"message": f"{rows} rows", "profile": {"rows": rows}} | fields))


def current(store: Store, *, member: str = "") -> Pointer | None:
    """Read what is current."""
    return read_pointer(store, PIPELINE, STEP, DAY, member=member)


def read_current_bytes(store: Store, *, member: str = "") -> dict[str, dict[str, bytes]]:
    """Read every file of every current output, as a reader would: by the pointer alone."""
    pointer = current(store, member=member)
    assert pointer is not None
    return {
        name: {file.path: store.read(f"{output.prefix}/{file.path}").data for file in output.files}
        for name, output in pointer.outputs.items()
    }
