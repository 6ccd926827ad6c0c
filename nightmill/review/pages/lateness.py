"""When a pipeline is due, until when it should be done, and how people say that.

The rules are those by which Airflow launches it (`nightmill.airflow.timetable` and `partition`): a
cron expression in the pipeline's time zone between two days, and the partition of a run is the day
that it was due on. Where a day has several times the first one counts, since all of them are for
the same partition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from statistics import median
from zoneinfo import ZoneInfo

from croniter import croniter

from nightmill.review.pages.run_lines import DONE, RunLines
from nightmill.review.words import duration
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.words import span

_USUAL_OF = 10  # runs
_SLACK = timedelta(minutes=30)
_FACTOR = 1.5
_UNKNOWN = timedelta(hours=3)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PRESETS = {
    "@hourly": "every hour",
    "@daily": "every day at 00:00",
    "@midnight": "every day at 00:00",
    "@weekly": "every Sunday at 00:00",
    "@monthly": "on day 1 of every month at 00:00",
    "@yearly": "on 1 January at 00:00",
    "@annually": "on 1 January at 00:00",
}


@dataclass(frozen=True)
class Grace:
    """How long after it was due a partition should be done, and why that long."""

    span: timedelta
    why: str

    def in_words(self) -> str:
        """Say both: 1 h 30 min after it is due (expect_by)."""
        return f"{duration(self.span.total_seconds())} after it is due ({self.why})"


def due_times(spec: PipelineSpec, days: int, now: datetime) -> Mapping[str, datetime]:
    """Tell by partition when it was or will be due, of so many days back and of today.

    Times are in the pipeline's zone. Empty for a pipeline without a schedule.
    """
    today = now.astimezone(ZoneInfo(spec.timezone)).date()
    first = max(filter(None, (spec.start, today - days * _DAY)))
    last = min(filter(None, (spec.end, today)))
    if spec.schedule is None or first > last:
        return {}
    times = _times(spec.schedule, first, last)
    return {f"{one:%Y-%m-%d}": _aware(one, spec.timezone) for one in times}


def next_due(spec: PipelineSpec, now: datetime) -> datetime | None:
    """Tell when a pipeline is due next, in its zone; None for never, or only by hand."""
    if spec.schedule is None:
        return None
    local = now.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None)
    is_ahead = spec.start is not None and spec.start > local.date()
    begin = datetime.combine(spec.start, time.min) - _SECOND if spec.start and is_ahead else local
    times = _after(spec.schedule, begin)
    found = next((one for one in times if _aware(one, spec.timezone) > now), None)
    is_over = found is None or (spec.end is not None and found.date() > spec.end)
    return None if found is None or is_over else _aware(found, spec.timezone)


def grace_of(spec: PipelineSpec, runs: Iterable[RunLines]) -> Grace:
    """Say how long a partition may take: what its author expects, else by its newest runs."""
    if spec.expect_by is not None:
        return Grace(spec.expect_by, "expect_by")
    done = (run.duration_s for run in runs if run.state in DONE)
    usual = list(islice(done, _USUAL_OF))
    if not usual:
        return Grace(_UNKNOWN, "no run has succeeded yet")
    slack = span(_SLACK.total_seconds())
    why = f"half more than the usual {duration(median(usual))}, and {slack}"
    return Grace(timedelta(seconds=_FACTOR * median(usual)) + _SLACK, why)


def schedule_in_words(spec: PipelineSpec) -> str:
    """Say when a pipeline runs, as people do: every day at 02:30, America/New_York."""
    if spec.after:
        return f"after {' and '.join(spec.after)}"
    if spec.schedule is None:
        return "by hand"
    return f"{_cron_in_words(spec.schedule)}, {spec.timezone}"


def day_in_words(partition: str) -> str:
    """Write a date partition as 1 March 2013; any other text as it is."""
    day = day_of(partition)
    return f"{day.day} {day:%B %Y}" if day else partition


def day_of(partition: str) -> date | None:
    """Read a partition that is a date; None for other text."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", partition):
        return None
    try:
        return date.fromisoformat(partition)
    except ValueError:
        return None


@lru_cache(4096)
def _times(schedule: str, first: date, last: date) -> tuple[datetime, ...]:
    """Find the first time of each day between two, both included, as a clock on the wall says."""
    found: list[datetime] = []
    cursor = datetime.combine(first, time.min) - _SECOND
    while one := next(_after(schedule, cursor), None):
        if one.date() > last:
            break
        found.append(one)
        cursor = datetime.combine(one.date() + _DAY, time.min) - _SECOND
    return tuple(found)


def _after(schedule: str, moment: datetime) -> Iterator[datetime]:
    times: Iterator[datetime] = croniter(schedule, moment).all_next(datetime)
    return times


def _aware(local: datetime, zone: str) -> datetime:
    """Give a time of the wall its zone; one that a clock skips is as much later."""
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).astimezone(ZoneInfo(zone))


def _cron_in_words(schedule: str) -> str:
    """Put the forms that most people use into words; others stay as they are."""
    if schedule in _PRESETS:
        return _PRESETS[schedule]
    minute, hour, day, month, weekday = schedule.split()
    if month != "*" or not minute.isdigit():
        return f"at {schedule}"
    if (hour, day, weekday) == ("*", "*", "*"):
        return f"every hour at minute {int(minute)}"
    days = _days_in_words(day, weekday)
    if not days or not re.fullmatch(r"[0-9]+(,[0-9]+)*", hour):
        return f"at {schedule}"
    times = [f"{int(one):02}:{int(minute):02}" for one in hour.split(",")]
    return f"{days} at {' and '.join(times)}"


def _days_in_words(day: str, weekday: str) -> str:
    if day == "*" and weekday == "*":
        return "every day"
    if day == "*" and weekday in ("1-5", "MON-FRI"):
        return "Monday to Friday"
    if day == "*" and re.fullmatch(r"[0-7]", weekday):
        return f"every {_WEEKDAYS[int(weekday)]}"
    if weekday == "*" and day.isdigit():
        return f"on day {int(day)} of every month"
    return ""
