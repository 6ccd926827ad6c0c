"""The pod of a step: whole manifests against golden files, and the rules behind them.

`UPDATE_GOLDEN=1 pytest tests/test_cluster_pod.py` writes the files anew; read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from nightmill.cluster.platform import load_platform
from nightmill.cluster.pod import (
    Placement,
    cpu_quantity,
    memory_quantity,
    place,
    pod_manifest,
)
from nightmill.cluster.pool import Pool
from nightmill.errors import SpecError
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.problems import each
from nightmill.spec.steprun import StepRun
from nightmill.spec.units import parse_cpu, parse_memory
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml

GOLDEN = Path(__file__).parent / "golden"
GIB = 2**30

PLATFORM = """\
store: s3://bucket/prefix?region=us-east-1
launcher: kubernetes
access: {in_cluster: true}
environment:
  AWS_REGION: us-east-1
  AWS_ACCESS_KEY_ID: {secret: nightmill-s3, key: access-key-id}
pools:
  default:
    selector: {nightmill.io/pool: default}
    largest: {cpu: 1, memory: 2Gi, gpu: 0}
    defaults: {memory: 512Mi}
    next: highmem
  highmem:
    selector: {nightmill.io/pool: highmem}
    tolerations: ["nightmill.io/pool=highmem:NoSchedule"]
    largest: {cpu: 1, memory: 8Gi}
  gpu:
    selector: {nightmill.io/pool: gpu}
    tolerations: ["nvidia.com/gpu:NoSchedule"]
    defaults: {cpu: 4, memory: 16Gi, gpu: 1}
    startup_timeout: 20m
  graviton:
    selector: {nightmill.io/pool: graviton}
    tolerations: ["kubernetes.io/arch=arm64:NoSchedule"]
    architecture: arm64
  patched:
    selector: {nightmill.io/pool: default}
    tolerations: ["a:NoSchedule"]
    patch:
      metadata: {annotations: {team: data}}
      spec:
        priorityClassName: nightly
        activeDeadlineSeconds: null
        tolerations: [{key: b, operator: Exists}]
        imagePullSecrets: [{name: registry}]
        containers:
          - name: base
            imagePullPolicy: Always
            env:
              - {name: AWS_REGION, value: eu-west-1}
              - {name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}
            volumeMounts: [{name: shm, mountPath: /dev/shm}]
        volumes:
          - {name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
"""

PIPELINE = """\
pipeline: flight_delays
steps:
  score: {notebook: n.ipynb, memory: 1500Mi, cpu: 500m, timeout: 30m}
  train: {notebook: n.ipynb, pool: gpu, timeout: 8h, image: registry/gpu:1}
  light: {notebook: n.ipynb, pool: graviton, timeout: 1h}
  odd: {notebook: n.ipynb, pool: patched}
"""


@pytest.fixture
def read(tmp_path):
    """Read a platform and a pipeline from their texts."""

    def _read(platform: str = PLATFORM, pipeline: str = PIPELINE):
        for name, text in (("platform.yaml", platform), ("pipeline.yaml", pipeline)):
            (tmp_path / name).write_text(text, encoding="utf-8")
        source = read_yaml(tmp_path / "pipeline.yaml")
        return load_platform(tmp_path, ""), Pipeline(validate(PipelineSpec, source), source)

    return _read


RUN = StepRun(
    pipeline="flight_delays",
    step="score",
    partition="2013-03-01",
    as_of="2013-03-01",
    run="r1",
    order=1,
    store="s3://bucket/prefix?region=us-east-1",
    parameters={"text": "{{ ds }}"},
)


@pytest.mark.parametrize(
    ("step", "golden"),
    [("score", "pod_cpu"), ("train", "pod_gpu"), ("light", "pod_arm64"), ("odd", "pod_patch")],
)
def test_golden(read, step, golden):
    """A whole pod is as the file says, so that every change of one is read before it happens."""
    manifest = pod_manifest(*read(), step, arguments=RUN.to_argv())
    file = GOLDEN / f"{golden}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump(manifest, sort_keys=False, width=100), encoding="utf-8")
    assert manifest == yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("step", ["score", "train", "light", "odd"])
def test_restricted(read, step):
    """Every pod keeps the restricted Pod Security Standard, requests what it may use, no more."""
    spec = pod_manifest(*read(), step)["spec"]
    (container,) = spec["containers"]
    assert container["name"] == "base"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"] == container["resources"]["limits"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert {env["HOME"], env["TMPDIR"], env["NIGHTMILL_SCRATCH"]} == {"/scratch"} <= writable


def test_pure(read):
    """The same step gives the same pod, nothing that was given is changed, and all is JSON."""
    platform, pipeline = read()
    before = platform.model_dump_json()
    one, other = (pod_manifest(platform, pipeline, "odd") for _ in range(2))
    assert one == other == json.loads(json.dumps(one))
    one["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "9"
    assert one["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1"
    one["metadata"]["labels"].clear()
    assert platform.model_dump_json() == before
    assert pod_manifest(platform, pipeline, "odd") == other


def test_image(read):
    """The caller's image wins over the step's, and the step's over the platform's Variable."""
    platform, pipeline = read()

    def image(step: str, **given: str) -> set[str]:
        (container,) = pod_manifest(platform, pipeline, step, **given)["spec"]["containers"]
        env = {one["name"]: one.get("value") for one in container["env"]}
        return {container["image"], env["NIGHTMILL_IMAGE"]}

    assert image("score") == {"{{ var.value.nightmill_image }}"}
    assert image("train") == {"registry/gpu:1"}
    assert image("train", image="other:2") == {"other:2"}


def test_arguments(read):
    """The arguments arrive as they were given, and templates inside parameters are out of reach."""
    (container,) = pod_manifest(*read(), "score", arguments=RUN.to_argv())["spec"]["containers"]
    assert StepRun.from_argv(container["args"]) == RUN
    assert "command" not in container
    assert not any("{{" in argument for argument in container["args"])


def test_dollars(read):
    """Kubernetes finds nothing to expand: `$$` is how it writes a plain dollar sign."""
    platform, pipeline = read(PLATFORM.replace("us-east-1\n  AWS_ACC", "$(HOME)$$x\n  AWS_ACC"))
    arguments = ["--partition=$(HOME) $5"]
    manifest = pod_manifest(platform, pipeline, "score", arguments=arguments)
    (container,) = manifest["spec"]["containers"]
    assert container["args"] == ["--partition=$$(HOME) $$5"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["AWS_REGION"] == "$$(HOME)$$$$x"


@pytest.mark.parametrize(
    ("step", "seconds", "long"),
    [
        ("score", 30 * 60 + 10 * 60 + 5 * 60, False),
        ("train", 8 * 3600 + 20 * 60 + 5 * 60, True),  # the pool's start takes longer
        ("light", 3600 + 10 * 60 + 5 * 60, False),  # one hour is not over an hour
    ],
)
def test_deadline(read, step, seconds, long):
    """The pod outlives the notebook's timeout, start and upload; a long one is left in peace."""
    manifest = pod_manifest(*read(), step)
    assert manifest["spec"]["activeDeadlineSeconds"] == seconds
    assert manifest["spec"]["terminationGracePeriodSeconds"] == 60
    annotations = manifest["metadata"].get("annotations", {})
    assert ("karpenter.sh/do-not-disrupt" in annotations) is long
    assert ("cluster-autoscaler.kubernetes.io/safe-to-evict" in annotations) is long


def test_no_timeout(read):
    """A step without a timeout ends after the platform's deadline, and is left in peace."""
    platform, pipeline = read(
        PLATFORM + "pod_deadline: 2h\n", "pipeline: p\nsteps: {a: {notebook: n.ipynb}}\n"
    )
    manifest = pod_manifest(platform, pipeline, "a")
    assert manifest["spec"]["activeDeadlineSeconds"] == 2 * 3600 + 15 * 60
    assert manifest["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"


def test_service_account_token(read):
    """A step's pod gets a token for the cluster only where the platform asks for it."""
    spec = pod_manifest(*read(PLATFORM + "service_account_token: true\n"), "score")["spec"]
    assert spec["automountServiceAccountToken"] is True


def test_secrets_by_reference(read):
    """A secret is in the pod as a reference, in the pool's patch as well."""
    for step in ("score", "odd"):
        (container,) = pod_manifest(*read(), step)["spec"]["containers"]
        env = {one["name"]: one for one in container["env"]}
        assert env["AWS_ACCESS_KEY_ID"] == {
            "name": "AWS_ACCESS_KEY_ID",
            "valueFrom": {"secretKeyRef": {"name": "nightmill-s3", "key": "access-key-id"}},
        }


def test_place(read):
    """A step's own wishes come before its pool's defaults, and those before the usual."""
    platform, pipeline = read()
    assert place(platform, pipeline, "score") == Placement(
        "default", platform.pools["default"], 500, 1500 * 2**20, 0
    )
    assert place(platform, pipeline, "train") == Placement(
        "gpu", platform.pools["gpu"], 4000, 16 * GIB, 1
    )
    assert place(platform, pipeline, "light") == Placement(
        "graviton", platform.pools["graviton"], 1000, GIB, 0
    )


def test_another_placement(read):
    """A retry may be placed elsewhere and with more, whatever the files say."""
    platform, pipeline = read()
    placement = Placement("highmem", platform.pools["highmem"], 1000, 6 * GIB)
    manifest = pod_manifest(platform, pipeline, "score", placement=placement)
    assert manifest["metadata"]["labels"]["nightmill.io/pool"] == "highmem"
    assert manifest["spec"]["nodeSelector"] == {"nightmill.io/pool": "highmem"}
    limits = manifest["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "6Gi"}


def step(text: str) -> str:
    """Write a pipeline with one step; its keys stand in line 3."""
    return f"pipeline: p\nsteps:\n  score: {{notebook: n.ipynb, {text}}}\n"


# the step's keys, the key of the error, what its message says, what its advice says
MISPLACED = {
    "unknown pool": (
        "pool: highmen",
        "steps.score.pool",
        ["unknown pool `highmen`"],
        ["did you mean `highmem`?"],
    ),
    "memory": (
        "memory: 3Gi",
        "steps.score.memory",
        ["`score`", "memory 3Gi", "`default`", "2Gi"],
        ["`pool: highmem`", "at most 2Gi"],
    ),
    "cpu": (
        "cpu: 1500m, pool: highmem",
        "steps.score.cpu",
        ["`score`", "cpu 1500m", "`highmem`", "has 1"],
        ["ask for at most 1"],
    ),
    "gpu": ("gpu: 1", "steps.score.gpu", ["gpu 1", "`default`", "has 0"], ["`pool: highmem`"]),
}


@pytest.mark.parametrize(("keys", "key", "problem", "advice"), MISPLACED.values(), ids=MISPLACED)
def test_misplaced(read, tmp_path, keys, key, problem, advice):
    """A step that no node can take names itself, its pool, both numbers and the next pool."""
    platform, pipeline = read(pipeline=step(keys))
    with pytest.raises(SpecError) as caught:
        pod_manifest(platform, pipeline, "score")
    error = caught.value
    assert (error.file, error.line, error.key) == (tmp_path / "pipeline.yaml", 3, key)
    assert [word for word in problem if word not in error.problem] == []
    assert [word for word in advice if word not in error.advice] == []


def test_all_excesses_at_once(read):
    """Every amount that is too large is told at once."""
    with pytest.raises(SpecError) as caught:
        place(*read(pipeline=step("cpu: 2, memory: 3Gi, gpu: 1")), "score")
    keys = [error.key for error in each(caught.value)]
    assert keys == ["steps.score.cpu", "steps.score.memory", "steps.score.gpu"]


def test_the_largest_itself_fits(read):
    """A step may ask for all that the largest node has."""
    platform, pipeline = read(pipeline=step("cpu: 1, memory: 2Gi"))
    assert place(platform, pipeline, "score").memory_bytes == 2 * GIB


def test_labels_of_long_names(read):
    """Case 37: names that are no labels become some, in the pod's name and in its labels."""
    names = ["a" * 62 + "_", "a" * 61 + "-_"]
    text = "pipeline: p\nsteps:\n" + "".join(f"  {n}: {{notebook: n.ipynb}}\n" for n in names)
    platform, pipeline = read(pipeline=text)
    pods = [pod_manifest(platform, pipeline, name)["metadata"] for name in names]
    assert len({pod["labels"]["nightmill.io/step"] for pod in pods}) == 2
    assert len({pod["name"] for pod in pods}) == 2
    assert all(pod["labels"]["nightmill.io/step"][-1].isalnum() for pod in pods)


@pytest.mark.parametrize(
    ("millicores", "text"), [(1000, "1"), (500, "500m"), (1500, "1500m"), (64000, "64"), (1, "1m")]
)
def test_cpu_quantity(millicores, text):
    """Processors are written as people write them."""
    assert cpu_quantity(millicores) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (GIB, "1Gi"),
        (1536 * 2**20, "1536Mi"),
        (10**9, "1G"),
        (1500 * 10**6, "1500M"),
        (2**50, "1024Ti"),
    ],
)
def test_memory_quantity(size, text):
    """Memory is written in the largest unit without a fraction."""
    assert memory_quantity(size) == text


@example(1, 1105059168 * 1024)  # ten digits of Ki
@given(st.integers(1, 10**7), st.integers(2**20, 2**50))
def test_quantities_are_exact(millicores, size):
    """What is written is what was meant, to the last byte."""
    assert parse_cpu(cpu_quantity(millicores)) == millicores
    written = memory_quantity(size)
    assert int(written) == size if written.isdecimal() else parse_memory(written) == size


def test_a_pool_without_anything():
    """A pool without selector and tolerations asks for none, rather than for empty ones."""
    placement = Placement("any", Pool(), 1000, GIB)
    assert placement.resources() == {"cpu": "1", "memory": "1Gi"}
    assert Placement("any", Pool(), 1000, GIB, 2).resources()["nvidia.com/gpu"] == "2"


def env_of(manifest: dict) -> dict[str, str | None]:
    """Give the variables of a pod's container that have a plain value."""
    (container,) = manifest["spec"]["containers"]
    return {one["name"]: one.get("value") for one in container["env"]}


SECRETS = {
    "platform and patch": ("odd", PLATFORM, "AWS_ACCESS_KEY_ID,TOKEN"),
    "none": ("score", PLATFORM.replace("{secret: nightmill-s3, key: access-key-id}", "x1"), None),
    "those the owner names": (
        "score",
        PLATFORM.replace("AWS_REGION: us-east-1", 'NIGHTMILL_SECRETS: "FROM_IMAGE, AWS_A*"'),
        "FROM_IMAGE,AWS_A*,AWS_ACCESS_KEY_ID",
    ),
    "a whole secret by its prefix": (
        "odd",
        PLATFORM.replace(
            "            volumeMounts:",
            "            envFrom: [{prefix: DB_, secretRef: {name: db}},"
            " {configMapRef: {name: c}}]\n            volumeMounts:",
        ),
        "AWS_ACCESS_KEY_ID,TOKEN,DB_*",
    ),
    "a mounted secret": (
        "odd",
        PLATFORM.replace("emptyDir: {medium: Memory, sizeLimit: 1Gi}", "secret: {secretName: s}"),
        "AWS_ACCESS_KEY_ID,TOKEN,/dev/shm",
    ),
    "a projected secret": (
        "odd",
        PLATFORM.replace(
            "emptyDir: {medium: Memory, sizeLimit: 1Gi}",
            "projected: {sources: [{configMap: {name: c}}, {secret: {name: s}}]}",
        ),
        "AWS_ACCESS_KEY_ID,TOKEN,/dev/shm",
    ),
    "a secret of a driver": (
        "odd",
        PLATFORM.replace(
            "emptyDir: {medium: Memory, sizeLimit: 1Gi}",
            "csi: {driver: secrets-store.csi.k8s.io, readOnly: true}",
        ),
        "AWS_ACCESS_KEY_ID,TOKEN,/dev/shm",
    ),
}


@pytest.mark.parametrize(("step", "platform", "declared"), SECRETS.values(), ids=SECRETS)
def test_a_pod_is_told_what_is_secret(read, step, platform, declared):
    """Variables and folders that come from secrets are named to the supervisor, all of them."""
    if declared is None:
        platform = platform.replace("AWS_ACCESS_KEY_ID", "PRICE")
    assert env_of(pod_manifest(*read(platform), step)).get("NIGHTMILL_SECRETS") == declared


def test_a_pod_is_told_its_pool(read):
    """The pool is the one that the pod is made for, also after a retry has moved it."""
    platform, pipeline = read()
    assert env_of(pod_manifest(platform, pipeline, "train"))["NIGHTMILL_POOL"] == "gpu"
    moved = Placement("highmem", platform.pools["highmem"], 1000, GIB)
    manifest = pod_manifest(platform, pipeline, "score", placement=moved)
    assert env_of(manifest)["NIGHTMILL_POOL"] == "highmem"


def test_a_pod_holds_references_only(read):
    """A parameter that refers to a secret, and the secrets themselves, are names in the pod."""
    run = RUN.model_copy(update={"parameters": {"key": "secret://AWS_ACCESS_KEY_ID"}})
    manifest = pod_manifest(*read(), "score", arguments=run.to_argv())
    (container,) = manifest["spec"]["containers"]
    assert StepRun.from_argv(container["args"]).parameters == run.parameters
    (key,) = [one for one in container["env"] if one["name"] == "AWS_ACCESS_KEY_ID"]
    assert key.keys() == {"name", "valueFrom"}
