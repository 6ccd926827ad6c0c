"""The truth written from outside: the record and notebook of an attempt that was killed whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightmill import __version__
from nightmill.causes import Cause
from nightmill.errors import StoreError, UsageError
from nightmill.spec import amended
from nightmill.spec.executed import notebook_bytes
from nightmill.spec.progress import Progress
from nightmill.spec.record import AttemptState, CellRecord, CellState, Failure, Record
from nightmill.spec.retry import Retry
from nightmill.spec.steprun import StepRun
from nightmill.store.active import mark
from nightmill.store.amend import amend, read_record
from nightmill.store.history import prefix_of
from nightmill.store.keys import DAMAGED, active_key
from nightmill.store.open import open_store
from nightmill.store.pointer import (
    CommittedFile,
    CommittedOutput,
    Pointer,
    Token,
    commit,
    describe_outputs,
)
from tests.test_executed import code, notebook, states, text

START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)
RUN = StepRun(
    pipeline="flights é",
    step="score",
    partition="2013-03-01",
    as_of="2013-03-02",
    run="r1",
    order=7,
    attempt=2,
    store="s",
    parameters={"top": 3},
)
PREFIX = prefix_of(RUN)
LOST = Failure(cause=Cause.NODE_LOST, message="the node n1 was lost", evidence={"pod": "p"})
BY = "a test"
KILLED = notebook(text(1), code(2, "completed"), code(3, "running"), code(4, "not_run"))


def write_record(store, **facts: object) -> Record:
    """Write the record as the attempt left it: running, unless told otherwise."""
    first = amended.first_record(RUN, "s", host="pod-1")
    record = first.model_copy(update={"started_at": START, **facts})
    store.write(f"{PREFIX}/record.json", record.to_json())
    return record


def write_notebook(store, book: object = None) -> None:
    """Write the notebook as the mirror left it."""
    store.write(f"{PREFIX}/notebook.ipynb", notebook_bytes(book or KILLED))


def write_progress(store, **facts: object) -> Progress:
    """Write how far the attempt was a minute after its start."""
    known = {"state": AttemptState.RUNNING, "started_at": START, "elapsed_s": 59.5}
    progress = Progress(**known, heartbeat=START + timedelta(minutes=1), **facts)
    store.write(f"{PREFIX}/progress.json", progress.to_json())
    return progress


def read_notebook(store) -> dict:
    """Read the notebook in the store."""
    return json.loads(store.read(f"{PREFIX}/notebook.ipynb").data)


def shown(store, number: int) -> list[tuple[str, str]]:
    """Tell the errors that a cell shows, by its author's number."""
    cells = [cell for cell in read_notebook(store)["cells"] if "outputs" in cell]
    (found,) = [one for one in cells if one["metadata"]["nightmill"]["number"] == number]
    return [(error["ename"], error["evalue"]) for error in found["outputs"]]


def kept(store) -> Record:
    """Read the record in the store."""
    return Record.from_json(store.read(f"{PREFIX}/record.json").data)


def point(store, *, order: int = RUN.order, attempt: int = RUN.attempt, run: str = RUN.run):
    """Commit an output of one file as an attempt."""
    file = CommittedFile(path="s.parquet", size=3, sha256="0" * 64, etag="e")
    prefix = prefix_of(RUN.model_copy(update={"run": run, "attempt": attempt}))
    where = f"{prefix}/outputs/s"
    output = CommittedOutput(name="s", kind="file", prefix=where, files=(file,))
    names = {"pipeline": RUN.pipeline, "step": RUN.step, "partition": RUN.partition}
    token = Token(order=order, attempt=attempt)
    pointer = Pointer(**names, run=run, token=token, attempt_prefix=prefix, outputs={"s": output})
    return commit(store, pointer)


# -- a running one --------------------------------------------------------------------------------


