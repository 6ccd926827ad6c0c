"""platform.yaml: a good one whole, a table of bad ones with the exact place, overlays, ours."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from nightmill.cluster.platform import IMAGE_VARIABLE, load_platform
from nightmill.errors import SpecError
from nightmill.spec.problems import each

REPOSITORY = Path(__file__).parents[1]

GOOD = """\
store: s3://bucket/prefix?region=us-east-1
launcher: kubernetes
access: {kubeconfig: ~/.kube/config, context: staging}
namespace: nights
service_account: night-step
service_account_token: true
image: registry/nightmill:1
environment:
  AWS_REGION: us-east-1
  AWS_ACCESS_KEY_ID: {secret: nightmill-s3, key: access-key-id}
default_pool: small
pod_deadline: 6h
review_url: https://review.example.com/nights/
sweep_every: 1h
pools:
  small: {next: highmem}
  highmem:
    selector: {nightmill.io/pool: highmem}
    tolerations:
      - nightmill.io/pool=highmem:NoSchedule
      - spot:NoExecute
      - anything
      - {key: gpu, value: a100, effect: NoSchedule}
      - {operator: Exists, effect: NoExecute, tolerationSeconds: 30}
    largest: {cpu: 1, memory: 8Gi, gpu: 2}
    defaults: {cpu: 500m, memory: 2Gi, gpu: 1}
    architecture: arm64
    schedule_timeout: 20m
    startup_timeout: 5m
    autoscaled: true
    airflow_pool: large nodes
    patch: {spec: {priorityClassName: nightly}}
