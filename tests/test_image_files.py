"""The files beside the Dockerfile, as far as they can be judged without a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from nightmill.store.keys import (
    NOTEBOOK,
    RECORD,
    RESERVED,
    active_key,
    attempt_prefix,
    code_key,
    doomed_key,
    index_prefix,
    notes_prefix,
    pointer_key,
)

REPOSITORY = Path(__file__).parents[1]
IMAGE = REPOSITORY / "image"
STORE = "arn:aws:s3:::example-bucket/nightmill"
OWN = attempt_prefix("flight_delays", "2013-03-01", "scheduled", "score", 1)
POINTER = pointer_key("flight_delays", "score", "2013-03-01")
OTHER = attempt_prefix("flight_model", "2013-03-01", "scheduled", "train", 1)


def test_the_layer_of_kernels_has_the_modules_it_needs(tmp_path):
    """What installs kernels imports nothing beyond the files that are copied before them."""
    dockerfile = (IMAGE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    layer = dockerfile.split("AS kernels\n")[1].split("\nFROM ")[0]
    for sources in re.findall(r"^COPY (.+) (\S+)$", layer, re.MULTILINE):
        for name in sources[0].split():
            if name.endswith(".py"):
                (tmp_path / sources[1]).mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, tmp_path / name)
    (code,) = re.findall(r'python -c "(.+?)\s*\[kernels.install', layer)
    assert "import kernels" in code
    subprocess.run(
        [sys.executable, "-c", f"{code} assert kernels.__file__.startswith('{tmp_path}')"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
    )


def _pins(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Read name -> (version, hashes) from a lock with hashes."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock.read_text(encoding="utf-8"))
    found = {}
    for entry in entries:
        if pin := re.match(r"(\S+?)==(\S+)", entry):
            found[pin[1]] = (pin[2], frozenset(re.findall(r"sha256:[0-9a-f]{64}", entry)))
    return found


def _effect(policy: str, action: str, resource: str, **context: str) -> str:
    """Judge a request as IAM does, for the operators that these policies use."""
    statements = json.loads((IMAGE / policy).read_text(encoding="utf-8"))["Statement"]
    effects = {
        each["Effect"]
        for each in statements
        if action in _many(each["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in _many(each["Resource"]))
        and _holds(each.get("Condition", {}), context)
    }
    return "Deny" if "Deny" in effects else "Allow" if effects else "nothing"


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _holds(condition: dict[str, dict[str, object]], context: dict[str, str]) -> bool:
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            given = context.get(key.removeprefix("s3:").replace("-", "_"))
            if operator == "Null":
                held = (given is None) == (wanted == "true")
            else:
                assert operator == "StringLikeIfExists"
                held = given is None or any(fnmatchcase(given, one) for one in _many(wanted))
            if not held:
                return False
    return True


def test_the_runner_in_the_image_is_the_one_that_was_tested():
    """Every version and hash in the image's lock is that of constraints.txt."""
    runner, tested = _pins(IMAGE / "requirements.txt"), _pins(REPOSITORY / "constraints.txt")
    assert {"papermill", "nbclient", "boto3", "pydantic", "psutil"} <= set(runner)
    assert runner == {name: tested[name] for name in runner}
    assert not [name for name in runner if name.startswith("apache-airflow")]


@pytest.mark.parametrize(
    "lock", [IMAGE / "requirements.txt", *REPOSITORY.glob("kernels/*/requirements.txt")]
)
def test_locks_name_no_index(lock):
    """A lock names packages and hashes; where they come from is each machine's own setting."""
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", lock.read_text("utf-8"))


