"""When pipelines are due and late, each expected time worked out by hand."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nightmill.causes import Cause
from nightmill.review.pages.lateness import (
    day_in_words,
    due_times,
    grace_of,
    next_due,
    schedule_in_words,
)
from nightmill.review.pages.run_lines import RunLines
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.summary import Standing
from nightmill.store.index_line import Line

NEW_YORK = ZoneInfo("America/New_York")
ROME = ZoneInfo("Europe/Rome")
STEPS = {"s": {"notebook": "s.ipynb"}}


def spec(**keys):
    """Make a pipeline with these keys, nightly at 02:30 in New York unless they say otherwise."""
    usual = {"schedule": "30 2 * * *", "timezone": "America/New_York", "start": "2013-01-01"}
    return PipelineSpec.model_validate({"pipeline": "p", "steps": STEPS, **usual, **keys})


def run(seconds, standing=Standing.SUCCEEDED, cause=None):
    """Make a run of one attempt that took so long."""
    ended = datetime(2013, 3, 1, 8, tzinfo=UTC)
    names = {"pipeline": "p", "partition": "2013-03-01", "run": "r", "step": "s", "member": ""}
    return RunLines(
        (
            Line(
                key="index/p/1.json",
                prefix="runs/p/2013-03-01/r/s/1",
                **names,
                order=1,
                attempt=1,
                standing=standing,
                cause=cause,
                started_at=ended - timedelta(seconds=seconds),
                ended_at=ended,
                duration_s=seconds,
            ),
        )
    )


def test_due_times_by_partition():
    """A night is due at its time on the wall of the pipeline's zone, today's included."""
    # 04:00 UTC on the 2nd is still the 1st in New York.
    found = due_times(spec(), 2, datetime(2013, 3, 2, 4, tzinfo=UTC))
    assert found == {
        "2013-02-27": datetime(2013, 2, 27, 7, 30, tzinfo=UTC),
        "2013-02-28": datetime(2013, 2, 28, 7, 30, tzinfo=UTC),
        "2013-03-01": datetime(2013, 3, 1, 7, 30, tzinfo=UTC),
    }
    assert {one.tzinfo for one in found.values()} == {NEW_YORK}


@pytest.mark.parametrize(
    ("keys", "day", "expected"),
    [
        # On 10 March 2013 clocks went from 02:00 to 03:00: there was no 02:30.
        ({}, "2013-03-10", "2013-03-10T03:30:00-04:00"),
        # On 3 November 02:30 came once, 01:30 twice; the first one counts.
        ({}, "2013-11-03", "2013-11-03T02:30:00-05:00"),
        ({"schedule": "30 1 * * *"}, "2013-11-03", "2013-11-03T01:30:00-04:00"),
        ({"schedule": "@daily", "timezone": "UTC"}, "2013-03-01", "2013-03-01T00:00:00+00:00"),
        ({"schedule": "15 */6 * * *"}, "2013-03-01", "2013-03-01T00:15:00-05:00"),
        ({"schedule": "0 5 * * 1"}, "2013-03-04", "2013-03-04T05:00:00-05:00"),
        ({"schedule": "0 5 * * 1"}, "2013-03-05", None),
        ({"end": "2013-02-28"}, "2013-03-01", None),
        ({"start": "2013-03-02"}, "2013-03-01", None),
        ({"schedule": None, "start": None}, "2013-03-01", None),
    ],
)
def test_due_time_of_a_day(keys, day, expected):
    """The first time of a day counts, between start and end, also where clocks change."""
    noon = datetime.fromisoformat(f"{day}T17:00:00+00:00")
    found = due_times(spec(**keys), 1, noon).get(day)
    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize(
    ("keys", "now", "expected"),
    [
        ({}, "2013-03-01T07:29:00+00:00", "2013-03-01T02:30:00-05:00"),
        ({}, "2013-03-01T07:30:00+00:00", "2013-03-02T02:30:00-05:00"),
        ({"start": "2013-06-01"}, "2013-03-01T07:30:00+00:00", "2013-06-01T02:30:00-04:00"),
        ({"start": "2013-06-01", "schedule": "@daily"}, "2013-03-01T00:00:00+00:00",
         "2013-06-01T00:00:00-04:00"),
        ({"end": "2013-03-01"}, "2013-03-01T07:30:00+00:00", None),
        ({"schedule": None}, "2013-03-01T07:30:00+00:00", None),
    ],
)  # fmt: skip
def test_next_due(keys, now, expected):
    """The next time lies after now and within the pipeline's days; by hand there is none."""
    found = next_due(spec(**keys), datetime.fromisoformat(now))
    assert (found and found.isoformat()) == expected


def test_grace_is_what_the_author_expects():
    """`expect_by` counts from the due time, whatever runs have taken."""
    grace = grace_of(spec(expect_by="3h"), [run(60)])
    assert (grace.span, grace.why) == (timedelta(hours=3), "expect_by")
    assert grace.in_words() == "3 h 00 min after it is due (expect_by)"


def test_grace_by_the_newest_runs():
    """Else it is half more than the median of those that succeeded, and half an hour."""
    failed = run(9000, Standing.FAILED, Cause.OUT_OF_MEMORY)
    runs = [failed, run(600), run(800), run(700), *[run(700)] * 7, *[run(9000)] * 40]
    grace = grace_of(spec(), runs)
    assert grace.span == timedelta(seconds=1.5 * 700 + 1800)
    assert grace.why == "half more than the usual 11 min 40 s, and 30 min"


def test_grace_without_a_good_run():
    """What has never succeeded gets three hours, and says why."""
    grace = grace_of(spec(), [run(10, Standing.FAILED, Cause.STORE)])
    assert (grace.span, grace.why) == (timedelta(hours=3), "no run has succeeded yet")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "every day at 02:30, America/New_York"),
        ({"schedule": "0 6,18 * * *"}, "every day at 06:00 and 18:00, America/New_York"),
        ({"schedule": "5 4 * * 0"}, "every Sunday at 04:05, America/New_York"),
        ({"schedule": "5 4 * * 7"}, "every Sunday at 04:05, America/New_York"),
        ({"schedule": "0 6 * * 1-5"}, "Monday to Friday at 06:00, America/New_York"),
        ({"schedule": "0 6 1 * *"}, "on day 1 of every month at 06:00, America/New_York"),
        ({"schedule": "15 * * * *"}, "every hour at minute 15, America/New_York"),
        ({"schedule": "@weekly"}, "every Sunday at 00:00, America/New_York"),
        ({"schedule": "*/5 2 * 3 *"}, "at */5 2 * 3 *, America/New_York"),
        ({"schedule": None, "after": ["q.scores", "r.model"]}, "after q.scores and r.model"),
        ({"schedule": None}, "by hand"),
    ],
)
def test_schedule_in_words(keys, words):
    """The usual schedules are told in words, with the zone; the others as they are written."""
    assert schedule_in_words(spec(**keys)) == words


@pytest.mark.parametrize(
    ("partition", "words"),
    [("2013-03-01", "1 March 2013"), ("2013-02-30", "2013-02-30"), ("20130301", "20130301"),
     ("north/east", "north/east")],
)  # fmt: skip
def test_day_in_words(partition, words):
    """Days are read out as days; any other partition as it is."""
    assert day_in_words(partition) == words