"""

PODS = "store: s3://bucket/p\nlauncher: kubernetes\naccess: {in_cluster: true}\n"
"""The shortest beginning of a platform with pods; its pools begin in line 4."""


@pytest.fixture
def load(tmp_path):
    """Load the text of a platform.yaml, and of overlays by name."""

    def _load(text: str, env: str = "", **overlays: str):
        (tmp_path / "platform.yaml").write_text(text, encoding="utf-8")
        for name, over in overlays.items():
            (tmp_path / f"platform.{name}.yaml").write_text(over, encoding="utf-8")
        return load_platform(tmp_path, env)

    return _load


def test_everything(load):
    """Every key arrives typed, amounts as plain numbers with their unit."""
    platform = load(GOOD)
    assert (platform.launcher, platform.namespace) == ("kubernetes", "nights")
    assert platform.access.ways == ["kubeconfig"]
    assert platform.access.context == "staging"
    assert (platform.service_account, platform.service_account_token) == ("night-step", True)
    assert platform.image == "registry/nightmill:1"
    assert platform.environment["AWS_REGION"].value == "us-east-1"
    secret = platform.environment["AWS_ACCESS_KEY_ID"]
    assert (secret.secret, secret.key, secret.value) == ("nightmill-s3", "access-key-id", None)
    assert platform.pod_deadline == timedelta(hours=6)
    assert platform.review_url == "https://review.example.com/nights"
    assert platform.sweep_every == timedelta(hours=1)
    pool = platform.pools["highmem"]
    largest = pool.largest
    assert (largest.cpu_millicores, largest.memory_bytes, largest.gpu) == (1000, 8 * 1024**3, 2)
    assert (pool.cpu_millicores, pool.memory_bytes, pool.defaults.gpu) == (500, 2 * 1024**3, 1)
    assert pool.node_selector == {"nightmill.io/pool": "highmem", "kubernetes.io/arch": "arm64"}
    assert (pool.schedule_timeout, pool.startup_timeout) == (
        timedelta(minutes=20),
        timedelta(minutes=5),
    )
    assert (pool.autoscaled, pool.next, pool.airflow_pool) == (True, None, "large nodes")
    assert pool.patch == {"spec": {"priorityClassName": "nightly"}}


def test_tolerations(load):
    """A taint as kubectl writes it and the keys of Kubernetes mean the same."""
    found = [one.manifest() for one in load(GOOD).pools["highmem"].tolerations]
    assert found == [
        {
            "key": "nightmill.io/pool",
            "operator": "Equal",
            "value": "highmem",
            "effect": "NoSchedule",
        },
        {"key": "spot", "operator": "Exists", "effect": "NoExecute"},
        {"key": "anything", "operator": "Exists"},
        {"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"},
        {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
    ]


def test_the_least(load):
    """A store is enough for steps on this machine, and a pool need say nothing."""
    platform = load("store: .nightmill/store\n")
    assert (platform.launcher, platform.image, platform.pools) == ("local", IMAGE_VARIABLE, {})
    assert platform.service_account_token is False
    assert platform.sweep_every == timedelta(minutes=15)
    pool = load(PODS + "pools: {default: {}}\n").pools["default"]
    assert (pool.cpu_millicores, pool.memory_bytes, pool.node_selector) == (1000, 1024**3, {})
    assert (pool.schedule_timeout, pool.startup_timeout) == (
        timedelta(minutes=15),
        timedelta(minutes=10),
    )


def test_defaults_never_exceed_the_largest(load):
    """A small pool gives a step that says nothing no more than it has."""
    pool = load(PODS + "pools: {default: {largest: {cpu: 500m, memory: 512Mi}}}\n").pools["default"]
    assert (pool.cpu_millicores, pool.memory_bytes) == (500, 512 * 1024**2)


def pools(text: str) -> str:
    """Write a platform with the pool `default` and the keys given, in line 4."""
    return f"{PODS}pools: {{default: {{{text}}}}}\n"


# text, line, key, a word of the problem, a word of the advice
BAD = {
    "no store": ("launcher: local\n", 1, "store", "missing", "add it"),
    "unknown key": ("store: a\nlaucher: local\n", 2, "laucher", "unknown key", "`launcher`"),
    "unknown launcher": (
        "store: a\nlauncher: k8s\n",
        2,
        "launcher",
        "not possible",
        "did you mean",
    ),
    "a folder for pods": (
        "store: a\nlauncher: kubernetes\naccess: {in_cluster: true}\npools: {default: {}}\n",
        1,
        "store",
        "pods cannot reach",
        "s3://",
    ),
    "credentials in the store": ("store: s3://me:pw@bucket\n", 1, "store", "credentials", ""),
    "empty store": ('store: " "\n', 1, "store", "empty", "s3://"),
    "no access": (
        "store: s3://b/p\nlauncher: kubernetes\npools: {default: {}}\n",
        1,
        "access",
        "reach the cluster",
        "in_cluster",
    ),
    "wrong access": (
        "store: s3://b/p\nlauncher: eks\naccess: {in_cluster: true}\npools: {default: {}}\n",
        3,
        "access",
        "reach the cluster",
        "eks_cluster",
    ),
    "two ways": (
        "store: a\naccess: {in_cluster: true, connection: k}\n",
        2,
        "access",
        "in_cluster and connection exclude",
        "keep one",
    ),
    "no region": ("store: a\naccess: {eks_cluster: x}\n", 2, "access", "`region`", "us-east-1"),
    "region alone": ("store: a\naccess: {region: x}\n", 2, "access", "belong to", ""),
    "access typo": ("store: a\naccess: {contxt: x}\n", 2, "access.contxt", "unknown", "`context`"),
    "namespace": ("store: a\nnamespace: My_Space\n", 2, "namespace", "Kubernetes", "a-z"),
    "service account": ("store: a\nservice_account: a_b\n", 2, "service_account", "Kuber", ""),
    "empty image": ('store: a\nimage: ""\n', 2, "image", "no image", "nightmill_image"),
    "review url": ("store: a\nreview_url: me@x\n", 2, "review_url", "no address", "https"),
    "sweep without unit": ("store: a\nsweep_every: 15\n", 2, "sweep_every", "span", "or `never`"),
    "sweep by null": ("store: a\nsweep_every:\n", 2, "sweep_every", "nothing is no", "`never`"),
    "sweep typo": ("store: a\nsweep_every: nevr\n", 2, "sweep_every", "`nevr`", "`never`"),
    "sweep too often": ("store: a\nsweep_every: 59s\n", 2, "sweep_every", "too often", "1m or"),
    "secret by value": (
        "store: a\nenvironment:\n  DB_PASSWORD: hunter2\n",
        3,
        "environment.DB_PASSWORD",
        "looks like a secret",
        "{secret: name, key: key}",
    ),
    "url with a password": (
        "store: a\nenvironment: {DB_URL: 'postgres://me:pw@db/x'}\n",
        2,
        "environment.DB_URL",
        "looks like a secret",
        "Kubernetes secret",
    ),
    "secret without key": (
        "store: a\nenvironment:\n  X: {secret: s}\n",
        3,
        "environment.X",
        "neither",
        "{secret: name, key: key}",
    ),
    "text and secret": (
        "store: a\nenvironment:\n  X: {secret: s, key: k, value: v}\n",
        3,
        "environment.X",
        "neither",
        "write text",
    ),
    "secret typo": (
        "store: a\nenvironment:\n  X: {secrt: s, key: k}\n",
        3,
        "environment.X.secrt",
        "unknown key",
        "`secret`",
    ),
    "number as text": (
        "store: a\nenvironment:\n  THREADS: 1\n",
        3,
        "environment.THREADS",
        "expected text",
        "quotes",
    ),
    "variable of ours": (
        "store: a\nenvironment:\n  HOME: /x\n",
        3,
        "environment.HOME",
        "set by Nightmill",
        "remove",
    ),
    "variable's name": ("store: a\nenvironment: {A-B: x}\n", 2, "environment.A-B", "", ""),
    "no pools": (PODS, 1, "pools", "need a node pool", "at least one"),
    "unknown default": (
        PODS + "default_pool: smal\npools: {small: {}}\n",
        4,
        "default_pool",
        "unknown pool `smal`",
        "`small`",
    ),
    "unknown next": (pools("next: highmen"), 4, "pools.default.next", "unknown pool", "`default`"),
    "next is itself": (pools("next: default"), 4, "pools.default.next", "leads back", "largest"),
    "pool typo": (pools("selectr: {a: b}"), 4, "pools.default.selectr", "unknown", "`selector`"),
    "pool name": (PODS + "pools: {default: {}, a b: {}}\n", 4, "pools.a b", "no valid name", ""),
    "selector value": (pools("selector: {a: b c}"), 4, "pools.default.selector.a", "Kuber", ""),
    "selector number": (pools("selector: {a: 1}"), 4, "pools.default.selector.a", "text", "quotes"),
    "toleration": (
        pools("tolerations: ['a=b=c']"),
        4,
        "pools.default.tolerations.0",
        "no taint",
        "NoSchedule",
    ),
    "toleration effect": (
        pools("tolerations: ['a=b:NoShedule']"),
        4,
        "pools.default.tolerations.0",
        "not possible",
        "`NoSchedule`",
    ),
    "toleration typo": (
        pools("tolerations: [{kee: a}]"),
        4,
        "pools.default.tolerations.0.kee",
        "unknown key",
        "`key`",
    ),
    "toleration of both": (
        pools("tolerations: [{key: a, operator: Exists, value: b}]"),
        4,
        "pools.default.tolerations.0",
        "takes no `value`",
        "",
    ),
    "toleration of nothing": (
        pools("tolerations: [{value: b}]"),
        4,
        "pools.default.tolerations.0",
        "without a `key`",
        "",
    ),
    "memory": (pools("largest: {memory: 8}"), 4, "pools.default.largest.memory", "no unit", "8Gi"),
    "gpus": (pools("largest: {gpu: -1}"), 4, "pools.default.largest.gpu", "greater", ""),
    "default above": (
        pools("largest: {memory: 1Gi}, defaults: {memory: 2Gi}"),
        4,
        "pools.default.defaults.memory",
        "more than the largest",
        "`largest.memory`",
    ),
    "architecture": (
        pools("architecture: arm"),
        4,
        "pools.default.architecture",
        "not possible",
        "`arm64`",
    ),
    "architecture twice": (
        pools("architecture: arm64, selector: {kubernetes.io/arch: amd64}"),
        4,
        "pools.default.selector.kubernetes.io/arch",
        "arm64",
        "",
    ),
    "timeout": (pools("startup_timeout: 10"), 4, "pools.default.startup_timeout", "span", "30m"),
    "patch": (
        pools("patch: {spec: {containers: {name: base}}}"),
        4,
        "pools.default.patch.spec.containers",
        "is a list",
        "",
    ),
}


@pytest.mark.parametrize(("text", "line", "key", "problem", "advice"), BAD.values(), ids=BAD)
def test_bad(load, tmp_path, text, line, key, problem, advice):
    """Each fault is one error that names file, line and key, what is wrong and what to do."""
    with pytest.raises(SpecError) as caught:
        load(text)
    (error,) = each(caught.value)
    assert (error.file, error.line, error.key) == (tmp_path / "platform.yaml", line, key)
    assert problem in error.problem
    assert advice in error.advice
    assert "hunter2" not in str(error)


def test_cycles(load):
    """A chain of `next` that comes back is an error at each pool in it, and at no other."""
    with pytest.raises(SpecError) as caught:
        load(PODS + "pools:\n  default: {next: a}\n  a: {next: b}\n  b: {next: a}\n")
    assert [error.key for error in each(caught.value)] == ["pools.a.next", "pools.b.next"]


def test_next_pools(load):
    """The pools after a pool come nearest first."""
    platform = load(PODS + "pools: {default: {next: b}, a: {}, b: {next: c}, c: {}}\n")
    assert platform.next_pools("default") == ["b", "c"]
    assert platform.next_pools("a") == platform.next_pools("unknown") == []


def test_all_faults_at_once(load):
    """One look shows all that is wrong, by line."""
    with pytest.raises(SpecError) as caught:
        load("store: ''\nnamespace: A\npools: {a: {largest: {cpu: x}}}\n")
    assert [error.line for error in each(caught.value)] == [1, 2, 3]


BASE = """\
store: s3://base/p
launcher: kubernetes
access: {in_cluster: true}
environment: {A: a, B: {secret: s, key: k}}
pools:
  default:
    selector: {x: base, y: base}
    largest: {cpu: 1, memory: 1Gi}
    next: big
  big: {}
