"""People asked in a real Airflow: its form, its answer, and what it leaves in store and Airflow.

One Airflow serves all tests: it takes half a minute to start. Airflow can miss an answer that comes
before its scheduler knows that the worker of the parked task has ended: a test waits for that.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightmill.airflow.standalone import USER, StandaloneAirflow
from nightmill.spec.record import Record
from nightmill.spec.remarks import make_decision
from nightmill.store.approval import approve, reject
from nightmill.store.history import prefix_of
from nightmill.store.open import open_store
from tests.e2e.airflow_api import Client, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]

ASKED = """\
make:
  notebook: make.ipynb
  outputs: {numbers: {path: numbers.json, review: required}}
total: {notebook: total.ipynb, inputs: [numbers], outputs: {total: total.txt}}
"""
MANY = """\
part: {notebook: part.ipynb, members: [a, b], outputs: {piece: {path: p.txt, review: required}}}
whole: {notebook: whole.ipynb, inputs: [piece]}
"""
MAKE = [
    ("partition: str = ''\nnumbers: str = 'n.json'\nfactor: int = 2", "parameters"),
    "from pathlib import Path\nPath(numbers).write_text(f'[{factor}]')",
]
TOTAL = [
    ("numbers: str = 'n.json'\ntotal: str = 't.txt'", "parameters"),
    "from pathlib import Path\nPath(total).write_text('total of ' + Path(numbers).read_text())",
]
PART = [
    ("member: str = ''\npiece: str = 'p.txt'", "parameters"),
    "from pathlib import Path\nPath(piece).write_text(member)",
]
WHOLE = [("piece: dict[str, str] = {}", "parameters"), "assert set(piece) == {'a', 'b'}"]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project with a step that is reviewed, and one with members."""
    made = make_project("reviewed")
    made.pipeline("asked", ASKED, make=MAKE, total=TOTAL)
    made.pipeline("many", MANY, part=PART, whole=WHOLE)
    for file in ("nightmill_dags.py", "nightmill_errors.py"):
        made.write(f"dags/{file}", (REPOSITORY / "dags" / file).read_bytes())
    platform = "store: .nightmill/store\nreview_url: https://review.example/nightmill\n"
    made.write("dags/platform.yaml", platform)
    return made


@pytest.fixture(scope="module")
def client(files):
    """Run the whole Airflow, and sign in once the DAGs are there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)  # those of the tests that need no running Airflow
        patch.setenv("NIGHTMILL_KERNELS", files.env["NIGHTMILL_KERNELS"])
        patch.setenv("NIGHTMILL_ENV", "")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        running = StandaloneAirflow(files.root, files.root / ".nightmill" / "airflow", port)
        with running, closing(Client(running)) as made:
            eventually(lambda: len(made.call("GET", "dags")["dags"]) == 3, "three DAGs")
            yield made
    shutil.rmtree(running.home)


def asked(client: Client, dag: str, run: str, task: str) -> dict[str, Any]:
    """Wait until the task waits for an answer and holds no worker any more; return its form."""

    def waits() -> bool:
        state = client.tries(dag, run).get(task, ("", 0))[0]
        assert state not in ("failed", "upstream_failed", "skipped"), state
        return state in ("awaiting_input", "deferred") and client.is_left(dag, run, task)

    eventually(waits, f"the question of {task}")
    return client.call("GET", form(dag, run, task))


def form(dag: str, run: str, task: str) -> str:
    """Name the form of a task."""
    return f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"


def respond(client: Client, place: str, choice: str, comment: str) -> None:
    """Answer as a person does who fills in the form."""
    answer = {"chosen_options": [choice], "params_input": {"comment": comment}}
    client.call("PATCH", place, json=answer)


def record_of(files: Any, pipeline: str, step: str, partition: str) -> Record:
    """Read the one record of a step for a partition."""
    (found,) = files.store.glob(f"runs/{pipeline}/{partition}/*/{step}/1/record.json")
    return Record.from_json(found.read_bytes())


def committed(files: Any, pipeline: str, step: str, partition: str) -> bool:
    """Whether the step has a pointer."""
    return (files.store / "current" / pipeline / step / f"{partition}.json").exists()


def told(client: Client, dag: str, run: str) -> list[str | None]:
    """List the addresses that the assets' events of a run carry, of the step that is reviewed."""
    wanted = {"source_dag_id": dag, "source_run_id": run, "limit": 100}
    events = client.call("GET", "assets/events", params=wanted)
    return [
        one["extra"].get("address")
        for one in events["asset_events"]
        if one["source_task_id"].endswith(".review")
    ]


