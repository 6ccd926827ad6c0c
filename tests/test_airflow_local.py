"""Steps as subprocesses of the worker: their log, their result, their end, what they cannot see."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk.execution_time.timeout import timeout

from nightmill.airflow import local
from nightmill.airflow.local import LocalStepOperator, step_environment
from tests.test_airflow_operator_fields import Log, context

YAML = """\
pipeline: p
steps:
  s: {notebook: s.ipynb, outputs: {made: made.txt}}
"""
GOOD = [
    ("made: str = ''\nmode: str = 'good'\nmarker: str = ''", "parameters"),
    """\
import os, time
from pathlib import Path
if mode == "bad":
    raise ValueError("no good")
names = sorted(name for name in os.environ if "AIRFLOW" in name or name == "PLATFORM_SAYS")
Path(made).write_text(repr(names))
if mode == "slow":
    Path(marker).write_text(str(os.getpid()))
    time.sleep(600)
""",
]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project of one small step."""
    made = make_project("local")
    made.pipeline("p", "", s=GOOD)
    made.write("notebooks/p/pipeline.yaml", YAML)
    return made


@pytest.fixture
def operator(files, monkeypatch):
    """Return a function that makes the operator; each of its runs is one of its own."""
    monkeypatch.setenv("NIGHTMILL_KERNELS", files.env["NIGHTMILL_KERNELS"])
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "mysql://user:password@host")

    def make(**given) -> LocalStepOperator:
        return LocalStepOperator(
            task_id="s",
            pipeline="p",
            step="s",
            store=".nightmill/store",
            project=str(files.root),
            given=given,
            environment={"PLATFORM_SAYS": "hello"},
        )

    return make


def run(name: str):
    """Make the context of a run of this name, begun now."""
    return context(run_id=name, start_date=datetime.now(UTC))


def test_success(operator, files, capfd):
    """The step runs in the project, its lines are in the log, its result is an XCom."""
    now = run("good")
    operator().execute(now)
    result = now["pushed"]["result"]
    assert result["state"] == "succeeded"
    (made,) = files.store.glob("runs/p/2013-03-01/good.*/s/3/outputs/made/made.txt")
    # What the platform says, and nothing of Airflow's, so none of its connections.
    assert made.read_text() == "['PLATFORM_SAYS']"
    assert "cell 2: " in capfd.readouterr().out


def test_what_has_committed_is_not_run_again(operator, files):
    """A try that committed, and whose worker died before it could say so, needs no second one."""
    now = run("twice")
    operator().execute(now)
    now["ti"].try_number += 1
    again = operator(mode="bad")
    again._cached_logger = Log()
    again.execute(now)
    result = now["pushed"]["result"]
    assert (result["state"], result["committed"]) == ("succeeded", True)
    assert result["record"].endswith("/s/3/record.json")
    (told, *_) = again.log.told
    assert told == ("info", f"An earlier try has committed this already: {result['record']}")
    assert len(list(files.store.glob("runs/p/2013-03-01/twice.*/s/*"))) == 1


def test_failure(operator):
    """A notebook's own error is not tried again; the log ends with its last words and the line."""
    task, now = operator(mode="bad"), run("bad")
    task._cached_logger = Log()
    with pytest.raises(AirflowFailException) as caught:
        task.execute(now)
    assert now["pushed"]["result"]["cause"] == "notebook_error"
    message = 'notebook_error in cell 2/2 "import os, time": ValueError: no good; '
    line = str(caught.value)
    assert line.startswith(f"{message}no retry: the same code would meet the same data; notebook: ")
    assert line.endswith("/s/3/notebook.ipynb#cell-2")
    told = task.log.told
    assert told[-1] == ("error", line)
    assert told[-2][0] == "error"
    assert told[-2][1].startswith(f"{message}notebook: ")  # the step's own last word
    assert told[-4] == ("info", "  | ValueError: no good")


def test_the_notebook_is_a_link(operator):
    """A step on this machine leads to its executed notebook as one in a pod does."""
    assert [link.name for link in operator().operator_extra_links] == ["Executed notebook"]


