"""The truth written from outside, about an attempt that ended without its own last word.

A container that was killed whole, a lost node, a process that got SIGKILL: the record still says
running, the notebook in the store may be older than the end, and the cause is known to somebody
else (the pod's status, the launcher, a heartbeat that stopped). `amend` writes it down: first the
notebook, then the record, then a note for the index, then it takes the mark away, so that a crash
in between is mended by amending once more. What the attempt may write too is replaced on a
condition: one that speaks after all is not overruled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nightmill import __version__
from nightmill.errors import StoreConflict, StoreError
from nightmill.spec import amended, executed
from nightmill.spec.amended import Left
from nightmill.spec.banner import lead
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, CellState, Failure, Record
from nightmill.store.active import unmark
from nightmill.store.history import record_of
from nightmill.store.index import note
from nightmill.store.interface import Blob, Store
from nightmill.store.keys import DAMAGED, NOTEBOOK, PROGRESS, RECORD, attempt_names
from nightmill.store.pointer import Pointer, describe_outputs, read_pointer

_TRIES = 10
_PAUSE_S = 0.05  # grows with each try: 2 s in all
_MADE_UP = "the attempt left no record: this one was made from outside, from its address alone"


def amend(
    store: Store, prefix: str, failure: Failure, *, by: str, first: Record | None = None
) -> Record:
    """Make record and notebook of an attempt that is over say how it ended; return the record.

    What has committed succeeded, whatever the failure given. A record that has its end keeps it,
    but for `terminated` where somebody outside knows who ended it. `first` is the record to begin
    with where the attempt never wrote one; that of another run is left alone. Amending once more
    changes nothing.

    Raises StoreError where the store fails, or the record is another version's.
    """
    for tries in range(_TRIES):
        try:
            record = _amend_once(store, prefix, failure, by=by, first=first)
        except StoreConflict:
            time.sleep(_PAUSE_S * tries)  # the attempt speaks after all, or a reply was lost
        else:
            note(store, record, prefix=prefix)
            unmark(store, prefix)
            return record
    raise StoreError(
        f"the attempt wrote at each of {_TRIES} tries to amend it",
        address=store.address(prefix),
        operation="amend",
        advice="it is still at work: stop it first, or let it end",
    )


def read_record(store: Store, prefix: str) -> Record | None:
    """Read an attempt's record; None where there is none, or a damaged one, or another attempt's.

    Raises StoreError for a whole record of another version of Nightmill.
    """
    return _parse_record(store, prefix, store.read(f"{prefix}/{RECORD}"))


def read_progress(store: Store, prefix: str) -> Progress | None:
    """Read how far an attempt was; None where nothing tells."""
    blob = store.read(f"{prefix}/{PROGRESS}")
    try:
        return Progress.from_json(blob.data) if blob else None
    except ValueError:
        return None


def _amend_once(
    store: Store, prefix: str, failure: Failure, *, by: str, first: Record | None
) -> Record:
    key = f"{prefix}/{RECORD}"
    blob = store.read(key)
    found = _parse_record(store, prefix, blob)
    if found and first and found.order != first.order:
        return found
    before = found or first or _made_up(store, prefix)
    name = (before.pipeline, before.step, before.partition)
    pointer = read_pointer(store, *name, member=before.member)
    if pointer is not None and _is_of(pointer, before, prefix):
        outputs = describe_outputs(store, pointer.outputs)
        after = amended.succeeded(before, outputs, at=pointer.committed_at, by=by)
    elif amended.may_fail(before, failure.cause):
        left = _close_notebook(store, prefix, before, failure)
        after = amended.failed(before, failure, _with_doubt(left, before, pointer), by=by)
    else:
        after = before
    if after != found:
        if found is None and blob is not None:
            store.write(f"{prefix}/{DAMAGED}", blob.data)
        store.write_if(key, after.to_json(), etag=blob.etag if blob else None)
    return after


def _is_of(pointer: Pointer, record: Record, prefix: str) -> bool:
    token = (pointer.run, pointer.token.order, pointer.token.attempt)
    return pointer.attempt_prefix == prefix or token == (record.run, record.order, record.attempt)


def _with_doubt(left: Left, before: Record, pointer: Pointer | None) -> Left:
    """Add what cannot be known: an older commit leaves no trace once a newer one replaced it."""
    is_newer = pointer is not None and pointer.token.order > before.order
    if not (is_newer and before.outputs):
        return left
    doubt = {"commit": "not known: a newer run has committed since"}
    return Left(left.notebook, left.address, left.progress, {**left.evidence, **doubt})


def _close_notebook(store: Store, prefix: str, before: Record, failure: Failure) -> Left:
    """Close the notebook in the store, and return what the attempt left behind."""
    key = f"{prefix}/{NOTEBOOK}"
    progress, blob = read_progress(store, prefix), store.read(key)
    found = executed.parse(blob.data) if blob else None
    if blob is None or found is None:
        fate = "cannot be read" if blob else "had not reached the store"
        return Left(progress=progress, evidence={"notebook": fate})
    # An attempt that wrote its own end has stored the notebook's with it.
    reached = progress.position if progress and before.state is AttemptState.RUNNING else None
    closed = executed.close(found, failure.cause, failure.message, reached=reached or 0)
    end = executed.end_of(closed)
    if end is None or end.state is CellState.INTERRUPTED:  # else it shows what its cell raised
        closed = lead(closed, failure.message)
    if closed != found:
        store.write_if(key, executed.notebook_bytes(closed), etag=blob.etag)
    return Left(closed, store.address(key), progress)


def _parse_record(store: Store, prefix: str, blob: Blob | None) -> Record | None:
    if blob is None:
        return None
    try:
        return record_of(blob.data, prefix)
    except ValueError:
        _refuse_foreign(store, prefix, blob.data)
        return None


def _refuse_foreign(store: Store, prefix: str, data: bytes) -> None:
    """Keep hands off a whole record that only another version can read."""
    try:
        whole: Any = json.loads(data)
    except (ValueError, RecursionError):
        return
    version = whole.get("nightmill") if isinstance(whole, Mapping) else None
    if version not in (None, __version__):
        raise StoreError(
            f"was written by Nightmill {version}, and this is {__version__}",
            address=store.address(f"{prefix}/{RECORD}"),
            operation="read",
            advice="use the version that wrote it, or a later one",
        )


def _made_up(store: Store, prefix: str) -> Record:
    """Make the record of an attempt of which only the address is known."""
    progress = read_progress(store, prefix)
    return Record(
        **attempt_names(prefix)._asdict(),
        as_of="",
        order=0,
        state=AttemptState.RUNNING,
        started_at=progress.started_at if progress else datetime.now(UTC),
        nightmill=__version__,
        host="",
        store=store.url,
        parameters={},
        warnings=(_MADE_UP,),
    )