@pytest.mark.parametrize(
    ("policy", "action", "key", "effect"),
    [
        ("iam-step.json", "s3:PutObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-step.json", "s3:PutObject", f"{OWN}/outputs/scores/scores.parquet", "Allow"),
        ("iam-step.json", "s3:GetObject", f"{OTHER}/outputs/model/model.json", "Allow"),
        ("iam-step.json", "s3:PutObject", f"{OTHER}/{RECORD}", "nothing"),
        ("iam-step.json", "s3:PutObject", "elsewhere", "nothing"),
        ("iam-step.json", "s3:GetObject", "elsewhere", "nothing"),
        ("iam-step.json", "s3:DeleteObject", f"{OWN}/{RECORD}", "nothing"),
        ("iam-step.json", "s3:PutObject", "data/flight_delays/scores/partition=d/s.pq", "Allow"),
        ("iam-step.json", "s3:DeleteObject", "data/flight_delays/scores/partition=d/s.pq", "Allow"),
        ("iam-step.json", "s3:DeleteObject", "data/other/scores/partition=d/s.pq", "nothing"),
        ("iam-step.json", "s3:PutObject", active_key(OWN), "Allow"),
        ("iam-step.json", "s3:DeleteObject", active_key(OWN), "Allow"),
        ("iam-step.json", "s3:DeleteObject", active_key(OTHER), "nothing"),
        ("iam-step.json", "s3:PutObject", f"{index_prefix('flight_delays')}/e.json", "Allow"),
        ("iam-step.json", "s3:PutObject", f"{index_prefix('other')}/e.json", "nothing"),
        ("iam-step.json", "s3:DeleteObject", f"{index_prefix('flight_delays')}/e.json", "nothing"),
        ("iam-step.json", "s3:GetObject", doomed_key(OWN), "Allow"),
        ("iam-step.json", "s3:PutObject", doomed_key(OWN), "nothing"),
        ("iam-step.json", "s3:DeleteObject", doomed_key(OWN), "nothing"),
        ("iam-gc.json", "s3:GetObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-gc.json", "s3:GetObject", POINTER, "Allow"),
        ("iam-gc.json", "s3:GetObject", "data/p/table/_delta_log/0.json", "Allow"),
        ("iam-gc.json", "s3:GetObject", "data/p/scores/partition=d/s.pq", "nothing"),
        ("iam-gc.json", "s3:PutObject", f"{OWN}/{RECORD}", "nothing"),
        ("iam-gc.json", "s3:DeleteObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-gc.json", "s3:PutObject", POINTER, "nothing"),
        ("iam-gc.json", "s3:DeleteObject", POINTER, "nothing"),
        ("iam-gc.json", "s3:DeleteObject", active_key(OWN), "nothing"),
        ("iam-gc.json", "s3:PutObject", doomed_key(OWN), "Allow"),
        ("iam-gc.json", "s3:DeleteObject", doomed_key(OWN), "Allow"),
        ("iam-gc.json", "s3:DeleteObject", code_key("0" * 64), "Allow"),
        ("iam-gc.json", "s3:GetObject", f"{index_prefix('other')}/e.json", "Allow"),
        ("iam-gc.json", "s3:DeleteObject", f"{index_prefix('other')}/e.json", "Allow"),
        ("iam-gc.json", "s3:DeleteObject", f"{notes_prefix('p', 'd', 'r')}/n.json", "Allow"),
        ("iam-gc.json", "s3:PutObject", f"{index_prefix('other')}/e.json", "nothing"),
        ("iam-airflow.json", "s3:GetObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-airflow.json", "s3:GetObject", f"{OWN}/{NOTEBOOK}", "Allow"),
        ("iam-airflow.json", "s3:PutObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-airflow.json", "s3:PutObject", f"{OWN}/{NOTEBOOK}", "Allow"),
        ("iam-airflow.json", "s3:PutObject", f"{OWN}/outputs/scores/scores.parquet", "nothing"),
        ("iam-airflow.json", "s3:PutObject", POINTER, "nothing"),
        ("iam-airflow.json", "s3:PutObject", "data/flight_delays/scores/partition=d/s.pq", "Allow"),
        ("iam-airflow.json", "s3:DeleteObject", "data/other/scores/partition=d/s.pq", "Allow"),
        ("iam-airflow.json", "s3:DeleteObject", f"{OWN}/{RECORD}", "nothing"),
        ("iam-airflow.json", "s3:DeleteObject", active_key(OWN), "Allow"),
        ("iam-airflow.json", "s3:GetObject", f"{index_prefix('other')}/e.json", "Allow"),
        ("iam-airflow.json", "s3:PutObject", f"{index_prefix('other')}/e.json", "Allow"),
        ("iam-airflow.json", "s3:DeleteObject", f"{index_prefix('other')}/e.json", "nothing"),
        ("iam-review.json", "s3:GetObject", f"{OWN}/{NOTEBOOK}", "Allow"),
        ("iam-review.json", "s3:GetObject", code_key("0" * 64), "Allow"),
        ("iam-review.json", "s3:GetObject", doomed_key(OWN), "Allow"),
        ("iam-review.json", "s3:GetObject", "elsewhere", "nothing"),
        ("iam-review.json", "s3:PutObject", f"{OWN}/{RECORD}", "Allow"),
        ("iam-review.json", "s3:PutObject", f"{OWN}/{NOTEBOOK}", "nothing"),
        ("iam-review.json", "s3:PutObject", f"{OWN}/outputs/scores/scores.parquet", "nothing"),
        ("iam-review.json", "s3:PutObject", f"{notes_prefix('p', 'd', 'r')}/n.json", "Allow"),
        ("iam-review.json", "s3:PutObject", f"{index_prefix('other')}/e.json", "Allow"),
        ("iam-review.json", "s3:PutObject", "data/flight_delays/scores/partition=d/s.pq", "Allow"),
        ("iam-review.json", "s3:DeleteObject", f"{OWN}/{RECORD}", "nothing"),
        ("iam-review.json", "s3:DeleteObject", POINTER, "nothing"),
    ],
)
def test_policies_reach_just_the_keys_that_are_needed(policy, action, key, effect):
    """A step reads all outputs and writes its own pipeline's; Airflow amends and publishes."""
    assert _effect(policy, action, f"{STORE}/{key}") == effect


