"""The operator against a real cluster, by hand: one try at a time, with only Airflow's rights.

A real scheduler is in test_nights.py. Here the tests are the scheduler, so that a worker can vanish
and a retry come at the worst moment.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import textwrap
import threading
import time
from datetime import UTC, datetime
from uuid import uuid4

import psutil
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk.exceptions import TaskDeferred

from nightmill.airflow.pods import Pods
from tests.e2e.cluster import REPOSITORY, RIG, run_rig, wait_until
from tests.e2e.launchpad import PIPELINE as NAME
from tests.e2e.launchpad import Background, Launchpad, Lines, Try, launchpad, mounts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

GROWING = """\
kept = []
for _ in range(40):
    kept.append(bytearray(b"x" * (16 << 20)))  # 640 MiB, all of it touched
"""
NOTEBOOKS = {
    "adds": [
        ("word: str = 'none'\nanswer: str = 'answer.txt'", "parameters"),
        "from pathlib import Path\nPath(answer).write_text(word)",
    ],
    "afar": ["1 + 1"],
    "fails": ["x = 1", "x / 0"],
    "sleeps": ["x = 1", "print('about to sleep')\nimport time; time.sleep(600)"],
    "naps": ["import time; time.sleep(75)"],
    "grows": [GROWING],
    "noisy": ["1 + 1"],
    "late": ["1 + 1"],
    "unpulled": ["1 + 1"],
}
PIPELINE = """\
pipeline: trial
steps:
  adds: {notebook: adds.ipynb, kernel: tabular, memory: 500Mi, outputs: {answer: answer.txt}}
  afar: {notebook: afar.ipynb, kernel: tabular, memory: 500Mi, pool: own}
  fails: {notebook: fails.ipynb, kernel: tabular, memory: 500Mi}
  sleeps: {notebook: sleeps.ipynb, kernel: tabular, memory: 500Mi, pool: hurried}
  doomed: {notebook: sleeps.ipynb, kernel: tabular, memory: 500Mi, pool: own}
  naps: {notebook: naps.ipynb, kernel: tabular, memory: 500Mi}
  dozes: {notebook: naps.ipynb, kernel: tabular, memory: 500Mi}
  grows: {notebook: grows.ipynb, kernel: tabular, memory: 500Mi, pool: small}
  noisy: {notebook: noisy.ipynb, kernel: tabular, memory: 500Mi, pool: noisy}
  late: {notebook: late.ipynb, kernel: tabular, memory: 500Mi, pool: never}
  unpulled:
    {notebook: unpulled.ipynb, kernel: tabular, pool: hasty, memory: 500Mi,
     image: "localhost/none:1"}
"""
HURRIED = """\
  terminationGracePeriodSeconds: 10
  tolerations:
  - {key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 5}
  - {key: node.kubernetes.io/not-ready, effect: NoExecute, operator: Exists, tolerationSeconds: 5}
"""
NOISE = """\
      command:
        - sh
        - -c
        - |
          head -c 200000000 /dev/zero | tr '\\0' x | fold -w 999
          exec tini -- nightmill "$@"
        - sh
"""
CPU = "defaults: {cpu: 500m}"


def pools(own: str) -> str:
    """Describe the pools: the rig's, and `own`, whose nodes each test adds and removes."""
    patch = textwrap.indent(mounts(NAME), "    ")
    hurried = patch + textwrap.indent(HURRIED, "    ")
    noisy = patch.replace(
        "    - name: base\n", "    - name: base\n" + textwrap.indent(NOISE, "    ")
    )
    default = "selector: {nightmill.io/pool: default}"
    highmem = (
        "selector: {nightmill.io/pool: highmem}\n"
        '  tolerations: ["nightmill.io/pool=highmem:NoSchedule"]'
    )
    taken = {
        "default": (default, patch),
        "hasty": (f"{default}\n  startup_timeout: 20s", patch),
        "small": (f"{default}\n  next: highmem", patch),
        "highmem": (f"{highmem}\n  largest: {{memory: 8Gi}}", patch),
        "noisy": (default, noisy),
        "hurried": (default, hurried),
        "own": (f"selector: {{nightmill.io/pool: {own}}}\n  schedule_timeout: 5m", hurried),
        "never": (f"selector: {{nightmill.io/pool: {own}-no}}\n  schedule_timeout: 6s", patch),
    }
    return "".join(
        f"{name}:\n  {keys}\n  {CPU}\n  patch:\n{text}" for name, (keys, text) in taken.items()
    )


