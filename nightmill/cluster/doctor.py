"""The preflight against a cluster: what would fail at 2 a.m., found by day, a line a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightmill.cluster.client import Cluster, ClusterError
from nightmill.cluster.findings import Finding, Level, PlannedPod, fail, ok, warning
from nightmill.cluster.node_check import check_pools
from nightmill.cluster.platform import Platform
from nightmill.spec.problems import shown

RIGHTS = {
    "pods": ("create", "get", "list", "watch", "delete"),
    "pods/log": ("get",),
    "events": ("list",),
}
RBAC = "kubectl apply -f image/rbac.yaml, after a look at its namespace"


def examine(cluster: Cluster, platform: Platform, pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    """Check the cluster against all that the pods need, without starting one."""
    try:
        version = cluster.version()
    except ClusterError as error:
        yield fail(f"cluster: {error.problem} ({error.where})", error.advice or _ACCESS)
        return
    yield ok(f"cluster: Kubernetes {version} at {cluster.address}")
    yield from _check_eks(cluster, platform)
    found = _check_namespace(cluster, platform.namespace)
    yield found
    if found.level == Level.FAIL:
        return
    missing = _missing_rights(cluster, platform.namespace)
    yield _rights_finding(missing, platform.namespace)
    account = _check_service_account(cluster, platform)
    yield account
    yield from _check_secrets(cluster, platform.namespace, pods)
    if "create pods" not in missing and account.level != Level.FAIL:
        yield from _check_admission(cluster, pods)
    yield from _check_nodes(cluster, pods)


_ACCESS = "check `access` in platform.yaml, and whether the token or certificate has run out"


def _check_eks(cluster: Cluster, platform: Platform) -> Iterator[Finding]:
    wanted = platform.access.eks_cluster
    if wanted and wanted not in cluster.name:
        yield warning(
            f"cluster: the kubeconfig names {shown(cluster.name)}, platform.yaml {shown(wanted)}",
            f"aws eks update-kubeconfig --name {wanted} --region {platform.access.region}",
        )


def _check_namespace(cluster: Cluster, name: str) -> Finding:
    try:
        found = cluster.namespace(name)
    except ClusterError as error:
        return _unseen(f"namespace {shown(name)}", error)
    if found is None:
        advice = f"kubectl create namespace {name}, or correct `namespace` in platform.yaml"
        return fail(f"namespace {shown(name)} does not exist", advice)
    return ok(f"namespace {shown(name)} exists")


def _missing_rights(cluster: Cluster, namespace: str) -> list[str]:
    return [
        f"{verb} {resource}"
        for resource, verbs in RIGHTS.items()
        for verb in verbs
        if not cluster.may(verb, resource, namespace)
    ]


def _rights_finding(missing: Sequence[str], namespace: str) -> Finding:
    if missing:
        return fail(f"rights: missing in {shown(namespace)}: {', '.join(missing)}", RBAC)
    return ok("rights: pods, their logs and events, all that Airflow needs")


def _check_service_account(cluster: Cluster, platform: Platform) -> Finding:
    name = platform.service_account
    try:
        found = cluster.service_account(name, platform.namespace)
    except ClusterError as error:
        return _unseen(f"service account {shown(name)}", error)
    if found is None:
        return fail(f"service account {shown(name)} does not exist", RBAC)
    return ok(f"service account {shown(name)} exists")


def _check_secrets(
    cluster: Cluster, namespace: str, pods: Sequence[PlannedPod]
) -> Iterator[Finding]:
    wanted: dict[str, set[str]] = {}
    for pod in pods:
        for name, key in _references(pod.manifest):
            wanted.setdefault(name, set()).add(key)
    for name, keys in wanted.items():
        try:
            present = cluster.secret_keys(name, namespace)
        except ClusterError as error:
            yield _unseen(f"secret {shown(name)}", error)
            continue
        yield _secret_finding(name, keys, present, namespace)


def _secret_finding(name: str, keys: set[str], present: set[str] | None, namespace: str) -> Finding:
    literals = " ".join(f"--from-literal={key}=..." for key in sorted(keys))
    if present is None:
        advice = f"kubectl -n {namespace} create secret generic {name} {literals}"
        return fail(f"secret {shown(name)} does not exist", advice)
    missing = ", ".join(shown(key) for key in sorted(keys - present))
    if missing:
        return fail(f"secret {shown(name)} has no key {missing}", "add it, or correct the key")
    return ok(f"secret {shown(name)} has all keys")


def _references(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for container in manifest["spec"]["containers"]:
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                yield reference["name"], reference["key"]


def _check_admission(cluster: Cluster, pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    """Let the API server judge each pod: security standard, quotas, webhooks, patches."""
    refused: dict[str, list[str]] = {}
    for pod in pods:
        try:
            cluster.create_pod(pod.manifest, dry_run=True)
        except ClusterError as error:
            name = pod.manifest["metadata"]["name"]
            words = error.problem.replace(name, "POD")
            refused.setdefault(words, []).append(pod.step)
    for problem, steps in refused.items():
        advice = "read the message; `nightmill pod PIPELINE STEP` prints the pod"
        yield fail(f"the cluster refuses the pods of {', '.join(steps)}: {problem}", advice)
    if not refused:
        yield ok(f"pods: the cluster admits those of all {len(pods)} steps")


def _check_nodes(cluster: Cluster, pods: Sequence[PlannedPod]) -> Iterator[Finding]:
    try:
        nodes = cluster.nodes()
    except ClusterError as error:
        yield _unseen("nodes", error)
        return
    yield from check_pools(nodes, pods)


def _unseen(what: str, error: ClusterError) -> Finding:
    if error.is_forbidden:
        return warning(f"{what}: not checked, no right to look", "run doctor as an administrator")
    return fail(f"{what}: {error.problem}", error.advice or _ACCESS)
