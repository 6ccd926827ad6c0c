"""What all operators share: the StepRun a try makes, and what it reports of the result."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import Asset

from nightmill.airflow.assets import output_asset
from nightmill.airflow.steprun_operator import (
    HOPELESS,
    StepRunFields,
    result_of_exit_code,
    run_order,
)
from nightmill.causes import Cause

BEGUN = datetime(2013, 3, 2, 8, 0, 0, 123456, tzinfo=UTC)
NIGHT = datetime(2013, 3, 1, 7, 30, tzinfo=UTC)
YAML = """\
pipeline: p
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-02-01
steps:
  one: {notebook: one.ipynb, outputs: {made: made.txt}}
  two: {notebook: two.ipynb, inputs: [made]}
"""


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project of one pipeline."""
    made = make_project("fields")
    made.pipeline(
        "p",
        "",
        one=[("made: str = ''\ncut: float = 0.5\nday: str = ''", "parameters")],
        two=[("made: str = ''\nseed: int = 1", "parameters")],
    )
    made.write("notebooks/p/pipeline.yaml", YAML)
    return made


@pytest.fixture
def operator(files):
    """Return a function that makes an operator, without an Airflow around it."""

    def make(step: str = "one", **fields) -> StepRunFields:
        return StepRunFields(
            task_id=step,
            pipeline=fields.pop("pipeline", "p"),
            step=step,
            store="s3://bucket/prefix",
            project=str(files.root),
            **fields,
        )

    return make


def context(**changes):
    """Make a task's context, as far as anything of it is used."""
    pushed = {}
    run = {
        "run_id": "scheduled__2013-03-01T07:30:00+00:00",
        "start_date": BEGUN,
        "run_after": NIGHT,
        "logical_date": NIGHT,
        "data_interval_end": NIGHT,
        "conf": {},
    } | changes
    return {
        "dag_run": SimpleNamespace(**run),
        "ti": SimpleNamespace(try_number=3, xcom_push=pushed.__setitem__),
        "pushed": pushed,
        "outlet_events": Events(),
    }


class Event:
    """An event as Airflow 3.2 has it."""

    def __init__(self):
        self.extra = None
        self.partitions = []

    def add_partitions(self, key):
        """Note a key."""
        self.partitions.append(key)


class Events(dict):
    """Makes an event for each asset asked for."""

    def __missing__(self, asset):
        self[asset] = Event()
        return self[asset]


def test_step_run(operator):
    """A try's StepRun says all that a step must know, and passes what somebody changed."""
    run = operator().make_step_run(context(conf={"cut": 0.7, "day": "", "seed": 5}))
    assert run.model_dump() == {
        "pipeline": "p",
        "step": "one",
        "partition": "2013-03-01",
        "as_of": "2013-03-01",
        "run": "scheduled__2013-03-01T07:30:00+00:00.1362211200123456",
        "order": 1362211200123456,
        "attempt": 3,
        "member": "",
        "store": "s3://bucket/prefix",
        "parameters": {"cut": 0.7},
    }


def test_member(operator):
    """A mapped task says which member it is for."""
    assert operator(member="north").make_step_run(context()).member == "north"


def test_given_wins(operator):
    """What an operator is given by its DAG stands above the form, and is checked as well."""
    made = operator(given={"cut": 0.9}).make_step_run(context(conf={"cut": 0.7}))
    assert made.parameters == {"cut": 0.9}
    with pytest.raises(AirflowFailException, match=r"one\.ipynb.*wanted float"):
        operator(given={"cut": "much"}).make_step_run(context())


HOPELESS_RUNS = {
    "unknown": ({"conf": {"cutt": 1}}, {}, "bad_parameters: conf: unknown parameter `cutt`"),
    "ill-typed": ({"conf": {"cut": "x"}}, {}, "wanted float"),
    "too early": ({"conf": {"partition": "2012-01-01"}}, {}, "before the pipeline's start"),
    "no pipeline": ({}, {"pipeline": "q"}, "unknown pipeline `q`"),
}


