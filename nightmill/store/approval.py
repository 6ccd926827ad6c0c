"""A person's decision about an attempt that is held for review: its approval is the commit.

    held ──reject──> rejected                       the decision, by one conditional write
    held ──approve─> approved ──commit──> current   the same write, the pointer's, the record's

The decision is written first, into the record: so of several people who decide at once exactly one
wins, whatever they want. The commit follows with the attempt's own fencing token, and `committed`
in the record last. A crash in between leaves an approval whose commit is not finished; whoever
approves once more finishes it. Where a newer attempt has committed there is nothing to approve.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from nightmill.errors import FencedError, StoreConflict, StoreError, UsageError
from nightmill.spec.held import command, decided
from nightmill.spec.names import label
from nightmill.spec.record import AttemptState, Decision, Record
from nightmill.store import index
from nightmill.store.decision import prepare
from nightmill.store.doomed import refuse_doomed
from nightmill.store.history import record_of
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, attempt_names
from nightmill.store.pointer import Move, Pointer, commit, read_current
from nightmill.store.versions import Version

_TRIES = 10
_PAUSE_S = 0.05  # grows with each try: 2 s in all


@dataclass(frozen=True)
class _Seen:
    """An attempt that is held, or was, as it was read; `etag` is that of its record."""

    prefix: str
    record: Record
    etag: str

    @property
    def decision(self) -> Decision | None:
        return self.record.review.decision if self.record.review else None

    def with_decision(self, decision: Decision | None, **facts: bool) -> Record:
        review = self.record.review and self.record.review.model_copy(update={"decision": decision})
        return self.record.model_copy(update={"review": review, **facts})


def require_held(store: Store, prefix: str) -> Record:
    """Return the record of an attempt that can be approved now.

    Raises UsageError for one that is not held, or about which is decided; FencedError where a newer
    attempt has committed; StoreError where the store fails, or the outputs are damaged.
    """
    seen = _look(store, prefix)
    _prepare(store, seen, seen.decision)
    return seen.record


def approve(store: Store, prefix: str, decision: Decision) -> Record:
    """Commit what an attempt made, as somebody has decided; return its record.

    Its outputs are looked at before. An approval of the same person's whose commit was cut off is
    completed. Raises as `require_held` does; the decision is not written then.
    """
    seen = _look(store, prefix)
    found = seen.decision
    pointer = _prepare(store, seen, found or decision)
    if found is None:
        seen = _decide(store, seen, decision)
    record = _noted(store, prefix, _commit(store, seen, pointer))
    if found is not None and found.by != decision.by:
        raise _is_decided(record, found)
    return record


def reject(store: Store, prefix: str, decision: Decision) -> Record:
    """Write down that what an attempt made is never to be current; return its record.

    Raises UsageError for an attempt that is not held, or about which is decided.
    """
    seen = _look(store, prefix)
    if seen.decision is not None:
        raise _is_decided(seen.record, seen.decision)
    return _noted(store, prefix, _decide(store, seen, decision).record)


def _look(store: Store, prefix: str) -> _Seen:
    """Read an attempt that is held; one whose approval is not finished is held still."""
    seen = _read(store, prefix)
    record, decision = seen.record, seen.decision
    if record.is_held:
        return seen
    if decision is not None:
        raise _is_decided(record, decision)
    if record.state is AttemptState.RUNNING:
        problem, advice = "has not ended", "wait for its end"
    elif record.failure is not None:
        problem = f"did not succeed: {record.failure.message}"
        advice = "there is nothing to decide about it"
    else:
        problem = "needs no review: it has committed"
        advice = "`nightmill rollback` takes a commit back"
    raise UsageError(problem, where=_place(prefix), advice=advice)


def _read(store: Store, prefix: str) -> _Seen:
    key = f"{prefix}/{RECORD}"
    blob = store.read(key)
    if blob is None:
        raise UsageError("there is no such attempt", where=store.address(key))
    try:
        return _Seen(prefix, record_of(blob.data, prefix), blob.etag)
    except ValueError as error:
        raise StoreError(
            "is no record of this version of Nightmill",
            address=store.address(key),
            operation="read",
            advice="restore it, or run the partition again",
        ) from error


def _prepare(store: Store, seen: _Seen, decision: Decision | None) -> Pointer:
    """Return the pointer of the attempt's commit, once it is known that it may become current."""
    by, reason = (decision.by, decision.comment) if decision else ("", "")
    at = {"at": decision.at} if decision else {}
    move = Move(kind="approval", by=by, reason=reason, **at)
    version = Version(seen.record, output="", is_current=False)
    pointer = prepare(store, version, read_current(store, version.pointer_key), move)
    refuse_doomed(store, seen.prefix)
    return pointer


def _decide(store: Store, seen: _Seen, decision: Decision) -> _Seen:
    """Write the decision into the record, unless somebody has decided since."""
    for tries in range(_TRIES):
        record = seen.with_decision(decision)
        try:
            etag = store.write_if(f"{seen.prefix}/{RECORD}", record.to_json(), etag=seen.etag)
        except StoreConflict:
            time.sleep(_PAUSE_S * tries)
            seen = _read(store, seen.prefix)
            if seen.decision == decision:  # it was written, and the reply was lost
                return seen
            if seen.decision is not None:
                raise _is_decided(seen.record, seen.decision) from None
        else:
            return _Seen(seen.prefix, record, etag)
    raise _is_busy(store, seen.prefix)


def _commit(store: Store, seen: _Seen, pointer: Pointer) -> Record:
    """Do what was decided; a newer commit that came in between leaves it undecided again."""
    try:
        commit(store, pointer)
    except FencedError:
        with suppress(StoreConflict):  # then somebody else is at it
            undecided = seen.with_decision(None)
            store.write_if(f"{seen.prefix}/{RECORD}", undecided.to_json(), etag=seen.etag)
        raise
    decision = seen.decision
    for tries in range(_TRIES):
        if seen.record.committed:
            return seen.record
        record = seen.with_decision(decision, committed=True)
        try:
            store.write_if(f"{seen.prefix}/{RECORD}", record.to_json(), etag=seen.etag)
        except StoreConflict:
            time.sleep(_PAUSE_S * tries)
            seen = _read(store, seen.prefix)
        else:
            return record
    raise _is_busy(store, seen.prefix)


def _noted(store: Store, prefix: str, record: Record) -> Record:
    with suppress(StoreError):  # the decision stands; a reindex makes up for it
        index.note(store, record, prefix=prefix)
    return record


def _is_decided(record: Record, decision: Decision) -> UsageError:
    advice = "a decision stands; start a new run to replace the outputs"
    if decision.approved and record.committed:
        advice = "a decision stands; `nightmill rollback` takes the commit back"
    elif decision.approved:
        advice = f"`{command('approve', record)}` completes its commit"
    where = f"run {record.run}, {label(record.step, record.member)}"
    return UsageError(f"was {decided(decision)}", where=where, advice=advice)


def _is_busy(store: Store, prefix: str) -> StoreError:
    return StoreError(
        f"the record changed under each of {_TRIES} tries to write the decision",
        address=store.address(f"{prefix}/{RECORD}"),
        operation="decide",
        advice="repeat it",
    )


def _place(prefix: str) -> str:
    names = attempt_names(prefix)
    return f"run {names.run}, {label(names.step, names.member)} attempt {names.attempt}"
