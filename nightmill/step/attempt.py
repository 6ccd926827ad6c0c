"""One attempt at one step, from its StepRun to its record and its commit.

The order is the promise: everything that can be wrong is found before the first cell runs, and the
record exists; outputs and notebook are in the store before the pointer changes; the pointer changes
by one conditional write; the final record says whether it did. The kernel alone is started before
all this, since it takes as long: it idles until then, and is ended if nothing comes of it.
"""

from __future__ import annotations

import os
import shutil

from nightmill.causes import Cause
from nightmill.errors import FencedError, NightmillError, StoreError
from nightmill.spec.project import Project
from nightmill.spec.record import AttemptState, Failure, Record, Review
from nightmill.spec.steprun import StepRun
from nightmill.step import verdict
from nightmill.step.audited import audit_outputs, blocked, warnings_of
from nightmill.step.ground import Begun, Ground
from nightmill.step.holding import held_by
from nightmill.step.kept_code import KeptCode
from nightmill.step.kept_record import KeptRecord
from nightmill.step.notebook_run import Desk, NotebookRun
from nightmill.step.patience import PatientStore
from nightmill.step.preparation import Preparation
from nightmill.step.prepare import Prepared
from nightmill.step.publishing import publish
from nightmill.step.redaction import Redactor
from nightmill.step.scratch import disk_error, with_place
from nightmill.step.stop import StopRequest
from nightmill.step.supervisor import Listener
from nightmill.store import active
from nightmill.store.history import prefix_of
from nightmill.store.index import note
from nightmill.store.inputs import version_notes
from nightmill.store.keys import NOTEBOOK, pointer_key
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


