"""What all operators share: the StepRun a try makes, and what it reports of the result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import Asset

from nightmill.airflow.assets import output_asset
from nightmill.airflow.steprun_operator import StepRunFields, result_of_exit_code, run_order
from nightmill.causes import Cause
from nightmill.spec.retry import POLICY, Retry

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
        made = StepRunFields(
            task_id=step,
            pipeline=fields.pop("pipeline", "p"),
            step=step,
            store="s3://bucket/prefix",
            project=str(files.root),
            **fields,
        )
        made._cached_logger = Log()
        return made

    return make


class Log:
    """A log as a list of levels and lines."""

    def __init__(self):
        self.told = []

    def __getattr__(self, level):
        return lambda line, *values: self.told.append((level, line % values))


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
        "ti": SimpleNamespace(try_number=3, max_tries=4, xcom_push=pushed.__setitem__),
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
    """What no retry can mend fails for good before anything is started, with a line of its own."""
    with pytest.raises(AirflowFailException, match=words) as caught:
        operator(**fields).make_step_run(context(**run))
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("; no retry: what was given must be put right first")


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


FAILED = {"state": "failed", "message": "so it was", "notebook": "s3://n.ipynb", "cell": 4}


def tries(number: int, most: int):
    """Make the context of a try of a task that has `most` retries."""
    now = context()
    now["ti"].try_number, now["ti"].max_tries = number, most
    return now


@pytest.mark.parametrize("cause", list(Cause))
def test_failure(operator, cause):
    """The cause decides whether Airflow tries again; the error is the line at the log's end."""
    now, result = context(), FAILED | {"cause": cause.value}
    task = operator(retry_delay=timedelta(minutes=5))
    with pytest.raises(AirflowException) as caught:
        task.finish(now, result)
    is_final = isinstance(caught.value, AirflowFailException)
    assert is_final == (POLICY[cause] is Retry.NEVER)
    said = str(caught.value)
    follows = "no retry: " if is_final else "next attempt in "
    assert said.startswith(f"{cause}: so it was; {follows}")
    assert said.endswith("; notebook: s3://n.ipynb#cell-4")
    assert task.log.told[-1] == ("error", said)
    assert now["pushed"] == {"result": result}
    assert not now["outlet_events"]


DECISIONS = {
    "a retry is left": (1, 2, {}, "next attempt in 5 min"),
    "the last retry is left": (2, 2, {}, "next attempt in 5 min"),
    "none is left": (3, 2, {}, "no attempts left"),
    "there never was one": (1, 0, {}, "no retry: none was asked for"),
    "a run that was cleared counts on": (5, 6, {}, "next attempt in 5 min"),
    "with backoff": (1, 2, {"retry_exponential_backoff": 2.0}, "next attempt in 5 min to 10 min"),
    "the third of these": (
        3,
        9,
        {"retry_exponential_backoff": 2.0},
        "next attempt in 20 min to 40 min",
    ),
    "the longest": (40, 50, {"retry_exponential_backoff": 2.0}, "next attempt in 2 h 40 min"),
    "the step says never": (
        1,
        2,
        {"retry_by_cause": {"store": "never"}},
        "no retry: pipeline.yaml says so",
    ),
    "more memory, where there are no pools": (
        1,
        2,
        {"retry_by_cause": {"store": "more_memory"}},
        "next attempt in 5 min",
    ),
}


@pytest.mark.parametrize(("number", "most", "fields", "words"), DECISIONS.values(), ids=DECISIONS)
def test_what_follows(operator, number, most, fields, words):
    """What follows a failure is what Airflow will do, and the line says so."""
    task = operator(retry_delay=timedelta(minutes=5), **fields)
    with pytest.raises(AirflowException) as caught:
        task.finish(tries(number, most), FAILED | {"cause": "store"})
    assert str(caught.value) == f"store: so it was; {words}; notebook: s3://n.ipynb#cell-4"
    assert isinstance(caught.value, AirflowFailException) == (not words.startswith("next"))


def test_a_steps_own_word_makes_a_notebooks_error_worth_a_retry(operator):
    """What pipeline.yaml says of a cause stands above the table."""
    task = operator(retry_by_cause={"notebook_error": "backoff"})
    with pytest.raises(AirflowException) as caught:
        task.finish(context(), FAILED | {"cause": "notebook_error"})
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    ("cause", "message", "said"),
    [
        ("deadline", "deadline passed", "deadline passed"),
        ("deadline", 'deadline in cell 3/9 "A": late', 'deadline in cell 3/9 "A": late'),
        ("deadline", "", "deadline: no message"),
        (None, "odd", "nightmill_bug: odd"),
        ("of_tomorrow", "odd", "nightmill_bug: odd"),
        ("store", "gone\n\x1b[31mfor good", "store: gone"),
    ],
)
def test_the_cause_is_said_once(operator, cause, message, said):
    """A message that begins with its cause is left as it is, any other gets it; one line it is."""
    result = {"state": "failed", "cause": cause, "message": message}
    with pytest.raises(AirflowException) as caught:
        operator(retries=0).finish(tries(1, 0), result)
    assert str(caught.value).partition("; ")[0] == said


LINES = {
    "3/9 cell 2: Join": ("info", "3/9 cell 2: Join"),
    "WARNING a thread failed": ("warning", "a thread failed"),
    "ERROR store: gone": ("error", "store: gone"),
    "ERRORS are not marked so": ("info", "ERRORS are not marked so"),
    "  | ERROR said a cell": ("info", "  | ERROR said a cell"),
    "100 % done": ("info", "100 % done"),
    "": ("info", ""),
}


def test_lines_of_a_step_keep_their_level(operator):
    """What a step's log marks as warning or error is one in Airflow's, all else is news."""
    task = operator()
    task.tell(LINES)
    assert task.log.told == list(LINES.values())


CODES = {
    0: ("succeeded", None),
    10: ("failed", "notebook_error"),
    14: ("failed", "out_of_memory"),
    1: ("failed", "nightmill_bug"),
    2: ("failed", "bad_parameters"),
    137: ("failed", "terminated"),
    143: ("failed", "terminated"),
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
