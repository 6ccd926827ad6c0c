"""Lets steps die in pods on a real cluster, by the operator that Airflow runs, and looks around."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from tests.deaths.way import Way
from tests.e2e.cluster import run_rig, wait_until
from tests.e2e.launchpad import PIPELINE, Background, Launchpad, Try, mounts

SMALL = "cpu: 250m, memory: 500Mi"
POD_DEADLINE_S = 60
_END_S = 300

# A pod on a lost node is given up soon.
HURRIED = """\
  terminationGracePeriodSeconds: 10
  tolerations:
  - {key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 5}
  - {key: node.kubernetes.io/not-ready, effect: NoExecute, operator: Exists, tolerationSeconds: 5}
"""


@dataclass(frozen=True)
class Pod:
    """A pod in which a step has come to its deadly cell, and what tests may do to it."""

    pad: Launchpad
    name: str
    node: str

    def evict(self) -> None:
        """Let the cluster evict it."""
        self.pad.evict(self.name)

    def kill_node(self) -> None:
        """End everything on its node at once."""
        run_rig("node", "kill", self.node)

    def cut_node(self) -> None:
        """Lose every packet between its node and the rest."""
        run_rig("node", "cut", self.node)

    def leave(self) -> None:
        """Do nothing: it will end by itself."""

    def heal_node_and_wait(self) -> None:
        """Let the packets through again, and wait until the pod's processes are gone as well."""
        run_rig("node", "heal", self.node)
        wait_until(lambda: self.name not in self.pad.pods(), "the pod's end", 120)


@dataclass(frozen=True)
class Done:
    """How a try ended: what Airflow was told, and what is in the store."""

    error: BaseException | None
    log: str
    record: dict[str, Any]
    notebook: dict[str, Any] | None
    pointer: dict[str, Any] | None

    @property
    def retries(self) -> bool:
        """Whether Airflow may try again."""
        is_failure = isinstance(self.error, AirflowException)
        return is_failure and not isinstance(self.error, AirflowFailException)


_LARGE = """\
selector: {nightmill.io/pool: highmem}
  tolerations: ["nightmill.io/pool=highmem:NoSchedule"]
  largest: {memory: 8Gi}"""
POOLS_OF_WAYS = {
    "container-out-of-memory": "small",
    "pod-deadline": "brief",
    "image-missing": "hasty",
}
_POOLS = {
    "default": ("selector: {nightmill.io/pool: default}", ""),
    "small": ("selector: {nightmill.io/pool: default}\n  next: large", ""),
    "large": (_LARGE, ""),
    "brief": (
        "selector: {nightmill.io/pool: default}",
        f"  activeDeadlineSeconds: {POD_DEADLINE_S}\n",
    ),
    "hasty": ("selector: {nightmill.io/pool: default}\n  startup_timeout: 20s", ""),
}


def write_ways(pad: Launchpad, ways: Mapping[str, Way], nodes: Mapping[str, str]) -> None:
    """Write a pipeline with a step for each way, and the pools that they die on.

    `nodes` names the pools that have a node of their own, by the name of the way.
    """
    placed = {**POOLS_OF_WAYS, **nodes}
    steps = "".join(
        f"  {name}: {{notebook: {name}.ipynb, kernel: tabular, pool: {placed.get(name, 'default')}"
        f"{', image: localhost/none:1' if name == 'image-missing' else ''}}}\n"
        for name in ways
    )
    pad.write_pipeline(
        f"pipeline: {PIPELINE}\nsteps:\n{steps}",
        {name: way.notebook for name, way in ways.items()},
    )
    own = {pool: (f"selector: {{nightmill.io/pool: {pool}}}", HURRIED) for pool in nodes.values()}
    pad.write_platform("".join(_pool(name, *parts) for name, parts in {**_POOLS, **own}.items()))


def _pool(name: str, keys: str, patch: str) -> str:
    text = textwrap.indent(mounts(PIPELINE) + patch, "    ")
    return f"{name}:\n  {keys}\n  defaults: {{{SMALL}}}\n  patch:\n{text}"


def die_there(
    pad: Launchpad,
    way: Way,
    act: Callable[[Pod], None],
    afterwards: Callable[[Pod], None] | None = None,
) -> Done:
    """Run one try; act when the store's notebook says that the deadly cell runs."""
    one = Try(way.name)
    operator = pad.operator(way.name)
    background = Background(lambda: operator.execute(one.context))
    pod = None
    if way.states:
        wait_until(lambda: _runs(pad, way, one) or background.error, f"{way.name}: its cell", 180)
        pod = _pod_of(pad, way)
        act(pod)
    error = background.finish(_END_S)
    if afterwards and pod:
        afterwards(pod)
    return Done(
        error=error,
        log=operator.log.text,
        record=pad.record(way.name, one.run),
        notebook=_notebook(pad, way, one),
        pointer=pad.pointer(way.name),
    )


def _pod_of(pad: Launchpad, way: Way) -> Pod:
    listed = pad.cluster.core.list_namespaced_pod(pad.cluster.namespace).items
    (found,) = [pod for pod in listed if way.name in pod.metadata.name]
    return Pod(pad, found.metadata.name, found.spec.node_name)


def _notebook(pad: Launchpad, way: Way, one: Try) -> dict[str, Any] | None:
    keys = [key for key in pad.keys(f"runs/{PIPELINE}/") if key.endswith("/1/notebook.ipynb")]
    mine = [key for key in keys if f"/{way.name}/1/" in key and one.run in key]
    return json.loads(pad.read(mine[0])) if mine else None


def _runs(pad: Launchpad, way: Way, one: Try) -> bool:
    notebook = _notebook(pad, way, one) or {"cells": ()}
    return "running" in [cell["metadata"]["nightmill"].get("state") for cell in notebook["cells"]]
