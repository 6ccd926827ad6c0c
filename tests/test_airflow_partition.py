"""Which partition a run is for: the documented order, each row of its table, and its refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from nightmill.airflow.partition import RunFacts, decide_as_of, decide_partition, run_facts
from nightmill.errors import UsageError
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml

NIGHTLY = """\
pipeline: nightly
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-02-01
end: 2013-12-31
steps: {s: {notebook: s.ipynb}}
"""
BY_REGION = "pipeline: regions\npartition: text\nsteps: {s: {notebook: s.ipynb}}\n"

NIGHT = datetime(2013, 3, 1, 7, 30, tzinfo=UTC)  # 02:30 in New York
LATER = datetime(2013, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def load(tmp_path):
    """Read the text of a pipeline.yaml."""

    def _load(text: str) -> Pipeline:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text, encoding="utf-8")
        source = read_yaml(path)
        return Pipeline(validate(PipelineSpec, source), source)

    return _load


FACTS = {
    "scheduled": ({"logical_date": NIGHT, "interval_end": NIGHT, "run_after": NIGHT}, "2013-03-01"),
    "backfill": ({"logical_date": NIGHT, "interval_end": NIGHT, "run_after": LATER}, "2013-03-01"),
    "triggered": ({"run_after": LATER, "partition_key": "2013-04-05"}, "2013-04-05"),
    "triggered, older Airflow": (
        {"run_after": LATER, "event_partitions": ("2013-04-04", "2013-04-06", "2013-04-05")},
        "2013-04-06",
    ),
    "form": ({"run_after": LATER, "conf": {"partition": "2013-05-05"}}, "2013-05-05"),
    "form above all": (
        {
            "run_after": LATER,
            "logical_date": NIGHT,
            "interval_end": NIGHT,
            "partition_key": "2013-04-05",
            "event_partitions": ("2013-04-06",),
            "conf": {"partition": "2013-05-05"},
        },
        "2013-05-05",
    ),
    "key above event": (
        {"run_after": LATER, "partition_key": "2013-04-05", "event_partitions": ("2013-04-06",)},
        "2013-04-05",
    ),
    "event above interval": (
        {"run_after": LATER, "interval_end": NIGHT, "event_partitions": ("2013-04-06",)},
        "2013-04-06",
    ),
    "empty form": (
        {"run_after": LATER, "interval_end": NIGHT, "conf": {"partition": None}},
        "2013-03-01",
    ),
    "cleared form": (
        {"run_after": LATER, "interval_end": NIGHT, "conf": {"partition": ""}},
        "2013-03-01",
    ),
    "evening before": (
        {"run_after": LATER, "interval_end": datetime(2013, 3, 2, 3, tzinfo=UTC)},
        "2013-03-01",
    ),
    "logical date alone": ({"run_after": LATER, "logical_date": NIGHT}, "2013-03-01"),
    "no logical date": ({"run_after": LATER}, "2013-06-01"),
    "no logical date, evening": (
        {"run_after": datetime(2013, 6, 2, 3, 59, tzinfo=UTC)},
        "2013-06-01",
    ),
}


@pytest.mark.parametrize(("facts", "partition"), FACTS.values(), ids=FACTS)
def test_order(load, facts, partition):
    """The partition follows from the first thing that the run has."""
    pipeline = load(NIGHTLY)
    found = decide_partition(pipeline, RunFacts(**facts))
    assert found == partition
    assert decide_as_of(pipeline, RunFacts(**facts), found) == partition


REFUSED = {
    "before the start": ({"conf": {"partition": "2013-01-31"}}, "before the pipeline's start"),
    "after the end": ({"conf": {"partition": "2014-01-01"}}, "after the pipeline's end"),
    "no date": ({"conf": {"partition": "1 March"}}, "is no date"),
    "a number": ({"conf": {"partition": 20130301}}, "the number `20130301`, not text"),
    "a strange key": ({"partition_key": "us-east"}, "is no date"),
}


@pytest.mark.parametrize(("facts", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(load, facts, words):
    """A partition that the pipeline cannot have is an error, never another partition."""
    with pytest.raises(UsageError, match=words):
        decide_partition(load(NIGHTLY), RunFacts(run_after=LATER, **facts))


def test_text_partitions(load):
    """Only somebody can name a text partition, and today is the day the run was asked for."""
    pipeline = load(BY_REGION)
    facts = RunFacts(run_after=LATER, interval_end=NIGHT, conf={"partition": "north"})
    assert decide_partition(pipeline, facts) == "north"
    assert decide_as_of(pipeline, facts, "north") == "2013-06-01"
    with pytest.raises(UsageError, match="nothing tells the partition") as caught:
        decide_partition(pipeline, RunFacts(run_after=LATER, interval_end=NIGHT))
    assert "conf" in caught.value.advice


def test_texts_have_no_order(load):
    """Of several events about text partitions the last one counts: v10 came after v9."""
    pipeline = load("pipeline: p\npartition: text\nsteps: {s: {notebook: s.ipynb}}\n")
    events = [
        SimpleNamespace(extra={"partition": text}, timestamp=LATER + timedelta(minutes=minutes))
        for text, minutes in (("v10", 10), ("v9", 9), ("v8", 8))
    ]
    run = SimpleNamespace(
        run_after=LATER,
        logical_date=None,
        data_interval_end=None,
        consumed_asset_events=events,
        conf=None,
    )
    facts = run_facts({"dag_run": run})
    assert facts.event_partitions == ("v8", "v9", "v10")
    assert decide_partition(pipeline, facts) == "v10"


def test_facts_of_a_context():
    """The facts are read from a task's context; other people's events are passed over."""
    run = SimpleNamespace(
        run_after=LATER,
        logical_date=None,
        data_interval_end=None,
        partition_key=None,
        consumed_asset_events=[
            SimpleNamespace(extra={"partition": "2013-04-05"}),
            SimpleNamespace(extra={"rows": 3}),
        ],
        conf={"a": 1},
    )
    facts = run_facts({"dag_run": run})
    assert facts == RunFacts(run_after=LATER, event_partitions=("2013-04-05",), conf={"a": 1})


def test_facts_of_an_older_airflow():
    """What an older Airflow does not know is as if it were empty."""
    run = SimpleNamespace(run_after=LATER, logical_date=NIGHT, data_interval_end=NIGHT, conf=None)
    facts = run_facts({"dag_run": run})
    assert facts == RunFacts(run_after=LATER, logical_date=NIGHT, interval_end=NIGHT)