"""


def test_overlay(load):
    """The overlay's keys win; pools and environment are merged, the rest replaced; null removes."""
    over = """\
store: s3://over/p
access: {connection: prod}
environment: {A: over, C: c}
pools:
  default: {largest: {cpu: 2}, selector: {x: over}}
  big: null
  huge: {}
"""
    with pytest.raises(SpecError, match=r"platform\.yaml:9: pools\.default\.next: unknown pool"):
        load(BASE, "prod", prod=over)
    platform = load(BASE, "prod", prod=over.replace("{largest", "{next: null, largest"))
    assert (platform.store, platform.launcher) == ("s3://over/p", "kubernetes")
    assert platform.access.ways == ["connection"]
    assert {name: one.value for name, one in platform.environment.items()} == {
        "A": "over",
        "B": None,
        "C": "c",
    }
    assert list(platform.pools) == ["default", "huge"]
    pool = platform.pools["default"]
    assert (pool.selector, pool.next) == ({"x": "over"}, None)
    assert (pool.largest.cpu_millicores, pool.largest.memory_bytes) == (2000, None)


@pytest.mark.parametrize(
    ("base", "over", "minutes"),
    [("30m", "never", None), ("never", "2m", 2), ("never", "null", 15), ("1m", "{}", 1)],
)
def test_sweeping_in_an_overlay(load, base, over, minutes):
    """`never` ends it in an environment; null, as for every key, takes the base's word away."""
    text = f"sweep_every: {over}\n" if over != "{}" else "{}\n"
    platform = load(f"store: a\nsweep_every: {base}\n", "prod", prod=text)
    assert platform.sweep_every == (None if minutes is None else timedelta(minutes=minutes))


