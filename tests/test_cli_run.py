"""`nightmill run` with real kernels: a whole run, a run again, on S3, and stopped in every way."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from uuid import uuid4

import psutil
import pytest

DAY = "2013-03-01"
ENOUGH_S = 90  # for a kernel to start on a busy machine

STEPS = """\
good:
  notebook: good.ipynb
  outputs: {made: made.txt}
reader:
  notebook: reader.ipynb
  inputs: [made]
bad:
  notebook: bad.ipynb
  outputs: {never: never.txt}
after_bad:
  notebook: reader.ipynb
  inputs: {made: {from: never}}
"""

MAKE = ('made: str = "made.txt"\ntop_n: int = 5', "parameters")
WRITE = "# [bold]Write[/bold]\nwith open(made, 'w') as file:\n    file.write(str(top_n) * 1000)"


@pytest.fixture(scope="module")
def demo(make_project):
    """Make a project whose pipeline has steps that succeed, one that fails, and one behind it."""
    project = make_project("demo")
    project.pipeline(
        "demo",
        STEPS,
        good=[MAKE, WRITE],
        reader=[('made: str = "made.txt"', "parameters"), "print(open(made).read()[:5])"],
        bad=[('never: str = "n"', "parameters"), "raise ValueError('\\x1b[2J[/no] é')"],
    )
    return project


@pytest.fixture(scope="module")
def ran(demo):
    """Run the pipeline once, without a terminal."""
    return demo.run("run", "demo", "--partition", DAY, "--workers=2")


def test_a_run_ends_with_a_table_of_its_steps(ran, demo):
    """Every step is listed with state, cause, time, peak memory and its executed notebook."""
    table = [line for line in ran.out.splitlines() if not line.startswith(DAY)]
    assert re.split(r"\s{2,}", table[0]) == [
        *("step", "state", "cause", "time", "peak memory", "executed notebook")
    ]
    rows = {line.split()[0]: re.split(r"\s{2,}", line) for line in table[1:5]}
    assert rows["good"][1] == rows["reader"][1] == "succeeded"
    assert rows["bad"][1:3] == ["failed", "notebook_error"]
    assert rows["after_bad"] == ["after_bad", "not run"]
    for step in ("good", "reader", "bad"):
        assert re.fullmatch(r"\d+\.\d s|\d+ min \d\d s", rows[step][-3])
        assert re.fullmatch(r"\d+(\.\d)? MiB", rows[step][-2])
        assert (demo.root / rows[step][-1]).samefile(
            demo.attempts("demo", step)[0] / "notebook.ipynb"
        )


def test_a_run_with_a_failure_ends_with_1_and_says_why(ran):
    """The exit code tells the failure; below the table stand its cause, cell and message."""
    assert (ran.code, ran.err) == (1, "")
    last = ran.out.split("executed notebook", 1)[1]
    title = "raise ValueError('\\x1b[2J[/no] é')"
    follows = "no retry: the same code would meet the same data"
    line = f'bad 2013-03-01 notebook_error in cell 2/2 "{title}": ValueError: [/no] é; {follows}; '
    assert f"  | ValueError: [/no] é\n{line}notebook: " in last
    assert re.search(r"notebook: \S+/bad/1/notebook\.ipynb#cell-2\n", last)
    assert "\x1b" not in ran.out


@pytest.mark.usefixtures("ran")
def test_show_names_the_line_that_a_real_kernel_failed_at(demo, cli):
    """The traceback of the kernel that is shipped is understood."""
    shown = cli("show", demo.record("demo", "bad")["run"], cwd=demo.root).out
    assert "\n  line 1: raise ValueError('\\x1b[2J[/no] é')\n" in shown


def test_a_run_tells_each_change_on_a_line(ran):
    """Without a terminal a run is a log: partition, step and what changed."""
    lines = [line for line in ran.out.splitlines() if line.startswith(f"{DAY} good: ")]
    said = [line.removeprefix(f"{DAY} good: ") for line in lines]
    assert said[0] == "started"
    assert said[-2] == "3/3 cell 2: [bold]Write[/bold]"
    assert re.fullmatch(r"succeeded in .*", said[-1])
    assert f"{DAY} after_bad: not run" in ran.out.splitlines()


def test_a_failure_stops_only_what_needs_it(ran, demo):
    """The dependant of the failed step never began; independent steps are committed."""
    assert ran.code == 1
    assert demo.attempts("demo", "after_bad") == []
    assert (demo.store / "current/demo/reader" / f"{DAY}.json").is_file()
    assert not (demo.store / "current/demo/bad").exists()


def test_a_run_says_where_its_outputs_are(ran, demo):
    """The last lines name the outputs of what succeeded, ready to be copied."""
    place = ran.out.splitlines()[-1].removeprefix("  made: ")
    assert (demo.root / place).read_text() == "5" * 1000


@pytest.mark.usefixtures("ran")
def test_a_second_run_starts_nothing(demo, cli, monkeypatch):
    """What is committed is not run again: no process is started, and the run says so."""

    def refuse(*_arguments: object, **_options: object) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = sorted(demo.store.rglob("*"))
    steps = ["--step=good", "--step=reader"]
    again = cli("run", "demo", "--partition", DAY, *steps, cwd=demo.root)
    assert again.code == 0
    assert again.out.splitlines()[0] == (
        f"Nothing to do for demo, {DAY}: all is committed (2 steps). Add --rerun to run again."
    )
    assert "made.txt" in again.out
    assert sorted(demo.store.rglob("*")) == before


@pytest.mark.usefixtures("ran")
def test_values_for_a_committed_step_are_not_lost_without_a_word(demo, cli):
    """A value passed to a step that is left alone is named, with the flag that makes it count."""
    again = cli("run", "demo", "--partition", DAY, "--step=good", "-p", "top_n=9", cwd=demo.root)
    assert again.out.splitlines()[0] == (
        "note: good committed before; add --rerun to run with these values"
    )


@pytest.mark.usefixtures("ran")
def test_a_step_that_committed_before_an_output_was_declared(demo, cli):
    """A run that leaves it alone says what it lacks and how to make it, and not that all is there.

    Whoever reads what is lacking is told the same command.
    """
    file = demo.root / "notebooks" / "demo" / "pipeline.yaml"
    before = file.read_text()
    more = before.replace("{made: made.txt}", "{made: made.txt, extra: e.txt}")
    reads_it = "  reads_it:\n    notebook: reader.ipynb\n    inputs: {made: {from: extra}}\n"
    file.write_text(more + reads_it)
    try:
        steps = ["--step=good", "--step=reader"]
        alone = cli("run", "demo", "--partition", DAY, *steps, cwd=demo.root)
        reads = cli("run", "demo", "--partition", DAY, "--step=reads_it", cwd=demo.root)
    finally:
        file.write_text(before)
    assert alone.code == 0
    note, nothing = alone.out.splitlines()[:2]
    assert note == (
        f"note: good committed without `extra` for {DAY}; "
        "add --step good --rerun to make what it lacks"
    )
    assert nothing == (
        f"Nothing to do for demo, {DAY}: 2 steps committed, some without an output. "
        "Add --rerun to run again."
    )
    assert reads.code == 1
    assert f"`nightmill run demo --partition {DAY} --step good --rerun`" in reads.err


@pytest.mark.usefixtures("ran")
def test_the_store_is_the_projects_from_any_folder_of_it(demo, cli):
    """From inside notebooks/ the same store is used as from the project's root."""
    inside = demo.root / "notebooks" / "demo"
    again = cli("run", "demo", f"--partition={DAY}", "--step=good", cwd=inside)
    assert again.out.startswith("Nothing to do for demo")
    assert not (inside / ".nightmill").exists()
    assert DAY in cli("runs", cwd=inside).out