def test_a_killed_attempt_is_told_as_it_was(store):
    """Record and notebook say the same: which cell was interrupted, why, when, and who says so."""
    before = write_record(store, pool="highcpu")
    write_notebook(store)
    seen = write_progress(store, position=3, of=4, cell=3, title="Cell 3", last_line="day 4")
    mark(store, PREFIX)
    record = amend(store, PREFIX, LOST, by=BY)

    assert kept(store) == record
    assert (record.state, record.exit_code) == (AttemptState.FAILED, Cause.NODE_LOST.exit_code)
    failure = record.failure
    assert failure.message == 'node_lost in cell 3/4 "Cell 3": the node n1 was lost'
    assert (failure.cell, failure.cells, failure.title) == (3, 4, "Cell 3")
    assert failure.retry is Retry.BACKOFF
    assert failure.evidence["pod"] == "p"
    assert failure.evidence["last_seen"]["last_line"] == "day 4"
    assert record.ended_at == seen.heartbeat
    assert record.duration_s == 59.5
    assert [cell.state for cell in record.cells] == ["completed", "interrupted", "not_run"]
    assert record.notebook == store.address(f"{PREFIX}/notebook.ipynb")
    (amendment,) = record.amendments
    assert (amendment.by, amendment.was, amendment.cause) == (BY, None, Cause.NODE_LOST)
    assert (record.parameters, record.pool) == (before.parameters, "highcpu")

    assert states(read_notebook(store)) == ["completed", "interrupted", "not_run"]
    assert shown(store, 3) == [("node_lost", "the node n1 was lost")]
    top = read_notebook(store)["cells"][0]["source"]
    assert "cell 3</a>: the node n1 was lost" in top
    assert store.read(active_key(PREFIX)) is None


def test_amending_again_changes_nothing(store):
    """A second witness finds the truth told, and adds nothing to it."""
    write_record(store)
    write_notebook(store)
    once = amend(store, PREFIX, LOST, by=BY)
    book = read_notebook(store)
    other = Failure(cause=Cause.EVICTED, message="drained")
    assert amend(store, PREFIX, other, by="another") == once
    assert (kept(store), read_notebook(store)) == (once, book)


def test_a_notebook_older_than_the_heartbeat(store):
    """Where a later cell had begun than the notebook knows of, none between is made good."""
    write_record(store)
    write_notebook(store)
    write_progress(store, position=4, of=4, cell=4, title="Cell 4")
    record = amend(store, PREFIX, LOST, by=BY)
    assert [cell.state for cell in record.cells] == ["completed", "interrupted", "interrupted"]
    assert (record.failure.cell, record.failure.evidence["last_seen"]["cell"]) == (4, 4)
    assert states(read_notebook(store)) == ["completed", "interrupted", "interrupted"]


@pytest.mark.parametrize("data", [None, b"{half", b"[]"])
def test_an_attempt_without_its_notebook(store, data):
    """Where no notebook can be read, the heartbeat says which cell it was."""
    write_record(store, cells=(CellRecord(number=2, title="t", state=CellState.RUNNING),))
    if data is not None:
        store.write(f"{PREFIX}/notebook.ipynb", data)
    write_progress(store, position=3, of=4, cell=3, title="Load")
    record = amend(store, PREFIX, LOST, by=BY)
    assert record.failure.message == 'node_lost in cell 3 "Load": the node n1 was lost'
    assert record.notebook is None
    assert "notebook" in record.failure.evidence
    assert [cell.state for cell in record.cells] == ["interrupted"]


def test_an_attempt_that_left_a_record_only(store):
    """An attempt killed before its first cell blames none, and ends when this was found."""
    write_record(store)
    store.write(f"{PREFIX}/progress.json", b"{")
    record = amend(store, PREFIX, LOST, by=BY)
    assert record.failure.message == "node_lost: the node n1 was lost"
    assert (record.failure.cell, record.cells, record.duration_s) == (None, (), None)
    assert abs(record.ended_at - record.amendments[0].at) < timedelta(seconds=5)


def test_memory_that_was_last_seen(store):
    """An out-of-memory end says how much was in use, and asks for more on the next attempt."""
    write_record(store)
    gib = 2**30
    write_progress(store, memory_bytes=int(7.9 * gib), memory_limit_bytes=8 * gib)
    failure = Failure(cause=Cause.OUT_OF_MEMORY, message="the pod reached its memory limit of 8Gi")
    record = amend(store, PREFIX, failure, by=BY)
    assert record.failure.message == (
        "out_of_memory: the pod reached its memory limit of 8Gi (last seen: 7.9 of 8.0 GiB)"
    )
    assert record.failure.retry is Retry.MORE_MEMORY


def test_the_steps_own_retry_policy_stands(store):
    """Whoever knows the step's own policy for the cause passes it on."""
    write_record(store)
    failure = LOST.model_copy(update={"retry": Retry.NEVER})
    assert amend(store, PREFIX, failure, by=BY).failure.retry is Retry.NEVER


