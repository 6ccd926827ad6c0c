"""The pod of a step: a pure function of platform, pipeline and step.

Everything is spelled out under the restricted Pod Security Standard, so a manifest can be read,
compared and admitted as it stands; Airflow adds only its labels and a suffix to the name.

    requests = limits    a step gets what it asked for, and nobody's neighbour gets it instead
    /scratch             the one writable place; the root filesystem is read-only
    deadlines            the notebook's own timeout ends first, so that it can still save; the
                         pod's ends what outlives even that, also when Airflow is gone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from nightmill.cluster.names import label_value, pod_name
from nightmill.cluster.patch import strategic_merge
from nightmill.cluster.platform import Platform, Variable
from nightmill.cluster.pool import Pool
from nightmill.cluster.secrets import declare_secrets
from nightmill.errors import SpecError
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import gather, shown, suggest
from nightmill.spec.units import BYTES

CONTAINER = "base"  # the name that Airflow's operator looks for
SCRATCH = "/scratch"
USER = 10001  # as in image/Dockerfile
GRACE_S = 60
UPLOAD_MARGIN = timedelta(minutes=5)  # after the notebook's timeout: stop it, save, upload
LONG = timedelta(hours=1)
GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Placement:
    """A pool and what a pod asks of one of its nodes."""

    pool_name: str
    pool: Pool
    cpu_millicores: int
    memory_bytes: int
    gpu: int = 0

    def resources(self) -> dict[str, str]:
        """Return the amounts as Kubernetes quantities."""
        gpus = {GPU: str(self.gpu)} if self.gpu else {}
        return {
            "cpu": cpu_quantity(self.cpu_millicores),
            "memory": memory_quantity(self.memory_bytes),
            **gpus,
        }


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What makes one pod differ from another of the same platform."""

    name: str
    placement: Placement
    image: str
    arguments: Sequence[str]
    labels: Mapping[str, str]
    timeout: timedelta | None = None


def place(platform: Platform, pipeline: Pipeline, step: str) -> Placement:
    """Find the pool of a step and what its pod asks for.

    Raises SpecError, at the step in pipeline.yaml, for an unknown pool and for requests that no
    node of the pool can meet.
    """
    spec = pipeline.spec.steps[step]
    name = spec.pool or platform.default_pool
    pool = platform.pools.get(name)
    if pool is None:
        advice = suggest(name, platform.pools, noun="pools of platform.yaml")
        raise pipeline.error(f"unknown pool {shown(name)}", ("steps", step, "pool"), advice=advice)
    placement = Placement(
        pool_name=name,
        pool=pool,
        cpu_millicores=spec.cpu_millicores or pool.cpu_millicores,
        memory_bytes=spec.memory_bytes or pool.memory_bytes,
        gpu=spec.gpu or pool.defaults.gpu,
    )
    errors = _excesses(placement, pipeline, step)
    if errors:
        raise gather(errors)
    return placement


def _excesses(placement: Placement, pipeline: Pipeline, step: str) -> list[SpecError]:
    pool, most = placement.pool, placement.pool.largest
    asked = (
        ("cpu", placement.cpu_millicores, most.cpu_millicores, cpu_quantity),
        ("memory", placement.memory_bytes, most.memory_bytes, memory_quantity),
        ("gpu", placement.gpu, most.gpu, str),
    )
    move = f"use `pool: {pool.next}`, the next larger, or " if pool.next else ""
    return [
        pipeline.error(
            f"the step {shown(step)} asks for {key} {written(amount)}, but the largest node of "
            f"the pool {shown(placement.pool_name)} has {written(limit)}",
            ("steps", step, key),
            advice=f"{move}ask for at most {written(limit)}",
        )
        for key, amount, limit, written in asked
        if limit is not None and amount > limit
    ]


