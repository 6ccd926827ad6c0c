"""The DAG that sweeps: on stores with attempts that died, that live, that speak at the last moment.

Airflow runs it in this process; the two looks at what is silent are half a second apart here.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.xcom import XComModel
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk.definitions.context import AirflowParsingContext
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from nightmill.airflow import dags, housekeeping
from nightmill.airflow.housekeeping import BY, DAG_ID, SILENT_FOR, SWEPT, SweepOperator
from nightmill.airflow.outcome import Outcome
from nightmill.causes import Cause
from nightmill.spec.progress import SILENT_AFTER, Progress
from nightmill.spec.record import AttemptState, Failure
from nightmill.store.active import active, mark
from nightmill.store.amend import amend
from nightmill.store.keys import active_key
from nightmill.store.open import open_store
from tests.faulty_store import Fault, FaultyStore
from tests.published import FILES, PLAIN, scores
from tests.stored_versions import PIPELINE, add_version, prefix_of
from tests.test_airflow_operator_fields import Log, context
from tests.test_cli_amend import NOW, leave, marked, record_of, step_run

REPOSITORY = Path(__file__).parents[1]
AIRFLOWS_OWN_WARNINGS = pytest.mark.filterwarnings("ignore")
NOWHERE = "s3://bucket/p?retries=0&region=us-east-1&endpoint=http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    """Look again after half a second, and read the plain platform.yaml."""
    monkeypatch.setattr(housekeeping, "SECOND_LOOK", timedelta(seconds=0.5))
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)


@pytest.fixture
def files(make_project):
    """Make a project with a pipeline whose scores are published as a plain file."""
    made = make_project("kept")
    made.pipeline(PIPELINE, "", score=[("scores: str = ''\nplots: str = ''", "parameters")])
    made.write(f"notebooks/{PIPELINE}/pipeline.yaml", FILES)
    for file in ("nightmill_dags.py", "nightmill_errors.py"):
        made.write(f"dags/{file}", (REPOSITORY / "dags" / file).read_bytes())
    made.write("dags/platform.yaml", "store: .nightmill/store\n")
    return made


@pytest.fixture
def sweeper(files):
    """Return a function that makes the task for a store, without an Airflow around it."""

    def make(store) -> SweepOperator:
        url = store if isinstance(store, str) else store.url
        task = SweepOperator(task_id="sweep", store=url, project=str(files.root))
        task._cached_logger = Log()
        return task

    return make


def told_by(task: SweepOperator) -> list[tuple[str, str]]:
    """Return the log of a task."""
    return task.log.told


def leave_committed(store) -> str:
    """Leave an attempt that died between its commit and its publishing, hours ago."""
    begun = NOW - timedelta(hours=3)
    facts = {"state": AttemptState.RUNNING, "committed": False, "started_at": begun}
    add_version(store, 1, files={"scores": {"scores.parquet": scores(1)}}, ended_at=None, **facts)
    prefix = prefix_of(1)
    mark(store, prefix)
    stamp = json.loads(store.read(active_key(prefix)).data) | {"started_at": begun.isoformat()}
    store.write(active_key(prefix), json.dumps(stamp).encode())
    return prefix


def beat(store, prefix: str, ago: timedelta = timedelta(0)) -> None:
    """Give a sign of life, or have given it some time ago."""
    times = {"started_at": NOW, "heartbeat": datetime.now(UTC) - ago, "elapsed_s": 9.0}
    progress = Progress(state=AttemptState.RUNNING, **times, position=2, cell=2, title="t")
    store.write(f"{prefix}/progress.json", progress.to_json())


# -- the DAG --------------------------------------------------------------------------------------


def load(files) -> DagBag:
    """Load the DAGs as Airflow does."""
    bag = DagBag(dag_folder=files.root / "dags")
    assert bag.import_errors == {}
    return bag


def test_it_is_there_by_itself(files):
    """Without a word in platform.yaml it runs every 15 minutes, one at a time, and unpaused."""
    bag = load(files)
    assert set(bag.dags) == {PIPELINE, DAG_ID}
    written = json.loads(json.dumps(DagSerialization.to_dict(bag.dags[DAG_ID])))
    read = DagSerialization.from_dict(written)
    assert (read.catchup, read.max_active_runs, read.is_paused_upon_creation) == (False, 1, False)
    first = read.next_dagrun_info(last_automated_run_info=None)
    assert first is not None
    assert read.timetable.serialize()["delta"] == 900
    (task,) = read.tasks
    assert (task.task_id, task.retries, task.execution_timeout) == ("sweep", 0, timedelta(hours=1))
    assert task.store == ".nightmill/store"


@pytest.mark.parametrize(("every", "there"), [("2h", True), ("never", False)])
def test_the_owner_says_how_often(files, every, there):
    """A span is its schedule; `never` leaves all sweeping to people."""
    files.write("dags/platform.yaml", f"store: s\nsweep_every: {every}\n")
    found = dags.load_dags(files.root / "dags")
    assert set(found) == {PIPELINE} | ({DAG_ID} if there else set())
    assert not there or found[DAG_ID].schedule == timedelta(hours=2)


@pytest.mark.parametrize("name", [DAG_ID, PIPELINE])
def test_a_task_parses_its_own_dag_only(files, monkeypatch, name):
    """A worker that sweeps makes no pipeline's DAG, and one that runs a step does not make this."""
    monkeypatch.setattr(dags, "get_parsing_context", lambda: AirflowParsingContext(name, "t"))
    assert list(dags.load_dags(files.root / "dags")) == [name]


