"""DAGs from pipelines: whole, without errors of the broken ones, quick to parse, and they run.

`UPDATE_GOLDEN=1 pytest tests/test_airflow_dags.py` writes the summary anew; read the diff.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.sdk.definitions.context import AirflowParsingContext
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.db import initdb

from nightmill.airflow import dags
from nightmill.airflow.housekeeping import DAG_ID
from nightmill.airflow.plan import make_plan
from nightmill.errors import SpecError
from tests import airflow_notes

REPOSITORY = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "dags.json"

NIGHTLY = """\
pipeline: nightly
description: What the night brings.
owner: night-shift
tags: [a, b]
schedule: "30 2 * * *"
timezone: America/New_York
start: 2013-03-01
end: 2013-12-31
catchup: true
max_active_runs: 2
retries: 4
retry_delay: 10s
expect_by: 3h
alerts:
  failure: [{notifier: airflow.sdk.BaseNotifier}]
  retry: [{notifier: airflow.sdk.BaseNotifier}]
  success: [{notifier: airflow.sdk.BaseNotifier}]
  late: [{notifier: airflow.sdk.BaseNotifier}]
steps:
  total:
    notebook: total.ipynb
    inputs: [numbers]
    outputs: {total: total.txt}
    timeout: 30m
    retries: 0
    retry_backoff: false
    trigger_rule: all_done
    airflow_pool: few
    priority: 7
  make:
    notebook: make.ipynb
    outputs: {numbers: numbers.json, more: more/}
"""
AFTER = """\
pipeline: after_all
after: [nightly.total, nightly.numbers]
steps:
  tell: {notebook: tell.ipynb, inputs: {total: nightly.total}}
"""
MAKE = [
    ("# Make | numbers", "markdown"),
    (
        """\
partition: str = ""
factor: int = 2  # times
fail: bool = False
numbers: str = ""
more: str = ""
""",
        "parameters",
    ),
    """\
from pathlib import Path
assert not fail, "as asked"
Path(numbers).write_text(partition * factor)
Path(more).mkdir(exist_ok=True)
(Path(more) / "a.txt").write_text("a")
""",
]
TOTAL = [
    ("numbers: str = ''\ntotal: str = ''", "parameters"),
    "from pathlib import Path\nPath(total).write_text(Path(numbers).read_text())",
]
TELL = [("total: str = ''", "parameters")]
TINY = """\
pipeline: tiny
retry_delay: 1s
alerts: {failure: [{notifier: tests.airflow_notes.Note}]}
steps:
  make: {notebook: make.ipynb, outputs: {numbers: numbers.json, more: more/}}
  total: {notebook: total.ipynb, inputs: [numbers], outputs: {total: total.txt}}
"""
MANY = """\
pipeline: many
steps:
  part: {notebook: part.ipynb, members: [north, south], outputs: {piece: piece.txt}}
  whole: {notebook: whole.ipynb, inputs: [piece], outputs: {sum: sum.txt}}
"""
PART = [
    ("member: str = ''\npiece: str = ''", "parameters"),
    "from pathlib import Path\nPath(piece).write_text(member)",
]
WHOLE = [
    ("piece: dict[str, str] = {}\nsum: str = ''", "parameters"),
    """\
from pathlib import Path
Path(sum).write_text(" ".join(f"{name}={Path(at).read_text()}" for name, at in piece.items()))
""",
]


@pytest.fixture(scope="module")
def files(make_project):
    """Make a project of four pipelines; those that run have none of what `dag.test` cannot do."""
    made = make_project("dags")
    for name, text in (("nightly", NIGHTLY), ("tiny", TINY)):
        made.pipeline(name, "", make=MAKE, total=TOTAL)
        made.write(f"notebooks/{name}/pipeline.yaml", text)
    made.pipeline("many", "", part=PART, whole=WHOLE)
    made.write("notebooks/many/pipeline.yaml", MANY)
    made.pipeline("after_all", "", tell=TELL)
    made.write("notebooks/after_all/pipeline.yaml", AFTER)
    _add_dags(made)
    return made


def _add_dags(made) -> None:
    for file in ("nightmill_dags.py", "nightmill_errors.py"):
        made.write(f"dags/{file}", (REPOSITORY / "dags" / file).read_bytes())
    made.write("dags/platform.yaml", "store: .nightmill/store\n")


@pytest.fixture(autouse=True)
def no_overlay(monkeypatch):
    """Read the plain platform.yaml, whatever the environment of the tests says."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)


@pytest.fixture(scope="module")
def bag(files):
    """Load the DAGs as Airflow does."""
    return DagBag(dag_folder=files.root / "dags")


