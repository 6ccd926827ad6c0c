"""What the next try makes of the pods of earlier ones, of which nobody has seen the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from kubernetes import client

from nightmill.airflow import earlier_tries
from nightmill.airflow.cluster_api import plain
from nightmill.airflow.earlier_tries import step_run_of
from nightmill.spec.record import AttemptState
from tests.test_airflow_operator import write_project
from tests.test_airflow_operator_tries import (
    BEGUN,
    OOM,
    Cluster,
    context,
    operate,
    read_record,
    run,
)

BAD_NAME = "couldn't parse image name"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Make a project, and let nobody wait for long."""
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTMILL_IMAGE", "registry/image:1")
    monkeypatch.setattr(earlier_tries, "POLL_S", 0.01)
    return write_project(tmp_path)


def leave(root, cluster, now, **fields):
    """Begin a try whose worker is gone as soon as it has made the pod; return the pod."""
    one = operate(root, cluster, **fields)
    one._start(now, one.make_step_run(now))
    return cluster.created[-1]


def waiting(reason: str):
    """Make the status of a pod on a node whose container has not started."""
    state = client.V1ContainerState(
        waiting=client.V1ContainerStateWaiting(reason=reason, message=BAD_NAME)
    )
    one = {"image": "i", "image_id": "", "ready": False, "restart_count": 0}
    scheduled = {"type": "PodScheduled", "status": "True", "last_transition_time": BEGUN}
    return client.V1PodStatus(
        phase="Pending",
        conditions=[client.V1PodCondition(**scheduled)],
        container_statuses=[client.V1ContainerStatus(name="base", state=state, **one)],
    )


def causes(root, *attempts: int) -> list[str]:
    """Read the causes of attempts."""
    return [read_record(root, number).failure.cause.value for number in attempts]


def test_a_pod_that_waited_in_vain(root):
    """An attempt that never started gets its record from the next try, with the cause it had."""
    cluster = Cluster(**OOM)
    leave(root, cluster, context(1)).status = waiting("InvalidImageName")
    run(root, cluster, context(2))
    assert causes(root, 1, 2) == ["image", "out_of_memory"]
    failure = read_record(root, 1).failure
    assert BAD_NAME in failure.message
    assert failure.evidence["pod"]["node"] == "n1"
    assert cluster.pods == {}


def test_a_pod_that_ended_while_nobody_watched(root):
    """The end of an earlier try is what its pod tells, and counts for what follows."""
    cluster = Cluster(**OOM)
    leave(root, cluster, context(1))
    run(root, cluster, context(2))
    assert causes(root, 1, 2) == ["out_of_memory", "out_of_memory"]
    assert cluster.asked == ("middle", "3Gi")  # the first try counts


def test_a_pod_that_was_about_to_start(root):
    """A pod that is deleted before its container was there leaves an attempt that was stopped."""
    cluster = Cluster(**OOM)
    pod = leave(root, cluster, context(1))
    pod.status = waiting("ContainerCreating")
    pod.status.conditions[0].last_transition_time = datetime.now(UTC)
    run(root, cluster, context(2))
    assert causes(root, 1) == ["terminated"]


def test_the_pod_of_a_run_that_was_cleared(root):
    """A cleared run has another order; the attempt before is closed in its own place."""
    cluster, cleared = Cluster(**OOM), context(1)
    cleared["dag_run"] = SimpleNamespace(
        **vars(cleared["dag_run"]) | {"start_date": BEGUN + timedelta(hours=1)}
    )
    leave(root, cluster, context(1))
    run(root, cluster, cleared)
    found = sorted(root.glob("store/runs/nightly/*/r.*/make/1/record.json"))
    assert len(found) == 2
    assert len(cluster.created) == 2
    assert cluster.pods == {}


def test_what_the_step_said_itself_stands(root):
    """A record that tells its end is not overruled by a pod that was found later."""
    cluster = Cluster(**OOM)
    run(root, cluster, context(1))
    before = read_record(root, 1)
    again = leave(root, cluster, context(1))
    again.status = waiting("InvalidImageName")
    run(root, cluster, context(2))
    assert before.state is AttemptState.FAILED
    assert read_record(root, 1) == before


@pytest.mark.parametrize("arguments", [None, [], ["step", "--of-another-version=1"], ["probe"]])
def test_a_pod_of_another_version(root, arguments):
    """Arguments that cannot be read are no reason to leave a pod at work, or to fail."""
    cluster = Cluster(**OOM)
    pod = leave(root, cluster, context(1))
    pod.spec.containers[0].args = arguments
    assert step_run_of(plain(pod)) is None
    run(root, cluster, context(2))
    assert len(cluster.created) == 2
    assert cluster.pods == {}


def test_arguments_are_read_as_they_were_given(root):
    """What Kubernetes would expand was escaped, and is what it was."""
    text = "$(HOME) $HOME $$ {{ ds }}"
    pod = leave(root, Cluster(**OOM), context(1), member=text)
    assert pod.spec.containers[0].args.count(f"--member={text}") == 0
    assert step_run_of(plain(pod)).member == text
