"""What a pod's status tells of its end, kept for the record: the pod itself will soon be gone.

A pure function over a pod as the API server writes it, beside `pod_status`, which decides the cause
from the same facts. No environment, arguments or labels: they may hold what a record must not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nightmill.airflow import pod_status
from nightmill.cluster.pod import CONTAINER

_TEXT_CHARACTERS = 500
_UNTOUCHED = "True"  # the status of a condition that says all is well, save for disruptions


def pod_evidence(pod: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the facts of a pod's end: its own and its container's; empty for no pod."""
    if not pod:
        return {}
    status, metadata = pod.get("status") or {}, pod.get("metadata") or {}
    spec = pod.get("spec") or {}
    facts = {
        "name": metadata.get("name"),
        "namespace": metadata.get("namespace"),
        "deleted_at": metadata.get("deletionTimestamp"),
        "node": pod_status.node(pod),
        "phase": status.get("phase"),
        "reason": status.get("reason"),
        "message": _text(status.get("message")),
        "deadline_s": spec.get("activeDeadlineSeconds"),
        "limits": _limits(spec),
        "conditions": _conditions(status),
        "container": _container(pod),
    }
    return {"pod": _told(facts)}


def _limits(spec: Mapping[str, Any]) -> dict[str, str]:
    for one in spec.get("containers") or ():
        if one.get("name") == CONTAINER:
            limits = (one.get("resources") or {}).get("limits") or {}
            return {name: str(amount) for name, amount in limits.items()}
    return {}


def _conditions(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions that say what went wrong, by their kind."""
    names = ("status", "reason", "message", "lastTransitionTime")
    return {
        one["type"]: _told({name: _text(one.get(name)) for name in names})
        for one in status.get("conditions") or ()
        if one.get("status") != _UNTOUCHED or one["type"] == "DisruptionTarget"
    }


def _container(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the step's container ended, and how it had ended before."""
    found = pod_status.container(pod)
    last = (found.get("lastState") or {}).get("terminated") or {}
    return _told(
        {
            **_end(pod_status.container_end(pod)),
            "waiting": _told({**pod_status.waiting(pod)}),
            "restarts": found.get("restartCount"),
            "last_state": _end(last),
        }
    )


def _end(end: Mapping[str, Any]) -> dict[str, Any]:
    names = {"reason": "reason", "exitCode": "exit_code", "signal": "signal"}
    times = {"startedAt": "started_at", "finishedAt": "finished_at"}
    facts = {ours: end.get(theirs) for theirs, ours in (names | times).items()}
    return _told({**facts, "message": _text(_foreign_word(end.get("message")))})


def _foreign_word(message: Any) -> Any:
    """Leave out the step's own word, which the record holds already."""
    try:
        return "" if isinstance(json.loads(message or ""), dict) else message
    except ValueError:
        return message


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the API server does not tell; an exit code of 0 is told."""
    return {name: value for name, value in facts.items() if value or value == 0}


def _text(value: Any) -> str:
    return str(value or "")[:_TEXT_CHARACTERS]
