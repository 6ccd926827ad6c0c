"""Missing inputs under Airflow: told or waited for on the worker, before a pod or a process."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowFailException

from nightmill.airflow.inputs import LOOK_EVERY, missing_inputs
from nightmill.airflow.local import LocalStepOperator
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.store.open import open_store
from tests.conftest import notebook_json
from tests.test_airflow_operator import write_project
from tests.test_airflow_operator_fields import Log
from tests.test_airflow_operator_tries import DAY, Cluster, context, operate
from tests.test_inputs import make as commit_model

HOUR = timedelta(hours=1)
WAITS = "{from: m.model, wait: 2h}"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a function that makes a project whose step `make` reads another pipeline's model."""
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTMILL_IMAGE", "registry/image:1")

    def write(given: str):
        made = write_project(tmp_path)
        file = made / "notebooks/nightly/pipeline.yaml"
        text = "pipeline: {}\nsteps:\n  {}: {{notebook: make.ipynb, {}}}\n"
        file.write_text(text.format("nightly", "make", f"inputs: {{model: {given}}}"))
        cells = [("model: str = ''\nword: str = ''", "parameters")]
        file.with_name("make.ipynb").write_text(notebook_json(cells))
        (made / "notebooks/m").mkdir()
        other = made / "notebooks/m/pipeline.yaml"
        other.write_text(text.format("m", "train", "outputs: {model: model.txt}"))
        other.with_name("make.ipynb").write_text(notebook_json(cells))
        return made

    return write


def at(waited: timedelta | None, number: int = 1):
    """Make the context of a try that was first given back to the scheduler so long ago."""
    now = context(number)
    first = None if waited is None else datetime.now(UTC) - waited
    now["ti"].get_first_reschedule_date = lambda _context: first
    return now


def local(project):
    """Make the operator without a cluster."""
    fields = {"pipeline": "nightly", "step": "make", "store": "store", "project": str(project)}
    one = LocalStepOperator(task_id="make", **fields)
    one._cached_logger = Log()
    one._run = lambda _run: pytest.fail("a process was made")
    return one


def in_pods(project):
    """Make the operator that makes pods, with a cluster that has none to give."""
    cluster = Cluster()
    cluster.create_namespaced_pod = lambda *_, **__: pytest.fail("a pod was made")
    return operate(project, cluster)


def execute(one, now) -> None:
    """Execute as Airflow would."""
    one.execute(now) if isinstance(one, LocalStepOperator) else one.execute_sync(now)


EVERYWHERE = pytest.mark.parametrize("kind", [local, in_pods])


@EVERYWHERE
def test_a_missing_input_costs_no_pod(root, kind):
    """The task fails for good with the cause, what is missing and the command; a record says so."""
    project, now = root("m.model"), context(1)
    one = kind(project)
    with pytest.raises(AirflowFailException) as caught:
        execute(one, now)
    message = (
        f"bad_parameters: input model: m.model was never committed up to {DAY}; "
        f"no partition has it -> run `nightmill run m --partition {DAY}`"
    )
    assert str(caught.value).startswith(f"{message}; no retry")
    assert one.log.told[-1] == ("error", str(caught.value))
    assert now["pushed"]["result"]["cause"] == "bad_parameters"
    (file,) = project.glob(f"store/runs/nightly/{DAY}/r.*/make/1/record.json")
    failure = Record.from_json(file.read_bytes()).failure
    assert (failure.cause, failure.message) == ("bad_parameters", message)


@EVERYWHERE
@pytest.mark.parametrize(
    ("waited", "pause"),
    [(None, LOOK_EVERY), (HOUR, LOOK_EVERY), (2 * HOUR - LOOK_EVERY / 2, LOOK_EVERY / 2)],
)
def test_a_step_that_waits_goes_back_to_the_scheduler(root, kind, waited, pause):
    """It looks again in a minute, and for the last time when its time is over; nothing is kept."""
    project = root(WAITS)
    before = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException) as caught:
        execute(kind(project), at(waited))
    late = caught.value.reschedule_date - before - pause
    assert timedelta(seconds=-1) < late < timedelta(seconds=30)
    assert not list(project.glob("store/runs/**/record.json"))


@EVERYWHERE
def test_a_wait_has_an_end(root, kind):
    """After its time the task fails, and says how long it has waited for what."""
    with pytest.raises(AirflowFailException, match=r"^bad_parameters: waited 2 h: input model: "):
        execute(kind(root(WAITS)), at(2 * HOUR))


@pytest.mark.parametrize("given", [WAITS, "m.model", "{from: m.model, optional: true}"])
def test_what_is_there_is_run(root, given):
    """A step whose inputs are there, or optional, gets its pod; a wait may have come before."""
    project = root(given)
    if "optional" not in given:
        commit_model(open_store("store", base=project), "2013-02-27")
    cluster, now = Cluster(), at(HOUR)
    with pytest.raises(Exception, match="nightmill_bug"):  # as this cluster's pods end
        operate(project, cluster).execute_sync(now)
    assert len(cluster.created) == 1


RUN = StepRun(
    pipeline="nightly", step="make", partition=DAY, as_of=DAY, run="r", order=1, store="s3://b/p"
)


@pytest.fixture
def refused(monkeypatch):
    """Give the worker no way to S3."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    url = "s3://bucket/p?retries=0"
    return RUN.model_copy(update={"store": url})


def test_a_worker_that_may_not_read_goes_on(root, refused, caplog):
    """The step will find out by itself; the log says that nobody could look before."""
    with caplog.at_level(logging.WARNING):
        assert missing_inputs(at(None), refused, root(WAITS)) is None
    assert "cannot see whether the step's inputs are there" in caplog.text


def test_a_store_that_is_away_in_the_middle_of_a_wait(root, refused):
    """Who has read it before waits for the store as for the input, and as long."""
    project = root(WAITS)
    with pytest.raises(AirflowRescheduleException):
        missing_inputs(at(HOUR), refused, project)
    assert missing_inputs(at(2 * HOUR), refused, project)["cause"] == "store"


def test_a_step_without_inputs_asks_nobody(tmp_path, refused, caplog):
    """No connection is made, and Airflow is not asked either, where nothing is read."""
    assert missing_inputs({}, refused, write_project(tmp_path)) is None
    assert not caplog.records
