"""What the store knows of a step's attempts, and what is written down for a pod that could not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nightmill.airflow.evidence import pod_evidence
from nightmill.airflow.outcome import BY, Outcome
from nightmill.airflow.pod_status import result_of_pod
from nightmill.causes import Cause
from nightmill.spec.executed import notebook_bytes
from nightmill.spec.record import Record
from nightmill.spec.retry import Retry
from nightmill.spec.steprun import StepRun
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit
from tests.test_executed import code, notebook, states

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
FAILED = {"state": "failed", "cause": "node_lost", "message": "the node n1 was lost"}
PLACE = "store/runs/nightly/2013-03-01/manual__1/make"


def write_record(root: Path, run: StepRun, **fields):
    """Write the record of an attempt into the store below `root`."""
    store = open_store(run.store, base=root)
    whole = {
        **run.model_dump(exclude={"store"}),
        "store": store.url,
        "state": "failed",
        "started_at": EPOCH,
        "nightmill": "0",
        "host": "h",
        **fields,
    }
    where = (run.pipeline, run.partition, run.run, run.step)
    store.write(f"runs/{'/'.join(where)}/{run.attempt}/record.json", Record(**whole).to_json())


def read_record(root: Path, attempt: int) -> Record:
    """Read the record of an attempt."""
    return Record.from_json((root / PLACE / f"{attempt}/record.json").read_bytes())


def point(root: Path, run: StepRun) -> None:
    """Commit an attempt without outputs."""
    pointer = Pointer(
        pipeline=run.pipeline,
        step=run.step,
        partition=run.partition,
        run=run.run,
        token=Token(order=run.order, attempt=run.attempt),
        attempt_prefix="p",
        outputs={},
    )
    commit(open_store(run.store, base=root), pointer)


@pytest.mark.parametrize(
    ("other", "is_known"),
    [
        ({"attempt": 1}, True),
        ({}, True),
        ({"order": 6, "attempt": 1}, False),  # before the run was cleared
        ({"run": "manual__0"}, False),
    ],
)
def test_what_is_committed(tmp_path, other, is_known):
    """A commit of the same run counts, though its record was not finished; another's does not."""
    made = RUN.model_copy(update=other)
    write_record(tmp_path, made, state="running")
    point(tmp_path, made)
    found = Outcome(RUN, tmp_path).committed()
    assert bool(found) is is_known
    if found:
        assert (found["state"], found["committed"]) == ("succeeded", True)
        assert found["record"].endswith(f"/{made.attempt}/record.json")


def test_how_an_attempt_ended(tmp_path):
    """A record that has its end tells it; one that has not, tells nothing."""
    outcome = Outcome(RUN, tmp_path)
    assert outcome.ended() is None
    write_record(tmp_path, RUN, state="running")
    assert outcome.ended() is None
    failure = {"cause": "kernel_died", "message": "gone"}
    write_record(tmp_path, RUN, failure=failure)
    assert outcome.ended()["cause"] == "kernel_died"


def test_times_short_of_memory(tmp_path):
    """Only earlier attempts of the same run count, and only this cause."""
    run = RUN.model_copy(update={"attempt": 5})
    causes = ["out_of_memory", "kernel_died", "out_of_memory", "out_of_memory"]
    for number, cause in enumerate(causes, 1):
        order = 6 if number == 4 else 7
        earlier = RUN.model_copy(update={"attempt": number, "order": order})
        write_record(tmp_path, earlier, failure={"cause": cause, "message": ""})
    assert Outcome(run, tmp_path).times_short_of_memory() == 2


# -- closing --------------------------------------------------------------------------------------


