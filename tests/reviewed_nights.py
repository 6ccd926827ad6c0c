"""Nights as attempts leave them for the pages about metrics and outputs, by the real writers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nightmill.causes import Cause
from nightmill.spec.record import (
    AttemptState,
    CheckResult,
    Code,
    Failure,
    InputRecord,
    Record,
    Review,
)
from nightmill.store.active import mark
from nightmill.store.bundle import keep, pack
from nightmill.store.decision import decide, prepare
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_prefix
from nightmill.store.pointer import Move, Pointer, Token, commit, describe_outputs
from nightmill.store.versions import find_versions
from tests.stored_versions import Files, store_outputs

FIRST = datetime(2013, 3, 2, 7, 30, tzinfo=UTC)  # 02:30 in New York


@dataclass(frozen=True)
class Night:
    """One attempt: what it is called, how it ended, and what it reported and made."""

    pipeline: str = "flights"
    step: str = "score"
    number: int = 0
    partition: str = ""
    run: str = ""
    member: str = ""
    attempt: int = 1
    state: str = "succeeded"  # or failed, held, running
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    checks: tuple[CheckResult, ...] = ()
    inputs: Mapping[str, InputRecord] = field(default_factory=dict)
    bundle: str | None = None

    @property
    def day(self) -> str:
        """Its partition: the day before its run, unless it is given."""
        return self.partition or f"{FIRST + timedelta(days=self.number - 1):%Y-%m-%d}"

    @property
    def order(self) -> int:
        """When its run was created, in microseconds."""
        return int((FIRST + timedelta(days=self.number)).timestamp()) * 10**6


def add(store: Store, night: Night) -> Record:
    """Let an attempt leave its outputs, its record, its commit or none, and its line."""
    run = night.run or f"run-{night.number}"
    names = (night.pipeline, night.day, run, night.step)
    prefix = attempt_prefix(*names, night.attempt, member=night.member)
    outputs = store_outputs(store, prefix, night.files)
    record = Record(
        **_facts(store, night),
        run=run,
        outputs=describe_outputs(store, outputs),
    )
    store.write(f"{prefix_of(record)}/record.json", record.to_json())
    if record.committed:
        pointer = Pointer(
            pipeline=night.pipeline,
            step=night.step,
            partition=night.day,
            member=night.member,
            run=run,
            token=Token(order=night.order, attempt=night.attempt),
            attempt_prefix=prefix,
            outputs=outputs,
        )
        commit(store, pointer)
    if night.state == "running":
        mark(store, prefix, order=night.order)
    note(store, record)
    return record


def roll_back(store: Store, night: Night, *, output: str, to: str, **why: Any) -> None:
    """Let a person take a night's output back to a version, as `nightmill rollback` does."""
    (versions,) = find_versions(store, night.pipeline, output, night.day)
    move = Move(kind="rollback", **why)
    pointer = prepare(store, versions.choose(to), versions.current, move)
    decide(store, pointer, seen=versions.current)


def _facts(store: Store, night: Night) -> dict[str, Any]:
    started = FIRST + timedelta(days=night.number)
    state = "succeeded" if night.state == "held" else night.state
    failure = Failure(cause=Cause.NOTEBOOK_ERROR, message="notebook_error in cell 3/9: ValueError")
    is_over = night.state != "running"
    return {
        "pipeline": night.pipeline,
        "step": night.step,
        "partition": night.day,
        "as_of": night.day[:10],
        "member": night.member,
        "order": night.order,
        "attempt": night.attempt,
        "state": AttemptState(state),
        "failure": failure if night.state == "failed" else None,
        "committed": night.state == "succeeded",
        "review": Review(required=tuple(night.files)) if night.state == "held" else None,
        "started_at": started,
        "ended_at": started + timedelta(minutes=4) if is_over else None,
        "duration_s": 240.0 if is_over else None,
        "nightmill": "0.1.0",
        "host": "pod-1",
        "store": store.url,
        "parameters": {},
        "metrics": dict(night.metrics),
        "checks": night.checks,
        "inputs": dict(night.inputs),
        "code": _code(night.bundle),
    }


def _code(bundle: str | None) -> Code | None:
    facts = {"notebook": "n.ipynb", "notebook_sha256": "0" * 64, "modules": {}}
    return bundle and Code(**facts, git_commit=None, git_dirty=None, image=None, bundle=bundle)


def keep_code(store: Store, folder: Path, text: str) -> str:
    """Keep a pipeline.yaml as a run does; return the name of its bundle."""
    file = folder / "pipeline.yaml"
    file.write_text(text, encoding="utf-8")
    bundle = pack({"notebooks/p/pipeline.yaml": file})
    keep(store, bundle)
    return bundle.sha256
