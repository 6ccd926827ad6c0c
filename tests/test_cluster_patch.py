"""The strategic merge patch: a table of what it does, and of what it refuses."""

from __future__ import annotations

import copy

import pytest
import yaml

from nightmill.cluster.patch import patch_faults, strategic_merge
from nightmill.spec.secret_names import looks_secret

POD = """
metadata: {labels: {a: "1"}, annotations: {b: "2"}}
spec:
  restartPolicy: Never
  tolerations: [{key: x, operator: Exists}]
  imagePullSecrets: [{name: old}]
  containers:
    - name: base
      image: i
      args: [one, two]
      env: [{name: A, value: a}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]
      resources: {limits: {cpu: "1"}}
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
"""

# what is patched, the patch, the path to look at, what stands there afterwards
MERGED = {
    "keys are added": ("metadata: {labels: {c: x}}", "metadata.labels", {"a": "1", "c": "x"}),
    "keys are replaced": ("spec: {restartPolicy: Always}", "spec.restartPolicy", "Always"),
    "null deletes": ("metadata: {annotations: null}", "metadata", {"labels": {"a": "1"}}),
    "null of what is absent": ("metadata: {name: null}", "metadata.labels", {"a": "1"}),
    "containers by name": (
        "spec: {containers: [{name: base, resources: {limits: {memory: 1Gi}}}]}",
        "spec.containers.0.resources.limits",
        {"cpu": "1", "memory": "1Gi"},
    ),
    "another container": (
        "spec: {containers: [{name: sidecar, image: s}]}",
        "spec.containers.1",
        {"name": "sidecar", "image": "s"},
    ),
    "the first stays first": (
        "spec: {containers: [{name: sidecar, image: s}]}",
        "spec.containers.0.name",
        "base",
    ),
    "env by name, whole": (
        "spec: {containers: [{name: base, env: [{name: B, value: b}, {name: C, value: c}]}]}",
        "spec.containers.0.env",
        [{"name": "A", "value": "a"}, {"name": "B", "value": "b"}, {"name": "C", "value": "c"}],
    ),
    "volumes by name, whole": (
        "spec: {volumes: [{name: scratch, ephemeral: {x: y}}]}",
        "spec.volumes",
        [{"name": "scratch", "ephemeral": {"x": "y"}}],
    ),
    "mounts by path": (
        """spec: {containers: [{name: base, volumeMounts:
           [{name: other, mountPath: /scratch}, {name: shm, mountPath: /dev/shm}]}]}""",
        "spec.containers.0.volumeMounts",
        [{"name": "other", "mountPath": "/scratch"}, {"name": "shm", "mountPath": "/dev/shm"}],
    ),
    "pull secrets by name": (
        "spec: {imagePullSecrets: [{name: old}, {name: new}]}",
        "spec.imagePullSecrets",
        [{"name": "old"}, {"name": "new"}],
    ),
    "tolerations grow": (
        "spec: {tolerations: [{key: y, operator: Exists}]}",
        "spec.tolerations",
        [{"key": "x", "operator": "Exists"}, {"key": "y", "operator": "Exists"}],
    ),
    "other lists are replaced": (
        "spec: {containers: [{name: base, args: [three]}]}",
        "spec.containers.0.args",
        ["three"],
    ),
    "a list where there was none": (
        "spec: {topologySpreadConstraints: [{maxSkew: 1}]}",
        "spec.topologySpreadConstraints",
        [{"maxSkew": 1}],
    ),
    "nulls inside what is new": (
        "spec: {affinity: {nodeAffinity: null, podAffinity: {}}}",
        "spec.affinity",
        {"podAffinity": {}},
    ),
}


@pytest.mark.parametrize(("patch", "path", "expected"), MERGED.values(), ids=MERGED)
def test_merge(patch, path, expected):
    """Each part of a pod is merged as the module's table says, and nothing is changed in place."""
    pod, given = yaml.safe_load(POD), yaml.safe_load(patch)
    before = copy.deepcopy((pod, given))
    found = strategic_merge(pod, given)
    assert (pod, given) == before
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert found == expected


def test_empty_patch():
    """Without a patch the pod stays as it is."""
    assert strategic_merge(yaml.safe_load(POD), {}) == yaml.safe_load(POD)


