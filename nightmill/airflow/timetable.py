"""When a pipeline with a schedule runs: at the times of its cron expression, from start to end.

Airflow's own `start_date` and `end_date` do more than bound a schedule: a run by hand whose logical
date (by default the present) lies outside them gets no tasks at all and is shown as a success. A
pipeline's bounds are bounds of its partitions, so they stand here and leave runs by hand alone;
`partition` refuses those that are for a day outside.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable


class BoundedCronTimetable(CronTriggerTimetable):
    """Airflow's trigger timetable between two days of its time zone, both included."""

    def __init__(
        self, cron: str, *, timezone: str, first: date | None = None, last: date | None = None
    ) -> None:
        super().__init__(cron, timezone=timezone)
        self._zone = timezone
        self._first = first
        self._last = last

    def next_dagrun_info(
        self,
        *,
        last_automated_data_interval: DataInterval | None,
        restriction: TimeRestriction,
    ) -> DagRunInfo | None:
        """Give the next run within both the bounds and what Airflow restricts it to."""
        earliest = [self._moment(self._first, time.min), restriction.earliest]
        latest = [self._moment(self._last, time.max), restriction.latest]
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval,
            restriction=TimeRestriction(
                earliest=max(filter(None, earliest), default=None),
                latest=min(filter(None, latest), default=None),
                catchup=restriction.catchup,
            ),
        )

    def _moment(self, day: date | None, at: time) -> pendulum.DateTime | None:
        if day is None:
            return None
        return pendulum.instance(datetime.combine(day, at, ZoneInfo(self._zone)))

    def serialize(self) -> dict[str, Any]:
        """Write it for Airflow's database."""
        days = {"first": self._first, "last": self._last}
        return {
            "expression": self._expression,
            "timezone": self._zone,
            **{name: day.isoformat() for name, day in days.items() if day is not None},
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BoundedCronTimetable:
        """Read what `serialize` wrote."""
        days = {name: date.fromisoformat(data[name]) for name in ("first", "last") if name in data}
        return cls(data["expression"], timezone=data["timezone"], **days)
