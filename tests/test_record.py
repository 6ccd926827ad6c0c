"""The record: always valid JSON, always what its published schema says."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nightmill.causes import Cause
from nightmill.spec import record as record_module
from nightmill.spec.json_text import readable
from nightmill.spec.record import SCHEMA_FILE, AttemptState, CellRecord, Failure, Record
from nightmill.spec.summary import Summary, summarize

HASH = "0" * 64
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
FILE = {"path": "a.parquet", "size": 3, "sha256": HASH, "etag": "x-1"}
FIRST = {
    "pipeline": "p",
    "step": "s",
    "partition": "2013-01-01",
    "as_of": "2013-01-01",
    "run": "r",
    "order": 1,
    "attempt": 1,
    "state": "running",
    "started_at": NOON,
    "nightmill": "0.1.0",
    "host": "here",
    "store": "/store",
    "parameters": {"top": 3},
}
WHOLE = FIRST | {
    "state": "succeeded",
    "committed": True,
    "ended_at": NOON,
    "duration_s": 1.5,
    "notebook": "/store/notebook.ipynb",
    "code": {
        "notebook": "notebooks/p/s.ipynb",
        "notebook_sha256": HASH,
        "modules": {"notebooks/p/m.py": HASH},
        "git_commit": None,
        "git_dirty": None,
        "image": None,
    },
    "kernel": {
        "name": "tabular",
        "lock_sha256": HASH,
        "python": "3.11.7",
        "libraries": {"pandas": "3"},
        "threads": 1,
        "threads_from": "cpu of the step",
    },
    "inputs": {
        "model": {
            "pipeline": "m",
            "output": "model",
            "partition": "2013-01-01",
            "run": "r",
            "attempt": 1,
            "address": "/store/model",
            "files": [FILE],
        },
        "optional": None,
    },
    "outputs": {"out": {"kind": "file", "address": "/o", "size": 3, "files": [FILE]}},
    "cells": [{"number": 1, "title": "t", "state": "completed", "started_at": NOON}],
    "memory": {"peak_bytes": 5, "limit_bytes": None},
    "metrics": {"auc": 0.7},
}


@cache
def published():
    """Read the published schema, itself valid, once."""
    schema = json.loads(SCHEMA_FILE.read_bytes())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    return validator(schema, format_checker=validator.FORMAT_CHECKER)


def validate(data: bytes) -> dict:
    """Parse strictly (no NaN) and hold against the published schema."""
    parsed = json.loads(data, parse_constant=pytest.fail)
    published().validate(parsed)
    return parsed


def test_published_schema_is_current():
    """The schema that others read is that of the model (UPDATE_GOLDEN=1 rewrites it)."""
    text = json.dumps(record_module.json_schema(), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        SCHEMA_FILE.write_text(text, encoding="ascii")
    assert SCHEMA_FILE.read_text(encoding="ascii") == text


@pytest.mark.parametrize("fields", [FIRST, WHOLE], ids=["running", "whole"])
def test_a_record_validates_and_is_read_back(fields):
    """A record, just begun or whole, satisfies the schema and survives a round trip."""
    record = Record.model_validate(fields)
    validate(record.to_json())
    assert Record.from_json(record.to_json()) == record


def test_a_failure_validates_with_all_its_parts():
    """A failed attempt's record holds cause, cell and evidence in the published form."""
    failure = Failure(
        cause=Cause.OUT_OF_MEMORY, message="m", cell=2, title="t", evidence={"oom_kills": 1}
    )
    record = Record(**FIRST).model_copy(update={"failure": failure, "state": AttemptState.FAILED})
    parsed = validate(record.to_json())
    assert parsed["failure"]["cause"] == "out_of_memory"
    assert parsed["failure"]["evidence"] == {"oom_kills": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"state": "completed"},
        {"started_at": "2013-01-01T12:00:00"},  # no zone
        {"schema_version": 2},
        {"failure": {"cause": "bad_luck", "message": "m"}},
    ],
)
def test_what_is_no_record_is_refused(change):
    """Unknown fields, states, causes and versions, and times without a zone, are no record."""
    valid = json.loads(Record(**FIRST).to_json())
    with pytest.raises(ValidationError):
        Record.from_json(json.dumps(valid | change).encode())


