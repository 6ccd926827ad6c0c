"""One notebook run to its end: watched, mirrored while it runs, judged, and kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightmill.causes import Cause
from nightmill.spec import executed
from nightmill.spec.record import AttemptState, Failure
from nightmill.spec.tail import tail_of
from nightmill.step import findings, verdict
from nightmill.step.engine_process import EngineProcess
from nightmill.step.kept_record import KeptRecord
from nightmill.step.limits import memory_limit
from nightmill.step.mirror import Mirror
from nightmill.step.patience import PatientStore
from nightmill.step.plan import Plan
from nightmill.step.progress import ProgressTracker
from nightmill.step.redaction import Redactor
from nightmill.step.stop import StopRequest
from nightmill.step.supervisor import Listener, Supervisor, Watched
from nightmill.store.history import recent_records
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, spilled_key

_SHOWN_CHARACTERS = 4000  # of what the engine itself said
_SMALL_BYTES = 1 << 20
_PATIENCE_S, _STOPPED_S = 5.0, 1.0


@dataclass(frozen=True)
class Desk:
    """What an attempt works with: the record it keeps, its store, who listens and may stop it.

    `behind` is the store without our patience, for whoever has a thread of their own.
    """

    kept: KeptRecord
    store: PatientStore
    behind: Store
    redactor: Redactor
    listener: Listener
    stop: StopRequest


class NotebookRun:
    """Runs one plan; what is seen is noted in the record.

    `notebook` is where the executed notebook will be. The heartbeat begins at `start`: inputs may
    take long to come, and an attempt that fetches them is alive.
    """

    def __init__(self, desk: Desk, engine: EngineProcess, notebook: Path) -> None:
        self._desk = desk
        self._engine = engine
        self._notebook = notebook
        self._closed: Mapping[str, Any] | None = None
        self._spilled: list[Path] = []
        record = desk.kept.record
        self._tracker = ProgressTracker(
            record.started_at,
            memory_limit_bytes=memory_limit(),
            redact=desk.redactor.text,
            earlier=lambda: recent_records(
                desk.behind, record.pipeline, record.step, member=record.member
            ),
        )
        self._mirror = Mirror(
            desk.behind, desk.kept.prefix, self._notebook, self._tracker, tell=self._warn
        )

    def start(self) -> None:
        """Let the store see that the attempt is alive."""
        self._mirror.start()

    def run(self, plan: Plan, *, deadline_s: float | None, die_with_stdin: bool) -> Failure | None:
        """Run the plan and note what was seen; None when every cell completed."""
        desk = self._desk
        supervisor = Supervisor(
            self._engine,
            desk.stop,
            self._hear,
            deadline_s=deadline_s,
            die_with_stdin=die_with_stdin,
        )
        seen = supervisor.run(plan)
        seen.log_tail = desk.redactor.text(seen.log_tail)[-_SHOWN_CHARACTERS:]
        failure = self._judge(seen)
        self._mirror.release_notebook(self._patience_s)
        self._note(seen)
        self._spilled = [Path(plan.spilled, file) for file in seen.spilled]
        return failure

    def keep(self) -> None:
        """Put the executed notebook into the store, after what it refers to."""
        kept, store = self._desk.kept, self._desk.store
        if not self._notebook.is_file():
            return
        for path in filter(Path.is_file, self._spilled):
            store.put_file(spilled_key(kept.prefix, path.name), path)
        key = f"{kept.prefix}/{NOTEBOOK}"
        if self._closed is not None:  # from memory: a full scratch disk takes no other notebook
            store.write(key, executed.notebook_bytes(self._closed))
        elif self._notebook.stat().st_size <= _SMALL_BYTES:
            store.write(key, self._notebook.read_bytes())  # one request, where a file takes two
        else:
            store.put_file(key, self._notebook)
        kept.note(notebook=store.address(key))

    def end(self, state: AttemptState) -> None:
        """End the mirror; where the store knows of any progress, it is told the end."""
        self._tracker.end(state)
        self._mirror.stop(self._patience_s)

    @property
    def _patience_s(self) -> float:
        """How long to wait for an upload of the mirror's that is under way."""
        return _STOPPED_S if self._desk.stop.times else _PATIENCE_S

    def _hear(self, event: Mapping[str, Any]) -> None:
        self._tracker.take(event)
        self._desk.listener(event)

    def _warn(self, text: str) -> None:
        self._desk.listener({"event": "warning", "text": text})

    def _judge(self, seen: Watched) -> Failure | None:
        failure = verdict.judge(seen)
        if failure is None:
            return None
        found = findings.read_notebook(self._notebook)
        if found is None:
            return failure
        if seen.outcome is None or failure.cause is Cause.STORE:  # the engine could not save it
            found = executed.close(found, failure.cause, failure.message, reached=seen.reached)
            self._closed = found
            failure = verdict.located(failure, executed.end_of(found), executed.count_cells(found))
        if failure.cell is not None and failure.cause is not Cause.TERMINATED:
            lines = list(tail_of(found, failure.cell))
            self._desk.listener({"event": "tail", "lines": lines})
        return failure

    def _note(self, seen: Watched) -> None:
        """Note what was seen; nothing of it needs the store."""
        mirror = {"mirror": self._mirror.evidence} if self._mirror.evidence else {}
        self._desk.kept.note(
            memory=findings.describe_memory(seen),
            evidence={**findings.describe_evidence(seen), **mirror},
            warnings=(
                *self._desk.kept.record.warnings,
                *findings.describe_warnings(seen),
                *self._mirror.warnings,
            ),
        )
        if found := self._closed or findings.read_notebook(self._notebook):
            self._desk.kept.note(
                cells=findings.describe_cells(found, seen), metrics=findings.read_metrics(found)
            )
