"""Notes on a run: what people have found out about it, for whoever looks at it later.

    notes/<pipeline>/<partition>/<run>/<time in ms>-<random>.json

They are only ever added. A name begins with the time, so a listing gives the oldest first.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from pydantic import AwareDatetime, BaseModel, ConfigDict

from nightmill.errors import StoreConflict, UsageError
from nightmill.spec.remarks import checked_name, checked_text
from nightmill.store.interface import Store
from nightmill.store.keys import notes_prefix
from nightmill.store.parallel import in_parallel

MOST = 200
"""How many notes a run can have: a page shows them all."""


class Note(BaseModel):
    """What somebody wrote about a run, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    at: AwareDatetime
    text: str

    def to_json(self) -> bytes:
        """Return the note as JSON."""
        return self.model_dump_json(indent=1).encode() + b"\n"


@dataclass(frozen=True)
class Notes:
    """The notes on a run, the oldest first; `damaged` holds the addresses of those unreadable."""

    found: tuple[Note, ...]
    damaged: tuple[str, ...] = ()


def make_note(*, by: str, text: str, at: datetime | None = None) -> Note:
    """Make a note, of now by default; raises UsageError for what nobody could read later."""
    checked = checked_text(text, what="the note")
    if not checked:
        raise UsageError("the note is empty", advice="write what others should know about the run")
    moment = datetime.now(UTC) if at is None else at.astimezone(UTC)
    return Note(by=checked_name(by), at=moment, text=checked)


def add(store: Store, pipeline: str, partition: str, run: str, note: Note) -> None:
    """Keep a note on a run; raises UsageError for one too many, StoreError if the store fails."""
    prefix = notes_prefix(pipeline, partition, run)
    if sum(1 for _entry in islice(store.list(prefix), MOST)) >= MOST:
        raise UsageError(f"the run has {MOST} notes already", where=f"run {run}")
    milliseconds = int(note.at.timestamp() * 1000)
    key = f"{prefix}/{milliseconds:013}-{secrets.token_hex(6)}.json"
    data = note.to_json()
    try:
        store.write_if(key, data, etag=None)
    except StoreConflict:
        blob = store.read(key)
        if blob is None or blob.data != data:  # else it was written, and the reply was lost
            raise


def notes(store: Store, pipeline: str, partition: str, run: str) -> Notes:
    """Read the notes on a run; what cannot be read is named and left out."""
    prefix = notes_prefix(pipeline, partition, run)
    keys = [entry.key for entry in islice(store.list(prefix), MOST)]
    blobs = in_parallel(store.read, keys)
    read = {key: _parse(blob.data) for key, blob in zip(keys, blobs, strict=True) if blob}
    found = sorted(filter(None, read.values()), key=lambda one: one.at)
    damaged = (store.address(key) for key, note in read.items() if note is None)
    return Notes(tuple(found), tuple(damaged))


def _parse(data: bytes) -> Note | None:
    try:
        return Note.model_validate_json(data)
    except ValueError:
        return None
