"""Whether each pool has nodes, whether its pods may go there, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightmill.cluster.client import Node
from nightmill.cluster.findings import Finding, PlannedPod, fail, ok, warning
from nightmill.cluster.pod import cpu_quantity, memory_quantity
from nightmill.spec.problems import shown


def check_pools(nodes: Sequence[Node], pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    """Check the pool of every pod against the nodes there are now."""
    by_pool: dict[str, list[PlannedPod]] = {}
    for pod in pods:
        by_pool.setdefault(pod.placement.pool_name, []).append(pod)
    for some in by_pool.values():
        yield from _check_pool(nodes, some)


def _check_pool(nodes: Sequence[Node], pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    name, pool = pods[0].placement.pool_name, pods[0].placement.pool
    spec = pods[0].manifest["spec"]
    selector: Mapping[str, str] = spec.get("nodeSelector", {})
    selected = [node for node in nodes if selector.items() <= node.labels.items()]
    tolerated = [node for node in selected if not _untolerated(node, spec)]
    usable = [node for node in tolerated if node.is_usable]
    severe = warning if pool.autoscaled else fail
    if not selected and pool.autoscaled:
        yield ok(f"pool {shown(name)}: no node now; it is autoscaled")
    elif not selected:
        yield fail(f"pool {shown(name)}: no node has {_pairs(selector)}", _label_advice(selector))
    elif not tolerated:
        taint = _untolerated(selected[0], spec)[0]
        problem = f"pool {shown(name)}: the taint {shown(taint)} of its nodes is not tolerated"
        yield fail(problem, f'add it: tolerations: ["{taint}"]')
    elif not usable:
        problem = f"pool {shown(name)}: no node is ready and open for pods"
        yield severe(problem, f"see: kubectl get nodes -l {_pairs(selector)}")
    else:
        yield from _check_room(usable, pods)


def _check_room(nodes: Sequence[Node], pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    name, pool = pods[0].placement.pool_name, pods[0].placement.pool
    severe = warning if pool.autoscaled else fail
    tight = [pod for pod in pods if not any(_fits(node, pod) for node in nodes)]
    for pod in tight:
        problem = f"pool {shown(name)}: no node has room for {pod.step}: {_comparison(nodes, pod)}"
        move = f"use the pool {shown(pool.next)}, or " if pool.next else ""
        yield severe(problem, f"{move}ask for less; a node keeps a part of itself for its system")
    if not tight:
        yield ok(f"pool {shown(name)}: nodes ready: {len(nodes)}, every step fits")


def _fits(node: Node, pod: PlannedPod) -> bool:
    asked = pod.placement
    return (
        asked.cpu_millicores <= node.cpu_millicores
        and asked.memory_bytes <= node.memory_bytes
        and asked.gpu <= node.gpu
    )


def _comparison(nodes: Sequence[Node], pod: PlannedPod) -> str:
    asked = pod.placement
    node = max(nodes, key=lambda one: (one.gpu, one.memory_bytes, one.cpu_millicores))
    return (
        f"it asks for cpu {cpu_quantity(asked.cpu_millicores)}, memory "
        f"{memory_quantity(asked.memory_bytes)}, gpu {asked.gpu}; the largest, {node.name}, gives "
        f"cpu {cpu_quantity(node.cpu_millicores)}, memory {memory_quantity(node.memory_bytes)}, "
        f"gpu {node.gpu}"
    )


def _untolerated(node: Node, spec: Mapping[str, Any]) -> list[str]:
    """List the taints of a node that keep the pod away, as kubectl writes them."""
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}".replace("=:", ":")
        for taint in node.taints
        if taint["effect"] != "PreferNoSchedule"
        # Kubernetes sets and lifts these by itself as nodes come, go and are cordoned.
        and not taint["key"].startswith("node.kubernetes.io/")
        and not any(_tolerates(one, taint) for one in spec.get("tolerations", ()))
    ]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    if toleration.get("key") not in (None, taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("value", "") == taint.get("value", ""))


def _pairs(selector: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in selector.items())


def _label_advice(selector: Mapping[str, str]) -> str:
    return (
        f"label one: kubectl label node NAME {_pairs(selector).replace(',', ' ')}; correct "
        "`selector`; or write `autoscaled: true` if nodes come when they are asked for"
    )
