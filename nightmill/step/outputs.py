"""Outputs: where the notebook is told to write, and what it left there.

A notebook writes below the attempt's scratch folder on the local disk; what it left is checked
against what was declared and then streamed to the store, hashed on the way. So a notebook needs no
credentials, every library can write, and nothing unfinished is ever in the store's sight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightmill.causes import Cause
from nightmill.errors import NightmillError, UsageError
from nightmill.step.transfer import Listener, Transfer
from nightmill.store.interface import Store
from nightmill.store.keys import output_key, output_prefix
from nightmill.store.pointer import CommittedFile, CommittedOutput


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
        found = _files_below(self.address) if self.address.is_dir() else []
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
        if not self.address.is_file():
            raise self._error(f"the notebook wrote no {self.declared}")
        return [self.address]

    def upload(
        self, store: Store, attempt_prefix: str, *, listener: Listener = lambda _event: None
    ) -> CommittedOutput:
        """Store the files below the attempt's own prefix and say what they are."""
        base = self.address if self.is_folder else self.folder
        found, files = self.files(), []
        size = sum(file.stat().st_size for file in found)
        transfer = Transfer("upload", self.name, of=size, listener=listener)
        for file in found:
            path = file.relative_to(base).as_posix()
            try:
                key = output_key(attempt_prefix, self.name, path)
            except UsageError as error:
                raise self._error(f"the file {path!r} {error.problem}", error.advice) from error
            stored = store.put_file(key, file, moved=transfer)
            files.append(
                CommittedFile(path=path, size=stored.size, sha256=stored.sha256, etag=stored.etag)
            )
        return CommittedOutput(
            name=self.name,
            kind="directory" if self.is_folder else "file",
            prefix=output_prefix(attempt_prefix, self.name),
            files=tuple(files),
        )

    def _error(self, problem: str, advice: str = "") -> OutputError:
        advice = advice or f"write it to the address that `{self.name}` holds"
        return OutputError(problem, where=f"output {self.name}", advice=advice)


def _is_data(file: Path) -> bool:
    """Whether a reader of the folder would read it: not _SUCCESS, .part-0.crc and the like."""
    return not file.name.startswith(("_", "."))


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
