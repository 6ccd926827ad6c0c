"""The result of a step, and the termination message that carries it out of the pod."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from nightmill.errors import StoreError
from nightmill.spec.record import Failure, Record
from nightmill.spec.result import result_of, result_of_error
from nightmill.step import termination

NOTEBOOK = "s3://bucket/runs/p/2013-03-01/r/s/1/notebook.ipynb"


def record(**fields) -> Record:
    """Make a record of an attempt."""
    whole = {
        **dict.fromkeys(("step", "run", "host", "store", "nightmill"), "x"),
        "pipeline": "p",
        "partition": "2013-03-01",
        "as_of": "2013-03-01",
        "order": 1,
        "attempt": 1,
        "state": "succeeded",
        "parameters": {},
        "notebook": NOTEBOOK,
        "started_at": datetime(2013, 3, 2, tzinfo=UTC),
    }
    return Record(**(whole | fields))


def failed(**failure) -> Record:
    """Make the record of an attempt that ran out of memory."""
    message = 'out_of_memory in cell 3/9 "Join": 7.9 of 8.0 GiB, the kernel was killed'
    whole = {"cause": "out_of_memory", "message": message, "cell": 3} | failure
    return record(state="failed", failure=Failure(**whole))


def test_a_failure_ends_with_its_line():
    """The last word of a result is the line: cause, cell, what happened, where to look."""
    result = result_of(failed(), "s3://bucket/record.json")
    assert list(result)[-1] == "line"
    assert result["line"] == f"{result['message']}; notebook: {NOTEBOOK}#cell-3"
    assert (result["cause"], result["cell"]) == ("out_of_memory", 3)
    assert result["record"] == "s3://bucket/record.json"


def test_a_success_says_so():
    """Where all went well the line says that, and where the notebook is."""
    result = result_of(record(), "r")
    assert (result["cause"], result["cell"]) == (None, None)
    assert result["line"] == f"succeeded; notebook: {NOTEBOOK}"


def test_an_error_without_a_record_has_a_line_too():
    """Where not even a record could be kept the result says why, on one line with its advice."""
    error = StoreError("gone", address="s3://b", operation="PUT", advice="look at the network")
    line = "store: PUT s3://b: gone -> look at the network"
    found = result_of_error(error)
    assert found == {"state": "failed", "cause": "store", "message": line, "line": line}


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Return a function that writes a termination message and gives back its bytes."""
    file = tmp_path / "termination-log"
    monkeypatch.setenv(termination.VARIABLE, str(file))

    def write(result) -> bytes:
        termination.write_termination_message(result)
        return file.read_bytes()

    return write


def test_the_message_is_what_people_read(written):
    """The message is one JSON object in UTF-8 that ends with the line, letters as they are."""
    data = written(result_of(failed(message="store: é \ud800"), "r"))
    assert data.decode().endswith(rf'"line": "store: é \\ud800; notebook: {NOTEBOOK}#cell-3"}}')
    assert json.loads(data)["cause"] == "out_of_memory"


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({}, set()),
        ({"metrics": {"x": "m" * 5000}}, {"metrics"}),
        ({"message": "😀" * 400}, set()),
        (
            {"message": "😀" * 400, "notebook": "s3://b/" + "k" * 2500},
            {"metrics", "outputs", "line"},
        ),
    ],
)
def test_the_message_fits(written, fields, gone):
    """What Kubernetes would cut off is left out in order, and the cause is never among it."""
    one = failed(**{"message": fields["message"]} if "message" in fields else {})
    rest = {name: value for name, value in fields.items() if name != "message"}
    whole = result_of(one.model_copy(update=rest), "r")
    data = written(whole)
    assert len(data) <= 4096
    assert json.loads(data) == {name: value for name, value in whole.items() if name not in gone}


def test_without_a_place_nothing_is_written(monkeypatch, tmp_path):
    """Where nobody asked for a message, on a laptop, none is left."""
    monkeypatch.delenv(termination.VARIABLE, raising=False)
    monkeypatch.setattr(termination, "_KUBERNETES_FILE", str(tmp_path / "none"))
    termination.write_termination_message({"state": "succeeded"})
    assert list(tmp_path.iterdir()) == []
