"""An attempt that ends before its kernel starts, or is cut off after: record, cause and commit."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from nightmill.errors import InputError, StoreError, UsageError
from nightmill.spec.progress import Progress
from nightmill.spec.project import Project
from nightmill.spec.record import Record
from nightmill.spec.steprun import StepRun
from nightmill.step import attempt as attempt_module
from nightmill.step import preparation as preparation_module
from nightmill.step import prepare as prepare_module
from nightmill.step.attempt import Attempt
from nightmill.step.engine_process import EngineProcess
from nightmill.step.ground import begin
from nightmill.step.kernel_start import KernelOrder
from nightmill.step.plan import Plan
from nightmill.step.stop import StopRequest
from nightmill.step.supervisor import Supervisor, Watched
from nightmill.store.directory import DirectoryStore
from nightmill.store.keys import PROGRESS
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit, read_pointer

DAY = "2013-01-01"
STEPS = """
make: {notebook: make.ipynb, outputs: {data: data.txt}}
use: {notebook: use.ipynb, inputs: [data]}
"""


@pytest.fixture
def small(project, monkeypatch):
    """Make a project of two steps whose kernel is found."""
    for name in ("NIGHTMILL_KERNELS", "COLUMNS"):
        monkeypatch.setenv(name, project.env[name])
    make = [("data: str = 'd'\ntop: int = 1", "parameters"), "open(data, 'w').write('x')"]
    project.pipeline("p", STEPS, make=make, use=[("data: str = 'd'", "parameters"), "1"])
    return project


@pytest.fixture
def no_kernel(monkeypatch):
    """Let the engine end well without a kernel: one cell completed, one output written."""

    def run(_self, plan):
        notebook = json.loads(Path(plan.notebook).read_text())
        for number, cell in enumerate(notebook["cells"], start=1):
            state = "completed" if number == 2 else "not_run"
            cell["metadata"]["nightmill"] = {"number": number, "title": "", "state": state}
        Path(plan.executed).write_text(json.dumps(notebook))
        Path(plan.parameters["data"]).write_text("x")
        return Watched(outcome={"cause": None})

    monkeypatch.setattr(Supervisor, "run", run)


def attempt(project, step="make", *, order=10, number=1, **parameters) -> Attempt:
    """Make an attempt in this process."""
    run = StepRun(
        pipeline="p",
        step=step,
        partition=DAY,
        as_of=DAY,
        run=f"run-{order}",
        order=order,
        attempt=number,
        store=str(project.store),
        parameters=parameters,
    )
    loaded = Project.load(project.root)
    begun = begin(run, loaded, EngineProcess())
    return Attempt(run, loaded, begun, stop=StopRequest(), listener=lambda _event: None)


def check_kept(project, step: str, record: Record) -> None:
    """See that the store holds the very record that was returned, ended and failed."""
    kept = project.record("p", step)
    assert kept == json.loads(record.to_json())
    assert (kept["state"], kept["committed"]) == ("failed", False)
    assert kept["ended_at"]


def test_wrong_parameters_are_found_before_anything_runs(small):
    """A misspelt parameter is bad_parameters, at once, with a record and no notebook."""
    record = attempt(small, tpo=3).execute()
    assert record.failure.cause == "bad_parameters"
    assert "tpo" in record.failure.message
    assert record.notebook is None
    check_kept(small, "make", record)


def test_a_missing_input_is_found_before_anything_runs(small):
    """An input that nobody has committed is bad_parameters and says what to run."""
    record = attempt(small, "use").execute()
    assert record.failure.cause == "bad_parameters"
    assert "nightmill run p --partition 2013-01-01" in record.failure.message
    check_kept(small, "use", record)


def test_an_attempt_that_still_fetches_its_inputs_shows_that_it_is_alive(small, monkeypatch):
    """The heartbeat begins with the record, not with the notebook; in the end it tells the end."""
    seen = []

    def slowly(*_arguments, **_more):
        deadline = time.monotonic() + 30
        (folder,) = small.attempts("p", "use")
        while not (folder / PROGRESS).exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # a poll with a deadline
        seen.append(Progress.from_json((folder / PROGRESS).read_bytes()))
        raise InputError("it did not come")

    monkeypatch.setattr(preparation_module, "prepare", slowly)
    record = attempt(small, "use").execute()
    assert (seen[0].state, seen[0].cell) == ("running", None)
    assert record.failure.message.startswith("bad_parameters: it did not come")
    (folder,) = small.attempts("p", "use")
    assert Progress.from_json((folder / PROGRESS).read_bytes()).state == "failed"


def test_a_tampered_input_is_never_read(small, no_kernel):
    """Bytes that differ from the committed hash are a failure of the store, before cell 1."""
    assert no_kernel is None
    made = attempt(small).execute()
    file = Path(made.outputs["data"].address)
    file.chmod(0o644)
    file.write_text("y")
    record = attempt(small, "use").execute()
    assert record.failure.cause == "store"
    assert str(file) in record.failure.message
    check_kept(small, "use", record)


def test_a_kernel_that_is_not_installed(small, monkeypatch, tmp_path):
    """Without its environment a step is `image`, and the message holds the command to run."""
    monkeypatch.setenv("NIGHTMILL_KERNELS", str(tmp_path / "none"))
    record = attempt(small).execute()
    assert record.failure.cause == "image"
    assert "nightmill kernels install tabular" in record.failure.message
    check_kept(small, "make", record)


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_scratch_folder_that_cannot_be_used(small, monkeypatch, tmp_path, kind):
    """A wrong NIGHTMILL_SCRATCH ends the attempt with a record: it does not stay running."""
    place = tmp_path / "scratch"
    if kind == "a file":
        place.write_text("")
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(place))
    record = attempt(small).execute()
    assert record.failure.cause == "store"
    assert "NIGHTMILL_SCRATCH" in record.failure.message
    check_kept(small, "make", record)


def test_an_older_attempt_is_fenced_before_its_first_cell(small):
    """When a newer run has committed, an older one runs nothing and changes nothing."""
    store = open_store(str(small.store), base=small.root)
    newer = commit(
        store,
        Pointer(
            pipeline="p",
            step="make",
            partition=DAY,
            run="newer",
            token=Token(order=11, attempt=1),
            attempt_prefix="runs/x",
            outputs={},
        ),
    )
    record = attempt(small, order=10).execute()
    assert record.failure.cause == "fenced"
    assert record.exit_code == 22
    check_kept(small, "make", record)
    assert read_pointer(store, "p", "make", DAY) == newer


def test_a_number_is_used_once(small):
    """Two processes never share an attempt: the second is refused and the record stays."""
    first = attempt(small, tpo=3).execute()
    with pytest.raises(UsageError, match="has been started before") as caught:
        attempt(small).execute()
    assert "--attempt" in caught.value.advice
    check_kept(small, "make", first)
    assert attempt(small, number=2, tpo=3).execute().attempt == 2


def test_a_crash_between_commit_and_record_is_amended(small, no_kernel, monkeypatch):
    """The same attempt, started again after such a crash, completes its record and runs nothing."""
    assert no_kernel is None

    def crash(store, pointer, **seen):
        commit(store, pointer, **seen)
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(attempt_module, "commit", crash)
        with pytest.raises(SystemExit):
            attempt(small).execute()
    cut_off = small.record("p", "make")
    assert (cut_off["state"], cut_off["committed"]) == ("running", False)
    record = attempt(small).execute()
    assert (record.state, record.committed, record.failure) == ("succeeded", True, None)
    assert [cell.state for cell in record.cells] == ["not_run", "completed"]
    assert record.notebook
    assert record.outputs["data"].size == 1
    assert small.record("p", "make") == json.loads(record.to_json())


def test_a_commit_that_won_although_its_reply_was_lost(small, no_kernel, monkeypatch):
    """An attempt that was told of a failure it did not have is a success when asked again."""
    assert no_kernel is None

    def lose_the_reply(store, pointer, **seen):
        commit(store, pointer, **seen)
        raise StoreError("no reply", address="s3://b/k", operation="commit")

    with monkeypatch.context() as patched:
        patched.setattr(attempt_module, "commit", lose_the_reply)
        assert attempt(small).execute().failure.cause == "store"
    record = attempt(small).execute()
    assert (record.state, record.failure, record.exit_code) == ("succeeded", None, 0)


def test_a_store_that_fails_at_the_end_keeps_the_work(small, no_kernel, monkeypatch, tmp_path):
    """When the outputs cannot be stored, the message says where on the local disk they are."""
    assert no_kernel is None
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path / "scratch"))

    def full(*_arguments, **_options):
        raise StoreError("the disk is full", address="/x", operation="write")

    monkeypatch.setattr("nightmill.step.outputs.DeclaredOutput.upload", full)
    record = attempt(small).execute()
    kept = next((tmp_path / "scratch").rglob("data.txt"))
    assert record.failure.cause == "store"
    assert str(kept.relative_to(tmp_path).parts[1]) in record.failure.message


def refuse_to_write(monkeypatch, is_refused):
    """Let the store refuse what the function says; it takes the key and the bytes."""
    write = DirectoryStore.write

    def refuse(store, key, data):
        if is_refused(key, data):
            raise StoreError("the disk is full", address=key, operation="write")
        return write(store, key, data)

    monkeypatch.setattr(DirectoryStore, "write", refuse)


@pytest.fixture
def failed_cell(monkeypatch, tmp_path):
    """Let a cell fail, and the store refuse the executed notebook; returns the scratch's parent."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path / "scratch"))
    said = {"cause": "notebook_error", "message": "ValueError: no", "cell": 2, "title": "T"}

    def run(_self, plan):
        Path(plan.executed).write_text('{"cells": []}')
        return Watched(outcome=said)

    monkeypatch.setattr(Supervisor, "run", run)
    refuse_to_write(monkeypatch, lambda key, _data: key.endswith("notebook.ipynb"))
    return tmp_path / "scratch"