def test_shipped_dags():
    """The shipped pipelines are DAGs without an error, and survive Airflow's database."""
    shipped = DagBag(dag_folder=REPOSITORY / "dags")
    assert shipped.import_errors == {}
    assert set(shipped.dags) == {"flight_delays", "flight_model", DAG_ID}
    for dag in shipped.dags.values():
        dag.check_cycle()
        written = DagSerialization.to_dict(dag)
        read = DagSerialization.from_dict(json.loads(json.dumps(written)))
        assert {task.task_id: task.upstream_task_ids for task in read.tasks} == {
            task.task_id: task.upstream_task_ids for task in dag.tasks
        }
        if dag.dag_id != DAG_ID:  # its schedule is a plain span
            assert read.timetable.serialize() == dag.schedule.serialize()
    night = shipped.dags["flight_delays"]
    assert night.get_task("score").upstream_task_ids == {"features"}
    assert night.get_task("features").upstream_task_ids == {"ingest"}
    assert night.get_task("evaluate").upstream_task_ids == {"ingest"}


def test_golden(bag, files):
    """Everything that Airflow is told of a pipeline is what the pipeline says."""
    assert bag.import_errors == {}
    found = {name: _summary(bag.dags[name], str(files.root)) for name in ("after_all", "nightly")}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


OF_A_DAG = (
    "catchup", "default_args", "description", "doc_md", "has_on_success_callback",
    "max_active_runs", "start_date", "tags", "timetable",
)  # fmt: skip
OF_A_TASK = (
    "doc_md", "downstream_task_ids", "execution_timeout", "has_on_failure_callback",
    "has_on_retry_callback", "max_retry_delay", "outlets", "owner", "pool", "priority_weight",
    "retries", "retry_delay", "retry_exponential_backoff", "store", "task_type", "trigger_rule",
)  # fmt: skip


def _summary(dag, root: str) -> dict[str, object]:
    """Give what Airflow stores of a DAG and is ours, less what differs between machines."""
    written = json.loads(json.dumps(DagSerialization.to_dict(dag)).replace(root, "ROOT"))["dag"]
    tasks = {task["__var"]["task_id"]: task["__var"] for task in written["tasks"]}
    return {
        **{name: written.get(name) for name in OF_A_DAG},
        "deadlines_s": [alert.interval.total_seconds() for alert in dag.deadline or ()],
        "params": {name: [param.value, param.schema] for name, param in dag.params.items()},
        "tasks": {
            task_id: {name: task.get(name) for name in OF_A_TASK} for task_id, task in tasks.items()
        },
    }


def test_broken_pipelines_are_told_apart(make_project):
    """A broken pipeline takes no other with it, not even a reader; its error names the line."""
    made = make_project("broken")
    _add_dags(made)
    made.pipeline("good", "s: {notebook: s.ipynb}\n", s=["1"])
    made.pipeline("yaml", "s: {notbook: s.ipynb}\n")
    made.pipeline("contract", "s: {notebook: s.ipynb, outputs: {x: x.txt}}\n", s=["1"])
    made.pipeline("alert", "s: {notebook: s.ipynb}\n", s=["1"])
    text = made.root / "notebooks/alert/pipeline.yaml"
    text.write_text(text.read_text() + "alerts: {failure: [{notifier: no.such.Thing}]}\n")
    made.pipeline(
        "reader",
        "s: {notebook: s.ipynb, inputs: {x: yaml.x}}\nt: {notebook: t.ipynb, inputs: [y]}\n"
        "u: {notebook: t.ipynb, outputs: {y: y.txt}}",
        s=[("x: str = ''", "parameters")],
        t=[("y: str = ''", "parameters")],
    )
    bag = DagBag(dag_folder=made.root / "dags")
    assert set(bag.dags) == {"good", "reader", DAG_ID}
    assert bag.dags["reader"].get_task("t").upstream_task_ids == {"u"}
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("nightmill_errors.py")
    assert "notebooks/yaml/pipeline.yaml:3: steps.s.notbook: unknown key `notbook`" in error
    assert "did you mean `notebook`?" in error
    assert "reader" not in error
    assert "contract/s.ipynb: x: the output `x` is not declared" in error
    assert "alert/pipeline.yaml:4: alerts.failure.0.notifier: there is no module `no.such`" in error


def test_a_broken_platform(make_project):
    """Without a platform there is no DAG, and the error names the file and the line."""
    made = make_project("platform")
    _add_dags(made)
    made.write("dags/platform.yaml", "store: .nightmill/store\nlauncher: lokal\n")
    with pytest.raises(SpecError, match=r"platform.yaml:2: launcher: `lokal`"):
        dags.load_dags(made.root / "dags")


def test_a_task_parses_its_own_dag_only(files, monkeypatch):
    """Where Airflow says which DAG it wants, no other is made."""
    monkeypatch.setattr(
        dags, "get_parsing_context", lambda: AirflowParsingContext("after_all", "tell")
    )
    assert list(dags.load_dags(files.root / "dags")) == ["after_all"]


