"""One attempt at one step, from its StepRun to its record and its commit.

The order is the promise: everything that can be wrong is found before the first cell runs, and the
record exists; outputs and notebook are in the store before the pointer changes; the pointer changes
by one conditional write; the final record says whether it did. The kernel alone is started before
all this, since it takes as long: it idles until then, and is ended if nothing comes of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nightmill.causes import Cause
from nightmill.errors import FencedError, NightmillError, StoreError
from nightmill.spec import executed
from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.steprun import StepRun
from nightmill.spec.tail import tail_of
from nightmill.step import findings, verdict
from nightmill.step.cell_states import amend_after_kill
from nightmill.step.engine_process import EngineProcess
from nightmill.step.kept_record import KeptRecord
from nightmill.step.prepare import Ground, Prepared, find_ground, prepare
from nightmill.step.redaction import Redactor
from nightmill.step.scratch import disk_error, make_scratch, with_place
from nightmill.step.supervisor import StopRequest, Supervisor, Watched
from nightmill.store import active
from nightmill.store.inputs import version_notes
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, attempt_prefix, pointer_key
from nightmill.store.open import open_store
from nightmill.store.pointer import (
    CommittedOutput,
    Current,
    Pointer,
    Token,
    commit,
    describe_outputs,
    read_current,
)

Listener = Callable[[Mapping[str, Any]], None]


class Attempt:
    """Runs one StepRun; `execute` returns the record and raises only if none could be kept."""

    def __init__(
        self,
        run: StepRun,
        project: Project,
        engine: EngineProcess,
        *,
        stop: StopRequest,
        listener: Listener,
    ) -> None:
        self._run = run
        self._project = project
        self._engine = engine
        self._stop = stop
        self._listener = listener
        self._token = Token(order=run.order, attempt=run.attempt)
        self._prefix = attempt_prefix(
            run.pipeline, run.partition, run.run, run.step, run.attempt, member=run.member
        )
        self._scratch: Path | None = None
        self._is_all_stored = True
        self._store: Store
        self._kept: KeptRecord

    @property
    def record_address(self) -> str:
        """Where the record is, for people and libraries."""
        return self._kept.address

    def execute(self, *, die_with_stdin: bool = False) -> Record:
        """Run the attempt to its end.

        An attempt that has committed already returns its record and does nothing. Raises
        StoreError where the store cannot keep the record, UsageError for a number used before.
        """
        try:
            ground = self._begin()
            run = self._run
            key = pointer_key(run.pipeline, run.step, run.partition, member=run.member)
            current = read_current(self._store, key)
            if current.pointer is not None and current.pointer.token == self._token:
                self._finish_before(current.pointer)
            else:
                active.mark(self._store, self._prefix)
                self._kept.claim()
                self._try(ground, current, die_with_stdin=die_with_stdin)
                self._finish()
            return self._kept.record
        finally:
            self._engine.close()
            if self._scratch is not None and self._is_all_stored:
                shutil.rmtree(self._scratch, ignore_errors=True)

    # -- before -----------------------------------------------------------------------------------

    def _begin(self) -> Ground | Exception:
        """Start the kernel, open the store; an error is told once there is a record to tell it."""
        ground = self._start_kernel()
        environ = ground.order.env if isinstance(ground, Ground) else os.environ
        redactor, listener = Redactor.of(environ), self._listener
        self._listener = lambda event: listener(redactor.tree(event))
        self._store = open_store(self._run.store, base=self._project.root)
        self._kept = KeptRecord(self._store, self._prefix, self._run, redactor)
        return ground

    def _start_kernel(self) -> Ground | Exception:
        try:
            self._scratch = make_scratch()
            ground = find_ground(self._run, self._project, self._scratch)
        except Exception as error:  # noqa: BLE001 - it is raised again in `_run_in`
            return error
        self._engine.start_kernel(ground.order)
        return ground

    def _refuse_if_fenced(self, current: Pointer | None) -> None:
        if current is not None and self._token < current.token:
            raise FencedError(
                f"run {current.run} (attempt {current.token.attempt}) is newer and has committed",
                advice="nothing is lost; start a new run to replace its outputs",
            )

    # -- the run and after ------------------------------------------------------------------------

    def _try(self, ground: Ground | Exception, current: Current, *, die_with_stdin: bool) -> None:
        """Do everything between the first record and the last; what goes wrong is noted there."""
        try:
            self._refuse_if_fenced(current.pointer)
            if isinstance(ground, Exception):
                raise ground  # noqa: TRY301 - found before there was a record to tell it in
            self._run_in(ground, current, die_with_stdin=die_with_stdin)
        except StoreError as error:
            self._fail_unstored(error)
        except NightmillError as error:
            self._fail(verdict.from_error(error))
        except OSError as error:
            self._fail_unstored(disk_error(error))
        except Exception as error:
            self._fail(verdict.from_bug(error))
            self._kept.write()
            raise

    def _run_in(self, ground: Ground, current: Current, *, die_with_stdin: bool) -> None:
        scratch = self._scratch
        if scratch is None:  # pragma: no cover - where a ground is, there is a scratch folder
            raise RuntimeError("no scratch folder")
        store = self._store
        prepared = prepare(self._run, self._project, ground, store=store, scratch=scratch)
        self._kept.note(**prepared.facts)
        self._kept.write()
        timeout = ground.spec.timeout
        supervisor = Supervisor(
            self._engine,
            self._stop,
            self._listener,
            deadline_s=timeout.total_seconds() if timeout else None,
            die_with_stdin=die_with_stdin,
        )
        seen = supervisor.run(prepared.plan)
        failure = self._judge(seen, scratch)
        try:
            self._keep_notebook(scratch, seen)
        except StoreError as error:
            if failure is None:
                raise
            told = str(self._kept_locally(error))
            failure = verdict.with_evidence(failure, notebook_not_stored=told)
        if failure is None:
            self._commit(prepared, current)
        else:
            self._fail(failure)

    def _judge(self, seen: Watched, scratch: Path) -> Failure | None:
        failure = verdict.judge(seen)
        if failure is None:
            return None
        notebook = scratch / NOTEBOOK
        if seen.outcome is None:
            amend_after_kill(notebook, failure.cause, failure.message)
        found = executed.parse(notebook.read_bytes()) if notebook.is_file() else None
        if found is None:
            return failure
        if seen.outcome is None:
            failure = verdict.located(failure, executed.end_of(found), executed.count_cells(found))
        if failure.cell is not None:
            self._listener({"event": "tail", "lines": list(tail_of(found, failure.cell))})
        return failure

    def _keep_notebook(self, scratch: Path, seen: Watched) -> None:
        executed = scratch / NOTEBOOK
        if not executed.is_file():
            return
        found = findings.read_notebook(executed)
        self._kept.note(
            cells=findings.describe_cells(found, seen),
            metrics=findings.read_metrics(found),
            memory=findings.describe_memory(seen),
        )
        key = f"{self._prefix}/{NOTEBOOK}"
        self._store.put_file(key, executed)
        self._kept.note(notebook=self._store.address(key))

    def _commit(self, prepared: Prepared, current: Current) -> None:
        outputs: dict[str, CommittedOutput] = {}
        for output in prepared.outputs:
            output.files()  # all must be right before any is uploaded
        for output in prepared.outputs:
            outputs[output.name] = output.upload(self._store, self._prefix)
        self._kept.note(outputs=describe_outputs(self._store, outputs))
        pointer = Pointer(
            pipeline=self._run.pipeline,
            step=self._run.step,
            partition=self._run.partition,
            member=self._run.member,
            run=self._run.run,
            token=self._token,
            attempt_prefix=self._prefix,
            outputs=outputs,
            inputs=version_notes(prepared.inputs),
        )
        self._kept.write()  # whole: after a crash from here on, only `committed` is amended
        commit(self._store, pointer, seen=current)
        self._kept.note(committed=True)
        self._kept.end(AttemptState.SUCCEEDED)

    # -- the end ----------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> None:
        self._kept.fail(verdict.with_policy(failure, self._project, self._run))

    def _kept_locally(self, error: StoreError) -> StoreError:
        """Say where the work of hours lies that the store did not take; it stays there."""
        if self._scratch is None or not (self._scratch / NOTEBOOK).exists():
            return error
        if self._is_all_stored:
            self._is_all_stored = False
            text = f"the store did not take all; the attempt's files are in {self._scratch}"
            self._listener({"event": "warning", "text": text})
        return with_place(error, self._scratch)

    def _fail_unstored(self, error: StoreError) -> None:
        self._fail(verdict.from_error(self._kept_locally(error)))

    def _finish(self) -> None:
        """Write the last record; what a cell did stays the cause even if that fails."""
        try:
            self._kept.write()
        except StoreError as error:
            self._without_record(self._kept_locally(error))
        with suppress(StoreError):  # a mark too many is found by the next sweep
            active.unmark(self._store, self._prefix)

    def _without_record(self, error: StoreError) -> None:
        failure = self._kept.record.failure
        if failure is None or failure.cause is Cause.STORE:
            raise error
        self._kept.note(failure=verdict.with_evidence(failure, record_not_stored=str(error)))

    def _finish_before(self, committed: Pointer) -> None:
        """Complete the record of this very attempt, which committed and then was cut off."""
        self._kept.read_back()
        if not self._kept.record.committed:
            self._kept.note(
                outputs=describe_outputs(self._store, committed.outputs),
                committed=True,
                failure=None,  # the commit may have won although its reply was lost
                state=AttemptState.SUCCEEDED,
                ended_at=committed.committed_at,
            )
            self._kept.write()
