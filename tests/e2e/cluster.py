"""A real cluster for tests: pods as plain manifests, what became of them, and the image they run.

Two kinds of cluster serve. Where the test rig lies beside the checkout it is brought up, and the
image is built and loaded when something in it has changed. Elsewhere these variables name one:

    NIGHTMILL_TEST_KUBECONFIG   an administrator's kubeconfig (kind: `kind get kubeconfig`)
    NIGHTMILL_TEST_IMAGE        the image, as its nodes know it (kind: `kind load docker-image`);
                                with the rig: use this one, and build nothing
    NIGHTMILL_TEST_HOST_IP      this machine's address as pods see it (kind: docker's gateway)
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.utils import create_from_dict
from kubernetes.watch import Watch

REPOSITORY = Path(__file__).parents[2]
RIG = REPOSITORY.parent / "shared" / "cluster"
USER = 10001
TRIAL = "/opt/nightmill/notebooks/trial"
POLL_S = 0.3


@dataclass(frozen=True)
class PodEnd:
    """How a pod ended: its phase, and what its one container left behind."""

    phase: str
    exit_code: int | None
    reason: str
    message: str
    log: str
    node: str


@dataclass(frozen=True)
class Cluster:
    """A cluster and one namespace of it."""

    kubeconfig: Path
    host_ip: str
    api: client.ApiClient
    namespace: str = "nightmill"

    @property
    def core(self) -> client.CoreV1Api:
        """The API of pods, secrets and the like."""
        return client.CoreV1Api(self.api)

    def apply(self, manifests: str) -> None:
        """Create every document of a YAML text."""
        for document in yaml.safe_load_all(manifests):
            create_from_dict(self.api, document)

    def add_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Create a Secret."""
        body = {"metadata": {"name": name}, "stringData": dict(values)}
        self.core.create_namespaced_secret(self.namespace, body)

    def add_files(self, name: str, files: Mapping[str, str]) -> None:
        """Create a ConfigMap that holds small text files."""
        self.core.create_namespaced_config_map(
            self.namespace, {"metadata": {"name": name}, "data": dict(files)}
        )

    def start(self, manifest: Mapping[str, Any]) -> str:
        """Create a pod and return its name."""
        return self.core.create_namespaced_pod(self.namespace, dict(manifest)).metadata.name

    def delete(self, pod: str, *, grace_s: int) -> None:
        """Ask a pod to end: SIGTERM now, SIGKILL after the grace period."""
        self.core.delete_namespaced_pod(pod, self.namespace, grace_period_seconds=grace_s)

    def phase(self, pod: str) -> str:
        """Return a pod's phase."""
        return self._read(pod).status.phase

    def log(self, pod: str) -> str:
        """Read what a pod's container has printed so far, nothing before it has started."""
        try:
            # Not by the client's own reading, which makes text of the bytes by repr().
            answer = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False)
        except client.ApiException as error:
            if error.status == HTTPStatus.BAD_REQUEST:  # its container waits
                return ""
            if error.status == HTTPStatus.NOT_FOUND:  # its node has not heard of it, or it is gone
                self._read(pod)
                return ""
            raise
        return answer.data.decode(errors="replace")

    def wait_for_log(self, pod: str, text: str, *, timeout_s: float = 90) -> None:
        """Wait until a pod has printed a text."""
        wait_until(lambda: text in self.log(pod), f"{text!r} from {pod}", timeout_s)

    def wait_for_end(self, pod: str, *, timeout_s: float = 120) -> PodEnd:
        """Wait until a pod has succeeded or failed and say how."""

        def ended() -> bool:
            return self.phase(pod) in ("Succeeded", "Failed")

        wait_until(ended, f"end of {pod}", timeout_s)
        return self._describe_end(self._read(pod))

    def end_of_deleted(self, pod: str, *, grace_s: int, timeout_s: int = 120) -> PodEnd:
        """Delete a pod and say how it ended; a watch misses nothing, however quickly it goes."""
        version = self._read(pod).metadata.resource_version
        self.delete(pod, grace_s=grace_s)
        for event in Watch().stream(
            self.core.list_namespaced_pod,
            self.namespace,
            field_selector=f"metadata.name={pod}",
            resource_version=version,
            timeout_seconds=timeout_s,
        ):
            if event["type"] == "DELETED":
                return self._describe_end(event["object"], log="")
        raise AssertionError(f"{pod} is not gone after {timeout_s} s")

    def may(self, account: str, verb: str, resource: str) -> bool:
        """Ask whether a service account (namespace:name) may do something in the namespace."""
        kind, _, part = resource.partition("/")
        attributes = {"namespace": self.namespace, "verb": verb}
        attributes |= {"resource": kind, "subresource": part}
        review = client.AuthorizationV1Api(self.api).create_subject_access_review(
            {
                "spec": {
                    "user": f"system:serviceaccount:{account}",
                    "resourceAttributes": attributes,
                }
            }
        )
        return bool(review.status.allowed)

    def _read(self, pod: str) -> client.V1Pod:
        return self.core.read_namespaced_pod(pod, self.namespace)

    def _describe_end(self, pod: client.V1Pod, log: str | None = None) -> PodEnd:
        statuses = pod.status.container_statuses or []
        end = statuses[0].state.terminated if statuses else None
        return PodEnd(
            phase=pod.status.phase,
            exit_code=end.exit_code if end else None,
            reason=(end.reason if end else pod.status.reason) or "",
            message=(end.message if end else pod.status.message) or "",
            log=self.log(pod.metadata.name) if log is None else log,
            node=pod.spec.node_name or "",
        )


