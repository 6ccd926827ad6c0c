"""The store in a directory: the embedded default, for a laptop or a shared file system.

Every object is a file. A write goes to an unfinished file beside its target and takes its place in
one rename, so a reader sees the old bytes or the new. Every rename holds a lock, a conditional one
from reading the present bytes on; the locks lie below ``.nightmill/`` in the root, and listings
pass over every name that begins so. An etag here is the SHA-256 of the content.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from nightmill.errors import StoreConflict, StoreError
from nightmill.store.files import (
    HashingReader,
    Readable,
    ToldReader,
    checked_download,
    hashed_copy,
    os_errors,
    sync_directory,
)
from nightmill.store.interface import LISTED_AT_ONCE, Blob, Entry, Moved, Remnant, Stat, StoredFile
from nightmill.store.keys import RESERVED, check_key, folder
from nightmill.store.preflight import probe

_MKDIR_TRIES = 10
_LOCKS = "locks"


class DirectoryStore:
    """A store below a directory, which comes into being with the first write."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links

    @property
    def url(self) -> str:
        """The absolute path of the directory."""
        return str(self._root)

    def read(self, key: str) -> Blob | None:
        """Read a small object whole; None where there is none."""
        path = self._path(key)
        with os_errors("read", path):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                return None
        return Blob(data, _etag(data))

    def write(self, key: str, data: bytes) -> str:
        """Replace an object whole; return its etag."""
        path = self._path(key)
        with os_errors("write", path):
            return _replace(path, io.BytesIO(data), guard=self._locked(key))[1]

    def write_if(self, key: str, data: bytes | BinaryIO, *, etag: str | None) -> str:
        """Write only if the object still has this etag (None: only if there is no object)."""
        path = self._path(key)
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        with os_errors("write", path):
            return _replace(path, source, guard=self._unchanged(key, etag))[1]

    def put_file(self, key: str, path: Path, *, moved: Moved | None = None) -> StoredFile:
        """Copy a file into the store, where it is read-only: committed bytes do not change."""
        target = self._path(key)
        with os_errors("read", path):
            source = path.open("rb")
        with source, os_errors("write", target):
            told = ToldReader(source, moved)
            size, sha256 = _replace(target, told, guard=self._locked(key), mode=0o444)
        return StoredFile(key, size, sha256, etag=sha256)

    def get_file(
        self, key: str, path: Path, *, sha256: str | None = None, moved: Moved | None = None
    ) -> None:
        """Copy an object to a path, atomically; checks the bytes where `sha256` is given."""
        stored = self._path(key)
        with os_errors("read", stored):
            source = stored.open("rb")
        download = checked_download(path, address=str(stored), sha256=sha256)
        with source, download as unfinished, unfinished.open("wb") as file:
            hashed_copy(ToldReader(source, moved), file)

    def stat(self, key: str) -> Stat | None:
        """Hash the file that is there; None where there is none."""
        path = self._path(key)
        with os_errors("read", path):
            etag = _file_etag(path)
        return Stat(etag, etag) if etag else None

    def copy_if(self, key: str, source: StoredFile, *, etag: str | None) -> None:
        """Copy a stored file, if the target still has this etag and the source its hash.

        No link: whoever forces a write at a plain address must not change committed bytes.
        """
        stored, target = self._path(source.key), self._path(key)
        with os_errors("read", stored):
            try:
                opened = stored.open("rb")
            except FileNotFoundError as error:
                raise _conflict(stored, "copy_if") from error
        with opened, os_errors("write", target):
            reader = HashingReader(opened)
            guard = self._unchanged(key, etag, copied=reader, sha256=source.sha256)
            # Apart from the target: a reader of published folders takes every file for data.
            aside = self._root / RESERVED / "unfinished" / target.name
            _replace(target, reader, guard=guard, mode=0o444, beside=aside)

    def list(
        self,
        prefix: str,
        *,
        start_after: str = "",
        at_once: int = LISTED_AT_ONCE,  # noqa: ARG002 - one look shows all
    ) -> Iterator[Entry]:
        """List all objects below a prefix, sorted by the bytes of their keys."""
        beginning = folder(prefix)
        return self._walk(beginning, start_after)

    def children(self, prefix: str) -> Sequence[str]:
        """Name what comes next below a prefix, sorted."""
        return sorted(entry.name for entry in _scan(self._root / folder(prefix)))

    def address(self, key: str) -> str:
        """Give the absolute path of an object."""
        return str(self._path(key))

    def library_options(self) -> Mapping[str, str]:
        """Give nothing: a path says it all."""
        return {}

    def local_path(self, key: str) -> Path | None:
        """Give the absolute path of an object: it can be read where it lies."""
        return self._path(key)

    def delete(self, key: str) -> None:
        """Remove an object, and the directories that this leaves empty."""
        path = self._path(key)
        with os_errors("delete", path), self._locked(key):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the first directory that is not empty ends it
            for parent in path.parents[: key.count("/")]:
                parent.rmdir()

    def remnants(self) -> Iterator[Remnant]:
        """List the unfinished files of writers that died, and of those at work, and lost probes."""
        for folder_name, folders, files in os.walk(self._root):
            if Path(folder_name) == self._root / RESERVED:
                folders[:] = [name for name in folders if name != _LOCKS]  # they are no remnants
            for name in files:
                path = Path(folder_name, name)
                key = path.relative_to(self._root).as_posix()
                if name.startswith(RESERVED) or key.startswith(f"{RESERVED}/"):
                    with suppress(FileNotFoundError):  # finished since
                        found = _entry(key, path.stat())
                        yield Remnant(key, found.modified, found.size)

    def discard(self, remnant: Remnant) -> None:
        """Remove an unfinished file."""
        path = self._root / remnant.key
        with os_errors("delete", path):
            path.unlink(missing_ok=True)

    def preflight(self) -> None:
        """Try every right that is needed on a small probe."""
        probe(self)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep other writers of this key out, in this process and in others.

        256 lock files serve all keys, so that they do not grow with the store. The lock ends with
        the process, however that ends.
        """
        locks = self._root / RESERVED / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / _etag(key.encode())[:2]).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _unchanged(
        self, key: str, etag: str | None, *, copied: HashingReader | None = None, sha256: str = ""
    ) -> Iterator[None]:
        """Keep other writers out while the object is what a writer last saw, else StoreConflict.

        The same is asked of the bytes that were `copied`, if any.
        """
        path = self._path(key)
        with self._locked(key):
            if _file_etag(path) != etag or (copied and copied.sha256 != sha256):
                raise _conflict(path, "copy_if" if copied else "write_if")
            yield

    def _walk(self, beginning: str, start_after: str) -> Iterator[Entry]:
        # A directory sorts as its keys begin, with the slash: "a-b" comes before "a/b".
        found = {
            f"{beginning}{entry.name}{'/' if entry.is_dir() else ''}": entry
            for entry in _scan(self._root / beginning)
        }
        for key, entry in sorted(found.items()):
            if key.endswith("/"):
                if key > start_after or start_after.startswith(key):
                    yield from self._walk(key, start_after)
            elif key > start_after:
                with suppress(FileNotFoundError):  # deleted since the directory was read
                    yield _entry(key, entry.stat())


def _conflict(path: Path, operation: str) -> StoreConflict:
    return StoreConflict(
        "the object is not what this writer last saw",
        address=str(path),
        operation=operation,
        advice="read it again before writing",
    )


def _scan(directory: Path) -> list[os.DirEntry[str]]:
    with os_errors("list", directory):
        try:
            with os.scandir(directory) as entries:
                return [entry for entry in entries if not entry.name.startswith(RESERVED)]
        except FileNotFoundError:
            return []


def _entry(key: str, stat: os.stat_result) -> Entry:
    return Entry(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_etag(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return None


def _replace(
    path: Path,
    source: Readable,
    *,
    guard: AbstractContextManager[None],
    mode: int = 0o666,
    beside: Path | None = None,
) -> tuple[int, str]:
    """Fill an unfinished file, make it durable, and move it to its place inside the guard.

    It lies beside its place, or beside another path. Returns the size in bytes and the SHA-256 in
    hex.
    """
    descriptor, unfinished = _create_beside(beside or path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            result = hashed_copy(source, file)
            file.flush()
            os.fsync(file.fileno())
        with guard:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return result


def _create_beside(path: Path, mode: int) -> tuple[int, Path]:
    unfinished = path.with_name(f"{RESERVED}-{uuid4().hex}")
    for _ in range(_MKDIR_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a delete has just removed the empty directory
            return os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), unfinished
    raise StoreError(
        "the directory is removed as often as it is made",
        address=str(path.parent),
        operation="write",
        advice="see what else deletes there",
    )
