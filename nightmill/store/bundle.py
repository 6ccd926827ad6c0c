"""Bundles: the source files that an attempt ran, kept in the store for a replay.

A bundle is named by the SHA-256 of its archive *before* compression, and the archive is the same
for the same files (sorted, without times, owners and modes): what has not changed since the last
night is there already, whatever version of zlib wrote it. The files are kept as they are. A secret
that was typed into a notebook is in here, as it is in git: a redacted notebook would not run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nightmill.errors import DamagedError, StoreConflict, StoreError
from nightmill.store.files import os_errors
from nightmill.store.interface import Store
from nightmill.store.keys import code_key

MAX_FILE_BYTES = 10 << 20
MAX_BYTES = 50 << 20

_MODE = 0o644
_HEADERS_BYTES = 10 << 20  # what an archive may take beside its files
_LEVEL = 1  # most of a lock is hashes, which no level makes smaller


@dataclass(frozen=True)
class Bundle:
    """Source files as one archive. `left_out` names those that were too large for it."""

    sha256: str
    archive: bytes
    left_out: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return code_key(self.sha256)


def pack(files: Mapping[str, Path]) -> Bundle:
    """Read the files, named by their paths in the project, into a bundle.

    A file of more than 10 MiB is left out, and so is what goes beyond 50 MiB in all. Raises OSError
    for a file that cannot be read.
    """
    packed, left_out, total = io.BytesIO(), [], 0
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(files.items()):
            size = path.stat().st_size
            if size > MAX_FILE_BYTES or total + size > MAX_BYTES:
                left_out.append(name)
                continue
            data = path.read_bytes()
            total += len(data)
            archive.addfile(_entry(name, len(data)), io.BytesIO(data))
    data = packed.getvalue()
    return Bundle(hashlib.sha256(data).hexdigest(), data, tuple(left_out))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, _MODE
    return entry


def keep(store: Store, bundle: Bundle) -> None:
    """Put a bundle into the store, unless it is there: one request. Raises StoreError."""
    with suppress(StoreConflict):  # the same name is the same content
        store.write_if(bundle.key, gzip.compress(bundle.archive, _LEVEL, mtime=0), etag=None)


def unpack(bundle: Bundle, folder: Path) -> None:
    """Write the files of a bundle below a folder; raises StoreError where the disk refuses."""
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            path = folder / _inside(entry.name)
            with os_errors("write", path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read() if content else b"")


def fetch(store: Store, sha256: str) -> Bundle | None:
    """Read a bundle from the store; None where it has none.

    Raises StoreError, DamagedError where its bytes are not those of its name.
    """
    key = code_key(sha256)
    blob = store.read(key)
    if blob is None:
        return None
    try:
        with gzip.open(io.BytesIO(blob.data)) as opened:
            archive = opened.read(MAX_BYTES + _HEADERS_BYTES)
    except (OSError, EOFError, zlib.error):
        archive = b""
    if hashlib.sha256(archive).hexdigest() != sha256:
        raise DamagedError(
            "the bundle of source files is damaged (its SHA-256 is not its name)",
            address=store.address(key),
            operation="read",
            advice="delete it: the next run of the same code writes it again",
        )
    return Bundle(sha256, archive)


def _inside(name: str) -> PurePosixPath:
    """Return a path that stays below its folder; a store may be written to by others."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StoreError(
            f"the bundle has a file {name!r}, which leaves its folder",
            address=name,
            operation="unpack",
            advice="see who else writes to code/ in this store",
        )
    return path
