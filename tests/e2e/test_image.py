"""The image on a real cluster, in pods under the restricted Pod Security Standard."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from kubernetes import client

from nightmill.spec.steprun import StepRun
from tests.conftest import notebook_json
from tests.e2e.cluster import REPOSITORY, TRIAL, Cluster, PodEnd, step_pod, wait_until
from tests.e2e.image import read_image

# The first test that asks for the image may have to build it.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

PARAMETERS = ('facts = "facts.json"', "parameters")
LOOK_AROUND = """
import json, os, pathlib, sys

def try_to_write(folder):
    try:
        (pathlib.Path(folder) / "probe").write_text("")
    except OSError:
        return False
    return True

status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
seen = {
    "uid": os.getuid(),
    "gid": os.getgid(),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "writable": [d for d in ("/", "/opt/nightmill", "/opt/kernels", "/tmp") if try_to_write(d)],
    "home": try_to_write(pathlib.Path.home()),
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    "pip_settings": open("/etc/pip.conf").read() if os.path.exists("/etc/pip.conf") else "",
    "pip_variables": [n for n in os.environ if n.startswith(("PIP_", "UV_"))],
    "pid_1": open("/proc/1/comm").read().strip(),
    "runner_in_sys_path": any("/opt/runner" in p for p in sys.path),
}
pathlib.Path(facts).write_text(json.dumps(seen))
"""
ORPHANS = """
import pathlib, subprocess, time

for _ in range(20):  # the shell ends at once; its child does so later, with nobody to wait for it
    subprocess.run("sleep 0.1 &", shell=True, check=True)

def zombies():
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found += [f"{file.parent.name} of {parent}"] if state == "Z" else []
    return found

deadline = time.monotonic() + 10
time.sleep(0.3)
while zombies() and time.monotonic() < deadline:
    time.sleep(0.1)
