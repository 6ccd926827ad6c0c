"""Which committed version an input means, resolved once and then pinned.

Lives with the store because the step, the local run and Airflow all ask the same question before
anything is spent on running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from nightmill.errors import InputError, StoreError
from nightmill.spec.graph import InputSource
from nightmill.spec.names import label
from nightmill.spec.partition import previous_partition
from nightmill.spec.units import iso_date
from nightmill.store.interface import Store
from nightmill.store.pointer import CommittedOutput, Pointer, latest_pointers, read_pointer

_AFTER_EVERYTHING = "\U0010ffff"  # sorts behind every partition


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


def resolve_inputs(
    store: Store, sources: Iterable[InputSource], partition: str
) -> dict[str, ResolvedInput | None]:
    """Find the committed version of every input; None for an optional one that is not there.

    Raises InputError naming the input, what was looked for, and the command that makes it.
    """
    return {source.parameter: resolve_input(store, source, partition) for source in sources}


def resolve_input(store: Store, source: InputSource, partition: str) -> ResolvedInput | None:
    """Find the committed version of one input; see `resolve_inputs`."""
    pointers = _pointers(store, source, partition)
    if not pointers:
        if source.optional:
            return None
        raise _missing(source, partition)
    for pointer in pointers.values():
        if source.output not in pointer.outputs:
            raise InputError(
                f"the step {source.step} committed no output {source.output} "
                f"for {pointer.partition}",
                where=f"input {source.parameter}",
                advice=_command(source.pipeline, pointer.partition) + " --rerun",
            )
        _check_age(source, pointer, partition)
    return ResolvedInput(
        source,
        {name: Version(found, found.outputs[source.output]) for name, found in pointers.items()},
    )


def _pointers(store: Store, source: InputSource, partition: str) -> dict[str, Pointer]:
    """Read the pointers that an input means; empty unless every member has committed."""
    where, members = (source.pipeline, source.step), source.members or ("",)
    match source.version:
        case "same_partition":
            return _whole_partition(store, source, partition)
        case "previous_partition":
            return _whole_partition(store, source, previous_partition(partition))
        case "latest_before_partition":
            return latest_pointers(
                store, *where, members=members, before=partition, inclusive=source.inclusive
            )
        case "latest":
            return latest_pointers(
                store, *where, members=members, before=_AFTER_EVERYTHING, inclusive=True
            )


def _whole_partition(store: Store, source: InputSource, partition: str) -> dict[str, Pointer]:
    found: dict[str, Pointer] = {}
    for member in source.members or ("",):
        pointer = read_pointer(store, source.pipeline, source.step, partition, member=member)
        if pointer is None:
            return {}
        found[member] = pointer
    return found


def _missing(source: InputSource, partition: str) -> InputError:
    wanted = {
        "same_partition": f"for {partition}",
        "previous_partition": "for the day before",
        "latest_before_partition": f"{'up to' if source.inclusive else 'before'} {partition}",
        "latest": "for any partition",
    }[source.version]
    day = partition
    if source.version == "previous_partition":
        day = previous_partition(partition)
    return InputError(
        f"{source.pipeline}.{source.output} was never committed {wanted}",
        where=f"input {source.parameter}",
        advice=_command(source.pipeline, day),
    )


def _check_age(source: InputSource, pointer: Pointer, partition: str) -> None:
    if source.max_age is None:
        return
    age = _day(partition) - _day(pointer.partition)
    if age > source.max_age:
        raise InputError(
            f"the newest {source.pipeline}.{source.output} is of {pointer.partition}, "
            f"{age.days} days before {partition}; at most {_days(source.max_age)} are allowed",
            where=f"input {source.parameter}",
            advice=_command(source.pipeline, partition),
        )


def _day(partition: str) -> date:
    return iso_date(partition)


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86400:g}"


def _command(pipeline: str, partition: str) -> str:
    return f"run `nightmill run {pipeline} --partition {partition}`"


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
