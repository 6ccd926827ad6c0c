"""What there is to say of a pod right now, and whether the wait for it is over.

A pure function of the pod, the pool's limits and the time. All times are the API server's own, kept
in the pod, so that a watch begun by one process is continued by another as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nightmill.airflow import pod_status
from nightmill.airflow.pod_status import failed
from nightmill.causes import Cause
from nightmill.spec.words import span

SILENCE = timedelta(seconds=10)  # after its grace: a kubelet that lives would have told its end

_NO_HOPE = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
_NO_PULL = ("ErrImagePull", "ImagePullBackOff")
_FINAL_WORDS = ("not found", "denied", "unauthorized", "does not exist", "no match for platform")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a pod of a pool may wait for a node, and then for its container to start."""

    pool: str
    schedule_s: float
    startup_s: float


@dataclass(frozen=True, slots=True)
class View:
    """Words for the log. When the wait is over: the result, None for a pod that is gone."""

    words: str
    is_over: bool = False
    result: Mapping[str, Any] | None = None


def look(pod: Mapping[str, Any] | None, limits: Limits, now: datetime) -> View:
    """Say how things stand with a pod, None being one that the API server does not know."""
    if pod is None:
        return View("the pod is gone", is_over=True)
    if pod_status.has_ended(pod):
        result = pod_status.result_of_pod(pod)
        return View(
            f"the pod has ended on {pod_status.node(pod) or 'no node'}", is_over=True, result=result
        )
    deleted = _moment(pod["metadata"].get("deletionTimestamp"))
    if deleted:
        return _look_at_deleted(pod, deleted, now)
    if pod["status"].get("phase") == "Pending":
        return _look_at_pending(pod, limits, now)
    return View(f"running on {pod_status.node(pod)}")


def result_of_gone(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Make the result of a pod that is gone from what was last known of it."""
    if pod_status.has_ended(pod):
        return pod_status.result_of_pod(pod)
    why = pod_status.why_stopped(pod)
    return failed(*(why or (Cause.TERMINATED, "the pod was deleted before its end was seen")))


def _look_at_deleted(pod: Mapping[str, Any], deleted: datetime, now: datetime) -> View:
    """Wait for the end of a pod that is asked to stop, but not for a node that does not answer."""
    words = "the pod is asked to stop"
    if now <= deleted + SILENCE:
        return View(words)
    return View(words, is_over=True, result=_lost(pod))


def _lost(pod: Mapping[str, Any]) -> dict[str, Any]:
    node = pod_status.node(pod)
    if not node:
        return failed(Cause.TERMINATED, "the pod was deleted before it had a node")
    return failed(Cause.NODE_LOST, f"the node {node} under the pod does not answer any more")


def _look_at_pending(pod: Mapping[str, Any], limits: Limits, now: datetime) -> View:
    scheduled = pod_status.condition(pod, "PodScheduled")
    if scheduled.get("status") == "True":
        since = _moment(scheduled.get("lastTransitionTime")) or now
        return _look_at_starting(pod, limits, (now - since).total_seconds())
    why = _first_sentence(scheduled.get("message") or "the scheduler has not looked at it yet")
    created = _moment(pod["metadata"].get("creationTimestamp")) or now
    if (now - created).total_seconds() < limits.schedule_s:
        most = span(limits.schedule_s)
        return View(f"no node of pool {limits.pool} yet: {why}; waiting up to {most}")
    message = (  # what to do stands before what others said, of which a long one is cut
        f"no node of pool {limits.pool} took the pod within {span(limits.schedule_s)} (see that "
        f"the pool can grow, ask for less, or raise its `schedule_timeout`): {why}"
    )
    return View("giving up", is_over=True, result=failed(Cause.DEADLINE, message))


def _look_at_starting(pod: Mapping[str, Any], limits: Limits, waited_s: float) -> View:
    node, waiting = pod_status.node(pod), pod_status.waiting(pod)
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    why = ": ".join(filter(None, (reason, message))) or "nothing told yet"
    if _is_hopeless(reason, message):
        advice = "check the image's name, its architecture, the registry, and the secrets named"
        problem = f"the container cannot start on {node} ({advice}): {why}"
        return View("giving up", is_over=True, result=failed(Cause.IMAGE, problem))
    if waited_s < limits.startup_s:
        return View(f"starting on {node} ({reason or 'no container yet'})")
    problem = (
        f"the container did not start on {node} within {span(limits.startup_s)} (raise the "
        f"`startup_timeout` of pool {limits.pool} if its image is large): {why}"
    )
    return View("giving up", is_over=True, result=failed(Cause.IMAGE, problem))


def _is_hopeless(reason: str, message: str) -> bool:
    """Tell an image that is not there from a registry that has a bad minute."""
    refused = reason in _NO_PULL and any(word in message.lower() for word in _FINAL_WORDS)
    return refused or reason in _NO_HOPE


def _first_sentence(message: str) -> str:
    """Leave out what the scheduler says of preemption: it repeats the reason at length."""
    return message.partition(". ")[0].strip().rstrip(".")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
