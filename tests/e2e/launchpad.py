"""A namespace as image/rbac.yaml makes it, a project on disk, and what Airflow may do with both.

Everything here goes through a kubeconfig that holds no more than the token of the service account
`airflow-worker`: what image/rbac.yaml does not grant does not work.
"""

from __future__ import annotations

import json
import re
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import yaml
from kubernetes import client

from nightmill.airflow.operator import StepPodOperator, pod_operator_kind
from nightmill.cluster.platform import load_platform
from nightmill.spec.project import Project
from nightmill.store.keys import encode
from tests.conftest import Cell, notebook_json
from tests.e2e.cluster import REPOSITORY, TRIAL, Cluster, wait_until
from tests.s3_server import S3Server

ACCOUNT = "airflow-worker"
SECRET = "s3"
TOKEN_S = 7200
PIPELINE = "trial"
NOTEBOOKS = TRIAL.rpartition("/")[0]
PARTITION = "2013-03-01"
RETRIES = 3


@dataclass(frozen=True)
class Launchpad:
    """A namespace, a project and a store."""

    cluster: Cluster
    image: str
    server: S3Server
    root: Path
    kubeconfig: Path

    @property
    def prefix(self) -> str:
        """The store's prefix in its bucket."""
        return self.cluster.namespace

    @property
    def store(self) -> str:
        """The store's URL."""
        return self.server.url(self.prefix)

    def write_platform(self, pools: str, *, image: str = "") -> None:
        """Write dags/platform.yaml with these pools."""
        head = f"""\
            store: {self.store}
            launcher: kubernetes
            access: {{kubeconfig: {self.kubeconfig}}}
            namespace: {self.cluster.namespace}
            image: "{image or self.image}"
            environment:
              AWS_ACCESS_KEY_ID: {{secret: {SECRET}, key: AWS_ACCESS_KEY_ID}}
              AWS_SECRET_ACCESS_KEY: {{secret: {SECRET}, key: AWS_SECRET_ACCESS_KEY}}
            pools:
            """
        folder = self.root / "dags"
        folder.mkdir(exist_ok=True)
        text = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(pools), "  ")
        (folder / "platform.yaml").write_text(text)

    def write_pipeline(
        self, text: str, notebooks: Mapping[str, Sequence[Cell]], *, name: str = PIPELINE
    ) -> None:
        """Write a pipeline for both sides: on disk, and as a ConfigMap for pods."""
        folder = self.root / "notebooks" / name
        folder.mkdir(parents=True)
        files = {f"{step}.ipynb": notebook_json(cells) for step, cells in notebooks.items()}
        for file, content in {"pipeline.yaml": text, **files}.items():
            (folder / file).write_text(content)
        self.cluster.add_files(name, {"pipeline.yaml": text, **files})

    def operator(self, step: str, **fields: Any) -> StepPodOperator:
        """Make the operator of a step, as dags.py does; its log is a list of lines."""
        platform = load_platform(self.root / "dags", "")
        pipeline = Project.load(self.root).pipeline(PIPELINE)
        kind, own = pod_operator_kind(platform, pipeline, step)
        made = kind(
            pipeline=PIPELINE,
            step=step,
            store=self.store,
            project=str(self.root),
            task_id=step,
            **own,
            **fields,
        )
        made._cached_logger = Lines()
        return made

    def pods(self) -> list[str]:
        """Name the pods of the namespace."""
        return [pod.metadata.name for pod in self._listed()]

    def nodes(self) -> list[str | None]:
        """Name the nodes that its pods are on."""
        return [pod.spec.node_name for pod in self._listed()]

    def _listed(self) -> list[client.V1Pod]:
        return self.cluster.core.list_namespaced_pod(self.cluster.namespace).items

    def evict(self, name: str) -> None:
        """Ask the cluster to evict a pod, as the drain of a node does."""
        namespace = self.cluster.namespace
        body = {"metadata": {"name": name, "namespace": namespace}}
        self.cluster.core.create_namespaced_pod_eviction(name, namespace, body)

    def wait_for_no_pod(self) -> None:
        """Wait until no pod is left, those that are asked to stop included."""
        wait_until(lambda: not self.pods(), "an empty namespace", 90)

    def record(
        self, step: str, run: str, attempt: int | str = 1, *, pipeline: str = PIPELINE
    ) -> dict[str, Any]:
        """Read the record of an attempt in a run of Airflow that was not cleared."""
        key = self._records(step, run, pipeline)[str(attempt)]
        return json.loads(self.read(key))

    def attempts(self, step: str, run: str, *, pipeline: str = PIPELINE) -> list[str]:
        """List the attempts of a step that have left a record."""
        return list(self._records(step, run, pipeline))

    def _records(self, step: str, run: str, pipeline: str) -> dict[str, str]:
        prefix = f"runs/{pipeline}/{PARTITION}/"
        record = re.compile(rf"{re.escape(encode(run))}\.\d+/{step}/(\d+)/record\.json")
        found = {key: record.fullmatch(key.removeprefix(prefix)) for key in self.keys(prefix)}
        return {match[1]: key for key, match in found.items() if match}

    def pointer(self, step: str, *, pipeline: str = PIPELINE) -> dict[str, Any] | None:
        """Read what is current of a step."""
        key = f"current/{pipeline}/{step}/{PARTITION}.json"
        return json.loads(self.read(key)) if self.keys(key) else None

    def keys(self, prefix: str) -> list[str]:
        """List the keys of the store that begin so."""
        s3, whole = self.server.client(), f"{self.prefix}/{prefix}"
        listed = s3.list_objects_v2(Bucket=self.server.bucket, Prefix=whole)
        return [one["Key"].removeprefix(f"{self.prefix}/") for one in listed.get("Contents", ())]

    def read(self, key: str) -> bytes:
        """Read an object of the store."""
        s3 = self.server.client()
        return s3.get_object(Bucket=self.server.bucket, Key=f"{self.prefix}/{key}")["Body"].read()


