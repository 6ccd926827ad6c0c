"""The preflight against an API server of our own on loopback: every answer, and every fault.

The real cluster is asked in tests/e2e; here are the answers that a healthy one never gives.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from nightmill.cluster.client import Cluster, ClusterError, Identity
from nightmill.cluster.platform import Access, load_platform
from nightmill.cluster.trial import trial_pod, try_pod
from tests.http_stand_in import served

SPACE = "/api/v1/namespaces/nightmill"
NODE = {
    "metadata": {"name": "n1", "labels": {"pool": "default"}},
    "spec": {},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "allocatable": {"cpu": "1", "memory": "2Gi"},
    },
}

PLATFORM = """\
store: s3://bucket/p?endpoint=http://127.0.0.1:9
launcher: kubernetes
access: {kubeconfig: KUBECONFIG}
image: registry/nightmill:1
environment: {AWS_SECRET_ACCESS_KEY: {secret: s3, key: secret}}
pools:
  default: {selector: {pool: default}, largest: {cpu: 1, memory: 2Gi}}
"""


class Api:
    """A stand-in for an API server: `answers` by method and path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {
            "GET /version/": (200, {"gitVersion": "v1.34.4"}),
            f"GET {SPACE}": (200, {}),
            f"GET {SPACE}/serviceaccounts/nightmill-step": (200, {}),
            f"GET {SPACE}/secrets/s3": (200, {"data": {"secret": "aHVudGVyMg=="}}),
            f"POST {SPACE}/pods": (201, {}),
            "GET /api/v1/nodes": (200, {"items": [NODE]}),
        }
        self.denied: set[str] = set()
        self.asked: list[tuple[str, dict[str, str], dict[str, str], object]] = []

    def answer(self, method: str, url: str, headers: dict[str, str], body: object):
        """Answer one request and remember it."""
        parts = urlsplit(url)
        self.asked.append((f"{method} {parts.path}", dict(parse_qsl(parts.query)), headers, body))
        if parts.path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            part = f"/{asked['subresource']}" if asked["subresource"] else ""
            words = f"{asked['verb']} {asked['resource']}{part}"
            return 201, {"status": {"allowed": words not in self.denied}}
        return self.answers.get(f"{method} {parts.path}", (404, {"message": "not found"}))


@pytest.fixture
def api():
    """Run the stand-in on a free port of loopback."""
    made = Api()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, found = made.answer(self.command, self.path, dict(self.headers), body)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names of http.server

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with served(Handler) as made.address:
        yield made