@pytest.fixture(scope="module")
def own_pool():
    """Name a pool that no other test's nodes are in."""
    return f"e2e-{uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def pad(cluster, image, pod_s3, own_pool, tmp_path_factory):
    """Make the namespace and the project; the worker has credentials of the store."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "kernels", root / "kernels")
    with launchpad(cluster, image, pod_s3, root) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "admin")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "admin-secret")
        patch.setenv("NIGHTMILL_ENV", "")
        made.write_pipeline(PIPELINE, NOTEBOOKS)
        made.write_platform(pools(own_pool))
        yield made


@pytest.fixture
def own_node(own_pool):
    """Return a function that adds a node to the test's own pool; it goes with the test."""
    if not RIG.is_dir():
        pytest.skip("adding and killing nodes takes the rig")
    added = []

    def add() -> str:
        run_rig("node", "add", own_pool, "--pool", own_pool, "--memory", "2048", "--cpu", "1000")
        added.append(own_pool)
        return own_pool

    yield add
    if added:
        run_rig("node", "remove", own_pool)


def start(pad: Launchpad, one: Try, **fields) -> tuple[Background, Lines]:
    """Start a try in a thread."""
    operator = pad.operator(one.step, **fields)
    return Background(lambda: operator.execute(one.context)), operator.log


def run(pad: Launchpad, one: Try, **fields) -> Lines:
    """Run a try to its end and return its log; raises what it raises."""
    operator = pad.operator(one.step, **fields)
    operator.execute(one.context)
    return operator.log


def run_deferred(pad: Launchpad, one: Try, *, between=lambda: None, **fields) -> Lines:
    """Run a try as worker, triggerer and worker again do; `between` comes before the triggerer."""
    with pytest.raises(TaskDeferred) as deferred:
        pad.operator(one.step, deferrable=True, **fields).execute(one.context)
    between()
    kind, values = deferred.value.trigger.serialize()
    assert kind == "nightmill.airflow.trigger.StepPodTrigger"
    values["trigger_start_time"] = datetime.fromtimestamp(0, UTC)  # no worker that could leave late
    again = type(deferred.value.trigger)(**values)
    again._log = Lines()

    async def event():
        return await anext(again.run())

    payload = asyncio.run(event()).payload
    resumed = pad.operator(one.step, deferrable=True, **fields)
    getattr(resumed, deferred.value.method_name)(one.context, event=payload)
    return Lines([*again.log, *resumed.log])


@pytest.mark.parametrize("how", [run, run_deferred])
def test_a_step_in_a_pod(pad, how):
    """A step runs on the pool it names; its result is an XCom, its log is told, its pod is gone."""
    one = Try("adds")
    text = "{{ ds }} $(HOME) $HOME 'quoted'"
    log = how(pad, one, given={"word": text}).text
    result = one.xcoms["result"]
    assert (result["state"], result["committed"], result["cause"]) == ("succeeded", True, None)
    assert "running on default-1" in log
    assert "3/3 cell 2" in log  # the step's own line for its cell
    assert pad.record("adds", one.run)["parameters"]["word"] == text
    assert pad.pointer("adds")["run"].startswith(f"{one.run}.")
    pad.wait_for_no_pod()


@pytest.mark.parametrize("how", [run, run_deferred])
def test_a_failing_notebook(pad, how):
    """A cell that raises is no matter for retries; cause and notebook are told, no pod stays."""
    one = Try("fails")
    with pytest.raises(
        AirflowFailException, match=r"notebook_error.*; no retry: .*; notebook: s3://"
    ):
        how(pad, one)
    assert one.xcoms["result"]["cause"] == "notebook_error"
    pad.wait_for_no_pod()


def test_no_secret_in_the_log(pad):
    """Neither log nor error holds the value of a secret, nor the pod as a whole."""
    one = Try("fails")
    operator = pad.operator("fails")
    with pytest.raises(AirflowFailException) as failed:
        operator.execute(one.context)
    told = operator.log.text + str(failed.value)
    assert "admin-secret" not in told
    assert "AWS_SECRET_ACCESS_KEY" not in told


def test_out_of_memory_moves_on(pad):
    """A step that ran out of memory is tried again on the next pool, with twice the memory."""
    one = Try("grows")
    line = r"out_of_memory in cell 1/1 .* of 500 MiB.*; next attempt on highmem with 1 GiB; "
    with pytest.raises(AirflowException, match=line) as failed:
        run(pad, one)
    assert not isinstance(failed.value, AirflowFailException)
    again = one.next()
    log = run(pad, again).text
    assert "now on highmem with 1 GiB" in log
    assert "running on highmem-1" in log
    assert pad.record("grows", one.run, 2)["memory"]["limit_bytes"] == 1 << 30  # the pool's least