class Lines(list[str]):
    """A log as a list of lines."""

    def info(self, line: str, *values: object) -> None:
        """Keep a line."""
        self.append(line % values)

    debug = warning = error = exception = info

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self)


@dataclass
class Try:
    """What Airflow hands to an operator: one try of one task in one run."""

    step: str
    number: int = 1
    run: str = field(default_factory=lambda: f"manual__{uuid4().hex[:8]}")
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    xcoms: dict[str, Any] = field(default_factory=dict)

    def next(self) -> Try:
        """Return the next try in the same run."""
        return replace(self, number=self.number + 1, xcoms={})

    @property
    def context(self) -> dict[str, Any]:
        """The context, as far as an operator of ours reads it."""
        task = SimpleNamespace(
            dag_id=PIPELINE,
            task_id=self.step,
            map_index=-1,
            try_number=self.number,
            max_tries=RETRIES,
            start_date=datetime.now(UTC),
            xcom_push=self.xcoms.__setitem__,
        )
        run = SimpleNamespace(
            run_id=self.run,
            start_date=self.begun,
            run_after=self.begun,
            logical_date=None,
            data_interval_end=None,
            conf={"partition": PARTITION},
        )
        return {"ti": task, "dag_run": run, "run_id": self.run, "dag": None}


class Background:
    """An operator at work in a thread, as in a worker of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def finish(self, timeout_s: float = 180) -> BaseException | None:
        """Wait for the end and return what it raised."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"not done in {timeout_s} s"
        return self.error


@contextmanager
def launchpad(cluster: Cluster, image: str, server: S3Server, root: Path) -> Iterator[Launchpad]:
    """Make a namespace as image/rbac.yaml does, with credentials of the store; remove it after."""
    own = replace(cluster, namespace=f"nightmill-{uuid4().hex[:8]}")
    rights = (REPOSITORY / "image" / "rbac.yaml").read_text(encoding="utf-8")
    cluster.apply(
        re.sub(r"(?m)(name|namespace): (nightmill|airflow)$", rf"\1: {own.namespace}", rights)
    )
    own.core.create_namespaced_service_account(own.namespace, {"metadata": {"name": ACCOUNT}})
    own.add_secret(SECRET, {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin-secret"})
    kubeconfig = root / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(own)))
    yield Launchpad(own, image, server, root, kubeconfig)
    cluster.core.delete_namespace(own.namespace)


def _kubeconfig(cluster: Cluster) -> dict[str, Any]:
    """Take the administrator's kubeconfig, with a service account's token for a user."""
    found = yaml.safe_load(cluster.kubeconfig.read_text())
    body = {"spec": {"expirationSeconds": TOKEN_S}}
    token = cluster.core.create_namespaced_service_account_token(
        ACCOUNT, cluster.namespace, body
    ).status.token
    context = {"cluster": found["clusters"][0]["name"], "user": ACCOUNT}
    return {
        **found,
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": ACCOUNT, "context": context}],
        "current-context": ACCOUNT,
    }


def mounts(*pipelines: str) -> str:
    """Write a pool's patch that puts pipelines of the test into the image's project."""
    listed = "".join(f"{{name: {one}, mountPath: {NOTEBOOKS}/{one}}}, " for one in pipelines)
    volumes = "".join(f"{{name: {one}, configMap: {{name: {one}}}}}, " for one in pipelines)
    return textwrap.dedent(
        f"""\
        spec:
          containers:
            - name: base
              volumeMounts: [{listed}]
          volumes: [{volumes}]
        """
    )
