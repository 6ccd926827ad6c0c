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
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from nightmill.errors import StoreConflict
from nightmill.store.files import (
    HashingReader,
    ToldReader,
    checked_download,
    hashed_copy,
    os_errors,
)
from nightmill.store.interface import LISTED_AT_ONCE, Blob, Entry, Moved, Remnant, Stat, StoredFile
from nightmill.store.keys import RESERVED, check_key, folder
from nightmill.store.preflight import probe
from nightmill.store.presence import Presence
from nightmill.store.replacing import replace_file

_LOCKS = "locks"


class DirectoryStore:
    """A store below a directory, which comes into being with the first write.

    Once it was seen, its absence is an error, whether something is asked or written.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
        self._presence = Presence(self._root)

    @property
    def url(self) -> str:
        """The absolute path of the directory."""
        return str(self._root)

    def read(self, key: str) -> Blob | None:
        """Read a small object whole; None where there is none."""
        data = self._presence.look("read", self._path(key), Path.read_bytes)
        return None if data is None else Blob(data, _etag(data))

    def write(self, key: str, data: bytes) -> str:
        """Replace an object whole; return its etag."""
        path = self._path(key)
        with self._presence.changing("write", path):
            return replace_file(path, io.BytesIO(data), guard=self._locked(key))[1]

    def write_if(self, key: str, data: bytes | BinaryIO, *, etag: str | None) -> str:
        """Write only if the object still has this etag (None: only if there is no object)."""
        path = self._path(key)
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        with self._presence.changing("write", path):
            return replace_file(path, source, guard=self._unchanged(key, etag))[1]

    def put_file(self, key: str, path: Path, *, moved: Moved | None = None) -> StoredFile:
        """Copy a file into the store, where it is read-only: committed bytes do not change."""
        target = self._path(key)
        with os_errors("read", path):
            source = path.open("rb")
        with source, self._presence.changing("write", target):
            told = ToldReader(source, moved)
            size, sha256 = replace_file(target, told, guard=self._locked(key), mode=0o444)
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
        etag = self._presence.look("read", self._path(key), _hash)
        return Stat(etag, etag) if etag else None

    def copy_if(self, key: str, source: StoredFile, *, etag: str | None) -> None:
        """Copy a stored file, if the target still has this etag and the source its hash.

        No link: whoever forces a write at a plain address must not change committed bytes.
        """
        stored, target = self._path(source.key), self._path(key)
        opened = self._presence.look("read", stored, _open)
        if opened is None:
            raise _conflict(stored, "copy_if")
        with opened, self._presence.changing("write", target):
            reader = HashingReader(opened)
            guard = self._unchanged(key, etag, copied=reader, sha256=source.sha256)
            # Apart from the target: a reader of published folders takes every file for data.
            aside = self._root / RESERVED / "unfinished" / target.name
            replace_file(target, reader, guard=guard, mode=0o444, beside=aside)

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
        return sorted(entry.name for entry in self._scan(self._root / folder(prefix)))

    def address(self, key: str) -> str:
        """Give the absolute path of an object."""
        return str(self._path(key))

    def library_options(self) -> Mapping[str, str]:
        """Give nothing: a path says it all."""
        return {}

    def local_path(self, key: str) -> Path | None:
        """Give the absolute path of an object: it can be read where it lies."""
        return self._path(key)

    def expect(self) -> bool:
        """Take a folder that is not there for an error from now on; say whether it is there."""
        with os_errors("open", self._root):
            return self._presence.expect()

    def delete(self, key: str) -> None:
        """Remove an object, and the directories that this leaves empty."""
        path = self._path(key)
        with self._presence.changing("delete", path), self._locked(key):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the first directory that is not empty ends it
            for parent in path.parents[: key.count("/")]:
                parent.rmdir()

    def remnants(self) -> Iterator[Remnant]:
        """List the unfinished files of writers that died, and of those at work, and lost probes."""
        with os_errors("list", self._root):
            self._presence.check("list")
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
        with self._presence.changing("delete", path):
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
            for entry in self._scan(self._root / beginning)
        }
        for key, entry in sorted(found.items()):
            if key.endswith("/"):
                if key > start_after or start_after.startswith(key):
                    yield from self._walk(key, start_after)
            elif key > start_after and (stat := self._stat(entry)):
                yield _entry(key, stat)

    def _scan(self, directory: Path) -> Sequence[os.DirEntry[str]]:
        return self._presence.look("list", directory, _entries) or ()

    def _stat(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Look at a file; None where it was deleted since its directory was read."""
        try:
            return entry.stat()
        except FileNotFoundError:
            return self._presence.look("list", Path(entry.path), Path.stat)


def _conflict(path: Path, operation: str) -> StoreConflict:
    return StoreConflict(
        "the object is not what this writer last saw",
        address=str(path),
        operation=operation,
        advice="read it again before writing",
    )


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return [entry for entry in entries if not entry.name.startswith(RESERVED)]


def _entry(key: str, stat: os.stat_result) -> Entry:
    return Entry(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_etag(path: Path) -> str | None:
    with suppress(FileNotFoundError, IsADirectoryError):
        return _hash(path)
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> BinaryIO:
    return path.open("rb")