OVERLAID = {
    "fault of the overlay": ("\n\nnamespace: A\n", "platform.prod.yaml", 3),
    "of the overlay's part of a pool": (
        "pools:\n  big:\n    largest: {cpu: x}\n",
        "platform.prod.yaml",
        3,
    ),
    "unknown key of the overlay": ("pools: {big: {selectr: {}}}\n", "platform.prod.yaml", 1),
    "fault between two": ("pools: {big: null}\n", "platform.yaml", 9),
    "a variable is replaced whole": ("environment: {B: {secret: s}}\n", "platform.prod.yaml", 1),
}


@pytest.mark.parametrize(("over", "file", "line"), OVERLAID.values(), ids=OVERLAID)
def test_overlay_lines(load, tmp_path, over, file, line):
    """An error names the file that the faulty line is in."""
    with pytest.raises(SpecError) as caught:
        load(BASE, "prod", prod=over)
    (error,) = each(caught.value)
    assert (error.file, error.line) == (tmp_path / file, line)


def test_base_lines_under_an_overlay(load, tmp_path):
    """A fault of the base stays one of the base, also when an overlay is given."""
    with pytest.raises(SpecError) as caught:
        load(BASE + "namespace: A\n", "prod", prod="image: x\n")
    assert (caught.value.file, caught.value.line) == (tmp_path / "platform.yaml", 11)


