"""Which partition a run of Airflow is for: the one place that decides, in one order.

The first of these that the run has:

====  =========================  ===================================================================
 1    `partition` of the form    a manual run's form, `conf` of the REST API or of a backfill
 2    Airflow's partition key    what a run triggered by an output of Nightmill carries (from 3.2)
 3    the asset event's extra    the same on older Airflow; of several the latest day, or last text
 4    end of the data interval   its date in the pipeline's time zone
 5    the logical date           its date in the pipeline's time zone
 6    `run_after`                when the run was due or asked for: its date in that time zone
====  =========================  ===================================================================

which comes to this for a pipeline scheduled at 02:30 in America/New_York:

==================================  =====  =========================================================
 run                                rule   partition
==================================  =====  =========================================================
 scheduled for 1 March, 02:30         4    2013-03-01: the night's run scores the day that begins
 backfill of 1 March                  4    2013-03-01, the same run
 triggered by another's output       2, 3  the partition of that output
 manual, `partition` in the form      1    as typed
 manual, logical date 2 March 03:00Z  4    2013-03-01: still the evening of the 1st in New York
 manual, no logical date              6    today in New York
==================================  =====  =========================================================

Runs follow a trigger timetable, whose interval is one moment: start, end and logical date are the
time the run was due. A timetable with real intervals would name a nightly run after the day before.
Where partitions are text, only the first three rules count: no clock knows a text. `as_of` is the
partition's day, and for text partitions the date of `run_after`; never the clock of a pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from nightmill.errors import UsageError
from nightmill.spec.partition import check_partition
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown
from nightmill.spec.validation import describe

PARTITION = "partition"


@dataclass(frozen=True)
class RunFacts:
    """What Airflow knows of a run, as plain values; every time has a zone.

    `event_partitions` are in the order of their events, the oldest first.
    """

    run_after: datetime
    logical_date: datetime | None = None
    interval_end: datetime | None = None
    partition_key: str | None = None
    event_partitions: tuple[str, ...] = ()
    conf: Mapping[str, Any] = field(default_factory=dict)


def run_facts(context: Mapping[str, Any]) -> RunFacts:
    """Read the facts from a task's context; an older Airflow lacks some of them."""
    run = context["dag_run"]
    events = list(getattr(run, "consumed_asset_events", None) or ())
    events.sort(key=_moment)
    partitions = [event.extra[PARTITION] for event in events if PARTITION in event.extra]
    return RunFacts(
        run_after=run.run_after,
        logical_date=run.logical_date,
        interval_end=run.data_interval_end,
        partition_key=getattr(run, "partition_key", None),
        event_partitions=tuple(map(str, partitions)),
        conf=run.conf or {},
    )


def decide_partition(pipeline: Pipeline, facts: RunFacts) -> str:
    """Decide by the order above; raises UsageError for none, or one outside the pipeline."""
    named = _named(pipeline, facts)
    if named is None and pipeline.spec.partition == "text":
        raise UsageError(
            f"nothing tells the partition of this run of {pipeline.name}",
            advice="give `partition` in the form, or in `conf`",
        )
    return check_partition(pipeline, named if named is not None else _day(pipeline, facts))


def decide_as_of(pipeline: Pipeline, facts: RunFacts, partition: str) -> str:
    """Give the date that the notebook takes for today."""
    if pipeline.spec.partition == "date":
        return partition
    return _local_date(pipeline, facts.run_after)


def _named(pipeline: Pipeline, facts: RunFacts) -> str | None:
    typed = facts.conf.get(PARTITION)
    if typed is not None and not isinstance(typed, str):
        raise UsageError(
            f"the partition is {describe(typed)}, not text",
            where="conf",
            advice=f'write it between quotes: {{"partition": {shown(typed)}}}',
        )
    return typed or facts.partition_key or _of_events(pipeline, facts.event_partitions)


def _of_events(pipeline: Pipeline, partitions: Sequence[str]) -> str | None:
    """Choose among what several events tell: texts have no order (v9 is not after v10)."""
    if not partitions:
        return None
    return max(partitions) if pipeline.spec.partition == "date" else partitions[-1]


def _moment(event: Any) -> datetime:
    """Say when an event was; those without a time keep their place before all others."""
    moment: datetime | None = getattr(event, "timestamp", None)
    return moment or datetime.min.replace(tzinfo=UTC)


def _day(pipeline: Pipeline, facts: RunFacts) -> str:
    moment = facts.interval_end or facts.logical_date or facts.run_after
    return _local_date(pipeline, moment)


def _local_date(pipeline: Pipeline, moment: datetime) -> str:
    return moment.astimezone(ZoneInfo(pipeline.spec.timezone)).date().isoformat()
