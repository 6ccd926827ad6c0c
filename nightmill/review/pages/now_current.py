"""What is current now, for pages about attempts of the past.

A bounded number of pointers is read, some at once. An input of a pipeline that whoever asks may not
see is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from nightmill.errors import UsageError
from nightmill.review.current import current_at
from nightmill.review.visit import Visit
from nightmill.spec.record import InputRecord, Record
from nightmill.store.history import prefix_of
from nightmill.store.interface import Store, key_at
from nightmill.store.keys import attempt_names, attempt_of, pointer_key_of
from nightmill.store.parallel import in_parallel
from nightmill.store.pointer import Move, Pointer

_LOOKED_AT = 200


@dataclass(frozen=True)
class NowCurrent:
    """The pointers of what is current, by their keys; None where nothing is.

    A pointer that was not looked at, or cannot be read, is not there. `makers` names by the address
    of an input the attempt that made its version.
    """

    found: Mapping[str, Pointer | None] = field(default_factory=dict)
    makers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, visit: Visit, records: Iterable[Record]) -> NowCurrent:
        """Look at what is current of the steps of these records, and of what they have read."""
        store, looked_at = visit.site.store, list(records)
        makers = dict(_makers(store, looked_at))
        return cls(_read(store, _keys(visit, looked_at, makers)), makers)

    @classmethod
    def beside(cls, visit: Visit, record: Record) -> NowCurrent:
        """Look at what is current of the step of this record, and at nothing else."""
        return cls(_read(visit.site.store, _keys(visit, [record], {})))

    def pointer_of(self, prefix: str) -> Pointer | None:
        """Return what is current of an attempt's step; None for nothing, or if nobody knows."""
        return self.found.get(pointer_key_of(prefix))

    def is_current(self, prefix: str) -> bool:
        """Say whether it is this attempt that is current of its step."""
        pointer = self.pointer_of(prefix)
        return pointer is not None and pointer.attempt_prefix == prefix

    def taken_back(self, prefix: str) -> Move | None:
        """Return the decision by which another attempt is current; None if there was none."""
        pointer = self.pointer_of(prefix)
        if pointer is None or pointer.attempt_prefix == prefix:
            return None
        return next((one for one in reversed(pointer.moves) if one.replaced == prefix), None)

    def is_behind(self, given: InputRecord) -> bool | None:
        """Say whether another version than the given one is current by now; None if unknown."""
        prefix = self.makers.get(given.address)
        if not prefix or pointer_key_of(prefix) not in self.found:
            return None
        return not self.is_current(prefix)


def _read(store: Store, keys: Iterable[str]) -> Mapping[str, Pointer | None]:
    asked = list(dict.fromkeys(keys))[:_LOOKED_AT]
    read = in_parallel(lambda key: current_at(store, key), asked)
    return {key: one.pointer for key, one in zip(asked, read, strict=True) if one}


def _makers(store: Store, records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Name the attempts that made the inputs' versions, unless the store has moved since."""
    for given in filter(None, (one for record in records for one in record.inputs.values())):
        prefix = attempt_of(key_at(store, given.address) or "")
        with suppress(UsageError):
            if prefix is not None:
                attempt_names(prefix)
                yield given.address, prefix


def _keys(visit: Visit, records: Iterable[Record], makers: Mapping[str, str]) -> Iterator[str]:
    yield from (pointer_key_of(prefix_of(one)) for one in records if one.outputs)
    for prefix in makers.values():
        if visit.may_read(attempt_names(prefix).pipeline):
            yield pointer_key_of(prefix)