@pytest.mark.parametrize(
    ("cause", "wanted"),
    [(Cause.NODE_LOST, Cause.NOTEBOOK_ERROR), (Cause.OUT_OF_MEMORY, Cause.OUT_OF_MEMORY)],
)
def test_a_cell_that_failed_before_the_end(store, cause, wanted):
    """What the kernel had said goes first, unless it ran out of memory; no retry is burned."""
    own = {"output_type": "error", "ename": "KeyError", "evalue": "'d'", "traceback": ["t"]}
    write_record(store)
    write_notebook(store, notebook(code(1, "failed", own), code(2, "not_run")))
    record = amend(store, PREFIX, Failure(cause=cause, message="gone"), by=BY)
    assert (record.failure.cause, record.failure.cell) == (wanted, 1)
    assert [cell.state for cell in record.cells] == ["failed", "not_run"]
    if wanted is Cause.NOTEBOOK_ERROR:
        assert record.failure.message == "notebook_error in cell 1/2 \"Cell 1\": KeyError: 'd'"
        assert (record.failure.retry, record.failure.traceback) == (Retry.NEVER, ("t",))
        assert record.failure.evidence["cut_off"] == "node_lost: gone"


# -- one that has ended ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "outside", "is_refined"),
    [
        ("terminated", "evicted", True),
        ("terminated", "deadline", True),
        ("terminated", "out_of_memory", True),
        ("terminated", "terminated", False),
        ("terminated", "image", False),
        ("kernel_died", "out_of_memory", True),
        ("notebook_error", "evicted", False),
        ("store", "node_lost", False),
        ("out_of_memory", "evicted", False),
    ],
)
def test_what_the_attempt_could_not_know(store, own, outside, is_refined):
    """Whoever was stopped learns by whom from the cluster; what it knew itself stands."""
    own_error = {
        "output_type": "error",
        "ename": "Interrupted",
        "evalue": "SIGTERM",
        "traceback": [],
    }
    write_notebook(store, notebook(code(1, "completed"), code(2, "interrupted", own_error)))
    cells = (CellRecord(number=2, title="b", state=CellState.INTERRUPTED, peak_memory_bytes=5),)
    ended = {"state": AttemptState.FAILED, "ended_at": START, "cells": cells, "notebook": "n"}
    failure = Failure(cause=own, message="own", cell=2, title="b")
    before = write_record(store, failure=failure, **ended)
    mark(store, PREFIX)
    record = amend(store, PREFIX, Failure(cause=outside, message="drained"), by=BY)
    assert kept(store) == record
    assert store.read(active_key(PREFIX)) is None
    assert (record.ended_at, record.cells) == (START, cells)
    if is_refined:
        assert record.failure.message == f'{outside} in cell 2/2 "Cell 2": drained'
        (amendment,) = record.amendments
        assert (amendment.was, amendment.cause) == (own, outside)
        assert shown(store, 2) == [("Interrupted", "SIGTERM"), (outside, "drained")]
    else:
        assert record == before


def test_a_kernels_death_that_is_explained_stands(store):
    """Evidence of how the kernel died is not overruled by what happened to its pod."""
    own = Failure(cause=Cause.KERNEL_DIED, message="own", evidence={"signal": "SIGSEGV"})
    before = write_record(store, state=AttemptState.FAILED, failure=own)
    assert amend(store, PREFIX, LOST, by=BY) == before


def test_what_succeeded_is_never_changed(store):
    """A committed attempt stays as it is, whatever became of its pod."""
    before = write_record(store, state=AttemptState.SUCCEEDED, committed=True, ended_at=START)
    point(store)
    assert amend(store, PREFIX, LOST, by=BY) == before


@pytest.mark.parametrize("state", [AttemptState.RUNNING, AttemptState.FAILED])
def test_what_has_committed_succeeded(store, state):
    """An attempt cut off after its commit succeeded: the pointer says so, with its outputs."""
    failure = Failure(cause=Cause.STORE, message="no reply") if state == "failed" else None
    write_record(store, state=state, failure=failure)
    pointer = point(store)
    record = amend(store, PREFIX, LOST, by=BY)
    assert kept(store) == record
    assert (record.state, record.committed, record.failure) == ("succeeded", True, None)
    assert record.ended_at == pointer.committed_at
    output = record.outputs["s"]
    assert (output.size, output.files[0].path) == (3, "s.parquet")
    assert output.address == store.address(f"{PREFIX}/outputs/s/s.parquet")
    (amendment,) = record.amendments
    assert (amendment.was, amendment.cause) == (failure and Cause.STORE, None)


