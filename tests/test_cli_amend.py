"""`nightmill amend` and `nightmill sweep`: on what killed attempts leave; one is killed here."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from nightmill.causes import Cause
from nightmill.errors import UsageError
from nightmill.spec import amended
from nightmill.spec.executed import notebook_bytes
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, Failure, Record
from nightmill.spec.steprun import StepRun
from nightmill.store.active import active, mark
from nightmill.store.history import prefix_of
from nightmill.store.keys import AttemptNames, active_key, attempt_names
from nightmill.store.open import open_store
from nightmill.store.sweep import attempts
from tests.test_executed import code, notebook, states

NOW = datetime.now(UTC)
DAY = "2013-03-01"


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Open the store of the present folder."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    return open_store(".nightmill/store", base=tmp_path)


def step_run(step: str = "a", **facts: object) -> StepRun:
    """Make the identity of an attempt."""
    known = {"pipeline": "flights", "partition": DAY, "as_of": DAY, "order": 1, "store": "s"}
    return StepRun(**{**known, "run": "r1", **facts}, step=step)


def leave(store, run: StepRun, *, silent: timedelta | None = None, **facts: object) -> str:
    """Leave what an attempt leaves that began three hours ago: its mark, record, files."""
    prefix = prefix_of(run)
    mark(store, prefix)
    stamp = json.loads(store.read(active_key(prefix)).data)
    stamp["started_at"] = (NOW - timedelta(hours=3)).isoformat()
    store.write(active_key(prefix), json.dumps(stamp).encode())
    first = amended.first_record(run, "s", host="h")
    record = first.model_copy(update={"started_at": NOW - timedelta(hours=3), **facts})
    store.write(f"{prefix}/record.json", record.to_json())
    book = notebook(code(1, "completed"), code(2, "running"))
    store.write(f"{prefix}/notebook.ipynb", notebook_bytes(book))
    if silent is not None:
        times = {
            "started_at": record.started_at,
            "heartbeat": datetime.now(UTC) - silent,
            "elapsed_s": 9.0,
        }
        progress = Progress(state=AttemptState.RUNNING, **times, position=2, cell=2, title="t")
        store.write(f"{prefix}/progress.json", progress.to_json())
    return prefix


def record_of(store, prefix: str) -> Record:
    """Read a record."""
    return Record.from_json(store.read(f"{prefix}/record.json").data)


def marked(store) -> list[str]:
    """Name the attempts that are marked."""
    return [one.prefix for one in active(store)]


# -- amend ----------------------------------------------------------------------------------------


def test_a_silent_attempt_is_amended(cli, local):
    """An attempt whose heartbeat stopped was terminated, if no more is known; a table tells."""
    prefix = leave(local, step_run(), silent=timedelta(hours=1))
    ended = cli("amend", "r1")
    assert ended.code == 0, ended.err
    record = record_of(local, prefix)
    assert (record.state, record.failure.cause, record.failure.cell) == (
        AttemptState.FAILED,
        Cause.TERMINATED,
        2,
    )
    assert record.failure.message.startswith('terminated in cell 2/2 "Cell 2": no sign of life')
    assert record.amendments[0].by.startswith("nightmill amend on ")
    row = ended.out.splitlines()[1].split()
    assert row[:5] == ["a", "1", "running", "failed", "terminated"]
    assert record.failure.message in ended.out
    assert marked(local) == []
    again = cli("amend", "r1")
    assert (again.code, again.out) == (0, "Nothing to amend: 1 attempt of r1 stay as they are.\n")


def test_a_living_attempt_is_left_alone(cli, local):
    """An attempt with a fresh heartbeat is not touched, nor any beside it, unless by force."""
    dead = leave(local, step_run("a"), silent=timedelta(hours=1))
    alive = leave(local, step_run("b"), silent=timedelta(seconds=20))
    ended = cli("amend", "r1")
    assert ended.code == 2
    assert "flights 2013-03-01 r1 b attempt 1: may still be at work" in ended.err
    assert [record_of(local, one).state for one in (dead, alive)] == ["running", "running"]
    assert cli("amend", "r1", "--step", "a").code == 0
    assert [record_of(local, one).state for one in (dead, alive)] == ["failed", "running"]
    assert cli("amend", "r1", "--force").code == 0
    assert record_of(local, alive).state == "failed"


def test_a_cause_that_somebody_knows(cli, local):
    """A cause given by a person closes what runs, and tells a terminated attempt by what it was."""
    own = Failure(cause=Cause.TERMINATED, message="own")
    ended_at = NOW - timedelta(hours=2)
    stopped = leave(local, step_run("a"), state=AttemptState.FAILED, failure=own, ended_at=ended_at)
    killed = leave(local, step_run("b", member="x"))
    other = leave(local, step_run("b", member="y"))
    assert cli("amend", "r1", "--member=x", "--cause=node_lost").code == 0
    failure = record_of(local, killed).failure
    assert failure.message == 'node_lost in cell 2/2 "Cell 2": the node under the pod was lost'
    ended = cli("amend", "r1", "--cause=evicted", "--message=spot went away")
    assert ended.code == 0
    assert record_of(local, stopped).failure.message.endswith("spot went away")
    assert record_of(local, stopped).amendments[0].was is Cause.TERMINATED
    assert record_of(local, killed).failure == failure
    assert record_of(local, other).failure.cause is Cause.EVICTED


def test_an_attempt_whose_record_is_lost(cli, local):
    """An attempt that left only its notebook, or a damaged record, gets one that tells its end."""
    lost = leave(local, step_run("a"))
    local.delete(f"{lost}/record.json")
    damaged = leave(local, step_run("b"))
    local.write(f"{damaged}/record.json", b"{")
    ended = cli("amend", "r1")
    assert ended.code == 0
    assert ended.out.count("no record") == 2
    assert {record_of(local, one).failure.cell for one in (lost, damaged)} == {2}


def test_a_wrong_cause_or_run_is_refused(cli, local):
    """What does not exist is an error of usage that says what does."""
    leave(local, step_run())
    assert cli("amend", "r1", "--cause=bad_luck").code == 2
    unknown = cli("amend", "nothing")
    assert unknown.code == 2
    assert "there is no run" in unknown.err


def test_the_attempts_of_a_run(store):
    """All attempts that left a file of their own are found; outputs of the same names are none."""
    first, second = step_run("a"), step_run("a", member="7", attempt=2)
    for run, file in ((first, "progress.json"), (second, "notebook.ipynb")):
        store.write(f"{prefix_of(run)}/{file}", b"{}")
    store.write(f"{prefix_of(step_run('c'))}/outputs/record.json", b"{}")
    store.write(f"{prefix_of(step_run('c'))}/outputs/1/record.json", b"{}")
    store.write(f"{prefix_of(step_run('a', run='r2'))}/record.json", b"{}")
    assert sorted(attempts(store, "flights", DAY, "r1")) == sorted(map(prefix_of, (first, second)))


@pytest.mark.parametrize("member", ["", "EWR/é"])
def test_the_names_in_a_prefix(member):
    """From the prefix of an attempt its names come back, whatever is in them."""
    run = step_run("s", pipeline="p é", run="manual__2013-03-01T02:30:00+00:00", member=member)
    names = ("p é", DAY, "manual__2013-03-01T02:30:00+00:00", "s", member, 1)
    assert attempt_names(prefix_of(run)) == AttemptNames(*names)


@pytest.mark.parametrize("prefix", ["", "runs", "runs/p/d/r/s/x", "current/p/d/r/s/1"])
def test_what_is_no_prefix(prefix):
    """Another key than that of an attempt is refused."""
    with pytest.raises(UsageError):
        attempt_names(prefix)


# -- sweep ----------------------------------------------------------------------------------------


def test_a_sweep_finds_the_dead(cli, local):
    """Silent attempts are amended, ended ones lose their mark, living ones are left alone."""
    dead = leave(local, step_run("dead"), silent=timedelta(minutes=20))
    mute = leave(local, step_run("mute"))  # no heartbeat at all: the mark's age counts
    alive = leave(local, step_run("alive"), silent=timedelta(minutes=10))
    over = leave(local, step_run("over"), state=AttemptState.SUCCEEDED, committed=True)
    before = record_of(local, over)

    dry = cli("sweep", "--dry-run")
    assert dry.code == 0
    assert len(marked(local)) == 4
    assert record_of(local, dead).state == "running"

    ended = cli("sweep")
    assert ended.code == 0
    assert marked(local) == [alive]
    assert {record_of(local, one).failure.cause for one in (dead, mute)} == {Cause.TERMINATED}
    assert record_of(local, alive).state == "running"
    assert record_of(local, over) == before
    told = {line.split()[3]: line for line in ended.out.splitlines()[1:]}
    said = {"dead": "amended", "mute": "amended", "alive": "alive", "over": "mark removed"}
    assert all(f"  {word}" in told[step] for step, word in said.items())
    wanted = {"dead": "to be amended", "over": "mark to be removed"}
    told = {line.split()[3]: line for line in dry.out.splitlines()[1:]}
    assert all(f"  {word}" in told[step] for step, word in wanted.items())

    assert cli("sweep", "--older-than=5m").code == 0
    assert record_of(local, alive).state == "failed"
    assert cli("sweep").out == "No attempt is marked as running in .nightmill/store.\n"


def test_an_attempt_that_has_just_begun_is_alive(cli, local):
    """A mark without a record is an attempt at its very start, until it is old."""
    prefix = prefix_of(step_run())
    mark(local, prefix)
    assert "  alive" in cli("sweep").out
    assert marked(local) == [prefix]
    stamp = json.loads(local.read(active_key(prefix)).data)
    stamp["started_at"] = (NOW - timedelta(hours=1)).isoformat()
    local.write(active_key(prefix), json.dumps(stamp).encode())
    assert cli("sweep").code == 0
    record = record_of(local, prefix)
    assert (record.state, record.failure.cause) == (AttemptState.FAILED, Cause.TERMINATED)


def test_one_that_cannot_be_swept_stops_no_other(cli, local):
    """A stray file and another version's record are told, and the rest is swept; exit code 1."""
    foreign = leave(local, step_run("foreign"))
    local.write(f"{foreign}/record.json", b'{"nightmill": "99.0"}')
    local.write("active/stray.json", b"?")
    dead = leave(local, step_run("dead"))
    ended = cli("sweep")
    assert ended.code == 1
    assert ended.out.count("problem") == 2
    assert "Nightmill 99.0" in ended.out
    assert record_of(local, dead).state == "failed"
    assert local.read(f"{foreign}/record.json").data == b'{"nightmill": "99.0"}'


