"""The operator without a cluster: the pods it asks for, what it decides, and what crosses to where.

`UPDATE_GOLDEN=1 pytest tests/test_airflow_operator.py` writes the manifest anew; read the diff.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.providers.amazon.aws.operators.eks import EksPodOperator
from airflow.providers.amazon.aws.triggers.eks import EksPodTrigger
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from kubernetes import client
from urllib3.exceptions import ProtocolError

from nightmill.airflow import cluster_api, trigger
from nightmill.airflow.cluster_api import is_passing, patiently, plain
from nightmill.airflow.links import notebook_link
from nightmill.airflow.operator import pod_operator_kind
from nightmill.airflow.pods import Pods, attempt_labels, instance_labels
from nightmill.airflow.stages import make_stages
from nightmill.airflow.trigger import StepPodTrigger
from nightmill.cluster.platform import load_platform
from nightmill.spec.project import Project
from nightmill.spec.steprun import StepRun
from tests.conftest import REPOSITORY, notebook_json

GOLDEN = Path(__file__).parent / "golden" / "operator_pod.yaml"
PLATFORM = """\
store: s3://bucket/prefix
launcher: {launcher}
access: {access}
image: "{{{{ var.value.nightmill_image }}}}"
service_account: nightmill-step
environment:
  PRICE: 5$(HOME)
  AWS_ACCESS_KEY_ID: {{secret: s3, key: id}}
pools:
  default:
    selector: {{nightmill.io/pool: default}}
    largest: {{cpu: 1, memory: 2Gi}}
    schedule_timeout: 5m
    next: middle
  middle:
    selector: {{nightmill.io/pool: middle}}
    largest: {{cpu: 500m, memory: 3Gi}}
    next: large
  large:
    selector: {{nightmill.io/pool: large}}
    tolerations: ["nightmill.io/pool=large:NoSchedule"]
"""
PIPELINE = """\
pipeline: nightly
steps:
  make: {notebook: make.ipynb, memory: 1800Mi, timeout: 30m}
"""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_project(root: Path, launcher="kubernetes", access="{in_cluster: true}") -> Path:
    """Write a project of one step."""
    for file, text in {
        "dags/platform.yaml": PLATFORM.format(launcher=launcher, access=access),
        "notebooks/nightly/pipeline.yaml": PIPELINE,
        "notebooks/nightly/make.ipynb": notebook_json([("word: str = ''", "parameters")]),
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    shutil.copytree(REPOSITORY / "kernels", root / "kernels")
    return root


def make_operator(root: Path, **fields):
    """Make the operator as dags.py does."""
    platform = load_platform(root / "dags", "")
    kind, own = pod_operator_kind(platform, Project.load(root).pipeline("nightly"), "make")
    fields = {"pipeline": "nightly", "step": "make", "store": platform.store, **fields}
    return kind(task_id="make", project=str(root), **own, **fields)


def make_context(number=1, run="manual__1"):
    """Make what the operator reads of Airflow's context."""
    task = {"dag_id": "nightly", "task_id": "make", "map_index": -1, "try_number": number}
    dag_run = {
        "run_id": run,
        "start_date": EPOCH,
        "run_after": EPOCH,
        "logical_date": None,
        "data_interval_end": None,
        "conf": {"partition": "2013-03-01"},
    }
    return {
        "ti": SimpleNamespace(**task),
        "dag_run": SimpleNamespace(**dag_run),
        "run_id": run,
        "dag": None,
    }


RUN = StepRun(
    pipeline="nightly",
    step="make",
    partition="2013-03-01",
    as_of="2013-03-01",
    run="manual__1",
    order=7,
    attempt=2,
    store="store",
)


# -- the pod --------------------------------------------------------------------------------------