@pytest.mark.parametrize("other", [{"attempt": 1}, {"order": 6, "run": "r0"}])
def test_anothers_commit_is_not_ours(store, other):
    """The commit of an earlier attempt or run says nothing of this one."""
    write_record(store)
    point(store, **other)
    record = amend(store, PREFIX, LOST, by=BY)
    assert (record.state, record.committed) == (AttemptState.FAILED, False)
    assert "commit" not in record.failure.evidence


def test_a_commit_that_a_newer_one_may_have_replaced(store):
    """Where outputs were stored and a newer run has committed, nobody can know: so it says."""
    point(store, order=9, run="r9")
    file = CommittedFile(path="s", size=3, sha256="0" * 64, etag="e")
    output = CommittedOutput(name="s", kind="file", prefix="p", files=(file,))
    write_record(store, outputs=describe_outputs(store, {"s": output}))
    record = amend(store, PREFIX, LOST, by=BY)
    assert record.state == AttemptState.FAILED
    assert "not known" in record.failure.evidence["commit"]


# -- records that are not there -------------------------------------------------------------------


def test_an_attempt_that_never_wrote_a_record(store):
    """An attempt that never began has a record as well, with what its launcher knows."""
    first = amended.first_record(RUN, store.url, host="pod-1")
    record = amend(store, PREFIX, LOST, by=BY, first=first)
    assert kept(store) == record
    assert (record.state, record.host, record.order) == (AttemptState.FAILED, "pod-1", 7)
    assert (record.parameters, record.warnings) == ({"top": 3}, ())


@pytest.mark.parametrize("member", ["", "EWR/1"])
def test_a_record_made_from_an_address(store, member):
    """Where nobody knows more than the address, the record says so, and all that is in it."""
    prefix = prefix_of(RUN.model_copy(update={"member": member}))
    record = amend(store, prefix, LOST, by=BY)
    names = (record.pipeline, record.partition, record.run, record.step, record.member)
    assert names == ("flights é", "2013-03-01", "r1", "score", member)
    assert (record.attempt, record.state) == (2, AttemptState.FAILED)
    assert "made from outside" in record.warnings[0]
    assert read_record(store, prefix) == record


def test_what_committed_under_a_long_name_succeeded_without_its_record(store):
    """The address of an attempt leads to its pointer also where names in it were cut."""
    long = RUN.model_copy(update={"partition": "東" * 40})
    prefix, token = prefix_of(long), Token(order=long.order, attempt=long.attempt)
    names = {"pipeline": long.pipeline, "step": long.step, "partition": long.partition}
    commit(store, Pointer(**names, run=long.run, token=token, attempt_prefix=prefix, outputs={}))
    assert amend(store, prefix, LOST, by=BY).state is AttemptState.SUCCEEDED
    assert read_record(store, prefix).committed


@pytest.mark.parametrize("prefix", ["runs/p", "runs/p/d/r/s/x", "runs/a/b/c/d/1/e/2"])
def test_what_is_no_address_of_an_attempt(tmp_path, prefix):
    """Nothing is written below a prefix that no attempt can have."""
    store = open_store("store", base=tmp_path)
    with pytest.raises(UsageError, match="no prefix of an attempt"):
        amend(store, prefix, LOST, by=BY)


@pytest.mark.parametrize("data", [b"", b'{"state": "runn', b"[]", b"{}", b"\xff", b"[" * 200_000])
def test_a_damaged_record_is_kept_beside(store, data):
    """A record that cannot be read is replaced by one that can, and is not lost."""
    store.write(f"{PREFIX}/record.json", data)
    write_notebook(store)
    record = amend(store, PREFIX, LOST, by=BY)
    assert kept(store) == record
    assert (record.state, record.failure.cell) == (AttemptState.FAILED, 3)
    assert store.read(f"{PREFIX}/{DAMAGED}").data == data