@pytest.fixture
def kubeconfig(api, tmp_path):
    """Write a kubeconfig with two contexts, the first being the current one."""
    file = tmp_path / "kubeconfig"
    contexts = [
        {
            "name": name,
            "context": {"cluster": f"arn:aws:eks:us-east-1:1:cluster/{name}", "user": "u"},
        }
        for name in ("staging", "analytics")
    ]
    clusters = [
        {"name": one["context"]["cluster"], "cluster": {"server": api.address}} for one in contexts
    ]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "staging",
        "contexts": contexts,
        "clusters": clusters,
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path, kubeconfig):
    """Make a project with one pipeline of one step, and a platform with one pool."""
    root = tmp_path / "project"
    files = {
        "dags/platform.yaml": PLATFORM.replace("KUBECONFIG", str(kubeconfig)),
        "kernels/k/requirements.txt": "",
        "notebooks/p/pipeline.yaml": "pipeline: p\nsteps: {score: {notebook: n.ipynb}}\n",
        "notebooks/p/n.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def doctor(cli, project, monkeypatch):
    """Return a function that runs `nightmill doctor` without a pod in the project."""
    monkeypatch.delenv("NIGHTMILL_ENV", raising=False)
    return lambda *arguments: cli("doctor", "--no-pod", *arguments, cwd=project)


def test_all_well(doctor, api):
    """Where nothing is wrong each check is a line that says ok, and the exit code is 0."""
    ended = doctor()
    assert ended.code == 0, ended.out
    lines = ended.out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 10
    assert lines[-1] == "10 checks: 0 failed, 0 warnings"
    assert f"Kubernetes v1.34.4 at {api.address}" in ended.out


def test_nothing_is_changed(doctor, api):
    """Without the trial pod the cluster is only asked: the one pod sent to it is a dry run."""
    doctor()
    writes = [(path, query) for path, query, _, _ in api.asked if not path.startswith("GET")]
    reviews = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert {path for path, _ in writes} == {reviews, f"POST {SPACE}/pods"}
    assert all(query.get("dryRun") == "All" for path, query in writes if path != reviews)


def test_rights_that_are_asked(doctor, api):
    """The rights are those that Airflow needs and no others."""
    doctor()
    asked = [body["spec"]["resourceAttributes"] for path, *_, body in api.asked if "review" in path]
    found = {(one["verb"], one["resource"], one["subresource"]) for one in asked}
    verbs = ("create", "get", "list", "watch", "delete")
    assert found == {
        *((verb, "pods", "") for verb in verbs),
        ("get", "pods", "log"),
        ("list", "events", ""),
    }
    assert {one["namespace"] for one in asked} == {"nightmill"}


def test_no_value_of_a_secret_is_shown(doctor):
    """A secret's value is nowhere in the output."""
    ended = doctor()
    assert "hunter2" not in ended.out + ended.err
    assert "aHVudGVyMg" not in ended.out + ended.err


def forbidden(what: str) -> tuple[int, object]:
    """Answer as an API server that refuses."""
    return 403, {"message": f"{what} is forbidden"}


# what the API server answers instead, level, words of the line, words of the advice
FAULTS = {
    "no namespace": (
        {f"GET {SPACE}": (404, {})},
        "fail",
        "namespace `nightmill` does not exist",
        "kubectl create namespace nightmill",
    ),
    "namespace unseen": (
        {f"GET {SPACE}": forbidden("it")},
        "warning",
        "namespace `nightmill`: not checked",
        "administrator",
    ),
    "no service account": (
        {f"GET {SPACE}/serviceaccounts/nightmill-step": (404, {})},
        "fail",
        "service account `nightmill-step` does not exist",
        "rbac.yaml",
    ),
    "service account unseen": (
        {f"GET {SPACE}/serviceaccounts/nightmill-step": forbidden("it")},
        "warning",
        "service account `nightmill-step`: not checked",
        "administrator",
    ),
    "no secret": (
        {f"GET {SPACE}/secrets/s3": (404, {})},
        "fail",
        "secret `s3` does not exist",
        "create secret generic s3 --from-literal=secret=...",
    ),
    "no key": (
        {f"GET {SPACE}/secrets/s3": (200, {"data": {"other": ""}})},
        "fail",
        "secret `s3` has no key `secret`",
        "correct the key",
    ),
    "empty secret": (
        {f"GET {SPACE}/secrets/s3": (200, {})},
        "fail",
        "secret `s3` has no key `secret`",
        "add it",
    ),
    "secret unseen": (
        {f"GET {SPACE}/secrets/s3": forbidden("it")},
        "warning",
        "secret `s3`: not checked",
        "administrator",
    ),
    "refused pod": (
        {f"POST {SPACE}/pods": forbidden('violates PodSecurity "restricted"')},
        "fail",
        'refuses the pods of p.score: violates PodSecurity "restricted" is forbidden',
        "nightmill pod",
    ),
    "nodes unseen": ({"GET /api/v1/nodes": forbidden("it")}, "warning", "nodes: not", "admin"),
    "no nodes": ({"GET /api/v1/nodes": (200, {"items": []})}, "fail", "no node has pool=", "label"),
    "server error": (
        {"GET /api/v1/nodes": (500, b"<html>oops</html>")},
        "fail",
        "nodes: 500 Internal Server Error",
        "access",
    ),
    "expired": ({"GET /version/": (401, {"message": "Unauthorized"})}, "fail", "Unauth", "run out"),
    "no API server": ({"GET /version/": (200, b"<html>")}, "fail", "does not answer", "address"),
}


@pytest.mark.parametrize(("answers", "level", "what", "advice"), FAULTS.values(), ids=FAULTS)
def test_faults(doctor, api, answers, level, what, advice):
    """Each fault is a line of its level with what to do below it, and only a fail is exit 1."""
    api.answers.update(answers)
    ended = doctor()
    lines = ended.out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if what in line]
    assert lines[number].split()[0] == level
    assert advice in lines[number + 1].partition("->")[2]
    assert ended.code == (1 if level == "fail" else 0)
    assert "Traceback" not in ended.err


def test_no_fault_is_told_twice(doctor, api):
    """Where a namespace or an account is missing, what cannot work without it is not tried."""
    account = f"GET {SPACE}/serviceaccounts/nightmill-step"
    for missing, untried in ((account, f"POST {SPACE}/pods"), (f"GET {SPACE}", account)):
        api.asked.clear()
        api.answers[missing] = (404, {})
        assert doctor().out.count("fail ") == 1
        assert not any(path == untried for path, *_ in api.asked)