@pytest.mark.parametrize(("run", "fields", "words"), HOPELESS_RUNS.values(), ids=HOPELESS_RUNS)
def test_hopeless_runs(operator, run, fields, words):
    """What no retry can mend fails for good before anything is started."""
    with pytest.raises(AirflowFailException, match=words):
        operator(**fields).make_step_run(context(**run))


def test_order():
    """A run that was started again is newer, and a clock's microsecond tells runs apart."""
    first = SimpleNamespace(start_date=BEGUN, run_after=NIGHT)
    again = SimpleNamespace(start_date=BEGUN.replace(microsecond=123457), run_after=NIGHT)
    assert run_order(again) == run_order(first) + 1
    assert run_order(SimpleNamespace(start_date=None, run_after=NIGHT)) == 1362123000000000


def test_success(operator, files):
    """A success is an XCom, and tells whoever waits for the output which partition there is."""
    asset = output_asset("s3://bucket/prefix?region=x", files.root, "p", "made")
    one = operator(outlets=[asset])
    now = context()
    one.make_step_run(now)
    outputs = {"made": "s3://bucket/prefix/runs/.../made.txt"}
    result = {"state": "succeeded", "cause": None, "record": "s3://r.json", "outputs": outputs}
    one.finish(now, result)
    assert now["pushed"] == {"result": result}
    event = now["outlet_events"][asset]
    assert event.partitions == ["2013-03-01"]
    assert event.extra == {
        "partition": "2013-03-01",
        "run": "scheduled__2013-03-01T07:30:00+00:00.1362211200123456",
        "record": "s3://r.json",
        "address": outputs["made"],
    }


def test_success_after_a_pause(operator, files):
    """A try that was deferred ends in another process, and knows its partition there as well."""
    asset = output_asset("s3://bucket/prefix", files.root, "p", "made")
    now = context(conf={"partition": "2013-03-09"})
    operator(outlets=[asset]).finish(now, {"state": "succeeded", "cause": None})
    assert now["outlet_events"][asset].partitions == ["2013-03-09"]


@pytest.mark.parametrize("cause", list(Cause))
def test_failure(operator, cause):
    """The cause decides whether Airflow tries again, and the message is one line that says why."""
    now = context()
    result = {
        "state": "failed",
        "cause": cause.value,
        "message": "so it was",
        "notebook": "s3://n.ipynb",
    }
    with pytest.raises(AirflowException) as caught:
        operator().finish(now, result)
    assert str(caught.value) == f"{cause}: so it was; executed notebook: s3://n.ipynb"
    assert isinstance(caught.value, AirflowFailException) == (cause in HOPELESS)
    assert now["pushed"] == {"result": result}
    assert not now["outlet_events"]


def test_a_cause_is_said_once(operator):
    """A message that begins with its cause is left as it is."""
    result = {"state": "failed", "cause": "deadline", "message": "deadline passed"}
    with pytest.raises(AirflowException, match=r"^deadline passed$"):
        operator().finish(context(), result)


CODES = {
    0: ("succeeded", None),
    10: ("failed", "notebook_error"),
    14: ("failed", "out_of_memory"),
    1: ("failed", "nightmill_bug"),
    137: ("failed", "terminated"),
    -9: ("failed", "terminated"),
}


@pytest.mark.parametrize(("code", "expected"), CODES.items())
def test_no_word(code, expected):
    """A step that left no result is judged by its exit code alone."""
    result = result_of_exit_code(code)
    assert (result["state"], result["cause"]) == expected
    assert code == 0 or f"exit code {code}" in result["message"]


ADDRESSES = {
    "s3://bucket": "s3://bucket/data/p/made",
    "s3://bucket/a/b/?endpoint=http://u:secret@host&profile=x": "s3://bucket/a/b/data/p/made",
    "file:///srv/store": "file:///srv/store/data/p/made",
    "/srv/store": "file:///srv/store/data/p/made",
    ".nightmill/store": "file:///root/project/.nightmill/store/data/p/made",
}


@pytest.mark.parametrize(("store", "uri"), ADDRESSES.items())
def test_asset(store, uri):
    """An asset is named after the output; its address is plain and holds no credentials."""
    assert output_asset(store, Path("/root/project"), "p", "made") == Asset(name="p.made", uri=uri)
