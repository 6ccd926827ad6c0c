"""When a scheduled pipeline runs: each night once, within its bounds, when clocks change too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import TimeRestriction

from nightmill.airflow.timetable import BoundedCronTimetable

NEW_YORK = "America/New_York"


def nightly(first=date(2013, 2, 1), last=date(2013, 12, 31), cron="30 2 * * *"):
    """Make the timetable of a pipeline."""
    return BoundedCronTimetable(cron, timezone=NEW_YORK, first=first, last=last)


def nights(timetable, *, earliest=None, latest=None, count=400):
    """List the moments of the runs that Airflow would catch up on, at most `count`."""
    found, interval = [], None
    restriction = TimeRestriction(earliest=earliest, latest=latest, catchup=True)
    while len(found) < count:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=interval, restriction=restriction
        )
        if info is None:
            break
        interval = info.data_interval
        assert interval.start == interval.end == info.run_after
        found.append(info.run_after)
    return found


def test_every_night_once():
    """A year has a run for each local day from start to end, both included, and no other."""
    moments = nights(nightly())
    days = [moment.astimezone(ZoneInfo(NEW_YORK)).date() for moment in moments]
    assert days == [date(2013, 2, 1) + timedelta(days=n) for n in range(334)]
    assert all(before < after for before, after in pairwise(moments))


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *", "30 1 * * *", "59 23 * * *"])
def test_when_the_clocks_change(cron):
    """A time that does not exist, or exists twice, gives one run for its day."""
    for first, last in ((date(2013, 3, 8), date(2013, 3, 12)), (date(2013, 11, 1),) * 2):
        moments = nights(nightly(first, max(last, first + timedelta(days=4)), cron))
        days = [moment.astimezone(ZoneInfo(NEW_YORK)).date() for moment in moments]
        assert days == [first + timedelta(days=n) for n in range(5)]


def test_within_what_airflow_asks_for():
    """A backfill's range and the pipeline's bounds both count."""
    moments = nights(
        nightly(first=date(2013, 3, 10)),
        earliest=pendulum.datetime(2013, 3, 1),
        latest=pendulum.datetime(2013, 3, 13),
    )
    assert [moment.isoformat() for moment in moments] == [
        "2013-03-10T07:30:00+00:00",  # 02:30 does not exist that night: it is 03:30 there
        "2013-03-11T06:30:00+00:00",
        "2013-03-12T06:30:00+00:00",
    ]


def test_ended():
    """A pipeline whose end has passed is due no more; without catch-up nothing is made up for."""
    restriction = TimeRestriction(earliest=None, latest=None, catchup=False)
    ended = nightly().next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert ended is None
    open_ended = nightly(last=None).next_dagrun_info(
        last_automated_data_interval=None, restriction=restriction
    )
    assert open_ended.run_after > datetime.now(UTC) - timedelta(days=1, minutes=1)


@pytest.mark.parametrize("last", [None, date(2013, 12, 31)])
def test_survives_the_database(last):
    """Airflow's scheduler gets the timetable back as it was, through the plugin."""
    written = encode_timetable(nightly(last=last))
    read = decode_timetable(written)
    assert isinstance(read, BoundedCronTimetable)
    assert read.serialize() == nightly(last=last).serialize()
    assert nights(read, count=3) == nights(nightly(last=last), count=3)
