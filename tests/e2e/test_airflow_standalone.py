"""A real Airflow on loopback, as `make airflow` starts it, running small pipelines with kernels.

One Airflow serves all tests: it takes half a minute to start. Each test waits for what its own
pipeline should have left in the store, with a deadline.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import textwrap
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightmill.airflow.housekeeping import DAG_ID
from nightmill.airflow.standalone import StandaloneAirflow
from tests.e2e.airflow_api import Client, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]

NUMBERS = """\
pipeline: numbers
description: Numbers of the day.
owner: night-shift
tags: [small]
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-03-01
end: 2013-12-31
steps:
  make:
    notebook: make.ipynb
    outputs: {numbers: numbers.json}
  total:
    notebook: total.ipynb
    inputs: [numbers]
    outputs: {total: total.txt}
"""
MAKE = [
    ("# Make the numbers", "markdown"),
    (
        """\
from datetime import date
partition: date = date(2013, 3, 1)
factor: int = 2  # what every number is multiplied by
shape: str = "line"
numbers: str = "numbers.json"
""",
        "parameters",
    ),
    """\
import json
from pathlib import Path
Path(numbers).write_text(json.dumps([factor * partition.day, shape]))
""",
]
TOTAL = [
    ("numbers: str = 'numbers.json'\ntotal: str = 'total.txt'", "parameters"),
    "from pathlib import Path\nPath(total).write_text('total of ' + Path(numbers).read_text())",
]
REPORT = """\
pipeline: report
after: [numbers.total]
steps:
  tell:
    notebook: tell.ipynb
    inputs: {total: {from: numbers.total, version: same_partition}}
    outputs: {story: story.txt}
"""
TELL = [
    ("partition: str = ''\ntotal: str = ''\nstory: str = 'story.txt'", "parameters"),
    "from pathlib import Path\nPath(story).write_text(partition + ': ' + Path(total).read_text())",
]
PATIENT = """\
pipeline: patient
steps:
  tell:
    notebook: tell.ipynb
    inputs: {total: {from: numbers.total, version: same_partition, wait: 10m}}
    outputs: {story: story.txt}
"""
FLAKY = """\
pipeline: flaky
retries: 1
retry_delay: 1s
expect_by: 1s
alerts:
  retry: [{notifier: notes.Note, arguments: {text: "retry of {{ ti.task_id }}: {{ exception }}"}}]
  success: [{notifier: notes.Note, arguments: {text: "success of {{ dag.dag_id }}"}}]
  late: [{notifier: notes.Note, arguments: {text: late}}]
steps:
  stumble:
    notebook: stumble.ipynb
    outputs: {there: there.txt}
"""
STUMBLE = [
    ("marker: str = ''\nthere: str = 'there.txt'", "parameters"),
    """\
import os
from pathlib import Path
if not Path(marker).exists():
    Path(marker).write_text("was here")
    os.kill(os.getpid(), 9)  # a kernel that dies is worth a retry
Path(there).write_text("arrived")
""",
]
NOTES = '''\
"""A notifier that leaves a line in a file."""

import os

from airflow.sdk import BaseNotifier


class Note(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        with open(os.environ["NOTES_FILE"], "a") as file:
            file.write(self.text + "\\n")
'''


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project of small pipelines, one of them broken."""
    made = make_project("airflow")
    for name, text, notebooks in (
        ("numbers", NUMBERS, {"make": MAKE, "total": TOTAL}),
        ("report", REPORT, {"tell": TELL}),
        ("patient", PATIENT, {"tell": TELL}),
        ("flaky", FLAKY, {"stumble": STUMBLE}),
        ("broken", "pipeline: broken\nsteps:\n  s: {notbook: s.ipynb}\n", {}),
    ):
        made.pipeline(name, "", **notebooks)
        made.write(f"notebooks/{name}/pipeline.yaml", textwrap.dedent(text))
    for file in ("nightmill_dags.py", "nightmill_errors.py"):
        made.write(f"dags/{file}", (REPOSITORY / "dags" / file).read_bytes())
    made.write("dags/platform.yaml", "store: .nightmill/store\n")
    made.write("plugins/notes.py", NOTES)
    return made