def test_plan_of_one(files):
    """A plan of one pipeline still tells of errors elsewhere in its own files only."""
    plan = make_plan(files.root / "dags", only="nightly")
    assert [one.pipeline.name for one in plan.pipelines] == ["nightly"]
    assert [step.name for step in plan.pipelines[0].steps] == ["make", "total"]
    assert plan.errors == ()


PARSE = """
import socket, sys, time
from pathlib import Path

def refuse(*_):
    raise AssertionError("a connection while parsing")

socket.socket.connect = refuse
import airflow.providers.cncf.kubernetes.operators.pod

begun = time.process_time()
from nightmill.airflow.dags import load_dags
found = load_dags(Path(sys.argv[1]))
print("parsed", len(found), time.process_time() - begun)
print("heavy", sorted(set(sys.modules) & set(sys.argv[2:])))
"""
HEAVY = ("papermill", "nbformat", "nbclient", "jupyter_client", "IPython", "jupytext", "boto3")


def test_parsing_is_cheap(files):
    """Parsing adds less than 0.3 s to a bare KubernetesPodOperator, no Jupyter, no connection."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(files.root / "dags"), *HEAVY],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"NIGHTMILL_ENV": ""},
    )
    assert done.returncode == 0, done.stderr
    told = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    number, seconds = told["parsed"]
    assert number == "5"
    assert float(seconds) < 0.3
    assert told["heavy"] == ["[]"]


# -- running --------------------------------------------------------------------------------------


# What Airflow's in-process API server warns of, such as deprecated parts of its web framework.
AIRFLOWS_OWN_WARNINGS = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def database():
    """Set up Airflow's database, which takes seconds."""
    initdb()
    DagBundlesManager().sync_bundles_to_db()


@pytest.fixture
def run_dag(bag, files, database, monkeypatch):  # noqa: ARG001 - it has to be there
    """Return a function that runs a DAG in this process, with real steps and kernels."""
    for name, value in files.env.items():
        if name.startswith("NIGHTMILL_"):
            monkeypatch.setenv(name, value)

    def run(name: str = "tiny", **conf):
        sync_bag_to_db(bag, "dags-folder", None)
        return bag.dags[name].test(run_conf=conf)

    return run


@AIRFLOWS_OWN_WARNINGS
def test_it_runs(run_dag, files):
    """Steps run in real kernels, in order, for the day and with the value of the form."""
    ended = run_dag(partition="2013-03-05", factor=3)
    assert ended.state == "success"
    total = files.store.glob("runs/tiny/2013-03-05/*/total/1/outputs/total/total.txt")
    assert [file.read_text() for file in total] == ["2013-03-05" * 3]
    pointer = json.loads((files.store / "current/tiny/make/2013-03-05.json").read_bytes())
    assert pointer["run"].startswith(f"{ended.run_id}.")
    assert set(pointer["outputs"]) == {"numbers", "more"}


@AIRFLOWS_OWN_WARNINGS
def test_a_failing_notebook(run_dag, files):
    """A notebook that fails is not tried again, commits nothing, and its line is what is told."""
    airflow_notes.TOLD.clear()
    ended = run_dag(partition="2013-03-06", fail=True)
    assert ended.state == "failed"
    (record,) = files.store.glob("runs/tiny/2013-03-06/*/make/*/record.json")
    failure = json.loads(record.read_bytes())["failure"]
    assert failure["cause"] == "notebook_error"
    follows = "no retry: the same code would meet the same data"
    place = f"notebook: {record.with_name('notebook.ipynb')}#cell-{failure['cell']}"
    assert [f"{failure['message']}; {follows}; {place}"] == airflow_notes.TOLD
    assert not (files.store / "current/tiny/make/2013-03-06.json").exists()


def test_members(bag):
    """A step with members is mapped over them, and one task behind all of them has the outlets."""
    many = bag.dags["many"]
    assert many.get_task("part").is_mapped
    assert many.get_task("part").outlets == []
    behind = many.get_task("part.all_members")
    assert behind.upstream_task_ids == {"part"}
    assert [asset.name for asset in behind.outlets] == ["many.piece"]
    assert many.get_task("whole").upstream_task_ids == {"part"}


@AIRFLOWS_OWN_WARNINGS
def test_members_run(run_dag, files):
    """Each member runs as a mapped task of its own, and the next step reads them all."""
    ended = run_dag("many", partition="2013-03-07")
    assert ended.state == "success"
    (total,) = files.store.glob("runs/many/2013-03-07/*/whole/1/outputs/sum/sum.txt")
    assert total.read_text() == "north=north south=south"