@pytest.mark.parametrize("how", [run, run_deferred])
def test_a_pool_that_never_comes(pad, how):
    """When the time is up, cause and advice are told, no pod stays, and there is a record."""
    one = Try("late")
    with pytest.raises(AirflowException, match=r"deadline: no node of pool never .* within 6 s"):
        how(pad, one)
    pad.wait_for_no_pod()
    record = pad.record("late", one.run)
    assert (record["state"], record["failure"]["cause"]) == ("failed", "deadline")
    assert "schedule_timeout" in record["failure"]["message"]


def test_an_image_that_is_not_there(pad):
    """An image that cannot be had ends in its cause and the registry's words; no pod stays."""
    one = Try("unpulled")
    with pytest.raises(AirflowException, match=r"image: .*localhost/none:1"):
        run(pad, one)
    pad.wait_for_no_pod()
    assert pad.record("unpulled", one.run)["failure"]["cause"] == "image"


def test_the_same_try_takes_its_pod_up(pad):
    """A worker that comes back to its try finds its pod, and one attempt is made."""
    one = Try("adds")
    gone = pad.operator("adds")
    name = gone._start(one.context, gone.make_step_run(one.context))  # and the worker is no more
    log = run(pad, one).text
    assert f"Taking up the pod {name}" in log
    assert pad.attempts("adds", one.run) == ["1"]
    pad.wait_for_no_pod()


def test_a_pool_that_comes_later(pad, own_node, own_pool):
    """A pod without a node says why in plain words, goes with its try, and runs when a node comes.

    The one that an earlier try left pending is gone before the retry's, and its end is written
    down: one commit in all.
    """
    one = Try("afar")
    gone = pad.operator("afar")
    stale = gone._start(one.context, gone.make_step_run(one.context))  # and the worker is no more
    background, log = start(pad, one.next())
    wait_until(lambda: "no node of pool own yet: 0/" in log.text, "the words", 60)
    assert "didn't match Pod's node affinity/selector" in log.text
    assert "; waiting up to 5 min" in log.text
    assert stale not in pad.pods()
    own_node()
    assert background.finish() is None, log.text
    assert f"Deleting the pod of an earlier try: {stale}" in log.text
    assert f"running on {own_pool}" in log.text
    assert pad.attempts("afar", one.run) == ["1", "2"]
    assert pad.record("afar", one.run, 1)["failure"]["cause"] == "terminated"
    pad.wait_for_no_pod()


def test_a_retry_ends_a_pod_that_runs_on(pad):
    """A pod that runs on after its worker died is stopped, saves its record, and is not doubled."""
    one = Try("sleeps")
    gone = pad.operator("sleeps")
    name = gone._start(one.context, gone.make_step_run(one.context))
    pad.cluster.wait_for_log(name, "2/2 ")
    background, log = start(pad, one.next())
    wait_until(lambda: "2/2 " in log.text, "the second pod at work", 90)
    assert pad.record("sleeps", one.run, 1)["failure"]["cause"] == "terminated"
    assert len(pad.pods()) == 1
    pad.cluster.delete(pad.pods()[0], grace_s=10)
    error = background.finish()
    assert "terminated" in str(error), log.text
    assert pad.pointer("sleeps") is None


def test_committed_while_nobody_watched(pad):
    """A step that committed after its worker died is not run again, though its pod is gone."""
    one = Try("adds")
    gone = pad.operator("adds")
    name = gone._start(one.context, gone.make_step_run(one.context))
    assert pad.cluster.wait_for_end(name).exit_code == 0
    pad.cluster.delete(name, grace_s=0)
    again = one.next()
    log = run(pad, again).text
    assert "An earlier try has committed this already" in log
    assert again.xcoms["result"]["record"].endswith("/adds/1/record.json")
    assert pad.attempts("adds", one.run) == ["1"]
    pad.wait_for_no_pod()


def test_a_pod_deleted_before_its_end_was_seen(pad):
    """A good step whose pod is gone before the triggerer looks again is a success."""
    one = Try("adds")

    def delete() -> None:
        (name,) = pad.pods()
        assert pad.cluster.wait_for_end(name).exit_code == 0
        pad.cluster.delete(name, grace_s=0)
        pad.wait_for_no_pod()

    log = run_deferred(pad, one, between=delete).text
    assert "the pod is gone" in log
    assert one.xcoms["result"]["state"] == "succeeded"


def evict(pad: Launchpad) -> None:
    """Evict the one pod at work in its last cell, and see it gone."""
    wait_until(pad.pods, "the pod", 60)
    (name,) = pad.pods()
    pad.cluster.wait_for_log(name, "2/2 ")
    pad.evict(name)
    pad.wait_for_no_pod()


