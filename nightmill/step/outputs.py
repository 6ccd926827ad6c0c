"""Outputs: where the notebook is told to write, and what it left there.

A notebook writes below the attempt's scratch folder on the local disk; what it left is checked
against what was declared and then streamed to the store, hashed on the way. So a notebook needs no
credentials, every library can write, and nothing unfinished is ever in the store's sight.

Links to files are followed, wherever they lead: libraries keep models as links into a cache, and
what is stored is the bytes. What cannot be stored so is an error, and never left out in silence:
a link to nowhere or to a folder (in which a walk might not end), a pipe, a socket, a device, and a
folder that cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightmill.causes import Cause
from nightmill.errors import NightmillError, UsageError
from nightmill.spec.outputs import PARQUET
from nightmill.step.transfer import Listener, Transfer, move_each
from nightmill.store.interface import Store
from nightmill.store.keys import output_key, output_prefix
from nightmill.store.pointer import CommittedFile, CommittedOutput

_MAGIC = (b"PAR1", b"PARE")
_LEAST_BYTES = 12  # the magic at both ends, and the length of the footer
_SHOWN = 12


class OutputError(NightmillError):
    """The notebook ended well, but an output is not what pipeline.yaml declares."""

    cause = Cause.CHECK_FAILED


@dataclass(frozen=True)
class DeclaredOutput:
    """An output of pipeline.yaml: a file, or a folder where the declared path ends with a slash."""

    name: str
    declared: str
    folder: Path

    @property
    def is_folder(self) -> bool:
        """Whether a folder of files is declared."""
        return self.declared.endswith("/")

    @property
    def address(self) -> Path:
        """Where the notebook is told to write."""
        return self.folder / self.declared

    def prepare(self) -> None:
        """Make the folder that the notebook writes into."""
        (self.address if self.is_folder else self.folder).mkdir(parents=True, exist_ok=True)
        self.address.parent.mkdir(parents=True, exist_ok=True)

    def files(self) -> list[Path]:
        """Return what the notebook left; raises OutputError where that is not as declared."""
        found = sorted(self._files_below(self.address)) if self.address.is_dir() else []
        if self.is_folder:
            if self.address.is_file():
                raise self._error(
                    f"declared a folder ({self.declared}), found a file",
                    f"declare a file, `{self.name}: {self.declared.rstrip('/')}`, or fill a folder",
                )
            if not any(_is_data(file) for file in found):
                raise self._error(f"the notebook left the folder {self.declared} empty")
            return found
        if self.address.is_dir():
            raise self._error(
                f"declared a file ({self.declared}), found a folder of {len(found)} parts",
                f"declare a folder, `{self.name}: {self.declared}/`, or write one file",
            )
        if not os.path.lexists(self.address):
            raise self._error(f"the notebook wrote no {self.declared}")
        self._require_file(self.address)
        return [self.address]

    def require_readable(self) -> None:
        """Raise OutputError for a Parquet file by name that is none, or is cut off."""
        for file in self.files():
            if file.suffix.lower() in PARQUET and _is_data(file) and not _is_parquet(file):
                with file.open("rb") as stream:
                    begin = stream.read(_SHOWN)
                what = f"begins with {begin!r}" if begin else "is empty"
                raise self._error(
                    f"{self._path(file)!r} is no whole Parquet file ({what})",
                    "write it by `to_parquet`, close what writes it, or name it as what it is",
                )

    def upload(
        self, store: Store, attempt_prefix: str, *, listener: Listener = lambda _event: None
    ) -> CommittedOutput:
        """Store the files below the attempt's own prefix and say what they are."""
        keys = {file: self._key(attempt_prefix, file) for file in self.files()}
        sizes = {file: file.stat().st_size for file in keys}
        transfer = Transfer("upload", self.name, of=sum(sizes.values()), listener=listener)
        stored = move_each(
            lambda file: store.put_file(keys[file], file, moved=transfer),
            list(keys),
            size=sizes.__getitem__,
        )
        return CommittedOutput(
            name=self.name,
            kind="directory" if self.is_folder else "file",
            prefix=output_prefix(attempt_prefix, self.name),
            files=tuple(
                CommittedFile(
                    path=self._path(file), size=one.size, sha256=one.sha256, etag=one.etag
                )
                for file, one in zip(keys, stored, strict=True)
            ),
        )

    def _path(self, file: Path) -> str:
        """Name a file as the store does."""
        return file.relative_to(self.address if self.is_folder else self.folder).as_posix()

    def _key(self, attempt_prefix: str, file: Path) -> str:
        path = self._path(file)
        try:
            return output_key(attempt_prefix, self.name, path)
        except UsageError as error:
            raise self._error(f"the file {path!r} {error.problem}", error.advice) from error

    def _files_below(self, folder: Path) -> Iterator[Path]:
        """Find all files below a folder; raises OutputError for what is no file and no folder."""
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            what = f"the folder {self._path(folder)!r} cannot be read: {error.strerror}"
            raise self._error(what, "give its owner the right to read it") from error
        for entry in found:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._files_below(path)
            else:
                self._require_file(path)
                yield path

    def _require_file(self, path: Path) -> None:
        """Raise OutputError for what is neither a file nor a link to one."""
        if path.is_file():
            return
        what = "neither a file nor a folder (a pipe, a socket or a device) and cannot be stored"
        advice = "write a file in its place, or remove it"
        if path.is_symlink():
            why = "a folder, and is not followed" if path.is_dir() else "which is no file"
            what = f"a link to {str(path.readlink())!r}, {why}"
            advice = "copy what it shall lead to, or remove it"
        raise self._error(f"{self._path(path)!r} is {what}", advice)

    def _error(self, problem: str, advice: str = "") -> OutputError:
        advice = advice or f"write it to the address that `{self.name}` holds"
        return OutputError(problem, where=f"output {self.name}", advice=advice)


def _is_parquet(file: Path) -> bool:
    """Look at both ends: "PAR1" is there (PARE where the footer is encrypted), and a length.

    Source: https://parquet.apache.org/docs/file-format
    """
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size < _LEAST_BYTES:
            return False
        stream.seek(-8, os.SEEK_END)
        footer, end = int.from_bytes(stream.read(4), "little"), stream.read(4)
        stream.seek(0)
        return stream.read(4) == end and end in _MAGIC and footer + _LEAST_BYTES <= size


def _is_data(file: Path) -> bool:
    """Whether a reader of the folder would read it: not _SUCCESS, .part-0.crc and the like."""
    return not file.name.startswith(("_", "."))