# -- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database():
    """Set up Airflow's database, which takes seconds."""
    initdb()
    DagBundlesManager().sync_bundles_to_db()


@pytest.fixture
def run_dag(files, database):  # noqa: ARG001 - it has to be there
    """Return a function that runs the DAG; it returns the run's state and what it told."""

    def run(store: str) -> tuple[str, list[dict[str, object]]]:
        files.write("dags/platform.yaml", json.dumps({"store": store}))
        bag = load(files)
        sync_bag_to_db(bag, "dags-folder", None)
        ended = bag.dags[DAG_ID].test()
        wanted = XComModel.get_many(run_id=ended.run_id, dag_ids=DAG_ID, key=SWEPT)
        with create_session() as session:
            told = [XComModel.deserialize_value(one) for one in session.scalars(wanted)]
        return str(ended.state), told[0] if told else []

    return run


@AIRFLOWS_OWN_WARNINGS
def test_the_dead_get_their_end(run_dag, store):
    """The dead are ended and named, what had committed is published, the living are left alone."""
    dead = leave(store, step_run("dead", member="7"), silent=timedelta(minutes=20))
    late = leave(store, step_run("late"), silent=SILENT_FOR - timedelta(minutes=1))
    over = leave(store, step_run("over"), state=AttemptState.SUCCEEDED, committed=True)
    committed = leave_committed(store)

    state, told = run_dag(store.url)

    assert state == "success"
    assert marked(store) == [late]
    assert record_of(store, late).state == "running"
    assert record_of(store, over).amendments == ()
    record = record_of(store, dead)
    assert (record.failure.cause, record.amendments[0].by) == (Cause.TERMINATED, BY)
    assert record_of(store, committed).committed
    assert store.read(PLAIN).data == scores(1)
    named = {one["step"]: one for one in told}
    assert set(named) == {"dead", "score"}
    assert named["dead"] == {
        "pipeline": "flights",
        "partition": "2013-03-01",
        "run": "r1",
        "step": "dead",
        "member": "7",
        "attempt": 1,
        "fate": "amended",
        "what": record.failure.message,
        "record": store.address(f"{dead}/record.json"),
    }
    assert named["score"]["what"] == "had committed, and died before it could say so"
    assert run_dag(store.url) == ("success", [])


@AIRFLOWS_OWN_WARNINGS
def test_a_run_tells_what_it_could_not_sweep(run_dag, store):
    """The run is red, and the rest is swept all the same."""
    store.write("active/stray.json", b"?")
    dead = leave(store, step_run("dead"))
    state, told = run_dag(store.url)
    assert state == "failed"
    assert record_of(store, dead).state == "failed"
    assert {one["fate"] for one in told} == {"problem", "amended"}


# -- what it says ---------------------------------------------------------------------------------


