"""Pods and the preflight on a real cluster: what it admits, and each fault that doctor must find.

Everything happens in a namespace of the test's own, under the restricted Pod Security Standard and
with the rights of image/rbac.yaml, and is gone afterwards.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from nightmill.cluster.platform import load_platform
from nightmill.cluster.pod import pod_manifest
from nightmill.spec.project import Project
from tests.e2e.cluster import REPOSITORY, Cluster

# The first test that asks for the image may have to build it.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

AIRFLOW = "system:serviceaccount:airflow:airflow-worker"  # whom image/rbac.yaml gives rights

POOLS = """\
default_pool: default
pools:
  default:
    selector: {nightmill.io/pool: default}
    largest: {cpu: 1, memory: 2Gi}
    next: highmem
  highcpu:
    selector: {nightmill.io/pool: highcpu}
    tolerations: ["nightmill.io/pool=highcpu:NoSchedule"]
    largest: {cpu: 2, memory: 4Gi}
  highmem:
    selector: {nightmill.io/pool: highmem}
    tolerations: ["nightmill.io/pool=highmem:NoSchedule"]
    largest: {cpu: 1, memory: 8Gi}
"""


@dataclass(frozen=True)
class Site:
    """A project whose platform.yaml names the real cluster, the test's namespace and its store."""

    root: Path
    cluster: Cluster
    store: str

    def write(self, *, store: str = "", **keys: object) -> Path:
        """Write platform.yaml; keys replace those of a platform that is right."""
        secret = {"secret": "nightmill-s3"}
        platform = {
            "store": store or self.store,
            "launcher": "kubernetes",
            "access": {"kubeconfig": str(self.cluster.kubeconfig)},
            "namespace": self.cluster.namespace,
            "environment": {
                "AWS_ACCESS_KEY_ID": {**secret, "key": "access-key-id"},
                "AWS_SECRET_ACCESS_KEY": {**secret, "key": "secret-access-key"},
            },
            **yaml.safe_load(POOLS),
            **keys,
        }
        file = self.root / "dags" / "platform.yaml"
        file.write_text(yaml.safe_dump(platform, sort_keys=False), encoding="utf-8")
        return file.parent

    def pods(self) -> list[str]:
        """Name the pods of the namespace that are not on their way out."""
        found = self.cluster.core.list_namespaced_pod(self.cluster.namespace).items
        return [pod.metadata.name for pod in found if not pod.metadata.deletion_timestamp]


@pytest.fixture(scope="module")
def namespace(cluster):
    """Make a namespace by image/rbac.yaml, with the store's credentials; delete it afterwards."""
    name = f"nightmill-doctor-{uuid4().hex[:6]}"
    text = (REPOSITORY / "image" / "rbac.yaml").read_text(encoding="utf-8")
    own = replace(cluster, namespace=name)
    own.apply(
        text.replace("namespace: nightmill\n", f"namespace: {name}\n").replace(
            "kind: Namespace\nmetadata:\n  name: nightmill\n",
            f"kind: Namespace\nmetadata:\n  name: {name}\n",
        )
    )
    own.add_secret("nightmill-s3", {"access-key-id": "admin", "secret-access-key": "admin-secret"})
    own.add_secret("nobody-s3", {"access-key-id": "nobody", "secret-access-key": "nothing"})
    yield own
    own.core.delete_namespace(name)


