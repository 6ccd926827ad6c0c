"""Pools against nodes: a table of clusters that have, or lack, what the pods ask for."""

from __future__ import annotations

import pytest

from nightmill.cluster.client import Node
from nightmill.cluster.findings import PlannedPod
from nightmill.cluster.node_check import check_pools
from nightmill.cluster.pod import Placement
from nightmill.cluster.pool import Pool

GIB = 2**30


def node(name: str = "n1", **given: object) -> Node:
    """Make a node of the pool `big` with 4 processors and 8 GiB."""
    values = {
        "labels": {"pool": "big", "kubernetes.io/arch": "amd64"},
        "taints": (),
        "is_usable": True,
        "cpu_millicores": 4000,
        "memory_bytes": 8 * GIB,
        "gpu": 0,
    }
    return Node(name=name, **{**values, **given})


def pod(placement: dict | None = None, **pool: object) -> PlannedPod:
    """Plan the pod of `p.score` on the pool `big`, 1 processor and 1 GiB unless told otherwise."""
    made = Pool.model_validate({"selector": {"pool": "big"}, **pool})
    asked = {"cpu_millicores": 1000, "memory_bytes": GIB, **(placement or {})}
    spec = {
        "nodeSelector": made.node_selector,
        "tolerations": [one.manifest() for one in made.tolerations],
    }
    return PlannedPod("p.score", Placement("big", made, **asked), {"spec": spec})


TAINTED = node(taints=({"key": "pool", "value": "big", "effect": "NoSchedule"},))

# nodes, pod, level, words of the problem, words of the advice
CASES = {
    "fits": ([node()], pod(), "ok", ["`big`", "nodes ready: 1", "every step fits"], []),
    "exactly": (
        [node()],
        pod({"cpu_millicores": 4000, "memory_bytes": 8 * GIB}),
        "ok",
        ["every step fits"],
        [],
    ),
    "no node": (
        [node(labels={"pool": "other"})],
        pod(),
        "fail",
        ["no node has pool=big"],
        ["kubectl label node NAME pool=big", "autoscaled"],
    ),
    "none at all, autoscaled": ([], pod(autoscaled=True), "ok", ["no node now"], []),
    "wrong processors": (
        [node()],
        pod(architecture="arm64"),
        "fail",
        ["kubernetes.io/arch=arm64"],
        ["label"],
    ),
    "tainted": (
        [TAINTED],
        pod(),
        "fail",
        ["the taint `pool=big:NoSchedule`", "not tolerated"],
        ['tolerations: ["pool=big:NoSchedule"]'],
    ),
    "tolerated": ([TAINTED], pod(tolerations=["pool=big:NoSchedule"]), "ok", ["fits"], []),
    "tolerated by key": ([TAINTED], pod(tolerations=["pool"]), "ok", ["fits"], []),
    "all tolerated": ([TAINTED], pod(tolerations=[{"operator": "Exists"}]), "ok", ["fits"], []),
    "another effect": (
        [TAINTED],
        pod(tolerations=["pool=big:NoExecute"]),
        "fail",
        ["not tolerated"],
        [],
    ),
    "another value": (
        [TAINTED],
        pod(tolerations=["pool=small:NoSchedule"]),
        "fail",
        ["not tolerated"],
        [],
    ),
    "another key": ([TAINTED], pod(tolerations=["gpu:NoSchedule"]), "fail", ["tolerated"], []),
    "taint without a value": (
        [node(taints=({"key": "gpu", "effect": "NoSchedule"},))],
        pod(),
        "fail",
        ["`gpu:NoSchedule`"],
        ['"gpu:NoSchedule"'],
    ),
    "a taint that only prefers": (
        [node(taints=({"key": "spot", "effect": "PreferNoSchedule"},))],
        pod(),
        "ok",
        ["fits"],
        [],
    ),
    "one of two tainted": ([TAINTED, node("n2")], pod(), "ok", ["nodes ready: 1"], []),
    "not ready": (
        [
            node(
                is_usable=False,
                taints=({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},),
            )
        ],
        pod(),
        "fail",
        ["no node is ready"],
        ["kubectl get nodes -l pool=big"],
    ),
    "not ready, autoscaled": (
        [node(is_usable=False)],
        pod(autoscaled=True),
        "warning",
        ["no node is ready"],
        [],
    ),
    "too large": (
        [node(), node("n2", memory_bytes=6 * GIB)],
        pod({"memory_bytes": 9 * GIB}, next="huge"),
        "fail",
        ["p.score", "memory 9Gi", "n1", "memory 8Gi"],
        ["use the pool `huge`"],
    ),
    "too large, autoscaled": (
        [node()],
        pod({"memory_bytes": 9 * GIB}, autoscaled=True),
        "warning",
        ["memory 9Gi"],
        ["ask for less"],
    ),
    "no gpu": ([node()], pod({"gpu": 1}), "fail", ["gpu 1", "gpu 0"], ["ask for less"]),
    "gpu": ([node(gpu=2)], pod({"gpu": 2}), "ok", ["fits"], []),
    "each amount on another node": (
        [node(cpu_millicores=500), node("n2", memory_bytes=GIB // 2)],
        pod(),
        "fail",
        ["no node has room for p.score"],
        [],
    ),
}


@pytest.mark.parametrize(("nodes", "planned", "level", "what", "advice"), CASES.values(), ids=CASES)
def test_pool(nodes, planned, level, what, advice):
    """One finding a pool says whether its pods find a node, and what to do if not."""
    (finding,) = check_pools(nodes, [planned])
    assert finding.level == level
    assert [word for word in what if word not in finding.what] == []
    assert [word for word in advice if word not in finding.advice] == []
    assert bool(finding.advice) == (level != "ok")


def test_each_step_that_is_too_large():
    """Of the steps of one pool each that does not fit is named, and the others are not."""
    small = pod()._replace(step="p.small")
    big = [pod({"gpu": 1})._replace(step=f"p.big{number}") for number in range(2)]
    found = list(check_pools([node()], [small, *big]))
    assert [finding.level for finding in found] == ["fail", "fail"]
    assert ["p.big0" in found[0].what, "p.big1" in found[1].what] == [True, True]


def test_patched_selector():
    """What counts is the pod as it will be, after the pool's patch."""
    planned = pod()._replace(manifest={"spec": {"nodeSelector": {"pool": "other"}}})
    (finding,) = check_pools([node()], [planned])
    assert "no node has pool=other" in finding.what


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("spec", "condition", "usable"),
    [
        ({}, READY, True),
        ({"unschedulable": True}, READY, False),
        ({}, {**READY, "status": "Unknown"}, False),
        ({}, {"type": "DiskPressure", "status": "True"}, False),
    ],
)
def test_reading_a_node(spec, condition, usable):
    """A node is usable when it is Ready and not cordoned; its quantities become numbers."""
    status = {
        "conditions": [condition],
        "allocatable": {"cpu": "3920m", "memory": "7Gi", "nvidia.com/gpu": "1"},
    }
    found = Node.read({"metadata": {"name": "n"}, "spec": spec, "status": status})
    assert found == Node("n", {}, (), usable, 3920, 7 * GIB, 1)
