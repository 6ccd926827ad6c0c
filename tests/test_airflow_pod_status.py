"""What a pod's status means, and what there is to say of it while it lasts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.airflow import pod_status
from nightmill.airflow.pod_watch import Limits, look, result_of_gone

NOW = datetime(2013, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits("highmem", schedule_s=900, startup_s=600)
RECORD = "s3://bucket/runs/p/2013-03-01/r/s/1/record.json"


def pod(phase="Running", *, state=None, conditions=(), deleted=None, created=NOW, **status):
    """Write a pod as the API server does."""
    metadata = {"name": "p", "creationTimestamp": created.isoformat()}
    if deleted:
        metadata["deletionTimestamp"] = deleted.isoformat()
    containers = [
        {"name": "istio-proxy", "state": {"running": {}}},
        {"name": "base", "state": state},
    ]
    limits = {"memory": "2Gi"}
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": status.pop("node", "n1"),
            "activeDeadlineSeconds": 1500,
            "containers": [{"name": "base", "resources": {"limits": limits}}],
        },
        "status": {
            "phase": phase,
            "conditions": [{"status": "True", **one} for one in conditions],
            **({"containerStatuses": containers} if state else {}),
            **status,
        },
    }


def ended(code=1, *, said=None, message=None, reason="Error"):
    """Write the state of a container that has ended."""
    text = json.dumps(said) if said else message
    return {"terminated": {"exitCode": code, "reason": reason, "message": text}}


SUCCEEDED = {"state": "succeeded", "cause": None, "message": "succeeded", "record": RECORD}
FAILED = {"state": "failed", "cause": "notebook_error", "message": "x", "record": RECORD}
STOPPED = {"state": "failed", "cause": "terminated", "message": "SIGTERM", "record": RECORD}


def disrupted(reason):
    """Write the condition of a pod that the cluster took away."""
    return [{"type": "DisruptionTarget", "reason": reason, "message": "so it is"}]


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (pod("Succeeded", state=ended(0, said=SUCCEEDED)), None),
        (pod("Succeeded", state=ended(0, said=SUCCEEDED, reason="OOMKilled")), None),
        (pod("Failed", state=ended(10, said=FAILED)), "notebook_error"),
        (pod("Failed", state=ended(10, said=FAILED, reason="OOMKilled")), "notebook_error"),
        (pod("Failed", state=ended(137, reason="OOMKilled")), "out_of_memory"),
        (pod("Failed", state=ended(137, message='{"sta', reason="OOMKilled")), "out_of_memory"),
        (pod("Failed", state=ended(17, said=STOPPED)), "terminated"),
        (pod("Failed", state=ended(17, said=STOPPED), reason="DeadlineExceeded"), "deadline"),
        (pod("Failed", reason="DeadlineExceeded"), "deadline"),
        (pod("Failed", reason="Evicted", message="low on disk"), "evicted"),
        (pod("Failed", reason="OutOfcpu"), "evicted"),
        (pod("Failed", state=ended(17, said=STOPPED), reason="NodeShutdown"), "evicted"),
        (
            pod(
                "Failed",
                state=ended(17, said=STOPPED),
                conditions=disrupted("EvictionByEvictionAPI"),
            ),
            "evicted",
        ),
        (
            pod("Failed", state=ended(143), conditions=disrupted("PreemptionByScheduler")),
            "evicted",
        ),
        (pod("Failed", conditions=disrupted("DeletionByTaintManager")), "node_lost"),
        (pod("Failed", conditions=disrupted("DeletionByPodGC"), reason="NodeLost"), "node_lost"),
        (pod("Failed", reason="NodeLost"), "node_lost"),
        (pod("Failed", state=ended(255, reason="Unknown")), "node_lost"),
        (pod("Failed", state=ended(255, reason="ContainerStatusUnknown")), "node_lost"),
        (pod("Failed", state=ended(128, message="no such file", reason="StartError")), "image"),
        (pod("Failed", state=ended(16)), "deadline"),
        (pod("Failed", state=ended(143)), "terminated"),
        (pod("Failed", state=ended(1, message="Traceback ...")), "nightmill_bug"),
        (pod("Failed"), "node_lost"),
        (pod("Succeeded", state=ended(0)), None),
    ],
)
def test_the_cause_of_an_end(found, cause):
    """The step's word stands; who stopped it, and what it could not say, the status tells."""
    result = pod_status.result_of_pod(found)
    assert result["cause"] == cause
    assert result["state"] == ("failed" if cause else "succeeded")


def test_messages_help():
    """What is told holds the number that matters."""
    full = pod_status.result_of_pod(pod("Failed", state=ended(137, reason="OOMKilled")))
    assert full["message"] == "the whole container was killed at its limit of 2Gi"
    late = pod_status.result_of_pod(pod("Failed", reason="DeadlineExceeded"))
    assert "(1500 s)" in late["message"]
    evicted = pod_status.result_of_pod(pod("Failed", reason="Evicted", message="low on disk"))
    assert evicted["message"] == "the node n1 refused or ended the pod (Evicted: low on disk)"