def test_the_schema_refuses_unknown_fields():
    """Whoever validates by the published schema alone sees a field that nobody defined."""
    data = json.loads(Record(**FIRST).to_json()) | {"surprise": 1}
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(data).encode())


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(st.characters(codec=None)))
def test_any_text_gives_valid_json(text):
    """Lone surrogates in values, names and messages leave the record valid UTF-8 JSON."""
    record = Record(**FIRST | {"parameters": {"a": text, "n": [text]}, "host": text}).model_copy(
        update={
            "failure": Failure(cause=Cause.NOTEBOOK_ERROR, message=text, traceback=(text,)),
            "metrics": {text: text},
            "cells": (CellRecord(number=1, title=text, state="failed"),),
        }
    )
    data = record.to_json()
    data.decode("utf-8")
    parsed = validate(data)
    assert parsed["parameters"] == {"a": text, "n": [text]}
    assert parsed["failure"]["message"] == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")],
)
def test_numbers_that_json_has_not_are_kept_as_text(value, shown):
    """A metric that is no number is told as such: JSON stays valid, and nothing becomes null."""
    record = Record(**FIRST).model_copy(update={"metrics": {"auc": value, "all": [value]}})
    assert validate(record.to_json())["metrics"] == {"auc": shown, "all": [shown]}


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (None, 0),
        ("notebook_error", 10),
        ("check_failed", 11),
        ("bad_parameters", 12),
        ("kernel_died", 13),
        ("out_of_memory", 14),
        ("cell_timeout", 15),
        ("deadline", 16),
        ("terminated", 17),
        ("evicted", 18),
        ("node_lost", 19),
        ("image", 20),
        ("store", 21),
        ("fenced", 22),
        ("nightmill_bug", 23),
    ],
)
def test_each_cause_has_its_own_exit_code(cause, code):
    """The exit codes are a promise to schedulers: success is 0, each cause keeps its number."""
    failure = Failure(cause=cause, message="m") if cause else None
    assert Record(**FIRST).model_copy(update={"failure": failure}).exit_code == code


def nested(depth):
    """Make lists in each other."""
    value = 1
    for _ in range(depth):
        value = [value]
    return value


HUGE = st.integers(min_value=10**299).flatmap(lambda n: st.sampled_from([n, -n, n**2]))
TEXTS = st.text(st.characters(codec=None))
TOLD = st.recursive(
    st.none() | st.booleans() | st.integers() | HUGE | st.floats() | TEXTS,
    lambda parts: st.lists(parts) | st.dictionaries(TEXTS, parts) | st.tuples(parts),
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), TOLD))
def test_whatever_is_written_of_a_value_is_read_back(told):
    """No value of a notebook or its author makes a record, or its summary, that cannot be read."""
    check = {"output": "o", "check": "rows", "state": "passed", "message": "m", "duration_s": 1}
    failure = {"cause": "notebook_error", "message": "m", "evidence": told}
    free = {"metrics": told, "parameters": told, "evidence": told, "failure": failure}
    record = Record.model_validate({**FIRST, **free, "checks": [{**check, "profile": told}]})
    data = record.to_json()
    validate(data)
    again = Record.from_json(data)
    assert again.to_json() == data
    assert again.metrics == {name: readable(one) for name, one in told.items()}
    summary = summarize(record, "p")
    assert Summary.from_json(summary.to_json()) == summary == summarize(again, "p")


@pytest.mark.parametrize(
    "value",
    [10**299, -(10**300) + 1, 10**300, 10**400, -(10**400), 10**5000, nested(5000), "x" * 10**6],
    ids=["299", "-300", "300", "400", "-400", "5000", "deep", "long"],
)
def test_large_values_are_kept(value):
    """Numbers beyond all floats and lists without an end are told somehow, and lose nobody else."""
    record = Record(**FIRST | {"metrics": {"odd": value, "auc": 0.7}})
    metrics = Record.from_json(record.to_json()).metrics
    assert metrics == {name: readable(one) for name, one in record.metrics.items()}
    assert metrics["auc"] == 0.7
    if isinstance(value, int):
        assert isinstance(metrics["odd"], int) == (abs(value) < 10**300)