@pytest.mark.usefixtures("ran")
def test_outputs_on_s3_are_the_same_bytes(demo, s3_server, s3_url):
    """The store changes where an output lies, and not one byte of it."""
    env = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    arguments = ["run", "demo", "--partition", DAY, "--step=good", "--store", s3_url]
    done = demo.run(*arguments, env=env)
    assert (done.code, done.err) == (0, "")
    place = done.out.splitlines()[-1].removeprefix("  made: ")
    bucket, key = place.removeprefix("s3://").split("/", 1)
    stored = s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    (local,) = demo.attempts("demo", "good")
    assert stored == (local / "outputs/made/made.txt").read_bytes()
    again = demo.run(*arguments, env=env)
    assert again.out.startswith("Nothing to do")


# -- again --------------------------------------------------------------------------------------

STUMBLE = """\
import os, pathlib
if not pathlib.Path(marker).exists():
    pathlib.Path(marker).touch()
    os.kill(os.getpid(), 9)
pathlib.Path(made).write_text("arrived")
"""


@pytest.fixture(scope="module")
def stumbled(make_project):
    """Run a step whose kernel dies in its first attempt, as its pipeline.yaml lets it try again."""
    project = make_project("stumble")
    step = "step: {notebook: step.ipynb, outputs: {made: made.txt}, retries: 1, retry_delay: 1s}"
    defaults = f"made: str = 'made.txt'\nmarker: str = {str(project.root / 'marker')!r}"
    project.pipeline("demo", step, step=[(defaults, "parameters"), STUMBLE])
    return project, project.run("run", "demo", "--partition", DAY)