@pytest.mark.parametrize("span", ["15", "soon", "-1m", "0s"])
def test_a_wrong_span_is_refused(cli, local, span):
    """A span without a unit, or none, is an error of usage that names the option."""
    assert marked(local) == []
    ended = cli("sweep", f"--older-than={span}")
    assert ended.code == 2
    assert "--older-than" in ended.err


# -- a real one that is killed --------------------------------------------------------------------

CELLS = ["print('one')", "import time\nprint('two', flush=True)\ntime.sleep(300)", "print('three')"]
PATIENCE_S = 60.0


def wait_for(what, seconds: float = PATIENCE_S):
    """Return the first true answer, within a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    pytest.fail("it did not happen in time")


def kill_all(pid: int) -> None:
    """Kill a process and all below it at once, so that none can say a last word."""
    parent = psutil.Process(pid)
    tree = [parent, *parent.children(recursive=True)]
    for process in tree:
        process.suspend()
    for process in tree:
        process.kill()
    psutil.wait_procs(tree, timeout=10)


def shows_second_cell(store, prefix: str) -> bool:
    """Say whether the store holds a notebook and a progress whose second cell runs."""
    blob, told = (store.read(f"{prefix}/{name}") for name in ("notebook.ipynb", "progress.json"))
    if blob is None or told is None:
        return False
    is_told = Progress.from_json(told.data).cell == 2
    return is_told and states(json.loads(blob.data))[1:2] == ["running"]


@pytest.fixture
def both_stores(tmp_path, s3_url):
    """Open a store on each backend."""
    return [open_store(url, base=tmp_path) for url in (str(tmp_path / "store"), s3_url)]


def test_steps_that_were_killed_whole(cli, project, both_stores):
    """After SIGKILL to all processes of a step, a sweep makes record and notebook agree."""
    project.pipeline("nightly", "make: {notebook: make.ipynb}", make=CELLS)
    env = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    runs = [step_run("make", pipeline="nightly", store=store.url) for store in both_stores]
    prefix = prefix_of(runs[0])
    steps = [project.start(*run.to_argv(), env=env) for run in runs]
    try:
        for store in both_stores:
            wait_for(lambda one=store: shows_second_cell(one, prefix))
    finally:
        for step in steps:
            kill_all(step.pid)
            step.communicate()
    for store in both_stores:
        check_swept(cli, store, prefix)


def check_swept(cli, store, prefix: str) -> None:
    """Sweep the store, and see that all that was left of the attempt tells one story."""
    assert record_of(store, prefix).state is AttemptState.RUNNING
    assert marked(store) == [prefix]
    wait_for(lambda: "amended" in cli("sweep", "--older-than=1s", "--store", store.url).out)
    assert marked(store) == []
    record = record_of(store, prefix)
    failure = record.failure
    assert (record.state, failure.cause, failure.cell) == ("failed", Cause.TERMINATED, 2)
    assert failure.evidence["last_seen"]["cell"] == 2
    assert record.duration_s > 0
    assert record.started_at < record.ended_at <= datetime.now(UTC)
    assert record.notebook == store.address(f"{prefix}/notebook.ipynb")
    book = json.loads(store.read(f"{prefix}/notebook.ipynb").data)
    told = [cell.state.value for cell in record.cells]
    assert told == states(book) == ["completed", "interrupted", "not_run"]
    (error,) = [one["outputs"][-1] for one in book["cells"] if "time.sleep" in one["source"]]
    assert (error["ename"], error["output_type"]) == ("terminated", "error")
    assert error["evalue"] in failure.message
