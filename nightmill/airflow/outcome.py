"""What the store knows of a step's attempts, where a pod is gone or could not speak.

The worker's own identity reads the store here (`AWS_...` variables or the worker's role). A worker
that may not do so still runs everything: it just has to take the pod's word for how things ended,
and to run again what ended while nobody watched.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightmill import __version__
from nightmill.causes import Cause
from nightmill.errors import NightmillError, StoreConflict
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.result import result_of
from nightmill.spec.steprun import StepRun
from nightmill.store.history import close_record
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import read_pointer

log = logging.getLogger(__name__)

_UNAVAILABLE = (NightmillError, ImportError)  # ImportError: a worker without boto3


@dataclass(frozen=True)
class Outcome:
    """The store's view of one StepRun; `base` is where a relative path of a store begins."""

    run: StepRun
    base: Path

    def committed(self) -> dict[str, Any] | None:
        """Return the result of this attempt or an earlier one of its run, if it has committed."""
        try:
            return self._committed(self._store())
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

    def times_out_of_memory(self) -> int:
        """Count the earlier attempts of this run that ran out of memory."""
        try:
            store = self._store()
            before = [self._record(store, number) for number in range(1, self.run.attempt)]
        except _UNAVAILABLE as error:
            log.warning("The worker cannot read how earlier attempts ended: %s", error)
            return 0
        causes = [one.failure.cause for one in before if one is not None and one.failure]
        return causes.count(Cause.OUT_OF_MEMORY)

    def close(self, result: Mapping[str, Any], pod: str) -> None:
        """Write down why the attempt failed, where its own process could not.

        An attempt that never started gets a record as well. Should its pod start all the same, it
        finds its place taken and runs nothing.
        """
        failure = Failure(cause=Cause(result["cause"]), message=str(result["message"]))
        with suppress(StoreConflict):  # its own process had the last word after all
            try:
                store = self._store()
                close_record(store, self.run, failure)
                if store.read(self._key(self.run.attempt)) is None:
                    record = _never_ran(self.run, store, failure, pod)
                    store.write_if(self._key(self.run.attempt), record.to_json(), etag=None)
            except StoreConflict:
                raise
            except _UNAVAILABLE as error:
                log.warning("The worker cannot amend the record of the attempt: %s", error)

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
        run = self.run
        where = (run.pipeline, run.partition, run.run, run.step)
        prefix = attempt_prefix(*where, attempt, member=run.member)
        return f"{prefix}/{RECORD}"


def _never_ran(run: StepRun, store: Store, failure: Failure, pod: str) -> Record:
    now = datetime.now(UTC)
    return Record(
        **run.model_dump(exclude={"store"}),
        store=store.url,
        state=AttemptState.FAILED,
        failure=failure,
        started_at=now,
        ended_at=now,
        nightmill=__version__,
        host=pod,
    )