def wait_until(
    condition: Callable[[], bool], what: str, timeout_s: float, *, poll_s: float = POLL_S
) -> None:
    """Poll until a condition holds; fails with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in {timeout_s} s"
        time.sleep(poll_s)  # a poll with a deadline


def why_no_cluster() -> str:
    """Say why there can be no cluster here, nothing if there can."""
    if os.environ.get("NIGHTMILL_TEST_KUBECONFIG") or (RIG / "up").is_file():
        return ""
    return "no cluster: set NIGHTMILL_TEST_KUBECONFIG (see tests/e2e/cluster.py)"


@contextmanager
def connect() -> Iterator[Cluster]:
    """Bring up the rig's cluster, or use the one that the environment names."""
    kubeconfig = os.environ.get("NIGHTMILL_TEST_KUBECONFIG")
    host_ip = os.environ.get("NIGHTMILL_TEST_HOST_IP")
    if not kubeconfig:
        told = dict(line.split(" ", 1) for line in run_rig("up").splitlines())
        kubeconfig, host_ip = told["kubeconfig"], told["host-ip"]
    assert host_ip, "set NIGHTMILL_TEST_HOST_IP to this machine's address as pods see it"
    with config.new_client_from_config(config_file=kubeconfig) as api:
        yield Cluster(Path(kubeconfig), host_ip, api)


def run_rig(verb: str, *arguments: str) -> str:
    """Run a verb of the test rig and return what it printed."""
    done = subprocess.run(
        [str(RIG / verb), *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{verb}: {done.stderr[-4000:]}"
    return done.stdout


def step_pod(
    image: str,
    arguments: Sequence[str],
    *,
    files: str,
    secret: str,
    memory: str = "700Mi",
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a pod under the restricted standard that runs the image on a pipeline of the test's.

    `files` names a ConfigMap: the folder of the pipeline `trial`. `secret` names the credentials of
    the store.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "step-"},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "nightmill-step",
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "base",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": list(arguments),
                    "env": [{"name": name, "value": text} for name, text in (env or {}).items()],
                    "envFrom": [{"secretRef": {"name": secret}}],
                    "resources": {
                        "requests": {"cpu": "500m", "memory": memory},
                        "limits": {"cpu": "1", "memory": memory},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "scratch", "mountPath": "/scratch"},
                        {"name": "notebooks", "mountPath": TRIAL},
                    ],
                }
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "notebooks", "configMap": {"name": files}},
            ],
        },
    }
