"""The one way to publish: for an attempt that has committed, after a rollback, and in a repair.

Nothing is noted of what was published: the places themselves tell. So a repair may be interrupted
and repeated at will, and also finds what somebody else has changed there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nightmill.errors import NightmillError
from nightmill.publish.files import PlainFile
from nightmill.publish.place import Place
from nightmill.publish.target import State, Target, bring_up_to_date, look
from nightmill.spec.pipeline import PipelineSpec
from nightmill.store.interface import Store
from nightmill.store.keys import decode, pointers_prefix
from nightmill.store.meant import other_steps
from nightmill.store.pointer import read_current

if TYPE_CHECKING:
    from nightmill.publish.delta import Table

_THREADS = 8


@dataclass(frozen=True)
class Published:
    """One output of a partition and member, and what became of it; `problem` says what failed."""

    output: str
    partition: str
    member: str
    address: str
    state: State
    problem: str = ""


class Committed(Protocol):
    """What names a partition and member of a step: its record, its pointer, or its StepRun."""

    @property
    def pipeline(self) -> str:
        """The name of the pipeline."""

    @property
    def step(self) -> str:
        """The name of the step."""

    @property
    def partition(self) -> str:
        """The day, or other key."""

    @property
    def member(self) -> str:
        """The member of the step; empty where it has none."""


class _Place(NamedTuple):
    step: str
    partition: str
    member: str


def publish_current(
    store: Store, spec: PipelineSpec, *, step: str, partition: str, member: str = ""
) -> tuple[Published, ...]:
    """Publish what is current of a step, as far as its outputs are declared so.

    Never raises for what failed: that stands in the result, and `nightmill repair` completes it.
    """
    return _Publisher(store, spec).publish(_Place(step, partition, member))


def publish_committed(
    store: Store, spec: PipelineSpec | None, committed: Committed
) -> tuple[str, ...]:
    """Publish for a step that has committed; return warnings, with what completes it.

    One of them says so where no `spec` tells what is published.
    """
    pipeline, partition = committed.pipeline, committed.partition
    if spec is None or committed.step not in spec.steps:
        return (f"to publish it, run `{repair_command(pipeline, partition)}` in the project",)
    place = {"step": committed.step, "partition": partition, "member": committed.member}
    return warnings(publish_current(store, spec, **place), pipeline)


def complete(
    store: Store, spec: PipelineSpec, committed: Iterable[Committed]
) -> Iterator[Published]:
    """Publish what earlier attempts have committed, and were killed before it was published."""
    places = [_Place(one.step, one.partition, one.member) for one in committed]
    yield from _Publisher(store, spec).publish_all(places)


def repair(
    store: Store, spec: PipelineSpec, *, partition: str | None = None, dry_run: bool = False
) -> Iterator[Published]:
    """Compare what is committed of a pipeline with what is published, and publish what is behind.

    Also what an output has of the time when another step made it. Tables are compared with the
    files that are there. Yields every output of every partition, or of one; with `dry_run` nothing
    is changed. Raises StoreError if the pointers cannot be listed.
    """
    publisher = _Publisher(store, spec, dry_run=dry_run, doubts=True)
    for step in publisher.steps:
        yield from publisher.publish_all(publisher.places(step, partition))


def repair_command(pipeline: str, partition: str) -> str:
    """Name the command that completes what was not published."""
    return f"nightmill repair {pipeline} --partition {partition}"


def warnings(found: tuple[Published, ...], pipeline: str) -> tuple[str, ...]:
    """Say for the record what could not be published, and how to complete it."""
    return tuple(
        f"{one.output} is committed, but not published: {one.problem}; "
        f"`{repair_command(pipeline, one.partition)}` completes it"
        for one in found
        if one.state is State.FAILED
    )


class _Publisher:
    """Publishes outputs of one pipeline; its tables stay open between partitions."""

    def __init__(
        self, store: Store, spec: PipelineSpec, *, dry_run: bool = False, doubts: bool = False
    ) -> None:
        self._store = store
        self._doubts = doubts
        self._spec = spec
        self._dry_run = dry_run
        self._tables: dict[str, Table] = {}
        self._one_table_at_a_time = threading.Lock()

    @property
    def steps(self) -> list[str]:
        """The steps that have something to publish."""
        return [
            name
            for name, step in self._spec.steps.items()
            if any(output.is_published for output in step.outputs.values())
        ]

    def places(self, step: str, partition: str | None) -> Iterator[_Place]:
        """List the partitions and members that may have something to publish for a step.

        Those that have committed, whichever step they have: it may have been renamed; or those of
        one partition.
        """
        if partition is not None:
            members = self._spec.steps[step].members or ("",)
            yield from (_Place(step, partition, one) for one in members)
            return
        steps = [step, *other_steps(self._store, self._spec.pipeline, step)]
        found = chain.from_iterable(map(self._committed, steps))
        yield from (_Place(step, *names) for names in dict.fromkeys(found))

    def _committed(self, step: str) -> Iterator[tuple[str, str]]:
        """List the partitions and members of a step."""
        prefix = pointers_prefix(self._spec.pipeline, step)
        for entry in self._store.list(prefix):
            inner = entry.key.removeprefix(f"{prefix}/").removesuffix(".json")
            name, _slash, member = inner.partition("/")
            pointer = read_current(self._store, entry.key).pointer if "~~" in inner else None
            if pointer is not None:  # a key shortened a long name
                yield pointer.partition, pointer.member
            else:
                yield decode(name), decode(member)

    def publish_all(self, places: Iterable[_Place]) -> Iterator[Published]:
        """Publish several at once; yields in the order of the places."""
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from chain.from_iterable(pool.map(self.publish, places))

    def publish(self, place: _Place) -> tuple[Published, ...]:
        """Publish every output of a step that is declared so and has committed.

        Nothing of a member that pipeline.yaml does not have.
        """
        step = self._spec.steps[place.step]
        if place.member not in (step.members or ("",)):
            return ()
        meant = [name for name, output in step.outputs.items() if output.is_published]
        found = (self._publish(place, name) for name in meant)
        return tuple(one for one in found if one.state is not State.NOTHING)

    def _publish(self, named: _Place, output: str) -> Published:
        members = self._spec.steps[named.step].members
        place = Place(self._store, self._spec.pipeline, *named, members)
        target = self._target(place, output)
        names = (output, place.partition, place.member, target.address)
        is_file, read = isinstance(target, PlainFile), partial(place.meant, output)
        try:
            with nullcontext() if is_file else self._one_table_at_a_time:
                state = look(target, read) if self._dry_run else bring_up_to_date(target, read)
        except NightmillError as error:
            return Published(*names, State.FAILED, " ".join(str(error).split()))
        return Published(*names, state)

    def _target(self, place: Place, output: str) -> Target:
        declared = self._spec.steps[place.step].outputs[output]
        if declared.format == "files":
            return PlainFile(place, output)
        # Only here: deltalake takes a while to import, and most outputs are plain files.
        from nightmill.publish.delta import Table  # noqa: PLC0415 - see above
        from nightmill.publish.table_partition import TablePartition  # noqa: PLC0415 - see above

        if output not in self._tables:
            names, has_members = (self._spec.pipeline, output), bool(place.members)
            table = Table(self._store, *names, declared, has_members, self._doubts)
            self._tables[output] = table
        return TablePartition(self._tables[output], place)