def test_missing_rights(doctor, api):
    """Missing rights are listed in one line; what cannot be created is not tried."""
    api.denied = {"create pods", "get pods/log"}
    ended = doctor()
    assert ended.code == 1
    assert "missing in `nightmill`: create pods, get pods/log\n" in ended.out
    assert not any(path == f"POST {SPACE}/pods" for path, *_ in api.asked)


def test_acting_as_airflow(doctor, api):
    """With --as every question is asked in the name of the one who will ask at night."""
    doctor("--as", "system:serviceaccount:nightmill:airflow")
    names = {headers.get("Impersonate-User") for _, _, headers, _ in api.asked}
    assert names == {"system:serviceaccount:nightmill:airflow"}


def test_unreachable(doctor, kubeconfig):
    """A cluster that is not there is one line, quickly, and no more is tried."""
    kubeconfig.write_text(
        kubeconfig.read_text().replace("server: http://127.0.0.1:", "server: http://127.0.0.1:1#")
    )
    ended = doctor()
    assert ended.code == 1
    assert "the API server does not answer" in ended.out
    assert "rights" not in ended.out


def test_no_kubeconfig(doctor, kubeconfig):
    """A kubeconfig that is missing is a line that says so."""
    kubeconfig.unlink()
    ended = doctor()
    assert ended.code == 1
    assert "no access to a cluster" in ended.out
    assert "--kubeconfig" in ended.out


def test_no_tls(doctor, kubeconfig):
    """A server that speaks no TLS, or with a certificate that is not ours, is a line as well."""
    kubeconfig.write_text(kubeconfig.read_text().replace("http://", "https://"))
    ended = doctor()
    assert ended.code == 1
    assert "cluster: no TLS: SSLError" in ended.out
    assert "check the certificates" in ended.out


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[1]", "a: {", "clusters: 1\ncontexts: 2\ncurrent-context: x", "\0", "x: \xff"],
)
def test_broken_kubeconfig(doctor, kubeconfig, text):
    """A kubeconfig that is none is a line that says so, not a bug of ours."""
    kubeconfig.write_text(text, encoding="latin-1")
    ended = doctor()
    assert ended.code == 1
    assert "no access to a cluster" in ended.out
    assert ended.err == ""


def test_context(kubeconfig):
    """The context of platform.yaml counts, and one on the command line more."""
    given = Access(kubeconfig=str(kubeconfig), context="staging")
    assert Cluster.connect(given, Identity()).name.endswith("cluster/staging")
    assert Cluster.connect(given, Identity(context="analytics")).name.endswith("/analytics")
    with pytest.raises(ClusterError, match="no access to a cluster"):
        Cluster.connect(given, Identity(context="nope"))


@pytest.mark.parametrize(("context", "warned"), [("staging", True), ("analytics", False)])
def test_eks(doctor, project, kubeconfig, context, warned):
    """For EKS the kubeconfig counts, and one of another cluster is warned of."""
    text = PLATFORM.replace("launcher: kubernetes", "launcher: eks")
    access = "{eks_cluster: analytics, region: us-east-1}"
    text = text.replace("{kubeconfig: KUBECONFIG}", access)
    (project / "dags" / "platform.yaml").write_text(text, encoding="utf-8")
    ended = doctor("--kubeconfig", str(kubeconfig), "--context", context)
    assert ended.code == 0
    assert ("aws eks update-kubeconfig --name analytics" in ended.out) is warned


def test_files_come_first(doctor, project, api):
    """A broken platform.yaml is told with file and line before any cluster is asked."""
    (project / "dags" / "platform.yaml").write_text("store: a\nlaucher: x\nnamespace: A\n")
    ended = doctor()
    assert ended.code == 1
    assert "dags/platform.yaml:2: laucher: unknown key" in ended.out
    assert "dags/platform.yaml:3: namespace" in ended.out
    assert api.asked == []


def test_without_a_platform_yaml_it_says_who_needs_one(doctor, project, cli):
    """Both verbs name the file once, say that `run` needs none, and what is enough to begin."""
    file = project / "dags" / "platform.yaml"
    file.unlink()
    ended, shown = doctor(), cli("pod", "p", "score", cwd=project)
    said, advice, end = ended.out.splitlines()
    assert said == "fail     dags/platform.yaml: cannot be read: No such file or directory"
    assert "only Airflow and a cluster need one: `nightmill run` does without" in advice
    assert end == "1 check: 1 failed, 0 warnings"
    problem, same = shown.err.splitlines()
    assert problem == "error: dags/platform.yaml: cannot be read: No such file or directory"
    assert same.split("-> ")[1] == advice.split("-> ")[1]
    line = re.search("the one line `(.*?)`", advice)[1]
    file.write_text(f"{line}\n", encoding="utf-8")
    assert doctor().code == 0