def test_golden(tmp_path, monkeypatch):
    """The whole pod that the API server gets is known, argument by argument."""
    monkeypatch.setenv("AIRFLOW_VAR_NIGHTMILL_IMAGE", "registry/image:1")
    operator = make_operator(write_project(tmp_path), given={"word": "{{ ds }} $(HOME)"})
    pod = plain(operator.build_pod_request_obj(make_context(), dry_run=True))
    name = pod["metadata"]["name"]
    assert re.fullmatch(r"nightly-make-[0-9a-f]{10}-[a-z0-9]{8}", name)
    pod["metadata"]["name"] = name[:-8] + "RANDOM"
    del pod["metadata"]["labels"]["airflow_version"]
    text = yaml.safe_dump(pod, sort_keys=True, width=200)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_arguments_say_what_was_given(tmp_path):
    """Values cross as they were typed, past Jinja and past Kubernetes' own expansion."""
    operator = make_operator(write_project(tmp_path), given={"word": "{{ ds }} $(HOME) $$"})
    pod = operator.build_pod_request_obj(make_context(3), dry_run=True)
    expanded = [one.replace("$$", "$") for one in pod.spec.containers[0].args]
    run = StepRun.from_argv(expanded)
    assert (run.parameters, run.attempt) == ({"word": "{{ ds }} $(HOME) $$"}, 3)


def test_a_dry_run_needs_no_run(tmp_path, capsys):
    """Airflow's dry run prints the pod, without arguments."""
    make_operator(write_project(tmp_path)).dry_run()
    assert "nightmill.io/step: make" in capsys.readouterr().out


def test_the_image_is_a_template(tmp_path):
    """The image's Variable is asked for when the step runs, never while parsing."""
    operator = make_operator(write_project(tmp_path))
    assert "pod_template_dict" in operator.template_fields
    found = operator.pod_template_dict["spec"]["containers"][0]["image"]
    assert found == "{{ var.value.nightmill_image }}"


LONG = "p" * 70
HOSTILE = [
    *({"step": LONG + end} for end in ("a", "b", ".", "_", "B", "é")),
    *({"step": LONG, "member": str(number)} for number in range(12)),
    {"run": "scheduled__2013-03-01T00:00:00+00:00"},
    {"run": "scheduled__2013-03-01T00:00:00+01:00"},
    *({"run": run} for run in ("r:1", "r+1", "r 1", "r-1")),
]


def test_labels_of_long_names():
    """No name is too long or too odd for a label, and no two steps, members or runs share all."""
    found = [instance_labels(RUN.model_copy(update=one)) for one in HOSTILE]
    for labels in found:
        for value in labels.values():
            assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)
    assert len({tuple(labels.items()) for labels in found}) == len(HOSTILE)


def test_a_cleared_run_finds_its_pods():
    """Pods from before a run was cleared are found again, though the store has another run."""
    before = RUN.model_copy(update={"run": "manual__1.6", "order": 6})
    after = RUN.model_copy(update={"run": "manual__1.7"})
    assert instance_labels(before) == instance_labels(after)


@pytest.mark.parametrize(
    "other", [{"attempt": 1}, {"attempt": 3}, {"order": 8}, {"partition": "2013-03-02"}]
)
def test_a_pod_belongs_to_one_try(other):
    """A pod of another try, or of the same try before the run was cleared, is another's."""
    labels = attempt_labels(RUN.model_copy(update=other))
    pod = SimpleNamespace(metadata=SimpleNamespace(labels=labels))
    own = SimpleNamespace(metadata=SimpleNamespace(labels={**attempt_labels(RUN), "more": "x"}))
    pods = Pods(lambda: None, lambda: None, "nightmill", RUN)
    assert (pods.of_this_try(pod), pods.of_this_try(own)) == (False, True)


@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        ("{in_cluster: true}", (None, True, None, None)),
        ("{kubeconfig: /k, context: c}", (None, None, "/k", "c")),
        ("{connection: conn}", ("conn", None, None, None)),
    ],
)
def test_access(tmp_path, access, wanted):
    """The cluster is reached in the way that platform.yaml names, and in no other."""
    one = make_operator(write_project(tmp_path, access=access))
    assert (
        one.kubernetes_conn_id,
        one.in_cluster,
        one.config_file,
        one.cluster_context,
    ) == wanted


