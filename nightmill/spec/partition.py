"""Partitions as people type them: checked against their kind and the pipeline's bounds."""

from __future__ import annotations

from datetime import date, timedelta

from nightmill.errors import UsageError
from nightmill.spec.pipeline import PartitionKind
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import shown
from nightmill.spec.units import iso_date, no_date

MAX_LENGTH = 128
MAX_RANGE = 20_000  # days; more than fifty years of nights is a slip of the keyboard


def parse_partition(text: str, kind: PartitionKind = "date") -> str:
    """Check the text of a partition; raises UsageError."""
    if kind == "date":
        return _day(text).isoformat()
    if not text or text != text.strip() or not text.isprintable():
        raise UsageError(
            f"{shown(text)} is no partition",
            advice="use printable text without spaces at its ends",
        )
    if len(text) > MAX_LENGTH:
        raise UsageError(
            f"the partition {shown(text)} has {len(text)} characters, at most {MAX_LENGTH}"
        )
    return text


def check_partition(pipeline: Pipeline, text: str) -> str:
    """Check a partition against its pipeline's kind, start and end; raises UsageError."""
    kind = pipeline.spec.partition
    partition = parse_partition(text, kind)
    if kind == "date":
        day = date.fromisoformat(partition)
        start, end = pipeline.spec.start, pipeline.spec.end
        if start and day < start:
            raise _outside(pipeline, f"{day} is before the pipeline's start {start}", "start")
        if end and day > end:
            raise _outside(pipeline, f"{day} is after the pipeline's end {end}", "end")
    return partition


def date_range(first: str, last: str) -> list[str]:
    """List the days from the first to the last, both included; raises UsageError."""
    start, end = _day(first), _day(last)
    days = (end - start).days + 1
    if days < 1:
        raise UsageError(f"--from {start} is after --to {end}", advice="swap them")
    if days > MAX_RANGE:
        raise UsageError(f"{days} days from {start} to {end}, at most {MAX_RANGE}")
    return [(start + timedelta(days=n)).isoformat() for n in range(days)]


def previous_partition(partition: str) -> str:
    """Give the date partition before: one day earlier, whatever the schedule."""
    return (_day(partition) - timedelta(days=1)).isoformat()


def _day(text: str) -> date:
    try:
        return iso_date(text)
    except ValueError:
        fault = no_date(text)
        raise UsageError(fault.problem, advice=fault.advice) from None


def _outside(pipeline: Pipeline, problem: str, key: str) -> UsageError:
    return UsageError(
        f"{problem} ({pipeline.file}:{pipeline.source.line((key,))})",
        advice=f"choose another day, or change `{key}` there",
    )
