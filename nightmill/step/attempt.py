"""One attempt at one step, from its StepRun to its record and its commit.

The order is the promise: everything that can be wrong is found before the kernel starts; the record
exists before the first cell runs; outputs and notebook are in the store before the pointer changes;
the pointer changes by one conditional write; the final record says whether it did.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightmill import __version__
from nightmill.causes import Cause
from nightmill.errors import FencedError, NightmillError, StoreConflict, StoreError, UsageError
from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.steprun import StepRun
from nightmill.step import findings, verdict
from nightmill.step.cell_states import amend_after_kill
from nightmill.step.prepare import Prepared, prepare
from nightmill.step.scratch import disk_error, make_scratch, with_place
from nightmill.step.supervisor import StopRequest, Supervisor, Watched
from nightmill.store.inputs import version_notes
from nightmill.store.interface import Store
from nightmill.store.keys import NOTEBOOK, RECORD, attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import CommittedOutput, Pointer, Token, commit, read_pointer

Listener = Callable[[Mapping[str, Any]], None]


class Attempt:
    """Runs one StepRun; `execute` returns the record and raises only if none could be kept."""

    def __init__(
        self, run: StepRun, project: Project, *, stop: StopRequest, listener: Listener
    ) -> None:
        self._run = run
        self._project = project
        self._stop = stop
        self._listener = listener
        self._begun = time.monotonic()
        self._store: Store = open_store(run.store, base=project.root)
        self._prefix = attempt_prefix(
            run.pipeline, run.partition, run.run, run.step, run.attempt, member=run.member
        )
        self._record = _first_record(run, self._store)

    def execute(self, *, die_with_stdin: bool = False) -> Record:
        """Run the attempt to its end.

        An attempt that has committed already returns its record and does nothing. Raises
        StoreError where the store cannot keep the record, UsageError for a number used before.
        """
        run = self._run
        before = read_pointer(self._store, run.pipeline, run.step, run.partition, member=run.member)
        if before is not None and before.token == self._token:
            return self._finish_before(before)
        self._claim()
        scratch = None
        try:
            self._refuse_if_fenced(before)
            scratch = make_scratch()
            self._run_in(scratch, die_with_stdin=die_with_stdin)
        except StoreError as error:
            self._fail(verdict.from_error(with_place(error, scratch)))
        except NightmillError as error:
            self._fail(verdict.from_error(error))
        except OSError as error:
            self._fail(verdict.from_error(with_place(disk_error(error), scratch)))
        except Exception as error:
            self._fail(verdict.from_bug(error))
            self._write_record()
            raise
        try:
            self._write_record()
        except StoreError as error:
            raise with_place(error, scratch) from error
        if scratch and self._all_is_stored:
            shutil.rmtree(scratch, ignore_errors=True)
        return self._record

    @property
    def _all_is_stored(self) -> bool:
        """Whether the scratch folder holds nothing any more that the store has not."""
        failure = self._record.failure
        return failure is None or not (
            failure.cause is Cause.STORE or verdict.NOT_STORED in failure.evidence
        )

    @property
    def record_address(self) -> str:
        """Where the record is, for people and libraries."""
        return self._store.address(self._record_key)

    # -- before -----------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return Token(order=self._run.order, attempt=self._run.attempt)

    def _claim(self) -> None:
        """Write the first record; two processes can never share an attempt's prefix."""
        try:
            self._store.write_if(self._record_key, self._record.to_json(), etag=None)
        except StoreConflict as error:
            raise UsageError(
                f"attempt {self._run.attempt} of this run has been started before",
                where=self._store.address(self._record_key),
                advice="start a new run, or pass a higher --attempt",
            ) from error

    def _refuse_if_fenced(self, current: Pointer | None) -> None:
        if current is not None and self._token < current.token:
            raise FencedError(
                f"run {current.run} (attempt {current.token.attempt}) is newer and has committed",
                advice="nothing is lost; start a new run to replace its outputs",
            )

    # -- the run and after ------------------------------------------------------------------------

    def _run_in(self, scratch: Path, *, die_with_stdin: bool) -> None:
        prepared = prepare(self._run, self._project, self._store, scratch)
        self._note(**prepared.facts)
        self._write_record()
        plan_file = scratch / "plan.json"
        prepared.plan.write(plan_file)
        timeout = prepared.spec.timeout
        supervisor = Supervisor(
            self._stop,
            self._listener,
            deadline_s=timeout.total_seconds() if timeout else None,
            die_with_stdin=die_with_stdin,
        )
        seen = supervisor.run(plan_file, env=prepared.env, log=scratch / "engine.log")
        failure = self._judge(seen, scratch)
        try:
            self._keep_notebook(scratch, seen)
        except StoreError as error:
            if failure is None:
                raise
            failure = verdict.with_unstored_notebook(failure, with_place(error, scratch))
        if failure is not None:
            self._fail(failure)
            return
        self._commit(prepared)

    def _judge(self, seen: Watched, scratch: Path) -> Failure | None:
        failure = verdict.judge(seen)
        if seen.outcome is None and failure is not None:
            cell = amend_after_kill(scratch / NOTEBOOK, failure.cause, failure.message)
            return failure.model_copy(update={"cell": cell})
        return failure

    def _keep_notebook(self, scratch: Path, seen: Watched) -> None:
        executed = scratch / NOTEBOOK
        if not executed.is_file():
            return
        found = findings.read_notebook(executed)
        self._note(
            cells=findings.describe_cells(found, seen),
            metrics=findings.read_metrics(found),
            memory=findings.describe_memory(seen),
        )
        key = f"{self._prefix}/{NOTEBOOK}"
        self._store.put_file(key, executed)
        self._note(notebook=self._store.address(key))

    def _commit(self, prepared: Prepared) -> None:
        outputs: dict[str, CommittedOutput] = {}
        for output in prepared.outputs:
            output.files()  # all must be right before any is uploaded
        for output in prepared.outputs:
            outputs[output.name] = output.upload(self._store, self._prefix)
        self._note(outputs=findings.describe_outputs(self._store, outputs))
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
        self._write_record()  # whole: after a crash from here on, only `committed` is amended
        commit(self._store, pointer)
        self._note(committed=True)
        self._end(AttemptState.SUCCEEDED)

    # -- the record -------------------------------------------------------------------------------

    @property
    def _record_key(self) -> str:
        return f"{self._prefix}/{RECORD}"

    def _note(self, **facts: Any) -> None:
        self._record = self._record.model_copy(update=facts)

    def _fail(self, failure: Failure) -> None:
        self._note(failure=failure)
        self._end(AttemptState.FAILED)

    def _end(self, state: AttemptState) -> None:
        elapsed = round(time.monotonic() - self._begun, 3)
        self._note(state=state, ended_at=datetime.now(UTC), duration_s=elapsed)

    def _write_record(self) -> None:
        self._store.write(self._record_key, self._record.to_json())

    def _finish_before(self, committed: Pointer) -> Record:
        """Complete the record of this very attempt, which committed and then was cut off."""
        blob = self._store.read(self._record_key)
        self._record = Record.from_json(blob.data) if blob else self._record
        if not self._record.committed:
            self._note(
                outputs=findings.describe_outputs(self._store, committed.outputs),
                committed=True,
                failure=None,  # the commit may have won although its reply was lost
                state=AttemptState.SUCCEEDED,
                ended_at=committed.committed_at,
            )
            self._write_record()
        return self._record


def _first_record(run: StepRun, store: Store) -> Record:
    return Record(
        **run.model_dump(exclude={"store"}),
        store=store.url,
        state=AttemptState.RUNNING,
        started_at=datetime.now(UTC),
        nightmill=__version__,
        host=platform.node(),
    )
