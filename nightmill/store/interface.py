"""What a store is to the rest of Nightmill: a few synchronous, thread-safe operations on keys.

Two backends keep this interface, a directory and S3, and one test suite holds both to it. Keys are
relative to the store's root, ``/``-separated (see `keys`). Every method raises StoreError when the
store refuses or cannot be reached, and UsageError for a key that no store can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

LISTED_AT_ONCE = 1000
"""The most that S3 lists at a request."""

Moved = Callable[[int], None]
"""Told how many more bytes were moved, from any thread; less than none when a part is repeated."""


@dataclass(frozen=True)
class Blob:
    """A small object as it was read: its bytes, and the etag a conditional write can name."""

    data: bytes
    etag: str


@dataclass(frozen=True)
class StoredFile:
    """A file as it was stored: size in bytes, SHA-256 of the bytes in hex, the store's etag.

    The hash is ours. An etag says whether an object changed, never what is in it: S3's are no
    hashes of multipart or KMS-encrypted objects.
    """

    key: str
    size: int
    sha256: str
    etag: str


@dataclass(frozen=True)
class Stat:
    """An object as it is now; `sha256` of its bytes is None where nobody has noted it."""

    etag: str
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """An object in a listing: size in bytes, time of its last change with a zone."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Remnant:
    """What an interrupted write left behind, and no reader sees: size in bytes if it is known.

    `upload` is the id of a multipart upload, empty for a file.
    """

    key: str
    started: datetime
    size: int = 0
    upload: str = ""


class Store(Protocol):
    """A place for records, notebooks and outputs."""

    @property
    def url(self) -> str:
        """The address `open_store` opens this store by; holds no credentials."""

    def read(self, key: str) -> Blob | None:
        """Read a small object whole; None where there is none."""

    def write(self, key: str, data: bytes) -> str:
        """Replace an object whole, so that readers see the old or the new; return its etag."""

    def write_if(self, key: str, data: bytes | BinaryIO, *, etag: str | None) -> str:
        """Write only if the object still has this etag (None: only if there is no object).

        An open file is streamed from its beginning, so that it need not fit into memory.

        Raises StoreConflict when it has changed. After a lost reply that can also mean that this
        very write won: read back, and compare something unique to the write.
        """

    def put_file(self, key: str, path: Path, *, moved: Moved | None = None) -> StoredFile:
        """Stream a file of any size into the store; the hash is of the bytes that were sent."""

    def get_file(
        self, key: str, path: Path, *, sha256: str | None = None, moved: Moved | None = None
    ) -> None:
        """Stream an object to a path, which holds the old or the whole new file, never a part.

        With `sha256`, other bytes than these are a StoreError and do not reach the path.
        """

    def stat(self, key: str) -> Stat | None:
        """Look at an object of any size without fetching it; None where there is none."""

    def copy_if(self, key: str, source: StoredFile, *, etag: str | None) -> None:
        """Copy a stored file to a key of the same store, if that still has this etag.

        The bytes do not pass through this machine where the store can copy by itself; their hash is
        noted, so that `stat` tells it. Readers see the old or the new.

        Raises StoreConflict when what is there has changed, or the source has; as in `write_if`.
        """

    def list(
        self, prefix: str, *, start_after: str = "", at_once: int = LISTED_AT_ONCE
    ) -> Iterator[Entry]:
        """List all objects below a prefix (whole components; "" is everything), sorted by key.

        `start_after` resumes behind a key of an earlier listing; `at_once` is how many a request
        brings at most, for whoever will stop after a few. The order is that of the keys'
        UTF-8 bytes, save on stores that sort component by component (SeaweedFS does).
        """

    def children(self, prefix: str) -> Sequence[str]:
        """Name what comes next below a prefix, objects and prefixes alike, sorted.

        A prefix from which all was deleted is named for a while yet where a store keeps
        directories (SeaweedFS does).
        """

    def address(self, key: str) -> str:
        """Say what a person or a library opens: an absolute path, or ``s3://bucket/key``."""

    def library_options(self) -> Mapping[str, str]:
        """Give what a library needs besides the `address` to open it by itself.

        The names are those of object_store, which deltalake and polars take. Holds credentials
        that may expire: for immediate use, never to be shown or kept.
        """

    def local_path(self, key: str) -> Path | None:
        """Give the path of an object that lies on this machine and needs no copy, else None."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def preflight(self) -> None:
        """Try every right the store must grant, on a small probe that is gone afterwards.

        Raises StoreError naming the missing right; better now than after hours of work.
        """


class Backend(Store, Protocol):
    """A store as it is opened: with what only housekeeping asks for."""

    def remnants(self) -> Iterator[Remnant]:
        """List what unfinished writes left in the whole store, those at work now included."""

    def discard(self, remnant: Remnant) -> None:
        """Remove a remnant; nothing happens where it is gone. A write at work there fails."""


def key_at(store: Store, address: str) -> str | None:
    """Return the key that `Store.address` made an address of; None for one of another store."""
    root = store.address("x").removesuffix("x")
    return address.removeprefix(root) if address.startswith(root) else None
