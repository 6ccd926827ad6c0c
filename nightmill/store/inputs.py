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
from nightmill.spec.partition import previous_partition
from nightmill.spec.units import iso_date
from nightmill.store.interface import Store
from nightmill.store.pointer import CommittedOutput, Pointer, latest_pointer, read_pointer

_AFTER_EVERYTHING = "\U0010ffff"  # sorts behind every partition


@dataclass(frozen=True)
class ResolvedInput:
    """An input and the immutable version it was resolved to."""

    source: InputSource
    pointer: Pointer
    output: CommittedOutput


def resolve_inputs(
    store: Store, sources: Iterable[InputSource], partition: str
) -> dict[str, ResolvedInput | None]:
    """Find the committed version of every input; None for an optional one that is not there.

    Raises InputError naming the input, what was looked for, and the command that makes it.
    """
    return {source.parameter: resolve_input(store, source, partition) for source in sources}


def resolve_input(store: Store, source: InputSource, partition: str) -> ResolvedInput | None:
    """Find the committed version of one input; see `resolve_inputs`."""
    pointer = _pointer(store, source, partition)
    if pointer is None:
        if source.optional:
            return None
        raise _missing(source, partition)
    if source.output not in pointer.outputs:
        raise InputError(
            f"the step {source.step} committed no output {source.output} for {pointer.partition}",
            where=f"input {source.parameter}",
            advice=_command(source.pipeline, pointer.partition) + " --rerun",
        )
    _check_age(source, pointer, partition)
    return ResolvedInput(source, pointer, pointer.outputs[source.output])


def _pointer(store: Store, source: InputSource, partition: str) -> Pointer | None:
    where = (source.pipeline, source.step)
    match source.version:
        case "same_partition":
            return read_pointer(store, *where, partition)
        case "previous_partition":
            return read_pointer(store, *where, previous_partition(partition))
        case "latest_before_partition":
            return latest_pointer(store, *where, before=partition, inclusive=source.inclusive)
        case "latest":
            return latest_pointer(store, *where, before=_AFTER_EVERYTHING, inclusive=True)


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


def versions(resolved: Mapping[str, ResolvedInput | None]) -> dict[str, str]:
    """Return a line an input for the pointer: what was read, or "none"."""
    return {
        name: f"{found.pointer.attempt_prefix}#{found.source.output}" if found else "none"
        for name, found in resolved.items()
    }
