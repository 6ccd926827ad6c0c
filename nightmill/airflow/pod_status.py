"""How a pod ended: the step's own word, and what the cluster knows where the step could not speak.

Pure functions over a pod as the API server writes it (camelCase), so that the operator's client and
the trigger's, which have classes of their own, share them, and each case can be tested as text.

The step's termination message stands, but for one thing: a step that was asked to stop cannot know
who asked. The pod's status does: its deadline, an eviction, a lost node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nightmill.airflow.steprun_operator import result_of_exit_code
from nightmill.causes import Cause
from nightmill.cluster.pod import CONTAINER

ENDED = ("Succeeded", "Failed")
UNTOLD_EXIT_CODE = 255  # of a container whose end nobody saw

Why = tuple[Cause, str]

_EVICTIONS = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "EvictionByEvictionAPI": "its node was drained",
    "TerminationByKubelet": "its node had to end it",
}
_LOSSES = ("DeletionByTaintManager", "DeletionByPodGC")
_NEVER_STARTED = ("StartError", "ContainerCannotRun")


def container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the status of the step's container, empty where there is none yet."""
    for one in _status(pod).get("containerStatuses") or ():
        if one["name"] == CONTAINER:
            found: Mapping[str, Any] = one
            return found
    return {}


def container_end(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the step's container ended, empty while it has not."""
    return (container(pod).get("state") or {}).get("terminated") or {}


def waiting(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return why the step's container waits, empty where it does not."""
    return (container(pod).get("state") or {}).get("waiting") or {}


def condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of the pod, empty where it has none of this kind."""
    for one in _status(pod).get("conditions") or ():
        if one["type"] == kind:
            found: Mapping[str, Any] = one
            return found
    return {}


def node(pod: Mapping[str, Any]) -> str:
    """Name the node that the pod is on, if any."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def has_started(pod: Mapping[str, Any]) -> bool:
    """Say whether the step's container has a log."""
    state = container(pod).get("state") or {}
    return "running" in state or "terminated" in state


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Say whether the step's container can run no more; a sidecar may."""
    return _status(pod).get("phase") in ENDED or bool(container_end(pod))


def result_of_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a pod that has ended; it has a `record` if the step itself told it."""
    said, why = _said(pod), why_stopped(pod)
    if said and (said.get("cause") != Cause.TERMINATED or why is None):
        return said
    if why:
        return {**said, **failed(*why)}
    end = container_end(pod)
    if not end:
        return failed(Cause.NODE_LOST, f"the pod ended and nobody saw how ({_words(pod)})")
    return result_of_exit_code(end.get("exitCode", UNTOLD_EXIT_CODE))


def failed(cause: Cause, message: str) -> dict[str, Any]:
    """Make the result of a step that could not tell its own."""
    return {"state": "failed", "cause": cause.value, "message": message}


def why_stopped(pod: Mapping[str, Any]) -> Why | None:
    """Tell what the cluster did to the pod, if it did anything."""
    return next(_causes(pod), None)


def _causes(pod: Mapping[str, Any]) -> Iterator[Why]:
    reason, end = str(_status(pod).get("reason") or ""), container_end(pod)
    if reason == "DeadlineExceeded":
        seconds = (pod.get("spec") or {}).get("activeDeadlineSeconds")
        yield Cause.DEADLINE, f"the pod ran longer than it may ({seconds} s); raise `timeout`"
    yield from _disruptions(pod)
    if reason == "NodeLost":
        yield Cause.NODE_LOST, _lost(pod)
    if end.get("reason") == "OOMKilled":
        yield Cause.OUT_OF_MEMORY, f"the whole container was killed at its limit of {_limit(pod)}"
    if end.get("exitCode") == UNTOLD_EXIT_CODE and "Unknown" in str(end.get("reason")):
        yield Cause.NODE_LOST, _lost(pod)
    if end.get("reason") in _NEVER_STARTED:
        yield Cause.IMAGE, f"the container cannot start: {end.get('message')}"
    if reason and _status(pod).get("phase") == "Failed":  # Evicted, NodeShutdown, OutOfcpu, ...
        yield Cause.EVICTED, f"the node {node(pod)} refused or ended the pod ({_words(pod)})"


def _disruptions(pod: Mapping[str, Any]) -> Iterator[Why]:
    disruption = condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        reason = str(disruption.get("reason"))
        if reason in _LOSSES:
            yield Cause.NODE_LOST, _lost(pod)
        else:
            why = _EVICTIONS.get(reason, disruption.get("message") or reason)
            yield Cause.EVICTED, f"the cluster stopped the pod on {node(pod)}: {why}"


def _said(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Read the termination message; a container killed in the middle of it leaves half of one."""
    try:
        message = json.loads(container_end(pod).get("message") or "")
    except ValueError:
        return {}
    return message if isinstance(message, dict) and "state" in message else {}


def _lost(pod: Mapping[str, Any]) -> str:
    return f"the node {node(pod) or '(unknown)'} under the pod was lost"


def _limit(pod: Mapping[str, Any]) -> str:
    for one in (pod.get("spec") or {}).get("containers") or ():
        if one["name"] == CONTAINER:
            return str((one.get("resources") or {}).get("limits", {}).get("memory", "?"))
    return "?"


def _words(pod: Mapping[str, Any]) -> str:
    status = _status(pod)
    words = [str(status[key]) for key in ("reason", "message") if status.get(key)]
    return ": ".join(words) or "no reason given"


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod.get("status") or {}
