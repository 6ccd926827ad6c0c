"""The pointer and the commit: the one atomic act that makes a step's outputs current.

A commit replaces the pointer of a step and partition by one conditional write. The pointer carries
a fencing token, so an older attempt that wakes up late can never replace a newer one's outputs, and
a commit id of its own, so a writer that lost the reply can tell that it won. The id also keeps an
old etag from ever matching again, since etags may be hashes of the content.

Taking a version back, or making one current that never was, is a commit as well: its token comes
right after that of the run it overrules. So every attempt of that run and of older ones stays
fenced, and any run created later may commit over it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from nightmill.errors import FencedError, StoreConflict, StoreError
from nightmill.spec import words
from nightmill.spec.record import FileRecord, OutputRecord
from nightmill.store.doomed import refuse_doomed
from nightmill.store.interface import Store
from nightmill.store.keys import attempt_names, encode, pointer_key, pointers_prefix
from nightmill.store.newest import earlier_first

_MAX_TRIES = 30
_PAUSE_S = 0.02  # grows with each try: 9 s in all
_CLOCKS_DIFFER = timedelta(minutes=10)
_LONGEST = 2**62  # microseconds, which a timedelta can hold

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True
    )


class Token(_Frozen):
    """The fencing token: attempts are ordered by their run's creation, then by their number.

    `order` is the run's creation in microseconds since the epoch.
    """

    order: NonNegativeInt
    attempt: NonNegativeInt

    def __lt__(self, other: Token) -> bool:
        return (self.order, self.attempt) < (other.order, other.attempt)

    @property
    def ahead(self) -> timedelta:
        """How far it lies in the future, which only a wrong clock can do; nothing if it does not.

        Clocks that are right differ by less than some minutes.
        """
        now = time.time_ns() // 1000
        ahead = timedelta(microseconds=min(max(self.order - now, 0), _LONGEST))
        return ahead if ahead > _CLOCKS_DIFFER else timedelta()

    def overruled(self) -> Token:
        """Return the token of a decision about this run: no attempt has it, they count from 1."""
        return Token(order=self.order + 1, attempt=0)


class CommittedFile(_Frozen):
    """A file of a committed output; `path` is relative to the output's prefix, size in bytes."""

    path: str
    size: NonNegativeInt
    sha256: Sha256
    etag: str


class CommittedOutput(_Frozen):
    """A committed output: one file, or a directory of files, below a prefix of the store."""

    name: str
    kind: Literal["file", "directory"]
    prefix: str
    files: tuple[CommittedFile, ...]

    @property
    def key(self) -> str:
        """What a reader opens: the file itself, or the prefix of a directory's files."""
        return f"{self.prefix}/{self.files[0].path}" if self.kind == "file" else self.prefix


Kind = Literal["rollback", "promotion", "approval"]
_PHRASES: dict[Kind, str] = {
    "rollback": "the rollback to",
    "promotion": "the promotion of",
    "approval": "the approval of",
}


class Move(_Frozen):
    """Somebody's decision about what is current; `replaced` is the prefix of the attempt before.

    It is empty where nothing was current, and of an approval: that is the attempt's own commit.
    """

    kind: Kind
    by: str
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    reason: str = ""
    replaced: str = ""


class Pointer(_Frozen):
    """What is current of a step and partition, who made it, and from which versions of inputs.

    `moves` are the decisions since the last attempt committed, the oldest first, and that commit if
    it was an approval. After others, `run` and `attempt_prefix` are the chosen version's.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    pipeline: str
    step: str
    partition: str
    member: str = ""
    run: str
    token: Token
    commit_id: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[0-9a-f]{32}$")
    committed_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    attempt_prefix: str
    outputs: dict[str, CommittedOutput]
    inputs: dict[str, str] = Field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    @property
    def key(self) -> str:
        """The key this pointer is kept under."""
        return pointer_key(self.pipeline, self.step, self.partition, member=self.member)

    @property
    def attempt(self) -> int:
        """The number of the attempt that made the outputs."""
        return attempt_names(self.attempt_prefix).attempt if self.moves else self.token.attempt

    @property
    def author(self) -> str:
        """Who made it current, for people; and how wrong the clock was, if it was."""
        ahead = self.token.ahead
        short = words.span(ahead // timedelta(minutes=1) * 60)
        span = f"{ahead.days:,} days" if ahead.days > 1 else short
        clock = f"; its order lies {span} in the future" if ahead else ""
        version = f"run {self.run} (attempt {self.attempt}{clock})"
        if not self.moves:
            return version
        return f"{_PHRASES[self.moves[-1].kind]} {version} by {self.moves[-1].by}"

    @property
    def way_out(self) -> str:
        """What replaces it, for people who are told that it is newer than what they made."""
        if not self.token.ahead:
            return "start a new run to replace its outputs"
        names = f"{quote(self.pipeline)} --partition {quote(self.partition)}"
        return (
            f"a clock was wrong: `nightmill run {names} --step {quote(self.step)} --rerun` makes "
            "an order above it and replaces its outputs; runs that Airflow starts stay fenced"
        )

    def to_json(self) -> bytes:
        """Return the pointer as JSON; what only decisions have is left out of all others."""
        return self.model_dump_json(indent=2, exclude=None if self.moves else {"moves"}).encode()


@dataclass(frozen=True)
class Current:
    """What was current at some moment (None: nothing), and the etag that tells if it still is."""

    pointer: Pointer | None
    etag: str | None


def read_pointer(
    store: Store, pipeline: str, step: str, partition: str, *, member: str = ""
) -> Pointer | None:
    """Read what is current of a step and partition; None where nothing is committed."""
    return read_current(store, pointer_key(pipeline, step, partition, member=member)).pointer


def read_current(store: Store, key: str) -> Current:
    """Read what is current below a pointer's key, to be handed to `commit` later on."""
    return Current(*_read(store, key))


