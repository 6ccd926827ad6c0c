"""Whole tries of the operator against an API server of a few lines: what ends, what follows, where.

The real cluster is in e2e; here every way in which a pod can end is cheap.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.timeout import timeout
from kubernetes import client

from nightmill.airflow import operator
from nightmill.airflow.trigger import StepPodTrigger
from nightmill.spec.record import Record
from tests.test_airflow_operator import PIPELINE, make_operator, write_project
from tests.test_airflow_operator_fields import Log

DAY = "2013-03-01"
BEGUN = datetime(2013, 3, 2, tzinfo=UTC)
OOM = {"exit_code": 137, "reason": "OOMKilled"}


class Cluster:
    """An API server whose every pod ends as it is told, at once."""

    def __init__(self, **end):
        self.end = end
        self.created, self.pods = [], {}

    def list_namespaced_pod(self, *_namespace, watch=False, **_options):
        """List what is there; of what was it tells nothing."""
        if watch:
            raise client.ApiException(status=410)
        return SimpleNamespace(items=list(self.pods.values()))

    def create_namespaced_pod(self, _namespace, body, **_options):
        """Create a pod that has ended."""
        fields = {"exit_code": 1, "reason": "Error"} | self.end
        status = {name: fields.pop(name) for name in ("conditions", "pod_reason") if name in fields}
        ended = client.V1ContainerState(terminated=client.V1ContainerStateTerminated(**fields))
        one = {"image": "i", "image_id": "i", "ready": False, "restart_count": 0}
        body.status = client.V1PodStatus(
            phase="Failed",
            conditions=status.get("conditions"),
            reason=status.get("pod_reason"),
            container_statuses=[client.V1ContainerStatus(name="base", state=ended, **one)],
        )
        body.spec.node_name, body.metadata.resource_version = "n1", "1"
        self.created.append(body)
        self.pods[body.metadata.name] = body
        return body

    def read_namespaced_pod(self, name, _namespace, **_options):
        """Read one."""
        if name not in self.pods:
            raise client.ApiException(status=404)
        return self.pods[name]

    def delete_namespaced_pod(self, name, _namespace, **_options):
        """Delete one."""
        del self.pods[name]

    def list_namespaced_event(self, _namespace, **_options):
        """Tell what happened to it."""
        return SimpleNamespace(items=[SimpleNamespace(reason="Killing", message="so it is")])

    def read_namespaced_pod_log(self, _name, _namespace, **_options):
        """Read its log."""
        lines = ("1/2 cell 1: Load", "WARNING a thread failed", "ERROR store: gone")
        return (f"2013-03-02T00:00:0{n}Z {line}\n".encode() for n, line in enumerate(lines))

    @property
    def asked(self):
        """Pool and memory of the newest pod."""
        spec = self.created[-1].spec
        return (
            spec.node_selector["nightmill.io/pool"],
            spec.containers[0].resources.limits["memory"],
        )


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Make a project of one step on a chain of three pools."""
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTMILL_IMAGE", "registry/image:1")
    return write_project(tmp_path)


def context(number: int, *, most: int = 9):
    """Make the context of a try."""
    pushed = {}
    task = {"dag_id": "nightly", "task_id": "make", "map_index": -1, "start_date": BEGUN}
    tries = {"try_number": number, "max_tries": most, "xcom_push": pushed.__setitem__}
    dag_run = {"run_id": "r", "start_date": BEGUN, "run_after": BEGUN, "logical_date": None}
    dag_run |= {"data_interval_end": None, "conf": {"partition": DAY}}
    return {
        "ti": SimpleNamespace(**task, **tries),
        "dag_run": SimpleNamespace(**dag_run),
        "run_id": "r",
        "dag": None,
        "var": {"value": {"nightmill_image": "registry/image:1"}},
        "pushed": pushed,
    }


def operate(root, cluster, **fields):
    """Make the operator, its cluster and its log."""
    one = make_operator(root, **{"store": "store", **fields})
    one.client, one.hook = cluster, SimpleNamespace(is_in_cluster=False)
    one._cached_logger = Log()
    return one


