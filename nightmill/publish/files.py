"""A single file at its plain address: the newest commit's bytes, replaced as a whole.

The name comes from the commit. Where it has changed since, the former file goes, and so do those of
members that there are no more: a reader of the folder would take them for data. Where the current
version has no such output, nothing stays.

Nothing is deleted that was not there before the pointers were read for the last time, so no file of
a newer commit is. A file of a member that is not ours to publish may yet be replaced right then, by
somebody who knows better: so its pointer is read once more afterwards, and it is put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import PurePosixPath

from nightmill.errors import StoreConflict, StoreError
from nightmill.publish.place import Place, is_outdated, is_overruled
from nightmill.publish.target import PublishError, Replace, State, bring_up_to_date
from nightmill.store.interface import Stat, StoredFile
from nightmill.store.keys import data_partition_prefix, data_prefix
from nightmill.store.pointer import Pointer

DELTA_LOG = "_delta_log"
_MEMBER = "member="


@dataclass(frozen=True)
class _Copy:
    """The file that has to be copied, and what is in its place now."""

    source: StoredFile
    key: str
    seen: Stat | None


@dataclass(frozen=True)
class PlainFile:
    """The plain address of an output that is a file, for one partition and member."""

    place: Place
    output: str

    @property
    def address(self) -> str:
        """The folder of the file."""
        return self.place.store.address(self._prefix(self.place.member))

    def look(self, pointer: Pointer) -> Replace | State:
        """Compare the hash of what is published with the one that was committed."""
        listed, source = self._listed(), _source(pointer, self.output)
        copy = self._to_copy(source) if source else None
        key = self._key(source) if source else None
        strays = [one for one in listed.pop(self.place.own, ()) if one != key]
        state = State.CURRENT if source else State.NOTHING
        if not (copy or strays or listed):
            return state
        others = self.place.others()
        if is_overruled(pointer, others):
            return State.NOTHING
        if source is None and self.place.is_made_elsewhere(self.output):
            return State.NOTHING
        outdated = {one: keys for one, keys in listed.items() if is_outdated(one, pointer, others)}
        if not (copy or strays or outdated):
            return state
        return partial(self._replace, pointer, copy, strays=strays, outdated=outdated)

    def _to_copy(self, source: StoredFile) -> _Copy | None:
        key = self._key(source)
        seen = self.place.store.stat(key)
        is_there = seen is not None and seen.sha256 == source.sha256
        return None if is_there else _Copy(source, key, seen)

    def _replace(
        self,
        pointer: Pointer,
        copy: _Copy | None,
        *,
        strays: Sequence[str],
        outdated: Mapping[str, Sequence[str]],
    ) -> None:
        self._refuse_delta()
        if copy is not None:
            self._copy(copy)
        for key in chain(strays, *outdated.values()):
            self.place.store.delete(key)
        if outdated:
            self._put_back(pointer, outdated)

    def _copy(self, copy: _Copy) -> None:
        store = self.place.store
        try:
            store.copy_if(copy.key, copy.source, etag=copy.seen.etag if copy.seen else None)
        except StoreConflict as error:
            if store.stat(copy.key) != copy.seen:
                raise
            raise StoreError(
                "the committed file is gone or is not what was committed",
                address=store.address(copy.source.key),
                operation="publish",
                advice="run its step again, or roll back to another version",
            ) from error

    def _put_back(self, pointer: Pointer, outdated: Mapping[str, Sequence[str]]) -> None:
        """Publish for members whose newer runs have committed while their files were deleted."""
        others = self.place.others()
        for one in outdated:
            if not is_outdated(one, pointer, others):
                member = others[one].member
                members = (*self.place.members, member) if member else ()
                place = replace(self.place, member=member, members=members)
                bring_up_to_date(PlainFile(place, self.output), place.read)

    def _listed(self) -> dict[str, list[str]]:
        """List by members what a reader takes for data, without what others have to publish."""
        prefix, found = self._prefix(""), dict[str, list[str]]()
        left = self.place.declared - {self.place.own}
        for entry in self.place.store.list(prefix):
            first, slash, _rest = entry.key[len(prefix) + 1 :].partition("/")
            member = first.removeprefix(_MEMBER) if slash else ""
            if member not in left and (not slash or first.startswith(_MEMBER)):
                found.setdefault(member, []).append(entry.key)
        return found

    def _refuse_delta(self) -> None:
        prefix, store = data_prefix(self.place.pipeline, self.output), self.place.store
        if next(iter(store.list(f"{prefix}/{DELTA_LOG}")), None):
            raise PublishError(
                "a Delta table is where a plain file should be",
                where=store.address(prefix),
                advice="keep `format: delta`, rename the output, or move the table away",
            )

    def _key(self, source: StoredFile) -> str:
        return f"{self._prefix(self.place.member)}/{PurePosixPath(source.key).name}"

    def _prefix(self, member: str) -> str:
        names = (self.place.pipeline, self.output, self.place.partition)
        return data_partition_prefix(*names, member=member)


def _source(pointer: Pointer, output: str) -> StoredFile | None:
    committed = pointer.outputs.get(output)
    if committed is None:
        return None
    if committed.kind != "file":
        raise PublishError(
            "is a folder in the version that is current, and pipeline.yaml says a file",
            where=f"output {output}",
            advice="run its step again",
        )
    (file,) = committed.files
    return StoredFile(committed.key, file.size, file.sha256, file.etag)
