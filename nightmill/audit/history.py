"""What the audits of earlier partitions left in their records, for checks that look back.

Only committed partitions count, and only the small profiles in their records are read, never their
data. A record that is gone, of another version, or older than the check, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from nightmill.audit.context import AuditContext
from nightmill.audit.finding import one_line
from nightmill.spec.record import CheckResult, Record
from nightmill.store.keys import RECORD
from nightmill.store.pointer import earlier_pointers

_LOOKED_AT = 3  # times as many partitions as wanted: then the check is simply new


class History:
    """The check results of earlier partitions, read once and only as far back as needed."""

    def __init__(self, context: AuditContext) -> None:
        self._store = context.store
        self._pointers = earlier_pointers(
            context.store,
            context.pipeline,
            context.step,
            before=context.partition,
            member=context.member,
        )
        self._read: list[tuple[CheckResult, ...]] = []

    def profiles(
        self, output: str, check: str, column: str | None, count: int
    ) -> list[Mapping[str, Any]]:
        """Return up to `count` profiles that this check left, the newest first.

        Raises StoreError where the store fails.
        """
        wanted = (output, check, column and one_line(column))
        found = (
            result.profile
            for results in islice(self._results(), _LOOKED_AT * count)
            for result in results
            if result.profile
            and (result.output, result.check, result.column) == wanted
            and result.profile.get("column", result.column) == column
        )
        return list(islice(found, count))

    def _results(self) -> Iterator[tuple[CheckResult, ...]]:
        yield from self._read
        for pointer in self._pointers:
            blob = self._store.read(f"{pointer.attempt_prefix}/{RECORD}")
            results: tuple[CheckResult, ...] = ()
            with suppress(ValueError):  # no JSON, or another shape: pydantic's error is one too
                results = Record.from_json(blob.data).checks if blob else ()
            self._read.append(results)
            yield results