def test_another_versions_record_is_left_alone(store):
    """What only a newer Nightmill can read is not taken for damaged."""
    values = json.loads(write_record(store).to_json()) | {"nightmill": "99.0", "mood": "good"}
    data = json.dumps(values).encode()
    store.write(f"{PREFIX}/record.json", data)
    with pytest.raises(StoreError, match=f"Nightmill 99.0, and this is {__version__}"):
        amend(store, PREFIX, LOST, by=BY)
    assert store.read(f"{PREFIX}/record.json").data == data


# -- others who write -----------------------------------------------------------------------------


class Meddled:
    """A store in which something happens right before the first write of a record."""

    def __init__(self, store, happen) -> None:
        self._store = store
        self._happen = happen

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def write_if(self, key, data, *, etag):
        """Let it happen before the record is written."""
        if key.endswith("record.json"):
            self._happen()
        return self._store.write_if(key, data, etag=etag)


def test_the_attempts_own_last_word_wins_a_race(store):
    """When the attempt writes its end at the same moment, that end is not lost."""
    write_record(store)
    write_notebook(store)
    own = Failure(cause=Cause.CELL_TIMEOUT, message="own")

    def speak() -> None:
        write_record(store, state=AttemptState.FAILED, failure=own)

    record = amend(Meddled(store, speak), PREFIX, LOST, by=BY)
    assert (record.failure, kept(store)) == (own, record)


def test_an_attempt_that_goes_on_writing_is_at_work(store, monkeypatch):
    """An attempt whose record changes at every try is alive: that is an error that says so."""
    monkeypatch.setattr("nightmill.store.amend._PAUSE_S", 0)
    write_record(store)
    moments = iter(range(99))

    def speak() -> None:
        write_record(store, duration_s=float(next(moments)))

    with pytest.raises(StoreError, match="still at work"):
        amend(Meddled(store, speak), PREFIX, LOST, by=BY)
    assert kept(store).state is AttemptState.RUNNING


def test_a_crash_in_between_is_mended_by_amending_again(store):
    """Whoever dies after the notebook and before the record leaves nothing that is lost."""
    write_record(store)
    write_notebook(store)
    mark(store, PREFIX)

    def crash() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        amend(Meddled(store, crash), PREFIX, LOST, by=BY)
    assert kept(store).state is AttemptState.RUNNING
    assert store.read(active_key(PREFIX)) is not None
    record = amend(store, PREFIX, LOST, by=BY)
    assert (record.failure.cell, record.failure.message) == (
        3,
        'node_lost in cell 3/4 "Cell 3": the node n1 was lost',
    )
    assert len(shown(store, 3)) == 1


def test_a_notebook_that_changes_meanwhile_is_read_again(store):
    """When the mirror's last upload arrives late, it is the one that is closed."""
    write_record(store)
    write_notebook(store)
    late = notebook(text(1), code(2, "completed"), code(3, "completed"), code(4, "running"))

    class Late(Meddled):
        def write_if(self, key, data, *, etag):
            if key.endswith("notebook.ipynb") and self._happen:
                self._happen, happen = None, self._happen
                happen()
            return self._store.write_if(key, data, etag=etag)

    record = amend(Late(store, lambda: write_notebook(store, late)), PREFIX, LOST, by=BY)
    assert [cell.state for cell in record.cells] == ["completed", "completed", "interrupted"]
    assert states(read_notebook(store)) == ["completed", "completed", "interrupted"]


# -- whatever was left ----------------------------------------------------------------------------


@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_killed_attempt_left(tmp_path_factory, data):
    """Of any part of its three files: one cause, nothing running, no cell that was made good."""
    store = open_store("store", base=tmp_path_factory.mktemp("left"))
    write_record(store)
    write_notebook(store)
    write_progress(store, position=data.draw(st.integers(1, 6)), cell=3, title="x")
    for file in ("record.json", "notebook.ipynb", "progress.json"):
        whole = store.read(f"{PREFIX}/{file}").data
        left = data.draw(st.just(len(whole)) | st.integers(0, len(whole)) | st.none(), label=file)
        if left is None:
            store.delete(f"{PREFIX}/{file}")
        else:
            store.write(f"{PREFIX}/{file}", whole[:left])
    record = amend(store, PREFIX, LOST, by=BY)
    assert kept(store) == record
    assert (record.state, record.failure.cause) == (AttemptState.FAILED, Cause.NODE_LOST)
    told = [cell.state for cell in record.cells]
    assert CellState.RUNNING not in told
    assert told.count(CellState.COMPLETED) <= 1
    assert amend(store, PREFIX, LOST, by=BY) == record
