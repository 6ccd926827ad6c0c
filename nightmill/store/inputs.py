"""Which committed version an input means, resolved once and then pinned.

Lives with the store because the step, the local run and Airflow all ask the same question before
anything is spent on running. Launchers ask only whether there is one (`find_lack`), and wait or
give up. The step alone resolves for good, at its start, and its record and its pointer say what was
read: a version that is committed in between is newer, and one that was there stays, so the answers
of both may differ but cannot contradict. Nothing needs to cross from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta

from nightmill.errors import InputError, NightmillError, StoreError
from nightmill.spec import words
from nightmill.spec.graph import InputSource
from nightmill.spec.held import review_line
from nightmill.spec.names import label
from nightmill.spec.partition import previous_partition
from nightmill.spec.record import Record
from nightmill.spec.units import iso_date
from nightmill.store.interface import Store
from nightmill.store.meant import has_output, meant_pointers, whole_partition
from nightmill.store.pointer import CommittedOutput, Pointer
from nightmill.store.versions import partition_records

_NAMED = 5  # members in a message


@dataclass(frozen=True)
class Version:
    """One committed, immutable version of an output."""

    pointer: Pointer
    output: CommittedOutput


@dataclass(frozen=True)
class ResolvedInput:
    """An input and what it was resolved to: a version by member, "" for a step without members."""

    source: InputSource
    versions: Mapping[str, Version]


@dataclass(frozen=True)
class Lack:
    """What a step cannot begin without yet: how long to wait for it, and what of that is left."""

    error: NightmillError
    wait: timedelta
    left: timedelta

    @property
    def message(self) -> str:
        """The failure's message, when the wait is over."""
        waited = f"waited {words.span(self.wait.total_seconds())}: " if self.wait else ""
        return words.describe(self.error.cause, f"{waited}{self.told}")

    @property
    def told(self) -> str:
        """What is wrong and what to do, on one line."""
        return " ".join(str(self.error).split())


def resolve_inputs(
    store: Store, sources: Iterable[InputSource], partition: str
) -> dict[str, ResolvedInput | None]:
    """Find the committed version of every input; None for an optional one without a usable version.

    Raises InputError naming the input, what was looked for, and the command that makes it.
    """
    return {source.parameter: resolve_input(store, source, partition) for source in sources}


def resolve_input(store: Store, source: InputSource, partition: str) -> ResolvedInput | None:
    """Find the committed version of one input; see `resolve_inputs`."""
    pointers = meant_pointers(store, source, partition)
    if not pointers:
        if source.optional:
            return None
        raise _missing(store, source, partition)
    unusable = _unusable(source, pointers, partition)
    if unusable is not None:
        if source.optional:
            return None
        raise unusable
    return ResolvedInput(
        source,
        {name: Version(found, found.outputs[source.output]) for name, found in pointers.items()},
    )


def left_out(
    store: Store,
    sources: Iterable[InputSource],
    resolved: Mapping[str, ResolvedInput | None],
    partition: str,
) -> tuple[str, ...]:
    """Say why optional inputs are None although there is a version, and which are of another step.

    A version is left out if it is too old, or if its step had no such output yet.
    """
    absent = [one for one in sources if one.optional and resolved[one.parameter] is None]
    unusable = (_unusable(one, meant_pointers(store, one, partition), partition) for one in absent)
    why = [f"{error.where} is None: {error.problem}" for error in unusable if error]
    return (*why, *filter(None, map(_of_another_step, resolved.values())))


def _of_another_step(found: ResolvedInput | None) -> str:
    """Say that an output was made under another name, or by another step, than it would be now."""
    if found is None:
        return ""
    source, pointer = found.source, next(iter(found.versions.values())).pointer
    if pointer.step == source.step:
        return ""
    day = pointer.partition
    return (
        f"input {source.parameter}: {source.pipeline}.{source.output} {day} is of the step "
        f"{pointer.step}; {source.step}, which makes it now, has not committed it for {day}"
    )


def find_lack(
    store: Store,
    sources: Sequence[InputSource],
    partition: str,
    *,
    waited: timedelta = timedelta(),
    patiently: bool = False,
) -> Lack | None:
    """Find what keeps a step from beginning that has waited so long; None if nothing does.

    Of several it is the one with the least time left; without any the step is not to begin at all.
    An optional input is waited for like any other, and then done without. Raises StoreError, unless
    asked `patiently`: then a store that is away is waited for as long as any input.
    """
    lacks: list[Lack] = []
    for source in sources:
        wait = source.wait or timedelta()
        left = max(wait - waited, timedelta())
        try:
            resolve_input(store, replace(source, optional=source.optional and not left), partition)
        except InputError as error:
            if not left:  # only once: it reads the records of a partition
                _name_review(store, source, partition, error)
            lacks.append(Lack(error, wait, left))
        except StoreError as error:
            if not patiently:
                raise
            longest = max(one.wait or timedelta() for one in sources)
            return Lack(error, longest, max(longest - waited, timedelta()))
    return min(lacks, key=lambda lack: lack.left, default=None)