class Attempt:
    """Runs one StepRun; `execute` returns the record and raises only if none could be kept."""

    def __init__(
        self,
        run: StepRun,
        project: Project,
        begun: Begun,
        *,
        stop: StopRequest,
        listener: Listener,
    ) -> None:
        self._run = run
        self._project = project
        self._begun = begun
        self._stop = stop
        self._listener = listener
        self._token = Token(order=run.order, attempt=run.attempt)
        self._prefix = prefix_of(run)
        self._is_all_stored = True
        self._desk: Desk
        self._preparation: Preparation

    @property
    def record_address(self) -> str:
        """Where the record is, for people and libraries."""
        return self._desk.kept.address

    def execute(self, *, die_with_stdin: bool = False) -> Record:
        """Run the attempt to its end.

        An attempt that has committed already, or is held for review, returns its record and does
        nothing. Raises StoreError where the store cannot keep the record, UsageError for a number
        used before.
        """
        try:
            self._desk = desk = self._open(self._begun.ground)
            run = self._run
            self._preparation = Preparation(run, self._project, desk)
            key = pointer_key(run.pipeline, run.step, run.partition, member=run.member)
            current = read_current(desk.store, key)
            pointer, own = current.pointer, (self._token, self._run.run)
            if pointer is not None and (pointer.token, pointer.run) == own:
                self._finish_before(pointer)
            else:
                self._preparation.look_ahead(self._begun.ground)
                active.mark(desk.store, self._prefix, order=run.order)
                if desk.kept.claim():
                    self._try(current, die_with_stdin=die_with_stdin)
                    self._finish()
            self._leave()
            return desk.kept.record
        finally:
            self._begun.engine.close()
            if self._begun.scratch is not None and self._is_all_stored:
                shutil.rmtree(self._begun.scratch, ignore_errors=True)

    # -- before -----------------------------------------------------------------------------------

    def _open(self, ground: Ground | Exception) -> Desk:
        environ = ground.order.env if isinstance(ground, Ground) else os.environ
        redactor = Redactor.of(environ)
        behind = open_store(self._run.store, base=self._project.root)
        store = PatientStore(behind, self._stop)
        return Desk(
            kept=KeptRecord(store, self._prefix, self._run, redactor),
            store=store,
            behind=behind,
            redactor=redactor,
            listener=lambda event: self._listener(redactor.tree(event)),
            stop=self._stop,
        )

    def _refuse_if_fenced(self, current: Pointer | None) -> None:
        if current is not None and self._token < current.token:
            raise FencedError(
                f"{current.author} is newer and has committed",
                advice=f"nothing is lost; {current.way_out}",
            )

    # -- the run and after ------------------------------------------------------------------------

    def _try(self, current: Current, *, die_with_stdin: bool) -> None:
        """Do everything between the first record and the last; what goes wrong is noted there."""
        try:
            self._refuse_if_fenced(current.pointer)
            ground = self._begun.ground
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
            self._desk.kept.write()
            raise

    def _run_in(self, ground: Ground, current: Current, *, die_with_stdin: bool) -> None:
        kept = self._desk.kept
        timeout = ground.spec.timeout
        deadline_s = timeout.total_seconds() if timeout else None
        notebook = NotebookRun(self._desk, self._begun.engine, ground.scratch / NOTEBOOK)
        notebook.start()
        try:
            prepared = self._preparation.complete(ground)
            code = KeptCode(self._desk.behind, prepared.bundle)
            failure = notebook.run(
                prepared.plan, deadline_s=deadline_s, die_with_stdin=die_with_stdin
            )
            kept.note(warnings=(*kept.record.warnings, *code.finish()))
            failure = self._keep(notebook, failure)
            kept.note(warnings=(*kept.record.warnings, *prepared.lent.warnings(failure)))
            if failure is None:
                self._audit(ground, prepared)
                outputs = self._upload(prepared)
                if held := held_by(ground.spec.outputs):
                    self._hold(held)
                else:
                    self._commit(prepared, outputs, seen=current)
            else:
                self._fail(failure)
        finally:
            is_done = kept.record.committed or kept.record.is_held
            notebook.end(AttemptState.SUCCEEDED if is_done else AttemptState.FAILED)

    def _keep(self, notebook: NotebookRun, failure: Failure | None) -> Failure | None:
        try:
            notebook.keep()
        except StoreError as error:
            if failure is None:
                raise
            told = str(self._kept_locally(error))
            return verdict.with_evidence(failure, notebook_not_stored=told)
        return failure

    def _audit(self, ground: Ground, prepared: Prepared) -> None:
        """See that inputs are as they were and outputs pass their checks, before any upload."""
        prepared.lent.check()
        for output in prepared.outputs:
            output.files()
        kept, store = self._desk.kept, self._desk.store
        results = audit_outputs(self._run, ground, prepared, store=store, stop=self._stop)
        kept.note(checks=results, warnings=(*kept.record.warnings, *warnings_of(results)))
        if error := blocked(results):
            raise error

    def _upload(self, prepared: Prepared) -> dict[str, CommittedOutput]:
        outputs: dict[str, CommittedOutput] = {}
        for output in prepared.outputs:
            outputs[output.name] = output.upload(
                self._desk.store, self._prefix, listener=self._desk.listener
            )
        self._desk.kept.note(outputs=describe_outputs(self._desk.store, outputs))
        return outputs

    def _hold(self, required: tuple[str, ...]) -> None:
        """Leave the commit to a person, from the moment on at which the last record is written."""
        self._desk.kept.note(review=Review(required=required))
        self._desk.kept.end(AttemptState.SUCCEEDED)

    def _commit(
        self, prepared: Prepared, outputs: dict[str, CommittedOutput], *, seen: Current
    ) -> None:
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
        self._desk.kept.write()  # whole: after a crash from here on, only `committed` is amended
        commit(self._desk.store, pointer, seen=seen)
        self._desk.kept.note(committed=True)
        self._publish()
        self._desk.kept.end(AttemptState.SUCCEEDED)

    def _publish(self) -> None:
        desk = self._desk
        told = publish(self._run, self._project, store=desk.store, stop=self._stop)
        desk.kept.note(warnings=(*desk.kept.record.warnings, *told))
        for text in told:
            desk.listener({"event": "warning", "text": text})

    # -- the end ----------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> None:
        self._desk.kept.fail(verdict.with_policy(failure, self._project, self._run))

    def _kept_locally(self, error: StoreError) -> StoreError:
        """Say where the work of hours lies that the store did not take; it stays there."""
        if self._begun.scratch is None or not (self._begun.scratch / NOTEBOOK).exists():
            return error
        if self._is_all_stored:
            self._is_all_stored = False
            text = f"the store did not take all; the attempt's files are in {self._begun.scratch}"
            self._desk.listener({"event": "warning", "text": text})
        return with_place(error, self._begun.scratch)

    def _fail_unstored(self, error: StoreError) -> None:
        self._fail(verdict.from_error(self._kept_locally(error)))

    def _finish(self) -> None:
        """Write the last record; what a cell did stays the cause even if that fails."""
        try:
            self._desk.kept.write()
        except StoreError as error:
            self._without_record(self._kept_locally(error))

    def _leave(self) -> None:
        """Tell the index, and take the mark away: the next sweep does what is left undone."""
        desk = self._desk
        if desk.store.gave_up or not desk.kept.is_stored:
            return
        try:
            note(desk.store, desk.kept.record)
            active.unmark(desk.store, self._prefix)
        except StoreError as error:
            told = f"the index learns of it by the next `nightmill sweep`: {error.problem}"
            desk.listener({"event": "warning", "text": told})

    def _without_record(self, error: StoreError) -> None:
        failure = self._desk.kept.record.failure
        if failure is None or failure.cause is Cause.STORE:
            raise error
        self._desk.kept.note(failure=verdict.with_evidence(failure, record_not_stored=str(error)))

    def _finish_before(self, committed: Pointer) -> None:
        """Complete the record of this very attempt, which committed and then was cut off."""
        self._desk.kept.read_back()
        found = self._desk.kept.record
        if not (found.committed and found.state is AttemptState.SUCCEEDED):
            self._desk.kept.note(
                outputs=describe_outputs(self._desk.store, committed.outputs),
                committed=True,
                failure=None,  # the commit may have won although its reply was lost
                state=AttemptState.SUCCEEDED,
                ended_at=found.ended_at or committed.committed_at,  # an approval comes later
            )
        self._publish()  # it may have been cut off in the middle of that
        if self._desk.kept.record != found:
            self._desk.kept.write()