# the patch, where, a word of the problem, a word of the advice
REFUSED = {
    "unknown top": ("spce: {}", ("spce",), "unknown key", "`spec`"),
    "kind": ("kind: Job", ("kind",), "unknown key", "`metadata`"),
    "no list": ("spec: {containers: {name: x}}", ("spec", "containers"), "is a list", "`- `"),
    "no name": ("spec: {volumes: [{emptyDir: {}}]}", ("spec", "volumes", 0), "`name`", ""),
    "no mapping": ("spec: {tolerations: [x]}", ("spec", "tolerations", 0), "keys and values", ""),
    "mount without path": (
        "spec: {containers: [{name: base, volumeMounts: [{name: a}]}]}",
        ("spec", "containers", 0, "volumeMounts", 0),
        "`mountPath`",
        "",
    ),
    "number as env": (
        "spec: {containers: [{name: base, env: [{name: A, value: 1}]}]}",
        ("spec", "containers", 0, "env", 0, "value"),
        "expected text",
        "quotes",
    ),
    "secret": (
        "spec: {containers: [{name: base, env: [{name: DB_PASSWORD, value: hunter2}]}]}",
        ("spec", "containers", 0, "env", 0, "value"),
        "looks like a secret",
        "secretKeyRef",
    ),
    "a whole secret without a prefix": (
        "spec: {containers: [{name: base, envFrom: [{secretRef: {name: db}}]}]}",
        ("spec", "containers", 0, "envFrom", 0),
        "nobody could tell",
        "prefix",
    ),
    "envFrom as text": (
        "spec: {containers: [{name: base, envFrom: [db]}]}",
        ("spec", "containers", 0, "envFrom", 0),
        "needs keys and values",
        "",
    ),
    "date": (
        "metadata: {annotations: {since: 2013-03-01}}",
        ("metadata", "annotations", "since"),
        "date has no place",
        "quotes",
    ),
    "not a number": ("spec: {priority: .nan}", ("spec", "priority"), "float", "quotes"),
}


@pytest.mark.parametrize(("patch", "at", "problem", "advice"), REFUSED.values(), ids=REFUSED)
def test_refused(patch, at, problem, advice):
    """What would make no pod is found when platform.yaml is read, at its place."""
    (fault,) = patch_faults(yaml.safe_load(patch))
    assert fault.at == at
    assert problem in fault.problem
    assert advice in fault.advice


def test_no_value_of_a_secret_is_repeated():
    """The fault about a secret does not show it."""
    patch = "spec: {containers: [{name: base, env: [{name: API_KEY, value: hunter2}]}]}"
    (fault,) = patch_faults(yaml.safe_load(patch))
    assert "hunter2" not in f"{fault.problem} {fault.advice}"


def test_deleting_lists_is_allowed():
    """Null where a list stands removes it, and a reference to a secret is no secret."""
    patch = yaml.safe_load("""
spec:
  tolerations: null
  containers:
    - name: base
      env: [{name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]
""")
    assert list(patch_faults(patch)) == []
    assert "tolerations" not in strategic_merge(yaml.safe_load(POD), patch)["spec"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SESSION_TOKEN", "x"),
        ("DB_PASSWORD", "x"),
        ("db_passwd", "x"),
        ("PG_PASS", "x"),
        ("API_KEY", "x"),
        ("STRIPE_APIKEY", "x"),
        ("SENTRY_DSN", "x"),
        ("GOOGLE_CREDENTIALS", "x"),
        ("DATABASE_URL", "postgres://me:pw@db/x"),
        ("ANYTHING", "AKIAIOSFODNN7EXAMPLE"),
        ("ANYTHING", "-----BEGIN RSA PRIVATE KEY-----"),
    ],
)
def test_secrets_are_smelled(name, value):
    """Names and values that usually are secrets count as secrets."""
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_REGION", "us-east-1"),
        ("OMP_NUM_THREADS", "1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/etc/aws"),
        ("DATABASE_URL", "postgres://db/x"),
        ("MONKEY", "banana"),
        ("KEYBOARD", "de"),
        ("COMPASS", "north"),
        ("AUTHOR", "me"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("SORT_KEY", "flight_id"),
        ("MAX_TOKENS", "4096"),
        ("NIGHTMILL_SECRETS", "DB_PASSWORD"),
        ("PWD", "/home/me"),
        ("DB_PASSWORD", ""),
    ],
)
def test_others_are_not(name, value):
    """Places, numbers and words that only contain such a word are let through."""
    assert not looks_secret(name, value)