def test_an_unfinished_record_is_closed(tmp_path):
    """What the pod could not write down is written by whoever saw its end, with its evidence."""
    write_record(tmp_path, RUN, state="running")
    result = Outcome(RUN, tmp_path).close(FAILED, "pod-1", {"pod": {"node": "n1"}})
    record = read_record(tmp_path, 2)
    assert (record.state, record.failure.cause) == ("failed", Cause.NODE_LOST)
    assert (record.failure.message, record.host) == ("node_lost: the node n1 was lost", "h")
    assert record.failure.evidence == {
        "pod": {"node": "n1"},
        "notebook": "had not reached the store",
    }
    assert [(one.by, one.was) for one in record.amendments] == [(BY, None)]
    assert (result["cause"], result["message"]) == ("node_lost", record.failure.message)
    assert Path(result["record"]) == tmp_path / PLACE / "2/record.json"


@pytest.mark.parametrize(
    ("own", "kept"), [("terminated", False), ("notebook_error", True), ("store", True)]
)
def test_the_record_follows_the_pod(tmp_path, own, kept):
    """A step that was stopped learns by whom; any other last word of its own is not overwritten."""
    write_record(tmp_path, RUN, failure={"cause": own, "message": "own"})
    result = Outcome(RUN, tmp_path).close(FAILED, "pod-1")
    record = read_record(tmp_path, 2)
    assert record.failure.cause == (own if kept else "node_lost")
    assert (result["cause"], result["message"]) == (record.failure.cause, record.failure.message)


@pytest.mark.parametrize("own", [{}, {Cause.NODE_LOST: Retry.NEVER}])
def test_the_steps_own_retries_are_recorded(tmp_path, own):
    """The record says of a retry what the step itself says, else what the table of causes does."""
    write_record(tmp_path, RUN, state="running")
    Outcome(RUN, tmp_path, own).close(FAILED, "pod-1")
    wanted = own.get(Cause.NODE_LOST, Retry.BACKOFF)
    assert read_record(tmp_path, 2).failure.retry is wanted


def test_what_committed_is_reported_as_succeeded(tmp_path):
    """A pod lost between its commit and its last word has succeeded, and Airflow hears so."""
    write_record(tmp_path, RUN, state="running")
    point(tmp_path, RUN)
    result = Outcome(RUN, tmp_path).close(FAILED, "pod-1")
    assert (result["state"], result["committed"], result["cause"]) == ("succeeded", True, None)
    assert read_record(tmp_path, 2).committed


def test_a_cell_that_failed_first_is_reported(tmp_path):
    """An exception seen in the notebook before the node was lost is the cause: no retry helps."""
    write_record(tmp_path, RUN, state="running")
    own = {"output_type": "error", "ename": "KeyError", "evalue": "'d'", "traceback": []}
    file = tmp_path / PLACE / "2/notebook.ipynb"
    file.write_bytes(notebook_bytes(notebook(code(1, "failed", own))))
    result = Outcome(RUN, tmp_path).close(FAILED, "pod-1")
    assert (result["cause"], result["notebook"]) == ("notebook_error", str(file))
    assert read_record(tmp_path, 2).failure.cause == "notebook_error"


def test_an_attempt_that_never_ran_has_a_record(tmp_path):
    """An attempt whose pod never started is told of as well, and its place is taken."""
    Outcome(RUN, tmp_path).close(FAILED, "pod-1")
    record = read_record(tmp_path, 2)
    assert (record.state, record.failure.cause, record.host) == ("failed", "node_lost", "pod-1")
    assert (record.attempt, record.order, record.run) == (2, 7, "manual__1")


def test_another_runs_record_is_left_alone(tmp_path):
    """The record of a run of the same name, from before it was cleared, is not ours to change."""
    write_record(tmp_path, RUN.model_copy(update={"order": 6}), state="running")
    assert Outcome(RUN, tmp_path).close(FAILED, "pod-1") == FAILED
    assert read_record(tmp_path, 2).state == "running"


def test_a_worker_without_rights(tmp_path, caplog):
    """A worker that cannot ask the store goes on without, and says so."""
    outcome = Outcome(RUN.model_copy(update={"store": "gs://bucket/x"}), tmp_path)
    assert outcome.committed() is None
    assert outcome.ended() is None
    assert outcome.times_short_of_memory() is None
    assert outcome.close(FAILED, "") == FAILED
    assert caplog.text.count("The worker cannot") == 4


