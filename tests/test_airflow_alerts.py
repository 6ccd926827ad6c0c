"""Alerts: any notifier by its dotted path, imported when there is something to tell."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from types import ModuleType

import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.deadline import DeadlineReference

from nightmill.airflow import alerts
from nightmill.spec.pipeline import PipelineSpec
from nightmill.spec.pipeline_file import Pipeline
from nightmill.spec.validation import validate
from nightmill.spec.yaml_source import read_yaml

TOLD: list[tuple[str, str]] = []


class Note(BaseNotifier):
    """Notes what it is told."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context):  # noqa: ARG002 - as Airflow calls it
        """Tell, the plain way."""
        TOLD.append(("plain", self.text))


class AsyncNote(Note):
    """Notes in the triggerer's own way."""

    async def async_notify(self, context):  # noqa: ARG002 - as Airflow calls it
        """Tell, the other way."""
        TOLD.append(("async", self.text))


@pytest.fixture(autouse=True)
def notes(monkeypatch):
    """Put the notifiers into a module of their own, and begin with nothing told."""
    module = ModuleType("nightmill_test_notes")
    module.Note, module.AsyncNote = Note, AsyncNote
    monkeypatch.setitem(sys.modules, module.__name__, module)
    TOLD.clear()


@pytest.fixture
def load(tmp_path):
    """Read a pipeline with these lines at its top."""

    def _load(lines: str) -> Pipeline:
        path = tmp_path / "pipeline.yaml"
        path.write_text(f"pipeline: p\n{lines}\nsteps: {{s: {{notebook: s.ipynb}}}}\n")
        source = read_yaml(path)
        return Pipeline(validate(PipelineSpec, source), source)

    return _load


def test_it_tells(load):
    """A notifier is made with its arguments, its templates filled in from the context."""
    spec = load(
        "alerts: {failure: [{notifier: nightmill_test_notes.Note, "
        'arguments: {text: "{{ run_id }} failed"}}]}'
    ).spec
    (callback,) = alerts.callbacks(spec.alerts.failure)
    for run in ("a", "b"):
        callback({"run_id": run})
    assert TOLD == [("plain", "a failed"), ("plain", "b failed")]
    assert alerts.callbacks(spec.alerts.retry) is None


@pytest.mark.parametrize(("notifier", "way"), [("Note", "plain"), ("AsyncNote", "async")])
def test_it_tells_in_the_triggerer(notifier, way):
    """A late run is told by any notifier, in its asynchronous way where it has one."""
    path = f"nightmill_test_notes.{notifier}"
    asyncio.run(alerts.tell_late(path, {"text": "late"}, context={"dag_run": {}}))
    (told,) = TOLD
    assert told == (way, "late")


SCHEDULED = 'schedule: "@daily"\nstart: 2013-01-01\n'


@pytest.mark.parametrize(
    ("lines", "reference"),
    [(SCHEDULED, DeadlineReference.DAGRUN_LOGICAL_DATE), ("", DeadlineReference.DAGRUN_QUEUED_AT)],
    ids=["scheduled", "by hand"],
)
def test_deadline(load, lines, reference):
    """Late counts from the scheduled time, or from when the run was queued."""
    spec = load(
        f"{lines}expect_by: 3h\n"
        "alerts: {late: [{notifier: a.b, arguments: {to: me}}, {notifier: a.c}]}"
    ).spec
    first, second = alerts.deadlines(spec)["deadline"]
    assert (first.reference, first.interval) == (reference, timedelta(hours=3))
    assert first.callback.path == "nightmill.airflow.alerts.tell_late"
    assert first.callback.kwargs == {"notifier": "a.b", "arguments": {"to": "me"}}
    assert second.callback.kwargs == {"notifier": "a.c", "arguments": {}}


def test_no_deadline(load, monkeypatch):
    """Without `expect_by`, or on an Airflow without deadlines, there is none."""
    assert alerts.deadlines(load("").spec) == {}
    late = load("expect_by: 3h\nalerts: {late: [{notifier: a.b}]}").spec
    monkeypatch.setattr(alerts, "_HAS_DEADLINES", False)
    assert alerts.deadlines(late) == {}


def test_missing_modules(load):
    """A notifier that is not installed is found when DAGs are parsed, with its line."""
    pipeline = load(
        "alerts:\n"
        "  failure: [{notifier: no.such.Thing}]\n"
        "  retry: [{notifier: airflow.sdk.BaseNotifier}]\n"
        "  success: [{notifier: json.decoder.x.Thing}]\n"
    )
    errors = alerts.alert_errors(pipeline)
    assert [(error.line, error.key) for error in errors] == [
        (3, "alerts.failure.0.notifier"),
        (5, "alerts.success.0.notifier"),
    ]
    assert "there is no module `no.such`" in errors[0].problem
    assert "install" in errors[0].advice
