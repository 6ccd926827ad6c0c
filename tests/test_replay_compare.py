"""What a replay made against what the original made: ends, outputs, metrics, each told apart."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightmill.causes import Cause
from nightmill.replay.compare import Compared, compare
from nightmill.spec.check_kinds import Unique
from nightmill.spec.record import AttemptState, Failure, InputRecord, KernelRecord, Record
from nightmill.step.outputs import DeclaredOutput
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store
from nightmill.store.pointer import describe_outputs

PLAIN = Record(
    pipeline="p", step="s", partition="2013-03-01", as_of="2013-03-01", run="then", order=1,
    attempt=1, state=AttemptState.SUCCEEDED, started_at=datetime.now(UTC), nightmill="0",
    host="h", store="s", parameters={},
)  # fmt: skip
SUCCEEDED = Compared("outcome", is_equal=True, result="succeeded")


def failed(cause=Cause.NOTEBOOK_ERROR, cell=3, ename="ValueError", message="/tmp/1 is bad"):
    """Return fields of a record that failed."""
    failure = Failure(cause=cause, message=message, cell=cell, ename=ename)
    return {"state": AttemptState.FAILED, "failure": failure}


@pytest.fixture
def replay(tmp_path):
    """Return a replay with its two stores; the outputs of both are made by `made`."""
    original = PLAIN
    run = PLAIN.model_copy(update={"run": "now"})
    spec = SimpleNamespace(checks={"scores": SimpleNamespace(unique=[Unique(key=("id",))])})
    (tmp_path / "folder").mkdir()
    return SimpleNamespace(
        original=original,
        source=open_store("source", base=tmp_path),
        store=open_store("store", base=tmp_path),
        folder=tmp_path / "folder",
        spec=spec,
        original_prefix=attempt_prefix("p", "2013-03-01", "then", "s", 1),
        prefix=attempt_prefix("p", "2013-03-01", "now", "s", 1),
        run=run,
    )


@pytest.fixture
def compared(replay, tmp_path):
    """Return a function that compares two sets of record fields and outputs.

    An output is a file's bytes or table under its name, or a folder of them: {"scores/": {...}}.
    """

    def put(store, prefix, outputs):
        stored = {}
        for path, content in outputs.items():
            name = path.split("/")[0].split(".")[0]
            declared = DeclaredOutput(name, path, tmp_path / store.url.rpartition("/")[2] / name)
            declared.prepare()
            files = content if declared.is_folder else {"": content}
            for inner, part in files.items():
                file = declared.address / inner if inner else declared.address
                file.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(part, bytes):
                    file.write_bytes(part)
                else:
                    pq.write_table(part, file)
            stored[name] = declared.upload(store, prefix)
        return describe_outputs(store, stored)

    def run(then, now, outputs_then=(), outputs_now=(), *, are_lost=False):
        before = put(replay.source, replay.original_prefix, dict(outputs_then))
        after = put(replay.store, replay.prefix, dict(outputs_now))
        for entry in list(replay.source.list(replay.original_prefix)) if are_lost else ():
            replay.source.delete(entry.key)
        replay.original = PLAIN.model_copy(update={**then, "outputs": before})
        record = PLAIN.model_copy(update={"run": "now", **now, "outputs": after})
        return compare(replay, record)

    return run


def test_equal_ends_are_equal(compared):
    """Two that succeeded are equal, and so are two that failed alike, whatever folder they name."""
    assert compared({}, {}) == [SUCCEEDED]
    (outcome,) = compared(failed(), failed(message="/tmp/2 is bad"))
    assert outcome == Compared("outcome", is_equal=True, result="notebook_error in cell 3")


@pytest.mark.parametrize(
    ("then", "now", "result"),
    [
        ({}, failed(), "succeeded -> notebook_error in cell 3"),
        (failed(cell=2), failed(), "notebook_error in cell 2 -> notebook_error in cell 3"),
        (
            failed(ename="KeyError"),
            failed(),
            "notebook_error in cell 3 -> notebook_error in cell 3",
        ),
        (failed(Cause.EVICTED, cell=None), {}, "evicted -> succeeded"),
    ],
)
def test_other_ends_are_told(compared, then, now, result):
    """Cause, cell and kind of error tell two ends apart, and the messages are shown."""
    (outcome,) = compared(then, now)
    assert (outcome.is_equal, outcome.result) == (False, result)
    assert outcome.details == tuple(one["failure"].message for one in (then, now) if one)


def test_another_python_is_told_and_no_difference(compared):
    """The lock is the same and the interpreter may not be: whoever looks for a cause wants that."""
    kernels = [
        KernelRecord(
            name="k", lock_sha256="0" * 64, python=python, libraries={}, threads=1, threads_from=""
        )
        for python in ("3.11.7", "3.12.1")
    ]
    (outcome,) = compared({"kernel": kernels[0]}, {"kernel": kernels[1]})
    assert outcome.is_equal
    assert outcome.details == ("python 3.11.7 -> 3.12.1",)


def test_another_input_is_never_passed_over(compared):
    """A replay that read something else than the record says compares nothing, and says so."""
    then, now = (
        {
            "inputs": {
                "data": InputRecord(
                    pipeline="p", output="data", partition="d", run=run, attempt=1, address="a",
                    files=(),
                )
            }
        }
        for run in ("one", "other")
    )  # fmt: skip
    assert compared(then, then) == [SUCCEEDED]
    assert compared(then, now)[1] == Compared(
        "input data", is_equal=False, result="another version was read"
    )


@pytest.mark.parametrize(
    ("then", "now", "is_equal", "result"),
    [
        (0.5, 0.5, True, "equal (0.5)"),
        (0.5, 0.75, False, "0.5 -> 0.75 (+0.25)"),
        ("NaN", "NaN", True, "equal (NaN)"),
        (True, False, False, "true -> false"),
        ({"a": [1]}, {"a": [2]}, False, '{"a": [1]} -> {"a": [2]}'),
        ("x" * 99, "y", False, f"{'x' * 57}... -> y"),
        (None, 1, False, "null -> 1"),
    ],
)
def test_metrics_are_compared_exactly(compared, then, now, is_equal, result):
    """A metric is equal or it is not; how far numbers are apart is told."""
    found = compared({"metrics": {"m": then}}, {"metrics": {"m": now}})
    assert found[1:] == [Compared("metric m", is_equal=is_equal, result=result)]


def test_metrics_of_one_side_alone_are_told(compared):
    """A metric that is not reported any more, or was not then, is a difference."""
    found = compared({"metrics": {"old": 1}}, {"metrics": {"new": 2}})
    assert [(one.what, one.is_equal, one.result) for one in found[1:]] == [
        ("metric old", False, "not reported"),
        ("metric new", False, "not reported then"),
    ]


def test_equal_bytes_are_not_read_again(compared):
    """Hashes settle it: the original need not even be there any more."""
    files = {"model.bin": b"x" * 2048}
    assert compared({}, {}, files, files, are_lost=True)[1] == Compared(
        "output model", is_equal=True, result="equal bytes (2.0 KiB)"
    )


@pytest.mark.parametrize(
    ("then", "now", "place"),
    [(b"abcdef", b"abXdef", 2), (b"abc", b"abcd", 3), (b"", b"a", 0)],
)
def test_what_is_no_table_is_compared_by_bytes(compared, then, now, place):
    """The first byte that differs is told, counted from 0."""
    found = compared({}, {}, {"model.ubj": then}, {"model.ubj": now})
    assert found[1].result == "other bytes"
    assert found[1].details == (f"model.ubj differs from byte {place} on",)


def test_a_difference_deep_in_a_large_file_is_found(compared):
    """Files are read in pieces: a difference in the third is where it is."""
    data = bytearray(3 << 20)
    data[(2 << 20) + 5] = 1
    found = compared({}, {}, {"model.ubj": bytes(3 << 20)}, {"model.ubj": bytes(data)})
    assert found[1].details == ("model.ubj differs from byte 2,097,157 on",)


IDS = pa.table({"id": [1, 2, 3], "p": [0.1, 0.2, 0.3]})


def test_tables_are_matched_by_the_key_of_their_checks(compared):
    """The key that pipeline.yaml declares unique names the rows that differ."""
    now = pa.table({"id": [3, 2, 1], "p": [0.3, 0.25, 0.1]})
    found = compared({}, {}, {"scores.parquet": IDS}, {"scores.parquet": now})
    assert found[1].result == "1 of 2 columns differ in 1 row"
    assert found[1].details[1] == "id=2: p 0.2 -> 0.25"


def test_the_same_rows_in_other_bytes_are_equal(compared):
    """A table is what it holds: other bytes and another order are told, and no difference."""
    parts = {"scores/": {"a.parquet": IDS}}, {"scores/": {"b.parquet": IDS}}
    found = compared({}, {}, *parts)
    assert (found[1].is_equal, found[1].result) == (True, "equal rows, other bytes")
    found = compared({}, {}, {"other.parquet": IDS}, {"other.parquet": IDS.take([2, 1, 0])})
    assert (found[1].is_equal, found[1].result) == (True, "equal rows in another order")


def test_what_lies_beside_a_table_counts(compared):
    """A folder is equal only if its other files are, too; marks of writers are no such files."""
    then = {"scores/": {"a.parquet": IDS, "note.json": b"1", "_SUCCESS": b"1"}}
    now = {"scores/": {"b.parquet": IDS, "note.json": b"1", "_SUCCESS": b"2"}}
    assert compared({}, {}, then, now)[1].is_equal
    now = {"scores/": {"b.parquet": IDS, "note.txt": b"1"}}
    found = compared({}, {}, then, now)
    assert not found[1].is_equal
    assert "note.txt is new" in found[1].details


def test_a_table_that_is_none_is_compared_by_bytes(compared):
    """A file that is damaged on one side is told to differ, not to be a bug."""
    found = compared({}, {}, {"scores.parquet": IDS}, {"scores.parquet": b"PAR1"})
    assert found[1].details == ("scores.parquet differs from byte 4 on",)


def test_an_original_that_is_gone_is_told(compared):
    """Where the bytes of then are lost, the hashes still tell that they were others."""
    found = compared({}, {}, {"model.ubj": b"1"}, {"model.ubj": b"2"}, are_lost=True)
    assert not found[1].is_equal
    assert found[1].result.startswith("other bytes, and the original cannot be read")


def test_outputs_of_one_side_alone_are_told(compared):
    """An output that was not made, now or then, is a difference."""
    found = compared({}, {}, {"old.bin": b"1"}, {"new.bin": b"1"})
    assert [(one.what, one.result) for one in found[1:]] == [
        ("output old", "not made"),
        ("output new", "not made then"),
    ]
