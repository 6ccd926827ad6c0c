"""A store that holds the versions a record names, and nothing else.

The rules by which a step finds its inputs are left as they are: where there is one version only,
every rule leads to it. The bytes are copies, compared with the hashes of the record, so that a
replay can do nothing to what others read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nightmill.errors import InputError, StoreError, UsageError
from nightmill.spec.record import FileRecord, InputRecord, Record
from nightmill.step.hashing import file_sha256
from nightmill.step.transfer import move_each
from nightmill.store.interface import Store
from nightmill.store.keys import RECORD, AttemptNames, attempt_names, encode, run_prefix
from nightmill.store.pointer import CommittedFile, CommittedOutput, Pointer, Token, commit

_READ_ONLY = 0o444


def pin_inputs(record: Record, store: Store, target: Store) -> None:
    """Copy the inputs of an attempt from its store, and make them current in the target.

    Raises InputError for a version that cannot be told, and for bytes that are gone or are not
    those of the record.
    """
    pointers: dict[str, Pointer] = {}
    for name, found in record.inputs.items():
        if found is None:
            continue
        pointer = _pointer(name, found, store)
        known = pointers.setdefault(pointer.key, pointer)
        if known.attempt_prefix != pointer.attempt_prefix:
            raise UsageError(
                f"reads two versions of {found.pipeline}.{found.output} {found.partition}: it was "
                "committed anew between the two, and a replay can hold only one",
                where=f"input {name}",
            )
        pointers[pointer.key] = _merged(known, pointer.outputs)
        copies = _Copies(name, store, target, pointer.outputs[found.output].prefix)
        move_each(copies.copy, found.files, size=lambda file: file.size)
    for pointer in pointers.values():
        commit(target, pointer)


@dataclass(frozen=True)
class _Copies:
    """The files of an input on their way; what is not there as it was ends the replay."""

    name: str
    store: Store
    target: Store
    prefix: str

    def copy(self, file: FileRecord) -> None:
        key = f"{self.prefix}/{file.path}"
        path = self.target.local_path(key)
        if path is None:
            raise TypeError(f"{self.target.url} is no store in a directory")
        try:
            self.store.get_file(key, path)
        except StoreError as error:
            if self.store.stat(key) is not None:  # it is there, and something else is wrong
                raise
            raise self._gone(key, "is not there any more") from error
        if file_sha256(path) != file.sha256:
            path.unlink()
            raise self._gone(key, "holds other bytes than those that were committed")
        path.chmod(_READ_ONLY)

    def _gone(self, key: str, what: str) -> InputError:
        return InputError(
            f"{self.store.address(key)} {what}",
            where=f"input {self.name}",
            advice="restore it: a replay reads no other version",
        )


def _merged(pointer: Pointer, outputs: Mapping[str, CommittedOutput]) -> Pointer:
    return pointer.model_copy(update={"outputs": {**pointer.outputs, **outputs}})


def _pointer(name: str, found: InputRecord, store: Store) -> Pointer:
    prefix, attempt, names = _place(name, found)
    output = CommittedOutput(
        name=found.output,
        kind=_kind(name, found.output, f"{attempt}/{RECORD}", store),
        prefix=prefix,
        files=tuple(CommittedFile(**file.model_dump()) for file in found.files),
    )
    return Pointer(
        pipeline=found.pipeline,
        step=names.step,
        member=names.member,
        partition=found.partition,
        run=found.run,
        token=Token(order=0, attempt=found.attempt),  # older than whatever a replay commits
        attempt_prefix=attempt,
        outputs={found.output: output},
    )


def _place(name: str, found: InputRecord) -> tuple[str, str, AttemptNames]:
    """Return the output's prefix in whatever store holds it now, its attempt's, and whose it is."""
    run = run_prefix(found.pipeline, found.partition, found.run)
    prefix = found.address[max(found.address.rfind(f"{run}/"), 0) :]
    attempt = prefix.removesuffix(f"/outputs/{encode(found.output)}")
    if not prefix.startswith(run) or attempt == prefix:
        raise InputError(
            f"the record says it lies at {found.address}, and no attempt keeps outputs there",
            where=f"input {name}",
        )
    return prefix, attempt, attempt_names(attempt)


def _kind(name: str, output: str, key: str, store: Store) -> Literal["file", "directory"]:
    blob = store.read(key)
    made = Record.from_json(blob.data).outputs.get(output) if blob else None
    if made is None:
        raise InputError(
            "the attempt that made this version has no record any more",
            where=f"input {name}: {store.address(key)}",
            advice="restore it, or run that partition again",
        )
    return made.kind