def run(root, cluster, now, **fields):
    """Run a try to its end, and return the operator and the error."""
    one = operate(root, cluster, **fields)
    with pytest.raises(AirflowException) as caught:
        one.execute_sync(now)
    return one, caught.value


def run_deferred(root, cluster, now, **fields):
    """Run a try as worker, triggerer and worker again do, each with an empty memory."""
    one = operate(root, cluster, **fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(one), "convert_config_file_to_dict", lambda _self: None)
        patch.setattr(type(one), "_config_dict", None, raising=False)
        with pytest.raises(TaskDeferred) as deferred:
            one.execute_async(now)
        patch.setattr(StepPodTrigger, "hook", AsyncHook(cluster))
        kind, values = deferred.value.trigger.serialize()
        assert kind.endswith(".StepPodTrigger")
        values["trigger_start_time"] = BEGUN  # the worker has left long ago

        async def event():
            return await anext(StepPodTrigger(**values).run())

        payload = json.loads(json.dumps(asyncio.run(event()).payload))
    again = operate(root, cluster, **fields)
    with pytest.raises(AirflowException) as caught:
        again.resume(now, payload)
    return again, caught.value


class AsyncHook:
    """The triggerer's way to the cluster."""

    def __init__(self, cluster):
        self.cluster = cluster

    async def get_pod(self, name, namespace):
        """Read a pod."""
        return self.cluster.read_namespaced_pod(name, namespace)


BOTH_WAYS = pytest.mark.parametrize("how", [run, run_deferred])


def read_record(root, attempt: int) -> Record:
    """Read the record of an attempt."""
    (file,) = root.glob(f"store/runs/nightly/{DAY}/r.*/make/{attempt}/record.json")
    return Record.from_json(file.read_bytes())


@BOTH_WAYS
def test_out_of_memory_leads_from_pool_to_pool_and_no_further(root, how):
    """Each try that ran out of memory is followed by one with more, and the last by none.

    Here no step ever wrote a record: those that the operator writes are enough to count by.
    """
    cluster = Cluster(**OOM)
    said = []
    for number, place in enumerate(
        [("default", "1800Mi"), ("middle", "3Gi"), ("large", "6Gi")], start=1
    ):
        one, error = how(root, cluster, context(number))
        assert cluster.asked == place
        assert isinstance(error, AirflowFailException) == (place[0] == "large")
        assert one.log.told[-1] == ("error", str(error))
        record = read_record(root, number)
        assert (record.failure.cause, record.failure.retry) == ("out_of_memory", "more_memory")
        assert record.failure.evidence["pod"]["container"]["reason"] == "OOMKilled"
        said.append(str(error))
    assert said == [
        f"out_of_memory: the whole container was killed at its limit of {limit}; {follows}"
        for limit, follows in [
            ("1800Mi", "next attempt on middle with 3 GiB"),
            ("3Gi", "next attempt on large with 6 GiB"),
            ("6Gi", "no retry: no larger pool"),
        ]
    ]
    assert cluster.pods == {}


def test_the_number_of_retries_bounds_the_pools(root):
    """Where no retry is left the next pool is not promised."""
    _one, error = run(root, Cluster(**OOM), context(1, most=0))
    assert str(error).endswith("1800Mi; no retry: none was asked for")


def test_a_failure_of_another_kind_stays_on_its_pool(root):
    """Only what asked for more memory moves on, and what moved on does not go back."""
    cluster = Cluster(**OOM)
    run(root, cluster, context(1))
    lost = [client.V1PodCondition(type="DisruptionTarget", status="True", reason="DeletionByPodGC")]
    cluster.end = {"conditions": lost}
    for number in (2, 3):
        _one, error = run(root, cluster, context(number))
        assert cluster.asked[0] == "middle"
        assert "node_lost: the node n1 under the pod was lost; next attempt in " in str(error)


