"""Figures as readers of the pages take them in."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.review import words

WHEN = datetime(2013, 3, 10, 7, 5, tzinfo=UTC)  # an hour after New York's clocks were put forward


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.004, "4 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (0.42, "420 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7630, "2 h 07 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (273_700, "3 d 4 h"),
    ],
)
def test_a_span(seconds, text):
    """Two units at most, whichever tell most; rounding never gives sixty of anything."""
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "True"),
        ("as it is", "as it is"),
        (0, "0"),
        (1234567, "1,234,567"),
        (-1234, "-1,234"),
        (0.5, "0.5000"),
        (0.0, "0.0000"),
        (1.23456, "1.235"),
        (-12.3456, "-12.35"),
        (12345.678, "12,346"),
        (0.00123456, "0.001235"),
        (0.00001, "1.000e-05"),
        (1e12, "1.000e+12"),
        (10**21 - 1, "999,999,999,999,999,999,999"),
        (10**21, "1.000e+21"),
        (-(2**1000), "-1.072e+301"),
        (10**400, "1.000e+400"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_a_figure(value, text):
    """Four digits of it at least, and none of a count is lost."""
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("zone", "day", "clock"),
    [
        ("UTC", "10 Mar 2013, 07:05 UTC", "07:05"),
        ("America/New_York", "10 Mar 2013, 03:05 EDT", "03:05"),
        ("Asia/Kathmandu", "10 Mar 2013, 12:50 UTC+05:45", "12:50"),
        ("America/Sao_Paulo", "10 Mar 2013, 04:05 UTC-03:00", "04:05"),
    ],
)
def test_a_time_in_its_zone(zone, day, clock):
    """The zone is named, by what people call it or by its offset."""
    assert words.moment(WHEN, zone) == day
    assert words.clock(WHEN, zone) == clock


def test_no_time():
    """What has not happened has no time."""
    assert (words.moment(None), words.clock(None), words.since(None)) == ("", "", "")


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=0.2), "just now"),
        (timedelta(seconds=20.1), "20 s ago"),
        (timedelta(minutes=4, seconds=5.2), "4 min 05 s ago"),
        (timedelta(hours=3, minutes=10, seconds=1), "3 h 10 min ago"),
        (timedelta(days=-1), "just now"),  # another machine's clock
    ],
)
def test_how_long_ago(ago, text):
    """It is told from now, in whole seconds."""
    assert words.since(datetime.now(UTC) - ago) == text


def test_amounts_and_counts():
    """Bytes have binary units, and one of something is no plural."""
    assert words.amount(None) == ""
    assert words.amount(3 << 20) == "3.0 MiB"
    assert words.counted(1, "run") == "1 run"
    assert words.counted(0, "run") == "0 runs"
    assert words.counted(1200, "entry", "entries") == "1,200 entries"