def test_a_cells_error_is_not_lost_behind_a_failing_store(small, failed_cell):
    """The cause stays the cell's own; the evidence names the folder where its notebook lies."""
    record = attempt(small).execute()
    assert record.failure.cause == "notebook_error"
    assert record.failure.message == 'notebook_error in cell 2 "T": ValueError: no'
    (kept,) = failed_cell.rglob("notebook.ipynb")
    assert str(kept.parent) in record.failure.evidence["notebook_not_stored"]
    check_kept(small, "make", record)


def test_a_cells_error_is_not_lost_behind_a_record_that_cannot_be_written(
    small, failed_cell, monkeypatch
):
    """The exit code stays the cell's own; the evidence names the folder that holds everything."""
    refuse_to_write(monkeypatch, lambda _key, data: b'"failed"' in data)
    record = attempt(small).execute()
    (kept,) = failed_cell.rglob("notebook.ipynb")
    assert record.failure.cause == "notebook_error"
    assert str(kept.parent) in record.failure.evidence["record_not_stored"]
    assert small.record("p", "make")["state"] == "running"


def test_a_store_that_is_gone_for_good_says_where_the_work_is(
    small, no_kernel, monkeypatch, tmp_path
):
    """When nothing can be stored at the end, the error names the folder that holds everything."""
    assert no_kernel is None
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("NIGHTMILL_SCRATCH", str(tmp_path / "scratch"))

    one = attempt(small)
    refuse_to_write(monkeypatch, lambda key, data: "notebook" in key or b'"failed"' in data)
    with pytest.raises(StoreError) as raised:
        one.execute()
    (kept,) = (tmp_path / "scratch").rglob("notebook.ipynb")
    assert str(kept.parent) in raised.value.advice