@pytest.fixture
def site(namespace, pod_s3, tmp_path, monkeypatch):
    """Make a project with the shipped notebooks, and a platform.yaml that is right."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)
    for folder in ("notebooks", "kernels"):
        shutil.copytree(
            REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "dags").mkdir()
    made = Site(tmp_path, namespace, pod_s3.url(uuid4().hex))
    made.write()
    return made


@pytest.mark.parametrize("golden", ["pod_cpu", "pod_gpu", "pod_arm64", "pod_patch"])
def test_golden_pods_are_admitted(namespace, golden):
    """The API server admits every golden pod under the restricted standard, without a warning."""
    file = REPOSITORY / "tests" / "golden" / f"{golden}.yaml"
    pod = yaml.safe_load(file.read_text(encoding="utf-8"))
    pod["metadata"]["namespace"] = namespace.namespace
    # Priority classes belong to the cluster, and this one has not got the example's.
    pod["spec"].pop("priorityClassName", None)
    _, status, headers = namespace.core.create_namespaced_pod_with_http_info(
        namespace.namespace, pod, dry_run="All"
    )
    assert status == 201
    assert "Warning" not in headers


@pytest.mark.parametrize("env", ["", "prod"])
def test_shipped_platforms_are_admitted(namespace, env):
    """Each step of the shipped pipelines is admitted as each shipped platform.yaml makes it."""
    platform = load_platform(REPOSITORY / "dags", env)
    for pipeline in Project.load(REPOSITORY).pipelines.values():
        for step in pipeline.spec.steps:
            pod = pod_manifest(platform, pipeline, step, image="registry/nightmill:1")
            pod["metadata"]["namespace"] = namespace.namespace
            namespace.core.create_namespaced_pod(namespace.namespace, pod, dry_run="All")


def test_text_arrives_as_it_is(site, image):
    """What looks like a variable to Kubernetes reaches the command as it was written."""
    project = Project.load(site.root)
    platform = load_platform(site.root / "dags", "")
    text = "$(HOME) $$ $HOME {{ ds }}"
    pod = pod_manifest(
        platform, project.pipeline("flight_delays"), "ingest", image=image, arguments=[text]
    )
    name = site.cluster.start(pod)
    ended = site.cluster.wait_for_end(name)
    site.cluster.delete(name, grace_s=0)
    assert ended.exit_code == 2
    assert text in ended.log


def test_all_well(cli, site, image):
    """On a cluster that is right every check passes, pod and store included, and no pod is left."""
    ended = cli("doctor", "--image", image, cwd=site.root)
    assert ended.code == 0, ended.out
    assert "0 failed, 0 warnings" in ended.out
    assert f"{image} starts on default-1" in ended.out
    assert "can be read and written from a pod" in ended.out
    assert site.pods() == []


def test_rights_of_airflow(cli, site, image):
    """With the rights of image/rbac.yaml and no more the preflight passes, pod included."""
    ended = cli("doctor", "--image", image, "--as", AIRFLOW, cwd=site.root)
    assert ended.code == 0, ended.out
    lines = ended.out.splitlines()
    assert "rights: pods, their logs and events, all that Airflow needs" in ended.out
    assert "can be read and written from a pod" in ended.out
    unseen = [line for line in lines if line.startswith("warning")]
    assert len(unseen) == 4  # namespace, service account, secret, nodes
    assert all("no right to look" in line for line in unseen)


FAULTS = {
    "namespace": (
        {"namespace": "nightmil"},
        (),
        "namespace `nightmil` does not exist",
        "kubectl create namespace nightmil",
    ),
    "service account": (
        {"service_account": "nightmill-stp"},
        (),
        "service account `nightmill-stp` does not exist",
        "image/rbac.yaml",
    ),
    "secret": (
        {"environment": {"X": {"secret": "nightmill-s4", "key": "a"}}},
        (),
        "secret `nightmill-s4` does not exist",
        "create secret generic nightmill-s4 --from-literal=a=...",
    ),
    "key": (
        {"environment": {"X": {"secret": "nightmill-s3", "key": "access-key"}}},
        (),
        "secret `nightmill-s3` has no key `access-key`",
        "correct the key",
    ),
    "selector": (
        {"pools": {"default": {"selector": {"nightmill.io/pool": "gpu"}}}},
        ("--pipeline", "one"),
        "no node has nightmill.io/pool=gpu",
        "kubectl label node NAME nightmill.io/pool=gpu",
    ),
    "toleration": (
        {"pools": {"default": {"selector": {"nightmill.io/pool": "highmem"}}}},
        ("--pipeline", "one"),
        "the taint `nightmill.io/pool=highmem:NoSchedule` of its nodes is not tolerated",
        'tolerations: ["nightmill.io/pool=highmem:NoSchedule"]',
    ),
    "more than the pool's largest": (
        {"pools": {"default": {"largest": {"memory": "512Mi"}}}},
        ("--pipeline", "one"),
        "asks for memory 1Gi, but the largest node of the pool `default` has 512Mi",
        "at most 512Mi",
    ),
    "more than the nodes have": (
        {"pools": {"default": {"defaults": {"cpu": 64}}}},
        ("--pipeline", "one"),
        "no node has room for one.step: it asks for cpu 64",
        "ask for less",
    ),
    "no rights": (
        {},
        ("--as", "system:serviceaccount:airflow:default"),
        "missing in `NAMESPACE`: create pods, get pods, list pods, watch pods, delete pods",
        "image/rbac.yaml",
    ),
    "against the standard": (
        {"pools": {"default": {"patch": {"spec": {"hostNetwork": True}}}}},
        ("--pipeline", "one"),
        'violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)',
        "nightmill pod",
    ),
}


@pytest.mark.parametrize(("keys", "arguments", "what", "advice"), FAULTS.values(), ids=FAULTS)
def test_faults(cli, site, keys, arguments, what, advice):
    """Each fault of platform or cluster is a line that fails, with what to do, and exit code 1."""
    folder = site.root / "notebooks" / "one"
    folder.mkdir()
    shutil.copy(site.root / "notebooks" / "flight_delays" / "ingest.ipynb", folder)
    text = "pipeline: one\nsteps: {step: {notebook: ingest.ipynb, memory: 1Gi}}\n"
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    site.write(**keys)
    ended = cli("doctor", "--no-pod", *arguments, cwd=site.root)
    lines = ended.out.splitlines()
    what = what.replace("NAMESPACE", site.cluster.namespace)
    found = [number for number, line in enumerate(lines) if what in line]
    assert found, ended.out
    assert lines[found[0]].startswith("fail")
    assert advice in lines[found[0] + 1]
    assert ended.code == 1


def test_no_image(cli, site):
    """An image that cannot be pulled is found by the trial pod, which does not stay."""
    ended = cli("doctor", "--image", "localhost/nightmill:absent", cwd=site.root)
    assert ended.code == 1
    assert "localhost/nightmill:absent does not start" in ended.out
    assert "Pull" in ended.out
    assert site.pods() == []


@pytest.mark.parametrize(
    ("secret", "endpoint", "words"),
    [
        ("nobody-s3", "", "credentials"),
        ("nightmill-s3", "http://HOST:9", "address and port"),
    ],
)
def test_store_refuses(cli, site, image, secret, endpoint, words):
    """A store that a pod cannot use is told in the store's own words, by the pod."""
    names = {"AWS_ACCESS_KEY_ID": "access-key-id", "AWS_SECRET_ACCESS_KEY": "secret-access-key"}
    store = f"s3://bucket/p?retries=0&region=us-east-1&endpoint={endpoint}"
    site.write(
        environment={name: {"secret": secret, "key": key} for name, key in names.items()},
        store=store.replace("HOST", site.cluster.host_ip) if endpoint else "",
    )
    ended = cli("doctor", "--image", image, cwd=site.root)
    assert ended.code == 1
    assert f"{image} starts on" in ended.out
    (line,) = [line for line in ended.out.splitlines() if line.startswith("fail")]
    assert words in line
    assert site.pods() == []


def test_a_step_as_kubectl_would_start_it(cli, site, image, pod_s3):
    """What `nightmill pod` prints runs, on its pool's node and with its record in the store."""
    day = ("--partition", "2013-03-01", "--image", image)
    printed = cli("pod", "flight_delays", "ingest", *day, cwd=site.root)
    assert printed.code == 0
    name = site.cluster.start(yaml.safe_load(printed.out))
    ended = site.cluster.wait_for_end(name, timeout_s=300)
    site.cluster.delete(name, grace_s=0)
    assert (ended.phase, ended.exit_code) == ("Succeeded", 0), ended.log
    assert ended.node == "default-1"
    prefix = site.store.partition("?")[0].removeprefix(f"s3://{pod_s3.bucket}/")
    keys = [
        found["Key"]
        for found in pod_s3.client().list_objects_v2(Bucket=pod_s3.bucket, Prefix=prefix)[
            "Contents"
        ]
    ]
    assert any(key.endswith("/record.json") for key in keys)
    assert any(key.endswith("/schedule.parquet") for key in keys)