def test_stages(tmp_path):
    """Out of memory leads from pool to pool, each time with twice the memory the pool has."""
    root = write_project(tmp_path)
    platform = load_platform(root / "dags", "")
    stages = make_stages(platform, Project.load(root).pipeline("nightly"), "make")
    asked = [one.manifest["spec"]["containers"][0]["resources"]["limits"] for one in stages]
    assert asked == [
        {"cpu": "1", "memory": "1800Mi"},
        {"cpu": "500m", "memory": "3Gi"},
        {"cpu": "500m", "memory": "6Gi"},
    ]
    assert [one.limits.pool for one in stages] == ["default", "middle", "large"]
    assert [one.limits.schedule_s for one in stages] == [300, 900, 900]


# -- EKS (no AWS here: constructed and built, not run) ---------------------------------------------


def test_eks(tmp_path):
    """On EKS it is the same pod and the same watch, with Airflow's own credentials around them."""
    access = "{eks_cluster: analytics, region: us-east-1, aws_connection: aws}"
    one = make_operator(write_project(tmp_path, "eks", access))
    assert isinstance(one, EksPodOperator)
    assert (one.cluster_name, one.region, one.aws_conn_id) == ("analytics", "us-east-1", "aws")
    pod = plain(one.build_pod_request_obj(make_context(), dry_run=True))
    assert pod["metadata"]["namespace"] == "nightmill"
    assert pod["metadata"]["labels"]["nightmill.io/attempt"] == "1"
    trigger = one.make_trigger(**TRIGGER)
    assert isinstance(trigger, EksPodTrigger)
    kind, fields = trigger.serialize()
    assert kind == "nightmill.airflow.eks.StepEksPodTrigger"
    assert type(trigger)(**fields).serialize() == (kind, fields)
    assert type(trigger).run is EksPodTrigger.run  # makes credentials, then watches as ours does


# -- the trigger ----------------------------------------------------------------------------------

TRIGGER = {
    "pod_name": "p",
    "pod_namespace": "nightmill",
    "trigger_start_time": EPOCH,
    "base_container_name": "base",
    "trigger_kwargs": {
        "limits": {"pool": "default", "schedule_s": 5, "startup_s": 5},
        "deadline": 1.0,
        "resource_version": "7",
    },
}


def test_a_trigger_survives_the_database():
    """A trigger is written and read again whole."""
    kind, fields = StepPodTrigger(**TRIGGER).serialize()
    assert kind == "nightmill.airflow.trigger.StepPodTrigger"
    assert StepPodTrigger(**fields).serialize() == (kind, fields)
    assert fields["trigger_kwargs"] == TRIGGER["trigger_kwargs"]


class Hook:
    """The triggerer's way to a cluster where the pod runs."""

    async def get_pod(self, name, _namespace):
        """Read it."""
        return client.V1Pod(
            metadata=client.V1ObjectMeta(name=name),
            spec=client.V1PodSpec(containers=[], node_name="n1"),
            status=client.V1PodStatus(phase="Running"),
        )


async def first_event(**changes):
    """Return what the trigger tells of its pod, which is late from the beginning."""
    event = await anext(StepPodTrigger(**TRIGGER | changes).run())
    return event.payload


def test_a_trigger_does_not_wait_for_ever(monkeypatch):
    """After Airflow's own time limit a pod that runs on is told as late."""
    monkeypatch.setattr(StepPodTrigger, "hook", Hook())
    payload = asyncio.run(first_event())
    assert payload["result"]["cause"] == "deadline"
    assert (payload["name"], payload["namespace"]) == ("p", "nightmill")


def test_an_end_is_told_when_the_worker_has_left(monkeypatch):
    """The end of the worker that deferred counts as the try's, if the step goes on by then."""
    monkeypatch.setattr(StepPodTrigger, "hook", Hook())
    monkeypatch.setattr(trigger, "MARGIN_S", 0.5)
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1")
    begun = datetime.now(UTC)
    asyncio.run(first_event(trigger_start_time=begun))
    assert datetime.now(UTC) - begun >= timedelta(seconds=1.5)