def test_a_local_disk_that_fails_is_no_bug(small, monkeypatch):
    """An error of the local disk, wherever it comes, is `store` with advice, not a traceback."""

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/x")

    monkeypatch.setattr(prepare_module, "make_plan", full)
    record = attempt(small).execute()
    assert record.failure.cause == "store"
    assert "No space left on device" in record.failure.message
    check_kept(small, "make", record)


def test_a_bug_of_ours_is_recorded_and_raised(small, monkeypatch):
    """An error nobody expected is kept in the record as nightmill_bug, and still reported."""

    def broken(*_arguments, **_options):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(prepare_module, "make_plan", broken)
    with pytest.raises(ZeroDivisionError):
        attempt(small).execute()
    assert small.record("p", "make")["failure"]["cause"] == "nightmill_bug"


def test_a_notebook_saved_in_between_is_not_run(small, tmp_path):
    """Other bytes than those in the record are never run: the engine refuses, the kernel idles."""
    plan = Plan(
        notebook=str(small.root / "notebooks/p/make.ipynb"),
        notebook_sha256="0" * 64,
        executed=str(tmp_path / "notebook.ipynb"),
        kernel="idle",
        kernelspec={"name": "idle", "display_name": "idle", "language": "python"},
        parameters={},
        expressions={},
        spilled=str(tmp_path / "spilled"),
        spilled_address="spilled",
    )
    (tmp_path / "idle").mkdir()
    (tmp_path / "idle/kernel.json").write_text('{"argv": ["sh", "-c", "sleep 60"], "env": {}}')
    order = KernelOrder(
        kernelspec=str(tmp_path / "idle"),
        env=dict(os.environ),
        cwd=str(tmp_path),
        connection_file=str(tmp_path / "connection.json"),
    )
    engine = EngineProcess()
    engine.start_kernel(order)
    seen = Supervisor(engine, StopRequest(), lambda _event: None).run(plan)
    assert seen.returncode == 1
    assert (seen.outcome["event"], seen.outcome["cause"]) == ("outcome", "bad_parameters")
    assert "saved while the step began" in seen.outcome["message"]
    assert not (tmp_path / "notebook.ipynb").exists()
    assert "sleep" in seen.left_behind  # a kernel that cannot be asked to end
