"""`nightmill runs` and `show`, on records written as steps write them."""

from __future__ import annotations

import re
import textwrap
import time
from datetime import UTC, datetime, timedelta

import pytest

from nightmill.causes import Cause
from nightmill.spec.progress import Progress
from nightmill.spec.record import (
    Amendment,
    AttemptState,
    CellRecord,
    CellState,
    Failure,
    FileRecord,
    InputRecord,
    Memory,
    OutputRecord,
    Record,
    Spilled,
)
from nightmill.spec.retry import Retry
from nightmill.store.keys import attempt_prefix
from nightmill.store.open import open_store

MOVE = ["--partition=2013-03-01", "--to=r"]
START = datetime(2013, 3, 1, 2, 30, tzinfo=UTC)


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Return a function that writes a record, or progress too, into the present folder's store."""
    monkeypatch.delenv("NIGHTMILL_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    opened = open_store(".nightmill/store", base=tmp_path)

    def write(
        run: str, step: str = "a", *, progress: Progress | None = None, **facts: object
    ) -> None:
        known = {"pipeline": "flights", "partition": "2013-03-01", "attempt": 1, "as_of": "x"}
        known |= {"order": 1, "nightmill": "0", "host": "h", "store": "s", "parameters": {}}
        known |= {"state": AttemptState.SUCCEEDED, "started_at": START, "duration_s": 2.0}
        record = Record(**(known | facts), run=run, step=step)
        prefix = attempt_prefix(record.pipeline, record.partition, run, step, record.attempt)
        opened.write(f"{prefix}/record.json", record.to_json())
        if progress:
            opened.write(f"{prefix}/progress.json", progress.to_json())

    return write


def rows(text: str) -> list[list[str]]:
    """Split a table's lines into words, without its header."""
    return [line.split() for line in text.splitlines()[1:]]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("arguments", [["runs"], ["runs", "flights"]])
def test_where_there_is_no_project_there_are_no_runs_to_come(cli, tmp_path, arguments):
    """Outside of a project `runs` says what `run` says there; a store that is named needs none."""
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended == cli("run", "flights", "--partition=2013-03-01")
    (tmp_path / "store").mkdir()
    assert cli("runs", "--store=store").out == "No runs yet in store.\n"


@pytest.mark.usefixtures("history")
def test_a_new_store_has_no_runs(cli, tmp_path):
    """Before the first run of a project the list says so, and is no error."""
    (tmp_path / "notebooks").mkdir()
    ended = cli("runs")
    assert (ended.code, ended.out) == (0, "No runs yet in .nightmill/store.\n")
    assert not (tmp_path / ".nightmill").exists()  # looking changes nothing


def test_runs_lists_the_newest_first(cli, history):
    """Each run is a row: name, pipeline, partition, state, number of steps, time spent."""
    history("20130302T1", pipeline="weekly")
    history("20130301T1", "a")
    later = START + timedelta(seconds=2)
    history("20130301T1", "b", state=AttemptState.FAILED, duration_s=60.0, started_at=later)
    history("20130303T1")
    assert rows(cli("runs").out) == [
        ["20130303T1", "flights", "2013-03-01", "succeeded", "1", "2.0", "s"],
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


def test_steps_side_by_side_count_once_in_the_time(cli, history):
    """A run's time is how long anything of it was at work, as on the review pages."""
    history("r", "a", duration_s=48.0)
    history("r", "b", duration_s=45.0, started_at=START + timedelta(seconds=1))
    history("r", "c", duration_s=10.0, started_at=START + timedelta(seconds=43))
    history("r", "d", duration_s=2.0, started_at=START + timedelta(hours=1))
    assert rows(cli("runs").out) == [
        ["r", "flights", "2013-03-01", "succeeded", "4", "55.0", "s"],
    ]


def test_runs_of_an_unknown_pipeline_is_an_error(cli, history):
    """A misspelt pipeline gets a suggestion from those that ran."""
    history("r")
    ended = cli("runs", "fligths")
    assert ended.code == 2
    assert "no run of the pipeline `fligths` in .nightmill/store" in ended.err
    assert "did you mean `flights`?" in ended.err


@pytest.mark.parametrize(
    "arguments", [["where"], ["versions"], ["rollback", *MOVE], ["promote", *MOVE]]
)
def test_an_output_that_was_mistyped_is_one_that_the_project_has(cli, history, tmp_path, arguments):
    """A misspelt output gets a suggestion; of one that is declared, the advice is where to look."""
    history("r")
    spec = "pipeline: flights\nsteps: {a: {notebook: a.ipynb, outputs: {scores: s.csv}}}\n"
    files = {"notebooks/flights/pipeline.yaml": spec, "notebooks/flights/a.ipynb": "{}"}
    for name, text in {**files, "kernels/k/requirements.txt": ""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    verb, *options = arguments
    ended = cli(verb, "flights.scoers", *options)
    assert ended.code == 2
    assert ended.err.endswith("-> did you mean `scores`?\n")
    assert "did you mean" not in cli(verb, "flights.scores", *options).err


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
    message = "kernel_died: the kernel is gone\n  -> look"
    failure = Failure(cause=Cause.KERNEL_DIED, message=message, retry=Retry.BACKOFF)
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
        "    -> look",
        "  another attempt may help",
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


def ago(**span: float) -> datetime:
    """Return a moment before now."""
    return datetime.now(UTC) - timedelta(**span)


@pytest.fixture
def running(history):
    """Return a function that writes an attempt that runs, with its progress."""

    def write(step: str = "a", *, run: str = "r", started_at: datetime, **facts: object) -> None:
        known = {"state": AttemptState.RUNNING, "started_at": started_at}
        progress = Progress(**({"heartbeat": ago(seconds=8)} | known | facts))
        history(run, step, **known, duration_s=None, progress=progress)

    return write


def test_an_attempt_under_way_is_shown(cli, running):
    """What runs is shown with its cell, times against the usual, memory, last line, heartbeat."""
    running(
        "score",
        started_at=ago(minutes=12),
        elapsed_s=723.4,
        usual_total_s=600.0,
        position=10,
        of=22,
        cell=9,
        title="Score the day",
        cell_elapsed_s=62.0,
        usual_s=59.9,
        memory_bytes=int(4.1 * 2**30),
        memory_limit_bytes=8 << 30,
        last_line="1200/2000 rows",
    )
    lines = [line.rstrip() for line in cli("show", "r").out.splitlines()]
    assert lines[2].split() == ["score", "1", "running", "12", "min", "03", "s"]
    *said, heartbeat = lines[3:]
    assert said == [
        "",
        "score",
        "  10/22 cell 9: Score the day, 1 min 02 s of usually 59.9 s",
        "  in all 12 min 03 s of usually 10 min 00 s, 4.1 of 8.0 GiB",
        "  last line: 1200/2000 rows",
    ]
    assert re.fullmatch(r"  heartbeat (8|9|1\d)\.\d s ago", heartbeat)
    (row,) = rows(cli("runs").out)
    assert row[3:8] == ["running", "1", "12", "min", "03"]
    assert " ".join(row[9:]) == "score 10/22 cell 9: Score the day"


def test_an_attempt_that_has_just_begun_is_shown(cli, history, running):
    """Before the first progress, and before the first cell, no figure is made up."""
    history("r1", state=AttemptState.RUNNING, duration_s=None, started_at=ago(seconds=1))
    assert rows(cli("show", "r1").out)[1:] == [["a", "1", "running"]]
    running(run="r2", started_at=ago(seconds=3), elapsed_s=3.0)
    shown = cli("show", "r2").out
    assert "  in all 3.0 s\n  heartbeat " in shown
    assert not {"cell", "usually", "None", "last line"} & set(shown.split())


def test_an_attempt_without_a_heartbeat_is_called_silent(cli, running):
    """Where the heartbeat stopped for over three minutes, both verbs say so, and what to do."""
    running("a", started_at=ago(hours=2), elapsed_s=60.0, heartbeat=ago(minutes=2.9))
    running(
        "b", started_at=ago(hours=2), elapsed_s=60.0, heartbeat=datetime(2013, 3, 1, tzinfo=UTC)
    )
    shown = cli("show", "r").out
    assert [row[:3] for row in rows(shown)[1:3]] == [["a", "1", "running"], ["b", "1", "silent"]]
    since = "no sign of life since 2013-03-01 00:00:00 UTC"
    assert shown.count("no sign of life") == 1
    advice = "`nightmill amend r` writes down its end"
    assert f"\nb\n  in all 1 min 00 s\n  {since}; {advice}\n" in shown
    listed = cli("runs").out
    assert rows(listed)[0][3] == "silent"
    assert listed.rstrip().endswith(f"  b: {since}; a")


def test_an_attempt_that_never_showed_a_sign_is_silent(cli, history):
    """Without any progress, the attempt was last known to be alive when it started."""
    history("r", state=AttemptState.RUNNING, duration_s=None)
    assert "no sign of life since 2013-03-01 02:30:00 UTC" in cli("show", "r").out


def test_a_heartbeat_from_the_future_is_now(cli, running):
    """A clock that is ahead, there or here, makes no negative age."""
    running(started_at=ago(minutes=1), elapsed_s=60.0, heartbeat=ago(seconds=-90))
    assert "heartbeat 0.0 s ago" in cli("show", "r").out


def test_progress_is_asked_only_of_what_runs(cli, history, tmp_path):
    """Progress that was left behind says nothing of an attempt whose record has its end."""
    progress = Progress(
        state=AttemptState.RUNNING, started_at=START, heartbeat=START, elapsed_s=999.0
    )
    history("r", progress=progress)
    shown = cli("show", "r").out
    assert rows(shown)[1:] == [["a", "1", "succeeded", "2.0", "s"]]
    assert list(tmp_path.rglob("progress.json"))


def test_damaged_progress_is_as_none(cli, history, tmp_path):
    """A progress that cannot be read hides nothing of the attempt."""
    history("r", state=AttemptState.RUNNING, duration_s=None, started_at=ago(seconds=1))
    record = next(tmp_path.rglob("record.json"))
    record.with_name("progress.json").write_text("{")
    assert rows(cli("show", "r").out)[1:] == [["a", "1", "running"]]


def test_what_a_record_warns_of_is_shown(cli, history):
    """Warnings, outputs that were cut, the policy of retries and amendments are told."""
    spilled = (Spilled(address="s3://b/spilled/cell-4-1.txt", size=500 << 20),)
    cell = CellRecord(number=4, title="Print", state=CellState.COMPLETED, spilled=spilled)
    failure = Failure(
        cause=Cause.OUT_OF_MEMORY,
        message="out_of_memory in cell 5/9: 7.9 of 8.0 GiB",
        retry=Retry.MORE_MEMORY,
    )
    facts = {"at": START, "by": "nightmill sweep on h"}
    history(
        "r",
        state=AttemptState.FAILED,
        failure=failure,
        cells=(cell,),
        warnings=("a thread printed\nafter the last cell", "the store failed once"),
        amendments=(
            Amendment(**facts, was=None, cause=Cause.TERMINATED),
            Amendment(**facts, was=Cause.TERMINATED, cause=Cause.OUT_OF_MEMORY),
            Amendment(**facts, was=Cause.STORE, cause=None),
        ),
    )
    assert cli("show", "r").out.splitlines()[4:] == [
        "a",
        '  cut in cell 4 "Print", whole: s3://b/spilled/cell-4-1.txt (500 MiB)',
        "  warning: a thread printed after the last cell",
        "  warning: the store failed once",
        "  out_of_memory in cell 5/9: 7.9 of 8.0 GiB",
        "  another attempt with more memory may help",
        "  amended 2013-03-01 02:30:00 UTC by nightmill sweep on h: running -> terminated",
        "  amended 2013-03-01 02:30:00 UTC by nightmill sweep on h: terminated -> out_of_memory",
        "  amended 2013-03-01 02:30:00 UTC by nightmill sweep on h: store -> succeeded",
    ]


def test_several_attempts_are_told_apart(cli, history):
    """Where a step was tried more than once, what is told of each names the attempt."""
    history("r", state="failed", failure=Failure(cause=Cause.EVICTED, message="gone"))
    history("r", attempt=2, started_at=START + timedelta(seconds=9), metrics={"auc": 1})
    history("r", "b", metrics={"auc": 2})
    shown = cli("show", "r").out
    assert "\na attempt 1\n  gone\n" in shown
    assert "\na attempt 2\n  auc = 1\n" in shown
    assert "\nb\n  auc = 2\n" in shown


RAISED = ["-----", "ZeroDivisionError    Traceback (most recent call last)"]
IN_F = "\x1b[32mCell\x1b[39m In[4], line 3, in f(a)\n      2 def f(a):\n----> 3     return a / 0\n"
LIBRARY = "File ~/lib/json/decoder.py:353, in decode(s)\n    352 try:\n--> 353     obj = scan(s)\n"
LAST_LINES = {
    "in the cell": (["Cell In[4], line 6\n      5 \n----> 6 f(x)\n      7 y = 1"], "line 6: f(x)"),
    "in its function": (["Cell In[4], line 6\n----> 6 f(x)", IN_F], "line 3: return a / 0"),
    "in another cell's function": (
        ["Cell In[5], line 6\n----> 6 f(x)", IN_F],
        "line 3 of another cell: return a / 0",
    ),
    "in a library": (
        ["Cell In[4], line 3\n---> 13 json.loads(a)", LIBRARY],
        "line 13: json.loads(a)",
    ),
    "while another was handled": (
        [
            "Cell In[4], line 2\n----> 2 1/0",
            "During handling ...",
            "Cell In[4], line 4\n----> 4 raise",
        ],
        "line 4: raise",
    ),
    "no Python": (
        ["  Cell In[2], line 1\n    x = = 1\n        ^\nSyntaxError: x"],
        "line 1: x = = 1",
    ),
    "of IPython 8.0": (["Input In [4], in <cell line: 6>()\n----> 6 f(x)"], "line 6: f(x)"),
    "of IPython 7": (["<ipython-input-4-5bc39b1e4d1b> in <module>\n----> 6 f(x)"], "line 6: f(x)"),
    "of nothing in the notebook": ([LIBRARY], ""),
    "of no Python kernel": (["Error: boom"], ""),
}


@pytest.mark.parametrize(("frames", "line"), LAST_LINES.values(), ids=LAST_LINES)
def test_show_names_the_line_that_failed(cli, history, frames, line):
    """Below the message stands the notebook's last line in the traceback, where it has one."""
    failure = Failure(
        cause=Cause.NOTEBOOK_ERROR,
        message="m",
        traceback=(*RAISED, *frames, "ZeroDivisionError: b"),
    )
    history("r", state="failed", failure=failure)
    said = cli("show", "r").out.splitlines()
    assert said[said.index("  m") + 1 : -1] == ([f"  {line}"] if line else [])


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.NOTEBOOK_ERROR, "no retry: the same code would meet the same data"),
        (Cause.EVICTED, "no retry: pipeline.yaml says so"),
    ],
)
def test_why_nothing_is_tried_again_is_told(cli, history, cause, words):
    """A failure that no retry follows says why."""
    history("r", state="failed", failure=Failure(cause=cause, message="m", retry=Retry.NEVER))
    assert cli("show", "r").out.splitlines()[-1] == f"  {words}"