@pytest.fixture(scope="module")
def airflow(files):
    """Run the whole Airflow, and see that it leaves no process and listens nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)  # those of the tests that need no running Airflow
        patch.setenv("NIGHTMILL_KERNELS", files.env["NIGHTMILL_KERNELS"])
        patch.setenv("PYTHONPATH", str(files.root / "plugins"))
        patch.setenv("NOTES_FILE", str(files.root / "notes.txt"))
        patch.setenv("NIGHTMILL_ENV", "")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        running = StandaloneAirflow(files.root, files.root / ".nightmill" / "airflow", port)
        with running:
            yield running
            family = running.processes()
    _gone, left = psutil.wait_procs(family, timeout=30)
    assert not [one for one in left if is_alive(one)]
    shutil.rmtree(running.home)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; it may end while it is looked at."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="module")
def client(airflow):
    """Sign in, once the DAGs are there."""
    made = Client(airflow)
    eventually(lambda: len(made.call("GET", "dags")["dags"]) == 5, "five DAGs")
    yield made
    made.close()


def committed(files: Any, pipeline: str, step: str, partition: str) -> dict[str, Any] | None:
    """Read the pointer of a step."""
    pointer = files.store / "current" / pipeline / step / f"{partition}.json"
    return json.loads(pointer.read_bytes()) if pointer.exists() else None


def content(files: Any, pipeline: str, step: str, partition: str) -> str:
    """Read the one output of a step as it stands committed."""
    found = files.store.glob(f"runs/{pipeline}/{partition}/*/{step}/*/outputs/*/*")
    return max(found, key=lambda file: file.stat().st_mtime).read_text()


@pytest.mark.usefixtures("client")
def test_listens_on_loopback_alone(airflow):
    """Nobody but this machine can reach any part of it."""
    addresses = set()
    for process in airflow.processes():
        with suppress(psutil.NoSuchProcess):  # some live for moments
            addresses |= {
                connection.laddr.ip
                for connection in process.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
            }
    assert addresses == {"127.0.0.1"}


def test_a_broken_pipeline_is_an_import_error(client):
    """It names file and line, and takes no other DAG with it."""
    errors = eventually(
        lambda: client.call("GET", "importErrors")["import_errors"], "the import error"
    )
    (error,) = errors
    assert error["filename"] == "nightmill_errors.py"
    assert "notebooks/broken/pipeline.yaml:3: steps.s.notbook: unknown key" in error["stack_trace"]
    assert "did you mean `notebook`?" in error["stack_trace"]


def test_housekeeping_runs_by_itself(client):
    """Nobody has to unpause it, and its first run does not wait for a whole period."""
    assert client.call("GET", f"dags/{DAG_ID}")["is_paused"] is False
    (first, *_) = eventually(lambda: client.runs(DAG_ID), "a run of housekeeping")
    assert first["run_type"] == "scheduled"
    assert client.ended(DAG_ID, first["dag_run_id"]) == "success"
    said = _log(client, DAG_ID, first["dag_run_id"], "sweep")
    assert any("Attempts that are marked as running: " in line for line in said)


def test_backfill_and_what_it_triggers(client, files):
    """Each night of a backfill scores its own day, and wakes one run of the pipeline after it."""
    for dag in ("numbers", "report"):
        client.call("PATCH", f"dags/{dag}", json={"is_paused": False})
    client.call(
        "POST",
        "backfills",
        json={
            "dag_id": "numbers",
            "from_date": "2013-03-09T00:00:00-05:00",
            "to_date": "2013-03-11T23:59:00-04:00",
            "run_backwards": False,
            "max_active_runs": 1,
            "dag_run_conf": {},
            "reprocess_behavior": "none",
        },
    )
    days = ["2013-03-09", "2013-03-10", "2013-03-11"]  # the clocks change on the 10th at 02:00
    for day in days:
        eventually(lambda day=day: committed(files, "report", "tell", day), f"report of {day}")
    for day in days:
        number = 2 * int(day[-2:])
        told = content(files, "report", "tell", day)
        assert told == f'{day}: total of [{number}, "line"]'
    assert sorted(run["partition_key"] for run in client.runs("report")) == days
    assert [run["run_type"] for run in client.runs("numbers")] == ["backfill"] * 3


def test_a_form_overrides_what_was_changed(client, files):
    """A manual run takes its day and its values from the form; the rest stays the default."""
    conf = {"partition": "2013-04-05", "factor": 7, "shape": "line"}
    now = datetime.now(UTC).isoformat()  # what the form fills in: long after the pipeline's end
    run = client.trigger("numbers", conf=conf, logical_date=now)
    assert client.ended("numbers", run) == "success"
    assert content(files, "numbers", "make", "2013-04-05") == '[35, "line"]'
    (record,) = files.store.glob("runs/numbers/2013-04-05/*/make/1/record.json")
    assert json.loads(record.read_bytes())["parameters"]["factor"] == 7


def test_a_misspelt_value_fails_before_anything_runs(client, files):
    """A name that no notebook declares is refused, and not retried."""
    run = client.trigger("numbers", conf={"partition": "2013-04-06", "facter": 7})
    assert client.ended("numbers", run) == "failed"
    assert client.tries("numbers", run) == {
        "make": ("failed", 1),
        "total": ("upstream_failed", 0),
    }
    assert not (files.store / "runs" / "numbers" / "2013-04-06").exists()


def test_a_run_without_a_logical_date(client):
    """It is for the day on which it was asked for, in the pipeline's time zone."""
    run = client.trigger("numbers", conf={})
    assert client.ended("numbers", run) == "failed"  # that day is after the pipeline's end
    (line,) = [
        line for line in _log(client, "numbers", run, "make") if "after the pipeline" in line
    ]
    assert "bad_parameters" in line


