"""`nightmill runs` and `show`, on records written as steps write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.record import (
    AttemptState,
    Failure,
    FileRecord,
    InputRecord,
    Memory,
    OutputRecord,
    Record,
)
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store

START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Return a function that writes a record into the store of the present folder."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    opened = open_store(".nightmill/store", base=tmp_path)

    def write(run: str, step: str = "a", **facts: object) -> None:
        known = {"pipeline": "flights", "partition": "2013-03-01", "attempt": 1, "as_of": "x"}
        known |= {"order": 1, "nightmill": "0", "host": "h", "store": "s", "parameters": {}}
        known |= {"state": AttemptState.SUCCEEDED, "started_at": START, "duration_s": 2.0}
        record = Record(**(known | facts), run=run, step=step)
        prefix = attempt_prefix(record.pipeline, record.partition, run, step, record.attempt)
        opened.write(f"{prefix}/record.json", record.to_json())

    return write


def rows(text: str) -> list[list[str]]:
    """Split a table's lines into words, without its header."""
    return [line.split() for line in text.splitlines()[1:]]


@pytest.mark.usefixtures("history")
def test_a_new_store_has_no_runs(cli, tmp_path):
    """Before the first run the list says so, and is no error."""
    ended = cli("runs")
    assert (ended.code, ended.out) == (0, "No runs yet in .nightmill/store.\n")
    assert not (tmp_path / ".nightmill").exists()  # looking changes nothing


def test_runs_lists_the_newest_first(cli, history):
    """Each run is a row: name, pipeline, partition, state, number of steps, time spent."""
    history("20130302T1", pipeline="weekly")
    history("20130301T1", "a")
    history("20130301T1", "b", state=AttemptState.FAILED, duration_s=60.0)
    history("20130303T1", state=AttemptState.RUNNING, duration_s=None)
    assert rows(cli("runs").out) == [
        ["20130303T1", "flights", "2013-03-01", "running", "1", "0.0", "s"],
        ["20130302T1", "weekly", "2013-03-01", "succeeded", "1", "2.0", "s"],
        ["20130301T1", "flights", "2013-03-01", "failed", "2", "1", "min", "02", "s"],
    ]
    assert [row[0] for row in rows(cli("runs", "--limit=1").out)] == ["20130303T1"]
    assert [row[0] for row in rows(cli("runs", "weekly").out)] == ["20130302T1"]


def test_a_later_attempt_decides_the_state(cli, history):
    """A step that failed and then succeeded has succeeded; both attempts count in the time."""
    history("r", state=AttemptState.FAILED)
    history("r", attempt=2, started_at=START + timedelta(seconds=9))
    assert rows(cli("runs").out) == [
        ["r", "flights", "2013-03-01", "succeeded", "1", "4.0", "s"],
    ]


def test_runs_of_an_unknown_pipeline_is_an_error(cli, history):
    """A misspelt pipeline gets a suggestion from those that ran."""
    history("r")
    ended = cli("runs", "fligths")
    assert ended.code == 2
    assert "no run of the pipeline `fligths` in .nightmill/store" in ended.err
    assert "did you mean `flights`?" in ended.err


def test_show_tells_everything_about_a_run(cli, history):
    """A run is shown with its steps, metrics, outputs, inputs, and why a step failed."""
    file = FileRecord(path="f", size=2048, sha256="0", etag="e")
    history(
        "r1",
        "train",
        memory=Memory(peak_bytes=5 << 20, limit_bytes=None),
        metrics={"auc": 0.712345, "note": "two\nlines", "curve": list(range(100))},
        notebook="/elsewhere/notebook.ipynb",
        outputs={"model": OutputRecord(kind="file", address="s3://b/m", size=2048, files=(file,))},
        inputs={
            "none": None,
            "raw": InputRecord(
                pipeline="other",
                output="raw",
                partition="2013-02-28",
                run="r0",
                attempt=1,
                address="x",
                files=(),
            ),
        },
    )
    failure = Failure(cause=Cause.KERNEL_DIED, message="kernel_died: the kernel is gone\n  -> look")
    later = START + timedelta(seconds=9)
    history("r1", "score", state=AttemptState.FAILED, failure=failure, started_at=later)
    lines = [line.rstrip() for line in cli("show", "r1").out.splitlines()]
    assert lines[0] == "flights 2013-03-01 run r1"
    assert lines[2].split()[:6] == ["train", "1", "succeeded", "2.0", "s", "5.0"]
    assert lines[3].split() == ["score", "1", "failed", "kernel_died", "2.0", "s"]
    assert lines[4:] == [
        "",
        "train",
        "  auc = 0.7123",
        "  note = two lines",
        "  curve = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16...",
        "  model: s3://b/m (2.0 KiB)",
        "  none <- none",
        "  raw <- other.raw 2013-02-28",
        "",
        "score",
        "  kernel_died: the kernel is gone",
        "  -> look",
    ]


