"""Pods that earlier tries of a step left behind: ended, and their end written down.

Airflow may give a try up without a word to its operator: the worker died, or the scheduler took the
try for failed. Its pod goes on, or waits for what never comes, with nobody to see its end. The next
try is the first who looks, and the pod itself tells which attempt it was: by its arguments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nightmill.airflow.cluster_api import plain
from nightmill.airflow.evidence import pod_evidence
from nightmill.airflow.outcome import Outcome
from nightmill.airflow.pod_watch import Limits, View, look, result_of_gone
from nightmill.airflow.pods import Pods
from nightmill.cluster.pod import CONTAINER, unescaped
from nightmill.errors import UsageError
from nightmill.spec.steprun import StepRun
from nightmill.spec.words import WARNING

POLL_S = 2.0
GONE_S = 90.0  # for a pod to end: its grace, and a little


def clear_away(
    pods: Pods,
    limits: Limits,
    outcome: Callable[[StepRun], Outcome],
    tell: Callable[[Iterable[str]], None],
) -> None:
    """Delete the pods of earlier tries, see them gone, and close the attempts they were.

    So only one pod is at work. One that does not go is told and left alone: it is fenced off.
    """
    deadline = time.monotonic() + GONE_S
    seen: dict[str, tuple[Mapping[str, Any], View]] = {}
    while stale := [pod for pod in pods.find() if not pods.of_this_try(pod)]:
        for pod in stale:
            name, found = pod.metadata.name, plain(pod)
            seen.setdefault(name, (found, look(found, limits, datetime.now(UTC))))
            if pod.metadata.deletion_timestamp is None:
                tell([f"Deleting the pod of an earlier try: {name}"])
                pods.delete(name)
        if time.monotonic() > deadline:
            tell([f"{WARNING}It does not go. Should it still run, it is fenced off."])
            break
        time.sleep(POLL_S)
    left = {pod.metadata.name for pod in stale}
    _close(pods, {name: seen[name] for name in seen.keys() - left}.values(), outcome)


def _close(
    pods: Pods,
    gone: Iterable[tuple[Mapping[str, Any], View]],
    outcome: Callable[[StepRun], Outcome],
) -> None:
    for pod, view in gone:
        run = step_run_of(pod)
        if run is None:
            continue
        last = pods.last_known(pod)
        # What it waited for in vain says more than that it was deleted.
        result = view.result or result_of_gone(last)
        if result.get("state") != "succeeded":
            outcome(run).close(result, pod["metadata"]["name"], pod_evidence(last))


def step_run_of(pod: Mapping[str, Any]) -> StepRun | None:
    """Read the attempt that a pod was made for; None for one of another version."""
    for container in pod["spec"]["containers"]:
        if container.get("name") == CONTAINER:
            arguments = container.get("args") or ()
            try:
                return StepRun.from_argv([unescaped(one) for one in arguments])
            except UsageError:
                return None
    return None