def test_the_log_names_each_attempt(sweeper, store):
    """Whose attempt, which, and what happened stand on one line, with the record's address."""
    leave(store, step_run("dead"), silent=timedelta(minutes=20))
    leave(store, step_run("late"), silent=timedelta(minutes=2))
    task = sweeper(store)
    task.execute(context())
    place = "flights 2013-03-01, run r1, dead attempt 1"
    waiting, ended, summary = told_by(task)
    assert waiting == ("info", f"Silent, or not to be read; a second look in 0.5 s: {place}")
    assert ended[0] == "warning"
    assert ended[1].startswith(f'{place}: terminated in cell 2/2 "Cell 2": no sign of life since ')
    assert ended[1].endswith("/dead/1/record.json")
    assert summary[1] == "Attempts that are marked as running: 1 amended, 1 alive"


def test_what_cannot_be_swept_is_told_after_all_others(sweeper, store):
    """A stray file and another version's record fail the task, each with its name and reason."""
    foreign = leave(store, step_run("alien"))
    store.write(f"{foreign}/record.json", b'{"nightmill": "99.0"}')
    store.write("active/a/stray.json", b"?")
    dead = leave(store, step_run("dead"))
    now = context()
    with pytest.raises(AirflowException, match="all was swept but 2 attempts: ") as raised:
        sweeper(store).execute(now)
    assert "the mark a/stray cannot be swept: " in str(raised.value)
    assert "alien attempt 1 cannot be swept: " in str(raised.value)
    assert "was written by Nightmill 99.0" in str(raised.value)
    assert record_of(store, dead).state == "failed"
    assert len(now["pushed"][SWEPT]) == 3


def test_a_store_that_cannot_be_reached(sweeper, act_as):
    """The error says what failed, who sweeps with which rights, and how to have no such task."""
    act_as("admin")
    with pytest.raises(AirflowException, match="the store cannot be swept: ") as raised:
        sweeper(NOWHERE).execute(context())
    assert "127.0.0.1:9" in str(raised.value)
    assert "image/iam-airflow.json" in str(raised.value)
    assert "`sweep_every: never`" in str(raised.value)


def test_a_store_that_goes_away_half_way(sweeper, store, monkeypatch):
    """The task fails, and still names whom it has ended: no later sweep would."""
    leave(store, step_run("a"))
    key = active_key(leave(store, step_run("b"))).replace("/1.json", "/N.json")
    faulty = FaultyStore(store, Fault(f"read {key} #2", "before", "down"))
    monkeypatch.setattr(housekeeping, "open_store", lambda _url, base: faulty)  # noqa: ARG005
    now = context()
    with pytest.raises(AirflowException, match="the store cannot be swept: "):
        sweeper(store).execute(now)
    assert [(one["step"], one["fate"]) for one in now["pushed"][SWEPT]] == [("a", "amended")]


def test_a_worker_that_may_only_read(sweeper, s3_url, act_as, tmp_path):
    """What it may not write is told, and stays marked for whoever may."""
    store = open_store(s3_url, base=tmp_path)
    dead = leave(store, step_run("dead"))
    act_as("reader")
    with pytest.raises(AirflowException, match="all was swept but one attempt: ") as raised:
        sweeper(s3_url).execute(context())
    assert "cannot be swept: " in str(raised.value)
    assert "grant s3:PutObject here" in str(raised.value)
    assert marked(store) == [dead]


# -- races ----------------------------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function that has something happen in the pause between the two looks."""

    def happens(work) -> None:
        monkeypatch.setattr(housekeeping, "SECOND_LOOK", SILENT_AFTER)
        monkeypatch.setattr(housekeeping, "time", SimpleNamespace(sleep=work))

    return happens


def test_a_heartbeat_that_is_only_late(sweeper, store, meanwhile):
    """Who speaks again between the two looks lives: after an outage of the store all are silent."""
    alive = leave(store, step_run("alive"), silent=timedelta(hours=1))
    dead = leave(store, step_run("dead"), silent=timedelta(hours=1))
    meanwhile(lambda _seconds: beat(store, alive))
    sweeper(store).execute(context())
    assert record_of(store, alive).state == "running"
    assert record_of(store, dead).state == "failed"
    assert marked(store) == [alive]


def test_who_falls_silent_between_the_looks(sweeper, store, meanwhile):
    """One look is not enough for anybody: who becomes silent after the first waits for the next."""
    dead = leave(store, step_run("dead"), silent=timedelta(hours=1))
    slow = leave(store, step_run("slow"), silent=SILENT_FOR - timedelta(minutes=1))

    def grow_older(seconds: float) -> None:
        beat(store, slow, ago=SILENT_FOR + timedelta(seconds=seconds) - timedelta(minutes=1))

    meanwhile(grow_older)
    sweeper(store).execute(context())
    assert record_of(store, dead).state == "failed"
    assert marked(store) == [slow]