def commit(store: Store, pointer: Pointer, *, seen: Current | None = None) -> Pointer:
    """Make the pointer's outputs current, and return the pointer that is current now.

    That is another than the given one only when the same attempt had committed before. What was
    `seen` before is not read again unless it has changed since.

    Raises FencedError if a newer attempt has committed, or if this one's outputs are about to be
    deleted; StoreError if the store fails.
    """
    data = pointer.to_json()
    for tries in range(_MAX_TRIES):
        current = seen or read_current(store, pointer.key)
        if current.pointer is not None and not current.pointer.token < pointer.token:
            return _unless_fenced(current.pointer, pointer)
        if pointer.outputs:  # without, there is nothing that could be deleted meanwhile
            refuse_doomed(store, pointer.attempt_prefix)
        try:
            store.write_if(pointer.key, data, etag=current.etag)
        except StoreConflict:
            # Another writer won, or this one did and the reply was lost: reading again tells.
            seen = None
            time.sleep(_PAUSE_S * tries)
        except StoreError:
            if not has_won(store, pointer):
                raise
            return pointer
        else:
            return pointer
    raise StoreError(
        f"the pointer changed under each of {_MAX_TRIES} tries to commit",
        address=store.address(pointer.key),
        operation="commit",
        advice="see which runs of this partition are active, then repeat the step",
    )


def has_won(store: Store, pointer: Pointer) -> bool:
    """Tell whether a write took effect that was answered by an error: some replies are lost."""
    with suppress(StoreError):
        current = read_current(store, pointer.key).pointer
        return current is not None and current.commit_id == pointer.commit_id
    return False


def describe_outputs(
    store: Store, outputs: Mapping[str, CommittedOutput]
) -> dict[str, OutputRecord]:
    """Return what was stored of each output."""
    return {
        name: OutputRecord(
            kind=output.kind,
            address=store.address(output.key),
            size=sum(file.size for file in output.files),
            files=tuple(FileRecord(**file.model_dump()) for file in output.files),
        )
        for name, output in outputs.items()
    }


def earlier_pointers(
    store: Store, pipeline: str, step: str, *, before: str, member: str = ""
) -> Iterator[Pointer]:
    """Read what is current of the partitions before another one, the newest first, as asked for.

    Of partitions that are text these are the ones that were committed before it (see `newest`).
    """
    prefix = pointers_prefix(pipeline, step)
    for name in earlier_first(store, prefix, encode(before), by_member=bool(member)):
        inner = f"{name}/{encode(member)}" if member else name
        pointer, _etag = _read(store, f"{prefix}/{inner}.json")
        if pointer is not None:
            yield pointer


def _read(store: Store, key: str) -> tuple[Pointer | None, str | None]:
    blob = store.read(key)
    if blob is None:
        return None, None
    try:
        return Pointer.model_validate_json(blob.data), blob.etag
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"is no pointer of this version of Nightmill ({place or 'JSON'}: {first['msg']})",
            address=store.address(key),
            operation="read",
            advice="update Nightmill if a newer one wrote it; else restore or delete the object, "
            "and run the partition again",
        ) from error


def _unless_fenced(current: Pointer, pointer: Pointer) -> Pointer:
    if (current.token, current.run) == (pointer.token, pointer.run):
        return current
    raise FencedError(
        f"{current.author} has committed already and is newer "
        f"than run {pointer.run} (attempt {pointer.token.attempt})",
        where=pointer.key,
        advice=f"nothing is lost: the newer outputs stay current; {current.way_out}",
    )
