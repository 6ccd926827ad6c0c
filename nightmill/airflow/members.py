"""Steps with members: one mapped task an Airflow member, and one more that tells when all are done.

Every mapped task would wake the pipelines that wait for the output, and the first of them too
early. So none of them has outlets; they are those of one task behind them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.definitions.mappedoperator import MappedOperator

from nightmill.airflow.assets import announce
from nightmill.airflow.steprun_operator import StepRunFields

SUFFIX = ".all_members"  # a step's own name has no dot


class AllMembersOperator(StepRunFields):
    """Tells which partition of a step's outputs is there, once all its members have committed."""

    ui_color = "#f3f0e4"

    def execute(self, context: Mapping[str, Any]) -> None:
        """Announce the outputs."""
        announce(context, self.outlets, self.make_step_run(context), {})


def map_members(
    kind: type[StepRunFields], fields: Mapping[str, Any], members: Sequence[str]
) -> MappedOperator:
    """Make the mapped tasks of a step, each shown under its member's name."""
    own = {name: value for name, value in fields.items() if name != "outlets"}
    partial = kind.partial(**own, map_index_template="{{ task.member }}")
    return partial.expand(member=list(members))


def announce_members(fields: Mapping[str, Any]) -> AllMembersOperator:
    """Make the task that tells; it stands behind the mapped ones."""
    kept = ("pipeline", "step", "store", "project", "dag", "outlets", "retries", "retry_delay")
    own = {name: fields[name] for name in kept}
    return AllMembersOperator(task_id=f"{fields['step']}{SUFFIX}", **own)
