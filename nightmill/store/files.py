"""Files on this machine, for both backends: hashing copies, atomic downloads, plain-word errors."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from nightmill.errors import StoreError
from nightmill.store.interface import Moved
from nightmill.store.keys import RESERVED

_CHUNK_BYTES = 1 << 20

_ADVICE = {
    errno.EACCES: "give the user that runs Nightmill the right to do this, or choose another store",
    errno.EPERM: "the file system or its mount forbids it; choose another store",
    errno.EROFS: "the file system is read-only: choose a store that can be written",
    errno.ENOTDIR: "a file stands where a directory is needed: rename or remove it",
    errno.EEXIST: "a file stands where a directory is needed: rename or remove it",
    errno.EISDIR: "a directory stands where a file is needed: rename or remove it",
    errno.ENAMETOOLONG: "shorten the path of the store, or the name of the file",
    errno.ENOENT: "see that it exists and has not been moved or deleted",
    errno.EFBIG: "the file would exceed the largest size allowed here (see ulimit -f)",
    errno.EMFILE: "this process has too many files open (see ulimit -n)",
}


class Readable(Protocol):
    """What can be read in chunks."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; no bytes at the end."""


class Writable(Protocol):
    """What can be written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of the bytes."""


class HashingReader:
    """Passes bytes on and hashes them, so that the hash is of what was really sent.

    It cannot seek, on purpose: whoever reads it must read each byte once and in order.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of all bytes so far, in hex."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Read and hash up to `size` bytes."""
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data


class ToldReader:
    """Passes bytes on, and tells how many."""

    def __init__(self, source: Readable, moved: Moved | None) -> None:
        self._source = source
        self._moved = moved

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        data = self._source.read(size)
        if self._moved is not None:
            self._moved(len(data))
        return data


def hashed_copy(source: Readable, target: Writable) -> tuple[int, str]:
    """Copy in bounded memory; return the size in bytes and the SHA-256 in hex."""
    reader = HashingReader(source)
    while chunk := reader.read(_CHUNK_BYTES):
        target.write(chunk)
    return reader.size, reader.sha256


@contextmanager
def checked_download(path: Path, *, address: str, sha256: str | None) -> Iterator[Path]:
    """Give an unfinished file to fill; it takes its place at `path` if its bytes are right.

    Raises StoreError when they are not, or when this machine refuses the file.
    """
    unfinished = path.with_name(f"{RESERVED}-{uuid4().hex}")
    with os_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            if sha256 is not None:
                _verify(unfinished, address=address, sha256=sha256)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def os_errors(operation: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into StoreErrors with plain words and advice."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            problem, advice = "the disk is full", _space(path)
        else:
            problem = (error.strerror or str(error)).lower()
            advice = _ADVICE.get(error.errno or 0, "see the system's log for this disk")
        address = str(error.filename or path)
        raise StoreError(problem, address=address, operation=operation, advice=advice) from error


def sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut; where that is not supported, nothing better exists."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _verify(file: Path, *, address: str, sha256: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise StoreError(
            f"the bytes are not those that were committed (SHA-256 {found}, expected {sha256})",
            address=address,
            operation="read",
            advice="the object was damaged or overwritten: run its step again",
        )


def _space(path: Path) -> str:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return f"{free:,} bytes are free on the file system of {existing}: make room, then repeat"
