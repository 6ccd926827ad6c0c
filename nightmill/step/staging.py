"""Inputs on the local disk: where the notebook reads the versions it was given.

A notebook may write to any path it knows, so none that it gets lies in the store: from S3, and of
small inputs from a directory, it gets copies in the attempt's scratch folder, and of large ones in
a directory links (see `lent`). Copying the most that is copied, 32 MiB or 256 files, takes 0.1 s.
Always the bytes are compared with the hash that was committed, because a record that names a
version promises these bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightmill.spec.names import label
from nightmill.spec.record import FileRecord, InputRecord
from nightmill.spec.step_values import Address
from nightmill.step.hashing import file_sha256
from nightmill.step.lent import Lent
from nightmill.step.transfer import LARGE_BYTES, Listener, Transfer, move_each
from nightmill.store.files import os_errors
from nightmill.store.inputs import ResolvedInput, Version, check_sha256
from nightmill.store.interface import Moved, Store
from nightmill.store.pointer import CommittedFile

_COPIED_FILES = 256  # a copy takes ten times as long as a link, where files are small


@dataclass(frozen=True)
class _Staged:
    """A file of an input, and where it is to be read."""

    version: Version
    file: CommittedFile
    target: Path

    @property
    def key(self) -> str:
        return f"{self.version.output.prefix}/{self.file.path}"


def stage(
    store: Store,
    resolved: ResolvedInput,
    folder: Path,
    *,
    lent: Lent | None = None,
    listener: Listener = lambda _event: None,
) -> Address:
    """Make an input readable; return its local path, or a path for each member.

    What is not copied is noted in `lent`. Raises StoreError when the stored bytes are not the
    committed ones.
    """
    name, by_member = resolved.source.parameter, bool(resolved.source.members)
    places = {one: folder / one if by_member else folder for one in resolved.versions}
    files = [
        _Staged(version, file, places[member] / file.path)
        for member, version in resolved.versions.items()
        for file in version.output.files
    ]
    for parent in {one.target.parent for one in files}:
        parent.mkdir(parents=True, exist_ok=True)
    size = sum(one.file.size for one in files)
    if _is_copied(store, files, size):
        transfer = Transfer("download", name, of=size, listener=listener)
        move_each(lambda one: _copy(store, one, transfer), files, size=_size)
    else:
        notes = lent or Lent()
        move_each(lambda one: _link(store, one, name, notes), files, size=_size)
    addresses = {
        member: _address(version, places[member]) for member, version in resolved.versions.items()
    }
    return dict(addresses) if by_member else addresses[""]


def _is_copied(store: Store, files: list[_Staged], size: int) -> bool:
    is_here = bool(files) and store.local_path(files[0].key) is not None
    return not is_here or (size < LARGE_BYTES and len(files) <= _COPIED_FILES)


def _size(one: _Staged) -> int:
    return one.file.size


def _copy(store: Store, one: _Staged, moved: Moved) -> None:
    store.get_file(one.key, one.target, sha256=one.file.sha256, moved=moved)


def _link(store: Store, one: _Staged, name: str, lent: Lent) -> None:
    path = store.local_path(one.key)
    if path is None:
        raise TypeError(f"{store.url} is no store in a directory")
    with os_errors("read", path):
        lent.lend(name, path, one.target, one.version, one.file.sha256)
        found = file_sha256(path)
    check_sha256(found, one.file.sha256, store.address(one.key))


def _address(version: Version, place: Path) -> str:
    is_file = version.output.kind == "file"
    return str(place / version.output.files[0].path if is_file else place)


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