def _pid_in(marker: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if marker.exists() and marker.read_text():
            return int(marker.read_text())
        time.sleep(0.1)  # a poll with a deadline
    return pytest.fail("the step did not come to its cell")


def test_on_kill(operator, files, tmp_path):
    """A killed task ends its step in good order: the record says so, nothing is committed."""
    marker = tmp_path / "marker"
    task, now = operator(mode="slow", marker=str(marker)), run("killed")
    raised: list[BaseException] = []

    def execute() -> None:
        try:
            task.execute(now)
        except AirflowException as error:
            raised.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    kernel = _pid_in(marker)
    task.on_kill()
    thread.join(60)
    assert not thread.is_alive()
    assert not psutil.pid_exists(kernel)
    (error,) = raised
    assert str(error).startswith("terminated")
    assert not isinstance(error, AirflowFailException)  # another try may well succeed
    (record,) = files.store.glob("runs/p/2013-03-01/killed.*/s/3/record.json")
    assert json.loads(record.read_bytes())["failure"]["cause"] == "terminated"


def test_airflows_own_limit(operator, files, tmp_path):
    """A step that Airflow's own limit ends has one cause, in its record as in the error."""
    now = run("late")
    task = operator(mode="slow", marker=str(tmp_path / "marker"))
    with pytest.raises(AirflowException) as caught, timeout(6):
        task.execute(now)
    line = str(caught.value)
    assert line.startswith("deadline")
    assert "execution_timeout" in line
    assert "; next attempt in " in line
    (record,) = files.store.glob("runs/p/2013-03-01/late.*/s/3/record.json")
    failure = json.loads(record.read_bytes())["failure"]
    assert failure["cause"] == now["pushed"]["result"]["cause"] == "deadline"
    assert line.startswith(failure["message"])


def test_on_kill_before_anything_runs(operator):
    """A task that is killed before its step has started has nothing to end."""
    operator().on_kill()


def test_a_step_that_ignores_the_request(operator, monkeypatch, tmp_path):
    """A step that does not stop within its grace is killed."""
    script = tmp_path / "nightmill.py"
    script.write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)\n"
    )
    monkeypatch.setattr(local, "GRACE_S", 0.5)
    task = operator()
    task.project = str(tmp_path)  # `python -m nightmill` finds the script in its own folder
    with task._started([], tmp_path / "result.json") as process:
        assert process.stdout.readline() == "deaf\n"
        task.on_kill()
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("end", "cause", "words"),
    [
        ("os._exit(14)", "out_of_memory", "the memory limit was reached"),
        ("os.kill(os.getpid(), 9)", "terminated", "SIGTERM"),
    ],
)
def test_a_step_without_a_word(operator, tmp_path, end, cause, words):
    """A step that dies mute is judged by its exit code, and its record says the same."""
    (tmp_path / "nightmill.py").write_text(f"import os\n{end}\n")
    task, now = operator(), run(cause)
    step_run = task.make_step_run(now)
    task.project = str(tmp_path)  # `python -m nightmill` finds the script in its own folder
    task.make_step_run = lambda _context: step_run
    with pytest.raises(AirflowException, match=rf"^{cause}: .*{words}.*; next attempt in "):
        task.execute(now)
    result = now["pushed"]["result"]
    assert result["cause"] == cause
    (record,) = tmp_path.glob(f".nightmill/store/runs/p/2013-03-01/{cause}.*/s/3/record.json")
    failure = json.loads(record.read_bytes())["failure"]
    assert (failure["cause"], failure["message"]) == (cause, result["message"])


def test_environment():
    """A step gets the worker's environment but for what is Airflow's own."""
    worker = {"PATH": "/bin", "AWS_REGION": "x", "AIRFLOW_CONN_A": "secret", "AIRFLOW_HOME": "/a"}
    worker |= {"AIRFLOW__CORE__FERNET_KEY": "secret", "_AIRFLOW__AS_LIBRARY": "1"}
    assert step_environment(worker) == {"PATH": "/bin", "AWS_REGION": "x"}
    assert "PATH" in step_environment(os.environ)
