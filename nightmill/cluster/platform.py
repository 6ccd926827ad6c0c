"""platform.yaml as frozen models: the one file of whoever owns the cluster.

It says where things are and what nodes there are; which step goes where is said in pipeline.yaml.
Reading it opens no connection, so Airflow can do so whenever it parses DAGs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nightmill.cluster.names import check_dns_label, check_dns_name
from nightmill.cluster.overlay import overlay
from nightmill.cluster.pool import Pool
from nightmill.errors import EXIT_USAGE, SpecError
from nightmill.spec.model import Model
from nightmill.spec.names import Name
from nightmill.spec.pipeline import EnvironmentName
from nightmill.spec.problems import Fault, Faults, fail_if, shown, suggest
from nightmill.spec.secret_names import looks_secret
from nightmill.spec.units import Duration, parse_duration
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import YamlSource, read_yaml

FILE = "platform.yaml"
ENVIRONMENT_VARIABLE = "NIGHTMILL_ENV"
IMAGE_VARIABLE = "{{ var.value.nightmill_image }}"
NEVER = "never"
SWEEP_LEAST = timedelta(minutes=1)
SET_BY_US = ("HOME", "TMPDIR", "NIGHTMILL_SCRATCH", "NIGHTMILL_IMAGE", "NIGHTMILL_POOL")

_BEGIN = (
    "only Airflow and a cluster need one: `nightmill run` does without; "
    "begin with the one line `store: .nightmill/store`, or with Nightmill's own dags/platform.yaml"
)

Launcher = Literal["local", "kubernetes", "eks"]
DnsName = Annotated[str, AfterValidator(check_dns_name)]


class Access(Model):
    """How to reach the cluster: one of four ways, each with its own keys."""

    in_cluster: bool = False
    kubeconfig: str | None = None
    context: str | None = None
    connection: str | None = None
    eks_cluster: str | None = None
    region: str | None = None
    aws_connection: str | None = None

    @model_validator(mode="after")
    def _is_one_way(self) -> Access:
        fail_if(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        if len(self.ways) > 1:
            yield Fault(f"{' and '.join(self.ways)} exclude each other", "keep one")
        if self.eks_cluster and not self.region:
            yield Fault("`eks_cluster` needs its `region`", "add `region: us-east-1`")
        if (self.region or self.aws_connection) and not self.eks_cluster:
            yield Fault("`region` and `aws_connection` belong to an `eks_cluster`", "add its name")

    @property
    def ways(self) -> list[str]:
        """The ways that are given."""
        given = {
            "in_cluster": self.in_cluster,
            "kubeconfig": self.kubeconfig or self.context,
            "connection": self.connection,
            "eks_cluster": self.eks_cluster,
        }
        return [name for name, value in given.items() if value]


class Variable(Model):
    """An environment variable of every step: plain text, or one key of a Kubernetes secret."""

    value: str | None = None
    secret: DnsName | None = None
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")] | None = None

    @model_validator(mode="after")
    def _is_text_or_reference(self) -> Variable:
        if (self.value is None) == (self.secret is None) or bool(self.secret) != bool(self.key):
            advice = "write text, or {secret: name, key: key}"
            raise Faults([Fault("neither plain text nor a key of a secret", advice)])
        return self


def _texts_as_values(raw: Any) -> Any:
    if not isinstance(raw, dict):
        return raw
    return {
        name: value if isinstance(value, dict) else {"value": value} for name, value in raw.items()
    }


def _check_environment(variables: Mapping[str, Variable]) -> Mapping[str, Variable]:
    fail_if(fault for name, one in variables.items() for fault in _variable_faults(name, one))
    return variables


def _variable_faults(name: str, variable: Variable) -> Iterator[Fault]:
    if name in SET_BY_US:
        yield Fault(f"{shown(name)} is set by Nightmill", "remove it", (name,))
    elif variable.value is not None and looks_secret(name, variable.value):
        advice = f"put it into a Kubernetes secret: {name}: {{secret: name, key: key}}"
        yield Fault("this looks like a secret, and a file is no place for it", advice, (name,))


def _check_store(text: str) -> str:
    if re.match(r"[a-z0-9+.-]+://[^/]*@", text, re.IGNORECASE):
        raise Faults([Fault("a store's URL holds no credentials", "use `environment`")])
    if not text.strip():
        raise Faults([Fault("the store is empty", "write s3://bucket/prefix")])
    return text


def _check_image(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise Faults([Fault(f"{shown(text)} is no image", f'write a name, or "{IMAGE_VARIABLE}"')])
    return text


def _check_review_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s@]+", text):
        raise Faults([Fault(f"{shown(text)} is no address", "write it like https://host/path")])
    return text.rstrip("/")


def _read_sweep_every(raw: Any) -> timedelta | None:
    """Read how often; "never" is a word, since null in an overlay means the default again."""
    if raw == NEVER:
        return None
    try:
        every = parse_duration(raw)
    except Faults as faults:
        problem = faults.faults[0].problem
        raise Faults([Fault(problem, f"write it like 15m or 1h, or `{NEVER}`")]) from None
    if every < SWEEP_LEAST:
        raise Faults([Fault(f"{shown(raw)} is too often", f"write 1m or more, or `{NEVER}`")])
    return every


class Platform(Model):
    """A whole platform.yaml, its overlay applied.

    `sweep_every` is None where nobody but people shall sweep.
    """

    store: Annotated[str, AfterValidator(_check_store)]
    launcher: Launcher = "local"
    access: Access = Field(default_factory=Access)
    namespace: Annotated[str, AfterValidator(check_dns_label)] = "nightmill"
    service_account: DnsName = "nightmill-step"
    service_account_token: bool = False
    image: Annotated[str, AfterValidator(_check_image)] = IMAGE_VARIABLE
    environment: Annotated[
        Mapping[EnvironmentName, Variable],
        BeforeValidator(_texts_as_values),
        AfterValidator(_check_environment),
    ] = Field(default_factory=dict)
    default_pool: Name = "default"
    pools: Mapping[Name, Pool] = Field(default_factory=dict)
    pod_deadline: Duration = timedelta(days=1)
    review_url: Annotated[str, AfterValidator(_check_review_url)] | None = None
    sweep_every: Annotated[timedelta | None, BeforeValidator(_read_sweep_every)] = timedelta(
        minutes=15
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Platform:
        fail_if([*self._launcher_faults(), *self._pool_faults()])
        return self

    def _launcher_faults(self) -> Iterator[Fault]:
        if self.launcher == "local":
            return
        if not self.store.startswith("s3://"):
            problem = f"pods cannot reach the folder {shown(self.store)}"
            yield Fault(problem, "write s3://bucket/prefix", ("store",))
        ways = ["eks_cluster"] if self.launcher == "eks" else ["in_cluster", "kubeconfig"]
        if self.launcher == "kubernetes":
            ways.append("connection")
        if not set(self.access.ways) & set(ways):
            problem = f"the launcher {self.launcher} needs to know how to reach the cluster"
            yield Fault(problem, f"give one of: {', '.join(ways)}", ("access",))
        if not self.pools:
            yield Fault("pods need a node pool", "describe at least one", ("pools",))

    def _pool_faults(self) -> Iterator[Fault]:
        if self.pools and self.default_pool not in self.pools:
            advice = suggest(self.default_pool, self.pools, noun="pools")
            yield Fault(f"unknown pool {shown(self.default_pool)}", advice, ("default_pool",))
        for name, pool in self.pools.items():
            at = ("pools", name, "next")
            if pool.next is not None and pool.next not in self.pools:
                advice = suggest(pool.next, self.pools, noun="pools")
                yield Fault(f"unknown pool {shown(pool.next)}", advice, at)
            elif name in self.next_pools(name):
                yield Fault("`next` leads back to this pool", "end the chain at the largest", at)

    def next_pools(self, name: str) -> list[str]:
        """List the pools that `next` leads to from a pool, nearest first."""
        found: list[str] = []
        pool = self.pools.get(name)
        while pool and pool.next and pool.next not in found:
            found.append(pool.next)
            pool = self.pools.get(pool.next)
        return found


def load_platform(folder: Path, env: str | None = None) -> Platform:
    """Read platform.yaml of a folder, with platform.<env>.yaml over it.

    `env` is $NIGHTMILL_ENV by default; empty text means no overlay. Raises SpecError with file
    and line.
    """
    source: YamlSource = _read(folder / FILE)
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "") if env is None else env
    if chosen:
        source = overlay(source, read_yaml(_overlay_file(folder, chosen)))
    return validate(Platform, source)


def _read(file: Path) -> YamlSource:
    try:
        return read_yaml(file)
    except SpecError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            error.advice = _BEGIN
        raise


def overlays(folder: Path) -> dict[str, Path]:
    """Find the files that are laid over platform.yaml, by their environment."""
    return {file.name.split(".")[1]: file for file in sorted(folder.glob("platform.*.yaml"))}


def _overlay_file(folder: Path, env: str) -> Path:
    files = overlays(folder)
    if env not in files:
        advice = suggest(env, files, noun="environments")
        problem = f"there is no environment {shown(env)}"
        error = SpecError(problem, file=folder / FILE, advice=advice)
        error.exit_code = EXIT_USAGE  # whoever named it must act, and not who wrote the file
        raise error
    return files[env]