assert not zombies(), zombies()
"""
NOTEBOOKS = {
    "facts": [PARAMETERS, LOOK_AROUND],
    "sleeps": ["x = 1", "print('about to sleep')\nimport time; time.sleep(600)"],
    "fails": ["x = 1", "x / 0"],
    "orphans": [ORPHANS],
    "hungry": ["kept = []\nwhile True:\n    kept.append(bytearray(b'x' * (16 << 20)))"],
    "plots": ["import pandas, matplotlib.pyplot as plt\nplt.plot([1, 2]);"],
}
PIPELINE = "pipeline: trial\nsteps:\n" + "".join(
    f"  {step}: {{notebook: {step}.ipynb, kernel: tabular"
    + (", outputs: {facts: facts.json}}\n" if step == "facts" else "}\n")
    for step in NOTEBOOKS
)


@dataclass(frozen=True)
class Trial:
    """A namespace under the restricted standard, with a pipeline, credentials and a store."""

    cluster: Cluster
    image: str
    server: object
    prefix: str

    def start(self, step: str, *, run: str = "", **choices) -> str:
        """Start a pod for one attempt at a step; returns its name."""
        asked = StepRun(
            pipeline="trial",
            step=step,
            partition="2013-03-01",
            as_of="2013-03-01",
            run=run or step,
            order=time.time_ns() // 1000,
            store=self.server.url(self.prefix),
        )
        pod = step_pod(self.image, asked.to_argv(), files="trial", secret="s3", **choices)
        return self.cluster.start(pod)

    def finish(self, step: str, **choices) -> PodEnd:
        """Run one attempt at a step in a pod to its end."""
        return self.cluster.wait_for_end(self.start(step, **choices))

    def read(self, step: str, name: str, *, run: str = "") -> dict:
        """Read a JSON object of an attempt from the store."""
        key = f"{self.prefix}/runs/trial/2013-03-01/{run or step}/{step}/1/{name}"
        found = self.server.client().get_object(Bucket=self.server.bucket, Key=key)
        return json.loads(found["Body"].read())


@pytest.fixture(scope="module")
def trial(cluster, image, pod_s3):
    """Make a namespace as image/rbac.yaml does, and put a pipeline and credentials into it."""
    own = replace(cluster, namespace=f"nightmill-{uuid4().hex[:8]}")
    rights = (REPOSITORY / "image" / "rbac.yaml").read_text(encoding="utf-8")
    ours = re.sub(r"(?m)(name|namespace): (nightmill|airflow)$", rf"\1: {own.namespace}", rights)
    cluster.apply(ours)
    files = {f"{step}.ipynb": notebook_json(cells) for step, cells in NOTEBOOKS.items()}
    slow = "import time\ntime.sleep(300)\n"  # longer than anybody needs to delete its pod
    own.add_files("trial", {"pipeline.yaml": PIPELINE, "sitecustomize.py": slow, **files})
    own.add_secret("s3", {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"})
    yield Trial(own, image, pod_s3, own.namespace)
    cluster.core.delete_namespace(own.namespace)


@pytest.fixture(scope="module")
def facts(trial):
    """Run the step that looks around in its pod; return its end, and what it saw as committed."""
    end = trial.finish("facts")
    assert end.exit_code == 0, end
    return end, trial.read("facts", "outputs/facts/facts.json")


def test_a_step_runs_under_the_restricted_standard(facts, trial):
    """A pod with nothing but a scratch mount runs a step to success and commits to S3."""
    end, _seen = facts
    record = trial.read("facts", "record.json")
    assert (end.phase, end.exit_code) == ("Succeeded", 0)
    assert (record["state"], record["committed"], record["failure"]) == ("succeeded", True, None)
    assert trial.read("facts", "notebook.ipynb")["metadata"]["kernelspec"]["name"] == "tabular"
    listed = trial.server.client().list_objects_v2(
        Bucket=trial.server.bucket, Prefix=f"{trial.prefix}/current/trial/facts/"
    )
    assert listed["KeyCount"] == 1


def test_a_notebook_has_no_power_over_its_pod(facts):
    """In the pod a notebook is an ordinary user, can write to scratch alone, and has no token."""
    _end, seen = facts
    assert (seen["uid"], seen["gid"]) == (10001, 10001)
    assert (seen["capabilities"], seen["no_new_privileges"]) == (0, "1")
    assert seen["seccomp"] == "2"  # a filter
    assert (seen["writable"], seen["home"], seen["token"]) == ([], True, False)
    assert not seen["runner_in_sys_path"]


def test_nothing_of_the_build_stays_in_the_pod(facts):
    """A running pod finds no settings of pip or uv."""
    _end, seen = facts
    assert (seen["pip_settings"], seen["pip_variables"]) == ("", [])


@pytest.mark.usefixtures("facts")
def test_the_record_names_the_commit_of_the_image(trial, image_archive):
    """The record of a step in an image holds the commit that the image was built from."""
    revision = read_image(image_archive)[0]["Labels"]["org.opencontainers.image.revision"]
    code = trial.read("facts", "record.json")["code"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)
    assert (code["git_commit"], code["git_dirty"]) == (
        revision.removesuffix("-dirty"),
        revision.endswith("-dirty"),
    )


def test_a_deleted_pod_leaves_a_record_inside_its_grace(trial):
    """SIGTERM in the middle of a cell ends in a record that says terminated, and in no commit."""
    pod = trial.start("sleeps")
    trial.cluster.wait_for_log(pod, "2/2 ")
    end = trial.cluster.end_of_deleted(pod, grace_s=60)
    assert end.exit_code == 17  # it was not killed
    record = trial.read("sleeps", "record.json")
    assert (record["failure"]["cause"], record["failure"]["cell"]) == ("terminated", 2)
    assert not record["committed"]
    assert [cell["state"] for cell in record["cells"]] == ["completed", "interrupted"]
    assert record["notebook"].endswith("/sleeps/1/notebook.ipynb")


def test_a_pod_deleted_while_python_starts_ends_at_once(trial):
    """SIGTERM before Python can handle signals is not lost, as it is on a Python that is PID 1."""
    slow = {"PYTHONPATH": TRIAL}  # its sitecustomize.py holds up the start
    pod = trial.start("sleeps", run="early", env=slow)
    wait_until(lambda: trial.cluster.phase(pod) == "Running", f"start of {pod}", 60)
    assert trial.cluster.end_of_deleted(pod, grace_s=60).exit_code == 128 + signal.SIGTERM


def test_a_failing_cell_decides_the_exit_code(trial):
    """A cell that raises gives exit code 10, its place in the log, and the notebook in S3."""
    end = trial.finish("fails")
    assert (end.phase, end.exit_code) == ("Failed", 10)
    assert "notebook_error in cell 2" in end.log
    assert "ZeroDivisionError" in end.log
    record = trial.read("fails", "record.json")
    assert [cell["state"] for cell in record["cells"]] == ["completed", "failed"]


def test_a_kernel_too_large_is_out_of_memory_with_evidence(trial):
    """A kernel killed at the pod's limit is told as out_of_memory, with the kernel's own count."""
    end = trial.finish("hungry", memory="400Mi")
    record = trial.read("hungry", "record.json")
    assert record["failure"]["cause"] == "out_of_memory"
    assert record["failure"]["evidence"]["oom_kills"] >= 1
    assert record["memory"]["limit_bytes"] == 400 << 20
    assert 0 < record["memory"]["peak_bytes"] <= 400 << 20
    assert end.exit_code == 14


def test_orphans_of_a_notebook_are_reaped(trial):
    """Processes that a notebook leaves behind do not stay as zombies."""
    end = trial.finish("orphans")
    assert end.exit_code == 0, end.log


def test_a_plot_needs_no_settings(trial):
    """A cold pod imports pandas and draws a plot although the image cannot be written to."""
    end = trial.finish("plots")
    assert end.exit_code == 0, end.log
    outputs = trial.read("plots", "notebook.ipynb")["cells"][0]["outputs"]
    assert "image/png" in outputs[-1]["data"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_the_standard_is_enforced(trial):
    """The namespace of image/rbac.yaml refuses a pod that could be root."""
    pod = step_pod(trial.image, [], files="trial", secret="s3")
    pod["spec"]["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(client.ApiException) as refused:
        trial.cluster.start(pod)
    assert refused.value.status == 403
    assert "PodSecurity" in refused.value.body


NEEDED = {
    "pods": ["create", "get", "list", "watch", "delete"],
    "pods/log": ["get"],
    "events": ["list"],
}
REFUSED = {
    "pods": ["patch", "update", "deletecollection"],
    "pods/exec": ["create"],
    "secrets": ["get", "list"],
    "configmaps": ["get"],
    "serviceaccounts/token": ["create"],
}


@pytest.mark.parametrize("account", ["airflow-worker", "airflow-triggerer"])
def test_airflow_may_launch_and_nothing_else(trial, account):
    """Airflow's accounts have the rights that launching takes, and not those next to them."""
    name = f"{trial.cluster.namespace}:{account}"
    assert _refused(trial.cluster, name, NEEDED) == []
    assert len(_refused(trial.cluster, name, REFUSED)) == 8


def test_a_step_may_nothing(trial):
    """The account of a step has none of these rights."""
    name = f"{trial.cluster.namespace}:nightmill-step"
    assert len(_refused(trial.cluster, name, NEEDED)) == 7
    assert len(_refused(trial.cluster, name, REFUSED)) == 8


def _refused(cluster: Cluster, account: str, rights: dict[str, list[str]]) -> list[str]:
    return [
        f"{verb} {resource}"
        for resource, verbs in rights.items()
        for verb in verbs
        if not cluster.may(account, verb, resource)
    ]


def test_the_image_is_what_its_labels_say(image_archive):
    """The image runs as a fixed user that is not root, with an init, and names its commit."""
    settings, paths = read_image(image_archive)
    assert settings["User"] == "10001:10001"
    assert settings["Entrypoint"] == ["tini", "--", "nightmill"]
    assert "org.opencontainers.image.source" not in settings["Labels"]
    of_the_build = re.compile(r"root/\.(cache/\w+|config)/.+|build/.+|opt/runner/bin/(uv|pip)")
    assert [name for name in paths if of_the_build.fullmatch(name)] == []
