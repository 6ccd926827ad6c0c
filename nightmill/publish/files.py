"""A single file at its plain address: the newest commit's bytes, replaced as a whole.

The name comes from the commit. Where it has changed since, the former file goes, since a reader of
the folder would take both for data. Nothing is deleted that was not there before the pointer was
read for the last time, so no file of a newer commit is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from nightmill.errors import StoreConflict, StoreError
from nightmill.publish.target import PublishError, Replace
from nightmill.store.interface import Stat, Store, StoredFile
from nightmill.store.keys import data_partition_prefix, data_prefix
from nightmill.store.pointer import Pointer

DELTA_LOG = "_delta_log"


@dataclass(frozen=True)
class PlainFile:
    """The plain address of an output that is a file, for one partition and member."""

    store: Store
    pipeline: str
    output: str
    partition: str
    member: str = ""

    @property
    def address(self) -> str:
        """The folder of the file."""
        return self.store.address(self._prefix(self.member))

    def look(self, pointer: Pointer) -> Replace | None:
        """Compare the hash of what is published with the one that was committed."""
        source = _source(pointer, self.output)
        key = f"{self._prefix(self.member)}/{PurePosixPath(source.key).name}"
        strays = [one for one in self._listed() if one != key]
        seen = self.store.stat(key)
        is_there = seen is not None and seen.sha256 == source.sha256
        if is_there and not strays:
            return None
        return partial(self._replace, None if is_there else source, key, seen, strays=strays)

    def _replace(
        self, source: StoredFile | None, key: str, seen: Stat | None, *, strays: list[str]
    ) -> None:
        if strays:
            self._refuse_delta()
        if source is not None:
            self._copy(source, key, seen)
        for stray in strays:
            self.store.delete(stray)

    def _copy(self, source: StoredFile, key: str, seen: Stat | None) -> None:
        try:
            self.store.copy_if(key, source, etag=seen.etag if seen else None)
        except StoreConflict as error:
            if self.store.stat(key) != seen:
                raise
            raise StoreError(
                "the committed file is gone or is not what was committed",
                address=self.store.address(source.key),
                operation="publish",
                advice="run its step again, or roll back to another version",
            ) from error

    def _listed(self) -> list[str]:
        """List what a reader would take for this partition and member, or for all members."""
        prefix, own = self._prefix(""), self._prefix(self.member)
        keys = [entry.key for entry in self.store.list(prefix)]
        return [
            key for key in keys if key.startswith(f"{own}/") or "/" not in key[len(prefix) + 1 :]
        ]

    def _refuse_delta(self) -> None:
        prefix = data_prefix(self.pipeline, self.output)
        if next(iter(self.store.list(f"{prefix}/{DELTA_LOG}")), None):
            raise PublishError(
                "a Delta table is where a plain file should be",
                where=self.store.address(prefix),
                advice="keep `format: delta`, rename the output, or move the table away",
            )

    def _prefix(self, member: str) -> str:
        return data_partition_prefix(self.pipeline, self.output, self.partition, member=member)


def _source(pointer: Pointer, output: str) -> StoredFile:
    committed = pointer.outputs[output]
    if committed.kind != "file":
        raise PublishError(
            "is a folder in the version that is current, and pipeline.yaml says a file",
            where=f"output {output}",
            advice="run its step again",
        )
    (file,) = committed.files
    return StoredFile(committed.key, file.size, file.sha256, file.etag)