# -- the API server -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (client.ApiException(status=500), True),
        (client.ApiException(status=503), True),
        (client.ApiException(status=429), True),
        (client.ApiException(status=401), True),
        (client.ApiException(status=0), True),
        (client.ApiException(status=403), False),
        (client.ApiException(status=404), False),
        (client.ApiException(status=422), False),
        (ProtocolError("gone"), True),
        (ConnectionResetError(), True),
        (ValueError(), False),
    ],
)
def test_patience(error, passes):
    """What may be over in a minute is waited for; a refusal is not."""
    assert is_passing(error) is passes


def test_an_expired_token_is_renewed(monkeypatch):
    """A client whose token has expired is made anew, one that lost its connection is kept."""
    monkeypatch.setitem(cluster_api._POLICY, "wait", lambda _state: 0)
    refreshed = []
    answers = [ProtocolError("gone"), client.ApiException(status=401), "pod"]

    def call():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(lambda: refreshed.append(len(answers)))(call) == "pod"
    assert refreshed == [1]


class Api:
    """An API server that loses the answer to a creation, or refuses it."""

    def __init__(self, error):
        self.error = error
        self.pods = []

    def list_namespaced_pod(self, _namespace, **_options):
        """List what was created."""
        return SimpleNamespace(items=self.pods)

    def create_namespaced_pod(self, _namespace, body, **_options):
        """Create, and fail to say so."""
        if self.error.status == 500:
            self.pods.append(body)
        raise self.error


def request():
    """Make a pod of `RUN`."""
    labels = {**instance_labels(RUN), **attempt_labels(RUN)}
    return SimpleNamespace(metadata=SimpleNamespace(labels=labels, name="p"))


def test_a_lost_answer_makes_no_second_pod(monkeypatch):
    """A pod whose creation was not confirmed is found, not made again."""
    monkeypatch.setitem(cluster_api._POLICY, "wait", lambda _state: 0)
    api = Api(client.ApiException(status=500))
    pods = Pods(lambda: api, lambda: None, "nightmill", RUN)
    made = request()
    assert pods.find_or_create(made) == (made, False)
    assert len(api.pods) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, AirflowException), (422, AirflowFailException), (400, AirflowFailException)],
)
def test_a_refusal_is_told(status, kind):
    """The API server's words are told; only a pod that is invalid is not tried again."""
    error = client.ApiException(status=status, reason="no")
    error.body = '{"message": "exceeded quota"}'
    api = Api(error)
    with pytest.raises(AirflowException, match=rf"refused the pod \({status}\).*quota") as refused:
        Pods(lambda: api, lambda: None, "nightmill", RUN).find_or_create(request())
    assert type(refused.value) is kind


# -- links ----------------------------------------------------------------------------------------

NOTEBOOK = "s3://bucket/prefix/runs/nightly/2013-03-01/manual__1/make/1/notebook.ipynb"


@pytest.mark.parametrize(
    ("notebook", "review", "wanted"),
    [
        (NOTEBOOK, "", NOTEBOOK),
        (
            NOTEBOOK,
            "https://review.example/n",
            "https://review.example/n/runs/nightly/2013-03-01/manual__1/make/1",
        ),
        ("", "https://review.example/n", ""),
        # A pipeline, or the folder of the store, may be called `runs`.
        *(
            (f"s3://b/{place}/notebook.ipynb", "https://x", f"https://x/{place}")
            for place in ("runs/runs/d/manual__1.5/make/m/1", "runs/runs/d/manual__1.5/make/1")
        ),
        (
            "/a/runs/runs/runs/2013-03-01/manual__1.5/make/1/notebook.ipynb",
            "https://x",
            "https://x/runs/runs/2013-03-01/manual__1.5/make/1",
        ),
    ],
)
def test_the_link_to_the_notebook(notebook, review, wanted):
    """The link leads to the review pages where there are any, else to the store."""
    assert notebook_link(notebook, review) == wanted
