"""Runs as they are in a store after a night: records by the real models, written by real stores.

The pipeline `flights` loads two inputs, makes features of both, scores them and reports: enough for
a graph with a branch. Everything can be changed by the facts of a record.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nightmill.causes import Cause
from nightmill.spec.progress import Progress
from nightmill.spec.record import (
    AttemptState,
    CheckResult,
    CheckState,
    Code,
    Failure,
    InputRecord,
    KernelRecord,
    Memory,
    Record,
    Review,
)
from nightmill.spec.retry import retry_of
from nightmill.store import bundle
from nightmill.store.active import mark
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.interface import Store
from nightmill.store.pointer import Pointer, Token, commit, describe_outputs
from tests.stored_versions import store_outputs

PIPELINE, DAY, RUN = "flights", "2013-03-01", "20130302T073000-k3f9"
BEGUN = datetime(2013, 3, 2, 7, 30, tzinfo=UTC)  # 02:30 in New York
ZONE = "America/New_York"
GIB = 1 << 30

YAML = f"""\
pipeline: {PIPELINE}
timezone: {ZONE}
owner: data-science
steps:
  load: {{notebook: load.ipynb, outputs: {{raw: raw.parquet}}}}
  weather: {{notebook: weather.ipynb, outputs: {{weather: weather.parquet}}}}
  features: {{notebook: features.ipynb, inputs: [raw, weather], outputs: {{features: f.parquet}}}}
  score: {{notebook: score.ipynb, inputs: [features], outputs: {{scores: scores.parquet}}}}
  report: {{notebook: report.ipynb, inputs: [scores, raw], outputs: {{report: report.html}}}}
"""
OUTPUTS = {
    "load": "raw", "weather": "weather", "features": "features",
    "score": "scores", "report": "report",
}  # fmt: skip


def keep_code(store: Store, yaml: str = YAML) -> str:
    """Put a pipeline.yaml into the store as attempts do; return the name of its bundle."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(yaml)
        packed = bundle.pack({f"notebooks/{PIPELINE}/pipeline.yaml": file})
    bundle.keep(store, packed)
    return packed.sha256


def record_of(step: str, *, minutes: float = 0, code: str | None = None, **facts: Any) -> Record:
    """Make the record of an attempt that succeeded and committed, begun so long after the run."""
    begun = facts.pop("started_at", BEGUN + timedelta(minutes=minutes))
    given: dict[str, Any] = {
        "pipeline": PIPELINE,
        "step": step,
        "partition": DAY,
        "as_of": DAY,
        "run": RUN,
        "order": int(BEGUN.timestamp() * 10**6),
        "attempt": 1,
        "state": AttemptState.SUCCEEDED,
        "committed": True,
        "started_at": begun,
        "duration_s": 90.0,
        "ended_at": begun + timedelta(seconds=facts.get("duration_s") or 90.0),
        "nightmill": "0.1.0",
        "host": f"{step}-pod",
        "pool": "highcpu",
        "store": "s3://bucket/store",
        "parameters": {"partition": DAY, "threshold": 0.5},
        "memory": Memory(peak_bytes=GIB, limit_bytes=2 * GIB),
        "code": _code(step, code),
        "kernel": _KERNEL,
    }
    return Record(**given | facts)


def failed(step: str, cause: Cause, *, minutes: float = 0, **facts: Any) -> Record:
    """Make the record of an attempt that failed in cell 14 of 22; `failure` may add to why."""
    more = facts.pop("failure", {})
    failure = Failure(
        cause=cause,
        message=f'{cause} in cell 14/22 "Score the day": it did not fit',
        retry=retry_of(cause),
        cell=14,
        cells=22,
        title="Score the day",
    ).model_copy(update=more)
    facts = {"state": AttemptState.FAILED, "committed": False, **facts}
    return record_of(step, minutes=minutes, failure=failure, **facts)


def held(step: str, **facts: Any) -> Record:
    """Make the record of an attempt whose output waits for a person."""
    review = Review(required=(OUTPUTS[step],))
    return record_of(step, **{"committed": False, "review": review, **facts})