def test_a_kernel_that_died_is_tried_again(stumbled):
    """The next attempt of the same run commits, and the records of both stay."""
    project, ran = stumbled
    assert (ran.code, ran.err) == (0, "")
    first, second = project.attempts("demo", "step")
    assert (first.name, second.name, first.parent) == ("1", "2", second.parent)
    records = [json.loads((place / "record.json").read_bytes()) for place in (first, second)]
    assert [record["state"] for record in records] == ["failed", "succeeded"]
    assert records[0]["failure"]["retry"] == "backoff"
    assert (second / "outputs/made/made.txt").read_text() == "arrived"


def test_each_attempt_tells_why_it_failed_and_what_follows(stumbled):
    """The log says what comes next as it happens, the table counts, and below it is each line."""
    _project, ran = stumbled
    line = (
        r'kernel_died in cell 2/2 "import os, pathlib": .*; next attempt in 1 s; notebook: \S+/1/'
    )
    assert re.search(rf"^{DAY} step: failed in .* s: {line}", ran.out, re.MULTILINE)
    assert f"{DAY} step: attempt 2 started" in ran.out.splitlines()
    assert re.search(r"^step +2 +succeeded", ran.out, re.MULTILINE)
    assert re.search(rf"\n\n(  \| .*\n)+step {DAY} attempt 1 {line}", ran.out)


def test_no_retries_if_somebody_says_so(stumbled):
    """The command line stands above pipeline.yaml."""
    project, _ran = stumbled
    (project.root / "marker").unlink()
    again = project.run("run", "demo", "--partition", DAY, "--rerun", "--retries=0")
    assert again.code == 1
    assert "; no retry: none was asked for; notebook: " in again.out


def test_a_delay_that_is_none_is_refused(demo, cli):
    """A delay without a unit is a mistake of whoever typed it."""
    refused = cli("run", "demo", "--partition", DAY, "--retry-delay", "5", cwd=demo.root)
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: --retry-delay: `5` is no time span",
        "   -> write it like 90s, 30m, 2h or 1d",
    ]


# -- stopped ------------------------------------------------------------------------------------

SLEEP = "import pathlib, time\npathlib.Path(began).touch()\ntime.sleep(600)"
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP


@pytest.fixture
def sleepy(make_project):
    """Make a project whose step sleeps in its second cell, in the way a test asks for."""

    def make(second: str):
        project = make_project("sleepy")
        steps = "sleep: {notebook: sleep.ipynb}\nlater: {notebook: sleep.ipynb}"
        began = project.root / "began"
        defaults = (f"began: str = {str(began)!r}", "parameters")
        project.pipeline("demo", steps, sleep=[defaults, second, "print('never')"])
        return project, began

    return make


