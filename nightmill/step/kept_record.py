"""The attempt's record while it is made: in memory, and as far as it goes in the store.

Nothing gets out of here, or into the record, that has not passed the redactor.
"""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from nightmill.errors import StoreConflict, UsageError
from nightmill.spec.amended import first_record
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.steprun import StepRun
from nightmill.step.redaction import Redactor
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD

_POOL_VARIABLE = "NIGHTMILL_POOL"

_TOLD = {"cells", "evidence", "failure", "metrics", "parameters", "warnings"}
"""Fields with words of the notebook's; the others are names, hashes and addresses."""


class KeptRecord:
    """The one record of one attempt; `record` is what is known so far.

    `is_stored` says whether the store took it when it was written last.
    """

    def __init__(self, store: Store, prefix: str, run: StepRun, redactor: Redactor) -> None:
        self.prefix = prefix
        self._store = store
        self._key = f"{prefix}/{RECORD}"
        self._redactor = redactor
        self._begun = time.monotonic()
        first = first_record(run, store.url, host=platform.node())
        self.record = first.model_copy(update={"pool": os.environ.get(_POOL_VARIABLE)})
        self.note(parameters=self.record.parameters)  # a secret may have been typed as one
        self.is_stored = False

    @property
    def address(self) -> str:
        """Where the record is, for people and libraries."""
        return self._store.address(self._key)

    def claim(self) -> bool:
        """Write it for the first time, and say whether the attempt is still to run.

        It is not where this very attempt has run already and left its outputs to a review: then its
        record is taken over. Two processes can never share an attempt's prefix: raises UsageError.
        """
        data = self.record.to_json()
        try:
            self._store.write_if(self._key, data, etag=None)
        except StoreConflict as error:
            found = self._store.read(self._key)
            if found is not None and found.data == data:  # it was written, and the reply was lost
                return True
            if found is not None and self._takes_over(found.data):
                return False
            raise UsageError(
                f"attempt {self.record.attempt} of this run has been started before",
                where=self.address,
                advice="start a new run, or pass a higher --attempt",
            ) from error
        return True

    def _takes_over(self, data: bytes) -> bool:
        with suppress(ValueError):
            found = Record.from_json(data)
            if found.order == self.record.order and (found.is_held or found.is_rejected):
                self.record = found
                self.is_stored = True
                return True
        return False

    def write(self) -> None:
        """Put what is known into the store."""
        self.is_stored = False
        self._store.write(self._key, self.record.to_json())
        self.is_stored = True

    def read_back(self) -> None:
        """Take the store's word for what is known; nothing happens where it has none."""
        blob = self._store.read(self._key)
        if blob:
            self.record = Record.from_json(blob.data)
            self.is_stored = True

    def note(self, **facts: Any) -> None:
        """Note facts by the names of the record's fields."""
        changed = self.record.model_copy(update=facts)
        told = changed.model_dump(mode="json", include=_TOLD & facts.keys())
        if told:
            redacted = self._redactor.tree(told)
            changed = Record.model_validate(changed.model_dump() | redacted)
        self.record = changed

    def fail(self, failure: Failure) -> None:
        """Note that the attempt has failed."""
        self.note(failure=failure)
        self.end(AttemptState.FAILED)

    def end(self, state: AttemptState) -> None:
        """Note that the attempt is over."""
        elapsed = round(time.monotonic() - self._begun, 3)
        self.note(state=state, ended_at=datetime.now(UTC), duration_s=elapsed)
