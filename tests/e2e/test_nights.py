"""Nights on a real cluster by a real scheduler, worker and triggerer, with only Airflow's rights.

One Airflow serves all tests. Pods wait for the triggerer in the pipelines that `DAGS` names, and
for their worker in the others.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
import pytest

from nightmill.airflow.standalone import StandaloneAirflow
from nightmill.store.keys import encode
from tests.e2e.airflow_api import Client, eventually
from tests.e2e.cluster import REPOSITORY
from tests.e2e.launchpad import PARTITION, Launchpad, launchpad, mounts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

DAYS = ("2013-03-01", "2013-03-02", "2013-03-03")
MONDAY = "2013-02-25"  # the model that these days are scored with
DAGS = """\
from pathlib import Path

from nightmill.airflow.dags import load_dags

for name, dag in load_dags(Path(__file__).parent).items():
    for task in dag.tasks:
        if name in ("flight_delays", "deferred"):
            task.deferrable = True
    globals()[name] = dag
"""
ANSWER = ("word: str = 'none'\nanswer: str = 'answer.txt'\nnap_s: int = 15", "parameters")
WRITE = "from pathlib import Path\nPath(answer).write_text(word)"
NAP = "import time; time.sleep(nap_s)"
TRIAL = """\
pipeline: trial
retries: 1
retry_delay: 1s
steps:
  naps: {notebook: naps.ipynb, kernel: tabular, memory: 500Mi, outputs: {answer: answer.txt}}
"""
AFTER = """\
pipeline: after
after: [trial.answer]
steps:
  spread:
    notebook: spread.ipynb
    kernel: tabular
    memory: 500Mi
    members: [north, south]
    inputs: {answer: {from: trial.answer, version: same_partition}}
    outputs: {part: part.txt}
"""
SPREAD = [
    ("answer: str = ''\nmember: str = ''\npart: str = 'part.txt'", "parameters"),
    "from pathlib import Path\nPath(part).write_text(member + Path(answer).read_text())",
]
DEFERRED = """\
pipeline: deferred
retries: 1
retry_delay: 1s
steps:
  naps:
    {notebook: naps.ipynb, kernel: tabular, pool: hasty, memory: 500Mi,
     outputs: {answer: answer.txt}}
