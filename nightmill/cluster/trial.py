"""A trial pod: the one way to know that the image can be pulled and the store can be reached.

It runs `nightmill probe STORE` on the default pool with a step's own service account, secrets and
security settings, and is deleted whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

from nightmill.cluster.findings import Finding, fail, ok
from nightmill.cluster.names import pod_name
from nightmill.cluster.platform import Platform
from nightmill.cluster.pod import CONTAINER, Placement, PodPlan, build_pod
from nightmill.spec.problems import shown

POLL_S = 0.5
CPU_MILLICORES = 250
MEMORY_BYTES = 512 * 2**20
_DONE = ("Succeeded", "Failed")


class Pods(Protocol):
    """The part of a cluster that a trial needs."""

    def create_pod(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a pod."""

    def pod(self, name: str, namespace: str) -> dict[str, Any] | None:
        """Read a pod."""

    def delete_pod(self, name: str, namespace: str) -> None:
        """Delete a pod."""


def trial_pod(platform: Platform, image: str) -> dict[str, Any]:
    """Return the trial pod; its name is another one each time."""
    pool = platform.pools[platform.default_pool]
    most = pool.largest
    placement = Placement(
        pool_name=platform.default_pool,
        pool=pool,
        cpu_millicores=min(CPU_MILLICORES, most.cpu_millicores or CPU_MILLICORES),
        memory_bytes=min(MEMORY_BYTES, most.memory_bytes or MEMORY_BYTES),
    )
    plan = PodPlan(
        name=f"{pod_name('doctor')}-{uuid4().hex[:8]}",
        placement=placement,
        image=image,
        arguments=["probe", platform.store],
        labels={"nightmill.io/purpose": "doctor"},
        timeout=timedelta(minutes=5),
    )
    manifest = build_pod(platform, plan)
    for container in manifest["spec"]["containers"]:
        container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return manifest


def try_pod(pods: Pods, platform: Platform, image: str, *, timeout_s: float) -> Iterator[Finding]:
    """Run the trial pod and tell how it went; ClusterError if the API server fails."""
    manifest = trial_pod(platform, image)
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    pods.create_pod(manifest)
    try:
        pod = _wait(pods, name, namespace, time.monotonic() + timeout_s)
    finally:
        pods.delete_pod(name, namespace)
    yield from _judge(pod, platform, image, timeout_s)


def _wait(pods: Pods, name: str, namespace: str, deadline: float) -> dict[str, Any]:
    while True:
        pod = pods.pod(name, namespace) or {"status": {"phase": "Failed", "reason": "Deleted"}}
        ended = pod["status"].get("phase") in _DONE or _stuck(pod)
        if ended or time.monotonic() >= deadline:
            return pod
        time.sleep(POLL_S)  # a poll with a deadline


def _judge(
    pod: Mapping[str, Any], platform: Platform, image: str, timeout_s: float
) -> Iterator[Finding]:
    ended = _state(pod).get("terminated")
    node = pod.get("spec", {}).get("nodeName", "")
    if not ended or ended.get("reason") in ("StartError", "ContainerCannotRun"):
        yield _never_ran(pod, image, timeout_s)
        return
    yield ok(f"image: {image} starts on {node}")
    if ended["exitCode"] == 0:
        yield ok(f"store: {platform.store} can be read and written from a pod")
        return
    words = " ".join(str(ended.get("message") or ended.get("reason")).split())
    yield fail(
        f"store: the trial in a pod ended with exit code {ended['exitCode']}: {words[-700:]}",
        "check `store`, `environment` with its secrets, and the rights of the service account",
    )


def _never_ran(pod: Mapping[str, Any], image: str, timeout_s: float) -> Finding:
    stuck = _stuck(pod) or _state(pod).get("terminated")
    if stuck:
        problem = f"image: {image} does not start: {stuck.get('reason')}: {stuck.get('message')}"
        advice = "check the image's name, that it was pushed, its architecture, and the registry"
        if "Config" in str(stuck.get("reason")):
            advice = "check the secrets that `environment` names"
        return fail(problem, advice)
    status = pod.get("status", {})
    unscheduled = next(
        (one for one in status.get("conditions", ()) if one.get("reason") == "Unschedulable"), None
    )
    if unscheduled:
        return fail(
            f"no node took the trial pod in {timeout_s:.0f} s: {unscheduled.get('message')}",
            "check the default pool; for one that scales from zero, give a longer --timeout",
        )
    return fail(
        f"the trial pod was {shown(status.get('reason') or status.get('phase') or 'unknown')} "
        f"after {timeout_s:.0f} s: {status.get('message', 'no more is known')}",
        "give a longer --timeout if the image is large",
    )


def _stuck(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return why the container waits, if waiting longer will not help."""
    waiting: Mapping[str, Any] | None = _state(pod).get("waiting")
    reason = waiting.get("reason", "") if waiting else ""
    hopeless = reason.startswith(("Err", "Invalid")) or reason.endswith(("Error", "BackOff"))
    return waiting if hopeless else None


def _state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    for one in pod.get("status", {}).get("containerStatuses", ()):
        if one["name"] == CONTAINER:
            state: Mapping[str, Any] = one.get("state", {})
            return state
    return {}
