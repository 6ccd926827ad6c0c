"""A node pool: where its pods go, what they may ask for, and how long they may wait."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nightmill.cluster.names import check_label_key, check_label_value
from nightmill.cluster.patch import patch_faults
from nightmill.spec.model import Model
from nightmill.spec.names import Name
from nightmill.spec.problems import Fault, Faults, fail_if, shown, suggest
from nightmill.spec.units import Cpu, Duration, Memory

Architecture = Literal["amd64", "arm64"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
LabelKey = Annotated[str, AfterValidator(check_label_key)]
LabelValue = Annotated[str, AfterValidator(check_label_value)]
Gpus = Annotated[int, Field(ge=0, le=64)]

ARCHITECTURE_LABEL = "kubernetes.io/arch"
USUAL_CPU_MILLICORES = 1000  # of a step that says nothing, in a pool that says nothing
USUAL_MEMORY_BYTES = 2**30

_TAINT = re.compile(r"([^=:]*)(?:=([^=:]*))?(?::([A-Za-z]+))?")
_TOLERATION_KEYS = ("key", "operator", "value", "effect", "tolerationSeconds")


def _read_toleration(raw: Any) -> Any:
    """Read `key=value:Effect`, the way kubectl writes a taint, or the keys of Kubernetes."""
    if isinstance(raw, dict):
        fail_if(
            Fault(f"unknown key {shown(key)}", suggest(key, _TOLERATION_KEYS), (key,))
            for key in raw
            if key not in _TOLERATION_KEYS
        )
        return raw
    match = _TAINT.fullmatch(raw) if isinstance(raw, str) else None
    if not match:
        advice = "write it like nightmill.io/pool=highmem:NoSchedule"
        raise Faults([Fault(f"{shown(raw)} is no taint", advice)])
    parts = {"key": match[1], "value": match[2], "effect": match[3]}
    return {name: part for name, part in parts.items() if part is not None}


class Toleration(Model):
    """A taint that the pool's pods put up with; without `value` any value, without `effect` all."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: LabelValue | None = None
    effect: Effect | None = None
    seconds: int | None = Field(default=None, alias="tolerationSeconds")

    @model_validator(mode="after")
    def _is_one(self) -> Toleration:
        if self.kind == "Exists" and self.value is not None:
            raise Faults([Fault("`operator: Exists` takes no `value`", "remove one of them")])
        if self.kind == "Equal" and self.key is None:
            raise Faults([Fault("a value without a `key`", "add the taint's key")])
        return self

    @property
    def kind(self) -> str:
        """The operator; by default the one that fits."""
        return self.operator or ("Exists" if self.value is None else "Equal")

    def manifest(self) -> dict[str, Any]:
        """Return it as Kubernetes writes it."""
        value = self.value or "" if self.kind == "Equal" else None
        parts = {
            "key": self.key,
            "operator": self.kind,
            "value": value,
            "effect": self.effect,
            "tolerationSeconds": self.seconds,
        }
        return {name: part for name, part in parts.items() if part is not None}


class Largest(Model):
    """The most that one pod can get: what the pool's largest node has to give."""

    cpu_millicores: Cpu | None = Field(default=None, alias="cpu")
    memory_bytes: Memory | None = Field(default=None, alias="memory")
    gpu: Gpus | None = None


class Defaults(Model):
    """What a step gets that does not say."""

    cpu_millicores: Cpu | None = Field(default=None, alias="cpu")
    memory_bytes: Memory | None = Field(default=None, alias="memory")
    gpu: Gpus = 0


def _check_patch(patch: Mapping[str, Any]) -> Mapping[str, Any]:
    fail_if(patch_faults(patch))
    return patch


class Pool(Model):
    """A set of like nodes. Without a selector its pods go wherever the taints let them."""

    selector: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: Annotated[
        tuple[Annotated[Toleration, BeforeValidator(_read_toleration)], ...], Field(strict=False)
    ] = ()
    largest: Largest = Field(default_factory=Largest)
    defaults: Defaults = Field(default_factory=Defaults)
    architecture: Architecture | None = None
    schedule_timeout: Duration = timedelta(minutes=15)
    startup_timeout: Duration = timedelta(minutes=10)
    autoscaled: bool = False
    next: Name | None = None
    airflow_pool: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    patch: Annotated[Mapping[str, Any], AfterValidator(_check_patch)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Pool:
        fail_if([*self._default_faults(), *self._architecture_faults()])
        return self

    def _default_faults(self) -> Iterator[Fault]:
        for key, name in (("cpu", "cpu_millicores"), ("memory", "memory_bytes"), ("gpu", "gpu")):
            default, most = getattr(self.defaults, name), getattr(self.largest, name)
            if default is not None and most is not None and default > most:
                problem = f"the default {key} is more than the largest node has"
                yield Fault(problem, f"lower it, or raise `largest.{key}`", ("defaults", key))

    def _architecture_faults(self) -> Iterator[Fault]:
        selected = self.selector.get(ARCHITECTURE_LABEL)
        if self.architecture and selected not in (None, self.architecture):
            problem = f"`architecture` is {self.architecture}, the selector says {shown(selected)}"
            yield Fault(problem, "remove one of them", ("selector", ARCHITECTURE_LABEL))

    @property
    def node_selector(self) -> dict[str, str]:
        """The labels that a node must have, the architecture's among them."""
        arch = {ARCHITECTURE_LABEL: self.architecture} if self.architecture else {}
        return {**self.selector, **arch}

    @property
    def cpu_millicores(self) -> int:
        """The processors of a step that does not say."""
        most = self.largest.cpu_millicores or USUAL_CPU_MILLICORES
        return self.defaults.cpu_millicores or min(USUAL_CPU_MILLICORES, most)

    @property
    def memory_bytes(self) -> int:
        """The memory of a step that does not say."""
        most = self.largest.memory_bytes or USUAL_MEMORY_BYTES
        return self.defaults.memory_bytes or min(USUAL_MEMORY_BYTES, most)
