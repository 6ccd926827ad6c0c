"""An approval, and what follows from it: what is current now is published, as after any commit.

For everybody who lets people decide: the command line, the review pages, Airflow.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightmill.publish.publish import publish_current, warnings
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.record import Decision, Record
from nightmill.store.approval import approve
from nightmill.store.interface import Store


@dataclass(frozen=True)
class Approved:
    """The record of an attempt that a person has approved, and what could not be published."""

    record: Record
    warnings: tuple[str, ...]


def approve_and_publish(
    store: Store, prefix: str, decision: Decision, *, spec: PipelineSpec | None
) -> Approved:
    """Commit what an attempt made, as somebody has decided, and publish it.

    Only the `spec` says what is published: without it, or where a place cannot be written to, the
    warnings say how to complete it. Raises as `store.approval.approve` does.
    """
    record = approve(store, prefix, decision)
    if spec is None or record.step not in spec.steps:
        repair = f"nightmill repair {record.pipeline} --partition {record.partition}"
        return Approved(record, (f"to publish it, run `{repair}` in the project",))
    place = {"step": record.step, "partition": record.partition, "member": record.member}
    return Approved(record, warnings(publish_current(store, spec, **place), record.pipeline))
