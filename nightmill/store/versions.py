"""The versions of an output: every attempt that stored one for a partition, current or not.

They are found by the records of the partition's runs, so a version stays addressable for as long
as its attempt is kept. Only a person looks for them: a reader takes what the pointer says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from nightmill.errors import UsageError
from nightmill.spec.names import label
from nightmill.spec.problems import shown, suggest
from nightmill.spec.record import OutputRecord, Record
from nightmill.store import history
from nightmill.store.interface import Store
from nightmill.store.keys import partition_prefix, pointer_key, pointer_key_of
from nightmill.store.pointer import Current, Token, read_current

PREVIOUS = "previous"
"""Names the newest version that was current once and is older than the one that is."""

_DIGEST_CHARACTERS = 12


@dataclass(frozen=True)
class Version:
    """An output as one attempt stored it; `is_current` is what the pointer says."""

    record: Record
    output: str
    is_current: bool

    @property
    def name(self) -> str:
        """Run and attempt, as `Versions.choose` takes them."""
        return f"{self.record.run}:{self.record.attempt}"

    @property
    def prefix(self) -> str:
        """The attempt's prefix in the store."""
        return history.prefix_of(self.record)

    @property
    def pointer_key(self) -> str:
        """The key of the pointer that makes it current."""
        return pointer_key_of(self.prefix)

    @property
    def token(self) -> Token:
        """The fencing token of the attempt."""
        return Token(order=self.record.order, attempt=self.record.attempt)

    @property
    def stored(self) -> OutputRecord:
        """What was stored: address, size, files and their hashes."""
        return self.record.outputs[self.output]

    @property
    def was_committed(self) -> bool:
        """Whether it is current, or was once."""
        return self.record.committed or self.is_current

    @property
    def rows(self) -> int | None:
        """How many rows the audit counted, if it did."""
        return self.record.rows_of(self.output)

    @property
    def digest(self) -> str:
        """The beginning of a hash of the bytes: the same for versions with the same bytes."""
        if self.stored.kind == "file" and self.stored.files:
            return self.stored.files[0].sha256[:_DIGEST_CHARACTERS]
        lines = "".join(f"{file.sha256} {file.path}\n" for file in self.stored.files)
        return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST_CHARACTERS]


@dataclass(frozen=True)
class Versions:
    """All versions for one partition and member, the newest first, and what is current of them."""

    found: tuple[Version, ...]
    current: Current

    @property
    def label(self) -> str:
        """The output together with the member, for people."""
        newest = self.found[0]
        return label(newest.output, newest.record.member)

    def choose(self, wanted: str) -> Version:
        """Return the version that is meant by `previous`, a run's name, or RUN:ATTEMPT.

        The beginning of a name will do; a run stands for its newest attempt. Raises UsageError.
        """
        return self._previous() if wanted == PREVIOUS else self._named(wanted)

    def _previous(self) -> Version:
        pointer = self.current.pointer
        if pointer is None:
            raise UsageError(f"nothing is current of {self.label}", advice="name a version")
        now = next((one.token for one in self.found if one.is_current), pointer.token)
        for one in self.found:
            if one.was_committed and one.token < now:
                return one
        raise UsageError(f"no older version of {self.label} was ever current")

    def _named(self, wanted: str) -> Version:
        ways: tuple[Callable[[Version], bool], ...] = (
            lambda one: wanted in (one.record.run, one.name),
            lambda one: one.name.startswith(wanted),
        )
        for way in ways:
            meant = [one for one in self.found if way(one)]
            if len({one.record.run for one in meant}) == 1:
                return meant[0]
        raise UsageError(
            f"{shown(wanted)} names no version of {self.label}, or several",
            advice=suggest(wanted, [one.record.run for one in self.found], noun="the runs"),
        )


def find_versions(store: Store, pipeline: str, output: str, partition: str) -> list[Versions]:
    """Find every version of an output for a partition: one `Versions` for each member.

    Attempts whose record cannot be read are left out, as are those that stored no output.

    Raises UsageError where there is none, StoreError where the store fails.
    """
    records = partition_records(store, pipeline, partition)
    having = [one for one in records if output in one.outputs]
    if not having:
        known = sorted({name for one in records for name in one.outputs})
        raise UsageError(
            f"no run of {pipeline} has stored the output {shown(output)} for {partition}",
            where=store.url,
            advice=suggest(output, known, noun="outputs there") if known else "",
        )
    newest = having[0]  # an output may have moved to another step since: then that one counts
    own = [one for one in having if one.step == newest.step]
    members = sorted({one.member for one in own})
    return [_of_member(store, output, [one for one in own if one.member == m]) for m in members]


def partition_records(store: Store, pipeline: str, partition: str) -> list[Record]:
    """Read the records of all of a partition's attempts, the newest first."""
    prefix = partition_prefix(pipeline, partition)
    runs = (history.records_below(store, f"{prefix}/{run}") for run in store.children(prefix))
    found = (one for run in runs for one in run.records)
    return sorted(found, key=lambda one: (one.order, one.attempt), reverse=True)


def _of_member(store: Store, output: str, records: list[Record]) -> Versions:
    first = records[0]
    key = pointer_key(first.pipeline, first.step, first.partition, member=first.member)
    current = read_current(store, key)
    prefix = current.pointer.attempt_prefix if current.pointer else None
    found = tuple(
        Version(record, output, history.prefix_of(record) == prefix) for record in records
    )
    return Versions(found, current)