def _name_review(store: Store, source: InputSource, partition: str, error: InputError) -> None:
    """Name the decision that an input waits for: a run of its step would only be held again."""
    is_before = source.version == "previous_partition"
    day = previous_partition(partition) if is_before else partition
    newest: dict[str, Record] = {}
    for record in partition_records(store, source.pipeline, day):
        if record.step == source.step:
            newest.setdefault(record.member, record)
    held = next((one for one in newest.values() if one.is_held), None)
    if held is not None:
        error.advice = f"{held.partition} is {review_line(held)}"


def _missing(store: Store, source: InputSource, partition: str) -> InputError:
    day = partition
    if source.version == "previous_partition":
        day = previous_partition(partition)
    wanted = {
        "same_partition": f"for {partition}",
        "previous_partition": f"for {day}, the day before",
        "latest_before_partition": f"{'up to' if source.inclusive else 'before'} {partition}",
        "latest": "for any partition",
    }[source.version]
    return InputError(
        f"{source.pipeline}.{source.output} was never committed {wanted}"
        f"{_by_members(store, source, day)}{_instead(store, source, partition)}",
        where=f"input {source.parameter}",
        advice=_command(source.pipeline, day),
    )


def _by_members(store: Store, source: InputSource, partition: str) -> str:
    """Say which members an input still lacks."""
    if not source.members:
        return ""
    if source.version not in ("same_partition", "previous_partition"):
        return f" by all {len(source.members)} members"
    lacking = [one for one in source.members if not whole_partition(store, source, partition, one)]
    names = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
    return f" by {len(lacking)} of {len(source.members)} members ({names})"


def _instead(store: Store, source: InputSource, partition: str) -> str:
    """Say what the newest is, where partitions are days; it may be of a later day."""
    found = meant_pointers(store, replace(source, version="latest"), partition)
    if not has_output(found, source):
        return "; no partition has it"
    newest = next(iter(found.values()))
    with suppress(ValueError):
        return f"; the newest is of {newest.partition}, {_distance(newest.partition, partition)}"
    return ""


def _unusable(
    source: InputSource, pointers: Mapping[str, Pointer], partition: str
) -> InputError | None:
    """Say what is wrong with what is committed, if anything is."""
    for pointer in pointers.values():
        if source.output not in pointer.outputs:
            return InputError(
                f"the step {source.step} committed no output {source.output} "
                f"for {pointer.partition}",
                where=f"input {source.parameter}",
                advice=_command(
                    source.pipeline, pointer.partition, f" --step {source.step} --rerun"
                ),
            )
        if source.max_age is None:
            continue
        if _day(partition) - _day(pointer.partition) > source.max_age:
            return InputError(
                f"the newest {source.pipeline}.{source.output} is of {pointer.partition}, "
                f"{_distance(pointer.partition, partition)} {partition}; "
                f"at most {_days(source.max_age)} are allowed",
                where=f"input {source.parameter}",
                advice=_command(source.pipeline, partition),
            )
    return None


def _day(partition: str) -> date:
    return iso_date(partition)


def _distance(found: str, wanted: str) -> str:
    days = (_day(found) - _day(wanted)).days
    if not days:
        return "the same day"
    return f"{abs(days)} day{'' if abs(days) == 1 else 's'} {'after' if days > 0 else 'before'}"


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86400:g}"


def _command(pipeline: str, partition: str, options: str = "") -> str:
    return f"run `nightmill run {pipeline} --partition {partition}{options}`"


def check_sha256(found: str, wanted: str, address: str) -> None:
    """Raise StoreError when committed bytes are no longer what was committed."""
    if found != wanted:
        raise StoreError(
            "the bytes are not the ones that were committed (their SHA-256 differs)",
            address=address,
            operation="read",
            advice="restore the object, or run its partition again with --rerun",
        )


def version_notes(resolved: Mapping[str, ResolvedInput | None]) -> dict[str, str]:
    """Return a line an input for the pointer: what was read, or "none"."""
    notes: dict[str, str] = {}
    for name, found in resolved.items():
        for member, version in found.versions.items() if found else ():
            key = label(name, member)
            notes[key] = f"{version.pointer.attempt_prefix}#{version.output.name}"
        if found is None:
            notes[name] = "none"
    return notes