"""
POOLS = {
    "default": "selector: {nightmill.io/pool: default}",
    "hasty": "selector: {nightmill.io/pool: default}\n  startup_timeout: 30s",
    "highcpu": (
        "selector: {nightmill.io/pool: highcpu}\n"
        '  tolerations: ["nightmill.io/pool=highcpu:NoSchedule"]'
    ),
    "highmem": (
        "selector: {nightmill.io/pool: highmem}\n"
        '  tolerations: ["nightmill.io/pool=highmem:NoSchedule"]'
    ),
}


@pytest.fixture(scope="module")
def pad(cluster, image, pod_s3, tmp_path_factory):
    """Make the namespace, and a project of the shipped pipelines and three of the test's own."""
    root = tmp_path_factory.mktemp("nights")
    for folder in ("kernels", "notebooks"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    with launchpad(cluster, image, pod_s3, root) as made:
        naps = {"naps": [ANSWER, NAP, WRITE]}
        made.write_pipeline(TRIAL, naps)
        made.write_pipeline(AFTER, {"spread": SPREAD}, name="after")
        made.write_pipeline(DEFERRED, naps, name="deferred")
        patch = textwrap.indent(mounts("trial", "after", "deferred"), "    ")
        made.write_platform(
            "".join(f"{name}:\n  {keys}\n  patch:\n{patch}" for name, keys in POOLS.items()),
            image="{{ var.value.nightmill_image }}",
        )
        (root / "dags" / "nightmill_dags.py").write_text(DAGS)
        yield made


@pytest.fixture(scope="module")
def airflow(pad):
    """Run the whole Airflow; a worker that is silent for 20 s is taken for dead."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)  # those of the tests that need no running Airflow
        for name, value in {
            "NIGHTMILL_ENV": "",
            "AWS_ACCESS_KEY_ID": "admin",
            "AWS_SECRET_ACCESS_KEY": "admin-secret",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            "AIRFLOW__CORE__PARALLELISM": "4",
        }.items():
            patch.setenv(name, value)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with StandaloneAirflow(pad.root, pad.root / ".nightmill" / "airflow", port) as running:
            yield running


@pytest.fixture(scope="module")
def api(airflow, pad):
    """Sign in, once the DAGs are there; the image is a Variable."""
    made = Client(airflow)
    made.call("POST", "variables", json={"key": "nightmill_image", "value": pad.image})
    eventually(lambda: len(made.call("GET", "dags")["dags"]) == 6, "six DAGs")
    yield made
    made.close()


@contextmanager
def watched(pad: Launchpad) -> Iterator[dict[str, set[str]]]:
    """Note on which nodes the pods of each step are, while something goes on."""
    nodes: dict[str, set[str]] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            for pod in pad.cluster.core.list_namespaced_pod(pad.cluster.namespace).items:
                if pod.spec.node_name:
                    step = pod.metadata.labels["nightmill.io/step"]
                    nodes.setdefault(step, set()).add(pod.spec.node_name)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield nodes
    finally:
        over.set()
        thread.join()


def on_laptop(pad: Launchpad, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start what a data scientist would run: the model, then the same three nights."""
    command = (
        f"{sys.executable} -m nightmill run flight_model --partition {MONDAY} && "
        f"{sys.executable} -m nightmill run flight_delays --from {DAYS[0]} --to {DAYS[-1]}"
    )
    return subprocess.Popen(
        ["sh", "-c", command],
        cwd=pad.root,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_three_nights(api, pad, kernel_environment):
    """A backfill of three nights runs each step on its pool; its scores are the laptop's."""
    kernels = {"NIGHTMILL_KERNELS": str(kernel_environment.path.parent)}
    with on_laptop(pad, kernels) as laptop, watched(pad) as nodes:
        run = api.trigger("flight_model", conf={"partition": MONDAY})
        assert api.ended("flight_model", run) == "success"
        api.call("PATCH", "dags/flight_delays", json={"is_paused": False})
        api.call(
            "POST",
            "backfills",
            json={
                "dag_id": "flight_delays",
                "from_date": f"{DAYS[0]}T00:00:00-05:00",
                "to_date": f"{DAYS[-1]}T23:59:00-05:00",
                "run_backwards": False,
                "max_active_runs": 3,
                "dag_run_conf": {},
                "reprocess_behavior": "none",
            },
        )
        for _ in DAYS:
            eventually(lambda: len(api.runs("flight_delays")) == len(DAYS), "three runs")
        for one in api.runs("flight_delays"):
            assert api.ended("flight_delays", one["dag_run_id"]) == "success"
        said, _ = laptop.communicate(timeout=240)
        assert laptop.returncode == 0, said
    assert nodes == {
        "training_set": {"highcpu-1"},
        "train": {"highmem-1"},
        "ingest": {"default-1"},
        "features": {"highcpu-1"},
        "score": {"default-1"},
        "evaluate": {"default-1"},
    }
    for day in DAYS:
        (ours,) = (pad.root / ".nightmill/store").glob(
            f"runs/flight_delays/{day}/*/score/1/outputs/scores/scores.parquet"
        )
        (key,) = [
            key
            for key in pad.keys(f"runs/flight_delays/{day}/")
            if key.endswith("/score/1/outputs/scores/scores.parquet")
        ]
        assert pad.read(key) == ours.read_bytes()
    pad.wait_for_no_pod()


def started(api: Client, pad: Launchpad, dag: str, run: str) -> str:
    """Wait until the step naps in its pod; return the pod's name."""
    xcoms = f"dags/{dag}/dagRuns/{run}/taskInstances/naps/xcomEntries"

    def name() -> str:
        found = api.call("GET", xcoms)["xcom_entries"]
        if "pod_name" not in [one["key"] for one in found]:
            return ""
        value = api.call("GET", f"{xcoms}/pod_name")["value"]
        return value if value in pad.pods() and "cell 2" in pad.cluster.log(value) else ""

    return eventually(name, f"the nap of {dag}")


def test_a_worker_is_killed(api, airflow, pad):
    """The retry ends the pod that nobody watches; one attempt commits, and no pod is left."""
    # It naps for longer than Airflow may need to find out: 20 s of silence, and some.
    run = api.trigger("trial", conf={"partition": PARTITION, "word": "first", "nap_s": 60})
    pod = started(api, pad, "trial", run)
    task = api.call("GET", f"dags/trial/dagRuns/{run}/taskInstances/naps")
    title = f"airflow worker -- {task['id']}"
    (worker,) = [one for one in airflow.processes() if _title(one) == title]
    worker.kill()
    assert api.ended("trial", run) == "success"
    assert api.tries("trial", run) == {"naps": ("success", 2)}
    assert pad.record("naps", run, 1)["failure"]["cause"] == "terminated"
    assert pad.pointer("naps")["token"]["attempt"] == 2
    assert pod not in pad.pods()
    pad.wait_for_no_pod()


def test_what_its_asset_triggers(api, pad):
    """The commit before wakes the pipeline after it, which runs a pod for each member."""
    api.call("PATCH", "dags/after", json={"is_paused": False})
    run = api.trigger("trial", conf={"partition": PARTITION, "word": "second"})
    assert api.ended("trial", run) == "success"
    links = api.call("GET", f"dags/trial/dagRuns/{run}/taskInstances/naps/links")
    attempt = pad.record("naps", run)["notebook"].rpartition("/runs/")[2]
    page = f"nightmill/runs/{attempt.removesuffix('/notebook.ipynb')}"  # below Airflow's own base
    assert links["extra_links"]["Executed notebook"] == page
    (woken, *_) = eventually(lambda: api.runs("after"), "the run after")
    assert woken["partition_key"] == PARTITION
    assert api.ended("after", woken["dag_run_id"]) == "success"
    for member in ("north", "south"):
        (key,) = [
            key
            for key in pad.keys(f"runs/after/{PARTITION}/{encode(woken['dag_run_id'])}.")
            if key.endswith(f"/spread/{member}/1/outputs/part/part.txt")
        ]
        assert pad.read(key).decode() == f"{member}second"


@pytest.mark.parametrize("dag", ["trial", "deferred"])
def test_marked_as_failed(api, pad, dag):
    """Marked as failed in Airflow's page, the pod ends, its record says so, nothing commits."""
    before = pad.pointer("naps", pipeline=dag)
    run = api.trigger(dag, conf={"partition": PARTITION, "nap_s": 600})  # it would not end before
    started(api, pad, dag, run)
    path = f"dags/{dag}/dagRuns/{run}/taskInstances/naps"
    api.call("PATCH", path, json={"new_state": "failed"})
    pad.wait_for_no_pod()
    assert pad.record("naps", run, pipeline=dag)["failure"]["cause"] == "terminated"
    assert pad.pointer("naps", pipeline=dag) == before


def test_the_triggerer_is_killed(api, airflow, pad):
    """A triggerer that dies and comes again costs a deferred step nothing."""
    run = api.trigger("deferred", conf={"partition": PARTITION, "word": "once"})
    pod = started(api, pad, "deferred", run)
    for one in psutil.Process(airflow._processes["triggerer"].pid).children(recursive=True):
        one.kill()
    airflow._processes["triggerer"].send_signal(signal.SIGKILL)
    airflow._processes["triggerer"].wait()
    assert pod in pad.pods()
    airflow._processes["triggerer"] = airflow._start(
        "triggerer", ("triggerer", "--skip-serve-logs")
    )
    assert api.ended("deferred", run) == "success"
    assert pad.attempts("naps", run, pipeline="deferred") == ["1"]
    pad.wait_for_no_pod()


def test_a_changed_image(api, pad):
    """A changed Variable takes effect at the next try, without a change of any DAG."""
    api.call(
        "PATCH",
        "variables/nightmill_image",
        json={"key": "nightmill_image", "value": "localhost/No such image"},
    )
    run = api.trigger("deferred", conf={"partition": PARTITION})
    eventually(
        lambda: "1" in pad.attempts("naps", run, pipeline="deferred"), "the end of the first try"
    )
    api.call(
        "PATCH",
        "variables/nightmill_image",
        json={"key": "nightmill_image", "value": pad.image},
    )
    assert pad.record("naps", run, pipeline="deferred")["failure"]["cause"] == "image"
    ended = api.ended("deferred", run)
    if ended == "failed":  # the second try was as quick as the change
        api.call("POST", f"dags/deferred/dagRuns/{run}/clear", json={"dry_run": False})
        ended = api.ended("deferred", run)
    assert ended == "success"
    pad.wait_for_no_pod()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.NoSuchProcess:
        return ""
