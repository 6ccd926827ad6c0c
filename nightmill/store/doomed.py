"""Marks on what is going to be deleted: first a mark, and only a day later the deletion.

A commit or a rollback that comes in between finds the mark, by one read right before it writes the
pointer, and refuses; one that came before is found by the gc that would delete, which reads the
pointer again. So nothing becomes current whose bytes are being deleted, as long as nobody sleeps
for a whole day between that read and that write. A mark is taken back when what it marks is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel

from nightmill.errors import FencedError
from nightmill.store.interface import Store
from nightmill.store.keys import doomed_key

_FOLDER, _SUFFIX = "doomed", ".json"


class Doom(BaseModel):
    """Who marked it, when, and by which rule."""

    at: AwareDatetime
    by: str
    why: str


def doom(store: Store, key: str, why: str, *, by: str) -> None:
    """Mark an object, or an attempt by its prefix, as one to delete."""
    facts = Doom(at=datetime.now(UTC), by=by, why=why)
    store.write(doomed_key(key), facts.model_dump_json(indent=1).encode() + b"\n")


def absolve(store: Store, key: str) -> None:
    """Take a mark back, or away after the deletion; nothing happens where there is none."""
    store.delete(doomed_key(key))


def doomed(store: Store) -> dict[str, datetime]:
    """Return what is marked, and since when by the store's own clock."""
    return {
        entry.key.removeprefix(f"{_FOLDER}/").removesuffix(_SUFFIX): entry.modified
        for entry in store.list(_FOLDER)
    }


def refuse_doomed(store: Store, attempt_prefix: str) -> None:
    """Raise FencedError for an attempt that is going to be deleted: it must not become current."""
    if store.read(doomed_key(attempt_prefix)) is not None:
        raise FencedError(
            "is marked for deletion by `nightmill gc`",
            where=store.address(attempt_prefix),
            advice="start a new run; or raise `keep:` in pipeline.yaml, and the next "
            "`nightmill gc --delete` takes the mark back",
        )