@pytest.mark.parametrize(
    ("condition", "effect"),
    [({}, "Deny"), ({"if_match": "etag"}, "Allow"), ({"if_none_match": "*"}, "Allow")],
)
@pytest.mark.parametrize("policy", ["iam-step.json", "iam-review.json"])
def test_a_pointer_is_only_ever_replaced_on_a_condition(policy, condition, effect):
    """The policy refuses a plain PUT of a pointer, so no bug and no shell can skip the fence."""
    assert _effect(policy, "s3:PutObject", f"{STORE}/{POINTER}", **condition) == effect


def test_lifecycle_rules_delete_nothing_that_the_store_may_need():
    """S3 itself only ever expires probes, what is no longer current, and unfinished uploads."""
    rules = json.loads((IMAGE / "lifecycle.json").read_text(encoding="utf-8"))["Rules"]
    expiring = {rule["Filter"]["Prefix"] for rule in rules if "Days" in rule.get("Expiration", {})}
    assert expiring == {f"nightmill/{RESERVED}/"}
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    classes = {one["StorageClass"] for rule in rules for one in rule.get("Transitions", [])}
    assert classes <= {"STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}


@pytest.mark.parametrize(
    "policy", ["iam-step.json", "iam-airflow.json", "iam-gc.json", "iam-review.json"]
)
def test_policies_list_only_below_the_store(policy):
    """Listing is bound to the store's prefixes; a missing object is told from a forbidden one.

    S3 tells 404 from 403 only to those who may list, and a request for an object has no prefix.
    """
    bucket = "arn:aws:s3:::example-bucket"
    assert _effect(policy, "s3:ListBucket", bucket, prefix=f"nightmill/{OWN}/") == "Allow"
    assert _effect(policy, "s3:ListBucket", bucket, prefix="payroll/") == "nothing"
    assert _effect(policy, "s3:ListBucket", bucket) == "Allow"


def test_kind_has_a_node_for_each_pool():
    """The kind cluster has one node a pool, and only the default pool's takes any pod."""
    nodes = yaml.safe_load((IMAGE / "kind.yaml").read_text(encoding="utf-8"))["nodes"]
    pools = {}
    for node in nodes:
        if node["role"] == "worker":
            patch = yaml.safe_load(next(iter(node.get("kubeadmConfigPatches", [])), "{}"))
            taints = patch.get("nodeRegistration", {}).get("taints", [])
            pools[node["labels"]["nightmill.io/pool"]] = [
                (taint["key"], taint["value"], taint["effect"]) for taint in taints
            ]
    assert pools == {
        "default": [],
        "highcpu": [("nightmill.io/pool", "highcpu", "NoSchedule")],
        "highmem": [("nightmill.io/pool", "highmem", "NoSchedule")],
    }