# -- evidence -------------------------------------------------------------------------------------

STATUS = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": "The node was low on resource: memory.",
    "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2013-03-01T02:30:00Z"},
        {"type": "Ready", "status": "False", "reason": "PodFailed"},
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": "low on memory",
        },
    ],
    "containerStatuses": [
        {"name": "sidecar", "state": {"terminated": {"exitCode": 1}}},
        {
            "name": "base",
            "restartCount": 0,
            "state": {
                "terminated": {
                    "reason": "OOMKilled",
                    "exitCode": 137,
                    "finishedAt": "2013-03-01T02:31:00Z",
                    "message": '{"state": "failed", "cause": "terminated"}',
                }
            },
            "lastState": {"terminated": {"exitCode": 128, "message": "no such file"}},
        },
    ],
}
POD = {
    "metadata": {"name": "make-1", "namespace": "nm", "labels": {"a": "b"}},
    "spec": {
        "nodeName": "n1",
        "activeDeadlineSeconds": 600,
        "containers": [
            {
                "name": "base",
                "env": [{"name": "TOKEN", "value": "hush"}],
                "args": ["--parameters=hush"],
                "resources": {"limits": {"memory": "2Gi", "cpu": 1}},
            }
        ],
    },
    "status": STATUS,
}


def test_the_evidence_of_a_pod():
    """All that tells of the end is kept: node, limits, reasons, exit codes; no environment."""
    assert pod_evidence(POD) == {
        "pod": {
            "name": "make-1",
            "namespace": "nm",
            "node": "n1",
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
            "deadline_s": 600,
            "limits": {"memory": "2Gi", "cpu": "1"},
            "conditions": {
                "Ready": {"status": "False", "reason": "PodFailed"},
                "DisruptionTarget": {
                    "status": "True",
                    "reason": "TerminationByKubelet",
                    "message": "low on memory",
                },
            },
            "container": {
                "reason": "OOMKilled",
                "exit_code": 137,
                "finished_at": "2013-03-01T02:31:00Z",
                "restarts": 0,
                "last_state": {"exit_code": 128, "message": "no such file"},
            },
        }
    }


@pytest.mark.parametrize("pod", [None, {}, {"metadata": {}}, {"status": {"phase": "Pending"}}])
def test_a_pod_that_tells_little(pod):
    """A pod that is gone, or has no status yet, is no error; nothing is made up."""
    found = pod_evidence(pod)
    assert found in ({}, {"pod": {}}, {"pod": {"phase": "Pending"}})


def test_a_killed_pod_record_and_notebook_agree(tmp_path):
    """From the status of a pod that was killed whole to its record and notebook: one story."""
    write_record(tmp_path, RUN, state="running")
    file = tmp_path / PLACE / "2/notebook.ipynb"
    file.write_bytes(notebook_bytes(notebook(code(1, "completed"), code(2, "running"))))
    end = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "base", "state": end}]}
    pod = {**POD, "status": status}
    result = Outcome(RUN, tmp_path).close(result_of_pod(pod), "make-1", pod_evidence(pod))
    failure = read_record(tmp_path, 2).failure
    line = 'out_of_memory in cell 2/2 "Cell 2": the whole container was killed at its limit of 2Gi'
    assert (failure.message, result["message"], result["cell"]) == (line, line, 2)
    assert failure.evidence["pod"]["container"] == {"reason": "OOMKilled", "exit_code": 137}
    assert failure.retry is Retry.MORE_MEMORY
    book = json.loads(file.read_bytes())
    assert states(book) == ["completed", "interrupted"]
    (error,) = book["cells"][-1]["outputs"]
    assert (error["ename"], error["evalue"]) == (
        "out_of_memory",
        "the whole container was killed at its limit of 2Gi",
    )