def test_a_step_may_want_more_memory_for_other_causes(root):
    """What pipeline.yaml says of a cause decides where the next try runs, and is counted."""
    cluster = Cluster(exit_code=13)
    own = {"retry_by_cause": {"kernel_died": "more_memory", "out_of_memory": "never"}}
    _one, error = run(root, cluster, context(1), **own)
    assert "; next attempt on middle with 3 GiB" in str(error)
    cluster.end = OOM
    _one, error = run(root, cluster, context(2), **own)
    assert cluster.asked[0] == "middle"
    assert str(error).endswith("; no retry: pipeline.yaml says so")
    assert read_record(root, 2).failure.retry == "never"


def test_a_worker_that_cannot_count_promises_no_pool(root):
    """A worker without rights to the store tries again where it was, and says no more than that."""
    fields = {"store": "gs://bucket/x"}
    cluster = Cluster(**OOM)
    for number in (1, 2):
        _one, error = run(root, cluster, context(number), **fields)
        assert cluster.asked[0] == "default"
        assert "1800Mi; next attempt in " in str(error)


STOPPED = {
    "state": "failed",
    "cause": "terminated",
    "message": 'terminated in cell 2/3 "Join": stopped by SIGTERM',
    "cell": 2,
    "record": "s3://r.json",
    "notebook": "s3://n.ipynb",
}


@BOTH_WAYS
def test_record_and_airflow_agree_on_who_stopped_the_step(root, how):
    """A step that was told to stop cannot know why; the pod's status does, and all say the same."""
    gone = client.V1PodCondition(
        type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI"
    )
    end = {"exit_code": 17, "message": json.dumps(STOPPED), "conditions": [gone]}
    _one, error = how(root, Cluster(**end), context(1))
    failure = read_record(root, 1).failure
    assert failure.cause == "evicted"
    assert str(error).startswith(f"{failure.message}; next attempt in ")
    assert "n1: its node was drained" in failure.message


@BOTH_WAYS
def test_the_steps_own_lines_keep_their_level(root, how):
    """The pod's log is told line by line, warnings as such, and ends with the line of the error."""
    one, error = how(root, Cluster(**OOM), context(1))
    told = one.log.told
    begin = told.index(("info", "1/2 cell 1: Load"))
    assert told[begin + 1 : begin + 3] == [("warning", "a thread failed"), ("error", "store: gone")]
    assert ("info", "Event of the pod: Killing: so it is") in told
    assert told[-1] == ("error", str(error))


class Slow(Cluster):
    """An API server whose pods run on until they are deleted, and then take their time to go."""

    def create_namespaced_pod(self, namespace, body, **options):
        """Create a pod that runs."""
        body = super().create_namespaced_pod(namespace, body, **options)
        running = client.V1ContainerState(running=client.V1ContainerStateRunning())
        body.status.phase = "Running"
        body.status.container_statuses[0].state = running
        return body

    def delete_namespaced_pod(self, name, _namespace, **_options):
        """Ask it to stop: it is seen once more."""
        leaving = self.pods[name]

        class Leaving(dict):
            def __getitem__(self, key):
                self.pop(key, None)
                return leaving

        self.pods = Leaving({name: leaving})


def test_airflows_own_limit_is_a_deadline_with_a_line(root, monkeypatch):
    """A pod that Airflow's own limit ends is deleted, seen gone, recorded, and told on the line."""
    monkeypatch.setattr(operator, "POLL_S", 0.05)
    cluster, now = Slow(), context(1)
    one = operate(root, cluster)
    with pytest.raises(AirflowException) as caught, timeout(0.5):
        one.execute_sync(now)
    assert str(caught.value).startswith(
        "deadline: the step took longer than Airflow gives it (execution_timeout); next attempt in "
    )
    assert read_record(root, 1).failure.cause == "deadline"
    assert cluster.pods == {}


def test_a_pool_with_no_more_memory_is_passed_over(root):
    """A chain leads on only to what is larger."""
    file = root / "dags/platform.yaml"
    file.write_text(file.read_text().replace("memory: 3Gi", "memory: 1Gi"))
    assert "memory: 1800Mi" in PIPELINE
    cluster = Cluster(**OOM)
    _one, error = run(root, cluster, context(1))
    assert "; next attempt on large with 3.5 GiB" in str(error)
    run(root, cluster, context(2))
    assert cluster.asked == ("large", "3600Mi")