@pytest.mark.parametrize(
    ("found", "has_it"),
    [
        (pod("Running", state={"running": {}}), False),
        (pod("Running", state=ended(0)), True),  # a sidecar goes on
        (pod("Succeeded"), True),
        (pod("Failed"), True),
        (pod("Pending"), False),
    ],
)
def test_the_end_is_the_container_s(found, has_it):
    """A pod has ended for us when the step's container has, whatever stands beside it."""
    assert pod_status.has_ended(found) is has_it


def unscheduled(message):
    """Write the condition of a pod without a node."""
    return [{"type": "PodScheduled", "status": "False", "message": message}]


def scheduled(at):
    """Write the condition of a pod that has a node."""
    return [{"type": "PodScheduled", "lastTransitionTime": at.isoformat()}]


def test_waiting_for_a_node():
    """Without a node the scheduler's reason and the limit are told, until the time is up."""
    words = (
        "0/3 nodes are available: 3 didn't match. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: long."
    )
    waits = pod("Pending", conditions=unscheduled(words))
    view = look(waits, LIMITS, NOW + timedelta(seconds=899))
    assert not view.is_over
    assert view.words == (
        "no node of pool highmem yet: 0/3 nodes are available: 3 didn't match; waiting up to 15 min"
    )
    late = look(waits, LIMITS, NOW + timedelta(seconds=900))
    assert late.is_over
    assert late.result["cause"] == "deadline"
    assert "within 15 min (" in late.result["message"]
    assert "`schedule_timeout`): 0/3 nodes are available" in late.result["message"]


def test_waiting_for_the_scheduler():
    """A pod that the scheduler has not seen yet is no reason to worry."""
    view = look(pod("Pending"), LIMITS, NOW)
    assert view.words.startswith("no node of pool highmem yet: the scheduler has not looked")


def waits(reason, message=""):
    """Write the state of a container that waits."""
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("state", "is_hopeless"),
    [
        (waits("ContainerCreating"), False),
        (waits("ErrImagePull", "dial tcp: connection refused"), False),
        (waits("ImagePullBackOff", "429 Too Many Requests"), False),
        (waits("ErrImagePull", "manifest for a:1 NOT FOUND"), True),
        (waits("ImagePullBackOff", "pull access denied"), True),
        (waits("InvalidImageName"), True),
        (waits("ErrImageNeverPull"), True),
        (waits("CreateContainerConfigError", 'secret "s3" not found'), True),
    ],
)
def test_starting(state, is_hopeless):
    """An image that is not there ends the wait; a registry with a bad minute gets its time."""
    starts = pod("Pending", state=state, conditions=scheduled(NOW))
    view = look(starts, LIMITS, NOW + timedelta(seconds=599))
    assert view.is_over is is_hopeless
    late = look(starts, LIMITS, NOW + timedelta(seconds=600))
    assert late.result["cause"] == "image"


def test_the_start_is_counted_from_the_node():
    """A pod that waited long for its node has all its time to start there."""
    long_ago = NOW - timedelta(hours=1)
    starts = pod("Pending", conditions=scheduled(NOW), created=long_ago)
    assert look(starts, LIMITS, NOW).words == "starting on n1 (no container yet)"


def test_running():
    """A pod at work is told with its node."""
    view = look(pod("Running", state={"running": {}}), LIMITS, NOW)
    assert (view.words, view.is_over) == ("running on n1", False)


def test_a_deleted_pod_gets_its_grace():
    """A pod that is asked to stop is waited for; a node that says nothing after that is lost."""
    stops = pod("Running", state={"running": {}}, deleted=NOW)
    assert not look(stops, LIMITS, NOW + timedelta(seconds=10)).is_over
    lost = look(stops, LIMITS, NOW + timedelta(seconds=11))
    assert (lost.is_over, lost.result["cause"]) == (True, "node_lost")
    nowhere = look(pod("Pending", deleted=NOW, node=""), LIMITS, NOW + timedelta(seconds=11))
    assert nowhere.result["cause"] == "terminated"


def test_a_pod_that_is_gone():
    """A pod that is gone has no result; what was last known of it is its end, or a guess at it."""
    view = look(None, LIMITS, NOW)
    assert (view.is_over, view.result) == (True, None)
    assert result_of_gone(pod("Running"))["cause"] == "terminated"
    taken = pod("Running", conditions=disrupted("DeletionByTaintManager"))
    assert result_of_gone(taken)["cause"] == "node_lost"
    assert result_of_gone(pod("Succeeded", state=ended(0, said=SUCCEEDED))) == SUCCEEDED