def run_and_stall(pad: Launchpad, one: Try, *, between) -> None:
    """Run a try whose worker stalls, once it has seen the pod run, until `between` has ended."""
    stalled, read = threading.Event(), Pods.read

    def read_and_stall(self, name):
        found = read(self, name)
        if found is not None and found.status.phase == "Running":
            assert stalled.wait(180)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pods, "read", read_and_stall)
        background, _log = start(pad, one)
        try:
            between()
        finally:
            stalled.set()
        error = background.finish()
    if error is not None:
        raise error


@pytest.mark.parametrize("how", [run_and_stall, run_deferred])
def test_evicted_between_two_looks(pad, how):
    """Who stopped a pod, and its exit code, are known although it went while nobody looked."""
    one = Try("sleeps")
    with pytest.raises(AirflowException, match=r"evicted in cell 2.*its node was drained; next"):
        how(pad, one, between=lambda: evict(pad))
    failure = pad.record("sleeps", one.run)["failure"]
    assert failure["cause"] == "evicted"
    assert failure["evidence"]["pod"]["container"]["exit_code"] == 17


def test_a_log_of_200_mb(pad):
    """A log that the node rotates away does not hold up the step, nor fill Airflow's."""
    one = Try("noisy")
    background, log = start(pad, one)
    wait_until(pad.pods, "the pod", 30)
    (name,) = pad.pods()
    ended = []

    def over() -> bool:
        ended.extend([time.monotonic()] if name not in pad.pods() else [])
        return bool(ended)

    wait_until(over, "the pod's end", 240)
    assert background.finish(30) is None, log.text[-2000:]
    assert 1 << 20 < len(log.text) < 25 << 20
    assert one.xcoms["result"]["state"] == "succeeded"


def test_killed_while_a_cell_runs(pad):
    """Marked as failed, the pod ends within its grace, its record says so, nothing is committed."""
    one = Try("sleeps")
    operator = pad.operator("sleeps")
    background = Background(lambda: operator.execute(one.context))
    wait_until(lambda: "2/2 " in operator.log.text, "the cell", 90)
    operator.on_kill()
    assert "stopped from outside" in str(background.finish())
    pad.wait_for_no_pod()
    record = pad.record("sleeps", one.run)
    assert (record["failure"]["cause"], record["failure"]["cell"]) == ("terminated", 2)
    assert not record["committed"]


def test_a_node_dies_under_a_step(pad, own_node):
    """The node's end is the cause, in the record as well; it is worth a retry, and no pod stays."""
    node = own_node()
    one = Try("doomed")
    background, log = start(pad, one)
    wait_until(lambda: "2/2 " in log.text, "the cell", 90)
    run_rig("node", "kill", node)
    error = background.finish()
    assert isinstance(error, AirflowException), log.text
    assert not isinstance(error, AirflowFailException)
    assert "node_lost" in str(error)
    pad.wait_for_no_pod()
    assert pad.record("doomed", one.run)["failure"]["cause"] == "node_lost"


def test_the_api_server_is_away(pad):
    """An API server that is away for a minute costs a step nothing, waited for here or there."""
    (server,) = [
        one for one in psutil.process_iter(["name"]) if one.info["name"] == "kube-apiserver"
    ]
    one, other = Try("naps"), Try("dozes")
    background, log = start(pad, one)
    deferred = Background(lambda: run_deferred(pad, other))
    wait_until(lambda: len(pad.pods()) == 2, "two pods", 30)
    for name in pad.pods():
        pad.cluster.wait_for_log(name, "1/1 ")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        time.sleep(60)  # what the promise is about
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert background.finish() is None, log.text
    assert deferred.finish() is None
    for each in (one, other):
        assert each.xcoms["result"]["state"] == "succeeded"
        assert pad.attempts(each.step, each.run) == ["1"]
    pad.wait_for_no_pod()


LONG = "p" * 70
HOSTILE = (
    {"step": f"{LONG}é"},
    {"step": f"{LONG}.", "pipeline": f"{LONG}_"},
    {"step": LONG, "member": "11"},
    {"run": "scheduled__2013-03-01T00:00:00+00:00"},
    {"run": "-by hand: $(HOME)-", "partition": "Zürich/1"},
)


@pytest.mark.parametrize("names", HOSTILE)
def test_long_names_are_valid(pad, names):
    """The API server takes a pod for every name that a step, member, partition or run can have."""
    one = Try("adds")
    operator = pad.operator("adds")
    operator._made = operator.make_step_run(one.context).model_copy(update=names)
    pod = operator.build_pod_request_obj(one.context)
    pad.cluster.core.create_namespaced_pod(pad.cluster.namespace, pod, dry_run="All")
