"""Partitions as people type them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightmill.errors import SpecError, UsageError
from nightmill.spec.partition import (
    check_partition,
    date_range,
    parse_partition,
    previous_partition,
)
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml


@pytest.fixture
def pipeline(tmp_path):
    """Load a pipeline that starts and ends."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "pipeline: p\n\nstart: 2013-01-01\nend: 2013-12-31\nsteps: {s: {notebook: s.ipynb}}\n"
    )
    source = read_yaml(path)
    return Pipeline(validate(PipelineSpec, source), source)


@pytest.mark.parametrize(
    "text", ["", "today", "20130301", "2013-3-1", "2013-W09-5", " 2013-03-01",
             "2013-03-01T00:00", "\u0662\u0660\u0661\u0663-03-01"],
)  # fmt: skip
def test_bad_dates(text):
    """Only YYYY-MM-DD of a day that exists is a date: others would sort wrongly."""
    with pytest.raises(UsageError, match="is no date"):
        parse_partition(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("2013-02-30", "2013-02 has 28 days"),
        ("2012-02-30", "2012-02 has 29 days"),
        ("9999-12-32", "9999-12 has 31 days"),
        ("2013-00-01", "write the year, the month and the day, like 2013-03-01"),
        ("2013-13-01", "write the year, the month and the day, like 2013-03-01"),
        ("0000-01-01", "write the year, the month and the day, like 2013-03-01"),
    ],
)
def test_no_such_day(load_spec, text, advice):
    """A day that is written rightly and does not exist is told as such, also in pipeline.yaml."""
    with pytest.raises(UsageError, match="there is no day") as caught:
        parse_partition(text)
    assert caught.value.advice == advice
    for written in (text, f'"{text}"'):
        with pytest.raises(SpecError, match=f"there is no day `{text}`") as told:
            load_spec(f"pipeline: p\nend: {written}\nsteps: {{s: {{notebook: s.ipynb}}}}\n")
        assert told.value.advice.startswith(advice)


@pytest.mark.parametrize("text", ["eu-west", "caf\u00e9", "a/b", "2013-03-01", "x" * 128])
def test_text(text):
    """Any printable text is a text partition."""
    assert parse_partition(text, "text") == text


@pytest.mark.parametrize("text", ["", " a", "a\n", "\x1b[0m", "x" * 129, "\udcff"])
def test_bad_text(text):
    """Control characters, outer spaces, lone surrogates and endless text are refused."""
    with pytest.raises(UsageError):
        parse_partition(text, "text")


def test_bounds(pipeline):
    """The first and last day are inside; beyond, the error names the line that says so."""
    assert check_partition(pipeline, "2013-01-01") == "2013-01-01"
    assert check_partition(pipeline, "2013-12-31") == "2013-12-31"
    with pytest.raises(UsageError, match=r"before the pipeline's start 2013-01-01 .*yaml:3\)"):
        check_partition(pipeline, "2012-12-31")
    with pytest.raises(UsageError, match=r"after the pipeline's end 2013-12-31 .*yaml:4\)"):
        check_partition(pipeline, "2014-01-01")


def test_range():
    """A range includes both ends, and runs over the end of a month."""
    assert date_range("2013-02-27", "2013-03-01") == ["2013-02-27", "2013-02-28", "2013-03-01"]
    assert date_range("2013-03-01", "2013-03-01") == ["2013-03-01"]
    with pytest.raises(UsageError, match="is after --to"):
        date_range("2013-03-02", "2013-03-01")
    with pytest.raises(UsageError, match="at most 20000"):
        date_range("0001-01-01", "9999-12-31")


@given(day=st.dates(min_value=date(1, 1, 2)))
def test_previous(day):
    """The partition before is one day earlier, whatever the schedule."""
    before = date.fromisoformat(previous_partition(day.isoformat()))
    assert before == day - timedelta(days=1)