def test_environment_variable(load, tmp_path, monkeypatch):
    """$NIGHTMILL_ENV chooses the overlay; an argument is stronger, also an empty one."""
    load(BASE, prod="store: s3://over/p\n")
    monkeypatch.setenv("NIGHTMILL_ENV", "prod")
    assert load_platform(tmp_path).store == "s3://over/p"
    assert load_platform(tmp_path, "").store == "s3://base/p"


@pytest.mark.parametrize("env", ["prd", "../prod", "yaml", "x"])
def test_unknown_environment(load, env):
    """An environment without a file is an error that knows those that are there."""
    with pytest.raises(SpecError, match="there is no environment") as caught:
        load(BASE, env, prod="image: x\n")
    assert "`prod`" in caught.value.advice


def test_no_file(tmp_path):
    """A folder without platform.yaml is an error that names the file."""
    with pytest.raises(SpecError) as caught:
        load_platform(tmp_path, "")
    assert caught.value.file == tmp_path / "platform.yaml"


@pytest.mark.parametrize("env", ["", "prod"])
def test_shipped(env):
    """The files that are shipped are right, and without a choice they need no cluster."""
    platform = load_platform(REPOSITORY / "dags", env)
    assert platform.launcher == ("eks" if env else "local")
    assert {"default", "highcpu", "highmem"} <= set(platform.pools)


def test_shipped_comments(load):
    """What platform.yaml shows as comments is right too once the marks are taken away."""
    lines = (REPOSITORY / "dags" / "platform.yaml").read_text(encoding="utf-8").splitlines()
    shown = [line[2:] for line in lines if line.startswith(("# environment", "#   AWS"))]
    ways = [yaml.safe_load(line[2:])["access"] for line in lines if line.startswith("# access")]
    plain = [line for line in lines if not line.startswith("#")]
    assert load("\n".join([*plain, *shown])).environment["AWS_REGION"].value == "us-east-1"
    assert len(ways) == 4
    for way in ways:
        access = load(yaml.safe_dump({"store": "s3://a/b", "access": way})).access
        assert len(access.ways) == 1