class Running:
    """`nightmill run`, started with a mark by which its processes are found, wherever they go."""

    def __init__(self, project, *, terminal: bool) -> None:
        self.mark = uuid4().hex
        self.seen = b""
        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.keyboard = master
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nightmill", "run", "demo", f"--partition={DAY}", "--workers=1"],
            cwd=project.root,
            env={**project.env, "TERM": "xterm", "NIGHTMILL_TEST_MARK": self.mark},
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None,  # noqa: PLW1509 - one ioctl
            **ends,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.keyboard, 1 << 16):
                self.seen += data
        except OSError:  # the other end of a pseudo-terminal is closed
            pass

    def wait_for(self, file, shown: str = "") -> None:
        """Wait until the notebook has come to its long cell, and the terminal shows a text."""
        deadline = time.monotonic() + ENOUGH_S
        while not (file.exists() and shown in self.seen.decode(errors="ignore")):
            assert self.process.poll() is None, self.seen.decode()
            assert time.monotonic() < deadline, self.seen.decode()
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what the terminal saw."""
        code = self.process.wait(timeout=ENOUGH_S)
        self._reader.join(timeout=10)
        return code, self.seen.decode()

    def processes(self) -> list[psutil.Process]:
        """Find every process that was started from this one."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it may end while it is looked at
                marked = self.mark in process.environ().values()
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _take_terminal() -> None:
    """Make standard input the controlling terminal, so that its Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def start():
    """Return a function that starts a run; whatever a failed test leaves is ended."""
    started: list[Running] = []

    def begin(project, *, terminal: bool = True) -> Running:
        started.append(Running(project, terminal=terminal))
        return started[-1]

    yield begin
    for one in started:
        for process in one.processes():
            process.kill()
        one.process.wait()
        os.close(one.keyboard)


def assert_interrupted(project) -> None:
    """Assert that record and executed notebook tell of a step that was stopped in cell 2."""
    record = project.record("demo", "sleep")
    assert record["state"] == "failed"
    assert record["failure"]["cause"] == "terminated"
    states = {cell["number"]: cell["state"] for cell in record["cells"]}
    assert (states[2], states[3]) == ("interrupted", "not_run")
    cells = project.notebook("demo", "sleep")["cells"]
    saved = [cell["metadata"].get("nightmill", {}).get("state") for cell in cells]
    assert "interrupted" in saved
    assert not (project.store / "current").exists()


def test_ctrl_c_in_a_terminal_interrupts_and_saves(sleepy, start):
    """Ctrl-C interrupts the kernel, keeps what ran, starts nothing more and ends with 130."""
    project, began = sleepy(SLEEP)
    running = start(project)
    running.wait_for(began, shown="cell 2: import pathlib, time")  # the live row
    os.write(running.keyboard, b"\x03")
    code, seen = running.end()
    assert code == 130
    assert running.processes() == []
    assert_interrupted(project)
    assert project.attempts("demo", "later") == []
    assert "Traceback" not in seen
    assert re.search(r"sleep .*failed.*terminated", seen)
    assert re.search(r"later .*not run", seen)


def test_a_second_ctrl_c_does_not_wait(sleepy, start):
    """A kernel that ignores interrupts is ended at once by a second Ctrl-C, and recorded."""
    project, began = sleepy(DEAF)
    running = start(project)
    running.wait_for(began)
    while project.record("demo", "sleep")["state"] == "running":  # somebody in a hurry
        os.write(running.keyboard, b"\x03")
        time.sleep(0.3)
    code, _seen = running.end()
    assert code == 130
    assert running.processes() == []
    assert_interrupted(project)
    evidence = project.record("demo", "sleep")["failure"]["evidence"]
    assert evidence["engine_returncode"] == -signal.SIGKILL  # it was not waited for


def test_sigterm_stops_in_good_order(sleepy, start):
    """SIGTERM to the run is a Ctrl-C without a keyboard."""
    project, began = sleepy(SLEEP)
    running = start(project, terminal=False)
    running.wait_for(began)
    running.process.send_signal(signal.SIGTERM)
    assert running.end()[0] == 130
    assert running.processes() == []
    assert_interrupted(project)


def test_a_killed_run_leaves_no_process(sleepy, start):
    """When the run itself is killed its steps stop within seconds, and keep what they did."""
    project, began = sleepy(SLEEP)
    running = start(project, terminal=False)
    running.wait_for(began)
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 30
    while running.processes():
        assert time.monotonic() < deadline, running.processes()
        time.sleep(0.1)
    assert_interrupted(project)
    assert "launcher" in project.record("demo", "sleep")["failure"]["message"]


def test_a_killed_step_is_a_failure_on_record(sleepy, start):
    """A step's process that is killed leaves a failure with a cause, also in its record."""
    project, began = sleepy(SLEEP)
    running = start(project, terminal=False)
    running.wait_for(began)
    (supervisor,) = psutil.Process(running.process.pid).children()
    supervisor.kill()
    began.unlink()
    running.wait_for(began)  # the next step runs all the same
    running.process.terminate()
    code, seen = running.end()
    assert code == 130
    assert "killed by SIGKILL" in seen
    record = project.record("demo", "sleep")
    assert (record["state"], record["failure"]["cause"]) == ("failed", "terminated")
    assert "SIGKILL" in record["failure"]["message"]