def _log(client: Client, dag: str, run: str, task: str) -> list[str]:
    path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1?full_content=true"
    lines = client.call("GET", path, headers={"Accept": "application/json"})["content"]
    return [json.dumps(line) for line in lines]


def test_a_retry_after_a_failure(client, files):
    """A kernel that died is tried again, as a new attempt; alerts tell, also that it is late."""
    marker = files.root / "marker"
    conf = {"partition": "2013-05-01", "marker": str(marker)}
    run = client.trigger("flaky", conf=conf)
    assert client.ended("flaky", run) == "success"
    assert client.tries("flaky", run) == {"stumble": ("success", 2)}
    records = sorted(files.store.glob("runs/flaky/2013-05-01/*/stumble/*/record.json"))
    causes = [json.loads(record.read_bytes()).get("failure") for record in records]
    assert [failure and failure["cause"] for failure in causes] == ["kernel_died", None]
    notes = files.root / "notes.txt"
    place = f"notebook: {records[0].with_name('notebook.ipynb')}#cell-2"
    line = f"{causes[0]['message']}; next attempt in 1 s to 2 s; {place}"
    wanted = {f"retry of stumble: {line}", "success of flaky", "late"}
    eventually(
        lambda: notes.exists() and set(notes.read_text().splitlines()) >= wanted,
        f"the notes {wanted}",
    )


def test_a_cleared_run_is_newer(client, files):
    """Clearing a run makes it again, and the new outputs replace the old ones."""
    run = client.trigger("numbers", conf={"partition": "2013-04-07"})
    assert client.ended("numbers", run) == "success"
    before = committed(files, "numbers", "make", "2013-04-07")
    client.call("POST", f"dags/numbers/dagRuns/{run}/clear", json={"dry_run": False})
    assert client.ended("numbers", run) == "success"
    after = eventually(
        lambda: (now := committed(files, "numbers", "make", "2013-04-07")) != before and now,
        "the second commit",
    )
    assert after["token"]["order"] > before["token"]["order"]
    assert after["token"]["attempt"] == 2


def test_a_step_waits_for_an_input_without_a_worker(client, files):
    """While it waits it is the scheduler's; it goes on by itself, and that is one try."""
    day = "2013-06-07"
    waiting = client.trigger("patient", conf={"partition": day})
    given_back = {"tell": ("up_for_reschedule", 1)}
    eventually(lambda: client.tries("patient", waiting) == given_back, "the wait")
    assert client.ended("numbers", client.trigger("numbers", conf={"partition": day})) == "success"
    assert client.ended("patient", waiting) == "success"
    assert client.tries("patient", waiting) == {"tell": ("success", 1)}
    assert content(files, "patient", "tell", day) == f'{day}: total of [14, "line"]'
    assert len(list(files.store.glob(f"runs/patient/{day}/*/tell/*/record.json"))) == 1