def test_an_approval_in_airflow_is_the_commit(client, files):
    """The form tells what was made; the answer commits it, in the responder's name."""
    run = client.trigger("asked", conf={"partition": "2013-03-01", "factor": 7})
    found = asked(client, "asked", run, "make.review")
    assert found["subject"] == "asked 2013-03-01: may numbers become current?"
    record = record_of(files, "asked", "make", "2013-03-01")
    assert record.is_held
    assert not committed(files, "asked", "make", "2013-03-01")
    assert "| numbers | " in found["body"]
    assert f"(<https://review.example/nightmill/{prefix_of(record)}>)" in found["body"]
    assert list(found["params"]) == ["comment"]
    respond(client, form("asked", run, "make.review"), "Approve", "looks right")
    assert client.ended("asked", run) == "success"
    after = record_of(files, "asked", "make", "2013-03-01")
    assert (after.committed, after.review.decision.by) == (True, USER)
    assert after.review.decision.comment == "looks right"
    (place,) = files.store.glob("runs/asked/2013-03-01/*/total/1/outputs/total/total.txt")
    assert place.read_text() == "total of [7]"
    published = files.store / "data/asked/numbers/partition=2013-03-01/numbers.json"
    assert json.loads(published.read_text()) == [7]
    assert told(client, "asked", run) == [after.outputs["numbers"].address]


def test_a_rejection_in_airflow_skips_what_follows(client, files):
    """Nothing is committed and no asset has an event; the run is over, and nobody is woken."""
    run = client.trigger("asked", conf={"partition": "2013-03-02"})
    asked(client, "asked", run, "make.review")
    respond(client, form("asked", run, "make.review"), "Reject", "too few")
    assert client.ended("asked", run) == "success"
    assert client.tries("asked", run) == {
        "make": ("success", 1),
        "make.review": ("success", 1),
        "total": ("skipped", 0),
    }
    record = record_of(files, "asked", "make", "2013-03-02")
    assert (record.is_rejected, record.review.decision.comment) == (True, "too few")
    assert not committed(files, "asked", "make", "2013-03-02")
    assert told(client, "asked", run) == []


@pytest.mark.parametrize(
    ("act", "day", "end"), [(approve, "2013-03-03", "success"), (reject, "2013-03-04", "skipped")]
)
def test_a_decision_on_the_page_stands_against_a_later_answer(client, files, act, day, end):
    """Who answers in Airflow what was decided elsewhere finds it decided, whatever they choose."""
    run = client.trigger("asked", conf={"partition": day})
    asked(client, "asked", run, "make.review")
    store = open_store(str(files.store), base=files.root)
    is_yes = act is approve
    decision = make_decision(approved=is_yes, by="page", comment="seen there", at=datetime.now(UTC))
    act(store, prefix_of(record_of(files, "asked", "make", day)), decision)
    respond(client, form("asked", run, "make.review"), "Reject" if is_yes else "Approve", "")
    assert client.ended("asked", run) == "success"
    assert client.tries("asked", run)["total"][0] == end
    record = record_of(files, "asked", "make", day)
    assert (record.committed, record.review.decision) == (is_yes, decision)
    assert len(told(client, "asked", run)) == is_yes


def test_members_are_approved_by_one_answer(client, files):
    """The question names every member; the step behind reads them all."""
    run = client.trigger("many", conf={"partition": "2013-03-05"})
    found = asked(client, "many", run, "part.review")
    assert found["body"].count("\n### part") == 2
    respond(client, form("many", run, "part.review"), "Approve", "")
    assert client.ended("many", run) == "success"
    for member in ("a", "b"):
        assert (files.store / f"current/many/part/2013-03-05/{member}.json").exists()