def test_a_broken_pipeline_hides_no_other(doctor, project):
    """The faults of one pipeline are told, and the others are checked all the same."""
    folder = project / "notebooks" / "q"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text("pipeline: q\nsteps: {a: {notebook: n.ipynb, pol: x}}\n")
    ended = doctor()
    assert ended.code == 1
    assert "notebooks/q/pipeline.yaml:2: steps.a.pol: unknown key" in ended.out
    assert "admits those of all 1 steps" in ended.out
    assert doctor("--pipeline", "p").code == 0


def test_too_large(doctor, project):
    """A step that no node of its pool can take is told at its line of pipeline.yaml."""
    file = project / "notebooks" / "p" / "pipeline.yaml"
    file.write_text("pipeline: p\nsteps:\n  score: {notebook: n.ipynb, memory: 64Gi}\n")
    ended = doctor()
    assert ended.code == 1
    assert "pipeline.yaml:3: steps.score.memory: the step `score` asks for memory 64Gi" in ended.out


def test_unknown_pipeline(doctor):
    """A pipeline that does not exist is a usage error."""
    ended = doctor("--pipeline", "pp")
    assert ended.code == 2
    assert "did you mean `p`?" in ended.err


def test_store_address(doctor, project):
    """A store whose URL is wrong is found without asking it."""
    file = project / "dags" / "platform.yaml"
    file.write_text(file.read_text().replace("?endpoint", "?endpont"))
    ended = doctor()
    assert ended.code == 1
    assert "unknown setting 'endpont'" in ended.out


def test_local(doctor, project, api):
    """Without a cluster the store is tried from here, and no cluster is asked."""
    file = project / "dags" / "platform.yaml"
    file.write_text("store: .nightmill/store\n")
    ended = doctor()
    assert ended.code == 0
    assert ".nightmill/store can be read and written from this machine" in ended.out
    file.write_text("store: notebooks/p/n.ipynb/store\n")
    assert doctor().code == 1
    assert api.asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image", "{{ var.value.x }}"), "the image is an Airflow Variable"),
        (("--image", "x", "--as", "nobody"), "mend what failed above first"),
    ],
)
def test_no_trial(cli, project, api, arguments, words):
    """Without an image, or after a failure, no pod is started, and the warning says why."""
    if "nobody" in arguments:
        api.denied = {"get pods"}
    ended = cli("doctor", *arguments, cwd=project)
    assert words in ended.out
    assert all(query for path, query, *_ in api.asked if path == f"POST {SPACE}/pods")


class Pods:
    """Pods that live through the states they are given."""

    def __init__(self, *states: dict | BaseException | None) -> None:
        self.states = list(states)
        self.created: list[dict] = []
        self.deleted: list[str] = []

    def create_pod(self, manifest):
        """Remember a pod."""
        self.created.append(manifest)
        return manifest

    def pod(self, name, namespace):
        """Show the next state; who asks on after the last has missed the end."""
        assert (name, namespace) == (self.created[0]["metadata"]["name"], "nightmill")
        state = self.states.pop(0)
        if isinstance(state, BaseException):
            raise state
        return state

    def delete_pod(self, name, _namespace):
        """Remember a deletion."""
        self.deleted.append(name)


