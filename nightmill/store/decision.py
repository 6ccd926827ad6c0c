"""Somebody's decision about what is current: a rollback to a version, its promotion or approval.

A decision is a commit of the whole step, since its outputs were made together and belong together:
one conditional write of the pointer, with a token of its own, that says who decided, when and why,
and what was replaced. Nothing is copied, and nothing that was committed is lost. An approval (see
`approval`) is what the attempt itself would have committed, and so has the attempt's token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from nightmill.causes import Cause
from nightmill.errors import FencedError, StoreConflict, StoreError, UsageError
from nightmill.spec.held import command, review_line, standing
from nightmill.spec.record import AttemptState, CellState, Failure, FileRecord, InputRecord, Record
from nightmill.store.amend import amend
from nightmill.store.doomed import refuse_doomed
from nightmill.store.interface import Store, key_at
from nightmill.store.keys import OUTPUTS, encode, output_prefix
from nightmill.store.pointer import (
    CommittedFile,
    CommittedOutput,
    Current,
    Kind,
    Move,
    Pointer,
    has_won,
    read_current,
)
from nightmill.store.versions import Version

_HASHED_BYTES = 16 << 20  # a larger file counts as whole when it is there and has its size
_THREADS = 4  # so at most 64 MiB are in memory
_MOVES_KEPT = 20

# How an attempt ends whose work was done and passed, but whose commit was lost or not wanted.
_AFTER_THE_WORK = (Cause.FENCED, Cause.STORE, Cause.TERMINATED, Cause.EVICTED, Cause.NODE_LOST)


def prepare(store: Store, version: Version, seen: Current, move: Move) -> Pointer:
    """Return the pointer that would make a version current in place of what was `seen`.

    `move` says who decides so and why.

    Raises UsageError for a version that may not become current so, FencedError for an approval that
    comes after a newer commit, StoreError for a version whose bytes are gone or damaged.
    """
    _CHECKS[move.kind](version, seen)
    _check_bytes(store, version, operation=move.kind)
    record, before = version.record, seen.pointer
    token, earlier = version.token, tuple[Move, ...]()
    if move.kind != "approval":
        tokens = [version.token, *([before.token] if before else [])]
        token = max(tokens, key=lambda one: (one.order, one.attempt)).overruled()
        move = move.model_copy(update={"replaced": before.attempt_prefix if before else ""})
        earlier = (before.moves if before else ())[1 - _MOVES_KEPT :]
    return Pointer(
        pipeline=record.pipeline,
        step=record.step,
        partition=record.partition,
        member=record.member,
        run=record.run,
        token=token,
        committed_at=move.at,
        attempt_prefix=version.prefix,
        outputs=_outputs(version),
        inputs=dict(_input_notes(store, record)),
        moves=(*earlier, move),
    )


def decide(store: Store, pointer: Pointer, *, seen: Current) -> None:
    """Make a prepared pointer current in place of what was `seen`, and of nothing else.

    Who looked at one version has decided nothing about another. The record of a promoted attempt
    learns that it has committed after all.

    Raises FencedError if another version became current meanwhile, or if this one is about to be
    deleted; StoreError if the store fails.
    """
    refuse_doomed(store, pointer.attempt_prefix)
    try:
        store.write_if(pointer.key, pointer.to_json(), etag=seen.etag)
    except StoreConflict as error:
        _refuse_if_lost(store, pointer, error)
    except StoreError:
        if not has_won(store, pointer):
            raise
    move = pointer.moves[-1]
    if move.kind == "promotion":
        never_used = Failure(cause=Cause.FENCED, message="another version became current")
        amend(store, pointer.attempt_prefix, never_used, by=f"nightmill promote, {move.by}")


def refusal(version: Version, seen: Current, kind: Kind) -> str:
    """Say why a version may not become current so, as far as its record tells; empty if it may."""
    try:
        _CHECKS[kind](version, seen)
    except (FencedError, UsageError) as error:
        return error.problem
    return ""


def _check_approval(version: Version, seen: Current) -> None:
    newer = seen.pointer
    if newer is not None and version.token < newer.token:
        raise FencedError(
            f"{newer.author} is newer and has committed",
            where=f"version {version.name}",
            advice="nothing is lost: the newer outputs stay current; reject this one, or: "
            f"{newer.way_out}",
        )


def _check_rollback(version: Version, _seen: Current) -> None:
    if not version.was_committed:
        raise UsageError(
            f"was never current: {_end(version.record)}",
            where=f"version {version.name}",
            advice="choose one that was; `nightmill promote` takes one that passed all checks",
        )


def _check_promote(version: Version, _seen: Current) -> None:
    record = version.record
    _refuse_unreviewed(version)
    problem, advice = "", "choose a version that was made whole and passed its checks"
    blocking = next((one for one in record.checks if one.blocks), None)
    if version.was_committed:
        problem, advice = "has been current before", "use `nightmill rollback`"
    elif record.state is AttemptState.RUNNING:
        problem = "has no end in its record"
        advice = "let it end; if it died, `nightmill sweep` or `nightmill amend` closes its record"
    elif blocking is not None:
        problem = f"did not pass its checks: {blocking.message}"
    elif record.failure is not None and record.failure.cause not in _AFTER_THE_WORK:
        problem = f"did not succeed: {record.failure.message}"
    elif any(cell.state not in (CellState.COMPLETED, CellState.SKIPPED) for cell in record.cells):
        problem = "has cells that did not complete"
    if problem:
        raise UsageError(problem, where=f"version {version.name}", advice=advice)


def _refuse_unreviewed(version: Version) -> None:
    """Let nothing become current past the review that its step asks for."""
    record = version.record
    if record.review is None or version.was_committed:
        return
    problem, advice = "did not get as far as its review", "choose another version"
    if record.is_held:
        problem = standing(record)
        advice = f"`{command('approve', record)}` makes it current, once somebody has looked at it"
    elif record.is_rejected:
        problem = review_line(record)
    raise UsageError(problem, where=f"version {version.name}", advice=advice)


_CHECKS: Mapping[Kind, Callable[[Version, Current], None]] = {
    "rollback": _check_rollback,
    "promotion": _check_promote,
    "approval": _check_approval,
}


def _end(record: Record) -> str:
    return record.failure.message if record.failure else standing(record)


def _check_bytes(store: Store, version: Version, *, operation: str) -> None:
    """Look at every file of every output of the step, the small ones byte by byte."""
    files, sizes = list(_files(version)), dict(_sizes(store, version))

    def damage(one: tuple[str, FileRecord]) -> str:
        key, file = one
        if sizes.get(key) is None:
            return f"{store.address(key)} is gone"
        if sizes[key] != file.size:
            return f"{store.address(key)} has {sizes[key]:,} bytes, not {file.size:,}"
        if file.size > _HASHED_BYTES:
            return ""
        blob = store.read(key)
        is_right = blob is not None and sha256(blob.data).hexdigest() == file.sha256
        return "" if is_right else f"{store.address(key)} has other bytes than were committed"

    with ThreadPoolExecutor(_THREADS) as pool:
        found = [line for line in pool.map(damage, files) if line]
    if found:
        raise StoreError(
            f"{len(found)} of {len(files)} files are gone or damaged: {found[0]}",
            address=store.address(version.prefix),
            operation=operation,
            advice="restore them, or choose another version: `nightmill versions` lists them",
        )


def _files(version: Version) -> Iterable[tuple[str, FileRecord]]:
    for name, output in version.record.outputs.items():
        prefix = output_prefix(version.prefix, name)
        yield from ((f"{prefix}/{file.path}", file) for file in output.files)


def _sizes(store: Store, version: Version) -> Iterable[tuple[str, int]]:
    for name in version.record.outputs:
        listed = store.list(output_prefix(version.prefix, name))
        yield from ((entry.key, entry.size) for entry in listed)


def _outputs(version: Version) -> dict[str, CommittedOutput]:
    return {
        name: CommittedOutput(
            name=name,
            kind=output.kind,
            prefix=output_prefix(version.prefix, name),
            files=tuple(CommittedFile(**file.model_dump()) for file in output.files),
        )
        for name, output in version.record.outputs.items()
    }


def _input_notes(store: Store, record: Record) -> Iterable[tuple[str, str]]:
    """Say what was read as the attempt's own pointer said it (see `inputs.version_notes`)."""
    for name, found in record.inputs.items():
        yield name, _note(store, found) if found else "none"


def _note(store: Store, found: InputRecord) -> str:
    key = key_at(store, found.address) or found.address
    prefix = key.removesuffix(f"/{OUTPUTS}/{encode(found.output)}")
    return f"{prefix}#{found.output}"


def _refuse_if_lost(store: Store, pointer: Pointer, error: StoreConflict) -> None:
    """Do nothing where the conflict was with this very write, whose first reply was lost."""
    current = read_current(store, pointer.key).pointer
    if current is not None and current.commit_id == pointer.commit_id:
        return
    raise FencedError(
        f"{current.author if current else 'somebody'} changed what is current meanwhile",
        where=pointer.key,
        advice="look at the versions again, and repeat if it is still wanted",
    ) from error