def pod_manifest(  # noqa: PLR0913 - what a retry may change comes apart from what the files say
    platform: Platform,
    pipeline: Pipeline,
    step: str,
    *,
    image: str | None = None,
    arguments: Sequence[str] = (),
    placement: Placement | None = None,
) -> dict[str, Any]:
    """Return the whole pod of a step; `arguments` are those of `nightmill`.

    `placement` is the pool's and the step's own unless a retry moves to another pool. Raises
    SpecError as `place` does.
    """
    found = placement or place(platform, pipeline, step)
    spec = pipeline.spec.steps[step]
    plan = PodPlan(
        name=pod_name(pipeline.name, step),
        placement=found,
        image=image or spec.image or platform.image,
        arguments=arguments,
        labels={"nightmill.io/pipeline": pipeline.name, "nightmill.io/step": step},
        timeout=spec.timeout,
    )
    return build_pod(platform, plan)


def build_pod(platform: Platform, plan: PodPlan) -> dict[str, Any]:
    """Return the pod of a plan, with the pool's patch applied."""
    labels = {
        "app.kubernetes.io/name": "nightmill",
        **plan.labels,
        "nightmill.io/pool": plan.placement.pool_name,
    }
    metadata: dict[str, Any] = {
        "name": plan.name,
        "namespace": platform.namespace,
        "labels": {key: label_value(text) for key, text in labels.items()},
    }
    if plan.timeout is None or plan.timeout > LONG:
        metadata["annotations"] = dict(_UNDISTURBED)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": _pod_spec(platform, plan),
    }
    return declare_secrets(strategic_merge(pod, plan.placement.pool.patch), CONTAINER)


# A node that is only badly filled is left alone while a long step runs on it.
_UNDISTURBED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


def _pod_spec(platform: Platform, plan: PodPlan) -> dict[str, Any]:
    pool = plan.placement.pool
    tolerations = [one.manifest() for one in pool.tolerations]
    placed = {"nodeSelector": pool.node_selector, "tolerations": tolerations}
    return {
        "restartPolicy": "Never",
        "serviceAccountName": platform.service_account,
        # Roles for service accounts (IRSA) bring a token of their own and do not need this one.
        "automountServiceAccountToken": platform.service_account_token,
        "enableServiceLinks": False,  # one variable for each service of the namespace, else
        "activeDeadlineSeconds": round(_deadline(platform, plan).total_seconds()),
        "terminationGracePeriodSeconds": GRACE_S,
        **{key: value for key, value in placed.items() if value},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(platform, plan)],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }


def _deadline(platform: Platform, plan: PodPlan) -> timedelta:
    """Count from the moment the pod is on a node: image pull, notebook, saving."""
    timeout = platform.pod_deadline if plan.timeout is None else plan.timeout
    return plan.placement.pool.startup_timeout + timeout + UPLOAD_MARGIN


def _container(platform: Platform, plan: PodPlan) -> dict[str, Any]:
    resources = plan.placement.resources()
    return {
        "name": CONTAINER,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [escaped(argument) for argument in plan.arguments],
        "env": _environment(platform, plan),
        "resources": {"requests": resources, "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
    }


def _environment(platform: Platform, plan: PodPlan) -> list[dict[str, Any]]:
    ours = {
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "NIGHTMILL_SCRATCH": SCRATCH,
        "NIGHTMILL_IMAGE": plan.image,
        "NIGHTMILL_POOL": plan.placement.pool_name,
    }
    return [
        *({"name": name, "value": value} for name, value in ours.items()),
        *(_variable(name, variable) for name, variable in platform.environment.items()),
    ]


def _variable(name: str, variable: Variable) -> dict[str, Any]:
    if variable.value is not None:
        return {"name": name, "value": escaped(variable.value)}
    reference = {"name": variable.secret, "key": variable.key}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def escaped(text: str) -> str:
    """Write text so that it arrives as it is: Kubernetes would expand $(NAME) in it."""
    return text.replace("$", "$$")


def unescaped(text: str) -> str:
    """Read what `escaped` has written."""
    return text.replace("$$", "$")


def cpu_quantity(millicores: int) -> str:
    """Write processors as Kubernetes does: 2, or 500m."""
    whole, rest = divmod(millicores, 1000)
    return f"{millicores}m" if rest else str(whole)


def memory_quantity(size: int) -> str:
    """Write bytes exactly, in the largest unit that leaves no fraction."""
    units = sorted(BYTES.items(), key=lambda unit: unit[1], reverse=True)
    return next(f"{size // factor}{unit}" for unit, factor in units if size % factor == 0)