def test_a_first_look_that_fails_is_none(sweeper, store):
    """Where the store gave no answer at first, those who live get the same time to speak."""
    unread = leave(store, step_run("unread"))
    store.write(f"{unread}/record.json", b'{"nightmill": "99.0"}')
    task = sweeper(store)
    with pytest.raises(AirflowException):
        task.execute(context())
    place = "flights 2013-03-01, run r1, unread attempt 1"
    assert told_by(task)[0][1].endswith(f"a second look in 0.5 s: {place}")


def test_the_second_look_is_later_than_a_heartbeat():
    """A mirror whose uploads failed tries again within a minute; nobody is hurried more."""
    assert timedelta(minutes=1) < SILENT_AFTER < SILENT_FOR


def test_the_operator_closes_it_meanwhile(sweeper, store, files, meanwhile):
    """What the operator knows stands, and the sweep does not say that it was the one."""
    run = step_run("dead", store=store.url)
    prefix = leave(store, run, silent=timedelta(hours=1))
    result = {"state": "failed", "cause": "node_lost", "message": "the node n1 was lost"}
    meanwhile(lambda _seconds: Outcome(run, files.root).close(result, "pod"))
    task = sweeper(store)
    task.execute(context())
    record = record_of(store, prefix)
    assert record.failure.cause is Cause.NODE_LOST
    assert [one.by for one in record.amendments] == ["airflow operator"]
    assert not [line for level, line in told_by(task) if level == "warning"]


def test_the_operator_closes_it_at_the_same_moment(sweeper, store, files, monkeypatch):
    """Between the last look and the write: the record is the operator's, and so is the news."""
    run = step_run("dead", store=store.url)
    prefix = leave(store, run, silent=timedelta(hours=1))
    result = {"state": "failed", "cause": "node_lost", "message": "the node n1 was lost"}

    def late(*place, **words):
        Outcome(run, files.root).close(result, "pod")
        return amend(*place, **words)

    monkeypatch.setattr("nightmill.store.sweep.amend", late)
    task, now = sweeper(store), context()
    task.execute(now)
    assert [one.by for one in record_of(store, prefix).amendments] == ["airflow operator"]
    place = "flights 2013-03-01, run r1, dead attempt 1"
    line = f"{place}: its record had its end already (failed); the mark is removed"
    assert ("info", line) in told_by(task)
    assert now["pushed"] == {}
    assert marked(store) == []


def test_the_operator_knows_more_afterwards(sweeper, store, files):
    """A sweep only says `terminated`, which whoever saw the pod may still refine."""
    run = step_run("dead", store=store.url)
    prefix = leave(store, run, silent=timedelta(hours=1))
    sweeper(store).execute(context())
    assert record_of(store, prefix).failure.cause is Cause.TERMINATED
    result = {"state": "failed", "cause": "node_lost", "message": "the node n1 was lost"}
    assert Outcome(run, files.root).close(result, "pod")["cause"] == "node_lost"
    assert record_of(store, prefix).failure.cause is Cause.NODE_LOST


def test_many_at_once(sweeper, store):
    """Two sweeps and an operator over the same attempts: each has one end, the operator's word."""
    prefixes = [leave(store, step_run(f"s{number}")) for number in range(12)]
    lost = Failure(cause=Cause.NODE_LOST, message="the node was lost")

    def operate() -> None:
        for prefix in prefixes:
            amend(store, prefix, lost, by="airflow operator")

    works = [operate, *(lambda: sweeper(store).execute(context()) for _ in range(2))]
    threads = [threading.Thread(target=work) for work in works]
    errors: list[object] = []
    threading.excepthook, before = lambda told: errors.append(told.exc_value), threading.excepthook
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = before
    assert errors == []
    assert list(active(store)) == []
    for prefix in prefixes:
        record = record_of(store, prefix)
        assert record.failure.cause is Cause.NODE_LOST
        by = [one.by for one in record.amendments]
        assert by in ([BY, "airflow operator"], ["airflow operator"])