def state(phase: str, container: dict | None = None, **status: object) -> dict:
    """Make a pod in a phase, with its container's state."""
    containers = [{"name": "base", "state": container}] if container else []
    return {
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def ended_with(code: int, **more: object) -> dict:
    """Make the state of a container that has ended."""
    return {"terminated": {"exitCode": code, **more}}


UNSCHEDULED = [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes match"}]

# the pod's states, levels, words
TRIALS = {
    "good": (
        [state("Pending"), state("Running", {"running": {}}), state("Succeeded", ended_with(0))],
        ["ok", "ok"],
        ["i:1 starts on n1", "can be read and written from a pod"],
    ),
    "store refuses": (
        [state("Failed", ended_with(1, message="error: no such bucket\n  -> make it\n"))],
        ["ok", "fail"],
        ["exit code 1: error: no such bucket -> make it", "rights of the service account"],
    ),
    "no image": (
        [state("Pending", {"waiting": {"reason": "ErrImagePull", "message": "not found"}})],
        ["fail"],
        ["ErrImagePull: not found", "the image's name"],
    ),
    "no image, later": (
        [
            state("Pending", {"waiting": {"reason": "ContainerCreating"}}),
            state("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}),
        ],
        ["fail"],
        ["ImagePullBackOff: Back-off"],
    ),
    "no secret": (
        [state("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": "s3"}})],
        ["fail"],
        ["CreateContainerConfigError: s3", "secrets that `environment` names"],
    ),
    "no such command": (
        [state("Failed", ended_with(128, reason="StartError", message="exec: no tini"))],
        ["fail"],
        ["does not start: StartError: exec: no tini"],
    ),
    "deleted by somebody": ([None], ["fail"], ["`Deleted`"]),
    "evicted": (
        [state("Failed", reason="Evicted", message="disk pressure")],
        ["fail"],
        ["`Evicted`", "disk pressure"],
    ),
    "no node": (
        [state("Pending", conditions=UNSCHEDULED)],
        ["fail"],
        ["no node took the trial pod in 0 s: 0/3 nodes match", "longer --timeout"],
    ),
    "slow": ([state("Running", {"running": {}})], ["fail"], ["`Running` after 0 s"]),
}


@pytest.fixture
def platform(project):
    """Load the project's platform."""
    return load_platform(project / "dags", "")


@pytest.mark.parametrize(("states", "levels", "words"), TRIALS.values(), ids=TRIALS)
def test_trial(platform, states, levels, words):
    """Whatever becomes of the trial pod is told in words, and the pod is deleted."""
    pods = Pods(*states)
    found = list(try_pod(pods, platform, "i:1", timeout_s=0 if len(states) == 1 else 30))
    assert [finding.level for finding in found] == levels
    said = " ".join(f"{finding.what} {finding.advice}" for finding in found)
    assert [word for word in words if word not in said] == []
    assert pods.deleted == [pods.created[0]["metadata"]["name"]]


@pytest.mark.parametrize("error", [ClusterError("gone"), KeyboardInterrupt()], ids=type)
def test_trial_is_tidied_up(platform, error):
    """The pod is deleted also when the API server fails, or somebody presses Ctrl-C."""
    pods = Pods(error)
    with pytest.raises(type(error)):
        list(try_pod(pods, platform, "i:1", timeout_s=30))
    assert len(pods.deleted) == 1


def test_trial_pod(platform):
    """The trial runs like a step: same account, secrets and security, on the default pool."""
    one, other = trial_pod(platform, "i:1"), trial_pod(platform, "i:1")
    assert one["metadata"]["name"] != other["metadata"]["name"]
    spec = one["spec"]
    (container,) = spec["containers"]
    assert container["args"] == ["probe", platform.store]
    assert container["image"] == "i:1"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["nodeSelector"] == {"pool": "default"}
    assert spec["serviceAccountName"] == "nightmill-step"
    assert any("valueFrom" in one for one in container["env"])


def test_probe(cli, tmp_path):
    """`nightmill probe` tries a store and leaves nothing behind; a bad one is exit 1."""
    assert cli("probe", str(tmp_path / "store")).code == 0
    files = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert [file for file in files if "locks" not in file.parts] == []
    (tmp_path / "file").write_text("")
    ended = cli("probe", str(tmp_path / "file" / "store"))
    assert ended.code == 1
    assert "error:" in ended.err


def test_pod(cli, project):
    """`nightmill pod` prints a manifest that kubectl can read, with the arguments of a run."""
    ended = cli("pod", "p", "score", "--partition", "2013-03-01", "--image", "i:1", cwd=project)
    assert ended.code == 0
    manifest = yaml.safe_load(ended.out)
    assert manifest["kind"] == "Pod"
    (container,) = manifest["spec"]["containers"]
    assert container["image"] == "i:1"
    assert "--partition=2013-03-01" in container["args"]
    assert "\x1b" not in ended.out
    plain = yaml.safe_load(cli("pod", "p", "score", cwd=project).out)
    assert plain["spec"]["containers"][0]["args"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("p", "scor"), "did you mean `score`?"),
        (("q", "score"), "unknown pipeline `q`"),
        (("p", "score", "--partition", "x"), "no date"),
        (("p", "score", "--env", "x"), "there is no environment `x`"),
    ],
)
def test_pod_of_nothing(cli, project, arguments, words):
    """What does not exist is an error with advice, and nothing is printed."""
    ended = cli("pod", *arguments, cwd=project)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
