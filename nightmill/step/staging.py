"""Inputs on the local disk: where the notebook reads the versions it was given.

A store in a directory is read where it lies; from S3 the files are fetched into the attempt's
scratch folder. Either way the bytes are compared with the hash that was committed, because a record
that names a version promises these bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nightmill.spec.names import label
from nightmill.spec.record import FileRecord, InputRecord
from nightmill.spec.step_values import Address
from nightmill.step.hashing import file_sha256
from nightmill.step.transfer import Listener, Transfer
from nightmill.store.files import os_errors
from nightmill.store.inputs import ResolvedInput, Version, check_sha256
from nightmill.store.interface import Moved, Store


def stage(
    store: Store,
    resolved: ResolvedInput,
    folder: Path,
    *,
    listener: Listener = lambda _event: None,
) -> Address:
    """Make an input readable; return its local path, or a path for each member.

    Raises StoreError when the stored bytes are not the committed ones.
    """
    files = [file for version in resolved.versions.values() for file in version.output.files]
    size = sum(file.size for file in files)
    transfer = Transfer("download", resolved.source.parameter, of=size, listener=listener)
    if resolved.source.members:
        return {
            member: _stage(store, version, folder / member, transfer)
            for member, version in resolved.versions.items()
        }
    return _stage(store, resolved.versions[""], folder, transfer)


def _stage(store: Store, version: Version, folder: Path, moved: Moved) -> str:
    output = version.output
    here = store.local_path(output.prefix)
    for file in output.files:
        key = f"{output.prefix}/{file.path}"
        if here is None:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(key, target, sha256=file.sha256, moved=moved)
        else:
            check_sha256(_sha256(here / file.path), file.sha256, store.address(key))
    base = here or folder
    return str(base / output.files[0].path if output.kind == "file" else base)


def _sha256(path: Path) -> str:
    with os_errors("read", path):
        return file_sha256(path)


def describe_inputs(
    store: Store, inputs: Mapping[str, ResolvedInput | None]
) -> dict[str, InputRecord | None]:
    """Say in the record which versions were read, a line for each member."""
    found: dict[str, InputRecord | None] = {}
    for name, resolved in inputs.items():
        if resolved is None:
            found[name] = None
            continue
        for member, version in resolved.versions.items():
            found[label(name, member)] = _describe(store, version)
    return found


def _describe(store: Store, version: Version) -> InputRecord:
    pointer, output = version.pointer, version.output
    return InputRecord(
        pipeline=pointer.pipeline,
        output=output.name,
        partition=pointer.partition,
        run=pointer.run,
        attempt=pointer.attempt,
        address=store.address(output.prefix),
        files=tuple(FileRecord(**file.model_dump()) for file in output.files),
    )
