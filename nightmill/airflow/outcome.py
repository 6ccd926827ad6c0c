"""What the store knows of a step's attempts, where a pod is gone or could not speak.

The worker's own identity reads the store here (`AWS_...` variables or the worker's role). A worker
that may not do so still runs everything: it just has to take the pod's word for how things ended,
and to run again what ended while nobody watched.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightmill.airflow.publishing import publish
from nightmill.causes import Cause
from nightmill.errors import NightmillError
from nightmill.spec.amended import first_record
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.result import result_of
from nightmill.spec.retry import Retry, retry_of
from nightmill.spec.steprun import StepRun
from nightmill.store.amend import amend
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD
from nightmill.store.open import open_store
from nightmill.store.pointer import read_pointer

BY = "airflow operator"

log = logging.getLogger(__name__)

_UNAVAILABLE = (NightmillError, ImportError)  # ImportError: a worker without boto3


@dataclass(frozen=True)
class Outcome:
    """The store's view of one StepRun; `base` is where a relative path of a store begins.

    `own` is what the step itself says of retries, by cause.
    """

    run: StepRun
    base: Path
    own: Mapping[Cause, Retry] = field(default_factory=dict)

    def committed(self) -> dict[str, Any] | None:
        """Return the result of this attempt or an earlier one of its run, if it has committed.

        Or if it is held for review: then only a person commits it. What has committed is published
        here, if the attempt was killed before it had done so.
        """
        try:
            store = self._store()
            done = self._committed(store)
            if done is not None:
                publish(store, self.base, self.run)
            return done or self._held(store)
        except _UNAVAILABLE as error:
            log.warning("The worker cannot ask the store what has been committed: %s", error)
            return None

    def ended(self) -> dict[str, Any] | None:
        """Return this attempt's result, if its record tells one."""
        try:
            store = self._store()
            return self._committed(store) or self._recorded(store)
        except _UNAVAILABLE as error:
            log.warning("The worker cannot ask the store how the attempt ended: %s", error)
            return None

    def times_short_of_memory(self) -> int | None:
        """Count the earlier attempts of this run whose cause asks for more memory.

        None where the worker cannot ask the store.
        """
        try:
            store = self._store()
            before = [self._record(store, number) for number in range(1, self.run.attempt)]
        except _UNAVAILABLE as error:
            log.warning("The worker cannot read how earlier attempts ended: %s", error)
            return None
        causes = [one.failure.cause for one in before if one is not None and one.failure]
        return sum(retry_of(cause, self.own) is Retry.MORE_MEMORY for cause in causes)

    def close(
        self, result: Mapping[str, Any], pod: str, evidence: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make record and notebook of an attempt that failed agree; return the result to report.

        Call it for every attempt that failed, with the result as the pod tells it and with
        `pod_evidence` of the pod: what the step could write itself stands, unless it was stopped
        and the cluster knows by whom; what had committed after all is published, if need be, and
        reported as succeeded; a cell that failed before its pod was lost is the cause. Where the
        worker cannot reach the store, the given result is returned.

        An attempt that never started gets a record as well. Should its pod start all the same, it
        finds its place taken and runs nothing.
        """
        cause = Cause(result.get("cause") or Cause.NIGHTMILL_BUG)
        failure = Failure(
            cause=cause,
            message=str(result.get("message") or ""),
            retry=retry_of(cause, self.own),
            evidence=dict(evidence or {}),
        )
        try:
            store = self._store()
            first = first_record(self.run, store.url, host=pod)
            record = amend(store, prefix_of(self.run), failure, by=BY, first=first)
            if record.committed and record.order == self.run.order:
                publish(store, self.base, record)
        except _UNAVAILABLE as error:
            log.warning("The worker cannot amend the record of the attempt: %s", error)
            return dict(result)
        if record.order != self.run.order:  # that of another run, before this one was cleared
            return dict(result)
        return result_of(record, store.address(self._key(self.run.attempt)))

    def _store(self) -> Store:
        return open_store(self.run.store, base=self.base)

    def _committed(self, store: Store) -> dict[str, Any] | None:
        run = self.run
        pointer = read_pointer(store, run.pipeline, run.step, run.partition, member=run.member)
        is_ours = pointer is not None and pointer.run == run.run
        if pointer is None or not is_ours or pointer.token.order != run.order:
            return None
        record = self._record(store, pointer.token.attempt)
        if record is None:
            return None
        done = {"state": AttemptState.SUCCEEDED, "committed": True, "failure": None}
        address = store.address(self._key(pointer.token.attempt))
        return result_of(record.model_copy(update=done), address)

    def _held(self, store: Store) -> dict[str, Any] | None:
        for number in range(self.run.attempt, 0, -1):
            record = self._record(store, number)
            if record is not None and record.is_held:
                return result_of(record, store.address(self._key(number)))
        return None

    def _recorded(self, store: Store) -> dict[str, Any] | None:
        record = self._record(store, self.run.attempt)
        if record is None or record.state is AttemptState.RUNNING:
            return None
        return result_of(record, store.address(self._key(self.run.attempt)))

    def _record(self, store: Store, attempt: int) -> Record | None:
        """Read an attempt's record; None for that of another run, or one that is damaged."""
        blob = store.read(self._key(attempt))
        try:
            record = Record.from_json(blob.data) if blob else None
        except ValueError:
            return None
        return record if record is not None and record.order == self.run.order else None

    def _key(self, attempt: int) -> str:
        prefix = prefix_of(self.run.model_copy(update={"attempt": attempt}))
        return f"{prefix}/{RECORD}"