def test_show_takes_the_beginning_of_a_name(cli, history):
    """So much of a name is enough as no other run begins with, and a whole name always is."""
    history("20130301T0230")
    history("20130301T0230-b")
    history("20130302T0230")
    assert "run 20130302T0230" in cli("show", "20130302").out
    assert cli("show", "20130301T0230").out.startswith("flights 2013-03-01 run 20130301T0230\n")
    ended = cli("show", "2013")
    assert ended.code == 2
    assert "`2013` names 3 runs: 20130302T0230 (flights 2013-03-01), " in ended.err
    assert "add --pipeline or --partition" in ended.err


def test_show_tells_runs_of_one_name_apart(cli, history):
    """A scheduler gives one name to the runs of several pipelines: two options choose."""
    history("nightly", pipeline="flights")
    history("nightly", pipeline="weather")
    history("nightly", pipeline="weather", partition="2013-03-02")
    assert cli("show", "nightly").code == 2
    assert "flights" in cli("show", "nightly", "--pipeline=flights").out
    assert cli("show", "nightly", "--pipeline=weather").code == 2
    assert "weather 2013-03-02" in cli("show", "nightly", "--partition=2013-03-02").out


@pytest.mark.parametrize("wanted", ["nope", "\x1b[31m", "[/b]", "\udcff", ""])
@pytest.mark.usefixtures("history")
def test_show_of_an_unknown_run_is_an_error(cli, wanted):
    """A name that no run has is refused, inert, with the command that lists them."""
    ended = cli("show", wanted)
    assert ended.code == 2
    assert "there is no run" in ended.err
    assert "`nightmill runs`" in ended.err
    assert not set(ended.err) & set("\x1b\udcff")


def test_an_attempt_under_way_is_shown(cli, history):
    """A record without an end is no error: the step is running."""
    history("r", state=AttemptState.RUNNING, duration_s=None, ended_at=None)
    assert rows(cli("show", "r").out)[1:] == [["a", "1", "running"]]


def test_a_damaged_record_is_told(cli, history, tmp_path):
    """A record that cannot be read is named, and hides neither its run nor the others."""
    history("r1", "a")
    history("r1", "b")
    history("r2")
    damaged = next(tmp_path.rglob("r1/b/1/record.json"))
    damaged.write_text("{")
    assert [(row[0], row[3]) for row in rows(cli("runs").out)] == [
        ("r2", "succeeded"),
        ("r1", "unreadable"),
    ]
    shown = cli("show", "r1")
    assert shown.code == 0
    assert f"unreadable record: {damaged.relative_to(tmp_path)}" in shown.out
    assert "succeeded" in shown.out


def test_what_notebooks_report_is_shown_inert(cli, history):
    """Metrics and messages are a notebook's own words: they are told, not obeyed."""
    failure = Failure(cause=Cause.NOTEBOOK_ERROR, message="\x1b[2J [bold]no[/] \u202e")
    facts = {"metrics": {"[/x]": "\x1b]0;t\x07"}, "failure": failure, "state": "failed"}
    history("r", **facts)
    shown = cli("show", "r").out
    assert not set(shown) & set("\x1b\x07\u202e")
    assert r"[/x] = \x1b]0;t\x07" in shown
    assert r"\x1b[2J [bold]no[/] \u202e" in shown