@pytest.mark.parametrize(
    ("message", "retry", "words"),
    [
        ("stopped by SIGTERM", Retry.BACKOFF, "the run was stopped from outside, as by Ctrl-C: "),
        ("stopped by SIGTERM", Retry.NEVER, "no retry: pipeline.yaml says so"),
        ("no sign of life", Retry.BACKOFF, "another attempt may help"),
    ],
)
def test_what_was_stopped_is_not_told_as_what_broke(cli, history, message, retry, words):
    """Of a signal it says what `run` said, and of a death without a word what may help."""
    failure = Failure(cause=Cause.TERMINATED, message=f"terminated: {message}", retry=retry)
    history("r", state="failed", failure=failure)
    assert cli("show", "r").out.splitlines()[-1].startswith(f"  {words}")


def test_what_a_running_notebook_says_is_shown_inert(cli, running):
    """A title and a last line are a notebook's own words: they are told, not obeyed."""
    facts = {"position": 1, "of": 2, "cell": 1, "cell_elapsed_s": 1.0, "elapsed_s": 1.0}
    running(started_at=ago(seconds=9), title="[bold]\x1b[2J", last_line="\x1b]0;t\x07[/x]", **facts)
    for shown in (cli("show", "r").out, cli("runs").out):
        assert not set(shown) & set("\x1b\x07")
        assert r"[bold]\x1b[2J" in shown


def test_a_real_step_is_seen_while_it_runs(project):
    """From another process, a running step shows its cell and what it printed; then its end."""
    cell = """
        # Wait for the day
        import pathlib, time
        print("still nothing", flush=True)
        while not pathlib.Path("go").exists():
            time.sleep(0.05)
    """
    project.pipeline("p", "a: {notebook: a.ipynb, kernel: tabular}\n", a=[textwrap.dedent(cell)])
    deadline, kept = time.monotonic() + 60, project.store.rglob
    with project.start("run", "p", "--partition=2013-03-01") as process:
        # The first word of it comes before the kernel is there.
        while not any(b"still nothing" in told.read_bytes() for told in kept("progress.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running = project.run("show", "2").out
        project.write("notebooks/p/go", "")
        process.communicate(timeout=60)
    assert "  1/1 cell 1: Wait for the day, " in running
    assert "  last line: still nothing\n" in running
    assert "  heartbeat " in running
    assert "heartbeat" not in project.run("show", "2").out
    progress = Progress.from_json(next(project.store.rglob("progress.json")).read_bytes())
    assert progress.state is AttemptState.SUCCEEDED


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
