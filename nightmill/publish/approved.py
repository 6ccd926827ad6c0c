"""An approval, and what follows from it: what is current now is published, as after any commit.

For everybody who lets people decide: the command line, the review pages, Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightmill.publish.publish import publish_committed
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import Decision, Record
from nightmill.store.approval import approve, require_held
from nightmill.store.interface import Store


@dataclass(frozen=True)
class Approved:
    """The record of an attempt that a person has approved, and what could not be published."""

    record: Record
    warnings: tuple[str, ...]


def approve_and_publish(
    store: Store, prefixes: Sequence[str], decision: Decision, *, spec: PipelineSpec | None
) -> Iterator[Approved]:
    """Commit what attempts made, as somebody has decided, and publish it: one after the other.

    All are known to be possible before the first one is decided. Only the `spec` says what is
    published: without it, or where a place cannot be written to, the warnings say how to complete
    it. Raises as `store.approval.approve` does.
    """
    if len(prefixes) > 1:
        for prefix in prefixes:
            require_held(store, prefix)
    for prefix in prefixes:
        record = approve(store, prefix, decision)
        yield Approved(record, publish_committed(store, spec, record))
