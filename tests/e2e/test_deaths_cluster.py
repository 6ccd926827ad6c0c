"""The ways to die that take a cluster, for real; afterwards pod, record and notebook agree.

All steps die at the same time, since most of it is waiting until a cluster gives a node up.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.deaths.table import IN_POD
from tests.deaths.there import Pod, die_there, write_ways
from tests.deaths.way import states_of
from tests.e2e.cluster import REPOSITORY, RIG, run_rig
from tests.e2e.launchpad import launchpad

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WAYS = {way.name: way for way in IN_POD}
ACTS = {
    "container-out-of-memory": Pod.leave,
    "pod-deadline": Pod.leave,
    "evicted": Pod.evict,
    "node-killed": Pod.kill_node,
    "node-cut-off": Pod.cut_node,
    "image-missing": Pod.leave,
}
AFTERWARDS = {"node-cut-off": Pod.heal_node_and_wait}
ON_NODES_OF_THEIR_OWN = ("node-killed", "node-cut-off")


@pytest.fixture(scope="module")
def nodes():
    """Add a node for each step whose node is to be lost; returns their names by the step's."""
    if not RIG.is_dir():
        pytest.skip("adding, killing and cutting nodes takes the rig")
    names = {way: f"e2e-{uuid4().hex[:6]}" for way in ON_NODES_OF_THEIR_OWN}
    with ThreadPoolExecutor() as pool:
        list(pool.map(add_node, names.values()))
        yield names
        list(pool.map(lambda name: run_rig("node", "remove", name), names.values()))


def add_node(name: str) -> None:
    """Add a small node in a pool of its own name."""
    run_rig("node", "add", name, "--pool", name, "--memory", "1024", "--cpu", "1000")


@pytest.fixture(scope="module")
def deaths(cluster, image, pod_s3, nodes, tmp_path_factory):
    """Let all steps die at once, and return what is awaited, by the names of the ways."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "kernels", root / "kernels")
    with launchpad(cluster, image, pod_s3, root) as pad, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "admin")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "admin-secret")
        patch.setenv("NIGHTMILL_ENV", "")
        write_ways(pad, WAYS, nodes)
        with ThreadPoolExecutor(len(WAYS)) as pool:
            yield {
                name: pool.submit(die_there, pad, way, ACTS[name], AFTERWARDS.get(name))
                for name, way in WAYS.items()
            }


def _exit_of(failure):
    """Return the exit code of the container as far as the cluster has told it."""
    return failure["evidence"].get("pod", {}).get("container", {}).get("exit_code")


def test_every_way_is_made():
    """No row of the table is left out here."""
    assert set(ACTS) == set(WAYS)


@pytest.mark.parametrize("way", IN_POD, ids=str)
def test_a_way_to_die_in_a_pod(way, deaths):
    """Cause and retry are right; record, notebook and pod agree, and Airflow is told the cause."""
    done = deaths[way.name].result()
    record, failure = done.record, done.record["failure"] or {}
    told = {
        "state": record["state"],
        "cause": failure.get("cause"),
        "retry": failure.get("retry"),
        "cell": failure.get("cell"),
        "may try again": done.retries,
        "exit": _exit_of(failure),
        "cells of the record": tuple(cell["state"] for cell in record["cells"]),
        "cells of the notebook": tuple(states_of(done.notebook)),
        "notebook is named": record["notebook"] is not None,
        "committed": record["committed"],
        "pointer": done.pointer,
        "named to Airflow": way.cause in str(done.error),
    }
    assert told == {
        "state": "failed",
        "cause": way.cause,
        "retry": way.fate.retry,
        "cell": way.cell,
        "may try again": way.fate.retry != "never",
        "exit": way.fate.exit,
        "cells of the record": way.states,
        "cells of the notebook": way.states,
        "notebook is named": way.states != (),
        "committed": False,
        "pointer": None,
        "named to Airflow": True,
    }, done.log