def running(step: str, **facts: Any) -> Record:
    """Make the record of an attempt at work."""
    open_ended = {"duration_s": None, "ended_at": None, "committed": False, "memory": None}
    return record_of(step, **{"state": AttemptState.RUNNING, **open_ended, **facts})


def progress_of(record: Record, **facts: Any) -> Progress:
    """Make what an attempt at work says of itself: at cell 4 of 22, heard of just now."""
    given: dict[str, Any] = {
        "state": AttemptState.RUNNING,
        "started_at": record.started_at,
        "heartbeat": datetime.now(UTC),
        "elapsed_s": 125.0,
        "usual_total_s": 300.0,
        "position": 4,
        "of": 22,
        "cell": 5,
        "title": "Train the model",
        "cell_elapsed_s": 61.0,
        "usual_s": 40.0,
        "memory_bytes": 3 * GIB // 2,
        "memory_limit_bytes": 2 * GIB,
        "last_line": "epoch 7 of 20, loss 0.31",
    }
    return Progress(**given | facts)


def leave(store: Store, record: Record, progress: Progress | None = None) -> Record:
    """Write an attempt as it leaves itself: outputs, commit, record, and its line or mark."""
    prefix = prefix_of(record)
    if record.state is AttemptState.SUCCEEDED and not record.outputs:
        data = f"{OUTPUTS[record.step]} of {prefix}".encode()
        stored = store_outputs(store, prefix, {OUTPUTS[record.step]: {"data": data}})
        record = record.model_copy(update={"outputs": describe_outputs(store, stored)})
        if record.committed:
            commit(store, _pointer(record, prefix, stored))
    store.write(f"{prefix}/record.json", record.to_json())
    if progress is not None:
        store.write(f"{prefix}/progress.json", progress.to_json())
    if record.state is AttemptState.RUNNING:
        mark(store, prefix, order=record.order)
    else:
        note(store, record)
    return record


def reads(made: Record, **facts: Any) -> InputRecord:
    """Make what a record says of an input that another attempt has made."""
    name, output = next(iter(made.outputs.items()))
    own = {"pipeline": made.pipeline, "partition": made.partition, "run": made.run}
    address = output.address
    return InputRecord(
        **{**own, "output": name, "attempt": made.attempt, "address": address, **facts},
        files=output.files,
    )


def check(output: str, state: CheckState = CheckState.PASSED, **facts: Any) -> CheckResult:
    """Make a check of an output's rows."""
    given: dict[str, Any] = {
        "output": output,
        "check": "rows",
        "state": state,
        "expected": "more than 0 rows",
        "observed": "1,234 rows",
        "message": f"{output}: 1,234 rows",
        "duration_s": 0.1,
        "profile": {"rows": 1234},
    }
    return CheckResult(**given | facts)


def later_night(record: Record, days: int = 1) -> Record:
    """Make the same attempt at the same partition again, in a run of another day."""
    by = timedelta(days=days)
    return record.model_copy(
        update={
            "run": f"later-{days}",
            "order": record.order + int(by.total_seconds() * 10**6),
            "started_at": record.started_at + by,
            "ended_at": record.ended_at + by if record.ended_at else None,
            "outputs": {},
        }
    )


def _pointer(record: Record, prefix: str, stored: Any) -> Pointer:
    return Pointer(
        pipeline=record.pipeline,
        step=record.step,
        partition=record.partition,
        member=record.member,
        run=record.run,
        token=Token(order=record.order, attempt=record.attempt),
        attempt_prefix=prefix,
        outputs=stored,
    )


_HASH = hashlib.sha256(b"").hexdigest()
_KERNEL = KernelRecord(
    name="tabular",
    lock_sha256=_HASH,
    python="3.12.1",
    libraries={"pandas": "2.2.0", "xgboost": "2.1.0"},
    threads=2,
    threads_from="the pool's cpus",
)


def _code(step: str, kept: str | None) -> Code:
    return Code(
        notebook=f"notebooks/{PIPELINE}/{step}.ipynb",
        notebook_sha256=_HASH,
        modules={f"notebooks/{PIPELINE}/helpers.py": _HASH},
        git_commit="4f1c" * 10,
        git_dirty=True,
        image="registry.example/nightmill:1",
        bundle=kept,
    )
