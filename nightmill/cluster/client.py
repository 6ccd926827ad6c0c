"""The few things the preflight asks of a cluster, and the one module that imports kubernetes.

Answers are plain dicts as in the API's own documentation. The client's exceptions end here: what
leaves is a `ClusterError` with the API server's words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

# Untyped, and two seconds to import: only `nightmill doctor` does so.
from kubernetes import client, config  # type: ignore[import-untyped]
from kubernetes.utils.quantity import parse_quantity  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from nightmill.cluster.platform import Access
from nightmill.cluster.pod import GPU
from nightmill.errors import NightmillError

TIMEOUT_S = (5, 20)  # to connect, to answer

# The client checks little of a kubeconfig before it relies on it.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)


class ClusterError(NightmillError):
    """The API server refused or could not be reached; `status` is its HTTP status, if any."""

    def __init__(
        self, problem: str, *, status: int | None = None, where: str = "", advice: str = ""
    ) -> None:
        super().__init__(problem, where=where, advice=advice)
        self.status = status

    @property
    def is_forbidden(self) -> bool:
        """Whether the one who asked lacks the right, or a policy of the cluster says no."""
        return self.status == HTTPStatus.FORBIDDEN


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler sees it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    is_usable: bool
    cpu_millicores: int
    memory_bytes: int
    gpu: int

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Node:
        """Read the API's form; a node that is cordoned or not Ready is not usable."""
        spec, status = found["spec"], found["status"]
        room = status.get("allocatable", {})
        ready = {"type": "Ready", "status": "True"}
        return cls(
            name=found["metadata"]["name"],
            labels=found["metadata"].get("labels", {}),
            taints=tuple(spec.get("taints", ())),
            is_usable=not spec.get("unschedulable")
            and any(ready.items() <= one.items() for one in status.get("conditions", ())),
            cpu_millicores=int(parse_quantity(room.get("cpu", 0)) * 1000),
            memory_bytes=int(parse_quantity(room.get("memory", 0))),
            gpu=int(room.get(GPU, 0)),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Which kubeconfig to use instead of platform.yaml's access, and whom to act as."""

    kubeconfig: Path | None = None
    context: str | None = None
    acts_as: str | None = None


class Cluster:
    """A connection to one API server."""

    def __init__(self, api: Any, *, name: str = "") -> None:
        self._core = client.CoreV1Api(api)
        self._version = client.VersionApi(api)
        self._authorization = client.AuthorizationV1Api(api)
        self.address: str = api.configuration.host
        self.name = name

    @classmethod
    def connect(cls, access: Access, identity: Identity) -> Cluster:
        """Prepare a connection; nothing is asked yet.

        Airflow's connections and EKS tokens are out of reach here, so for these the current
        kubeconfig counts. Raises ClusterError where there is none.
        """
        settings = client.Configuration()
        settings.retries = False
        name = ""
        try:
            if access.in_cluster and not (identity.kubeconfig or identity.context):
                config.load_incluster_config(client_configuration=settings)
            else:
                name = _load_kubeconfig(access, identity, settings)
        except (config.ConfigException, OSError, *_MALFORMED) as error:
            raise ClusterError(
                f"no access to a cluster: {error}",
                advice="check `access` in platform.yaml, or name a --kubeconfig and --context",
            ) from error
        api = client.ApiClient(settings)
        if identity.acts_as:
            api.set_default_header("Impersonate-User", identity.acts_as)
        return cls(api, name=name)

    def version(self) -> str:
        """Ask for the version of Kubernetes: "v1.34.4"."""
        return str(self._ask(self._version.get_code)["gitVersion"])

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Ask whether we may do something; `resource` is like `pods` or `pods/log`."""
        kind, _, part = resource.partition("/")
        attributes = {"verb": verb, "resource": kind, "subresource": part, "namespace": namespace}
        review = {"spec": {"resourceAttributes": attributes}}
        answer = self._ask(self._authorization.create_self_subject_access_review, body=review)
        return bool(answer["status"]["allowed"])

    def namespace(self, name: str) -> dict[str, Any] | None:
        """Read a namespace; None where there is none."""
        return self._find(self._core.read_namespace, name=name)

    def service_account(self, name: str, namespace: str) -> dict[str, Any] | None:
        """Read a service account; None where there is none."""
        read = self._core.read_namespaced_service_account
        return self._find(read, name=name, namespace=namespace)

    def secret_keys(self, name: str, namespace: str) -> set[str] | None:
        """List the keys of a secret, and forget its values; None where there is no secret."""
        found = self._find(self._core.read_namespaced_secret, name=name, namespace=namespace)
        return None if found is None else set(found.get("data") or ())

    def nodes(self) -> list[Node]:
        """List all nodes."""
        return [Node.read(one) for one in self._ask(self._core.list_node)["items"]]

    def create_pod(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create a pod, or only ask whether the API server would admit it."""
        more = {"dry_run": "All"} if dry_run else {}
        namespace = manifest["metadata"]["namespace"]
        return self._ask(
            self._core.create_namespaced_pod, namespace=namespace, body=manifest, **more
        )

    def pod(self, name: str, namespace: str) -> dict[str, Any] | None:
        """Read a pod; None where there is none."""
        return self._find(self._core.read_namespaced_pod, name=name, namespace=namespace)

    def delete_pod(self, name: str, namespace: str) -> None:
        """Delete a pod at once; it may be gone already."""
        self._find(
            self._core.delete_namespaced_pod,
            name=name,
            namespace=namespace,
            grace_period_seconds=0,
        )

    def _find(self, call: Callable[..., Any], **arguments: Any) -> dict[str, Any] | None:
        try:
            return self._ask(call, **arguments)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _ask(self, call: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        try:
            response = call(**arguments, _preload_content=False, _request_timeout=TIMEOUT_S)
            answer: dict[str, Any] = json.loads(response.data)
        except client.ApiException as error:
            raise ClusterError(_words(error), status=error.status, where=self.address) from error
        except AttributeError as error:  # the client trips over the answer that a TLS fault lacks
            reason = " ".join(str(getattr(error.__context__, "reason", error)).split())
            advice = "check the certificates in the kubeconfig, and that the address is the API's"
            raise ClusterError(f"no TLS: {reason}", where=self.address, advice=advice) from error
        except (HTTPError, OSError, ValueError) as error:
            advice = "check the address, the VPN, and whether the cluster is up"
            problem = f"the API server does not answer: {error}"
            raise ClusterError(problem, where=self.address, advice=advice) from error
        return answer


def _load_kubeconfig(access: Access, identity: Identity, settings: Any) -> str:
    """Load the kubeconfig and return the name of the cluster that its context names."""
    file = str(identity.kubeconfig or access.kubeconfig or "") or None
    file = str(Path(file).expanduser()) if file else None
    context = identity.context or access.context
    config.load_kube_config(file, context=context, client_configuration=settings)
    contexts, active = config.list_kube_config_contexts(file)
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen["context"]["cluster"])


def _words(error: Any) -> str:
    """Take the message out of the API server's answer."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
